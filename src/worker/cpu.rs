//! What this machine's processor can do, and how many cores of it are ours.

use std::collections::HashSet;
use std::num::NonZero;
use std::thread;

/// Checks that the processor has what this build of llama.cpp was compiled for.
///
/// # Errors
/// A sentence that names what is missing; going on would end in an illegal instruction.
pub fn check_features() -> Result<(), String> {
    let missing = missing_features();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "this processor lacks {}, which this build of modeld needs: use a build for older \
         processors",
        missing.join(", ")
    ))
}

/// The features set in `.cargo/config.toml` for llama.cpp.
#[cfg(target_arch = "x86_64")]
fn missing_features() -> Vec<&'static str> {
    [
        ("SSE4.2", is_x86_feature_detected!("sse4.2")),
        ("AVX", is_x86_feature_detected!("avx")),
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("F16C", is_x86_feature_detected!("f16c")),
        ("BMI2", is_x86_feature_detected!("bmi2")),
    ]
    .into_iter()
    .filter_map(|(name, present)| (!present).then_some(name))
    .collect()
}

/// Elsewhere llama.cpp is compiled for the architecture's baseline.
#[cfg(not(target_arch = "x86_64"))]
fn missing_features() -> Vec<&'static str> {
    Vec::new()
}

/// The physical cores that this process may use: its affinity and its cgroup's quota respected,
/// hardware threads of one core counted once. At least 1.
pub fn physical_cores() -> u32 {
    // Knows affinity and quota, but counts hardware threads.
    let logical = thread::available_parallelism().map_or(1, NonZero::get);
    let cores = allowed_cores().filter(|cores| *cores > 0).unwrap_or(logical);
    u32::try_from(cores.min(logical)).unwrap_or(1).max(1)
}

/// Cores among the processors that the affinity mask allows, where the system tells (Linux).
fn allowed_cores() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let cores: HashSet<String> = parse_cpu_list(list)
        .into_iter()
        .map(|cpu| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            // Siblings read the same text; a processor that does not tell is a core of its own.
            std::fs::read_to_string(path).map_or_else(|_| cpu.to_string(), |s| s.trim().to_owned())
        })
        .collect();
    Some(cores.len())
}

/// Reads the kernel's list format, `0-3,8,10-11`; what is no number is left out.
fn parse_cpu_list(list: &str) -> Vec<u32> {
    const MOST: usize = 4096;
    let ranges = list.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u32>().ok()?..=last.trim().parse::<u32>().ok()?)
    });
    ranges.flatten().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_format_is_read() {
        assert_eq!(parse_cpu_list("\t0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_cpu_list("5"), [5]);
        assert_eq!(parse_cpu_list(""), [] as [u32; 0]);
        assert_eq!(parse_cpu_list("x,3-y,7"), [7]);
        assert_eq!(parse_cpu_list("0-4294967295").len(), 4096);
    }

    #[test]
    fn there_is_at_least_one_core_and_not_more_than_processors() {
        let logical = thread::available_parallelism().map_or(1, NonZero::get);
        let cores = physical_cores() as usize;
        assert!((1..=logical).contains(&cores), "{cores} of {logical}");
    }
}

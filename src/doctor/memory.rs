use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "memory";

/// Of `/proc/meminfo`, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Memory {
    total: u64,
    available: u64,
    swap: u64,
    swap_free: u64,
}

/// The machine's memory.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    vec![judge(parse(&patient.text("proc/meminfo")))]
}

fn parse(text: &str) -> Option<Memory> {
    let get = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(Memory {
        total: get("MemTotal")?,
        available: get("MemAvailable")?,
        swap: get("SwapTotal").unwrap_or(0),
        swap_free: get("SwapFree").unwrap_or(0),
    })
}

fn judge(memory: Option<Memory>) -> Finding {
    let Some(Memory { total, available, swap, swap_free }) = memory else {
        return Finding::ok(CHECK, "this system does not say how much there is in /proc/meminfo");
    };
    let gib = |kib: u64| kib as f64 / f64::from(1 << 20);
    let text = format!(
        "{:.1} GiB available of {:.1} GiB; swap {:.1} GiB, of which {:.1} GiB are used",
        gib(available),
        gib(total),
        gib(swap),
        gib(swap.saturating_sub(swap_free))
    );
    if available < 1 << 20 {
        let fix = "end what takes it (modeld ps shows loaded models), or use a smaller model";
        return Finding::warn(CHECK, text, fix);
    }
    Finding::ok(CHECK, text)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let text = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n\
                    SwapCached: 0 kB\nSwapTotal: 100 kB\nSwapFree: 40 kB\n";
        let memory = parse(text).unwrap();
        let read = Memory { total: 16_000_000, available: 8_000_000, swap: 100, swap_free: 40 };
        assert_eq!(memory, read);
        assert_eq!(judge(Some(memory)).verdict, Verdict::Ok);
        assert_eq!(judge(Some(Memory { available: 1 << 19, ..memory })).verdict, Verdict::Warn);
        assert_eq!(parse("MemTotal: x kB\n"), None);
        assert_eq!(judge(None).verdict, Verdict::Ok);
    }
}

//! How a worker is started: program, arguments, and an environment of nearly nothing.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::WorkerConfig;

/// Variables that a worker inherits: what the loader, the GPU runtimes and the log need. Nothing
/// that could hold a credential.
const INHERITED: [&str; 10] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "RUST_BACKTRACE",
    "TMPDIR",
    "TZ",
    "VK_ICD_FILENAMES",
    "XDG_CACHE_HOME",
];

/// The same for whole families: CUDA, ROCm, Metal and Vulkan devices, ggml's and OpenMP's settings.
const INHERITED_PREFIXES: [&str; 8] =
    ["CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_", "GGML_", "OMP_", "GOMP_"];

/// The binary that runs now, even if its file has been replaced since: a worker of another build
/// would be refused.
pub(super) fn own_program() -> PathBuf {
    #[cfg(target_os = "linux")]
    let program = PathBuf::from("/proc/self/exe");
    #[cfg(not(target_os = "linux"))]
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("modeld"));
    program
}

/// The command for one worker that speaks through `socket`.
pub(super) fn command(config: &WorkerConfig, socket: OwnedFd) -> Command {
    let mut command = Command::new(&config.program);
    command
        .args(&config.args)
        .arg0("modeld")
        // Ctrl-C in a terminal is for the daemon, which lets running answers finish.
        .process_group(0)
        .env_clear()
        .envs(environment(std::env::vars_os(), config))
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// How often a compute thread looks for its next piece of work before it sleeps.
///
/// Threads that sleep at once make every node of the graph wait for a wake-up; threads that spin
/// for ever take the cores from everything else. SmolLM2-135M on two cores, tokens per second of
/// one stream: 31 without spinning, 84 with 1,000 rounds, 96 with 20,000, 99 with 1,000,000; with
/// two other busy processes about 40 for each of them.
const SPIN_COUNT: &str = "10000";

/// What of `own` a worker inherits, and how its threads wait for each other. The user's own
/// `GOMP_SPINCOUNT` wins.
fn environment(
    own: impl Iterator<Item = (OsString, OsString)>,
    config: &WorkerConfig,
) -> Vec<(OsString, OsString)> {
    let policy = "OMP_WAIT_POLICY";
    let mut inherited: Vec<_> =
        own.filter(|(name, _)| name != policy && is_inherited(name)).collect();
    inherited.push((policy.into(), config.omp_wait_policy.clone().into()));
    if !inherited.iter().any(|(name, _)| name == "GOMP_SPINCOUNT") {
        inherited.push(("GOMP_SPINCOUNT".into(), SPIN_COUNT.into()));
    }
    if let Some(log) = &config.log {
        inherited.push(("MODELD_LOG".into(), log.filter().into()));
    }
    if config.core_dumps {
        inherited.push(("MODELD_CORE_DUMPS".into(), "on".into()));
    }
    inherited
}

fn is_inherited(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        INHERITED.contains(&name) || INHERITED_PREFIXES.iter().any(|p| name.starts_with(p))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_inherits_what_it_needs_and_no_secrets() {
        let own = [
            ("PATH", "/bin"),
            ("CUDA_VISIBLE_DEVICES", "0"),
            ("OMP_WAIT_POLICY", "active"),
            ("HF_TOKEN", "secret"),
            ("MODELD_API_KEY", "secret"),
            ("MODELD_CORE_DUMPS", "no"),
            ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x"),
        ];
        let own = own.into_iter().map(|(name, value)| (name.into(), value.into()));
        let config = WorkerConfig {
            log: Some(crate::logbook::LogControl::idle("debug")),
            core_dumps: true,
            ..WorkerConfig::default()
        };
        let inherited = environment(own, &config);
        let expected = [
            ("PATH", "/bin"),
            ("CUDA_VISIBLE_DEVICES", "0"),
            ("OMP_WAIT_POLICY", "passive"),
            ("GOMP_SPINCOUNT", SPIN_COUNT),
            ("MODELD_LOG", "debug"),
            ("MODELD_CORE_DUMPS", "on"),
        ];
        let expected: Vec<(OsString, OsString)> =
            expected.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(inherited, expected);
    }
}

use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "sandbox";

/// What the kernel has to confine the processes of models with.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    vec![
        landlock(landlock_version()),
        seccomp(&patient.text("proc/sys/kernel/seccomp/actions_avail")),
    ]
}

/// The version of Landlock that this kernel enforces; `None`: none. It is tried on a thread of its
/// own, which then ends: the restriction of a thread stays its own.
#[cfg(target_os = "linux")]
fn landlock_version() -> Option<i32> {
    use landlock::{
        ABI, Access as _, AccessFs, CompatLevel, Compatible as _, LandlockStatus, Ruleset,
        RulesetAttr as _,
    };
    let tried = std::thread::spawn(|| {
        let rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V1))
            .ok()?
            .create()
            .ok()?;
        match rules.restrict_self().ok()?.landlock {
            LandlockStatus::Available { effective_abi, kernel_abi } => {
                Some(kernel_abi.unwrap_or(effective_abi as i32))
            }
            _ => None,
        }
    });
    tried.join().ok().flatten()
}

#[cfg(not(target_os = "linux"))]
fn landlock_version() -> Option<i32> {
    None
}

fn landlock(version: Option<i32>) -> Finding {
    let fix = "use a kernel of 6.7 or newer with Landlock among its LSMs (lsm=landlock,…)";
    match version {
        None if cfg!(target_os = "macos") => {
            Finding::ok(CHECK, "macOS has nothing that a process may confine itself with")
        }
        None => {
            let text = "no Landlock: a damaged model file could reach what its user can";
            Finding::warn(CHECK, text, fix)
        }
        Some(version @ 0..4) => {
            let text = format!("Landlock ABI {version}: files are confined, TCP is not");
            Finding::warn(CHECK, text, fix)
        }
        Some(version) => Finding::ok(CHECK, format!("Landlock ABI {version}")),
    }
}

fn seccomp(actions: &str) -> Finding {
    if actions.split_whitespace().any(|action| action == "errno") {
        return Finding::ok(CHECK, "seccomp filters can be used");
    }
    if cfg!(target_os = "macos") {
        return Finding::ok(CHECK, "macOS has no seccomp");
    }
    let fix = "use a kernel with CONFIG_SECCOMP_FILTER, where /proc/sys is not hidden";
    Finding::warn(CHECK, "no seccomp filters are to be seen", fix)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn what_the_kernel_has_is_judged() {
        assert_eq!(landlock(Some(4)).verdict, Verdict::Ok);
        assert_eq!(landlock(Some(3)).verdict, Verdict::Warn);
        if cfg!(target_os = "linux") {
            assert_eq!(landlock(None).verdict, Verdict::Warn);
            assert_eq!(seccomp("").verdict, Verdict::Warn);
        }
        assert_eq!(seccomp("kill_process errno log allow\n").verdict, Verdict::Ok);
    }

    #[test]
    fn looking_confines_nobody() {
        let _ = landlock_version();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "").unwrap();
    }
}

//! What the worker process gives up before it reads an untrusted file.
//!
//! Landlock binds the calling thread and those it starts later, so this runs before any other
//! thread exists. It says which files may be opened; `seccomp` says which system calls may be made,
//! and holds also where the kernel has no Landlock. Neither ever decides whether to go on: the daemon
//! reports what is enforced.

use crate::protocol::LoadSpec;

/// Confines this process, as far as the kernel can: it may read the model's files, system libraries
/// and what describes the machine; use GPUs; and nothing else: no other file, no process, no socket,
/// no signals to outsiders. Answers in words what is enforced: of Landlock what the kernel said when
/// it took the rules, of the rest what it says of this process now.
#[cfg(target_os = "linux")]
pub fn confine(spec: &LoadSpec) -> String {
    if let Err(error) = linux::drop_capabilities() {
        tracing::warn!(%error, "the worker's capabilities could not be dropped");
    }
    let files = linux::confine(spec).unwrap_or_else(|error| {
        tracing::warn!(%error, "the worker's files could not be confined");
        "Landlock failed".to_owned()
    });
    let calls = super::seccomp::confine().unwrap_or_else(|error| {
        tracing::warn!(%error, "the worker's system calls could not be confined");
        "none"
    });
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    linux::describe_process(&files, calls, &status)
}

/// There is nothing like Landlock that a process may put on itself here.
#[cfg(not(target_os = "linux"))]
pub fn confine(_spec: &LoadSpec) -> String {
    "none: not available on this system".to_owned()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};

    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
        PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
        RulesetError, RulesetStatus, Scope,
    };

    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

    use super::LoadSpec;

    /// Libraries that are loaded late (GPU drivers) and what describes the machine.
    const SYSTEM_READ: [&str; 11] = [
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/proc",
        "/sys",
        "/dev/urandom",
        "/opt/rocm",
        "/nix/store",
        "/run/opengl-driver",
        "/etc/OpenCL",
    ];
    /// Devices that compute, and the one that swallows output.
    const DEVICES: [&str; 3] = ["/dev/dri", "/dev/kfd", "/dev/null"];

    /// What root (in a container, say) may still need: to read its model whoever owns it, to keep it
    /// in memory, to say how its threads are scheduled. The rest would reach around Landlock.
    const CAPABILITIES: CapabilitySet = CapabilitySet::DAC_OVERRIDE
        .union(CapabilitySet::DAC_READ_SEARCH)
        .union(CapabilitySet::IPC_LOCK)
        .union(CapabilitySet::SYS_NICE)
        .union(CapabilitySet::SYS_RESOURCE);

    pub(super) fn drop_capabilities() -> rustix::io::Result<()> {
        let CapabilitySets { effective, permitted, inheritable: _ } = capabilities(None)?;
        let sets = CapabilitySets {
            effective: effective & CAPABILITIES,
            permitted: permitted & CAPABILITIES,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets)
    }

    pub(super) fn confine(spec: &LoadSpec) -> Result<String, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V9))?
            .handle_access(AccessNet::from_all(ABI::V4))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        // What the spec names is meant to be read, listed as readable or not.
        let files = [Some(&spec.weights), spec.mmproj.as_ref(), spec.chat_template.as_ref()];
        for path in spec.readable.iter().chain(files.into_iter().flatten()).chain(&spec.adapters) {
            rules = allow(rules, path, read)?;
        }
        for path in SYSTEM_READ {
            rules = allow(rules, Path::new(path), read)?;
        }
        let operate = read | AccessFs::WriteFile | AccessFs::IoctlDev;
        for path in DEVICES.iter().map(PathBuf::from).chain(nvidia_nodes()) {
            rules = allow(rules, &path, operate)?;
        }
        let status = rules.restrict_self()?;
        Ok(match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, _) => "no Landlock in this kernel".to_owned(),
            (_, LandlockStatus::Available { effective_abi, .. }) => describe(effective_abi as i32),
            _ => "Landlock".to_owned(),
        })
    }

    /// `/dev/nvidia0`, `/dev/nvidiactl`, `/dev/nvidia-caps`, …
    fn nvidia_nodes() -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir("/dev") else { return Vec::new() };
        let nodes = entries.flatten().map(|entry| entry.path()).filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nvidia"))
        });
        nodes.collect()
    }

    /// Adds a rule; a path that is not there needs none.
    fn allow(
        rules: RulesetCreated,
        path: &Path,
        access: BitFlags<AccessFs>,
    ) -> Result<RulesetCreated, RulesetError> {
        let Ok(fd) = PathFd::new(path) else { return Ok(rules) };
        let access =
            if path.is_dir() { access } else { access & !BitFlags::from(AccessFs::ReadDir) };
        rules.add_rule(PathBeneath::new(fd, access))
    }

    /// `status` is what proc_pid_status(5) describes; what it does not confirm is not claimed.
    pub(super) fn describe_process(files: &str, calls: &str, status: &str) -> String {
        let says = |field: &str, value: &str| {
            let mut lines = status.lines().filter_map(|line| line.split_once(':'));
            lines.any(|(name, said)| name == field && said.trim() == value)
        };
        // 2: a filter.
        let calls = if says("Seccomp", "2") { calls } else { "none" };
        let rights = match says("NoNewPrivs", "1") {
            true => "no new privileges",
            false => "new privileges possible",
        };
        format!("{files}; seccomp: {calls}; {rights}")
    }

    /// What an ABI of the kernel enforces of the rules above.
    pub(super) fn describe(abi: i32) -> String {
        let mut parts = vec!["read-only model files and libraries", "no exec"];
        if abi >= 4 {
            parts.push("no TCP");
        }
        if abi >= 6 {
            parts.push("no signals to others");
        }
        format!("Landlock ABI {abi}: {}", parts.join(", "))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_confirm_is_not_claimed() {
        let held = "Name:\tmodeld\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n";
        let all = linux::describe_process("Landlock ABI 6", "no sockets", held);
        assert_eq!(all, "Landlock ABI 6; seccomp: no sockets; no new privileges");
        let none = "no Landlock in this kernel; seccomp: none; new privileges possible";
        for status in ["", "NoNewPrivs:\t0\nSeccomp:\t0\n"] {
            let said = linux::describe_process("no Landlock in this kernel", "no sockets", status);
            assert_eq!(said, none);
        }
    }

    #[test]
    fn only_what_the_kernel_enforces_is_claimed() {
        assert_eq!(
            linux::describe(3),
            "Landlock ABI 3: read-only model files and libraries, no exec"
        );
        assert!(linux::describe(4).ends_with("no exec, no TCP"));
        assert!(linux::describe(6).ends_with("no TCP, no signals to others"));
    }
}

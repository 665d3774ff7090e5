//! The system calls that a worker gives up, for good and in every thread that it starts later.
//!
//! A list of what is forbidden, answered with `EPERM`, and not a list of what is allowed: a worker
//! runs the C libraries of many distributions and whatever a GPU's driver loads, and a list of what
//! all of these call would have to be right for versions that do not exist yet. Where it is wrong, a
//! user has a model that dies; where this one misses something, Landlock still stands behind it.
//! `EPERM` rather than death for the same reason: libraries try things and go on without them
//! (llama.cpp's crash handler looks for a debugger, drivers look for helpers).
//!
//! What is on the list: to become or make another process, to reach one, to open a socket or use one
//! that has a name, to change what a file is (modes, owners, times, attributes: Landlock does not
//! watch these), to make namespaces and mounts, and the parts of the kernel that have been the way
//! out of sandboxes and that no computation needs (io_uring, bpf, userfaultfd, perf, keyrings).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads, sock_filter,
};

/// Installs the filter. Answers in words what it forbids.
///
/// # Errors
/// An architecture that the filter is not written for, a kernel without filters.
pub(super) fn confine() -> Result<&'static str, seccompiler::Error> {
    // Workers are single-threaded here, but the price of saying "all threads" is nothing.
    apply_filter_all_threads(&program(forbidden()?, libc::EPERM)?)?;
    // The C library is told that the newer call does not exist, and makes threads with the older
    // one, whose flags can be looked at.
    apply_filter_all_threads(&program(rules([libc::SYS_clone3]), libc::ENOSYS)?)?;
    Ok("no new processes, sockets, debugging or file modes")
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules(calls: impl IntoIterator<Item = i64>) -> Rules {
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

fn program(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refusal = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch)?;
    let program = BpfProgram::try_from(filter)?;
    Ok(without_x32(program))
}

/// On x86-64 every call exists a second time under another number, where the kernel was built for
/// the x32 ABI. Nothing of ours uses those; a filter that knows only the first would not see them.
fn without_x32(program: BpfProgram) -> BpfProgram {
    if !cfg!(target_arch = "x86_64") {
        return program;
    }
    const X32_BIT: u32 = 0x4000_0000;
    let refusal = SeccompAction::Errno(libc::ENOSYS.unsigned_abs()).into();
    let mut whole = vec![
        // A = the number of the call (the first field of `seccomp_data`)
        sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        // if A < X32_BIT skip the next one
        sock_filter { code: 0x35, jt: 0, jf: 1, k: X32_BIT },
        sock_filter { code: 0x06, jt: 0, jf: 0, k: refusal },
    ];
    whole.extend(program);
    whole
}

/// Where this call's own process is meant, it is fine.
fn of_others(argument: u8) -> Result<SeccompRule, seccompiler::BackendError> {
    let own = u64::from(std::process::id());
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Ne,
        own,
    )?])
}

/// Where these bits of an argument have this value.
fn bits(argument: u8, mask: u64, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(mask),
        value,
    )?])
}

fn forbidden() -> Result<Rules, seccompiler::BackendError> {
    let mut forbidden = rules(NEVER.iter().chain(NEVER_HERE).copied());
    let flag = |flag: i32| u64::from(flag.unsigned_abs());

    // Threads, no processes; and no namespaces either way.
    let mut processes = vec![bits(0, flag(libc::CLONE_THREAD), 0)?];
    for namespace in NAMESPACES {
        processes.push(bits(0, flag(*namespace), flag(*namespace))?);
    }
    forbidden.insert(libc::SYS_clone, processes);
    // abort() and raise() signal the process itself.
    for (call, argument) in [
        (libc::SYS_kill, 0),
        (libc::SYS_tgkill, 0),
        (libc::SYS_rt_sigqueueinfo, 0),
        (libc::SYS_rt_tgsigqueueinfo, 0),
    ] {
        forbidden.insert(call, vec![of_others(argument)?]);
    }
    // 0 is the process itself.
    let mut others = vec![SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Ne,
        u64::from(std::process::id()),
    )?];
    others.push(SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?);
    forbidden.insert(libc::SYS_prlimit64, vec![SeccompRule::new(others)?]);
    // Datagrams can be sent to names without connecting; streams cannot.
    forbidden.insert(libc::SYS_socketpair, vec![bits(1, 0xf, flag(libc::SOCK_DGRAM))?]);
    // Typing into a terminal.
    forbidden.insert(
        libc::SYS_ioctl,
        vec![bits(1, 0xffff_ffff, 0x5412)?, bits(1, 0xffff_ffff, 0x541c)?],
    );
    Ok(forbidden)
}

const NAMESPACES: &[i32] = &[
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Forbidden whatever the arguments.
const NEVER: &[i64] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    // Sockets: the one that it has is connected already.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // What others share memory and messages through.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    // What files are.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    // Newer than the list of names, with one number on all architectures: fchmodat2, setxattrat,
    // removexattrat, open_tree_attr, file_setattr.
    452,
    463,
    466,
    467,
    469,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    // File systems and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_acct,
    // The kernel's own affairs.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_vhangup,
];

/// Older calls that this architecture has besides.
#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[i64] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    // Signals any thread of the system; the C library that uses it for its own is not among the
    // ones that drivers are made for.
    #[cfg(not(target_env = "musl"))]
    libc::SYS_tkill,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
];

#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[i64] = &[
    #[cfg(not(target_env = "musl"))]
    libc::SYS_tkill,
];

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    #[cfg(target_arch = "x86_64")]
    const ARCH: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCH: u32 = 0xc000_00b7;

    /// What the kernel would do: the part of its BPF machine that such filters use.
    fn verdict(program: &[sock_filter], call: i64, arguments: &[u64]) -> u32 {
        let mut data = Vec::new();
        data.extend(u32::try_from(call).unwrap().to_le_bytes());
        data.extend(ARCH.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        for at in 0..6 {
            data.extend(arguments.get(at).copied().unwrap_or_default().to_le_bytes());
        }
        let (mut a, mut at) = (0u32, 0);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            match step.code {
                0x20 => {
                    let from = step.k as usize;
                    a = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x54 => a &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(a == step.k),
                0x25 => at += jump(a > step.k),
                0x35 => at += jump(a >= step.k),
                0x06 => return step.k,
                other => panic!("an instruction that this machine does not know: {other:#x}"),
            }
        }
    }

    fn asked(call: i64, arguments: &[u64]) -> u32 {
        verdict(&program(forbidden().unwrap(), libc::EPERM).unwrap(), call, arguments)
    }

    #[test]
    fn the_filter_fits_into_the_kernel() {
        let program = program(forbidden().unwrap(), libc::EPERM).unwrap();
        // BPF_MAXINSNS
        assert!((100..4096).contains(&program.len()), "{}", program.len());
    }

    #[test]
    fn what_no_worker_needs_is_refused() {
        for call in NEVER.iter().chain(NEVER_HERE) {
            assert_eq!(asked(*call, &[]), EPERM, "call {call}");
        }
    }

    #[test]
    fn what_computing_needs_is_allowed() {
        for call in [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_sendto,
            libc::SYS_recvmsg,
            libc::SYS_openat,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_futex,
            libc::SYS_memfd_create,
            libc::SYS_eventfd2,
            libc::SYS_epoll_create1,
            libc::SYS_sched_setaffinity,
            libc::SYS_sched_getaffinity,
            libc::SYS_mbind,
            libc::SYS_mlock,
            libc::SYS_madvise,
            libc::SYS_prctl,
            libc::SYS_getrandom,
            libc::SYS_rseq,
            libc::SYS_exit_group,
        ] {
            assert_eq!(asked(call, &[]), ALLOW, "call {call}");
        }
        assert_eq!(asked(libc::SYS_ioctl, &[5, 0xc020_462a]), ALLOW, "of a GPU");
        assert_eq!(asked(libc::SYS_ioctl, &[0, 0x5412]), EPERM, "TIOCSTI");
        // The kernel looks at the lower half alone.
        assert_eq!(asked(libc::SYS_ioctl, &[0, 0x1_0000_5412]), EPERM, "TIOCSTI");
    }

    #[test]
    fn threads_are_made_and_processes_and_namespaces_are_not() {
        let thread = (libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as u64;
        assert_eq!(asked(libc::SYS_clone, &[thread]), ALLOW);
        assert_eq!(asked(libc::SYS_clone, &[libc::SIGCHLD as u64]), EPERM);
        assert_eq!(asked(libc::SYS_clone, &[thread | libc::CLONE_NEWNET as u64]), EPERM);
        let newer = program(rules([libc::SYS_clone3]), libc::ENOSYS).unwrap();
        assert_eq!(verdict(&newer, libc::SYS_clone3, &[]), ENOSYS);
        assert_eq!(verdict(&newer, libc::SYS_clone, &[thread]), ALLOW);
    }

    #[test]
    fn a_process_may_signal_and_limit_itself_alone() {
        let own = u64::from(std::process::id());
        for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo] {
            assert_eq!(asked(call, &[own, own, 6]), ALLOW, "call {call}");
            // Its parent, its group, everybody.
            for other in [1, own + 1, 0, u64::MAX] {
                assert_eq!(asked(call, &[other, other, 6]), EPERM, "call {call} of {other}");
            }
        }
        assert_eq!(asked(libc::SYS_prlimit64, &[0, 4]), ALLOW);
        assert_eq!(asked(libc::SYS_prlimit64, &[own, 4]), ALLOW);
        assert_eq!(asked(libc::SYS_prlimit64, &[1, 4]), EPERM);
    }

    #[test]
    fn pairs_of_sockets_that_can_reach_a_name_are_refused() {
        let kind = |kind: i32| asked(libc::SYS_socketpair, &[1, kind as u64, 0]);
        assert_eq!(kind(libc::SOCK_STREAM | libc::SOCK_CLOEXEC), ALLOW);
        assert_eq!(kind(libc::SOCK_SEQPACKET), ALLOW);
        assert_eq!(kind(libc::SOCK_DGRAM | libc::SOCK_NONBLOCK), EPERM);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_second_numbers_of_calls_lead_nowhere() {
        assert_eq!(asked(libc::SYS_execve | 0x4000_0000, &[]), ENOSYS);
        assert_eq!(asked(libc::SYS_read | 0x4000_0000, &[]), ENOSYS);
    }
}

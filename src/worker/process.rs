//! What the worker process asks of the system before it does anything else, and what it survives.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Whether a panic on this thread is expected and will be caught.
    static SURVIVES: Cell<bool> = const { Cell::new(false) };
}

/// The variable by which the daemon says that this process may leave core dumps.
const CORE_DUMPS: &str = "MODELD_CORE_DUMPS";

/// Asks the system to end this process with its parent, to write no core dumps (they would hold
/// prompts) and let no other process of this user look inside, and to take this process first when
/// memory runs out. All of it best effort: end of file on the standard input ends an orphan in any
/// case.
pub fn harden() {
    die_with_parent();
    // Before the files in /proc belong to root.
    offer_to_the_oom_killer();
    if std::env::var_os(CORE_DUMPS).is_none_or(|wish| wish != "on") {
        no_core_dumps();
        keep_closed();
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent() {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    let parent = getppid();
    let asked = set_parent_process_death_signal(Some(Signal::KILL));
    tracing::debug!(?asked, "parent death signal");
    // A parent that died before the call sends no signal any more.
    if getppid() != parent {
        super::llama::exit_now(super::exit::DAEMON_GONE);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}

fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::debug!(%error, "core dumps could not be switched off");
    }
}

/// A pipe that takes core dumps ignores the limit, and other processes of the same user could read
/// the memory.
#[cfg(target_os = "linux")]
fn keep_closed() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::debug!(%error, "the memory could not be closed to others");
    }
}

#[cfg(not(target_os = "linux"))]
fn keep_closed() {}

#[cfg(target_os = "linux")]
fn offer_to_the_oom_killer() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "500") {
        tracing::debug!(%error, "the OOM score could not be set");
    }
}

#[cfg(not(target_os = "linux"))]
fn offer_to_the_oom_killer() {}

/// Makes a panic in any thread end the process, except inside [`survive`]. The message stays out of
/// the log: it can quote the text that the code stumbled over, which may be a prompt.
pub fn exit_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let place = place.as_deref().unwrap_or("unknown");
        if SURVIVES.get() {
            return tracing::warn!(place, "a decoder panicked on a file");
        }
        tracing::error!(place, "a panic ends this worker");
        super::llama::exit_now(super::exit::PANIC);
    }));
}

/// Runs safe code of others on bytes of others: `None` if it panics. Only for code that shares
/// nothing with the rest, so that nothing half-done can be left behind.
pub fn survive<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = SURVIVES.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    SURVIVES.set(before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHILD: &str = "MODELD_TEST_PANIC";

    /// Runs in the child alone.
    #[test]
    #[ignore = "ends the process that runs it"]
    fn child_that_panics() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
        exit_on_panic();
        assert_eq!(survive(|| -> u32 { panic!("a file with a canary in it") }), None);
        let prompt = "the prompt with a canary in it";
        let thread = std::thread::spawn(move || panic!("no template for {prompt:?}"));
        let _ = thread.join();
    }

    #[test]
    fn a_panic_ends_the_process_and_says_where_and_not_what() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["worker::process::tests::child_that_panics", "--exact", "--ignored"])
            .arg("--nocapture")
            .env(CHILD, "1")
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[child.stdout, child.stderr].concat()).into_owned();
        assert_eq!(child.status.code(), Some(crate::worker::exit::PANIC), "{said}");
        assert!(said.contains("a decoder panicked") && said.contains("process.rs:"), "{said}");
        assert!(said.contains("a panic ends this worker") && !said.contains("canary"), "{said}");
    }

    #[test]
    fn a_panic_inside_is_survived_and_the_next_one_is_not_expected_any_more() {
        assert_eq!(survive(|| 7), Some(7));
        assert_eq!(survive(|| -> u32 { panic!("a damaged file") }), None);
        assert!(!SURVIVES.get());
    }
}

//! What one thread has computed, as seen from another one.

use std::time::Duration;

/// The processor time of the thread that made it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ThreadClock {
    #[cfg(target_os = "linux")]
    thread: i32,
}

#[cfg(target_os = "linux")]
impl ThreadClock {
    pub(super) fn of_this_thread() -> Self {
        Self { thread: rustix::thread::gettid().as_raw_nonzero().get() }
    }

    /// Since the thread began, in user and kernel mode (`utime` and `stime`, proc_pid_stat(5)); a
    /// running thread's last tick may be missing. `None`: it has ended, or there is no `/proc`.
    pub(super) fn computed(self) -> Option<Duration> {
        let own = procfs::process::Process::myself().ok()?;
        let stat = own.task_from_tid(self.thread).ok()?.stat().ok()?;
        let ticks = stat.utime.checked_add(stat.stime)?;
        let per_second = procfs::ticks_per_second();
        let whole = Duration::from_secs(ticks.checked_div(per_second)?);
        let rest = ticks.checked_rem(per_second)?;
        // Fewer than a second's ticks, each a millisecond at least.
        let rest = rest.saturating_mul(1_000_000_000).checked_div(per_second)?;
        Some(whole.saturating_add(Duration::from_nanos(rest)))
    }
}

#[cfg(not(target_os = "linux"))]
impl ThreadClock {
    pub(super) fn of_this_thread() -> Self {
        Self {}
    }

    /// The system says it to the thread itself alone.
    pub(super) fn computed(self) -> Option<Duration> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn another_thread_is_seen_computing_and_not_resting() {
        let (send, clock) = std::sync::mpsc::channel();
        let (rest, rested) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let own = ThreadClock::of_this_thread();
            while own.computed().expect("there is a /proc") < Duration::from_millis(50) {}
            send.send(own).unwrap();
            rested.recv()
        });
        let clock = clock.recv().unwrap();
        let computed = clock.computed().unwrap();
        assert!(computed >= Duration::from_millis(50), "{computed:?}");
        // This thread computes as much, the other one waits.
        let own = ThreadClock::of_this_thread();
        let begun = own.computed().unwrap();
        while own.computed().unwrap() < begun + Duration::from_millis(100) {}
        assert!(clock.computed().unwrap() < computed + Duration::from_millis(50));
        drop(rest);
        let _ = worker.join();
    }
}

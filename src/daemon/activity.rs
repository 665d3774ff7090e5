//! Whether anybody uses the daemon at this moment.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// How many connections have work or may be about to have some; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity {
    live: watch::Sender<usize>,
}

impl Activity {
    /// A connection that was just accepted: its request is on its way. It counts from here on,
    /// before any task of its own runs.
    pub(super) fn enter(&self) -> Presence {
        let presence = Presence { activity: self.clone(), live: AtomicBool::new(false) };
        presence.set(true);
        presence
    }

    pub(super) fn is_quiet(&self) -> bool {
        *self.live.borrow() == 0
    }

    /// A notice of each change; one that came and went is a change too.
    pub(super) fn changes(&self) -> watch::Receiver<usize> {
        self.live.subscribe()
    }
}

/// One connection; it counts while it has work.
#[derive(Debug)]
pub(super) struct Presence {
    activity: Activity,
    live: AtomicBool,
}

impl Presence {
    /// Whether it has work: not while it only idles between two requests.
    pub(super) fn set(&self, live: bool) {
        if self.live.swap(live, Ordering::AcqRel) == live {
            return;
        }
        self.activity.live.send_modify(|count| {
            *count = if live { count.saturating_add(1) } else { count.saturating_sub(1) };
        });
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_once_until_it_idles_or_ends() {
        let activity = Activity::default();
        let (one, two) = (activity.enter(), activity.enter());
        one.set(true);
        one.set(false);
        assert!(!activity.is_quiet());
        drop(two);
        assert!(activity.is_quiet());
        one.set(true);
        assert!(!activity.is_quiet());
        drop(one);
        assert!(activity.is_quiet());
    }
}

//! How many connections over TCP there may be: so many on all listeners together, shared evenly by
//! those that are open at the moment. The Unix socket needs none of them, so that no flood over TCP
//! can lock the owner out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections over TCP, on all listeners together.
const MAX_TCP: usize = 1024;

/// The seats of all listeners together.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    count: Mutex<Count>,
    /// A seat, or a listener's part, may have become free.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Count {
    taken: usize,
    listeners: usize,
}

/// One listener's part of the seats, which grows and shrinks with the number of listeners. What it
/// holds beyond a part that shrank, it keeps until its clients go.
#[derive(Debug)]
pub(super) struct Share {
    seats: Arc<Seats>,
    taken: Arc<AtomicUsize>,
}

/// Room for one connection, until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    share: Arc<AtomicUsize>,
}

impl Seats {
    /// As many as a process that may have so many descriptors can give away. At most half of them:
    /// without one, nobody could be accepted on the Unix socket either.
    pub(super) fn within(descriptors: Option<u64>) -> Arc<Self> {
        let half = descriptors.map_or(MAX_TCP, |most| usize::try_from(most / 2).unwrap_or(MAX_TCP));
        let most = MAX_TCP.min(half).max(1);
        Arc::new(Self { most, count: Mutex::default(), freed: Notify::new() })
    }

    /// The part of one more listener.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        let mut count = self.count();
        count.listeners = count.listeners.saturating_add(1);
        Share { seats: Arc::clone(self), taken: Arc::default() }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        // Nothing in between leaves it half changed.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, count: &Count) -> usize {
        self.most.checked_div(count.listeners).unwrap_or(self.most).max(1)
    }
}

impl Share {
    /// Takes a seat; waits until there is one.
    pub(super) async fn seat(&self) -> Seat {
        loop {
            let freed = self.seats.freed.notified();
            if let Some(seat) = self.try_seat() {
                return seat;
            }
            freed.await;
        }
    }

    fn try_seat(&self) -> Option<Seat> {
        let mut count = self.seats.count();
        // Each listener can have one, however few there are.
        let most = self.seats.most.max(count.listeners);
        let own = self.taken.load(Ordering::Relaxed);
        if own >= self.seats.part(&count) || count.taken >= most {
            return None;
        }
        count.taken = count.taken.saturating_add(1);
        self.taken.store(own.saturating_add(1), Ordering::Relaxed);
        Some(Seat { seats: Arc::clone(&self.seats), share: Arc::clone(&self.taken) })
    }

    /// Whether less than a quarter of this part is left.
    pub(super) fn is_scarce(&self) -> bool {
        let part = self.seats.part(&self.seats.count());
        let left = part.saturating_sub(self.taken.load(Ordering::Relaxed));
        left < part / 4
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut count = self.seats.count();
        count.listeners = count.listeners.saturating_sub(1);
        drop(count);
        self.seats.freed.notify_waiters();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut count = self.seats.count();
        count.taken = count.taken.saturating_sub(1);
        self.share.store(self.share.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
        drop(count);
        self.seats.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn all(share: &Share) -> Vec<Seat> {
        std::iter::from_fn(|| share.try_seat()).collect()
    }

    #[test]
    fn there_are_never_more_than_half_the_descriptors() {
        for (descriptors, most) in [
            (None, 1024),
            (Some(1 << 20), 1024),
            (Some(1024), 512),
            (Some(300), 150),
            (Some(1), 1),
            (Some(0), 1),
        ] {
            let seats = Seats::within(descriptors);
            assert_eq!(all(&seats.share()).len(), most, "{descriptors:?}");
        }
    }

    #[test]
    fn listeners_share_evenly_and_all_together_have_no_more() {
        let seats = Seats::within(Some(24));
        let first = seats.share();
        let taken = all(&first);
        assert_eq!(taken.len(), 12);
        // One that is opened while the first has everything gets its part as clients go.
        let second = seats.share();
        assert_eq!(all(&second).len(), 0);
        let mut taken = taken.into_iter();
        drop(taken.by_ref().take(4).collect::<Vec<_>>());
        assert_eq!(all(&first).len(), 0, "beyond its part");
        let of_second = all(&second);
        assert_eq!(of_second.len(), 4);
        drop(taken);
        assert_eq!((all(&first).len(), all(&second).len()), (6, 2));
        // Its clients stay when a listener goes; its part is the other's.
        drop(second);
        assert_eq!(all(&first).len(), 8);
        drop(of_second);
        assert_eq!(all(&first).len(), 12);
    }

    #[test]
    fn the_last_quarter_is_scarce() {
        let seats = Seats::within(Some(32));
        let share = seats.share();
        let mut held = Vec::new();
        for taken in 0..=16 {
            assert_eq!(share.is_scarce(), taken > 12, "{taken}");
            held.extend(share.try_seat());
        }
        assert_eq!(held.len(), 16);
    }

    #[test]
    fn each_listener_gets_one_where_there_are_fewer_than_listeners() {
        let seats = Seats::within(Some(2));
        let (first, second) = (seats.share(), seats.share());
        let one = all(&first);
        assert_eq!((one.len(), all(&second).len()), (1, 1));
    }

    #[tokio::test]
    async fn who_waits_gets_the_seat_of_who_goes() {
        let seats = Seats::within(Some(2));
        let share = seats.share();
        let seat = share.seat().await;
        let mut next = Box::pin(share.seat());
        assert!(next.as_mut().now_or_never().is_none());
        drop(seat);
        next.await;
    }
}

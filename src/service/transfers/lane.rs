use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// Lets at most so many through at once, in the order in which they came; the others know how many
/// have to leave first.
pub(super) struct Lane {
    places: AtomicUsize,
    /// The tickets of all that run or wait, in order. The number is the next one to give.
    tickets: watch::Sender<(u64, BTreeSet<u64>)>,
}

/// A place in a lane, given back when dropped.
pub(super) struct Ticket<'a> {
    lane: &'a Lane,
    number: u64,
}

impl Lane {
    pub(super) fn new(places: NonZeroUsize) -> Self {
        Self { places: places.get().into(), tickets: watch::Sender::new((0, BTreeSet::new())) }
    }

    /// How many run at once.
    pub(super) fn places(&self) -> usize {
        self.places.load(Ordering::Relaxed)
    }

    /// So many from now on; who runs already goes on.
    pub(super) fn set_places(&self, places: NonZeroUsize) {
        self.places.store(places.get(), Ordering::Relaxed);
        // Wakes those who wait.
        self.tickets.send_modify(|_| ());
    }

    /// Waits for a place. `waiting` hears, whenever that changes, how many others have to leave
    /// first.
    pub(super) async fn enter(&self, waiting: impl Fn(usize)) -> Ticket<'_> {
        let mut number = 0;
        self.tickets.send_modify(|(next, held)| {
            number = *next;
            *next = next.saturating_add(1);
            held.insert(number);
        });
        let ticket = Ticket { lane: self, number };
        let mut changes = self.tickets.subscribe();
        let mut told = 0;
        loop {
            let before = changes.borrow_and_update().1.range(..number).count();
            let missing = before.saturating_add(1).saturating_sub(self.places());
            if missing == 0 {
                return ticket;
            }
            if missing != told {
                told = missing;
                waiting(missing);
            }
            if changes.changed().await.is_err() {
                // Cannot be: the sender is in `self`.
                return ticket;
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.lane.tickets.send_modify(|(_, held)| {
            held.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn first_come_first_served_and_who_waits_knows_for_how_many() {
        let lane = Lane::new(NonZeroUsize::new(2).expect("two"));
        let told = Mutex::new(Vec::new());
        let first = lane.enter(|_| panic!("there is room")).now_or_never().expect("a place");
        let second = lane.enter(|_| panic!("there is room")).now_or_never().expect("a place");
        let note = |name: &'static str| {
            let told = &told;
            move |missing| told.lock().expect("unpoisoned").push((name, missing))
        };
        let mut third = Box::pin(lane.enter(note("third")));
        let mut fourth = Box::pin(lane.enter(note("fourth")));
        assert!(third.as_mut().now_or_never().is_none());
        assert!(fourth.as_mut().now_or_never().is_none());
        drop(second);
        let third = third.now_or_never().expect("a place");
        assert!(fourth.as_mut().now_or_never().is_none());
        assert_eq!(*told.lock().expect("unpoisoned"), [("third", 1), ("fourth", 2), ("fourth", 1)]);
        drop((first, third));
        assert!(fourth.now_or_never().is_some());
    }

    #[test]
    fn more_places_let_those_in_who_wait_and_fewer_put_nobody_out() {
        let lane = Lane::new(NonZeroUsize::MIN);
        let first = lane.enter(|_| ()).now_or_never().expect("a place");
        let mut second = Box::pin(lane.enter(|_| ()));
        assert!(second.as_mut().now_or_never().is_none());
        lane.set_places(NonZeroUsize::new(2).expect("two"));
        let second = second.now_or_never().expect("a place");
        lane.set_places(NonZeroUsize::MIN);
        let mut third = Box::pin(lane.enter(|_| ()));
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        assert!(third.now_or_never().is_some());
    }

    #[test]
    fn who_stops_waiting_holds_nobody_up() {
        let lane = Lane::new(NonZeroUsize::MIN);
        let first = lane.enter(|_| ()).now_or_never().expect("a place");
        let mut second = Box::pin(lane.enter(|_| ()));
        let mut third = Box::pin(lane.enter(|_| ()));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        drop(first);
        assert!(third.now_or_never().is_some());
    }
}

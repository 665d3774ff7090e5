//! How much memory the bodies of requests may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;

use super::MAX_BODY;
use crate::api::ListenerClass;
use crate::domain::{Error, ErrorKind, Result};

/// For bodies over TCP, whoever sends them: with [`Room::take`]'s rule three of the largest at a time,
/// and where all 1,024 connections that there may be take what they can, 256 KiB for each.
const OVER_TCP: usize = 256 << 20;
/// For those of the members of a group on a Unix socket.
const OF_GROUP: usize = 256 << 20;
/// For those of the owner, who may take the machine's memory anyway: it only stops a program that has
/// lost its way.
const OF_OWNER: usize = 1 << 30;

const _: () = assert!(2 * MAX_BODY <= OVER_TCP, "the largest body has to fit an idle daemon");

/// When somebody who was refused may try again: bodies come and go within seconds as a rule.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The rooms of a daemon, one for each kind of client, so that none can take another's; cheap to
/// clone.
#[derive(Debug, Clone)]
pub(in crate::api) struct Rooms {
    tcp: Arc<Room>,
    group: Arc<Room>,
    owner: Arc<Room>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            tcp: Room::new("over TCP", OVER_TCP),
            group: Room::new("of the socket's group", OF_GROUP),
            owner: Room::new("over the Unix socket", OF_OWNER),
        }
    }
}

impl Rooms {
    /// A place in the room of whoever sent the request with these extensions, with nothing in it.
    pub(super) fn place(extensions: &Extensions) -> Place {
        let rooms = extensions.get::<Self>().cloned().unwrap_or_default();
        let room = match extensions.get::<ListenerClass>() {
            Some(ListenerClass::Unix) => rooms.owner,
            Some(ListenerClass::Group) => rooms.group,
            Some(
                ListenerClass::Tcp { .. }
                | ListenerClass::Public { .. }
                | ListenerClass::Containers { .. }
                | ListenerClass::Ollama { .. },
            )
            | None => rooms.tcp,
        };
        Place { room, held: 0 }
    }
}

#[derive(Debug)]
struct Room {
    /// Whose bodies they are.
    of: &'static str,
    size: usize,
    taken: AtomicUsize,
}

impl Room {
    fn new(of: &'static str, size: usize) -> Arc<Self> {
        Arc::new(Self { of, size, taken: AtomicUsize::new(0) })
    }

    /// Takes `more` bytes for somebody who holds `held`, or answers how many are taken. Nobody gets
    /// more than he leaves free: however few try to fill the room, there is as much again for who
    /// comes next, and nothing has to be kept for what somebody only announces.
    fn take(&self, held: usize, more: usize) -> std::result::Result<(), usize> {
        let fits = |taken: usize| {
            let taken = taken.checked_add(more)?;
            let free = self.size.checked_sub(taken)?;
            (held.checked_add(more)? <= free).then_some(taken)
        };
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).map(|_| ())
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// What one body takes of a room, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    held: usize,
}

impl Place {
    /// Makes room for `more` bytes that came.
    ///
    /// # Errors
    /// `MemoryBusy` where others have it.
    pub(super) fn grow(&mut self, more: usize) -> Result<()> {
        let taken = match self.room.take(self.held, more) {
            Ok(()) => {
                self.held = self.held.saturating_add(more);
                return Ok(());
            }
            Err(taken) => taken,
        };
        let message = format!(
            "the bodies of requests {} take {} of their {} KiB of memory, {} KiB for what came of this \
             one, which leaves too little for more of it; try again in {} s or send a smaller one",
            self.room.of,
            taken.div_ceil(1 << 10),
            self.room.size >> 10,
            self.held.div_ceil(1 << 10),
            TRY_AGAIN.as_secs()
        );
        Err(Error::new(ErrorKind::MemoryBusy, message).with_retry_after(TRY_AGAIN))
    }

    /// Binds the place to the bytes that it is for: it is free again when nobody has them any more.
    pub(super) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.give_back(self.held);
    }
}

struct Held {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn place(rooms: &Rooms, class: Option<ListenerClass>) -> Place {
        let mut extensions = Extensions::new();
        extensions.insert(rooms.clone());
        class.map(|class| extensions.insert(class));
        Rooms::place(&extensions)
    }

    fn tcp() -> Option<ListenerClass> {
        Some(ListenerClass::Tcp { local: ([127, 0, 0, 1], 1).into() })
    }

    /// Takes what there is for it, a MiB at a time.
    fn fill(place: &mut Place) -> usize {
        (0..MAX_BODY / MIB).take_while(|_| place.grow(MIB).is_ok()).count()
    }

    #[test]
    fn who_takes_all_that_he_can_leaves_as_much_to_the_next() {
        let rooms = Rooms::default();
        let mut places: Vec<Place> = (0..6).map(|_| place(&rooms, tcp())).collect();
        let taken: Vec<usize> = places.iter_mut().map(fill).collect();
        assert_eq!(taken, [64, 64, 64, 32, 16, 8]);
        places.truncate(2);
        assert_eq!(fill(&mut place(&rooms, tcp())), 64, "what was given back is free");
        drop(places);
        assert_eq!(rooms.tcp.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn as_many_as_there_may_be_get_something_each() {
        let rooms = Rooms::default();
        let mut places: Vec<Place> = (0..1024).map(|_| place(&rooms, tcp())).collect();
        // All at the same pace, as far as they come.
        while places.iter_mut().filter_map(|place| place.grow(16 << 10).ok()).count() > 0 {}
        let least = places.iter().map(|place| place.held).min();
        assert!(least >= Some(240 << 10), "{least:?}");
        assert!(place(&rooms, tcp()).grow(64 << 10).is_ok());
    }

    #[test]
    fn no_kind_of_client_takes_the_room_of_another() {
        let rooms = Rooms::default();
        let kinds = [tcp(), Some(ListenerClass::Group), Some(ListenerClass::Unix)];
        let mut held = Vec::new();
        for kind in kinds {
            let mut first = place(&rooms, kind);
            assert_eq!(fill(&mut first), 64, "{kind:?}");
            held.push(first);
            held.extend((0..40).map(|_| {
                let mut other = place(&rooms, kind);
                fill(&mut other);
                other
            }));
        }
        // Where it is not known who is there, it is nobody who may more.
        assert_eq!(fill(&mut place(&rooms, None)), 0);
    }

    #[test]
    fn the_refusal_has_the_numbers() {
        let rooms = Rooms::default();
        let mut places: Vec<Place> = (0..3).map(|_| place(&rooms, tcp())).collect();
        places.iter_mut().for_each(|place| assert_eq!(fill(place), 64));
        let mut late = place(&rooms, tcp());
        late.grow(MIB).expect("room");
        let error = late.grow(40 * MIB).expect_err("no room");
        assert_eq!(error.kind, ErrorKind::MemoryBusy);
        assert_eq!(error.retry_after, Some(TRY_AGAIN));
        assert_eq!(
            error.message,
            "the bodies of requests over TCP take 197632 of their 262144 KiB of memory, 1024 KiB for \
             what came of this one, which leaves too little for more of it; try again in 5 s or send \
             a smaller one"
        );
    }

    #[test]
    fn bytes_hold_their_place_as_long_as_somebody_has_them() {
        let rooms = Rooms::default();
        let mut place = place(&rooms, tcp());
        place.grow(5).expect("room");
        let bytes = place.hold(Bytes::from_static(b"hello"));
        let end = bytes.slice(3..);
        drop(bytes);
        assert_eq!((&*end, rooms.tcp.taken.load(Ordering::Relaxed)), (&b"lo"[..], 5));
        drop(end);
        assert_eq!(rooms.tcp.taken.load(Ordering::Relaxed), 0);
    }
}

//! The TCP listeners of one daemon, which may come and go while it runs.
//!
//! ```text
//!             serve                    turn away
//!  bound ──────────────▶ Open ──────────────────────▶ Parked      where somebody else holds the
//!                          │ ◀────────────────────────  │         socket as well
//!                   close  │          take back         │ let go
//!                          ▼                            ▼
//!                         gone                         gone
//! ```
//!
//! A listener that goes takes its connections along, each after the request that it is answering;
//! those of other listeners do not notice.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::accept::{Acceptor, turn_away};
use super::door::Door;
use super::listen;

/// Cheap to clone; clones are the same ones.
#[derive(Clone, Default)]
pub(super) struct TcpListeners {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// There while the daemon serves. It holds the routes, which hold this: who ends takes it out.
    acceptor: Mutex<Option<Acceptor>>,
    /// Whether the service manager keeps what is opened for the next daemon.
    keeps: AtomicBool,
    /// How many there have been.
    numbers: AtomicU64,
    /// All there are, whatever is being done to them at the moment.
    places: Mutex<Vec<Place>>,
    running: Mutex<Vec<Running>>,
    /// Those that nobody accepts on for a moment.
    paused: Mutex<Vec<(Place, TcpListener)>>,
    /// One change at a time, and none while they are paused.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Tells that something may be open elsewhere.
    moved: watch::Sender<()>,
}

/// One listener, whether it is being accepted on or not.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub door: Door,
    pub address: SocketAddr,
    /// Whether somebody else opened its socket, and holds it as well.
    pub inherited: bool,
    /// Whether who connects is served, or closed at once.
    pub purpose: Purpose,
    /// Cancelled: its connections end, each after the request at hand.
    closing: CancellationToken,
    number: u64,
}

/// What is done with who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// They are served.
    Open,
    /// They are closed at once, because nobody else would accept them.
    Parked,
}

impl Place {
    #[cfg(test)]
    pub(super) fn new(door: Door, address: SocketAddr, purpose: Purpose) -> Self {
        let closing = CancellationToken::new();
        Self { door, address, inherited: false, purpose, closing, number: 0 }
    }

    /// Whether it is open at the address, for the same.
    pub(super) fn is(&self, door: Door, address: SocketAddr) -> bool {
        self.door == door && self.address == address
    }

    /// Whether a listener at the address cannot be opened beside it.
    pub(super) fn is_in_the_way_of(&self, address: SocketAddr) -> bool {
        excludes(self.address, address)
    }
}

/// Whether there cannot be listeners at both.
pub(super) fn excludes(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port()
        && (first == second || first.is_unspecified() || second.is_unspecified())
}

/// Whether two addresses are one, however it is written.
pub(super) fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

/// A listener that a task accepts on.
struct Running {
    place: Place,
    stop: CancellationToken,
    /// `None`: nothing can be accepted on it any more.
    accepting: JoinHandle<Option<TcpListener>>,
}

impl Running {
    /// Accepts no more; what was accepted is being served. `None`: the socket is closed, because
    /// nothing could be accepted on it or the task has panicked.
    async fn stop(self) -> (Place, Option<TcpListener>) {
        self.stop.cancel();
        let listener = self.accepting.await.unwrap_or_else(|error| {
            tracing::error!(%error, address = %self.place.address, "a listener was lost");
            None
        });
        (self.place, listener)
    }
}

impl TcpListeners {
    /// From now on listeners may be served. `keeps`: the service manager keeps what is opened.
    pub(super) fn start(&self, acceptor: &Acceptor, keeps: bool) {
        self.inner.keeps.store(keeps, Ordering::Relaxed);
        *held(&self.inner.acceptor) = Some(acceptor.clone());
    }

    /// Closes our descriptors, because the daemon stops; what others hold goes on listening. Where
    /// they are not paused, who has just been accepted may be dropped.
    pub(super) fn end(&self) {
        held(&self.inner.acceptor).take();
        held(&self.inner.paused).clear();
        held(&self.inner.running).drain(..).for_each(|one| one.stop.cancel());
        held(&self.inner.places).clear();
    }

    /// What accepts; `None` before the start and after the end.
    pub(super) fn acceptor(&self) -> Option<Acceptor> {
        let acceptor = held(&self.inner.acceptor).clone();
        acceptor.filter(|all| !all.server.closing.is_cancelled())
    }

    /// Keeps other changes away while it is held.
    pub(super) async fn change(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.inner.changing).lock_owned().await
    }

    /// All of them, the parked ones too.
    pub(super) fn places(&self) -> Vec<Place> {
        held(&self.inner.places).clone()
    }

    fn forget(&self, gone: &Place) {
        held(&self.inner.places).retain(|place| place.number != gone.number);
        self.inner.moved.send_replace(());
    }

    /// Tells that it may be worth asking again what is open.
    pub(super) fn moves(&self) -> watch::Receiver<()> {
        self.inner.moved.subscribe()
    }

    /// Those that are open.
    pub(super) fn open(&self) -> Vec<Place> {
        let mut all = self.places();
        all.retain(|place| place.purpose == Purpose::Open);
        all
    }

    /// Whether somebody else holds the sockets of all of them.
    pub(super) fn are_inherited(&self) -> bool {
        self.places().iter().all(|place| place.inherited)
    }

    /// Begins to accept.
    pub(super) fn serve(
        &self,
        acceptor: &Acceptor,
        listener: TcpListener,
        door: Door,
        inherited: bool,
        purpose: Purpose,
    ) {
        let Ok(address) = listener.local_addr() else { return };
        let closing = acceptor.server.closing.child_token();
        let number = self.inner.numbers.fetch_add(1, Ordering::Relaxed);
        let place = Place { door, address, inherited, purpose, closing, number };
        self.run(acceptor, place, listener);
    }

    fn run(&self, acceptor: &Acceptor, place: Place, listener: TcpListener) {
        {
            let mut places = held(&self.inner.places);
            match places.iter_mut().find(|known| known.number == place.number) {
                Some(known) => known.clone_from(&place),
                None => places.push(place.clone()),
            }
        }
        let stop = CancellationToken::new();
        let mut own = acceptor.clone();
        own.stop = stop.clone();
        own.server.closing = place.closing.clone();
        let (inner, own_place) = (Arc::downgrade(&self.inner), place.clone());
        let accepting = tokio::spawn(async move {
            let listener = match own_place.purpose {
                Purpose::Open => own.tcp(listener, own_place.door).await,
                Purpose::Parked => turn_away(listener, own.stop).await,
            };
            if let (None, Some(inner)) = (&listener, inner.upgrade()) {
                Self { inner }.forget(&own_place);
            }
            listener
        });
        held(&self.inner.running).push(Running { place, stop, accepting });
        self.inner.moved.send_replace(());
    }

    /// Accepts no more, for a moment: who connects waits in the backlog. Nothing changes until what
    /// it returns is dropped, after [`TcpListeners::resume`] or [`TcpListeners::end`].
    pub(super) async fn pause(&self) -> OwnedMutexGuard<()> {
        let none_changes = self.change().await;
        // To its end, whatever becomes of who asked.
        let own = self.clone();
        let pausing = tokio::spawn(async move {
            let stopped = own.stop(|_| true).await;
            held(&own.inner.paused).extend(stopped);
        });
        if let Err(error) = pausing.await {
            tracing::error!(%error, "the listeners could not be paused");
        }
        none_changes
    }

    /// Accepts again.
    pub(super) fn resume(&self) {
        let Some(acceptor) = held(&self.inner.acceptor).clone() else { return };
        let paused = std::mem::take(&mut *held(&self.inner.paused));
        for (place, listener) in paused {
            self.run(&acceptor, place, listener);
        }
    }

    /// Closes those that `which` chooses to clients, and says which they were. What somebody else
    /// holds is parked: it is in nobody's power here to close it. Back when the ports of all others
    /// are free.
    pub(super) async fn close(&self, which: impl Fn(&Place) -> bool) -> Vec<Place> {
        let chosen = |place: &Place| place.purpose == Purpose::Open && which(place);
        let mut closed = Vec::new();
        for (mut place, listener) in self.stop(chosen).await {
            place.closing.cancel();
            let (address, flag) = (place.address, place.door.flag());
            if place.inherited {
                tracing::info!(%address, flag, "a listener is closed to clients");
                place.purpose = Purpose::Parked;
                closed.push(place.clone());
                if let Some(acceptor) = held(&self.inner.acceptor).clone() {
                    self.run(&acceptor, place, listener);
                }
                continue;
            }
            if self.keeps() {
                listen::release_port(&listener);
                listen::forget_tcp(place.door);
            }
            drop(listener);
            self.forget(&place);
            tracing::info!(%address, flag, "a listener was closed");
            closed.push(place);
        }
        self.inner.moved.send_replace(());
        closed
    }

    /// Opens parked listeners that `which` chooses to clients again.
    pub(super) async fn take_back(&self, acceptor: &Acceptor, which: impl Fn(&Place) -> bool) {
        let chosen = |place: &Place| place.purpose == Purpose::Parked && which(place);
        for (mut place, listener) in self.stop(chosen).await {
            tracing::info!(address = %place.address, flag = place.door.flag(), "a listener is open again");
            place.purpose = Purpose::Open;
            place.closing = acceptor.server.closing.child_token();
            self.run(acceptor, place, listener);
        }
    }

    /// Nobody else holds sockets at these addresses any more: closes our descriptors of those that are
    /// parked; those that are open are ours alone from now on.
    pub(super) async fn released(&self, addresses: &[SocketAddr]) {
        let is_meant = |place: &Place| {
            let at = |address: &SocketAddr| is_same(*address, place.address);
            place.inherited && addresses.iter().any(at)
        };
        for place in held(&self.inner.places).iter_mut().filter(|place| is_meant(place)) {
            place.inherited = place.purpose == Purpose::Parked;
        }
        for one in held(&self.inner.running).iter_mut().filter(|one| is_meant(&one.place)) {
            one.place.inherited = one.place.purpose == Purpose::Parked;
        }
        let gone = self.stop(|place| place.purpose == Purpose::Parked && is_meant(place)).await;
        for (place, _) in &gone {
            self.forget(place);
            tracing::info!(address = %place.address, "a parked listener was let go");
        }
    }

    /// Has the manager keep a listener of our own for the next daemon.
    pub(super) fn keep(&self, listener: BorrowedFd<'_>, door: Door) {
        if self.keeps() {
            listen::keep_tcp(listener, door);
        }
    }

    fn keeps(&self) -> bool {
        self.inner.keeps.load(Ordering::Relaxed)
    }

    async fn stop(&self, which: impl Fn(&Place) -> bool) -> Vec<(Place, TcpListener)> {
        let chosen: Vec<Running> = {
            let mut running = held(&self.inner.running);
            running.extract_if(.., |one| which(&one.place)).collect()
        };
        let mut stopped = Vec::new();
        for one in chosen {
            match one.stop().await {
                (place, Some(listener)) => stopped.push((place, listener)),
                (place, None) => self.forget(&place),
            }
        }
        stopped
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in between leaves it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

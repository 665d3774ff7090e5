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
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::accept::{Acceptor, turn_away};
use super::door::Door;
use super::listen;
use super::wanted::Wanted;

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
    all: Mutex<Vec<Listener>>,
    /// Those that are to be opened as soon as they can be.
    wanted: Mutex<Vec<Wanted>>,
    /// Asks to try so at once.
    again: Notify,
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

struct Listener {
    place: Place,
    hands: Hands,
}

/// Who has the socket of a listener.
enum Hands {
    /// A task that accepts on it until it is told to stop; `None` from it: nothing can be accepted
    /// any more.
    Accepting { stop: CancellationToken, task: JoinHandle<Option<TcpListener>> },
    /// Nobody accepts on it for a moment.
    Paused(TcpListener),
    /// Whoever is changing it.
    Change,
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
        for one in held(&self.inner.all).drain(..) {
            if let Hands::Accepting { stop, .. } = one.hands {
                stop.cancel();
            }
        }
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
        held(&self.inner.all).iter().map(|one| one.place.clone()).collect()
    }

    /// Has a listener opened as soon as it can be; in the place of what was known of it.
    pub(super) fn want(&self, new: Wanted) {
        let mut wanted = held(&self.inner.wanted);
        wanted.retain(|other| other.door != new.door);
        wanted.push(new);
    }

    /// Those that are to be opened as soon as they can be.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        held(&self.inner.wanted).clone()
    }

    /// Gives up those that `which` chooses, and answers whether there were any. Within a change.
    pub(super) fn unwant(&self, which: impl Fn(&Wanted) -> bool) -> bool {
        let gone = held(&self.inner.wanted).extract_if(.., |one| which(one)).count();
        gone > 0
    }

    /// Has what is wanted be tried at once.
    pub(super) fn try_again(&self) {
        self.inner.again.notify_one();
    }

    /// Completes when somebody asks for that.
    pub(super) async fn asked_again(&self) {
        self.inner.again.notified().await;
    }

    fn forget(&self, gone: &Place) {
        held(&self.inner.all).retain(|one| one.place.number != gone.number);
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
        held(&self.inner.all).push(Listener { place: place.clone(), hands: Hands::Change });
        self.accept(acceptor, place, listener);
    }

    /// Accepts on a listener that was taken out for a change, unless all were given up meanwhile.
    fn accept(&self, acceptor: &Acceptor, place: Place, listener: TcpListener) {
        {
            // Held until it is entered: a task may end at once, and then has it forgotten.
            let mut all = held(&self.inner.all);
            let known = all.iter_mut().find(|known| known.place.number == place.number);
            let Some(known) = known else { return };
            known.hands = self.accepting(acceptor, place.clone(), listener);
            known.place = place;
        }
        self.inner.moved.send_replace(());
    }

    fn accepting(&self, acceptor: &Acceptor, place: Place, listener: TcpListener) -> Hands {
        let stop = CancellationToken::new();
        let mut own = acceptor.clone();
        own.stop = stop.clone();
        own.server.closing = place.closing.clone();
        let inner = Arc::downgrade(&self.inner);
        let task = tokio::spawn(async move {
            let listener = match place.purpose {
                Purpose::Open => own.tcp(listener, place.door).await,
                Purpose::Parked => turn_away(listener, own.stop).await,
            };
            if let (None, Some(inner)) = (&listener, inner.upgrade()) {
                Self { inner }.forget(&place);
            }
            listener
        });
        Hands::Accepting { stop, task }
    }

    /// Accepts no more, for a moment: who connects waits in the backlog. Nothing changes until what
    /// it returns is dropped, after [`TcpListeners::resume`] or [`TcpListeners::end`].
    pub(super) async fn pause(&self) -> OwnedMutexGuard<()> {
        let none_changes = self.change().await;
        // To its end, whatever becomes of who asked.
        let own = self.clone();
        let pausing = tokio::spawn(async move {
            for (place, listener) in own.stop(|_| true).await {
                let mut all = held(&own.inner.all);
                if let Some(one) = all.iter_mut().find(|one| one.place.number == place.number) {
                    one.hands = Hands::Paused(listener);
                }
            }
        });
        if let Err(error) = pausing.await {
            tracing::error!(%error, "the listeners could not be paused");
        }
        none_changes
    }

    /// Accepts again.
    pub(super) fn resume(&self) {
        let Some(acceptor) = held(&self.inner.acceptor).clone() else { return };
        let paused: Vec<(Place, TcpListener)> = {
            let mut all = held(&self.inner.all);
            let paused = all.iter_mut().filter_map(|one| match one.take() {
                Hands::Paused(listener) => Some((one.place.clone(), listener)),
                other => {
                    one.hands = other;
                    None
                }
            });
            paused.collect()
        };
        for (place, listener) in paused {
            self.accept(&acceptor, place, listener);
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
                let acceptor = held(&self.inner.acceptor).clone();
                if let Some(acceptor) = acceptor {
                    self.accept(&acceptor, place, listener);
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
            self.accept(acceptor, place, listener);
        }
    }

    /// Nobody else holds sockets at these addresses any more: closes our descriptors of those that are
    /// parked; those that are open are ours alone from now on.
    pub(super) async fn released(&self, addresses: &[SocketAddr]) {
        let is_meant = |place: &Place| {
            let at = |address: &SocketAddr| is_same(*address, place.address);
            place.inherited && addresses.iter().any(at)
        };
        for one in held(&self.inner.all).iter_mut().filter(|one| is_meant(&one.place)) {
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

    /// Accepts no more on those that `which` chooses; what was accepted is being served. Those whose
    /// sockets are closed, because nothing could be accepted on them, are forgotten.
    async fn stop(&self, which: impl Fn(&Place) -> bool) -> Vec<(Place, TcpListener)> {
        let chosen: Vec<(Place, JoinHandle<Option<TcpListener>>)> = {
            let mut all = held(&self.inner.all);
            let chosen = all.iter_mut().filter(|one| which(&one.place));
            let chosen = chosen.filter_map(|one| match one.take() {
                Hands::Accepting { stop, task } => {
                    stop.cancel();
                    Some((one.place.clone(), task))
                }
                other => {
                    one.hands = other;
                    None
                }
            });
            chosen.collect()
        };
        let mut stopped = Vec::new();
        for (place, task) in chosen {
            let listener = task.await.unwrap_or_else(|error| {
                tracing::error!(%error, address = %place.address, "a listener was lost");
                None
            });
            match listener {
                Some(listener) => stopped.push((place, listener)),
                None => self.forget(&place),
            }
        }
        stopped
    }
}

impl Listener {
    /// What it was in, from now on in those of a change.
    fn take(&mut self) -> Hands {
        std::mem::replace(&mut self.hands, Hands::Change)
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in between leaves it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::accept::{Acceptor, Door};
use super::{DaemonError, containers, listen};
use crate::api::{ListenerControl, TcpChange, TcpState, TcpWish};
use crate::config::{Config, ContainerAddress, KeepError, Origin, keep, kept, settings};
use crate::doctor::port_holder;
use crate::domain::{Error, ErrorKind, Result};

/// The TCP listeners of one daemon, which may come and go while it runs. Cheap to clone.
///
/// A listener that goes takes its connections along, each after the request that it is answering;
/// those of other listeners do not notice.
#[derive(Clone)]
pub(super) struct TcpListeners {
    inner: Arc<Inner>,
}

struct Inner {
    /// There while the daemon serves. It holds the routes, which hold this: who ends takes it out.
    acceptor: Mutex<Option<Acceptor>>,
    /// Whether the service manager keeps what is opened for the next daemon.
    keeps: AtomicBool,
    open: Mutex<Vec<Open>>,
    /// Those that are not being accepted on for a moment.
    paused: Mutex<Vec<(Open, TcpListener)>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// `None`: there is no home, and nothing is kept.
    file: Option<PathBuf>,
    /// Who said what is open at the start, where that outlives a change.
    told: [(Door, Origin); 2],
}

struct Open {
    door: Door,
    address: SocketAddr,
    inherited: bool,
    stop: CancellationToken,
    closing: CancellationToken,
    /// `None` while it is paused.
    accepting: Option<JoinHandle<TcpListener>>,
}

/// What was taken away.
struct Gone {
    count: usize,
    /// Of these, the addresses that somebody else goes on to hold.
    held: Vec<SocketAddr>,
}

impl TcpListeners {
    /// None is open yet.
    pub(super) fn new(config: &Config) -> Self {
        let inner = Inner {
            acceptor: Mutex::default(),
            keeps: AtomicBool::new(false),
            open: Mutex::default(),
            paused: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            file: config.settings_file.clone(),
            told: [
                (Door::Anybody, config.tcp.origin),
                (Door::Containers, config.containers.origin),
            ],
        };
        Self { inner: Arc::new(inner) }
    }

    /// From now on listeners may be opened and closed. `keeps`: the service manager keeps what is
    /// opened.
    pub(super) fn start(&self, acceptor: &Acceptor, keeps: bool) {
        self.inner.keeps.store(keeps, Ordering::Relaxed);
        *held(&self.inner.acceptor) = Some(acceptor.clone());
    }

    /// No more, because the daemon stops.
    pub(super) fn end(&self) {
        held(&self.inner.acceptor).take();
        held(&self.inner.paused).clear();
    }

    /// Whether the service manager opened all that is open.
    pub(super) fn are_inherited(&self) -> bool {
        held(&self.inner.open).iter().all(|one| one.inherited)
    }

    /// Accepts no more, for a moment: who connects waits in the backlog.
    pub(super) async fn pause(&self) {
        let _one = self.inner.changing.lock().await;
        let open = std::mem::take(&mut *held(&self.inner.open));
        for mut one in open {
            one.stop.cancel();
            let Some(accepting) = one.accepting.take() else { continue };
            match accepting.await {
                Ok(listener) => held(&self.inner.paused).push((one, listener)),
                Err(error) => {
                    tracing::error!(%error, address = %one.address, "a listener was lost")
                }
            }
        }
    }

    /// Accepts again.
    pub(super) fn resume(&self) {
        let Some(acceptor) = held(&self.inner.acceptor).clone() else { return };
        let paused = std::mem::take(&mut *held(&self.inner.paused));
        for (one, listener) in paused {
            self.accept(&acceptor, listener, one);
        }
    }

    /// Begins to accept.
    pub(super) fn serve(
        &self,
        acceptor: &Acceptor,
        listener: TcpListener,
        door: Door,
        inherited: bool,
    ) {
        let Ok(address) = listener.local_addr() else { return };
        let closing = acceptor.server.closing.child_token();
        let stop = CancellationToken::new();
        let one = Open { door, address, inherited, stop, closing, accepting: None };
        self.accept(acceptor, listener, one);
    }

    fn accept(&self, acceptor: &Acceptor, listener: TcpListener, mut one: Open) {
        let mut own = acceptor.clone();
        own.stop = CancellationToken::new();
        own.server.closing = one.closing.clone();
        one.stop = own.stop.clone();
        one.accepting = Some(tokio::spawn(own.tcp(listener, one.door)));
        held(&self.inner.open).push(one);
    }

    fn find(&self, door: Door) -> Option<(SocketAddr, bool)> {
        let open = held(&self.inner.open);
        open.iter()
            .find(|one| one.door.flag() == door.flag())
            .map(|one| (one.address, one.inherited))
    }

    /// Takes the listeners that `which` chooses away; back when their ports are free.
    async fn take_away(&self, which: impl Fn(&Open) -> bool) -> Gone {
        let gone: Vec<Open> = {
            let mut open = held(&self.inner.open);
            open.extract_if(.., |one| which(one)).collect()
        };
        let mut all = Gone { count: gone.len(), held: Vec::new() };
        for Open { door, address, inherited, stop, closing, accepting } in gone {
            stop.cancel();
            if let Some(accepting) = accepting {
                // It ends as soon as it is told; a panic in it has been logged.
                drop(accepting.await);
            }
            if inherited {
                all.held.push(address);
            } else if self.keeps() {
                listen::forget_tcp(door);
            }
            closing.cancel();
            tracing::info!(%address, flag = door.flag(), "a listener was closed");
        }
        all
    }

    fn keeps(&self) -> bool {
        self.inner.keeps.load(Ordering::Relaxed)
    }

    fn running(&self) -> Result<Acceptor> {
        let acceptor = held(&self.inner.acceptor).clone();
        acceptor.filter(|all| !all.server.closing.is_cancelled()).ok_or_else(|| {
            Error::new(ErrorKind::ShuttingDown, "the daemon is stopping; start it again first")
        })
    }

    async fn open(&self, wish: TcpWish) -> Result<TcpChange> {
        let _one = self.inner.changing.lock().await;
        let acceptor = self.running()?;
        let mut wanted = vec![(Door::Anybody, wish.address)];
        if wish.containers {
            let at = ContainerAddress { ip: None, port: wish.address.port() };
            wanted.push((Door::Containers, containers::address(at)));
        }
        wanted.retain(|(door, address)| self.find(*door).is_none_or(|(is, _)| is != *address));
        // All of them before any changes: one that is taken leaves everything as it is.
        let opened = wanted
            .iter()
            .map(|(door, address)| Ok((*door, listen::open_tcp(*address, *door)?)))
            .collect::<std::result::Result<Vec<_>, DaemonError>>();
        let opened = match opened {
            Ok(opened) => opened,
            Err(DaemonError::Tcp { address, source, .. }) => {
                return Err(refused(address, source).await);
            }
            Err(other) => return Err(Error::internal(other)),
        };
        let changed = !opened.is_empty();
        let mut others = Vec::new();
        for (door, listener) in opened {
            let address = listener.local_addr().ok();
            let kept = self.keeps().then(|| listener.as_fd().try_clone_to_owned());
            self.serve(&acceptor, listener, door, false);
            tracing::info!(?address, flag = door.flag(), "a listener was opened");
            let same = |one: &Open| one.door.flag() == door.flag();
            others
                .extend(self.take_away(|one| same(one) && Some(one.address) != address).await.held);
            // Under the name that the old one has just left.
            if let Some(Ok(kept)) = kept {
                listen::keep_tcp(kept.as_fd(), door);
            }
        }
        let tcp = wish.address.to_string();
        let containers = format!(":{}", wish.address.port());
        let mut choices = vec![("tcp", Some(tcp))];
        if wish.containers {
            choices.push(("containers", Some(containers)));
        }
        self.remember(changed, &others, choices).await
    }

    async fn close(&self, containers_alone: bool) -> Result<TcpChange> {
        let _one = self.inner.changing.lock().await;
        self.running()?;
        let doors: &[Door] = match containers_alone {
            true => &[Door::Containers],
            false => &[Door::Anybody, Door::Containers],
        };
        let gone =
            self.take_away(|one| doors.iter().any(|door| door.flag() == one.door.flag())).await;
        let mut choices = vec![("containers", None)];
        if !containers_alone {
            choices.push(("tcp", None));
        }
        self.remember(gone.count > 0, &gone.held, choices).await
    }

    /// Writes the choice down. What was done stays done where that fails.
    async fn remember(
        &self,
        changed: bool,
        held: &[SocketAddr],
        choices: Vec<(&'static str, Option<String>)>,
    ) -> Result<TcpChange> {
        let mut notes: Vec<String> = held
            .iter()
            .map(|address| {
                format!(
                    "who started the daemon opened {address} and holds it still: as long as it does, \
                     clients that connect there wait for the next daemon"
                )
            })
            .collect();
        for (door, origin) in &self.inner.told {
            let named = choices.iter().find(|(key, _)| door.setting().key() == *key);
            if let (Some((_, choice)), Origin::Flag(name) | Origin::Env(name)) = (named, origin) {
                let what = if choice.is_some() { "this" } else { "closing it" };
                notes.push(format!(
                    "the daemon was started with {name}, which will hold again at its next start: \
                     take that away for {what} to last"
                ));
            }
        }
        let file = self.inner.file.clone();
        let written = tokio::task::spawn_blocking(move || {
            let file = file.ok_or_else(|| "there is no home directory".to_owned())?;
            let choices: Vec<(&str, Option<&str>)> =
                choices.iter().map(|(key, choice)| (*key, choice.as_deref())).collect();
            keep(&file, &choices).map_err(|error: KeepError| error.to_string())
        });
        let kept_anew = match written.await.map_err(Error::internal)? {
            Ok(kept_anew) => kept_anew,
            Err(problem) => {
                notes.push(format!(
                    "it holds until the daemon ends, but could not be kept: {problem}"
                ));
                false
            }
        };
        let own = self.clone();
        let state = tokio::task::spawn_blocking(move || own.state());
        let state = state.await.map_err(Error::internal)?;
        Ok(TcpChange { state, changed: changed || kept_anew, notes })
    }
}

impl ListenerControl for TcpListeners {
    fn state(&self) -> TcpState {
        let (tcp, containers) = (self.find(Door::Anybody), self.find(Door::Containers));
        let key = settings::TCP.key();
        let said = self.inner.file.as_deref().and_then(|file| kept(file, key).ok().flatten());
        TcpState {
            tcp: tcp.map(|(address, _)| address),
            inherited: tcp.is_some_and(|(_, inherited)| inherited),
            containers: containers.map(|(address, _)| address),
            kept: said,
        }
    }

    fn open(&self, wish: TcpWish) -> BoxFuture<'_, Result<TcpChange>> {
        Self::open(self, wish).boxed()
    }

    fn close(&self, containers_alone: bool) -> BoxFuture<'_, Result<TcpChange>> {
        Self::close(self, containers_alone).boxed()
    }
}

/// What is the matter with an address, and who has it, where that can be seen.
async fn refused(address: SocketAddr, source: std::io::Error) -> Error {
    if source.kind() != std::io::ErrorKind::AddrInUse {
        let text = format!("cannot listen on {address}: {source}; nothing was changed");
        return Error::new(ErrorKind::InvalidValue, text).with_param("host");
    }
    let holder = tokio::task::spawn_blocking(move || port_holder(address)).await.ok().flatten();
    let by = holder.map(|holder| format!(" by {holder}")).unwrap_or_default();
    let text =
        format!("{address} is taken{by}; nothing was changed: end that, or choose another port");
    Error::new(ErrorKind::Conflict, text).with_param("port")
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in between leaves it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

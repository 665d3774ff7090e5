//! Listeners that the settings want and that cannot be opened yet: another program was first at the
//! port, or the address comes later than we do. Whoever started the daemon waits for its socket, and
//! is served without them; they are opened once they can be.
//!
//! ```text
//!  at the start: taken ─▶ wanted ─ tried again, later and later ─▶ open
//!                            └─ switched off, or open elsewhere ─▶ gone
//! ```

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::accept::Acceptor;
use super::door::Door;
use super::tcp_listeners::{Purpose, TcpListeners};
use super::{DaemonError, containers, listen};
use crate::config::{Config, ContainerAddress, Origin};
use crate::doctor::port_holder;

/// The wait before the first attempt; it doubles with each that fails.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What the settings have the daemon listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub door: Door,
    at: Spot,
    /// Who wants it.
    pub origin: Origin,
    /// Why it is not open.
    pub why: ErrorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    At(SocketAddr),
    /// Which address is that of the bridge may change.
    Bridge(ContainerAddress),
}

impl Wanted {
    /// All that a configuration wants.
    pub(super) fn of(config: &Config) -> Vec<Self> {
        let one = |door, at, origin| Self { door, at, origin, why: ErrorKind::AddrInUse };
        let tcp = config.tcp.value;
        let tcp = tcp.map(|at| one(Door::at(at), Spot::At(at), config.tcp.origin));
        let ollama = config.ollama.value;
        let ollama = ollama.map(|at| one(Door::Ollama, Spot::At(at), config.ollama.origin));
        let bridge = config.containers.value;
        let origin = config.containers.origin;
        let bridge = bridge.map(|at| one(Door::Containers, Spot::Bridge(at), origin));
        [tcp, ollama, bridge].into_iter().flatten().collect()
    }

    /// The same, not open for another reason.
    #[must_use]
    pub(super) fn because(self, why: ErrorKind) -> Self {
        Self { why, ..self }
    }

    pub(super) fn address(&self) -> SocketAddr {
        match self.at {
            Spot::At(address) => address,
            Spot::Bridge(at) => containers::address(at),
        }
    }

    /// Whether both are for the same place.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        (self.door, self.at) == (other.door, other.at)
    }

    /// What is in the way, as the end of a sentence about the address. Looks for whoever holds it,
    /// which blocks for some milliseconds.
    pub(super) fn problem(&self, address: SocketAddr) -> String {
        match self.why {
            ErrorKind::AddrInUse => match port_holder(address) {
                Some(holder) => format!("is taken by {holder}"),
                None => "was taken by another program".to_owned(),
            },
            ErrorKind::AddrNotAvailable => {
                "is the address of no network interface of this machine yet".to_owned()
            }
            other => format!("cannot be listened on: {other}"),
        }
    }
}

/// Whether what keeps a listener from being opened may be over later, without anybody's correcting
/// a setting.
pub(super) fn may_pass(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

/// Tries again until nothing is wanted any more or the daemon ends: later and later, and at once
/// when it is asked to.
pub(super) async fn keep_trying(listeners: TcpListeners) {
    let Some(ending) = listeners.acceptor().map(|acceptor| acceptor.server.closing) else { return };
    let mut wait = FIRST_WAIT;
    while !listeners.wanted().is_empty() {
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = wait.saturating_mul(2).min(LONGEST_WAIT),
            () = listeners.asked_again() => wait = FIRST_WAIT,
            () = ending.cancelled() => return,
        }
        let _one = listeners.change().await;
        // What was switched off while we waited for our turn is wanted no more, nor is anything
        // after the end.
        let Some(acceptor) = listeners.acceptor() else { return };
        for wanted in listeners.wanted() {
            attempt(wanted, &listeners, &acceptor).await;
        }
    }
}

async fn attempt(wanted: Wanted, listeners: &TcpListeners, acceptor: &Acceptor) {
    let (door, address) = (wanted.door, wanted.address());
    let is_it = |other: &Wanted| other.is_alike(&wanted);
    let listener = match listen::open_tcp(address, door) {
        Ok(listener) => listener,
        Err(DaemonError::Tcp { source, .. }) => {
            if source.kind() != wanted.why {
                tracing::warn!("{address} ({}) is still not open: {source}", wanted.origin);
                listeners.want(wanted.because(source.kind()));
            }
            return;
        }
        Err(error) => {
            tracing::warn!(%error, %address, "a listener is given up");
            listeners.unwant(is_it);
            return;
        }
    };
    if let Some(secured) = acceptor.tls.clone().filter(|_| door.speaks_tls()) {
        let covered = tokio::task::spawn_blocking(move || secured.cover(&[address])).await;
        let problem = match covered {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            tracing::warn!("{address} is given up, as it can have no certificate: {problem}");
            listeners.unwant(is_it);
            return;
        }
    }
    listeners.unwant(is_it);
    tracing::info!(
        "{address} ({}) is free now, and the daemon listens there ({})",
        wanted.origin,
        door.setting().key()
    );
    listeners.keep(listener.as_fd(), door);
    listeners.serve(acceptor, listener, door, false, Purpose::Open);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_over_later_is_told_from_what_stays() {
        for (kind, may) in [
            (ErrorKind::AddrInUse, true),
            (ErrorKind::AddrNotAvailable, true),
            (ErrorKind::PermissionDenied, false),
            (ErrorKind::InvalidInput, false),
        ] {
            assert_eq!(may_pass(&kind.into()), may, "{kind}");
        }
    }
}

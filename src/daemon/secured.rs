use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsAcceptor;

use super::{DaemonError, tls};
use crate::config::{Config, Live, Tls};

/// TLS of the listeners for everybody. A certificate of our own authority names all of their
/// addresses: one that is opened later gets another certificate, which the same clients trust. Cheap
/// to clone.
#[derive(Clone)]
pub(super) struct Secured {
    config: Arc<Config>,
    /// Those that the certificate was made for, besides the usual ones.
    named: Arc<Mutex<Vec<SocketAddr>>>,
    acceptor: Live<TlsAcceptor>,
}

impl Secured {
    /// `None` where nothing speaks TLS.
    ///
    /// # Errors
    /// [`DaemonError::Tls`], [`DaemonError::Authority`], [`DaemonError::Io`].
    pub(super) fn new(config: &Config) -> Result<Option<Self>, DaemonError> {
        let named: Vec<SocketAddr> = config.tcp.value.into_iter().collect();
        let Some(acceptor) = tls::acceptor(config, &named)? else { return Ok(None) };
        Ok(Some(Self {
            config: Arc::new(config.clone()),
            named: Arc::new(Mutex::new(named)),
            acceptor: Live::new(acceptor),
        }))
    }

    /// What the next connection is to be secured with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.get()
    }

    /// Whether the certificate is one of our own authority.
    pub(super) fn is_self_signed(&self) -> bool {
        matches!(self.config.tls.value, Some(Tls::SelfSigned))
    }

    /// Sees to it that the certificate names these addresses, too, if it is ours to say. Reads and
    /// writes files. Connections that there are go on with the old one.
    ///
    /// # Errors
    /// Those of [`Secured::new`].
    pub(super) fn cover(&self, addresses: &[SocketAddr]) -> Result<(), DaemonError> {
        if !self.is_self_signed() {
            return Ok(());
        }
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let is_named = |ip: IpAddr| named.iter().any(|named| named.ip() == ip);
        let new: Vec<SocketAddr> =
            addresses.iter().copied().filter(|address| !is_named(address.ip())).collect();
        if new.is_empty() {
            return Ok(());
        }
        let all: Vec<SocketAddr> = named.iter().copied().chain(new).collect();
        if let Some(acceptor) = tls::acceptor(&self.config, &all)? {
            self.acceptor.set(acceptor);
            *named = all;
        }
        Ok(())
    }
}

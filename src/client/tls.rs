use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::files::read_regular;

/// More than a file with an authority has.
const MAX_AUTHORITY: u64 = 64 << 10;

/// How long a connection may take to come about, and how long the handshake on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why TLS did not come about although somebody listens, as a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct TlsFault(String);

/// Connects with TLS. It believes what the system believes, and modeld's own authority.
#[derive(Clone)]
pub(super) struct HttpsConnector {
    tcp: HttpConnector,
    authority: Option<PathBuf>,
    /// Made with the first connection: reading the system's certificates takes its time.
    tls: Arc<OnceLock<Result<TlsConnector, String>>>,
    patience: Duration,
}

/// A connection with TLS on it.
pub(super) struct Encrypted(TokioIo<tokio_rustls::client::TlsStream<TcpStream>>);

type Fault = Box<dyn std::error::Error + Send + Sync>;

impl HttpsConnector {
    pub(super) fn new(authority: Option<PathBuf>) -> Self {
        let mut tcp = tcp();
        tcp.enforce_http(false);
        Self { tcp, authority, tls: Arc::default(), patience: PATIENCE }
    }

    fn tls(&self) -> Result<TlsConnector, TlsFault> {
        let made = self.tls.get_or_init(|| make(self.authority.as_deref()));
        made.clone().map_err(TlsFault)
    }

    /// What to say of a handshake that nobody answers.
    fn silent(&self) -> TlsFault {
        TlsFault(format!(
            "it takes connections and did not answer the TLS handshake within {} s; it hangs, or \
             something else listens there",
            self.patience.as_secs()
        ))
    }

    /// What to say of a handshake that failed.
    fn explained(&self, error: &io::Error) -> TlsFault {
        use rustls::{CertificateError as Wrong, Error};
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
        TlsFault(match cause {
            Some(Error::InvalidCertificate(Wrong::UnknownIssuer)) => {
                let own = self.authority.as_ref().map(|path| format!(" nor {}", path.display()));
                format!(
                    "nobody here vouches for its certificate, neither the system{}; where it is \
                     modeld's own, its user gets the authority with: modeld tls ca",
                    own.unwrap_or_default()
                )
            }
            Some(Error::InvalidMessage(_)) => "it does not speak TLS: use http://".to_owned(),
            Some(other) => other.to_string(),
            None => error.to_string(),
        })
    }
}

/// Connects over TCP, and does not wait for ever for a host that is not there.
pub(super) fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(PATIENCE));
    tcp
}

fn make(authority: Option<&Path>) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut own = Vec::new();
    if let Some(path) = authority {
        match read_regular(path, MAX_AUTHORITY) {
            Ok(bytes) => {
                let read = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
                own = read.map_err(|e| format!("{}: {e}", path.display()))?;
            }
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(format!("{} {error}", path.display())),
        }
    }
    let verifier = Verifier::new_with_extra_roots(own, Arc::clone(&provider))
        .map_err(|e| format!("the system's certificate authorities cannot be read: {e}"))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Service<Uri> for HttpsConnector {
    type Response = Encrypted;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, Fault>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut own = self.clone();
        // The one that was asked whether it is ready.
        std::mem::swap(&mut own.tcp, &mut self.tcp);
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let name = ServerName::try_from(bare.unwrap_or(host).to_owned())
                .map_err(|_| TlsFault(format!("{host} is no name that a certificate has")))?;
            let tcp = own.tcp.call(uri).await?.into_inner();
            let maker = own.clone();
            let tls = tokio::task::spawn_blocking(move || maker.tls()).await??;
            let shaken = tokio::time::timeout(own.patience, tls.connect(name, tcp)).await;
            let stream = shaken.map_err(|_| own.silent())?.map_err(|e| own.explained(&e))?;
            Ok(Encrypted(TokioIo::new(stream)))
        })
    }
}

impl Connection for Encrypted {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl Write for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_that_says_nothing_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut connector = HttpsConnector::new(None);
        assert_eq!(connector.patience, Duration::from_secs(10));
        connector.patience = Duration::from_millis(20);
        let call = tokio::time::timeout(Duration::from_secs(60), connector.call(uri)).await;
        let error = call.expect("it has an end").err().expect("nobody answered").to_string();
        assert!(error.contains("did not answer the TLS handshake within"), "{error}");
    }
}

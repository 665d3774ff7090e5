//! What the TCP listener shows for itself: a certificate of its owner's, read again when its files
//! change, or one that an authority of our own makes at each start and before it ends.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::DaemonError;
use super::authority::Authority;
use crate::certificates::Validity;
use crate::config::{Config, Tls};
use crate::files::read_regular;

/// A chain of certificates takes a few kilobytes.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// So long before its end a certificate of our own is made anew.
const RENEW_DAYS: i64 = 30;

/// What speaks TLS on the TCP listeners at these addresses; `None` where nothing does.
///
/// # Errors
/// [`DaemonError::Tls`], which names the file at fault.
pub(super) fn acceptor(
    config: &Config,
    listeners: &[SocketAddr],
) -> Result<Option<TlsAcceptor>, DaemonError> {
    let Some(tls) = &config.tls.value else { return Ok(None) };
    let failed = |problem: String| DaemonError::Tls { setting: config.tls.origin, problem };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| failed(e.to_string()))?.with_no_client_auth();
    let mut server = match tls {
        Tls::Files { cert, key } => {
            let files = Files { cert: cert.clone(), key: key.clone(), provider };
            let current = Mutex::new((files.state(), files.read().map_err(failed)?));
            builder.with_cert_resolver(Arc::new(Renewed { files, current }))
        }
        Tls::SelfSigned => {
            let dir = config.config_dir.as_deref().ok_or_else(|| {
                failed("there is no directory for settings, as HOME is not set".to_owned())
            })?;
            let authority = Authority::load_or_create(dir)?;
            let now = Timestamp::now();
            if let Some(problem) = authority.problem(now) {
                tracing::warn!("{problem}");
            }
            let own = OwnCertificate::new(authority, names(listeners), provider, now);
            builder.with_cert_resolver(Arc::new(own.map_err(failed)?))
        }
    };
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(server))))
}

/// Under which names listeners may be reached.
fn names(listeners: &[SocketAddr]) -> Vec<String> {
    let mut names: Vec<String> =
        ["localhost", "host.docker.internal", "model-runner.docker.internal", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .into();
    let own = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    if !own.is_empty() && own.len() <= 253 && own.bytes().all(plain) {
        names.push(own);
    }
    let addresses = listeners.iter().flat_map(|listener| match listener.ip() {
        ip if ip.is_unspecified() => {
            let all = if_addrs::get_if_addrs().unwrap_or_default();
            all.iter().map(if_addrs::Interface::ip).collect()
        }
        ip => vec![ip],
    });
    names.extend(addresses.map(|ip: IpAddr| ip.to_canonical().to_string()));
    names.sort();
    names.dedup();
    names
}

/// A certificate and its key on the disk.
#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
}

/// What changes when a file is written or exchanged: its number, its length, its time.
type FileState = Option<(u64, u64, i64, i64)>;

impl Files {
    fn state(&self) -> [FileState; 2] {
        let state = |path: &Path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
        };
        [state(&self.cert), state(&self.key)]
    }

    fn read(&self) -> Result<Arc<CertifiedKey>, String> {
        let problem =
            |file: &str, path: &Path, what: String| format!("{file} {}: {what}", path.display());
        // Who asks for TLS is named by the caller, and need not be who names the file at fault.
        let (cert, key) = ("the certificate", "the private key");
        // What may be anything is read whole, and never waited for: this also happens at handshakes.
        let read = |file: &str, path: &Path| {
            read_regular(path, MAX_PEM_BYTES).map_err(|e| problem(file, path, format!("it {e}")))
        };
        let chain = CertificateDer::pem_slice_iter(&read(cert, &self.cert)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| problem(cert, &self.cert, e.to_string()))?;
        if chain.is_empty() {
            return Err(problem(cert, &self.cert, "it has no certificate in PEM".to_owned()));
        }
        let secret =
            PrivateKeyDer::from_pem_slice(&read(key, &self.key)?).map_err(|e| match e {
                pem::Error::NoItemsFound => {
                    problem(key, &self.key, "it has no private key in PEM".to_owned())
                }
                other => problem(key, &self.key, other.to_string()),
            })?;
        // This also refuses a key that is another certificate's.
        let certified = CertifiedKey::from_der(chain, secret, &self.provider)
            .map_err(|e| problem(key, &self.key, e.to_string()))?;
        let validity = certified.cert.first().and_then(|first| Validity::of_der(first));
        if let Some(problem) = validity.and_then(|validity| validity.problem(Timestamp::now())) {
            let path = self.cert.display();
            tracing::warn!("the certificate {path} {problem}; clients will not believe it");
        }
        Ok(Arc::new(certified))
    }
}

/// The certificate as its files are now. Authorities renew theirs every few weeks, and nobody
/// should have to stop a daemon and its models for that.
#[derive(Debug)]
struct Renewed {
    files: Files,
    current: Mutex<([FileState; 2], Arc<CertifiedKey>)>,
}

impl Renewed {
    fn now(&self) -> Arc<CertifiedKey> {
        let state = self.files.state();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != state {
            // What does not fit together yet is looked at again when it changes again.
            current.0 = state;
            match self.files.read() {
                Ok(key) => {
                    tracing::info!(path = %self.files.cert.display(), "the certificate was renewed");
                    current.1 = key;
                }
                Err(problem) => {
                    tracing::warn!(problem, "the certificate cannot be renewed; the old one stays");
                }
            }
        }
        Arc::clone(&current.1)
    }
}

impl ResolvesServerCert for Renewed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// A certificate of our own authority, made anew before it ends. Where the clock was wrong when it was
/// made, as on a machine without one until the network tells the time, that is at once.
struct OwnCertificate {
    authority: Authority,
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
    current: Mutex<(Validity, Arc<CertifiedKey>)>,
}

impl OwnCertificate {
    fn new(
        authority: Authority,
        names: Vec<String>,
        provider: Arc<CryptoProvider>,
        now: Timestamp,
    ) -> Result<Self, String> {
        let current = Mutex::new(Self::issue(&authority, &names, &provider, now)?);
        Ok(Self { authority, names, provider, current })
    }

    fn issue(
        authority: &Authority,
        names: &[String],
        provider: &CryptoProvider,
        now: Timestamp,
    ) -> Result<(Validity, Arc<CertifiedKey>), String> {
        let (chain, key) = authority.issue(names, now)?;
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|e| e.to_string())?;
        let validity = certified.cert.first().and_then(|first| Validity::of_der(first));
        Ok((validity.ok_or("it does not say how long it holds")?, Arc::new(certified)))
    }

    fn at(&self, now: Timestamp) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.0.lasts(now, RENEW_DAYS) {
            match Self::issue(&self.authority, &self.names, &self.provider, now) {
                Ok(renewed) => *current = renewed,
                Err(problem) => {
                    tracing::warn!(problem, "the certificate cannot be renewed; the old one stays");
                }
            }
        }
        Arc::clone(&current.1)
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.at(Timestamp::now()))
    }
}

/// Makes the error of a handshake one of the connection.
pub(super) fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_the_names_under_which_it_is_reached() {
        let of = |text: &str| names(&[text.parse().unwrap()]);
        assert!(of("127.0.0.1:1").contains(&"localhost".to_owned()));
        assert!(of("192.0.2.7:1").contains(&"192.0.2.7".to_owned()));
        let everywhere = of("0.0.0.0:1");
        assert!(everywhere.contains(&"127.0.0.1".to_owned()), "{everywhere:?}");
        assert!(!everywhere.contains(&"0.0.0.0".to_owned()), "{everywhere:?}");
    }

    #[test]
    fn a_certificate_of_our_own_holds_whatever_the_clock_said_when_it_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (wrong, right) = (at("2015-01-02T00:00:00Z"), at("2030-01-01T00:00:00Z"));
        let own = OwnCertificate::new(authority, names(&[]), provider, wrong).unwrap();
        let validity = |now| Validity::of_der(&own.at(now).cert[0]).unwrap();
        assert_eq!(validity(wrong).problem(wrong), None);
        let first = own.at(right).cert.clone();
        assert_eq!(validity(right).problem(right), None);
        assert_eq!(own.at(right).cert, first, "it stays while it holds");
        let late = right + jiff::Span::new().hours(24 * 800);
        assert_ne!(own.at(late).cert, first, "made anew before its end");
    }

    #[test]
    fn files_are_read_again_when_they_changed_and_kept_while_they_are_broken() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        let write = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let (cert, key) = authority.issue_pem(&names).unwrap();
            std::fs::write(dir.path().join("cert.pem"), cert).unwrap();
            std::fs::write(dir.path().join("key.pem"), key).unwrap();
        };
        write(&["first.example"]);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let files = Files { cert: cert.clone(), key: key.clone(), provider };
        let first = files.read().unwrap();
        let renewed = Renewed { current: Mutex::new((files.state(), Arc::clone(&first))), files };
        let now = || renewed.now().cert.clone();
        assert_eq!(now(), first.cert);
        std::fs::write(&cert, "half a file").unwrap();
        assert_eq!(now(), first.cert);
        write(&["second.example", "third.example"]);
        assert_ne!(now(), first.cert);
        std::fs::remove_file(&key).unwrap();
        assert!(renewed.files.read().unwrap_err().starts_with("the private key "));
        // What would never open, and what would never end.
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &key, fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(renewed.files.read().unwrap_err().ends_with("named pipe, not a regular file"));
        let endless = Files { cert: "/dev/zero".into(), ..renewed.files };
        assert!(endless.read().unwrap_err().ends_with("it is a device, not a regular file"));
    }
}

//! Addresses that no other test has, and clients that trust one authority.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_rustls::TlsConnector;

/// An address of loopback for the caller alone, so that a port that it frees is taken by nobody else.
/// Elsewhere than on Linux there is only one, for all.
pub(super) fn own_ip() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let low = std::process::id().wrapping_mul(64).wrapping_add(count) & 0x003f_ffff;
    Ipv4Addr::from_bits(0x7f40_0000 | low)
}

/// The same with a port that is free.
pub(super) fn free() -> SocketAddr {
    std::net::TcpListener::bind((own_ip(), 0)).unwrap().local_addr().unwrap()
}

/// What speaks TLS with whoever has a certificate of this authority (PEM), and with nobody else.
pub(super) fn trusting(authority: &str) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(client))
}

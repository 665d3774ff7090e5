//! Addresses that no other test has.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

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

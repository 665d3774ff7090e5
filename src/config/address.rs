//! Addresses to listen on, as people write them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::ConfigError;
use super::said::invalid;
use super::settings;

/// The port of the bare `--tcp`, where clients of Docker Model Runner look.
pub const TCP_PORT: u16 = 12434;

/// What `--tcp` and its key mean with a text; `None`: it means nothing.
pub fn tcp_address(text: &str) -> Option<SocketAddr> {
    address(text, settings::TCP.flag, TCP_PORT).ok()
}

/// Whether `--tcp` and its key mean an address with a text that other machines reach.
pub fn is_for_others(text: &str) -> bool {
    tcp_address(text).is_some_and(|address| !is_loopback(&address.ip().to_canonical()))
}

/// Why a choice on loopback is not written over such a text of a settings file.
pub fn public_stays(file: &Path, text: &str) -> String {
    format!(
        "{} says tcp = {text}, for other machines, and there is one such address; modeld tcp disable \
         takes that back",
        file.display()
    )
}

/// An address that no other machine reaches: an IP address or `localhost`, nothing standing for
/// 127.0.0.1. What other machines reach has to be set up, with tokens, before a daemon starts.
///
/// # Errors
/// What is wrong with it, and what would do.
pub fn loopback_address(host: &str, port: u16) -> Result<SocketAddr, String> {
    let host = host.trim();
    if port == 0 {
        return Err(
            "port 0 is another one with every start, which no client finds; choose one from \
                    1 to 65535"
                .to_owned(),
        );
    }
    let ip = ip(host).filter(is_loopback).ok_or_else(|| {
        format!("{host:?} is no loopback address; use 127.0.0.1, ::1 or localhost")
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// `[HOST:]PORT` of an address that no other machine reaches; port 0 is any that is free.
pub(super) fn loopback(
    text: &str,
    from: &'static str,
    default_port: u16,
) -> Result<SocketAddr, ConfigError> {
    let address = address(text, from, default_port)?;
    if is_loopback(&address.ip()) {
        return Ok(address);
    }
    Err(ConfigError::NotLoopback { from, host: address.ip().to_string() })
}

/// `[HOST:]PORT`; nothing at all is the loopback interface and the port that is expected there.
pub(super) fn address(
    text: &str,
    from: &'static str,
    default_port: u16,
) -> Result<SocketAddr, ConfigError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), default_port));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port
        .parse::<u16>()
        .map_err(|_| invalid(from, text, "write PORT or HOST:PORT, the port from 0 to 65535"))?;
    let ip = ip(host)
        .ok_or_else(|| invalid(from, text, "write an IP address or localhost before the port"))?;
    Ok(SocketAddr::new(ip, port))
}

/// An IP address, in brackets or without, or this machine.
fn ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare {
        "" | "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        text => text.parse().ok(),
    }
}

fn is_loopback(ip: &IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::loopback_address;

    #[test]
    fn nothing_but_loopback() {
        for (host, address) in [
            ("", "127.0.0.1:9"),
            (" localhost ", "127.0.0.1:9"),
            ("127.0.0.2", "127.0.0.2:9"),
            ("::1", "[::1]:9"),
            ("[::1]", "[::1]:9"),
        ] {
            assert_eq!(loopback_address(host, 9).unwrap().to_string(), address, "{host}");
        }
        for host in ["0.0.0.0", "::", "10.0.0.1", "example.com", "a b", "127.0.0.1:5", "[::1"] {
            assert!(loopback_address(host, 9).is_err(), "{host}");
        }
        assert!(loopback_address("", 0).unwrap_err().contains("port 0"));
    }
}

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::resolve::DEFAULT_PORT;
use super::settings;
use super::values::address;

/// The port where clients of Docker Model Runner look.
pub const TCP_PORT: u16 = DEFAULT_PORT;

/// What `--tcp` and its key mean with a text; `None`: it means nothing.
pub fn tcp_address(text: &str) -> Option<SocketAddr> {
    address(text, settings::TCP.flag, DEFAULT_PORT).ok()
}

/// An address that no other machine reaches: an IP address or `localhost`, nothing standing for
/// 127.0.0.1. What other machines reach has to be set up, with tokens, before a daemon starts.
///
/// # Errors
/// What is wrong with it, and what would do.
pub fn loopback_address(host: &str, port: u16) -> Result<SocketAddr, String> {
    let host = host.trim();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let ip = match bare {
        "" | "localhost" => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
        text => text.parse::<IpAddr>().ok().filter(|ip| ip.to_canonical().is_loopback()),
    };
    if port == 0 {
        return Err(
            "port 0 is another one with every start, which no client finds; choose one from \
                    1 to 65535"
                .to_owned(),
        );
    }
    let ip = ip.ok_or_else(|| {
        format!("{host:?} is no loopback address; use 127.0.0.1, ::1 or localhost")
    })?;
    Ok(SocketAddr::new(ip, port))
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

use std::net::{IpAddr, SocketAddr};

use super::address::TCP_PORT;

/// Where to listen for containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerAddress {
    /// `None`: the address of Docker's bridge, which may change.
    pub ip: Option<IpAddr>,
    /// The port; 12434 unless said otherwise.
    pub port: u16,
}

/// Reads `IP`, `IP:PORT`, `:PORT` or nothing at all. Only addresses of private networks will do:
/// who may connect is decided by the bridges of this machine, and those have such.
///
/// # Errors
/// What is wrong with it, and what would do.
pub(super) fn container_address(text: &str) -> Result<Option<ContainerAddress>, String> {
    let bare = ContainerAddress { ip: None, port: TCP_PORT };
    let text = text.trim();
    if text.is_empty() {
        return Ok(Some(bare));
    }
    let problem = "write the address of a bridge, such as 172.17.0.1 or 172.17.0.1:12434";
    let port = |port: &str| port.parse().map_err(|_| problem.to_owned());
    let (ip, port) = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(ip), _) => (ip, TCP_PORT),
        (_, Ok(address)) => (address.ip(), address.port()),
        _ => {
            let number = text.strip_prefix(':').ok_or(problem)?;
            return Ok(Some(ContainerAddress { port: port(number)?, ..bare }));
        }
    };
    if !is_private(ip.to_canonical()) {
        return Err(format!("{ip} is no address of a private network; {problem}"));
    }
    Ok(Some(ContainerAddress { ip: Some(ip), port }))
}

/// Whether an address belongs to a private network, as those of bridges do.
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let read = |text: &str| container_address(text).unwrap().unwrap();
        for (text, ip, port) in [
            ("", None, 12434),
            (":8080", None, 8080),
            ("172.17.0.1", Some("172.17.0.1"), 12434),
            (" 10.1.2.3:5 ", Some("10.1.2.3"), 5),
            ("fd00::1", Some("fd00::1"), 12434),
            ("[fd00::1]:6", Some("fd00::1"), 6),
        ] {
            let ip = ip.map(|ip| ip.parse().unwrap());
            assert_eq!(read(text), ContainerAddress { ip, port }, "{text}");
        }
    }

    #[test]
    fn what_is_open_to_others_or_to_nobody_is_refused() {
        for text in
            ["0.0.0.0", "::", "127.0.0.1", "8.8.8.8:1", "::1", "[::ffff:8.8.8.8]:1", "2001:db8::1"]
        {
            let problem = container_address(text).unwrap_err();
            assert!(problem.contains("private network"), "{text}: {problem}");
        }
        for text in ["x", "172.17.0.1:", "172.17.0.1:99999", ":x", "docker0"] {
            assert!(container_address(text).unwrap_err().starts_with("write"), "{text}");
        }
    }
}

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::api::{Audience, ListenerClass};
use crate::config::{Setting, settings};

/// Whom a TCP listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Whoever reaches it on this machine.
    Anybody,
    /// Whoever has a token, from other machines, too.
    Public,
    /// Clients of Ollama.
    Ollama,
    /// Peers in the network of a bridge.
    Containers,
}

impl Door {
    /// For whom a listener at an address is that nobody in particular was named for.
    pub(super) fn at(address: SocketAddr) -> Self {
        match address.ip().to_canonical().is_loopback() {
            true => Self::Anybody,
            false => Self::Public,
        }
    }

    /// Who comes through it, to the local address of the connection.
    pub(super) fn class(self, local: SocketAddr) -> ListenerClass {
        match self {
            Self::Anybody => ListenerClass::Tcp { local },
            Self::Public => ListenerClass::Public { local },
            Self::Ollama => ListenerClass::Ollama { local },
            Self::Containers => ListenerClass::Containers { local },
        }
    }

    /// The same for people.
    pub(super) fn audience(self) -> Audience {
        match self {
            Self::Anybody => Audience::Loopback,
            Self::Public => Audience::Network,
            Self::Ollama => Audience::Ollama,
            Self::Containers => Audience::Containers,
        }
    }

    /// Containers and Ollama's clients know of no TLS, and what they send does not leave the machine.
    pub(super) fn speaks_tls(self) -> bool {
        self.is_of_tcp()
    }

    /// Whether `--tcp` opens it: on loopback or to the network, as the address says.
    pub(super) fn is_of_tcp(self) -> bool {
        match self {
            Self::Anybody | Self::Public => true,
            Self::Ollama | Self::Containers => false,
        }
    }

    /// Whether a socket that was passed may be served where another address is wanted: at the same
    /// one, and beside 127.0.0.1 a unit may open [::1], or the other way round. Any bridge's address
    /// will do where none is `named`: which one there is changes.
    pub(super) fn is_meant(self, passed: SocketAddr, wanted: SocketAddr, named: bool) -> bool {
        let (at, other) = (passed.ip().to_canonical(), wanted.ip().to_canonical());
        let is_first = |ip: IpAddr| ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
        passed.port() == wanted.port()
            && (at == other
                || (is_first(at) && is_first(other))
                || (self == Self::Containers && !named))
    }

    /// What opens a socket at `passed` that the settings have closed. `said`: where they say so.
    pub(super) fn remedy(self, passed: SocketAddr, said: &str) -> String {
        let port = passed.port();
        match self {
            Self::Anybody if passed.ip() == Ipv4Addr::LOCALHOST => {
                format!("modeld tcp enable --port {port} opens it")
            }
            Self::Anybody => {
                format!("modeld tcp enable --port {port} --bind {} opens it", passed.ip())
            }
            Self::Containers => format!("modeld tcp enable --port {port} --containers opens it"),
            Self::Public | Self::Ollama => format!(
                "to open it, take `{}` out of {said} and restart modeld",
                self.setting().key()
            ),
        }
    }

    /// The setting that opens it.
    pub(super) fn setting(self) -> &'static Setting {
        match self {
            Self::Anybody | Self::Public => &settings::TCP,
            Self::Ollama => &settings::OLLAMA_PORT,
            Self::Containers => &settings::CONTAINERS,
        }
    }

    /// What the user opens it with.
    pub(super) fn flag(self) -> &'static str {
        self.setting().flag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_leaves_the_machine_is_public() {
        for (address, door) in [
            ("127.0.0.1:1", Door::Anybody),
            ("[::1]:1", Door::Anybody),
            ("[::ffff:127.0.0.1]:1", Door::Anybody),
            ("0.0.0.0:1", Door::Public),
            ("[::]:1", Door::Public),
            ("192.0.2.1:1", Door::Public),
        ] {
            assert_eq!(Door::at(address.parse().unwrap()), door, "{address}");
        }
    }

    #[test]
    fn a_passed_socket_is_meant_by_its_address_alone() {
        for (door, passed, wanted, named, meant) in [
            (Door::Anybody, "127.0.0.1:5", "127.0.0.1:5", true, true),
            (Door::Anybody, "[::1]:5", "127.0.0.1:5", true, true),
            (Door::Anybody, "127.0.0.1:5", "[::1]:5", true, true),
            (Door::Anybody, "127.0.0.2:5", "127.0.0.1:5", true, false),
            (Door::Anybody, "127.0.0.1:6", "127.0.0.1:5", true, false),
            (Door::Public, "0.0.0.0:5", "192.168.1.5:5", true, false),
            (Door::Public, "0.0.0.0:5", "127.0.0.1:5", true, false),
            (Door::Public, "0.0.0.0:5", "0.0.0.0:5", true, true),
            (Door::Ollama, "127.0.0.2:5", "127.0.0.1:5", true, false),
            (Door::Containers, "172.18.0.1:5", "172.17.0.1:5", false, true),
            (Door::Containers, "172.18.0.1:5", "172.17.0.1:5", true, false),
        ] {
            let is = door.is_meant(passed.parse().unwrap(), wanted.parse().unwrap(), named);
            assert_eq!(is, meant, "{passed} for {wanted}");
        }
    }

    #[test]
    fn what_opens_a_door_is_said_of_that_door() {
        for (door, at, says) in [
            (Door::Anybody, "127.0.0.1:5", "modeld tcp enable --port 5 opens it"),
            (Door::Anybody, "[::1]:5", "modeld tcp enable --port 5 --bind ::1 opens it"),
            (Door::Containers, "172.17.0.1:5", "modeld tcp enable --port 5 --containers opens it"),
            (Door::Public, "0.0.0.0:5", "take `tcp` out of /c.toml:1 and restart modeld"),
            (Door::Ollama, "127.0.0.1:5", "take `ollama-port` out of /c.toml:1 and restart modeld"),
        ] {
            let text = door.remedy(at.parse().unwrap(), "/c.toml:1");
            assert!(text.ends_with(says), "{text}");
        }
    }
}

use std::net::SocketAddr;

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
}

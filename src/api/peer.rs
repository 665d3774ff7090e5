use std::net::SocketAddr;

use crate::domain::ClientKey;

/// Through which door a connection came; decides what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerClass {
    /// A Unix socket, by its owner or root: everything.
    Unix,
    /// A Unix socket that a group may use, by one of its members: inference and listing.
    Group,
    /// TCP: inference and listing, and only under a name that we answer to.
    Tcp {
        /// The local address of the accepted connection.
        local: SocketAddr,
    },
    /// TCP that other machines reach: nothing without a token.
    Public {
        /// The local address of the accepted connection.
        local: SocketAddr,
    },
    /// TCP from a container on a bridge of this machine: the same.
    Containers {
        /// The local address of the accepted connection.
        local: SocketAddr,
    },
    /// The TCP port for Ollama's clients: the same rights, and what they look for at its root.
    Ollama {
        /// The local address of the accepted connection.
        local: SocketAddr,
    },
}

impl ListenerClass {
    /// The word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Group => "group",
            Self::Public { .. } => "public",
            Self::Tcp { .. } => "tcp",
            Self::Containers { .. } => "containers",
            Self::Ollama { .. } => "ollama",
        }
    }

    /// Whether it is a Unix socket, which the kernel guards and no browser reaches.
    pub(super) fn is_unix(self) -> bool {
        match self {
            Self::Unix | Self::Group => true,
            Self::Tcp { .. }
            | Self::Public { .. }
            | Self::Containers { .. }
            | Self::Ollama { .. } => false,
        }
    }
}

/// Who is at the other end of a connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerInfo {
    /// A process on this machine, from the credentials of the Unix socket.
    Unix {
        /// Its user.
        uid: u32,
        /// Its process group; `None` where its pid is not known.
        pgid: Option<u32>,
    },
    /// An address.
    Tcp {
        /// The remote address of the connection.
        remote: SocketAddr,
    },
}

impl PeerInfo {
    /// Whose share of the queue its requests count against: user and process group on the Unix
    /// socket, so that two programs of one user are two clients; the address on TCP.
    pub fn client_key(&self) -> ClientKey {
        let key = match self {
            Self::Unix { uid, pgid: Some(pgid) } => format!("uid:{uid}/pgid:{pgid}"),
            Self::Unix { uid, pgid: None } => format!("uid:{uid}"),
            Self::Tcp { remote } => format!("addr:{}", remote.ip().to_canonical()),
        };
        ClientKey(key.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(peer: PeerInfo) -> String {
        peer.client_key().0.to_string()
    }

    #[test]
    fn a_client_is_a_process_group_or_an_address() {
        assert_eq!(key(PeerInfo::Unix { uid: 1000, pgid: Some(7) }), "uid:1000/pgid:7");
        assert_eq!(key(PeerInfo::Unix { uid: 1000, pgid: None }), "uid:1000");
        for remote in ["127.0.0.1:4", "[::ffff:127.0.0.1]:5"] {
            let remote = remote.parse().expect("an address");
            assert_eq!(key(PeerInfo::Tcp { remote }), "addr:127.0.0.1");
        }
    }
}

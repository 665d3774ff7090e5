use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

use super::DaemonError;

/// The first descriptor of the systemd protocol.
const FIRST: usize = 3;

/// A listening socket that the service manager opened for us. Dropping it closes our descriptor
/// and leaves the socket listening: new connections wait for the next daemon.
#[derive(Debug)]
pub enum Inherited {
    /// A Unix socket.
    Unix(UnixListener),
    /// A TCP socket on a loopback address.
    Tcp(TcpListener),
}

impl Inherited {
    /// Takes what `LISTEN_FDS` announces and clears the variable. Call it before any thread
    /// starts, since it writes to the environment.
    ///
    /// # Errors
    /// [`DaemonError::Inherited`] for a descriptor that is neither, or that would open modeld to
    /// the network.
    pub fn from_environment() -> Result<Vec<Self>, DaemonError> {
        let mut fds = ListenFd::from_env();
        (0..fds.len()).map(|index| Self::classify(&mut fds, index)).collect()
    }

    fn classify(fds: &mut ListenFd, index: usize) -> Result<Self, DaemonError> {
        let number = index.saturating_add(FIRST);
        let bad = |problem: String| DaemonError::Inherited { number, problem };
        if let Ok(Some(unix)) = fds.take_unix_listener(index) {
            return Self::ready(Self::Unix(unix)).map_err(|e| bad(e.to_string()));
        }
        match fds.take_tcp_listener(index) {
            Ok(Some(tcp)) => Self::ready(Self::Tcp(tcp)).map_err(bad),
            Ok(None) | Err(_) => Err(bad("is neither a Unix nor a TCP stream socket".to_owned())),
        }
    }

    /// Accepting waits in the runtime, never in the system call; TCP must not leave the machine.
    fn ready(self) -> Result<Self, String> {
        let nonblocking = match &self {
            Self::Unix(unix) => unix.set_nonblocking(true),
            Self::Tcp(tcp) => {
                let local = tcp.local_addr().map_err(|e| format!("has no address: {e}"))?;
                if !local.ip().to_canonical().is_loopback() {
                    return Err(format!(
                        "listens on {local} and would open modeld to the network; \
                         use a loopback address in the socket unit"
                    ));
                }
                tcp.set_nonblocking(true)
            }
        };
        nonblocking.map_err(|e| format!("cannot be used: {e}"))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_tcp_stays_on_this_machine() {
        let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Inherited::Tcp(loopback).ready().is_ok());
        let any = TcpListener::bind("0.0.0.0:0").unwrap();
        let problem = Inherited::Tcp(any).ready().unwrap_err();
        assert!(problem.contains("would open modeld to the network"), "{problem}");
    }
}

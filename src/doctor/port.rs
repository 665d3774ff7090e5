use std::fmt;
use std::net::SocketAddr;

/// Who listens on a port of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// Its user.
    pub uid: u32,
    /// Its process and the name of its program; not visible for other users' processes.
    pub process: Option<(i32, String)>,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, name)) => write!(f, "{name} (pid {pid})"),
            None if self.uid == 0 => f.write_str("a program of root"),
            None => write!(f, "a program of uid {}", self.uid),
        }
    }
}

/// Who listens on a TCP address or on its port of every address, as the kernel tells. Reads
/// `/proc`, which blocks for some milliseconds. `None`: nobody, or nobody who can be seen.
#[cfg(target_os = "linux")]
pub fn port_holder(address: SocketAddr) -> Option<PortHolder> {
    use procfs::net::TcpState;
    use procfs::process::{FDTarget, Process};

    let mut all = procfs::net::tcp().ok()?;
    all.extend(procfs::net::tcp6().unwrap_or_default());
    let socket = all
        .into_iter()
        .find(|socket| socket.state == TcpState::Listen && takes(socket.local_address, address))?;
    let holds = |process: &Process| {
        process.fd().is_ok_and(|mut files| {
            let own = FDTarget::Socket(socket.inode);
            files.any(|file| file.is_ok_and(|file| file.target == own))
        })
    };
    let process = procfs::process::all_processes().ok().and_then(|all| {
        // The manager that passed a socket holds it, too; who serves it was started later.
        all.flatten().filter(holds).max_by_key(|process| process.pid)
    });
    let process = process.and_then(|process| Some((process.pid, process.stat().ok()?.comm)));
    Some(PortHolder { uid: socket.uid, process })
}

/// Elsewhere nobody tells.
#[cfg(not(target_os = "linux"))]
pub fn port_holder(_: SocketAddr) -> Option<PortHolder> {
    None
}

/// Whether a listener at `listening` is in the way of `wanted`.
#[cfg(any(target_os = "linux", test))]
fn takes(listening: SocketAddr, wanted: SocketAddr) -> bool {
    let (has, wants) = (listening.ip().to_canonical(), wanted.ip().to_canonical());
    listening.port() == wanted.port()
        && (has == wants || listening.ip().is_unspecified() || wants.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_in_the_way() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (listening, wanted, is) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true),
            ("127.0.0.1:2", "127.0.0.1:1", false),
            ("127.0.0.2:1", "127.0.0.1:1", false),
        ] {
            assert_eq!(takes(at(listening), at(wanted)), is, "{listening} for {wanted}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn whoever_listens_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let holder = port_holder(address).unwrap();
        let (pid, name) = holder.process.clone().unwrap();
        assert_eq!(pid.cast_unsigned(), std::process::id());
        assert!(holder.to_string().starts_with(&name), "{holder}");
        drop(listener);
        assert_eq!(port_holder(address), None);
        let other = PortHolder { uid: 7, process: None };
        assert_eq!(other.to_string(), "a program of uid 7");
    }
}

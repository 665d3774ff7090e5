//! Whether whoever is at the other end of a loopback connection is the user that the daemon runs
//! as. The kernel's table of sockets knows; only Linux shows it.
//!
//! A process that passes on what comes from elsewhere (containers, virtual machines, other hosts)
//! is not its user's hand, and neither is one in namespaces of its own. Such a process is known by
//! its name, or says so in the request: a proxy of its user's own making that does neither cannot be
//! told from its user.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use tokio::sync::OnceCell;

/// Whether the peer of one connection is the user, once that was looked up; clones are the same.
///
/// One answer is enough for a connection. Its other end is the socket that was connected, whoever
/// connects later from the same port. Who holds that end may hand it to another process, but might
/// as well pass on what the other says, and either is its own doing; what the question is to keep
/// out, whatever passes on what comes from elsewhere, connects by itself and is the holder from the
/// start.
#[derive(Debug, Clone, Default)]
pub struct PeerOwner(Arc<OnceCell<bool>>);

impl PeerOwner {
    /// Whether the peer at `remote`, whose connection ends at our `local`, may be taken for the user.
    /// Whatever cannot be made out is a no, and is looked up again the next time.
    pub(super) async fn is_our_user(&self, remote: SocketAddr, local: SocketAddr) -> bool {
        let look = async || {
            let looked = tokio::task::spawn_blocking(move || look(remote, local)).await;
            looked.ok().flatten().ok_or(())
        };
        self.0.get_or_try_init(look).await.copied().unwrap_or(false)
    }
}

/// Reads `/proc`, which blocks for some milliseconds. `None`: it cannot be made out.
#[cfg(target_os = "linux")]
fn look(remote: SocketAddr, local: SocketAddr) -> Option<bool> {
    let looked = linux::is_our_user(remote, local);
    looked.inspect_err(|error| tracing::debug!(%error, "a peer's owner is not known")).ok()
}

/// Without such a table nobody is known.
#[cfg(not(target_os = "linux"))]
fn look(_: SocketAddr, _: SocketAddr) -> Option<bool> {
    Some(false)
}

/// The beginnings of the names of programs that pass connections on, as the kernel shortens them.
#[cfg(any(target_os = "linux", test))]
const FORWARDERS: [&str; 51] = [
    "VBox",
    "VirtualBox",
    "apache2",
    "autossh",
    "bore",
    "caddy",
    "chisel",
    "cloud-hypervis",
    "cloudflared",
    "com.docker.back",
    "com.docker.vpnk",
    "conmon",
    "containerd",
    "crosvm",
    "docker-proxy",
    "dockerd",
    "envoy",
    "firecracker",
    "frpc",
    "frps",
    "gvproxy",
    "h2o",
    "haproxy",
    "httpd",
    "inlets",
    "kubectl",
    "lighttpd",
    "limactl",
    "nc",
    "nginx",
    "ngrok",
    "passt",
    "pasta",
    "pomerium",
    "qemu-",
    "rinetd",
    "rootless",
    "slirp4netns",
    "socat",
    "socks",
    "squid",
    "ssh",
    "sslh",
    "stunnel",
    "tailscaled",
    "telepresence",
    "traefik",
    "varnishd",
    "vmware-vmx",
    "vpnkit",
    "zrok",
];

/// Whether a request says that somebody passed it on (RFC 7239, RFC 9110 7.6.3, and what proxies
/// sent before there was a standard).
pub(super) fn is_passed_on(headers: &HeaderMap) -> bool {
    let says = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-forwarded-")
            || ["forwarded", "via", "x-real-ip", "x-client-ip", "x-original-forwarded-for"]
                .contains(&name)
            || ["cf-connecting-ip", "true-client-ip", "fly-client-ip"].contains(&name)
    };
    headers.keys().any(says)
}

#[cfg(any(target_os = "linux", test))]
fn is_forwarder(name: &str) -> bool {
    FORWARDERS.iter().any(|forwarder| name.starts_with(forwarder))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::net::SocketAddr;

    use procfs::process::{FDTarget, Process};
    use procfs::{ProcError, ProcResult};

    use super::is_forwarder;

    pub(super) fn is_our_user(remote: SocketAddr, local: SocketAddr) -> ProcResult<bool> {
        let us = rustix::process::geteuid().as_raw();
        let Some(inode) = socket(remote, local, us)? else { return Ok(false) };
        let ourselves = Process::myself()?;
        let mut found = false;
        for process in procfs::process::all_processes()?.flatten() {
            // What ends meanwhile, and what is not ours to look at, holds nothing that counts.
            let holds = process.fd().is_ok_and(|mut files| {
                files.any(|file| file.is_ok_and(|file| file.target == FDTarget::Socket(inode)))
            });
            if !holds {
                continue;
            }
            found = true;
            if is_forwarder(&process.stat()?.comm) || !lives_with(&process, &ourselves)? {
                return Ok(false);
            }
        }
        if found {
            return Ok(true);
        }
        // Somebody holds it: who keeps others from looking, or who was not to be seen just now.
        Err(ProcError::Other(format!("no process shows the socket {inode}")))
    }

    /// The peer's end of the connection, if it is this user's.
    fn socket(remote: SocketAddr, local: SocketAddr, user: u32) -> ProcResult<Option<u64>> {
        let same = |a: SocketAddr, b: SocketAddr| {
            (a.ip().to_canonical(), a.port()) == (b.ip().to_canonical(), b.port())
        };
        let mut all = procfs::net::tcp()?;
        // A kernel without IPv6 has no such table.
        all.extend(procfs::net::tcp6().unwrap_or_default());
        let mut ends = all.iter().filter(|socket| {
            same(socket.local_address, remote) && same(socket.remote_address, local)
        });
        // One that nobody holds any more shows as root's, without an inode.
        Ok(ends.find(|end| end.uid == user && end.inode != 0).map(|end| end.inode))
    }

    /// Whether a process has the same users and the same processes around it as another.
    fn lives_with(process: &Process, other: &Process) -> ProcResult<bool> {
        let (theirs, ours) = (process.namespaces()?.0, other.namespaces()?.0);
        let same = |kind: &str| {
            let of = |all: &std::collections::HashMap<std::ffi::OsString, _>| {
                all.get(OsStr::new(kind))
                    .map(|namespace: &procfs::process::Namespace| namespace.identifier)
            };
            of(&theirs).is_some() && of(&theirs) == of(&ours)
        };
        Ok(same("user") && same("pid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarders_are_known_by_the_beginnings_of_their_names() {
        for name in
            ["rootlesskit", "rootlessport", "pasta.avx2", "sshd-session", "docker-proxy", "ncat"]
        {
            assert!(is_forwarder(name), "{name}");
        }
        for name in
            ["curl", "python3", "node", "ollama", "docker", "docker-model", "com.docker.cli"]
        {
            assert!(!is_forwarder(name), "{name}");
        }
    }

    #[test]
    fn what_proxies_add_is_known() {
        let headers = |name: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(name), "x".parse().unwrap())])
        };
        for name in ["forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-real-ip"] {
            assert!(is_passed_on(&headers(name)), "{name}");
        }
        for name in ["host", "user-agent", "x-request-id", "x-client-id", "x-stainless-lang"] {
            assert!(!is_passed_on(&headers(name)), "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_connection_of_our_own_is_ours_and_a_closed_one_nobodys() {
        use std::net::{TcpListener, TcpStream};
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, remote) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            let is_our_user = async |remote| PeerOwner::default().is_our_user(remote, local).await;
            assert!(is_our_user(remote).await, "{address}");
            // The other direction is the same user here; another port is nobody.
            let elsewhere = SocketAddr::new(remote.ip(), remote.port().wrapping_add(1).max(1));
            assert!(!is_our_user(elsewhere).await, "{address}");
            // What was found out about a connection holds for it, and for no other.
            let known = PeerOwner::default();
            assert!(known.is_our_user(remote, local).await, "{address}");
            drop(client);
            assert!(known.clone().is_our_user(remote, local).await, "{address}");
            assert!(!is_our_user(remote).await, "{address}");
        }
    }
}

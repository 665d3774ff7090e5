//! The door for containers: an address of this machine that a bridge of theirs leads to.
//!
//! A Compose network has a bridge of its own, so that a container may come from any of them to the
//! address of the first (`host-gateway`). Which bridges there are changes while the daemon runs:
//! they are looked up for each connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use if_addrs::{IfAddr, Interface};

use crate::config::ContainerAddress;

/// Where the kernel tells of network interfaces.
const INTERFACES: &str = "/sys/class/net";
/// Docker's own bridge, and the address that it has unless somebody chose another.
const DOCKER_BRIDGE: &str = "docker0";
const DOCKER_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

/// The address to listen on: of Docker's bridge, where none is named.
pub(super) fn address(wanted: ContainerAddress) -> SocketAddr {
    let ip = wanted.ip.or_else(|| {
        let all = if_addrs::get_if_addrs().ok()?;
        all.iter().filter(|i| i.name == DOCKER_BRIDGE).map(Interface::ip).find(IpAddr::is_ipv4)
    });
    SocketAddr::new(ip.unwrap_or(DOCKER_ADDRESS.into()), wanted.port)
}

/// Whether a peer is in the network of a bridge of this machine.
///
/// # Errors
/// Where the interfaces cannot be read.
pub(super) fn may_connect(peer: IpAddr) -> io::Result<bool> {
    let bridges = if_addrs::get_if_addrs()?.into_iter().filter(|i| is_bridge(&i.name));
    Ok(bridges.into_iter().any(|bridge| contains(&bridge.addr, peer)))
}

/// The kernel keeps a directory for what only bridges have.
fn is_bridge(name: &str) -> bool {
    let own = Path::new(INTERFACES).join(name);
    own.join("bridge").is_dir() && !leads_outside(&own)
}

/// Whether a card, a bond or a VLAN is among its ports: who comes by way of that is the LAN, as
/// where virtual machines share the network of their host.
fn leads_outside(bridge: &Path) -> bool {
    let Ok(ports) = std::fs::read_dir(bridge.join("brif")) else { return true };
    ports.flatten().any(|port| {
        let port = Path::new(INTERFACES).join(port.file_name());
        let lower = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("lower_");
        port.join("device").exists()
            || port.join("bonding").is_dir()
            || std::fs::read_dir(&port)
                .is_ok_and(|all| all.flatten().any(|entry| lower(&entry.file_name())))
    })
}

fn contains(network: &IfAddr, peer: IpAddr) -> bool {
    match (network, peer.to_canonical()) {
        (IfAddr::V4(own), IpAddr::V4(peer)) => {
            let mask = Ipv4Addr::to_bits(own.netmask);
            own.ip.to_bits() & mask == peer.to_bits() & mask
        }
        (IfAddr::V6(own), IpAddr::V6(peer)) => {
            let mask = Ipv6Addr::to_bits(own.netmask);
            own.ip.to_bits() & mask == peer.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use if_addrs::{Ifv4Addr, Ifv6Addr};

    use super::*;

    fn v4(ip: &str, prefix: u32) -> IfAddr {
        let netmask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - prefix).unwrap_or(0));
        let prefixlen = u8::try_from(prefix).unwrap();
        IfAddr::V4(Ifv4Addr { ip: ip.parse().unwrap(), netmask, prefixlen, broadcast: None })
    }

    #[test]
    fn a_network_ends_at_its_mask() {
        for (own, prefix, peer, inside) in [
            ("172.17.0.1", 16, "172.17.0.2", true),
            ("172.17.0.1", 16, "172.17.255.254", true),
            ("172.17.0.1", 16, "::ffff:172.17.0.2", true),
            ("172.17.0.1", 16, "172.18.0.2", false),
            ("172.17.0.1", 16, "8.8.8.8", false),
            ("172.17.0.1", 24, "172.17.1.2", false),
            ("172.17.0.1", 32, "172.17.0.1", true),
            ("172.17.0.1", 16, "fd00::2", false),
        ] {
            assert_eq!(contains(&v4(own, prefix), peer.parse().unwrap()), inside, "{peer}");
        }
        let own = Ifv6Addr {
            ip: "fd00:1::1".parse().unwrap(),
            netmask: "ffff:ffff::".parse().unwrap(),
            prefixlen: 32,
            broadcast: None,
        };
        assert!(contains(&IfAddr::V6(own.clone()), "fd00:1:2::9".parse().unwrap()));
        assert!(!contains(&IfAddr::V6(own), "fd00:2::9".parse().unwrap()));
    }

    #[test]
    fn who_comes_by_loopback_is_no_container() {
        assert!(!may_connect(Ipv4Addr::LOCALHOST.into()).unwrap());
        assert!(!may_connect(Ipv6Addr::LOCALHOST.into()).unwrap());
    }

    #[test]
    fn a_named_address_is_taken_as_it_is() {
        let ip = Some("10.9.8.7".parse().unwrap());
        let named = address(ContainerAddress { ip, port: 5 });
        assert_eq!(named, "10.9.8.7:5".parse().unwrap());
        assert_eq!(address(ContainerAddress { ip: None, port: 12434 }).port(), 12434);
    }
}

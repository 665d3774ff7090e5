use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches, as far as the policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// A host of the internet.
    Global,
    /// This machine, a private network, or a block that no host of the internet has.
    Local,
    /// Link-local, or where clouds answer whoever asks with a machine's credentials.
    Metadata,
}

impl Reach {
    /// Of an address in any of its disguises.
    pub(super) fn of(address: IpAddr) -> Self {
        match canonical(address) {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// For error messages: "resolves to X, …".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Global => "a public address",
            Self::Local => "a private, loopback or reserved address",
            Self::Metadata => "a link-local or cloud metadata address",
        }
    }
}

/// The IPv4 address that packets to an IPv6 address end up at, where the form says so: mapped
/// (RFC 4291 2.5.5.2), compatible (2.5.5.1), translated (RFC 2765 2.1), NAT64 (RFC 6052 2.1) and
/// 6to4 (RFC 3056 2). Any other address is itself.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    match (a, b, c, d, e, f) {
        // The addresses `::` and `::1` are of this form and mean themselves.
        (0, 0, 0, 0, 0, 0) if v6.is_unspecified() || v6.is_loopback() => address,
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => {
            v4(high, low)
        }
        (0x2002, high, low, ..) => v4(high, low),
        _ => address,
    }
}

fn v4(high: u16, low: u16) -> IpAddr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The IANA registry of special-purpose IPv4 addresses, and four addresses at which clouds serve
/// metadata outside of the link-local block.
fn of_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (169, 254, _) => Reach::Metadata,
        _ if CLOUDS_V4.contains(&address) => Reach::Metadata,
        // "This network", private, loopback, carrier-grade NAT, multicast, reserved, broadcast.
        (0 | 10 | 127 | 224..=255, ..) => Reach::Local,
        (100, 64..=127, _) | (172, 16..=31, _) | (192, 168, _) => Reach::Local,
        // Protocol assignments, 6to4 relays, benchmarking, documentation.
        (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _) => Reach::Local,
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Reach::Local,
        _ => Reach::Global,
    }
}

/// Alibaba's, Oracle's and Azure's (the last one lies in a public block).
const CLOUDS_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Amazon's and Google's.
const CLOUDS_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Only 2000::/3 is given out to hosts of the internet; the rest (unspecified, loopback, unique
/// local, site-local, multicast, discard, local NAT64, segment routing) is not.
fn of_v6(address: Ipv6Addr) -> Reach {
    let [a, b, ..] = address.segments();
    match (a, b) {
        (0xfe80..=0xfebf, _) => Reach::Metadata,
        _ if CLOUDS_V6.contains(&address) => Reach::Metadata,
        // Protocol assignments with Teredo, benchmarking and ORCHID; documentation, twice.
        (0x2001, 0..=0x1ff | 0xdb8) | (0x3fff, 0..=0xfff) => Reach::Local,
        (0x2000..=0x3fff, _) => Reach::Global,
        _ => Reach::Local,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reach(address: &str) -> Reach {
        Reach::of(address.parse().unwrap())
    }

    #[test]
    fn every_special_block_is_known_at_both_of_its_ends() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.0",
            "127.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.0.2.0",
            "192.0.2.255",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::",
            "fdff:ffff::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "4000::1",
        ] {
            assert_eq!(reach(address), Reach::Local, "{address}");
        }
        for address in [
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert_eq!(reach(address), Reach::Metadata, "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:db7::1",
            "2001:db9::1",
            "2606:4700::1111",
            "2a00::1",
            "3fff:1000::1",
        ] {
            assert_eq!(reach(address), Reach::Global, "{address}");
        }
    }

    #[test]
    fn an_address_in_disguise_is_the_one_behind_it() {
        for (disguised, plain) in [
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::127.0.0.1", "127.0.0.1"),
            ("::ffff:0:10.0.0.1", "10.0.0.1"),
            ("64:ff9b::7f00:1", "127.0.0.1"),
            ("64:ff9b::1.1.1.1", "1.1.1.1"),
            ("2002:7f00:1::", "127.0.0.1"),
            ("2002:a9fe:a9fe:1::2", "169.254.169.254"),
            ("::1", "::1"),
            ("::", "::"),
            ("2606:4700::1", "2606:4700::1"),
        ] {
            let (disguised, plain): (IpAddr, IpAddr) =
                (disguised.parse().unwrap(), plain.parse().unwrap());
            assert_eq!(canonical(disguised), plain);
        }
    }

    proptest! {
        #[test]
        fn no_disguise_changes_the_answer(bits: u32, rest: u64) {
            let plain = Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let [e, f, g, h] = [rest >> 48, rest >> 32, rest >> 16, rest]
                .map(|part| u16::try_from(part & 0xffff).unwrap());
            let expected = Reach::of(plain.into());
            for disguised in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, e, f, g, h, 0),
            ] {
                prop_assert_eq!(Reach::of(disguised.into()), expected, "{}", disguised);
            }
        }

        #[test]
        fn what_is_canonical_stays_so(bits: u128) {
            let once = canonical(Ipv6Addr::from(bits).into());
            prop_assert_eq!(canonical(once), once);
        }

        #[test]
        fn what_the_standard_library_calls_special_is_not_global(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local()
                || v4.is_broadcast() || v4.is_documentation() || v4.is_multicast()
                || v4.is_unspecified();
            prop_assert!(!special || Reach::of(v4.into()) != Reach::Global);
        }

        #[test]
        fn no_ipv6_outside_of_the_allocated_space_is_global(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            if let (IpAddr::V6(_), Reach::Global) = (canonical(v6.into()), Reach::of(v6.into())) {
                prop_assert_eq!(bits >> 125, 1);
            }
        }
    }
}

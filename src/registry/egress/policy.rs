use std::net::IpAddr;

use url::{Host, Url};

use super::address::Reach;
use super::hosts::{HostList, HostPort, is_loopback};
use super::{EgressError, EgressOptions};

/// The longest name that DNS has, in bytes (RFC 1035 2.3.4), with a dot at its end.
const MAX_HOST: usize = 254;

/// What decides, before any name is resolved, whether a URL may be asked.
#[derive(Debug)]
pub(super) struct Policy {
    insecure: HostList,
    private: HostList,
}

/// Which addresses a host may have. Connections made under one permit are never used under
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Permit {
    /// Public ones: a host that an answer named.
    Global,
    /// Those of this machine and of private networks too: the host that the user named.
    Named,
    /// Any: a host that the configuration lists, or its proxy.
    Listed,
}

impl Permit {
    pub(super) fn allows(self, address: IpAddr) -> bool {
        match Reach::of(address) {
            Reach::Global => true,
            Reach::Local => self != Self::Global,
            Reach::Metadata => self == Self::Listed,
        }
    }

    /// Why `host`, which is or resolves to `address`, is refused under this permit.
    pub(super) fn refusal(self, host: &str, address: IpAddr) -> EgressError {
        let reach = Reach::of(address);
        let literal = host.trim_matches(['[', ']']).parse() == Ok(address);
        let what = match literal {
            true => format!("{host} is {}", reach.words()),
            false => format!("{host} resolves to {address}, {}", reach.words()),
        };
        let who = match reach {
            Reach::Metadata => "only hosts that the configuration lists may have one",
            _ => "only the registry that you name yourself may have one, not what it refers to",
        };
        EgressError::Forbidden(format!(
            "{what}, and {who}; if this is meant, list it with --registry-private-host {host}"
        ))
    }
}

impl Policy {
    pub(super) fn new(options: &EgressOptions) -> Result<Self, EgressError> {
        Ok(Self {
            insecure: HostList::parse(&options.insecure)?,
            private: HostList::parse(&options.private_hosts)?,
        })
    }

    /// Whether `host` or `host:port` is spoken to without TLS; without a port, 80 is meant.
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        Url::parse(&format!("http://{host}")).is_ok_and(|url| self.may_be_plain(&url))
    }

    fn may_be_plain(&self, url: &Url) -> bool {
        let listed = HostPort::of(url).is_some_and(|at| self.insecure.lists(&at));
        listed || url.host().is_some_and(|host| is_loopback(&host))
    }

    /// Checks all of a URL but the addresses that a name will resolve to; those are for the permit.
    pub(super) fn check(&self, url: &Url, named: &Url) -> Result<Permit, EgressError> {
        let forbidden = |text: String| Err(EgressError::Forbidden(text));
        if !matches!(url.scheme(), "http" | "https") {
            let scheme: String = url.scheme().chars().take(20).collect();
            return forbidden(format!(
                "{} refers to a {scheme}: URL; only https (and http for hosts that are listed as \
                 insecure) is spoken",
                named.host_str().unwrap_or("the registry"),
            ));
        }
        let (Some(host), Some(at)) = (url.host(), HostPort::of(url)) else {
            return forbidden("a URL without a host cannot be asked".into());
        };
        if at.host().len() > MAX_HOST {
            let length = at.host().len();
            return forbidden(format!("a host name of {length} bytes cannot exist"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return forbidden(format!(
                "the URL for {at} has a user name or password in it; credentials are not taken \
                 from URLs"
            ));
        }
        if url.scheme() == "http" && !self.may_be_plain(url) {
            return forbidden(format!(
                "{at} would be asked without TLS; if it is meant, list it with \
                 --insecure-registry {at}"
            ));
        }
        let permit = if self.insecure.lists(&at) || self.private.lists(&at) {
            Permit::Listed
        } else if HostPort::of(named).as_ref() == Some(&at) {
            Permit::Named
        } else {
            Permit::Global
        };
        let address = match host {
            Host::Ipv4(v4) => Some(IpAddr::V4(v4)),
            Host::Ipv6(v6) => Some(IpAddr::V6(v6)),
            Host::Domain(_) if is_loopback(&host) => Some(IpAddr::from([127, 0, 0, 1])),
            Host::Domain(_) => None,
        };
        match address {
            Some(address) if !permit.allows(address) => Err(permit.refusal(at.host(), address)),
            _ => Ok(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> Policy {
        let options = EgressOptions {
            insecure: vec!["plain.example".into(), "lan.example:5000".into()],
            private_hosts: vec!["169.254.169.254".into(), "cdn.corp".into()],
            ..EgressOptions::default()
        };
        Policy::new(&options).unwrap()
    }

    fn check(url: &str, named: &str) -> Result<Permit, EgressError> {
        policy().check(&Url::parse(url).unwrap(), &Url::parse(named).unwrap())
    }

    #[test]
    fn the_named_origin_and_listed_hosts_may_be_private() {
        for (url, named, expected) in [
            ("https://a.example/x", "https://a.example/", Permit::Named),
            ("https://a.example:443/x", "https://a.example/", Permit::Named),
            ("https://a.example:444/x", "https://a.example/", Permit::Global),
            ("https://b.example/x", "https://a.example/", Permit::Global),
            ("https://cdn.corp/x", "https://a.example/", Permit::Listed),
            ("http://plain.example/x", "https://a.example/", Permit::Listed),
            ("http://lan.example:5000/x", "http://lan.example:5000/", Permit::Listed),
            ("https://169.254.169.254/", "https://a.example/", Permit::Listed),
            ("http://localhost:5000/v2/", "http://localhost:5000/", Permit::Named),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5000/", Permit::Named),
            ("http://[::1]:5000/v2/", "http://[::1]:5000/", Permit::Named),
            ("https://10.0.0.7/v2/", "https://10.0.0.7/", Permit::Named),
        ] {
            assert_eq!(check(url, named), Ok(expected), "{url} for {named}");
        }
    }

    #[test]
    fn what_the_policy_forbids() {
        for (url, named) in [
            ("http://a.example/x", "https://a.example/"),
            ("http://lan.example:5001/x", "http://lan.example:5000/"),
            ("http://10.0.0.7:5000/", "http://10.0.0.7:5000/"),
            ("file:///etc/passwd", "https://a.example/"),
            ("ftp://a.example/x", "https://a.example/"),
            ("data:,x", "https://a.example/"),
            ("https://u@a.example/x", "https://a.example/"),
            ("https://:p@a.example/x", "https://a.example/"),
            ("https://169.254.169.253/", "https://169.254.169.253/"),
            ("https://[fe80::1]/", "https://[fe80::1]/"),
            ("https://127.0.0.1:1/", "https://127.0.0.1:2/"),
            ("https://localhost:1/", "https://a.example/"),
            ("https://x.localhost./", "https://a.example/"),
        ] {
            let error = check(url, named);
            assert!(matches!(error, Err(EgressError::Forbidden(_))), "{url}: {error:?}");
        }
    }

    #[test]
    fn a_name_that_cannot_exist_is_not_repeated() {
        let url = format!("https://{}/", "a.".repeat(50_000));
        let Err(EgressError::Forbidden(text)) = check(&url, "https://a.example/") else {
            panic!("allowed");
        };
        assert!(text.len() < 100, "{text}");
    }

    proptest! {
        #[test]
        fn no_spelling_of_an_address_gets_past(bits: u32) {
            let plain = std::net::Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets();
            let global = Reach::of(plain.into()) == Reach::Global;
            for host in [
                plain.to_string(),
                format!("{bits}"),
                format!("{bits:#x}"),
                format!("0{bits:o}"),
                format!("0x{a:x}.0{b:o}.{c}.{d}"),
                format!("{a}.{}", bits & 0xff_ffff),
                format!("[::ffff:{plain}]"),
                format!("[64:ff9b::{plain}]"),
            ] {
                let checked = check(&format!("https://{host}:7/"), "https://a.example/");
                prop_assert_eq!(checked.is_ok(), global, "{}", host);
            }
        }

        #[test]
        fn any_text_is_a_host_or_is_not(text in ".{0,40}") {
            policy().is_insecure(&text);
            HostList::parse(&[text]).ok();
        }
    }

    #[test]
    fn plain_http_is_for_loopback_and_listed_hosts() {
        let policy = policy();
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:5000",
            "plain.example",
            "PLAIN.example:8080",
            "lan.example:5000",
        ] {
            assert!(policy.is_insecure(host), "{host}");
        }
        for host in ["a.example", "10.0.0.1:5000", "lan.example", "lan.example:443", "", "a b"] {
            assert!(!policy.is_insecure(host), "{host}");
        }
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let error = Permit::Global.refusal("cdn.example", "10.0.0.5".parse().unwrap());
        insta::assert_snapshot!(error, @"cdn.example resolves to 10.0.0.5, a private, loopback or reserved address, and only the registry that you name yourself may have one, not what it refers to; if this is meant, list it with --registry-private-host cdn.example");
        let error = Permit::Named.refusal("169.254.169.254", "169.254.169.254".parse().unwrap());
        insta::assert_snapshot!(error, @"169.254.169.254 is a link-local or cloud metadata address, and only hosts that the configuration lists may have one; if this is meant, list it with --registry-private-host 169.254.169.254");
    }
}

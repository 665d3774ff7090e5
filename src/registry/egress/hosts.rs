use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

use super::EgressError;

/// A host and a port, the host as URLs write it (lower case, IPv6 in brackets, odd spellings of
/// IPv4 addresses resolved).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Of a URL, with its scheme's port where it names none.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self { host: url.host_str()?.to_owned(), port: url.port_or_known_default()? })
    }

    /// The name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for HostPort {
    type Err = EgressError;

    /// `host:port`, or `host` for port 443.
    fn from_str(text: &str) -> Result<Self, EgressError> {
        let pattern = Pattern::parse(text)?;
        Ok(Self { host: pattern.host, port: pattern.port.unwrap_or(443) })
    }
}

/// Hosts that the configuration lists, with a port or for all ports.
#[derive(Debug, Clone, Default)]
pub(super) struct HostList(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    host: String,
    port: Option<u16>,
}

impl HostList {
    /// Reads `host`, `host:port`, or a URL of which only these two count.
    pub(super) fn parse<'a>(
        entries: impl IntoIterator<Item = &'a String>,
    ) -> Result<Self, EgressError> {
        entries.into_iter().map(|entry| Pattern::parse(entry)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn lists(&self, at: &HostPort) -> bool {
        self.0.iter().any(|p| p.host == at.host && p.port.is_none_or(|port| port == at.port))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, EgressError> {
        let wrong = || {
            let text: String = text.chars().take(100).collect();
            EgressError::Invalid(format!("\"{text}\" is not a host or host:port"))
        };
        let trimmed = text.trim();
        let rest = trimmed.split_once("://").map_or(trimmed, |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        // A URL hides its own scheme's port; no port is that of both.
        let read = |scheme: &str| Url::parse(&format!("{scheme}://{authority}")).ok();
        let (plain, secure) = read("http").zip(read("https")).ok_or_else(wrong)?;
        let bare = plain.username().is_empty()
            && plain.password().is_none()
            && !authority.contains(['?', '#', '\\', '@']);
        match plain.host_str() {
            Some(host) if bare && !host.is_empty() => {
                Ok(Self { host: host.to_owned(), port: plain.port().or(secure.port()) })
            }
            _ => Err(wrong()),
        }
    }
}

/// Whether this URL's host can be nothing but this machine.
pub(super) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(v4) => v4.is_loopback(),
        Host::Ipv6(v6) => {
            v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
        // RFC 6761 6.3 gives the name and all names below it to the loopback interface.
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> HostPort {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_lists_a_port_or_all() {
        let entries = ["Reg.Local:5000", "10.0.0.1", "http://mirror.example:80/v2/", "[FD00::1]"];
        let list = HostList::parse(&entries.map(str::to_owned)).unwrap();
        for listed in
            ["reg.local:5000", "10.0.0.1:1", "10.0.0.1:443", "mirror.example:80", "[fd00::1]:7"]
        {
            assert!(list.lists(&at(listed)), "{listed}");
        }
        for other in
            ["reg.local:5001", "reg.local", "mirror.example", "10.0.0.10:1", "x.local:5000"]
        {
            assert!(!list.lists(&at(other)), "{other}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused_by_its_text() {
        for wrong in ["", " ", "a b", "host:99999", "host:x", "u:p@host", "http://", "a?b", "[::1"]
        {
            let error = HostList::parse(&[wrong.to_owned()]).unwrap_err();
            let text = format!("\"{wrong}\" is not a host or host:port");
            assert_eq!(error, EgressError::Invalid(text));
        }
    }

    #[test]
    fn ports_are_read_and_written() {
        assert_eq!(at("Example.com").to_string(), "example.com:443");
        assert_eq!(at("example.com:80").to_string(), "example.com:80");
        assert_eq!(at("0x7f.1:5000").to_string(), "127.0.0.1:5000");
        let url = Url::parse("http://example.com/x").unwrap();
        assert_eq!(HostPort::of(&url).unwrap().to_string(), "example.com:80");
    }

    #[test]
    fn loopback_has_many_names() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST.", true),
            ("a.localhost", true),
            ("127.8.9.1", true),
            ("2130706433", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost.example", false),
            ("notlocalhost", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
        ] {
            let url = Url::parse(&format!("http://{host}/")).unwrap();
            assert_eq!(is_loopback(&url.host().unwrap()), expected, "{host}");
        }
    }
}

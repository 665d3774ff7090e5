use url::{Host, Url};

use crate::registry::RegistryHost;
use crate::registry::egress::Egress;
use crate::registry::host::DOCKER_HUB;

use super::domain::is_same_owner;

/// The longest realm that is looked at, in bytes.
const MAX_REALM_BYTES: usize = 2 * 1024;

/// Hosts that issue the tokens of registries elsewhere: registry, host.
const ISSUERS: [(&str, &str); 2] =
    [(DOCKER_HUB, "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// Where a registry's tokens are issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Realm {
    /// To be asked for a token.
    pub(super) url: Url,
    /// Whether it may see the registry's credentials. Without them it may be asked too.
    pub(super) trusted: bool,
}

/// Checks the realm that a registry's challenge names, before anybody speaks to it.
///
/// # Errors
/// Why it is not acceptable.
pub(super) fn check(text: &str, registry: &RegistryHost, egress: &Egress) -> Result<Realm, String> {
    if text.len() > MAX_REALM_BYTES {
        return Err(format!("it has {} bytes, over {MAX_REALM_BYTES}", text.len()));
    }
    let mut url = Url::parse(text).map_err(|e| format!("it is not a URL: {e}"))?;
    let host = url.host().ok_or("it names no host")?.to_owned();
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user name in it".to_owned());
    }
    let own = registry.endpoint.host().map(|host| host.to_owned()).ok_or("no host")?;
    let same = host == own;
    // Addresses behind names are the business of the egress policy; what is plain is refused here.
    if !same && is_local(&host) && !(is_loopback(&own) && is_loopback(&host)) {
        return Err("it is an address or a local name, and not the registry's own".to_owned());
    }
    match url.scheme() {
        "https" => {}
        "http" if registry.endpoint.scheme() != "http" => {
            return Err("it is not https".to_owned());
        }
        "http" if same || egress.is_insecure(&authority(&url)) => {}
        "http" => return Err("it is not https, and not the registry's own host".to_owned()),
        other => return Err(format!("its scheme is {other}")),
    }
    url.set_fragment(None);
    let trusted = same || (url.scheme() == "https" && is_issuer(registry, &host));
    // The endpoint may be a stand-in for the registry that the credentials are for.
    Ok(Realm { url, trusted: trusted && endpoint_is_trusted(registry) })
}

/// Whether the endpoint may see the credentials of the registry's name: it does not where it is a
/// mirror of somebody else's.
pub(super) fn endpoint_is_trusted(registry: &RegistryHost) -> bool {
    let endpoint = registry.endpoint.host().map(|host| host.to_owned());
    endpoint.is_some_and(|endpoint| {
        own_host(registry).is_some_and(|own| own == endpoint) || is_issuer(registry, &endpoint)
    })
}

/// Whether tokens of the registry are issued at `host`, by domain or by the list.
fn is_issuer(registry: &RegistryHost, host: &Host<String>) -> bool {
    let Host::Domain(host) = host else { return false };
    let host = host.trim_end_matches('.');
    let Some(Host::Domain(own)) = own_host(registry) else { return false };
    let own = own.trim_end_matches('.');
    ISSUERS.contains(&(own, host)) || is_same_owner(own, host)
}

/// The host in the name by which the credentials are kept.
fn own_host(registry: &RegistryHost) -> Option<Host<String>> {
    let url = Url::parse(&format!("https://{}/", registry.name)).ok()?;
    url.host().map(|host| host.to_owned())
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_local(host: &Host<String>) -> bool {
    match host {
        Host::Ipv4(_) | Host::Ipv6(_) => true,
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost") || !name.contains('.')
        }
    }
}

fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => name == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::egress::EgressOptions;

    fn egress() -> Egress {
        let insecure = vec!["registry.lan:5000".to_owned()];
        Egress::new(EgressOptions { insecure, ..EgressOptions::default() }).unwrap()
    }

    fn judge(registry: &str, realm: &str) -> Result<bool, String> {
        let egress = egress();
        let registry = RegistryHost::parse(registry, &egress).unwrap();
        check(realm, &registry, &egress).map(|realm| realm.trusted)
    }

    #[test]
    fn who_may_see_credentials() {
        for (registry, realm, trusted) in [
            ("docker.io", "https://auth.docker.io/token", true),
            ("docker.io", "https://auth.docker.io./token", true),
            ("ghcr.io", "https://ghcr.io/token", true),
            ("quay.io", "https://quay.io/v2/auth", true),
            ("gcr.io", "https://gcr.io/v2/token", true),
            ("us-docker.pkg.dev", "https://us-docker.pkg.dev/v2/token", true),
            ("registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("mcr.microsoft.com", "https://mcr.microsoft.com/oauth2/token", true),
            ("registry.example.co.uk", "https://login.example.co.uk/token", true),
            ("registry.example.com:8443", "https://registry.example.com/token", true),
            ("ghcr.io", "https://evil.example/token", false),
            ("ghcr.io", "https://ghcr.io.evil.example/token", false),
            ("ghcr.io", "https://evilghcr.io/token", false),
            ("docker.io", "https://auth.docker.io.evil.example/token", false),
            // Two owners below one public suffix.
            ("a.co.uk", "https://b.co.uk/token", false),
            ("me.github.io", "https://evil.github.io/token", false),
            ("registry.lan:5000", "http://registry.lan:5001/token", true),
            ("localhost:5000", "http://localhost:5001/token", true),
            ("localhost:5000", "http://127.0.0.1:5001/token", false),
        ] {
            assert_eq!(judge(registry, realm), Ok(trusted), "{registry} {realm}");
        }
    }

    #[test]
    fn a_mirror_gets_no_credentials_of_what_it_mirrors() {
        let mirror = |endpoint: &str| RegistryHost {
            name: DOCKER_HUB.to_owned(),
            endpoint: Url::parse(endpoint).unwrap(),
        };
        assert!(endpoint_is_trusted(&mirror("https://registry-1.docker.io/")));
        let other = mirror("https://mirror.example/");
        assert!(!endpoint_is_trusted(&other));
        let realm = check("https://mirror.example/token", &other, &egress()).unwrap();
        assert!(!realm.trusted);
        let realm = check("https://auth.docker.io/token", &other, &egress()).unwrap();
        assert!(!realm.trusted);
    }

    #[test]
    fn realms_that_nobody_asks() {
        for realm in [
            "",
            "token",
            "//auth.docker.io/token",
            "http://auth.docker.io/token",
            "file:///etc/passwd",
            "unix:/run/docker.sock",
            "data:,x",
            "javascript:x",
            "ftp://ghcr.io/",
            "https://",
            "https:///",
            "https://user@ghcr.io/token",
            "https://user:pass@ghcr.io/token",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://①②⑦.0.0.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://10.0.0.1/",
            "https://100.64.0.1/",
            "https://8.8.8.8/",
            "https://localhost/",
            "https://localhost./",
            "https://x.localhost/",
            "https://LOCALHOST/",
            "https://metadata/",
        ] {
            assert!(judge("ghcr.io", realm).is_err(), "{realm}");
        }
        let long = format!("https://ghcr.io/{}", "a".repeat(3000));
        assert!(judge("ghcr.io", &long).is_err());
        // Without TLS only where the registry is so too, and only its own host.
        assert!(judge("registry.lan:5000", "http://other.example/").is_err());
        assert!(judge("registry.lan:5000", "http://127.0.0.1:2375/").is_err());
    }
}

use std::fmt;

use base64::Engine as _;
use http::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::percent_decode_str;
use url::Url;

use super::EgressError;
use super::hosts::is_loopback;

/// Which proxies the environment names, as curl and everybody else reads it.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    no: String,
}

impl Proxies {
    /// Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, upper case before lower case,
    /// from what `variable` answers. Empty counts as unset.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| {
            let found = variable(name).or_else(|| variable(&name.to_lowercase()));
            found.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let all = read("ALL_PROXY");
        Self {
            http: read("HTTP_PROXY").or_else(|| all.clone()),
            https: read("HTTPS_PROXY").or(all),
            no: read("NO_PROXY").unwrap_or_default(),
        }
    }

    /// The proxy that `url` is asked through. None for this machine itself, whatever they say.
    ///
    /// # Errors
    /// [`EgressError::Invalid`] for a proxy that cannot be spoken to: going past it is not what
    /// who set it wants.
    pub(super) fn of(&self, url: &Url) -> Result<Option<Proxy>, EgressError> {
        let named = match url.scheme() {
            "https" => &self.https,
            _ => &self.http,
        };
        let Some(named) = named else { return Ok(None) };
        if url.host().is_some_and(|host| is_loopback(&host)) || self.exempt(url) {
            return Ok(None);
        }
        Proxy::parse(named).map(Some)
    }

    fn exempt(&self, url: &Url) -> bool {
        // The matcher knows what NO_PROXY means; which proxy it would take does not matter here.
        let matcher = Matcher::builder().all("http://proxy").no(self.no.as_str()).build();
        let Ok(uri) = url.as_str().parse::<http::Uri>() else { return false };
        matcher.intercept(&uri).is_none()
    }
}

/// Proxies' URLs have passwords in them.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no", &self.no)
            .finish()
    }
}

/// A proxy that speaks HTTP. Deliberately without Debug: its URL may have a password in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Proxy {
    url: Url,
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, EgressError> {
        // `proxy:3128` has no scheme; `proxy:` must not be taken for one.
        let full = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let url = Url::parse(&full).ok().filter(Url::has_host).ok_or_else(|| {
            EgressError::Invalid(
                "the environment's proxy is not a URL; set HTTPS_PROXY to http://host:port".into(),
            )
        })?;
        match url.scheme() {
            "http" | "https" => Ok(Self { url }),
            other => Err(EgressError::Invalid(format!(
                "the environment's proxy is of the kind {other}://, which is not spoken; set \
                 HTTPS_PROXY to an http:// proxy, or NO_PROXY to the registry's host"
            ))),
        }
    }

    /// Its URL, with credentials.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// `host:port`, for texts.
    pub(super) fn name(&self) -> String {
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", self.url.host_str().unwrap_or_default())
    }

    /// What it wants to be told about who asks, if anything.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        if self.url.username().is_empty() && self.url.password().is_none() {
            return None;
        }
        let mut pair: Vec<u8> = percent_decode_str(self.url.username()).collect();
        pair.push(b':');
        pair.extend(percent_decode_str(self.url.password().unwrap_or_default()));
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        let mut value = HeaderValue::try_from(format!("Basic {encoded}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_variables(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn of(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.of(&Url::parse(url).unwrap()).unwrap().map(|proxy| proxy.name())
    }

    #[test]
    fn each_scheme_has_its_own_and_all_is_for_the_rest() {
        let some = proxies(&[("https_proxy", "p:1"), ("ALL_PROXY", "http://q:2")]);
        assert_eq!(of(&some, "https://a.example/").unwrap(), "p:1");
        assert_eq!(of(&some, "http://a.example/").unwrap(), "q:2");
        let upper = proxies(&[("HTTPS_PROXY", "p"), ("https_proxy", "q")]);
        assert_eq!(of(&upper, "https://a.example/").unwrap(), "p:80");
        assert_eq!(of(&upper, "http://a.example/"), None);
        assert_eq!(of(&proxies(&[("HTTPS_PROXY", " ")]), "https://a.example/"), None);
    }

    #[test]
    fn this_machine_and_exceptions_are_asked_directly() {
        let some =
            proxies(&[("ALL_PROXY", "http://p:1"), ("NO_PROXY", "corp.example, 10.0.0.0/8,.lan")]);
        for direct in [
            "http://localhost:5000/",
            "http://127.0.0.9/",
            "http://[::1]/",
            "https://x.localhost/",
            "https://corp.example/",
            "https://a.corp.example/",
            "https://10.9.8.7/",
            "https://a.lan/",
        ] {
            assert_eq!(of(&some, direct), None, "{direct}");
        }
        assert_eq!(of(&some, "https://notcorp.example/").unwrap(), "p:1");
        let none = proxies(&[("ALL_PROXY", "http://p:1"), ("no_proxy", "*")]);
        assert_eq!(of(&none, "https://a.example/"), None);
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_not_gone_past() {
        let url = Url::parse("https://a.example/").unwrap();
        for bad in ["socks5://p:1", "http://", "http://u:secret@:1", "::"] {
            let Err(EgressError::Invalid(text)) = proxies(&[("ALL_PROXY", bad)]).of(&url) else {
                panic!("{bad} was taken");
            };
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn credentials_are_sent_and_not_shown() {
        let some = proxies(&[("ALL_PROXY", "http://us%40er:pa%3Ass@p:1")]);
        let proxy = some.of(&Url::parse("https://a.example/").unwrap()).unwrap().unwrap();
        // us@er:pa:ss
        assert_eq!(proxy.authorization().unwrap(), "Basic dXNAZXI6cGE6c3M=");
        assert_eq!(proxy.name(), "p:1");
        assert!(!format!("{some:?}").contains("pa"));
    }
}

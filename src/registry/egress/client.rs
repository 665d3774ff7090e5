use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use url::Url;

use super::hosts::HostPort;
use super::pace::{Progress, Upload, download};
use super::policy::{Permit, Policy};
use super::proxies::Proxies;
use super::resolve::{Checked, Lookup, SystemLookup};
use super::transport::{Route, Transports};
use super::{EgressError, EgressRequest, EgressResponse, failure, redirect};
use crate::config::Config;

/// How many redirects one request may follow.
const MAX_REDIRECTS: usize = 5;

/// What the policy is made of.
#[derive(Clone)]
pub struct EgressOptions {
    /// `host` or `host:port` that may be spoken to without TLS, and may have any address. Loopback
    /// addresses and `localhost` always may.
    pub insecure: Vec<String>,
    /// `host` or `host:port` that may have any address, also where an answer refers to them.
    /// Mirrors belong here.
    pub private_hosts: Vec<String>,
    /// PEM files with certificate authorities to trust besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// What the environment says about proxies.
    pub proxies: Proxies,
    /// How long a connection may take, name and TLS included. 10 s.
    pub connect: Duration,
    /// How long an answer may take to begin, from the connection on. 30 s.
    pub first_byte: Duration,
    /// How long there may be nothing between two pieces of a body, in either direction. 30 s.
    pub stall: Duration,
    /// How long an answer may take to begin once a body has been sent: what it was sent to hashes
    /// and stores it first. 5 min.
    pub settle: Duration,
    /// Who resolves names.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            private_hosts: Vec::new(),
            ca_files: Vec::new(),
            proxies: Proxies::default(),
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            settle: Duration::from_secs(300),
            lookup: Arc::new(SystemLookup),
        }
    }
}

impl EgressOptions {
    /// What the configuration says; the mirrors that it names may have any address.
    pub fn of(config: &Config, proxies: Proxies) -> Self {
        let mirrors = config.registry_mirrors.value.iter().filter_map(|mirror| {
            let host = mirror.url.host_str()?;
            Some(format!("{host}:{}", mirror.url.port_or_known_default()?))
        });
        let named = config.registry_private_hosts.value.iter().cloned();
        Self {
            insecure: config.insecure_registries.value.clone(),
            private_hosts: mirrors.chain(named).collect(),
            ca_files: config.registry_ca.value.clone(),
            proxies,
            ..Self::default()
        }
    }
}

impl fmt::Debug for EgressOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressOptions")
            .field("insecure", &self.insecure)
            .field("private_hosts", &self.private_hosts)
            .field("ca_files", &self.ca_files)
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

/// The HTTP client under the policy; cheap to clone.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    options: EgressOptions,
    policy: Policy,
    transports: Transports,
}

impl Egress {
    /// A client under this policy.
    ///
    /// # Errors
    /// [`EgressError::Invalid`] for a certificate file that cannot be used, naming it, and for a
    /// listed host that is none.
    pub fn new(options: EgressOptions) -> Result<Self, EgressError> {
        let policy = Policy::new(&options)?;
        let transports = Transports::new(&options)?;
        Ok(Self { inner: Arc::new(Inner { options, policy, transports }) })
    }

    /// Whether `host[:port]` is spoken to without TLS.
    pub fn is_insecure(&self, host: &str) -> bool {
        self.inner.policy.is_insecure(host)
    }

    /// Sends a request and follows its redirects.
    ///
    /// # Errors
    /// Every [`EgressError`].
    pub async fn send(&self, request: EgressRequest) -> Result<EgressResponse, EgressError> {
        let EgressRequest { method, mut url, mut headers, authorization, body, named } = request;
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value);
        }
        let sends = body.is_some();
        // What is in memory can be sent again.
        let whole = body.as_ref().and_then(|b| b.as_bytes()).map(Bytes::copy_from_slice);
        let mut body = match whole.clone() {
            Some(bytes) => Some(Outgoing::Whole(bytes)),
            None => body.map(Outgoing::Stream),
        };
        for _ in 0..=MAX_REDIRECTS {
            let sent = self.exchange(&method, &url, headers.clone(), body.take(), &named).await?;
            let (status, answered) = (sent.status(), sent.headers().clone());
            let Some(next) = redirect::target(&url, &method, sends, status, &answered)? else {
                let host = label(&url);
                let body = download(sent, host, self.inner.options.stall);
                return Ok(EgressResponse { status, headers: answered, url, body });
            };
            if sends {
                body = Some(Outgoing::Whole(whole.clone().ok_or_else(|| {
                    EgressError::Invalid(format!(
                        "{} redirects an upload ({}) whose bytes are on their way already",
                        label(&url),
                        status.as_u16()
                    ))
                })?));
            }
            if url.scheme() == "https" && next.scheme() == "http" {
                return Err(EgressError::Forbidden(format!(
                    "{} redirects from https to http, to {}; that is never followed",
                    label(&url),
                    label(&next)
                )));
            }
            redirect::strip(&url, &next, &mut headers);
            url = next;
        }
        let host = label(&url);
        Err(EgressError::Invalid(format!(
            "{} redirects more than {MAX_REDIRECTS} times, the last time to {host}",
            label(&named)
        )))
    }

    /// One request and the head of its answer, whatever that is; follows nothing.
    pub(super) async fn exchange(
        &self,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Option<Outgoing>,
        named: &Url,
    ) -> Result<reqwest::Response, EgressError> {
        let Inner { options, policy, transports } = &*self.inner;
        let permit = policy.check(url, named)?;
        let proxy = options.proxies.of(url)?;
        let route = match proxy.clone() {
            Some(proxy) => Route::Proxied(proxy),
            None => Route::Direct { permit, tls: url.scheme() == "https" },
        };
        let client = transports.client(&route).await?;
        let host = label(url);

        // Sizes and digests are those of the bytes as they are stored.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.remove(header::HOST);
        let progress = Progress::new();
        // Of an empty body the length would not be said.
        let body = body.filter(|body| !matches!(body, Outgoing::Whole(bytes) if bytes.is_empty()));
        if body.is_none() && matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let sends = body.is_some();
        let mut request = client.request(method.clone(), url.clone()).headers(headers);
        match body {
            Some(Outgoing::Whole(bytes)) => {
                request = request.body(reqwest::Body::wrap(Upload::whole(bytes, progress.clone())));
            }
            Some(Outgoing::Stream(body)) => {
                let upload = Upload::stream(body, length, progress.clone());
                request = request.body(reqwest::Body::wrap(upload));
            }
            None => {}
        }
        // An upload moves or stands still; where it has ended, or a write has no body, the other
        // side may have gigabytes to check. Reads begin soon. The connection takes time first.
        let (stall, settle) = match (*method == Method::GET || *method == Method::HEAD, sends) {
            (true, false) => (options.first_byte, options.first_byte),
            (false, false) => (options.settle, options.settle),
            (_, true) => (options.stall, options.settle),
        };
        let stall = stall.saturating_add(options.connect);
        let answer = tokio::select! {
            biased;
            answer = request.send() => {
                answer.map_err(|e| failure::of(&e.without_url(), &host, proxy.as_ref()))?
            }
            limit = progress.stalled(stall, settle) => {
                let what = if sends { "takes no more bytes and does not answer" } else { "does not answer" };
                let text = format!("{host} stalled: it {what} for {limit:?}");
                return Err(EgressError::Unreachable(text));
            }
        };
        match answer.headers().get(header::CONTENT_ENCODING) {
            Some(value)
                if !value.is_empty() && !value.as_bytes().eq_ignore_ascii_case(b"identity") =>
            {
                let coding: String =
                    String::from_utf8_lossy(value.as_bytes()).chars().take(40).collect();
                Err(EgressError::Invalid(format!(
                    "{host} answers in the encoding \"{coding}\", which was not asked for"
                )))
            }
            _ => Ok(answer),
        }
    }

    /// Whether `url` may be asked, before any name is resolved.
    pub(super) fn check(&self, url: &Url, named: &Url) -> Result<Permit, EgressError> {
        self.inner.policy.check(url, named)
    }

    /// The addresses of a URL's host that its permit allows.
    pub(super) async fn addresses(
        &self,
        url: &Url,
        permit: Permit,
    ) -> Result<Vec<IpAddr>, EgressError> {
        match url.host() {
            Some(url::Host::Ipv4(v4)) => Ok(vec![v4.into()]),
            Some(url::Host::Ipv6(v6)) => Ok(vec![v6.into()]),
            Some(url::Host::Domain(name)) => {
                let lookup = self.inner.options.lookup.clone();
                Checked { lookup, permit }.addresses(name).await
            }
            None => Err(EgressError::Forbidden("a URL without a host cannot be asked".into())),
        }
    }

    pub(super) fn options(&self) -> &EgressOptions {
        &self.inner.options
    }
}

/// A request body on its way.
pub(super) enum Outgoing {
    Whole(Bytes),
    Stream(reqwest::Body),
}

/// `host:port` as texts name it; what answers refer to may have any length.
fn label(url: &Url) -> String {
    let text = HostPort::of(url).map(|at| at.to_string());
    text.unwrap_or_else(|| "a URL without a host".into()).chars().take(300).collect()
}

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header;

use super::{EgressError, EgressRequest, EgressResponse};

/// How many redirects one request may follow.
const MAX_REDIRECTS: usize = 5;

/// What the policy is made of.
#[derive(Debug, Clone, Default)]
pub struct EgressOptions {
    /// `host` or `host:port` that may be spoken to without TLS. Loopback addresses and `localhost`
    /// always may.
    pub insecure: Vec<String>,
    /// PEM files with certificate authorities to trust besides the system's.
    pub ca_files: Vec<PathBuf>,
}

/// The HTTP client under the policy; cheap to clone.
#[derive(Clone)]
pub struct Egress {
    inner: Arc<Inner>,
}

struct Inner {
    options: EgressOptions,
    client: reqwest::Client,
}

impl Egress {
    /// A client under this policy; proxies come from the environment.
    ///
    /// # Errors
    /// [`EgressError::Invalid`] for a certificate file that cannot be read.
    pub fn new(options: EgressOptions) -> Result<Self, EgressError> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("modeld/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(30))
            .build()
            .map_err(|e| EgressError::Invalid(e.to_string()))?;
        Ok(Self { inner: Arc::new(Inner { options, client }) })
    }

    /// Whether `host[:port]` is spoken to without TLS.
    pub fn is_insecure(&self, host: &str) -> bool {
        let bare = host.rsplit_once(':').map_or(host, |(name, _)| name);
        matches!(bare, "localhost" | "127.0.0.1" | "[::1]")
            || self.inner.options.insecure.iter().any(|listed| listed == host || listed == bare)
    }

    /// Sends a request and follows its redirects.
    ///
    /// # Errors
    /// Every [`EgressError`].
    pub async fn send(&self, request: EgressRequest) -> Result<EgressResponse, EgressError> {
        let EgressRequest { method, mut url, headers, authorization, body, named: _ } = request;
        let mut body = body;
        let mut authorization = authorization;
        for _ in 0..=MAX_REDIRECTS {
            let mut asked =
                self.inner.client.request(method.clone(), url.clone()).headers(headers.clone());
            if let Some(value) = &authorization {
                asked = asked.header(header::AUTHORIZATION, value.clone());
            }
            if let Some(body) = body.take() {
                asked = asked.body(body);
            }
            let answer = asked.send().await.map_err(|e| EgressError::Unreachable(e.to_string()))?;
            let target = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
            let next = target.and_then(|target| url.join(target).ok());
            match next {
                Some(next) if answer.status().is_redirection() => {
                    if next.origin() != url.origin() {
                        authorization = None;
                    }
                    url = next;
                }
                _ => {
                    return Ok(EgressResponse {
                        status: answer.status(),
                        headers: answer.headers().clone(),
                        url,
                        body: answer
                            .bytes_stream()
                            .map(|piece| piece.map_err(|e| EgressError::Unreachable(e.to_string())))
                            .boxed(),
                    });
                }
            }
        }
        let host = url.host_str().unwrap_or_default();
        Err(EgressError::Invalid(format!("{host} redirects more than {MAX_REDIRECTS} times")))
    }
}

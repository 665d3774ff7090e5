use http::{Request, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;

use super::ClientError;
use super::http::Body;
use super::tls::HttpsConnector;
use crate::config::DaemonHost;

/// One daemon, and the way to it.
#[derive(Clone)]
pub(super) struct Route {
    pub place: String,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Unix { pool: Pool<UnixConnector, Body>, path: std::path::PathBuf },
    Tcp { pool: Pool<HttpConnector, Body>, base: String },
    Tls { pool: Pool<HttpsConnector, Body>, base: String },
}

impl Route {
    pub(super) fn new(host: &DaemonHost) -> Self {
        match host {
            DaemonHost::Unix(path) => Self {
                place: path.display().to_string(),
                way: Way::Unix {
                    pool: Pool::builder(TokioExecutor::new()).build(UnixConnector),
                    path: path.clone(),
                },
            },
            DaemonHost::Http { base, authority } => {
                let pool = Pool::builder(TokioExecutor::new());
                let (place, base) = (base.clone(), base.clone());
                let way = if base.starts_with("https://") {
                    let pool = pool.build(HttpsConnector::new(authority.clone()));
                    Way::Tls { pool, base }
                } else {
                    Way::Tcp { pool: pool.build_http(), base }
                };
                Self { place, way }
            }
        }
    }

    /// Where the `/v1` routes are, for people and programs that want to use them.
    pub(super) fn endpoint(&self) -> String {
        match &self.way {
            Way::Unix { path, .. } => format!("unix://{}", path.display()),
            Way::Tcp { base, .. } | Way::Tls { base, .. } => format!("{base}/v1/"),
        }
    }

    /// The Host header. A socket has no name, and the path in hexadecimal would be no better.
    pub(super) fn host(&self) -> String {
        let authority = match &self.way {
            Way::Unix { .. } => None,
            Way::Tcp { base, .. } | Way::Tls { base, .. } => {
                base.parse::<Uri>().ok().and_then(|u| u.into_parts().authority)
            }
        };
        authority.map_or_else(|| "localhost".to_owned(), |a| a.to_string())
    }

    pub(super) fn uri(&self, path: &str) -> Result<Uri, ClientError> {
        let uri: Result<Uri, _> = match &self.way {
            Way::Unix { path: socket, .. } => return Ok(hyperlocal::Uri::new(socket, path).into()),
            Way::Tcp { base, .. } | Way::Tls { base, .. } => format!("{base}{path}").parse(),
        };
        uri.map_err(|e| ClientError::Invalid(format!("{path}: {e}")))
    }

    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let sent: Result<_, Error> = match &self.way {
            Way::Unix { pool, .. } => pool.request(request).await,
            Way::Tcp { pool, .. } => pool.request(request).await,
            Way::Tls { pool, .. } => pool.request(request).await,
        };
        sent.map_err(|error| {
            if error.is_connect() {
                ClientError::connecting(&self.place, &error)
            } else {
                ClientError::broken(&error)
            }
        })
    }
}

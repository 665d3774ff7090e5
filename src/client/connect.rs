use http::{Request, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::TokioExecutor;
use hyperlocal::UnixConnector;

use super::ClientError;
use super::http::Body;
use super::tls::{HttpsConnector, tcp};
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
                    Way::Tcp { pool: pool.build(tcp()), base }
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
                return ClientError::connecting(&self.place, &error);
            }
            match &self.way {
                Way::Tcp { .. } => ClientError::broken_in_clear(&error),
                Way::Unix { .. } | Way::Tls { .. } => ClientError::broken(&error),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

    use super::*;
    use crate::client::Client;

    /// Answers with an alert of TLS.
    async fn alert(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let _ = stream.read(&mut [0; 1024]).await.unwrap();
        stream.write_all(b"\x15\x03\x01\x00\x02\x02\x46").await.unwrap();
    }

    #[tokio::test]
    async fn tls_is_thought_of_where_there_may_be_some() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let unix = tokio::net::UnixListener::bind(&path).unwrap();
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", tcp.local_addr().unwrap());
        let unix_client = Client::new(&DaemonHost::Unix(path));
        let tcp_client = Client::new(&DaemonHost::Http { base, authority: None });
        let answer = async { alert(unix.accept().await.unwrap().0).await };
        let (said, ()) = tokio::join!(unix_client.version(), answer);
        let said = said.unwrap_err().to_string();
        assert!(said.contains("broke") && !said.contains("TLS"), "{said}");
        let answer = async { alert(tcp.accept().await.unwrap().0).await };
        let (said, ()) = tokio::join!(tcp_client.version(), answer);
        let said = said.unwrap_err().to_string();
        assert!(said.ends_with("if it speaks TLS: https://"), "{said}");
    }
}

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use url::Url;

use super::hosts::HostPort;
use super::pace::Progress;
use super::policy::Permit;
use super::proxies::Proxy;
use super::{Egress, EgressError};

/// Bytes both ways.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects to the host of `url`, which the user named, past the policy and through the
/// environment's proxy.
pub(super) async fn open(egress: &Egress, url: &Url) -> Result<Box<dyn Wire>, EgressError> {
    let Some(at) = HostPort::of(url) else {
        return Err(EgressError::Forbidden("a URL without a host cannot be asked".into()));
    };
    let limit = egress.options().connect;
    let open = async {
        let permit = egress.check(url, url)?;
        match egress.options().proxies.of(url)? {
            Some(proxy) => through(egress, &proxy, &at).await,
            None => {
                let addresses = egress.addresses(url, permit).await?;
                Ok(Box::new(dial(&addresses, &at.to_string(), at.port()).await?) as Box<dyn Wire>)
            }
        }
    };
    tokio::time::timeout(limit, open).await.unwrap_or_else(|_| {
        let text = format!("no connection to {at} within {limit:?}; check the network");
        Err(EgressError::Unreachable(text))
    })
}

/// Connects to the first of the addresses that answers. The name is for texts alone.
async fn dial(addresses: &[IpAddr], name: &str, port: u16) -> Result<TcpStream, EgressError> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(*address, port)).await {
            Ok(stream) => {
                // Small frames of TLS handshakes must not wait for each other.
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(EgressError::Unreachable(format!("no connection to {name}: {last}")))
}

/// A tunnel to `at` through a proxy.
async fn through(
    egress: &Egress,
    proxy: &Proxy,
    at: &HostPort,
) -> Result<Box<dyn Wire>, EgressError> {
    let name = proxy.name();
    let broken = |what: String| {
        EgressError::Unreachable(format!("the proxy {name} gives no tunnel to {at}: {what}"))
    };
    if proxy.url().scheme() != "http" {
        return Err(EgressError::Invalid(format!(
            "the proxy {name} is spoken to with TLS, which does not work for uploads; set \
             HTTPS_PROXY to an http:// URL"
        )));
    }
    let addresses = egress.addresses(proxy.url(), Permit::Listed).await?;
    let port = proxy.url().port_or_known_default().unwrap_or(80);
    let stream = dial(&addresses, &format!("the proxy {name}"), port).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(e.to_string()))?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(at.to_string())
        .header(header::HOST, at.to_string());
    if let Some(value) = proxy.authorization() {
        request = request.header(header::PROXY_AUTHORIZATION, value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| broken(e.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|e| broken(e.to_string()))?;
    match answer.status() {
        status if status.is_success() => {}
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            return Err(broken("it wants a user and password; put them into HTTPS_PROXY".into()));
        }
        status => return Err(broken(format!("it answers {status}"))),
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(|e| broken(e.to_string()))?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

/// Carries bytes between two ends until both have finished, one breaks, or nothing moves for
/// `idle`.
pub(super) async fn carry(near: impl Wire, mut far: Box<dyn Wire>, idle: Duration) {
    let progress = Progress::new();
    let mut near = Watched { wire: near, progress: progress.clone() };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = progress.stalled(idle, idle) => {}
    }
}

/// One end of a tunnel; all bytes of both directions pass it.
struct Watched<T> {
    wire: T,
    progress: Progress,
}

impl<T: Wire> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        let read = ready!(Pin::new(&mut own.wire).poll_read(context, buffer));
        own.progress.moved();
        Poll::Ready(read)
    }
}

impl<T: Wire> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let written = ready!(Pin::new(&mut own.wire).poll_write(context, bytes));
        own.progress.moved();
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(context)
    }
}

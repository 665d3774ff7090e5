use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::client::Outgoing;
use super::hosts::HostPort;
use super::pace::download;
use super::{Egress, EgressError, tunnel};

/// Connections through one gate at a time, tunnels included; more wait.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take to send the head of a request, or keep a connection without one.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// What a connection is about, not a message: RFC 9110 7.6.1, and what older proxies use.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

type GateBody = UnsyncBoxBody<Bytes, EgressError>;

/// A proxy on loopback, for HTTP clients that cannot be given a policy of their own.
///
/// Lets through what the policy allows to the hosts it was made for, and nothing else; wants a
/// password that only [`proxy_url`](Self::proxy_url) has. Lives as long as the value: dropping it
/// cuts every connection.
///
/// A refusal reaches the client as a 403 of the proxy (or as a tunnel that fails), which it may
/// take for the registry's: ask [`last_failure`](Self::last_failure) before believing it.
pub struct EgressGate {
    url: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    egress: Egress,
    allowed: Vec<HostPort>,
    /// Of the only `Proxy-Authorization` that is taken; comparing hashes tells nothing by its time.
    authorization: [u8; 32],
    failure: Mutex<Option<EgressError>>,
    stop: CancellationToken,
}

impl EgressGate {
    /// Opens a gate to `allowed`, hosts that the user named: their addresses may be private.
    ///
    /// # Errors
    /// [`EgressError::Unreachable`] where no port of the loopback interface is to be had.
    pub async fn start(egress: &Egress, allowed: Vec<HostPort>) -> Result<Self, EgressError> {
        let broken = |what: String| EgressError::Unreachable(format!("no local proxy: {what}"));
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(|e| broken(e.to_string()))?;
        let password = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|e| broken(e.to_string()))?;
        let port = listener.local_addr().map_err(|e| broken(e.to_string()))?.port();

        let pair = base64::engine::general_purpose::STANDARD.encode(format!("modeld:{password}"));
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            egress: egress.clone(),
            allowed,
            authorization: Sha256::digest(format!("Basic {pair}")).into(),
            failure: Mutex::default(),
            stop: stop.clone(),
        });
        tokio::spawn(accept(listener, shared.clone()));
        let url = format!("http://modeld:{password}@127.0.0.1:{port}");
        Ok(Self { url, shared, _stop: stop.drop_guard() })
    }

    /// The gate's URL, with the password: for a client's proxy setting, never for a text.
    pub fn proxy_url(&self) -> &str {
        &self.url
    }

    /// Why the gate last refused or failed to let something through. Clients of proxies do not
    /// tell.
    pub fn last_failure(&self) -> Option<EgressError> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let serve = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, Arc::new(place), shared.clone()));
                }
                // Out of descriptors, or the client went away: neither ends the gate.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    shared.stop.run_until_cancelled(serve).await;
}

async fn connection(stream: TcpStream, place: Arc<OwnedSemaphorePermit>, shared: Arc<Shared>) {
    let service = service_fn(|request| {
        let (shared, place) = (shared.clone(), place.clone());
        async move { Ok::<_, Infallible>(handle(request, shared, place).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Some(Err(error)) = shared.stop.run_until_cancelled(serving).await {
        tracing::debug!(%error, "a connection to the local proxy broke");
    }
}

async fn handle(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    place: Arc<OwnedSemaphorePermit>,
) -> Response<GateBody> {
    let sent = request.headers().get(header::PROXY_AUTHORIZATION);
    let sent: [u8; 32] = Sha256::digest(sent.map_or(&[][..], |value| value.as_bytes())).into();
    if sent != shared.authorization {
        let mut refusal = text(
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            "the local proxy wants its password; clients do not send it along when a registry \
             without TLS redirects them to another host, which is not allowed anyway",
        );
        let realm = header::HeaderValue::from_static("Basic realm=\"modeld\"");
        refusal.headers_mut().insert(header::PROXY_AUTHENTICATE, realm);
        return refusal;
    }
    let passed = match *request.method() {
        Method::CONNECT => connect(request, &shared, place).await,
        _ => forward(request, &shared).await,
    };
    passed.unwrap_or_else(|error| {
        let status = match error {
            EgressError::Forbidden(_) => StatusCode::FORBIDDEN,
            EgressError::Unreachable(_) | EgressError::Invalid(_) => StatusCode::BAD_GATEWAY,
        };
        let answer = text(status, &error.to_string());
        *shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        answer
    })
}

/// A tunnel: what is inside is between the client and the host.
async fn connect(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    place: Arc<OwnedSemaphorePermit>,
) -> Result<Response<GateBody>, EgressError> {
    let authority = request.uri().authority().filter(|a| a.port().is_some());
    let url = authority.and_then(|a| Url::parse(&format!("https://{a}/")).ok());
    let url = url.ok_or_else(|| EgressError::Invalid("a tunnel to no host and port".into()))?;
    check(shared, &url)?;
    let far = tunnel::open(&shared.egress, &url).await?;
    let (stop, idle) = (shared.stop.clone(), shared.egress.options().settle);
    tokio::spawn(async move {
        let carry = async {
            if let Ok(near) = hyper::upgrade::on(request).await {
                tunnel::carry(TokioIo::new(near), far, idle).await;
            }
        };
        stop.run_until_cancelled(carry).await;
        drop(place);
    });
    Ok(Response::new(empty()))
}

/// A request to a host without TLS.
async fn forward(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
) -> Result<Response<GateBody>, EgressError> {
    let (head, body) = request.into_parts();
    let url = Url::parse(&head.uri.to_string()).ok().filter(|url| url.scheme() == "http");
    let url = url.ok_or_else(|| {
        EgressError::Invalid("the local proxy takes CONNECT and http:// URLs only".into())
    })?;
    let at = check(shared, &url)?;
    let headers = end_to_end(head.headers);
    let body = (!body.is_end_stream()).then(|| Outgoing::Stream(reqwest::Body::wrap(body)));
    let answer = shared.egress.exchange(&head.method, &url, headers, body, &url).await?;
    let mut passed = Response::new(empty());
    *passed.status_mut() = answer.status();
    *passed.headers_mut() = end_to_end(answer.headers().clone());
    let pieces = download(answer, at.to_string(), shared.egress.options().stall);
    *passed.body_mut() = StreamBody::new(pieces.map_ok(Frame::data).boxed()).boxed_unsync();
    Ok(passed)
}

fn check(shared: &Shared, url: &Url) -> Result<HostPort, EgressError> {
    match HostPort::of(url) {
        Some(at) if shared.allowed.contains(&at) => Ok(at),
        Some(at) => {
            let list: Vec<String> = shared.allowed.iter().map(ToString::to_string).collect();
            let list = list.join(", ");
            Err(EgressError::Forbidden(format!(
                "{list} refers to {at}, which is not among the hosts of this transfer"
            )))
        }
        None => Err(EgressError::Forbidden("a URL without a host cannot be asked".into())),
    }
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("proxy-connection");
    headers
}

fn text(status: StatusCode, words: &str) -> Response<GateBody> {
    let body = Full::new(Bytes::from(format!("{words}\n"))).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = status;
    answer
}

fn empty() -> GateBody {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

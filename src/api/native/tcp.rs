use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::listeners::{
    Audience, ListenerControl, TcpChange, TcpPlace, TcpState, TcpWaiting, TcpWish, Transport,
};
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::config::{TCP_PORT, loopback_address};
use crate::domain::{Error, ErrorKind, Result};

use super::models::go_bool;
use super::query::read_query;

/// The body of `PUT /modeld/tcp`.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::TcpRequest)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TcpRequest {
    /// A loopback address; 127.0.0.1 if absent.
    host: Option<String>,
    /// 12434 if absent.
    port: Option<u16>,
    /// Listen for containers as well, at the same port of the address of their bridge.
    containers: bool,
    /// Addresses at which the service manager has closed the sockets that it had passed: nobody has
    /// to be turned away there any more.
    released: Vec<String>,
}

/// The TCP listeners.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Tcp)]
pub(super) struct WireTcp {
    /// Whether there is one of `--tcp`, on loopback or to the network.
    enabled: bool,
    /// Where. The fields after it are about this one, too.
    address: Option<String>,
    /// `http` or `https`.
    scheme: Option<&'static str>,
    /// Whether each request needs a token.
    token_required: bool,
    /// What clients of OpenAI's API on this machine are told.
    base_url: Option<String>,
    /// What clients of Ollama on this machine are told (`OLLAMA_HOST`).
    ollama_host: Option<String>,
    /// Where the one for containers is.
    containers: Option<String>,
    /// Whether the service manager holds the listener.
    inherited: bool,
    /// All that are open.
    listeners: Vec<WireListener>,
    /// What the settings want and could not be opened yet. It is opened as soon as it can be.
    waiting: Vec<WireWaiting>,
    /// Where who connects is disconnected at once, because the service manager holds the socket.
    closed: Vec<String>,
    /// What the settings file says, for the next start.
    kept: Option<String>,
    /// The settings file of the daemon.
    settings_file: Option<String>,
    /// Where its settings and tokens are, unless a file was named.
    settings_directory: Option<String>,
    /// Whether this request changed anything.
    changed: bool,
    /// What is worth knowing about the change.
    notes: Vec<String>,
}

/// A listener that is open.
#[derive(Serialize, ToSchema)]
#[schema(as = native::TcpListener)]
pub(super) struct WireListener {
    /// Where it listens; 0.0.0.0 and [::] stand for all addresses.
    address: String,
    /// Where it can be reached: on this machine, and if it is for containers, from them.
    url: String,
    /// For whom: `loopback`, `network`, `containers` or `ollama`.
    audience: &'static str,
    /// Whether each request needs a token.
    token_required: bool,
    /// What vouches for it over HTTPS: `authority` (`modeld tls ca` prints it) or `file`.
    certificate: Option<&'static str>,
    /// Whether the service manager holds it.
    inherited: bool,
}

/// A listener that is not open yet.
#[derive(Serialize, ToSchema)]
#[schema(as = native::TcpWaiting)]
pub(super) struct WireWaiting {
    /// Where it will listen.
    address: String,
    /// For whom, as with the others.
    audience: &'static str,
    /// The key of the setting that wants it.
    setting: &'static str,
    /// Who says so: a place in a settings file, a variable or a flag.
    origin: String,
    /// What is in the way.
    problem: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    containers: Option<String>,
    released: Option<String>,
}

/// `GET /modeld/tcp`.
pub(in crate::api) async fn tcp(State(state): State<ApiState>) -> Reply {
    let control = control(&state)?;
    let read = tokio::task::spawn_blocking(move || control.state()).await;
    let read = read.map_err(|fault| Error::internal(fault.to_string()))?;
    let change = TcpChange { state: read, ..TcpChange::default() };
    Ok(Json(WireTcp::of(change, state.token_required)).into_response())
}

/// `PUT /modeld/tcp`.
pub(in crate::api) async fn open_tcp(State(state): State<ApiState>, request: Request) -> Reply {
    let control = control(&state)?;
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let request = if body.is_empty() { TcpRequest::default() } else { json::decode(&body)? };
    let change = control.open(wish(request)?).await?;
    Ok(Json(WireTcp::of(change, state.token_required)).into_response())
}

/// `DELETE /modeld/tcp?containers&released=ADDRESS,…`.
pub(in crate::api) async fn close_tcp(State(state): State<ApiState>, uri: Uri) -> Reply {
    let control = control(&state)?;
    let Params { containers, released } = read_query(&uri)?;
    let alone = boolean("containers", containers)?;
    let released = released.unwrap_or_default();
    let released = addresses(released.split(',').filter(|text| !text.is_empty()))?;
    let change = control.close(alone, released).await?;
    Ok(Json(WireTcp::of(change, state.token_required)).into_response())
}

/// False where nothing is said.
fn boolean(name: &'static str, text: Option<String>) -> Result<bool> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(false),
        Some(text) => go_bool(&text)
            .ok_or_else(|| Error::invalid(name, format!("`{name}` must be true or false"))),
    }
}

fn control(state: &ApiState) -> Result<Arc<dyn ListenerControl>> {
    let missing = "this daemon opens and closes no listeners while it runs; start it with --tcp";
    state.listeners.clone().ok_or_else(|| Error::new(ErrorKind::Unsupported, missing))
}

fn wish(request: TcpRequest) -> Result<TcpWish> {
    let TcpRequest { host, port, containers, released } = request;
    let (host, port) = (host.unwrap_or_default(), port.unwrap_or(TCP_PORT));
    let address = loopback_address(&host, port)
        .map_err(|problem| Error::invalid(if port == 0 { "port" } else { "host" }, problem))?;
    let released = addresses(released.iter().map(String::as_str))?;
    Ok(TcpWish { address, containers, released })
}

fn addresses<'a>(released: impl Iterator<Item = &'a str>) -> Result<Vec<SocketAddr>> {
    let address = |text: &str| {
        let problem = || format!("`released` holds addresses as 127.0.0.1:12434, not {text:?}");
        text.parse().map_err(|_| Error::invalid("released", problem()))
    };
    released.map(address).collect()
}

impl WireTcp {
    fn of(change: TcpChange, token_everywhere: bool) -> Self {
        let TcpChange { state, changed, notes } = change;
        let TcpState { listeners, waiting, parked, kept, settings_file, settings_directory } =
            state;
        let shown = |path: PathBuf| path.display().to_string();
        let first = |wanted: &[Audience]| {
            listeners.iter().find(|place| wanted.contains(&place.audience)).copied()
        };
        let told = first(&[Audience::Loopback, Audience::Network]);
        let url = told.map(|place| url(&place));
        let listeners: Vec<WireListener> =
            listeners.iter().map(|place| WireListener::of(place, token_everywhere)).collect();
        Self {
            enabled: told.is_some(),
            address: told.map(|place| place.address.to_string()),
            scheme: told.map(|place| scheme(&place)),
            token_required: told.is_some_and(|place| needs_token(&place, token_everywhere)),
            base_url: url.as_ref().map(|url| format!("{url}/engines/v1")),
            ollama_host: url,
            containers: first(&[Audience::Containers]).map(|place| place.address.to_string()),
            inherited: told.is_some_and(|place| place.inherited),
            listeners,
            waiting: waiting.into_iter().map(WireWaiting::of).collect(),
            closed: parked.iter().map(ToString::to_string).collect(),
            kept,
            settings_file: settings_file.map(shown),
            settings_directory: settings_directory.map(shown),
            changed,
            notes,
        }
    }
}

impl WireListener {
    fn of(place: &TcpPlace, token_everywhere: bool) -> Self {
        Self {
            address: place.address.to_string(),
            url: url(place),
            audience: audience(place.audience),
            token_required: needs_token(place, token_everywhere),
            certificate: match place.transport {
                Transport::Plain => None,
                Transport::SelfSigned => Some("authority"),
                Transport::Certificate => Some("file"),
            },
            inherited: place.inherited,
        }
    }
}

impl WireWaiting {
    fn of(one: TcpWaiting) -> Self {
        let TcpWaiting { address, audience: whom, setting, origin, problem } = one;
        Self { address: address.to_string(), audience: audience(whom), setting, origin, problem }
    }
}

fn audience(audience: Audience) -> &'static str {
    match audience {
        Audience::Loopback => "loopback",
        Audience::Network => "network",
        Audience::Ollama => "ollama",
        Audience::Containers => "containers",
    }
}

fn needs_token(place: &TcpPlace, everywhere: bool) -> bool {
    everywhere || place.audience == Audience::Network
}

fn scheme(place: &TcpPlace) -> &'static str {
    match place.transport {
        Transport::Plain => "http",
        Transport::SelfSigned | Transport::Certificate => "https",
    }
}

/// Nobody can connect to "all addresses"; a client on this machine takes loopback.
fn url(place: &TcpPlace) -> String {
    let ip = match place.address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{}://{}", scheme(place), SocketAddr::new(ip, place.address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wished(host: Option<&str>, port: Option<u16>) -> Result<String> {
        let host = host.map(str::to_owned);
        let request = TcpRequest { host, port, ..TcpRequest::default() };
        wish(request).map(|wish| wish.address.to_string())
    }

    #[test]
    fn nothing_said_is_where_clients_look() {
        assert_eq!(wished(None, None).unwrap(), "127.0.0.1:12434");
        for (host, port, address) in [
            ("localhost", None, "127.0.0.1:12434"),
            ("::1", Some(9), "[::1]:9"),
            ("[::1]", Some(9), "[::1]:9"),
            ("127.0.0.2", Some(65535), "127.0.0.2:65535"),
        ] {
            assert_eq!(wished(Some(host), port).unwrap(), address, "{host}");
        }
    }

    #[test]
    fn what_was_released_is_named_by_its_address() {
        let read = |text: &str| addresses(text.split(','));
        let all = ["127.0.0.1:5".parse().unwrap(), "[::1]:5".parse().unwrap()];
        assert_eq!(read("127.0.0.1:5,[::1]:5").unwrap(), all);
        for wrong in ["true", "12434", "localhost:5"] {
            assert_eq!(read(wrong).unwrap_err().param.as_deref(), Some("released"), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(wished(None, Some(0)).unwrap_err().param.as_deref(), Some("port"));
        for host in ["0.0.0.0", "example.com", "10.0.0.1", "a b", "127.0.0.1:5"] {
            let error = wished(Some(host), None).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("host"), "{host}: {}", error.message);
        }
    }

    fn place(address: &str, audience: Audience, transport: Transport) -> TcpPlace {
        TcpPlace { address: address.parse().unwrap(), audience, inherited: false, transport }
    }

    #[test]
    fn the_wire_form() {
        let state = TcpState {
            listeners: vec![
                place("[::1]:12434", Audience::Loopback, Transport::Plain),
                place("172.17.0.1:12434", Audience::Containers, Transport::Plain),
            ],
            waiting: vec![TcpWaiting {
                address: "127.0.0.1:11434".parse().unwrap(),
                audience: Audience::Ollama,
                setting: "ollama-port",
                origin: "/c.toml:3".into(),
                problem: "127.0.0.1:11434 is taken by ollama (pid 7)".into(),
            }],
            parked: vec!["127.0.0.1:9".parse().unwrap()],
            kept: Some("[::1]:12434".into()),
            settings_file: Some("/c.toml".into()),
            settings_directory: Some("/h/.config/modeld".into()),
        };
        let change = TcpChange { state, changed: true, notes: vec!["so".into()] };
        insta::assert_json_snapshot!(WireTcp::of(change, false), @r#"
        {
          "enabled": true,
          "address": "[::1]:12434",
          "scheme": "http",
          "token_required": false,
          "base_url": "http://[::1]:12434/engines/v1",
          "ollama_host": "http://[::1]:12434",
          "containers": "172.17.0.1:12434",
          "inherited": false,
          "listeners": [
            {
              "address": "[::1]:12434",
              "url": "http://[::1]:12434",
              "audience": "loopback",
              "token_required": false,
              "certificate": null,
              "inherited": false
            },
            {
              "address": "172.17.0.1:12434",
              "url": "http://172.17.0.1:12434",
              "audience": "containers",
              "token_required": false,
              "certificate": null,
              "inherited": false
            }
          ],
          "waiting": [
            {
              "address": "127.0.0.1:11434",
              "audience": "ollama",
              "setting": "ollama-port",
              "origin": "/c.toml:3",
              "problem": "127.0.0.1:11434 is taken by ollama (pid 7)"
            }
          ],
          "closed": [
            "127.0.0.1:9"
          ],
          "kept": "[::1]:12434",
          "settings_file": "/c.toml",
          "settings_directory": "/h/.config/modeld",
          "changed": true,
          "notes": [
            "so"
          ]
        }
        "#);
    }

    #[test]
    fn what_clients_are_told_is_what_they_have_to_do() {
        use Audience::{Loopback, Network};
        use Transport::{Certificate, Plain, SelfSigned};
        for (address, audience, transport, everywhere, base, token, certificate) in [
            ("127.0.0.1:5", Loopback, Plain, false, "http://127.0.0.1:5", false, None),
            ("127.0.0.1:5", Loopback, Plain, true, "http://127.0.0.1:5", true, None),
            (
                "0.0.0.0:5",
                Network,
                SelfSigned,
                false,
                "https://127.0.0.1:5",
                true,
                Some("authority"),
            ),
            ("[::]:5", Network, Certificate, false, "https://[::1]:5", true, Some("file")),
            ("192.0.2.1:5", Network, Plain, false, "http://192.0.2.1:5", true, None),
        ] {
            let listeners = vec![place(address, audience, transport)];
            let state = TcpState { listeners, ..TcpState::default() };
            let change = TcpChange { state, ..TcpChange::default() };
            let wire = WireTcp::of(change, everywhere);
            assert_eq!(wire.address.as_deref(), Some(address));
            assert_eq!(wire.ollama_host.as_deref(), Some(base));
            assert_eq!(wire.base_url, Some(format!("{base}/engines/v1")));
            assert_eq!(wire.token_required, token, "{address} {everywhere}");
            assert!(wire.scheme.is_some_and(|scheme| base.starts_with(&format!("{scheme}://"))));
            let one = wire.listeners.first().unwrap();
            assert_eq!((one.url.as_str(), one.certificate), (base, certificate));
        }
    }

    #[test]
    fn nothing_is_told_where_nothing_is_open() {
        let listeners = vec![place("127.0.0.1:11434", Audience::Ollama, Transport::Plain)];
        let state = TcpState { listeners, ..TcpState::default() };
        let wire = WireTcp::of(TcpChange { state, ..TcpChange::default() }, true);
        assert!(!wire.enabled && !wire.token_required && wire.base_url.is_none());
        assert_eq!(wire.listeners.len(), 1);
    }
}

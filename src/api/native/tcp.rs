use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::IntoResponse;
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::listeners::{ListenerControl, TcpChange, TcpState, TcpWish};
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::config::{TCP_PORT, loopback_address};
use crate::domain::{Error, ErrorKind, Result};

use super::models::go_bool;

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
}

/// The TCP listeners.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Tcp)]
pub(super) struct WireTcp {
    /// Whether there is one on loopback.
    enabled: bool,
    /// Where.
    address: Option<String>,
    /// What clients of OpenAI's API are told.
    base_url: Option<String>,
    /// Where the one for containers is.
    containers: Option<String>,
    /// Whether the service manager holds the listener.
    inherited: bool,
    /// What the settings file says, for the next start.
    kept: Option<String>,
    /// Whether this request changed anything.
    changed: bool,
    /// What is worth knowing about the change.
    notes: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Params {
    containers: Option<String>,
}

/// `GET /modeld/tcp`.
pub(in crate::api) async fn tcp(State(state): State<ApiState>) -> Reply {
    let control = control(&state)?;
    let read = tokio::task::spawn_blocking(move || control.state()).await;
    let state = read.map_err(|fault| Error::internal(fault.to_string()))?;
    let change = TcpChange { state, ..TcpChange::default() };
    Ok(Json(WireTcp::from(change)).into_response())
}

/// `PUT /modeld/tcp`.
pub(in crate::api) async fn open_tcp(State(state): State<ApiState>, request: Request) -> Reply {
    let control = control(&state)?;
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, MAX_SMALL_BODY).await?;
    let request = if body.is_empty() { TcpRequest::default() } else { json::decode(&body)? };
    let change = control.open(wish(request)?).await?;
    Ok(Json(WireTcp::from(change)).into_response())
}

/// `DELETE /modeld/tcp?containers`.
pub(in crate::api) async fn close_tcp(State(state): State<ApiState>, uri: Uri) -> Reply {
    let control = control(&state)?;
    let Query(params) = Query::<Params>::try_from_uri(&uri).map_err(|fault| {
        Error::new(ErrorKind::InvalidValue, "the query cannot be read; check its encoding")
            .with_cause(fault)
    })?;
    let text = params.containers.filter(|text| !text.is_empty());
    let alone = text.map(|text| {
        let wrong = || Error::invalid("containers", "`containers` must be true or false");
        go_bool(&text).ok_or_else(wrong)
    });
    let change = control.close(alone.transpose()?.unwrap_or(false)).await?;
    Ok(Json(WireTcp::from(change)).into_response())
}

fn control(state: &ApiState) -> Result<Arc<dyn ListenerControl>> {
    let missing = "this daemon opens and closes no listeners while it runs; start it with --tcp";
    state.listeners.clone().ok_or_else(|| Error::new(ErrorKind::Unsupported, missing))
}

fn wish(request: TcpRequest) -> Result<TcpWish> {
    let TcpRequest { host, port, containers } = request;
    let (host, port) = (host.unwrap_or_default(), port.unwrap_or(TCP_PORT));
    let address = loopback_address(&host, port)
        .map_err(|problem| Error::invalid(if port == 0 { "port" } else { "host" }, problem))?;
    Ok(TcpWish { address, containers })
}

impl From<TcpChange> for WireTcp {
    fn from(change: TcpChange) -> Self {
        let TcpChange { state, changed, notes } = change;
        let TcpState { tcp, inherited, containers, kept } = state;
        Self {
            enabled: tcp.is_some(),
            address: tcp.map(|at| at.to_string()),
            base_url: tcp.map(|at| format!("http://{at}/engines/v1")),
            containers: containers.map(|at| at.to_string()),
            inherited,
            kept,
            changed,
            notes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wished(host: Option<&str>, port: Option<u16>) -> Result<String> {
        let request = TcpRequest { host: host.map(str::to_owned), port, containers: false };
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
    fn what_is_wrong_is_named() {
        assert_eq!(wished(None, Some(0)).unwrap_err().param.as_deref(), Some("port"));
        for host in ["0.0.0.0", "example.com", "10.0.0.1", "a b", "127.0.0.1:5"] {
            let error = wished(Some(host), None).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("host"), "{host}: {}", error.message);
        }
    }

    #[test]
    fn the_wire_form() {
        let state = TcpState {
            tcp: Some("[::1]:12434".parse().unwrap()),
            kept: Some("[::1]:12434".into()),
            ..TcpState::default()
        };
        let change = TcpChange { state, changed: true, notes: vec!["so".into()] };
        insta::assert_json_snapshot!(WireTcp::from(change), @r#"
        {
          "enabled": true,
          "address": "[::1]:12434",
          "base_url": "http://[::1]:12434/engines/v1",
          "containers": null,
          "inherited": false,
          "kept": "[::1]:12434",
          "changed": true,
          "notes": [
            "so"
          ]
        }
        "#);
    }
}

use axum::Json;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::Uri;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result};
use crate::registry::auth::{Credential, LoginEntry, LoginReport};

use super::query::read_query;

/// The longest secret and user name, in bytes.
const MAX_BYTES: usize = 16 << 10;

/// The body of `POST /modeld/login`: a user name with a password (or what stands in for it), or a
/// token alone. Deliberately without Debug.
#[derive(Deserialize, ToSchema)]
#[schema(as = native::LoginRequest)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    /// Its host, as `docker.io`, `localhost:5000` or `huggingface.co`.
    registry: String,
    username: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>)]
    password: Option<SecretString>,
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>)]
    token: Option<SecretString>,
}

/// Who is logged in now.
#[derive(Serialize, ToSchema)]
#[schema(as = native::LoggedIn)]
pub(super) struct LoggedIn {
    registry: String,
    username: Option<String>,
    /// Whether the registry has confirmed it; one that asks nobody for credentials cannot.
    verified: bool,
}

/// What became of a logout.
#[derive(Serialize, ToSchema)]
#[schema(as = native::LoggedOut)]
pub(super) struct LoggedOut {
    registry: String,
    /// Whether there was a login.
    removed: bool,
}

/// A login, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Login)]
pub(super) struct WireLogin {
    registry: String,
    username: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    registry: Option<String>,
}

/// `POST /modeld/login`.
pub(in crate::api) async fn login(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let request: LoginRequest = json::decode(&body).map_err(unquoted)?;
    let (registry, credential) = credential(request)?;
    let LoginReport { host, username, verified } =
        state.service.login(&registry, credential).await?;
    Ok(Json(LoggedIn { registry: host, username, verified }).into_response())
}

/// `DELETE /modeld/login?registry`.
pub(in crate::api) async fn logout(State(state): State<ApiState>, uri: Uri) -> Reply {
    let params: Params = read_query(&uri)?;
    let registry = params.registry.filter(|text| !text.is_empty()).ok_or_else(|| {
        let text = "missing registry query parameter: say which, as `?registry=docker.io`";
        Error::new(ErrorKind::MissingField, text).with_param("registry")
    })?;
    let (registry, removed) = state.service.logout(&registry).await?;
    Ok(Json(LoggedOut { registry, removed }).into_response())
}

/// `GET /modeld/login`.
pub(in crate::api) async fn logins(State(state): State<ApiState>) -> Reply {
    let logins = state.service.logins().await?.into_iter();
    let logins: Vec<_> = logins
        .map(|LoginEntry { host, username }| WireLogin { registry: host, username })
        .collect();
    Ok(Json(logins).into_response())
}

fn credential(request: LoginRequest) -> Result<(String, Credential)> {
    let LoginRequest { registry, username, password, token } = request;
    let username = username.filter(|name| !name.is_empty());
    let credential = match (username, password, token) {
        (Some(username), Some(password), None) => {
            // A header has one colon between the two (RFC 7617 2).
            if username.len() > MAX_BYTES || username.contains(|c: char| c == ':' || c.is_control())
            {
                let text = "a user name has no colon and no control characters";
                return Err(Error::invalid("username", text));
            }
            Credential::new(username, password)
        }
        (None, None, Some(token)) => Credential::IdentityToken(token),
        (None, Some(_), None) => {
            let text = "`username` is missing; a password goes with one, a token without";
            return Err(Error::new(ErrorKind::MissingField, text).with_param("username"));
        }
        (Some(_), None, Some(_)) => {
            let text = "a token goes without a user name; an access token that needs one is sent \
                        as `password`";
            return Err(Error::invalid("token", text));
        }
        (_, Some(_), Some(_)) => {
            return Err(Error::invalid("token", "send `password` or `token`, not both"));
        }
        (_, None, None) => {
            let text = "`password` is missing; send it with `username`, or `token` alone";
            return Err(Error::new(ErrorKind::MissingField, text).with_param("password"));
        }
    };
    Ok((registry, credential))
}

/// A secret is text; what else stands there is not repeated in an error.
fn secret<'de, D>(deserializer: D) -> std::result::Result<Option<SecretString>, D::Error>
where
    D: Deserializer<'de>,
{
    use serde::de::Error as _;
    // What is no JSON is said without a quotation.
    match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) if text.len() <= MAX_BYTES => Ok(Some(text.into())),
        _ => Err(D::Error::custom(format!("this must be text of at most {MAX_BYTES} bytes"))),
    }
}

/// The parser quotes what does not fit; here that may be a secret.
fn unquoted(error: Error) -> Error {
    match error.kind {
        ErrorKind::InvalidValue => Error {
            message: "a login is an object of texts: `registry`, and `username` with `password`, \
                      or `token`"
                .to_owned(),
            ..error
        },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(String, Credential)> {
        credential(json::decode(json.as_bytes()).map_err(unquoted)?)
    }

    #[test]
    fn a_name_with_a_password_or_a_token_alone() {
        let (registry, credential) =
            read(r#"{"registry": "r", "username": "u", "password": "p"}"#).unwrap();
        assert_eq!((registry.as_str(), credential.username()), ("r", Some("u")));
        let (_, credential) =
            read(r#"{"registry": "r", "username": "", "token": "t", "password": null}"#).unwrap();
        assert!(matches!(credential, Credential::IdentityToken(_)));
    }

    #[test]
    fn what_does_not_go_together_names_its_field_and_no_secret() {
        for (json, kind, param) in [
            (r#"{"registry": "r"}"#, ErrorKind::MissingField, Some("password")),
            (
                r#"{"registry": "r", "password": "canary"}"#,
                ErrorKind::MissingField,
                Some("username"),
            ),
            (
                r#"{"registry": "r", "username": "u", "password": "canary", "token": "canary"}"#,
                ErrorKind::InvalidValue,
                Some("token"),
            ),
            (
                r#"{"registry": "r", "username": "u", "token": "canary"}"#,
                ErrorKind::InvalidValue,
                Some("token"),
            ),
            (
                r#"{"registry": "r", "username": "u:canary", "password": "p"}"#,
                ErrorKind::InvalidValue,
                Some("username"),
            ),
            (r#"{"registry": "r", "token": ["canary"]}"#, ErrorKind::InvalidValue, Some("token")),
            (r#""canary""#, ErrorKind::InvalidValue, None),
            (r#"{"registry": "r", "token": "canary}"#, ErrorKind::InvalidJson, None),
        ] {
            let error = read(json).err().unwrap();
            assert_eq!((error.kind, error.param.as_deref()), (kind, param), "{json}: {error}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        }
    }
}

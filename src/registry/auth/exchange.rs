use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded::Serializer;

use super::Credential;
use super::cache::Token;
use super::credential::{TOKEN_USER, basic};
use super::realm::Realm;
use crate::domain::ErrorKind;
use crate::registry::egress::{Egress, EgressRequest, EgressResponse};
use crate::registry::{FetchError, RegistryHost, Retry, Scope};

/// The longest token that is taken, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// The longest answer: a token, possibly under both its names, and what else stands there.
const MAX_ANSWER_BYTES: usize = 3 * MAX_TOKEN_BYTES;
/// How long a token lives whose issuer does not say (distribution's token specification).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// The longest lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long an exchange may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What an exchange is about.
pub(super) struct Exchange<'a> {
    pub(super) egress: &'a Egress,
    pub(super) registry: &'a RegistryHost,
    pub(super) realm: &'a Realm,
    pub(super) service: Option<&'a str>,
    pub(super) scope: &'a Scope,
}

/// Why there is no token.
#[derive(Debug)]
pub(super) enum NoToken {
    /// The issuer does not give one to this user.
    Refused,
    /// Anything else.
    Failed(FetchError),
}

impl From<FetchError> for NoToken {
    fn from(error: FetchError) -> Self {
        Self::Failed(error)
    }
}

impl Exchange<'_> {
    /// Gets a token for `credential`, which the caller has found to be one that the realm may see,
    /// or for an anonymous user.
    pub(super) async fn run(&self, credential: Option<&Credential>) -> Result<Token, NoToken> {
        match tokio::time::timeout(LIMIT, self.ask(credential)).await {
            Ok(result) => result,
            Err(_) => {
                let text = format!("{} gave no token within {LIMIT:?}", self.issuer());
                Err(FetchError::passing(text).into())
            }
        }
    }

    async fn ask(&self, credential: Option<&Credential>) -> Result<Token, NoToken> {
        let asked = Instant::now();
        let authorization = match credential {
            Some(Credential::IdentityToken(token)) => {
                let response = self.post(token).await?;
                // Issuers without OAuth take such tokens in the place of a password.
                if !matches!(response.status.as_u16(), 404 | 405) {
                    return self.read(response, asked, true).await;
                }
                basic(TOKEN_USER, token)
            }
            Some(Credential::Password { username, password }) => basic(username, password),
            Some(Credential::RegistryToken(_)) | None => None,
        };
        let mut url = self.realm.url.clone();
        if let Some(service) = self.service {
            url.query_pairs_mut().append_pair("service", service);
        }
        if let Some(scope) = self.scope_text() {
            url.query_pairs_mut().append_pair("scope", &scope);
        }
        let mut request = EgressRequest::get(url, self.registry.endpoint.clone());
        request.authorization = authorization;
        let response = self.egress.send(request).await.map_err(FetchError::from)?;
        self.read(response, asked, false).await
    }

    async fn post(&self, token: &SecretString) -> Result<EgressResponse, NoToken> {
        let form = self.refresh_form(token);
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(form.len()));
        let request = EgressRequest {
            method: Method::POST,
            url: self.realm.url.clone(),
            headers,
            authorization: None,
            // A stream cannot be sent again: no redirect carries the token to another host.
            body: Some(reqwest::Body::wrap_stream(futures_util::stream::iter([Ok::<
                _,
                std::convert::Infallible,
            >(
                form
            )]))),
            named: self.registry.endpoint.clone(),
        };
        Ok(self.egress.send(request).await.map_err(FetchError::from)?)
    }

    fn refresh_form(&self, token: &SecretString) -> Bytes {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("client_id", "modeld");
        if let Some(service) = self.service {
            form.append_pair("service", service);
        }
        if let Some(scope) = self.scope_text() {
            form.append_pair("scope", &scope);
        }
        form.append_pair("refresh_token", token.expose_secret());
        Bytes::from(form.finish())
    }

    async fn read(
        &self,
        response: EgressResponse,
        asked: Instant,
        posted: bool,
    ) -> Result<Token, NoToken> {
        let status = response.status;
        let retry = Retry::of_status(status, retry_after(&response.headers));
        match status.as_u16() {
            200..=299 => {}
            401 | 403 => return Err(NoToken::Refused),
            // How OAuth says that a refresh token is no good (RFC 6749, section 5.2).
            400 if posted => return Err(NoToken::Refused),
            _ => {
                let text = format!("{} answers {status} instead of a token", self.issuer());
                let kind = match retry {
                    Retry::Never => ErrorKind::RegistryInvalid,
                    Retry::Soon | Retry::After(_) => ErrorKind::RegistryUnavailable,
                };
                return Err(FetchError { retry, ..FetchError::fatal(kind, text) }.into());
            }
        }
        let body = response.read(MAX_ANSWER_BYTES).await.map_err(FetchError::from)?;
        let (secret, lifetime) = read_token(&body).map_err(|problem| {
            let text = format!("the token that {} gives cannot be used: {problem}", self.issuer());
            FetchError::fatal(ErrorKind::RegistryInvalid, text)
        })?;
        Ok(Token::new(secret, asked, lifetime))
    }

    fn issuer(&self) -> &str {
        self.realm.url.host_str().unwrap_or_default()
    }

    fn scope_text(&self) -> Option<String> {
        let Scope { repository, push } = self.scope;
        let actions = if *push { "pull,push" } else { "pull" };
        (!repository.is_empty()).then(|| format!("repository:{repository}:{actions}"))
    }
}

fn read_token(body: &[u8]) -> Result<(SecretString, Duration), String> {
    let json: serde_json::Value =
        serde_json::from_slice(body).map_err(|_| "the answer is not JSON".to_owned())?;
    let fields = json.as_object().ok_or("the answer is not a JSON object")?;
    let named = |name: &str| {
        fields.get(name).and_then(serde_json::Value::as_str).filter(|token| !token.is_empty())
    };
    let token = named("token").or_else(|| named("access_token"));
    let token = token.ok_or("the answer has neither `token` nor `access_token`")?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(format!("it has {} bytes, over {MAX_TOKEN_BYTES}", token.len()));
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it has characters that no header can carry".to_owned());
    }
    let lifetime = fields.get("expires_in").and_then(serde_json::Value::as_u64);
    let lifetime = lifetime.map(Duration::from_secs);
    let lifetime = lifetime.filter(|time| !time.is_zero() && *time <= MAX_LIFETIME);
    Ok((SecretString::from(token), lifetime.unwrap_or(DEFAULT_LIFETIME)))
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3), at most an hour.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<(String, u64), String> {
        read_token(body.as_bytes())
            .map(|(secret, lifetime)| (secret.expose_secret().to_owned(), lifetime.as_secs()))
    }

    #[test]
    fn tokens_and_lifetimes() {
        for (body, token, lifetime) in [
            (r#"{"token":"t"}"#, "t", 60),
            (r#"{"access_token":"a","expires_in":300}"#, "a", 300),
            (r#"{"token":"t","access_token":"a","issued_at":"x"}"#, "t", 60),
            (r#"{"token":null,"access_token":"a"}"#, "a", 60),
            (r#"{"token":"","access_token":"a"}"#, "a", 60),
            (r#"{"token":"t","expires_in":-1}"#, "t", 60),
            (r#"{"token":"t","expires_in":0}"#, "t", 60),
            (r#"{"token":"t","expires_in":1e300}"#, "t", 60),
            (r#"{"token":"t","expires_in":99999999999}"#, "t", 60),
            (r#"{"token":"t","expires_in":"300"}"#, "t", 60),
            (r#"{"token":"t","expires_in":null}"#, "t", 60),
        ] {
            assert_eq!(read(body), Ok((token.to_owned(), lifetime)), "{body}");
        }
    }

    #[test]
    fn what_is_no_token() {
        let long = format!(r#"{{"token":"canary{}"}}"#, "a".repeat(MAX_TOKEN_BYTES));
        for body in [
            "",
            "null",
            "[]",
            r#"["canary"]"#,
            r#""canary""#,
            "{}",
            r#"{"token":null}"#,
            r#"{"token":["canary"]}"#,
            r#"{"token":"canary"#,
            r#"{"token":"canary\r\nX: y"}"#,
            r#"{"token":"canary é"}"#,
            "<html>canary</html>",
            &long,
        ] {
            let error = read(body).unwrap_err();
            assert!(!error.contains("canary"), "{body}: {error}");
        }
    }
}

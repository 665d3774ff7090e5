use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderValue, StatusCode};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::token_cache::{RegistryOperation, RegistryToken, RegistryTokenType};
use oci_client::{Client, Reference};
use url::Url;

use crate::domain::{Error, ErrorKind, Result};
use crate::files::read_regular;
use crate::registry::FetchError;
use crate::registry::egress::{EgressError, MAX_CA_BYTES};

use super::OpenGate;
use super::answer::{Deed, clean, invalid, message, of_status};
use super::source::Source;

/// One push's connection to its registry.
pub(super) struct Session {
    /// Where the model goes.
    pub reference: Reference,
    /// Sends a blob in one request.
    pub whole: Client,
    /// Sends a blob in pieces, for registries behind something that refuses large requests.
    pub pieces: Client,
    /// Whether it is such a registry.
    in_pieces: AtomicBool,
    /// What both go through.
    gate: OpenGate,
    host: String,
}

impl Session {
    /// A session with the registry of `source` through `gate`.
    ///
    /// One request for a blob is what most registries handle best: pieces of 4 MiB each cost a
    /// round trip, and those that store in S3 put small ones together again at a price.
    pub fn new(
        source: &Source,
        tag: &str,
        gate: OpenGate,
        certificates: &[Certificate],
    ) -> Result<Self> {
        let endpoint = &source.host.endpoint;
        let reference = Reference::with_tag(
            authority(endpoint),
            source.scope.repository.clone(),
            tag.to_owned(),
        );
        let client = |in_one: bool| {
            let config = ClientConfig {
                protocol: match endpoint.scheme() {
                    "http" => ClientProtocol::Http,
                    _ => ClientProtocol::Https,
                },
                use_monolithic_push: in_one,
                extra_root_certificates: certificates.to_vec(),
                platform_resolver: None,
                // No `read_timeout`: it would count from the request's beginning, and an upload
                // may take hours. Each use here has a limit of its own.
                connect_timeout: Some(std::time::Duration::from_secs(10)),
                user_agent: concat!("modeld/", env!("CARGO_PKG_VERSION")),
                https_proxy: gate.proxy.clone(),
                http_proxy: gate.proxy.clone(),
                ..ClientConfig::default()
            };
            Client::try_from(config).map_err(|e| {
                let text = format!("uploads cannot begin: {e}");
                Error::new(ErrorKind::Internal, text)
            })
        };
        let (whole, pieces) = (client(true)?, client(false)?);
        let host = source.host.name.clone();
        Ok(Self { reference, whole, pieces, in_pieces: AtomicBool::new(false), gate, host })
    }

    /// What a failed upload means. Where it was the gate that did not let it through, the client
    /// does not know why, and may take the gate's refusal for the registry's.
    pub fn explain(&self, error: OciDistributionError, what: &str) -> FetchError {
        let has_answer = match &error {
            OciDistributionError::RequestError(error) => error.status().is_some(),
            OciDistributionError::ServerError { .. } => true,
            _ => return failed(error, &self.host, what),
        };
        match (self.gate.failure)() {
            Some(forbidden @ EgressError::Forbidden(_)) => forbidden.into(),
            Some(other) if !has_answer => other.into(),
            _ => failed(error, &self.host, what),
        }
    }

    /// Whether blobs go in pieces now.
    pub fn in_pieces(&self) -> bool {
        self.in_pieces.load(Ordering::Relaxed)
    }

    /// From now on blobs go in pieces.
    pub fn use_pieces(&self) {
        self.in_pieces.store(true, Ordering::Relaxed);
    }

    /// Sends further requests with these rights.
    ///
    /// They are put where the client looks first: left to itself it would answer a challenge with
    /// the credentials, at whatever address the challenge names.
    pub async fn authorize(&self, auth: &RegistryAuth) -> std::result::Result<(), FetchError> {
        let token = match auth {
            RegistryAuth::Anonymous => return Ok(()),
            RegistryAuth::Basic(user, password) => {
                RegistryTokenType::Basic(user.clone(), password.clone())
            }
            RegistryAuth::Bearer(token) => {
                // The client takes it for a valid header.
                if HeaderValue::from_str(token).is_err() {
                    let registry = self.reference.registry();
                    return Err(invalid(format!(
                        "the token for {registry} has characters that no token has"
                    )));
                }
                RegistryTokenType::Bearer(RegistryToken::Token { token: token.clone() })
            }
        };
        for client in [&self.whole, &self.pieces] {
            client.store_auth_if_needed(self.reference.resolve_registry(), auth).await;
            for operation in [RegistryOperation::Pull, RegistryOperation::Push] {
                client.tokens.insert(&self.reference, operation, token.clone()).await;
            }
        }
        Ok(())
    }
}

/// Certificate authorities from PEM files.
pub(super) async fn certificates(files: &[PathBuf]) -> Result<Vec<Certificate>> {
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        let shown = file.display().to_string();
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || read_regular(&path, MAX_CA_BYTES)).await;
        let data = read.map_err(Error::internal)?.map_err(|e| {
            Error::new(ErrorKind::Internal, format!("the file with certificates {shown} {e}"))
        })?;
        found.push(Certificate { encoding: CertificateEncoding::Pem, data });
    }
    Ok(found)
}

/// `host[:port]`, as references begin.
fn authority(endpoint: &Url) -> String {
    let host = endpoint.host_str().unwrap_or_default();
    match endpoint.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// What a failed upload means, going by what the client says.
fn failed(error: OciDistributionError, host: &str, what: &str) -> FetchError {
    let status = |code: u16, said: Option<&str>| {
        let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        of_status(code, None, said, host, (Deed::Write, what))
    };
    match error {
        OciDistributionError::ServerError { code, message: body, url: _ } => {
            status(code, message(body.as_bytes()).as_deref())
        }
        OciDistributionError::UnauthorizedError { url: _ } => status(401, None),
        OciDistributionError::AuthenticationFailure(said) => status(401, Some(&clean(&said))),
        OciDistributionError::RegistryError { envelope, url: _ } => {
            let first = envelope.errors.first();
            let said = first.map(|entry| clean(&entry.message));
            let code = match first.map(|entry| &entry.code) {
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => 403,
                Some(OciErrorCode::Toomanyrequests) => 429,
                Some(OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown) => 404,
                _ => 400,
            };
            status(code, said.as_deref())
        }
        OciDistributionError::RequestError(error) => match error.status() {
            Some(code) => status(code.as_u16(), None),
            None if error.is_builder() => {
                let error = error.without_url();
                invalid(format!("{host} names an address that is none: {error}"))
            }
            None => {
                let cause = root_cause(&error);
                let error = error.without_url();
                FetchError::passing(format!("{what} did not get to {host}: {error} ({cause})"))
            }
        },
        OciDistributionError::IoError(error) => {
            FetchError::passing(format!("{what} did not get to {host}: {error}"))
        }
        other => {
            let other = clean(&other.to_string());
            invalid(format!("{host} does not keep to the protocol with {what}: {other}"))
        }
    }
}

/// What lies at the bottom of a failed request.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    clean(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Retry;

    #[test]
    fn failures_have_their_kinds() {
        let of = |error| {
            let error = failed(error, "r.example", "the layer x");
            (error.error.kind, error.retry, error.error.message)
        };
        let server = |code| OciDistributionError::ServerError {
            code,
            url: "https://r.example/secret-state".to_owned(),
            message: r#"{"errors":[{"code":"DENIED","message":"no"}]}"#.to_owned(),
        };
        let (kind, retry, message) = of(server(403));
        assert_eq!((kind, retry), (ErrorKind::RegistryUnauthorized, Retry::Never));
        assert!(message.contains("DENIED, no") && message.contains("modeld login r.example"));
        assert!(!message.contains("secret-state"), "{message}");
        assert_eq!(of(server(503)).0, ErrorKind::RegistryUnavailable);
        assert_eq!(of(server(400)).0, ErrorKind::RegistryInvalid);
        assert_eq!(of(OciDistributionError::RegistryNoLocationError).1, Retry::Never);
        let broken = std::io::Error::other("x");
        assert_eq!(of(OciDistributionError::IoError(broken)).1, Retry::Soon);
    }

    #[test]
    fn a_gates_refusal_is_not_taken_for_the_registrys() {
        let explained = |failure: Option<EgressError>, code: u16| {
            let host = crate::registry::RegistryHost {
                name: "r.example".to_owned(),
                endpoint: "https://r.example/".parse().unwrap(),
            };
            let reference = "r.example/m:t".parse().unwrap();
            let source = Source::new(host, &reference, true, None, false).unwrap();
            let gate = OpenGate { proxy: None, failure: Box::new(move || failure.clone()) };
            let session = Session::new(&source, "t", gate, &[]).unwrap();
            let error = OciDistributionError::ServerError {
                code,
                url: String::new(),
                message: String::new(),
            };
            session.explain(error, "x").error.kind
        };
        let forbidden = EgressError::Forbidden("10.0.0.1 is private".to_owned());
        assert_eq!(explained(None, 403), ErrorKind::RegistryUnauthorized);
        assert_eq!(explained(Some(forbidden), 403), ErrorKind::RegistryForbidden);
        // A fault that has passed says nothing about an answer that came after it.
        let passed = EgressError::Unreachable("no route".to_owned());
        assert_eq!(explained(Some(passed), 403), ErrorKind::RegistryUnauthorized);
    }
}

use std::error::Error as StdError;
use std::io;

use rustls::{CertificateError, InvalidMessage};

use super::EgressError;
use super::proxies::Proxy;

/// What a failed exchange with `host` means to the user. Names neither path nor query: they may be
/// signed, and a signature is a credential.
pub(super) fn of(error: &reqwest::Error, host: &str, proxy: Option<&Proxy>) -> EgressError {
    let via = proxy.map(|p| format!(" through the proxy {}", p.name())).unwrap_or_default();
    for cause in causes(error) {
        if let Some(known) = cause.downcast_ref::<EgressError>() {
            return known.clone();
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return of_tls(tls, host, &via);
        }
        let Some(http) = cause.downcast_ref::<hyper::Error>() else { continue };
        if http.is_parse() || http.is_parse_too_large() {
            return EgressError::Invalid(format!(
                "{host} answers{via} with something that is not HTTP ({http}); it may be a port \
                 that expects TLS, which {host} is asked without where it is listed with \
                 --insecure-registry"
            ));
        }
        if http.is_user() {
            return EgressError::Unreachable(format!(
                "what was to be sent to {host} cannot be read: {}",
                innermost(error)
            ));
        }
    }
    let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let text = match (io.map(io::Error::kind), proxy) {
        (Some(io::ErrorKind::ConnectionRefused), Some(proxy)) => format!(
            "the proxy {} does not answer (connection refused), so {host} was not reached; check \
             HTTPS_PROXY and NO_PROXY",
            proxy.name()
        ),
        (Some(io::ErrorKind::ConnectionRefused), None) => format!(
            "nothing answers at {host} (connection refused); check the port, and that it runs"
        ),
        (Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable), _) => {
            format!("there is no way to {host}{via}; check the network")
        }
        _ if error.is_connect() && error.is_timeout() => {
            format!(
                "no connection to {host}{via} in the time allowed; check the network and the proxy settings"
            )
        }
        _ if error.is_connect() => {
            format!("no connection to {host}{via}: {}", innermost(error))
        }
        _ => format!("the connection to {host}{via} broke: {}", innermost(error)),
    };
    EgressError::Unreachable(text)
}

/// Certificates and versions are what they are: trying again does not help.
fn of_tls(error: &rustls::Error, host: &str, via: &str) -> EgressError {
    let text = match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => format!(
            "{host} does not speak TLS{via}; if it is a registry without TLS, list it with \
             --insecure-registry {host}"
        ),
        rustls::Error::InvalidCertificate(certificate) => {
            let (why, then) = match certificate {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    ("it has expired", "")
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    ("it is not valid yet", "; check this machine's clock")
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => ("it is for another host", ""),
                CertificateError::Revoked => ("it is revoked", ""),
                CertificateError::UnknownIssuer => (
                    "no authority known here has signed it",
                    "; if it is your own, name its authority's PEM file with --registry-ca",
                ),
                _ => (
                    "it cannot be verified",
                    "; if it is your own, name its authority's PEM file with --registry-ca",
                ),
            };
            format!("the certificate of {host} is refused{via}: {why}{then}")
        }
        other => format!(
            "TLS with {host} fails{via}: {other}; if its certificate is from an authority of your \
             own, name it with --registry-ca"
        ),
    };
    EgressError::Invalid(text)
}

/// The last cause in words; the outer ones repeat it or name URLs.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let text = causes(error).last().map(ToString::to_string).unwrap_or_default();
    text.chars().take(200).collect()
}

/// An error, what caused it, and so on. [`io::Error`] hides what it wraps from
/// [`StdError::source`].
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    // Errors of others could go in circles.
    std::iter::from_fn(move || {
        let cause = next?;
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
        Some(cause)
    })
    .take(32)
}

use super::resolve::absolute;
use super::resolved::{Origin, Set, Tls};
use super::said::{Said, invalid};
use super::{ConfigError, Env, RawConfig, Setting, settings};

/// Files, or our own authority; both would leave it open which of them clients see.
pub(super) fn tls(raw: &RawConfig, env: &Env) -> Result<Set<Option<Tls>>, ConfigError> {
    let own = Said::or_default(settings::TLS, &raw.tls, env).parse(|text| match text {
        "off" => Ok(false),
        "self-signed" => Ok(true),
        _ => Err("write off or self-signed".to_owned()),
    })?;
    let file = |setting, flag| {
        Said::given(setting, flag, env).filter(|said: &Said<'_>| !said.text.is_empty())
    };
    let cert = file(settings::TLS_CERT, &raw.tls_cert);
    let key = file(settings::TLS_KEY, &raw.tls_key);
    match (cert, key) {
        (None, None) => Ok(Set { value: own.value.then_some(Tls::SelfSigned), origin: own.origin }),
        (Some(cert), Some(_)) if own.value => {
            Err(invalid(cert.name(), cert.text, "--tls self-signed makes a certificate of its own"))
        }
        (Some(cert), Some(key)) => {
            let (path, key) = (absolute(cert.text, env), absolute(key.text, env));
            Ok(Set { value: Some(Tls::Files { cert: path, key }), origin: cert.origin })
        }
        (Some(cert), None) => Err(half(cert, settings::TLS_KEY)),
        (None, Some(key)) => Err(half(key, settings::TLS_CERT)),
    }
}

fn half(said: Said<'_>, missing: Setting) -> ConfigError {
    let given = match said.origin {
        Origin::File { path, line } => format!("{}:{line}: {}", path.display(), said.name()),
        Origin::Flag(_) | Origin::Env(_) | Origin::Default => said.name().to_owned(),
    };
    ConfigError::HalfTls { given, missing: missing.key() }
}

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::Credential;
use super::credential::{decode_basic, encode_basic};
use crate::registry::host::host_name;

/// The most bytes that are read of a file with credentials.
pub(super) const MAX_CONFIG_FILE_BYTES: u64 = 1024 * 1024;

/// Docker's client configuration, as far as it is about credentials. modeld's own login file has
/// the same form. It has no `Debug`: it holds secrets.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigFile {
    /// Credentials by registry.
    #[serde(default)]
    auths: Option<BTreeMap<String, AuthEntry>>,
    /// Credential helpers by registry.
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    /// The credential helper for all other registries.
    #[serde(default)]
    creds_store: Option<String>,
}

/// What `auths` has for one registry.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct AuthEntry {
    /// Base64 of `user:password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identitytoken: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registrytoken: Option<String>,
}

impl ConfigFile {
    /// Parses a file's text.
    ///
    /// # Errors
    /// Where it breaks the form; never what stands there.
    pub(super) fn parse(text: &SecretString) -> Result<Self, String> {
        let text = text.expose_secret();
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // The messages of serde quote the values that they complain about.
        serde_json::from_str(text).map_err(|e| {
            format!("is not a Docker configuration (line {}, column {})", e.line(), e.column())
        })
    }

    /// The helper that keeps the credentials of a registry.
    pub(super) fn helper(&self, name: &str) -> Option<&str> {
        let helpers = self.cred_helpers.iter().flatten();
        let own = helpers.filter(|(key, _)| key_name(key).as_deref() == Some(name));
        own.map(|(_, helper)| helper)
            .chain(&self.creds_store)
            .map(String::as_str)
            .find(|helper| !helper.is_empty())
    }

    /// The credential that the file itself has for a registry.
    ///
    /// # Errors
    /// For an entry that cannot be read.
    pub(super) fn credential(&self, name: &str) -> Result<Option<Credential>, String> {
        let entries = self.auths.iter().flatten();
        for (_, entry) in entries.filter(|(key, _)| key_name(key).as_deref() == Some(name)) {
            if let Some(credential) = entry.credential()? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    /// The credentials by registry.
    pub(super) fn into_entries(self) -> BTreeMap<String, AuthEntry> {
        self.auths.unwrap_or_default()
    }
}

impl AuthEntry {
    /// The entry that keeps `credential`; `username` is for lists alone.
    pub(super) fn of(credential: &Credential, username: Option<&str>) -> Self {
        let secret = || Some(credential.secret().expose_secret().to_owned());
        let username = username.map(str::to_owned);
        match credential {
            Credential::Password { username, password } => Self {
                auth: Some(encode_basic(username, password).expose_secret().to_owned()),
                ..Self::default()
            },
            Credential::IdentityToken(_) => {
                Self { identitytoken: secret(), username, ..Self::default() }
            }
            Credential::RegistryToken(_) => {
                Self { registrytoken: secret(), username, ..Self::default() }
            }
        }
    }

    /// What the entry proves a user with. Docker leaves empty entries where a helper has the
    /// secret.
    pub(super) fn credential(&self) -> Result<Option<Credential>, String> {
        let given = |field: &Option<String>| field.clone().filter(|value| !value.is_empty());
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(SecretString::from(token))));
        }
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(SecretString::from(token))));
        }
        if let Some(auth) = given(&self.auth) {
            let broken = || "has an `auth` that is not base64 of user:password".to_owned();
            return decode_basic(&auth).map(Some).ok_or_else(broken);
        }
        Ok(given(&self.username)
            .zip(given(&self.password))
            .map(|(username, password)| Credential::new(username, SecretString::from(password))))
    }

    /// The user name that the entry shows.
    pub(super) fn username(&self) -> Option<String> {
        let own = self.username.clone().filter(|name| !name.is_empty());
        own.or_else(|| self.credential().ok()??.username().map(str::to_owned))
    }
}

/// The registry that a key of the file is about. Docker Desktop keeps tokens of its own next to
/// Docker Hub's credentials, under longer paths: those are about no registry.
fn key_name(key: &str) -> Option<String> {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let path = bare.unwrap_or(key).split_once('/').map_or("", |(_, path)| path);
    matches!(path.trim_end_matches('/'), "" | "v1" | "v2").then(|| host_name(key))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use serde_json::{Value, json};

    fn parse(config: &Value) -> ConfigFile {
        ConfigFile::parse(&SecretString::from(config.to_string())).ok().unwrap()
    }

    fn shown(config: &Value, name: &str) -> Option<String> {
        parse(config).credential(name).unwrap().map(|credential| {
            format!("{credential:?} {:?} {}", credential.username(), {
                credential.secret().expose_secret()
            })
        })
    }

    fn auth(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    #[test]
    fn every_shape_of_an_entry() {
        let of = |entry: Value| shown(&json!({"auths": {"ghcr.io": entry}}), "ghcr.io");
        let password = Some("Password(redacted) Some(\"u\") p".to_owned());
        assert_eq!(of(json!({"auth": auth("u:p")})), password);
        assert_eq!(of(json!({"username": "u", "password": "p", "email": "x"})), password);
        assert_eq!(
            of(json!({"auth": auth("u:p"), "identitytoken": "i"})),
            Some("IdentityToken(redacted) None i".to_owned())
        );
        assert_eq!(
            of(json!({"registrytoken": "r", "identitytoken": "i"})),
            Some("RegistryToken(redacted) None r".to_owned())
        );
        assert_eq!(of(json!({})), None);
        assert_eq!(of(json!({"auth": "", "username": "u"})), None);
        assert_eq!(of(json!({"auth": null})), None);
    }

    #[test]
    fn keys_are_registries_however_they_are_written() {
        for key in ["ghcr.io", "https://ghcr.io", "https://ghcr.io/v2/", "GHCR.IO/"] {
            let config = json!({"auths": {key: {"auth": auth("u:p")}}});
            assert!(shown(&config, "ghcr.io").is_some(), "{key}");
            assert!(shown(&config, "quay.io").is_none(), "{key}");
        }
        let hub = json!({"auths": {
            "https://index.docker.io/v1/access-token": {"auth": auth("desktop:x")},
            "https://index.docker.io/v1/": {"auth": auth("u:p")},
        }});
        assert_eq!(shown(&hub, "docker.io"), Some("Password(redacted) Some(\"u\") p".to_owned()));
    }

    #[test]
    fn helpers_of_one_registry_and_of_all() {
        let config =
            parse(&json!({"credHelpers": {"https://gcr.io": "gcloud"}, "credsStore": "d"}));
        assert_eq!(config.helper("gcr.io"), Some("gcloud"));
        assert_eq!(config.helper("ghcr.io"), Some("d"));
        assert_eq!(parse(&json!({"credsStore": ""})).helper("gcr.io"), None);
        assert_eq!(parse(&json!({"credHelpers": null, "auths": null})).helper("gcr.io"), None);
    }

    #[test]
    fn damage_is_told_without_the_text() {
        for text in [
            r#"{"auths": {"ghcr.io": {"auth": ["canary"]}}}"#,
            r#"{"auths": "canary"}"#,
            r#""canary""#,
            r#"{"auths": {"ghcr.io": {"password": "canary"#,
        ] {
            let error = ConfigFile::parse(&SecretString::from(text)).err().unwrap();
            assert!(error.contains("line 1") && !error.contains("canary"), "{error}");
        }
        let config = json!({"auths": {"ghcr.io": {"auth": "canary!"}}});
        let error = parse(&config).credential("ghcr.io").unwrap_err();
        assert!(!error.contains("canary"), "{error}");
        assert!(ConfigFile::parse(&SecretString::from(" \n")).is_ok());
    }

    #[test]
    fn what_is_kept_is_read_back() {
        for credential in [
            Credential::new("u", "p".into()),
            Credential::IdentityToken("i".into()),
            Credential::RegistryToken("r".into()),
        ] {
            let entry = AuthEntry::of(&credential, Some("u"));
            let text = serde_json::to_string(&entry).unwrap();
            let back: AuthEntry = serde_json::from_str(&text).unwrap();
            let again = back.credential().unwrap().unwrap();
            assert_eq!(again.fingerprint(), credential.fingerprint());
            assert_eq!(back.username().as_deref(), Some("u"));
        }
    }
}

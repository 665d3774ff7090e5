use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};

use super::config_file::{ConfigFile, MAX_CONFIG_FILE_BYTES};
use super::login_file::{LoginFile, blocking};
use super::{Credential, CredentialOptions, file, helper};
use crate::registry::host::{DOCKER_HUB, HUGGING_FACE};

/// How long what was found is believed without looking again; a refusal ends that at once.
const KEPT: Duration = Duration::from_secs(60);
/// For how many registries it is kept.
const MAX_KEPT: usize = 64;
/// The most bytes of a file with one token.
const MAX_TOKEN_FILE_BYTES: u64 = 16 * 1024;

/// Where credentials are found; cheap to clone. For a registry, in this order: what the request
/// brought, the environment (Docker Hub only), modeld's own logins, Docker's configuration with its
/// credential helpers, nothing.
#[derive(Clone)]
pub struct Credentials {
    inner: Arc<Inner>,
}

struct Inner {
    options: CredentialOptions,
    login: LoginFile,
    kept: Mutex<HashMap<String, (Instant, Found)>>,
}

/// What a search for credentials ended with.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The credential; `None` for an anonymous user.
    pub credential: Option<Credential>,
    /// Where it was found, in words for people.
    pub source: Option<String>,
    /// What could not be searched and was passed over: a file that is damaged or open to others, a
    /// helper that failed. Without secrets.
    pub problems: Vec<String>,
}

impl Found {
    fn at(source: &str, credential: Credential) -> Self {
        Self { credential: Some(credential), source: Some(source.to_owned()), problems: Vec::new() }
    }

    fn take(&mut self, source: &str, result: Result<Option<Credential>, String>) -> bool {
        match result {
            Ok(Some(credential)) => {
                self.credential = Some(credential);
                self.source = Some(source.to_owned());
            }
            Ok(None) => {}
            Err(problem) => self.problem(problem),
        }
        self.credential.is_some()
    }

    fn problem(&mut self, problem: String) {
        tracing::warn!("credentials are passed over: {problem}");
        self.problems.push(problem);
    }
}

impl Credentials {
    /// Searches where `options` say.
    pub fn new(options: CredentialOptions) -> Self {
        let login = LoginFile::new(options.login_dir.clone());
        Self { inner: Arc::new(Inner { options, login, kept: Mutex::default() }) }
    }

    /// What proves the user to the registry of this [name](crate::registry::RegistryHost::name).
    /// `token` is what the request brought: it is exchanged as an identity token is.
    ///
    /// A place that cannot be searched is passed over: a broken credential helper must not stop
    /// the pull of what everybody may pull. [`Found::problems`] says so.
    pub async fn lookup(&self, registry: &str, token: Option<&SecretString>) -> Found {
        if let Some(token) = token.filter(|token| !token.expose_secret().is_empty()) {
            return Found::at("the request", Credential::IdentityToken(token.clone()));
        }
        if let Some(found) = self.kept(registry) {
            return found;
        }
        let found = self.search(registry).await;
        let mut kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(registry.to_owned(), (Instant::now(), found.clone()));
        found
    }

    /// The token for the Hugging Face Hub: what the request brought, `HF_TOKEN`, modeld's own login,
    /// the file of Hugging Face's tools, none.
    pub async fn hub_token(&self, token: Option<&SecretString>) -> Option<SecretString> {
        if let Some(token) = token.filter(|token| !token.expose_secret().is_empty()) {
            return Some(token.clone());
        }
        let options = &self.inner.options;
        if let Some(token) = &options.hugging_face {
            return Some(token.clone());
        }
        let mut found = Found::default();
        let login = self.inner.login.read().await;
        if found.take("login", login.and_then(|file| file.credential(HUGGING_FACE))) {
            return found.credential.map(|credential| credential.secret().clone());
        }
        let path = options.hugging_face_file.clone()?;
        match blocking(move || file::read(&path, MAX_TOKEN_FILE_BYTES, false)).await {
            Ok(text) => {
                let token = SecretString::from(text?.expose_secret().trim());
                (!token.expose_secret().is_empty()).then_some(token)
            }
            Err(problem) => {
                found.problem(problem);
                None
            }
        }
    }

    /// Looks anew for the credentials of this registry next time.
    pub(super) fn forget(&self, registry: &str) {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(registry);
    }

    pub(super) fn login_file(&self) -> &LoginFile {
        &self.inner.login
    }

    fn kept(&self, registry: &str) -> Option<Found> {
        let kept = self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, found) = kept.get(registry)?;
        (since.elapsed() < KEPT).then(|| found.clone())
    }

    async fn search(&self, registry: &str) -> Found {
        let options = &self.inner.options;
        if let Some(hub) = options.hub.as_ref().filter(|_| registry == DOCKER_HUB) {
            return Found::at("the environment", hub.clone());
        }
        let mut found = Found::default();
        let login = self.inner.login.read().await;
        if found.take("modeld's logins", login.and_then(|file| file.credential(registry))) {
            return found;
        }
        let Some(path) = options.docker_config_dir.as_ref().map(|dir| dir.join("config.json"))
        else {
            return found;
        };
        let shown = path.display().to_string();
        let told = |problem| format!("{shown} {problem}");
        let text = blocking({
            let path = path.clone();
            move || file::read(&path, MAX_CONFIG_FILE_BYTES, false)
        });
        let config = match text.await {
            Ok(Some(text)) => ConfigFile::parse(&text).map_err(told),
            Ok(None) => return found,
            Err(problem) => Err(problem),
        };
        let config = match config {
            Ok(config) => config,
            Err(problem) => {
                found.problem(problem);
                return found;
            }
        };
        if let Some(name) = config.helper(registry) {
            let path = options.helper_path.as_deref();
            let answer = helper::get(name, registry, path, options.helper_limit()).await;
            if found.take(&format!("docker-credential-{name}"), answer) {
                return found;
            }
        }
        found.take(&shown, config.credential(registry).map_err(told));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::auth::config_file::AuthEntry;
    use crate::registry::auth::testing::helper_script;
    use std::path::Path;

    struct Place {
        login: tempfile::TempDir,
        docker: tempfile::TempDir,
    }

    fn place() -> Place {
        Place { login: tempfile::tempdir().unwrap(), docker: tempfile::tempdir().unwrap() }
    }

    impl Place {
        fn options(&self) -> CredentialOptions {
            CredentialOptions {
                login_dir: self.login.path().to_owned(),
                docker_config_dir: Some(self.docker.path().to_owned()),
                ..CredentialOptions::default()
            }
        }

        fn docker(&self, config: &str) {
            std::fs::write(self.docker.path().join("config.json"), config).unwrap();
        }
    }

    async fn log_in(credentials: &Credentials, name: &'static str, secret: &'static str) {
        let credential = Credential::new("u", secret.into());
        let change = move |entries: &mut std::collections::BTreeMap<String, AuthEntry>| {
            entries.insert(name.to_owned(), AuthEntry::of(&credential, None));
            true
        };
        credentials.login_file().change(change).await.unwrap();
    }

    async fn secret(credentials: &Credentials, registry: &str) -> Option<String> {
        credentials.forget(registry);
        let found = credentials.lookup(registry, None).await;
        found.credential.map(|credential| credential.secret().expose_secret().to_owned())
    }

    #[tokio::test]
    async fn the_order() {
        let place = place();
        let options = || CredentialOptions {
            hub: Some(Credential::new("u", "environment".into())),
            ..place.options()
        };
        let credentials = Credentials::new(options());
        assert_eq!(secret(&credentials, "ghcr.io").await, None);
        let entry = |secret: &str| serde_json::json!({"username": "u", "password": secret});
        let config = serde_json::json!({"auths": {
            "ghcr.io": entry("docker"), "https://index.docker.io/v1/": entry("docker"),
        }});
        place.docker(&config.to_string());
        assert_eq!(secret(&credentials, "ghcr.io").await.as_deref(), Some("docker"));
        log_in(&credentials, "ghcr.io", "login").await;
        log_in(&credentials, "docker.io", "login").await;
        assert_eq!(secret(&credentials, "ghcr.io").await.as_deref(), Some("login"));
        assert_eq!(secret(&credentials, "docker.io").await.as_deref(), Some("environment"));
        let without = Credentials::new(place.options());
        assert_eq!(secret(&without, "docker.io").await.as_deref(), Some("login"));
        let token = SecretString::from("request");
        let found = credentials.lookup("docker.io", Some(&token)).await;
        assert!(matches!(found.credential, Some(Credential::IdentityToken(_))));
        assert_eq!(found.source.as_deref(), Some("the request"));
        let empty = SecretString::from("");
        assert!(credentials.lookup("quay.io", Some(&empty)).await.credential.is_none());
    }

    #[tokio::test]
    async fn a_helper_comes_before_the_file_and_may_fail() {
        let place = place();
        let scripts = helper_script("good", r#"echo '{"Username":"u","Secret":"helper"}'"#);
        let options =
            CredentialOptions { helper_path: Some(scripts.path().into()), ..place.options() };
        let credentials = Credentials::new(options);
        let config = |helper: &str| {
            place.docker(&format!(
                r#"{{"credsStore":"{helper}",
                    "auths":{{"ghcr.io":{{"username":"u","password":"file"}}}}}}"#
            ));
        };
        config("good");
        assert_eq!(secret(&credentials, "ghcr.io").await.as_deref(), Some("helper"));
        config("missing");
        credentials.forget("ghcr.io");
        let found = credentials.lookup("ghcr.io", None).await;
        assert_eq!(found.problems, ["docker-credential-missing is not in the PATH of the daemon"]);
        assert_eq!(found.credential.unwrap().secret().expose_secret(), "file");
    }

    #[tokio::test]
    async fn a_damaged_file_is_told_and_passed_over() {
        let place = place();
        let huge = " ".repeat(1024 * 1024 + 1);
        let credentials = Credentials::new(place.options());
        for config in ["{\"auths\": \"canary\"}", &huge, "\0"] {
            place.docker(config);
            credentials.forget("ghcr.io");
            let found = credentials.lookup("ghcr.io", None).await;
            assert!(found.credential.is_none());
            assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
            assert!(!found.problems[0].contains("canary"));
        }
    }

    #[tokio::test]
    async fn what_was_found_is_kept_until_forgotten() {
        let place = place();
        let credentials = Credentials::new(place.options());
        assert!(credentials.lookup("ghcr.io", None).await.credential.is_none());
        place.docker(r#"{"auths":{"ghcr.io":{"username":"u","password":"p"}}}"#);
        assert!(credentials.lookup("ghcr.io", None).await.credential.is_none());
        credentials.forget("ghcr.io");
        assert!(credentials.lookup("ghcr.io", None).await.credential.is_some());
    }

    #[tokio::test]
    async fn the_hub_token_and_its_order() {
        let place = place();
        let path = place.docker.path().join("token");
        let options =
            CredentialOptions { hugging_face_file: Some(path.clone()), ..place.options() };
        let credentials = Credentials::new(options.clone());
        let shown = |token: Option<SecretString>| token.map(|t| t.expose_secret().to_owned());
        let token = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        assert_eq!(shown(credentials.hub_token(None).await), None);
        token(&path, " \n");
        assert_eq!(shown(credentials.hub_token(None).await), None);
        token(&path, "file\n");
        assert_eq!(shown(credentials.hub_token(None).await).as_deref(), Some("file"));
        log_in(&credentials, "huggingface.co", "login").await;
        assert_eq!(shown(credentials.hub_token(None).await).as_deref(), Some("login"));
        let options = CredentialOptions { hugging_face: Some("environment".into()), ..options };
        let credentials = Credentials::new(options);
        assert_eq!(shown(credentials.hub_token(None).await).as_deref(), Some("environment"));
        let request = SecretString::from("request");
        let given = shown(credentials.hub_token(Some(&request)).await);
        assert_eq!(given.as_deref(), Some("request"));
    }
}

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::Credential;

/// How long a credential helper may take: a locked key ring asks its user, a broken one hangs.
const HELPER_LIMIT: Duration = Duration::from_secs(10);

/// Where credentials are looked for.
#[derive(Clone, Default)]
pub struct CredentialOptions {
    /// The directory of modeld's own login file, `auth.json`.
    pub login_dir: PathBuf,
    /// What the environment says for Docker Hub; used for no other registry.
    pub hub: Option<Credential>,
    /// The directory with Docker's `config.json`.
    pub docker_config_dir: Option<PathBuf>,
    /// `HF_TOKEN`.
    pub hugging_face: Option<SecretString>,
    /// The file in which the tools of Hugging Face keep their token.
    pub hugging_face_file: Option<PathBuf>,
    /// Where credential helpers are looked for, as `PATH` is written; `None` for the daemon's own
    /// `PATH`.
    pub helper_path: Option<OsString>,
    /// How long a credential helper may take; `None` for ten seconds.
    pub helper_limit: Option<Duration>,
}

impl CredentialOptions {
    /// The places that the process's environment names. `var` reads one of its variables, `home` is
    /// the user's home directory, `login_dir` is where modeld's own `auth.json` lies.
    pub fn from_environment(
        login_dir: PathBuf,
        home: Option<&Path>,
        var: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let pair = |user: &str, password: &str| {
            Some(Credential::new(set(user)?, SecretString::from(set(password)?)))
        };
        let hub = pair("DOCKER_USERNAME", "DOCKER_PASSWORD")
            .or_else(|| pair("DOCKER_HUB_USER", "DOCKER_HUB_PASSWORD"));
        let in_home = |below: &str| home.map(|home| home.join(below));
        let hugging_face_home = || {
            let cache = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| in_home(".cache"));
            set("HF_HOME").map(PathBuf::from).or_else(|| Some(cache?.join("huggingface")))
        };
        Self {
            login_dir,
            hub,
            docker_config_dir: set("DOCKER_CONFIG")
                .map(PathBuf::from)
                .or_else(|| in_home(".docker")),
            hugging_face: set("HF_TOKEN").map(|token| SecretString::from(token.trim())),
            hugging_face_file: set("HF_TOKEN_PATH")
                .map(PathBuf::from)
                .or_else(|| Some(hugging_face_home()?.join("token"))),
            helper_path: None,
            helper_limit: None,
        }
    }

    pub(super) fn helper_limit(&self) -> Duration {
        self.helper_limit.unwrap_or(HELPER_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn options(vars: &[(&str, &str)]) -> CredentialOptions {
        CredentialOptions::from_environment("/login".into(), Some(Path::new("/home/u")), |name| {
            vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn places_without_variables() {
        let options = options(&[]);
        assert!(options.hub.is_none() && options.hugging_face.is_none());
        assert_eq!(options.docker_config_dir, Some("/home/u/.docker".into()));
        assert_eq!(options.hugging_face_file, Some("/home/u/.cache/huggingface/token".into()));
    }

    #[test]
    fn variables_name_other_places() {
        let file = |vars: &[(&str, &str)]| options(vars).hugging_face_file.unwrap();
        assert_eq!(file(&[("HF_HOME", "/hf")]), Path::new("/hf/token"));
        assert_eq!(file(&[("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/token"));
        assert_eq!(file(&[("HF_TOKEN_PATH", "/t"), ("HF_HOME", "/hf")]), Path::new("/t"));
        let options = options(&[("DOCKER_CONFIG", "/d"), ("HF_TOKEN", " x\n")]);
        assert_eq!(options.docker_config_dir, Some("/d".into()));
        assert_eq!(options.hugging_face.unwrap().expose_secret(), "x");
    }

    #[test]
    fn both_pairs_for_docker_hub() {
        let user = |vars: &[(&str, &str)]| {
            options(vars).hub.and_then(|hub| hub.username().map(str::to_owned))
        };
        let second = [("DOCKER_HUB_USER", "b"), ("DOCKER_HUB_PASSWORD", "p")];
        assert_eq!(user(&second), Some("b".to_owned()));
        let both = [second.as_slice(), &[("DOCKER_USERNAME", "a"), ("DOCKER_PASSWORD", "p")]];
        assert_eq!(user(&both.concat()), Some("a".to_owned()));
        // A name without a password says nothing.
        let half = [second.as_slice(), &[("DOCKER_USERNAME", "a"), ("DOCKER_PASSWORD", "")]];
        assert_eq!(user(&half.concat()), Some("b".to_owned()));
    }
}

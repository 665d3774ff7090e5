use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::DaemonError;
use crate::config::{Config, Origin, Variables, settings};
use crate::registry::auth::{Authorizer, CredentialOptions, Credentials, Login};
use crate::registry::egress::{Egress, EgressOptions, Proxies};
use crate::registry::hub::{Hub, HubOptions, TokenSource};
use crate::registry::oci::{MirrorTable, OciOptions, OciRegistry};
use crate::registry::search::{DOCKER_HUB_ENDPOINT, DockerHub, Search};
use crate::registry::signature::Keyring;
use crate::registry::{Registries, Registry};
use crate::service::Accounts;

/// The daemon's way to registries. Making it reads the certificates that the configuration names
/// and nothing else: no connection, no file of logins, no certificates of the system.
pub(super) struct Outside {
    /// Where models come from and go to.
    pub(super) registry: Arc<dyn Registry>,
    /// Logins and searches.
    pub(super) accounts: Accounts,
}

impl Outside {
    /// What the configuration and the environment say.
    ///
    /// # Errors
    /// [`DaemonError::Registries`] for certificates that cannot be used.
    pub(super) fn new(
        config: &Config,
        variables: &Variables,
    ) -> std::result::Result<Self, DaemonError> {
        let variable = |name: &str| variables.get(name);
        let egress = egress(config, Proxies::from_variables(variable))?;
        let options = CredentialOptions::from_environment(
            login_dir(config),
            config.home.as_deref(),
            variable,
        );
        let credentials = Credentials::new(options);
        let authorizer = Authorizer::new(egress.clone(), credentials.clone());
        let keyring = keyring(config)?;
        let options = OciOptions {
            mirrors: mirrors(config)?,
            signatures: keyring.clone(),
            ca_files: config.registry_ca.value.clone(),
        };
        let access = Arc::new(authorizer.clone());
        let gateway = Arc::new(egress.clone());
        let oci = Arc::new(OciRegistry::new(egress.clone(), access, gateway, options));
        let token: TokenSource = Arc::new(move || {
            let credentials = credentials.clone();
            Box::pin(async move { credentials.hub_token(None).await })
        });
        let endpoint = config.hub_url.value.clone();
        let options = HubOptions { endpoint: endpoint.clone(), token: Some(token) };
        let hub = Hub::new(egress.clone(), options);
        let docker = Url::parse(DOCKER_HUB_ENDPOINT).ok();
        let search = Search {
            docker: docker.map(|docker| DockerHub::new(egress.clone(), docker)),
            hugging_face: Some(hub.clone()),
        };
        let login = Login::new(authorizer);
        let accounts = Accounts { egress, login, search, hub: endpoint };
        let registries = Registries::new(oci, Arc::new(hub)).with_signatures(keyring);
        Ok(Self { registry: Arc::new(registries), accounts })
    }
}

fn keyring(config: &Config) -> std::result::Result<Keyring, DaemonError> {
    let keys = config.signature_keys.value.iter();
    let keys = keys.map(|signed| (signed.pattern.clone(), signed.key.clone())).collect();
    Keyring::new(keys).map_err(|error| DaemonError::Registries {
        setting: config.signature_keys.origin.to_string(),
        problem: error.to_string(),
    })
}

fn mirrors(config: &Config) -> std::result::Result<MirrorTable, DaemonError> {
    let mut table = MirrorTable::default();
    for mirror in &config.registry_mirrors.value {
        table.add(&mirror.registry, mirror.url.as_str()).map_err(|error| {
            let setting = config.registry_mirrors.origin.to_string();
            DaemonError::Registries { setting, problem: error.to_string() }
        })?;
    }
    Ok(table)
}

fn egress(config: &Config, proxies: Proxies) -> std::result::Result<Egress, DaemonError> {
    // The hosts have been read before; what can fail are the files.
    Egress::new(EgressOptions::of(config, proxies)).map_err(|error| DaemonError::Registries {
        setting: match config.registry_ca.origin {
            Origin::Default => settings::REGISTRY_CA.flag.to_owned(),
            said => said.to_string(),
        },
        problem: error.to_string(),
    })
}

/// Without a home, logins lie beside the socket: that directory is there and private.
fn login_dir(config: &Config) -> PathBuf {
    let beside = || config.socket.value.parent().map(PathBuf::from).unwrap_or_default();
    config.config_dir.clone().unwrap_or_else(beside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, RawConfig, resolve};

    fn config(raw: &RawConfig) -> Config {
        let env = Env {
            runtime_dir: Some("/nonexistent/run".into()),
            data_dir: Some("/nonexistent/data".into()),
            current_dir: "/nonexistent".into(),
            ..Env::default()
        };
        resolve(raw, &env).unwrap()
    }

    fn outside(raw: &RawConfig) -> std::result::Result<Outside, DaemonError> {
        Outside::new(&config(raw), &Variables::default())
    }

    #[test]
    fn a_missing_certificate_names_file_and_setting() {
        let raw = RawConfig { registry_ca: Some("no.pem".into()), ..RawConfig::default() };
        let error = outside(&raw).err().unwrap().to_string();
        assert!(error.starts_with("--registry-ca: "), "{error}");
        assert!(error.contains("/nonexistent/no.pem"), "{error}");
    }

    #[test]
    fn hosts_of_every_setting_reach_the_policy() {
        for listed in ["a.example", "[::1]:5000", "10.0.0.1:80", "a.example:443"] {
            let raw = RawConfig {
                insecure_registry: Some(listed.into()),
                registry_private_host: Some(listed.into()),
                registry_mirror: Some(format!("https://{listed}/x")),
                ..RawConfig::default()
            };
            let outside = outside(&raw).unwrap();
            assert!(outside.accounts.egress.is_insecure(listed), "{listed}");
        }
    }

    #[test]
    fn without_a_home_logins_lie_beside_the_socket() {
        let config = config(&RawConfig::default());
        assert_eq!(login_dir(&config), PathBuf::from("/nonexistent/run/modeld"));
    }
}

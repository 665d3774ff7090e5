use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Client};
use tokio::sync::Mutex;

use super::policy::Permit;
use super::proxies::Proxy;
use super::resolve::{Checked, Lookup};
use super::{EgressError, EgressOptions};
use crate::files::read_regular;

/// More than any bundle of certificate authorities.
pub(in crate::registry) const MAX_CA_BYTES: u64 = 8 << 20;

/// How a host is reached. A connection is reused only for what has the same route: one that was
/// opened to a private address for the registry that the user named must not serve a redirect.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Route {
    /// Directly, to addresses under this permit.
    Direct {
        permit: Permit,
        tls: bool,
    },
    Proxied(Proxy),
}

/// The HTTP clients, one for each route, each made when it is first needed.
pub(super) struct Transports {
    lookup: Arc<dyn Lookup>,
    authorities: Vec<Certificate>,
    connect: Duration,
    clients: Mutex<HashMap<Route, Client>>,
}

impl Transports {
    pub(super) fn new(options: &EgressOptions) -> Result<Self, EgressError> {
        let mut authorities = Vec::new();
        for file in &options.ca_files {
            authorities.extend(read_authorities(file)?);
        }
        Ok(Self {
            lookup: options.lookup.clone(),
            authorities,
            connect: options.connect,
            clients: Mutex::default(),
        })
    }

    /// The client for a route.
    pub(super) async fn client(&self, route: &Route) -> Result<Client, EgressError> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(route) {
            return Ok(client.clone());
        }
        let builder = self.builder(route)?;
        // Reading the system's certificates takes tens of milliseconds.
        let client = tokio::task::spawn_blocking(move || builder.build())
            .await
            .map_err(|e| EgressError::Invalid(format!("no HTTP client: {e}")))?
            .map_err(|e| {
                EgressError::Invalid(format!(
                    "the system's certificate authorities cannot be read ({}); install them \
                     (package ca-certificates), or name a file with --registry-ca",
                    super::failure::innermost(&e)
                ))
            })?;
        clients.insert(route.clone(), client.clone());
        Ok(client)
    }

    fn builder(&self, route: &Route) -> Result<reqwest::ClientBuilder, EgressError> {
        let permit = match route {
            Route::Direct { permit, .. } => *permit,
            // The one name that is resolved for it is the proxy's.
            Route::Proxied(_) => Permit::Listed,
        };
        let builder = Client::builder()
            .user_agent(concat!("modeld/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Checked { lookup: self.lookup.clone(), permit }))
            .connect_timeout(self.connect);
        let authorities = self.authorities.clone();
        Ok(match route {
            // Without TLS no authority is needed, and a system may have none.
            Route::Direct { tls: false, .. } => builder.tls_certs_only([]),
            Route::Direct { tls: true, .. } => builder.tls_certs_merge(authorities),
            Route::Proxied(proxy) => {
                let all = reqwest::Proxy::all(proxy.url().clone()).map_err(|_| {
                    EgressError::Invalid(format!("the proxy {} cannot be used", proxy.name()))
                })?;
                builder.tls_certs_merge(authorities).proxy(all)
            }
        })
    }
}

/// All certificates of a PEM file, checked to be some.
fn read_authorities(file: &Path) -> Result<Vec<Certificate>, EgressError> {
    let shown = file.display();
    let wrong = |why: String| {
        EgressError::Invalid(format!(
            "the certificate authorities in {shown} cannot be used: {why}"
        ))
    };
    let pem = read_regular(file, MAX_CA_BYTES).map_err(|e| wrong(format!("it {e}")))?;
    let found =
        Certificate::from_pem_bundle(&pem).map_err(|e| wrong(super::failure::innermost(&e)))?;
    if found.is_empty() {
        return Err(wrong("there is no PEM certificate in it".into()));
    }
    // Only a client reads what is inside; one that trusts nothing else costs next to nothing.
    Client::builder()
        .no_proxy()
        .tls_certs_only(found.clone())
        .build()
        .map_err(|e| wrong(super::failure::innermost(&e)))?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pem: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        let EgressError::Invalid(text) = read_authorities(file.path()).unwrap_err() else {
            panic!("not invalid");
        };
        assert!(text.contains(&file.path().display().to_string()), "{text}");
        text
    }

    #[test]
    fn a_bad_file_is_named() {
        assert!(refused(b"").contains("no PEM certificate"));
        assert!(
            refused(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
                .contains("no PEM")
        );
        refused(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        refused(b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
        let missing = read_authorities(Path::new("/nowhere/ca.pem")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    }

    #[test]
    fn a_file_may_hold_several() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let twice = [super::super::testing::CA_PEM, super::super::testing::CA_PEM].concat();
        std::fs::write(file.path(), twice).unwrap();
        assert_eq!(read_authorities(file.path()).unwrap().len(), 2);
    }
}

use futures_util::future::BoxFuture;
use oci_client::secrets::RegistryAuth;
use secrecy::SecretString;
use url::Url;

use crate::registry::auth::Authorizer;
use crate::registry::egress::{
    Egress, EgressError, EgressGate, EgressRequest, EgressResponse, HostPort,
};
use crate::registry::{FetchError, RegistryHost, Scope};

/// Sends requests to registries with the credentials that each of them may see.
pub trait Access: Send + Sync {
    /// Sends what `build` makes, authorised for `scope`; `build` is called anew for each try.
    /// `token` is what a client sent along for this host. An answer that says no (401, 403) may
    /// come back as it is.
    fn send<'a>(
        &'a self,
        host: &'a RegistryHost,
        scope: &'a Scope,
        token: Option<&'a SecretString>,
        build: &'a (dyn Fn() -> EgressRequest + Sync),
    ) -> BoxFuture<'a, Result<EgressResponse, FetchError>>;

    /// The same right in the form in which an upload takes it, good for a while.
    fn oci_auth<'a>(
        &'a self,
        host: &'a RegistryHost,
        scope: &'a Scope,
        token: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RegistryAuth, FetchError>>;
}

/// Opens the way by which uploads leave the machine, under the same policy as all else.
pub trait Gateway: Send + Sync {
    /// A way to the host and port of this URL and to no others.
    fn open<'a>(&'a self, registry: &'a Url) -> BoxFuture<'a, Result<OpenGate, EgressError>>;
}

/// A way that is open until this is dropped.
pub struct OpenGate {
    /// The URL of the HTTP proxy to go through.
    pub proxy: Option<String>,
    /// Why it last let something not through. Owns what keeps the way open.
    pub failure: Box<dyn Fn() -> Option<EgressError> + Send + Sync>,
}

impl Access for Authorizer {
    fn send<'a>(
        &'a self,
        host: &'a RegistryHost,
        scope: &'a Scope,
        token: Option<&'a SecretString>,
        build: &'a (dyn Fn() -> EgressRequest + Sync),
    ) -> BoxFuture<'a, Result<EgressResponse, FetchError>> {
        Box::pin(Self::send(self, host, scope, token, build))
    }

    fn oci_auth<'a>(
        &'a self,
        host: &'a RegistryHost,
        scope: &'a Scope,
        token: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RegistryAuth, FetchError>> {
        Box::pin(Self::oci_auth(self, host, scope, token))
    }
}

impl Gateway for Egress {
    fn open<'a>(&'a self, registry: &'a Url) -> BoxFuture<'a, Result<OpenGate, EgressError>> {
        Box::pin(async move {
            let gate =
                EgressGate::start(self, HostPort::of(registry).into_iter().collect()).await?;
            let proxy = Some(gate.proxy_url().to_owned());
            // The way is open as long as somebody may ask why something did not get through.
            Ok(OpenGate { proxy, failure: Box::new(move || gate.last_failure()) })
        })
    }
}

use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::SecretString;

use crate::domain::{Error, ErrorKind, ModelRef, Result};

use super::signature::Keyring;
use super::{OutgoingModel, ProgressSink, Registry, RemoteModel};

/// The registry whose models are files of a repository of the Hugging Face Hub.
pub const HUB: &str = "huggingface.co";

/// Every registry there is: the Hub for its own names, the OCI protocol for all others.
pub struct Registries {
    oci: Arc<dyn Registry>,
    hub: Arc<dyn Registry>,
    signatures: Keyring,
}

impl Registries {
    /// Speaks through these two.
    pub fn new(oci: Arc<dyn Registry>, hub: Arc<dyn Registry>) -> Self {
        Self { oci, hub, signatures: Keyring::default() }
    }

    /// Refuses models of the Hub that must be signed: nothing there has signatures. Those of OCI
    /// registries are `oci`'s to check.
    #[must_use]
    pub fn with_signatures(mut self, signatures: Keyring) -> Self {
        self.signatures = signatures;
        self
    }

    fn refuse_unsignable(&self, reference: &ModelRef) -> Result<()> {
        match reference {
            ModelRef::Named(name) if name.registry() == HUB => match self.signatures.demand(name) {
                Some(demand) => Err(demand.unsignable(name)),
                None => Ok(()),
            },
            ModelRef::Named(_) | ModelRef::Id(_) | ModelRef::ShortId(_) => Ok(()),
        }
    }

    fn of(&self, reference: &ModelRef) -> Result<&dyn Registry> {
        match reference {
            ModelRef::Named(name) if name.registry() == HUB => Ok(&*self.hub),
            ModelRef::Named(_) => Ok(&*self.oci),
            ModelRef::Id(_) | ModelRef::ShortId(_) => Err(Error::new(
                ErrorKind::InvalidReference,
                format!("{reference} is the id of a model; registries know names only"),
            )),
        }
    }
}

impl Registry for Registries {
    fn resolve<'a>(
        &'a self,
        reference: &'a ModelRef,
        token: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RemoteModel>> {
        Box::pin(async move {
            self.refuse_unsignable(reference)?;
            self.of(reference)?.resolve(reference, token).await
        })
    }

    fn push<'a>(
        &'a self,
        reference: &'a ModelRef,
        model: OutgoingModel,
        token: Option<&'a SecretString>,
        progress: ProgressSink,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.of(reference)?.push(reference, model, token, progress).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has no model, and says so.
    struct Empty;

    impl Registry for Empty {
        fn resolve<'a>(
            &'a self,
            _: &'a ModelRef,
            _: Option<&'a SecretString>,
        ) -> BoxFuture<'a, Result<RemoteModel>> {
            Box::pin(async { Err(Error::new(ErrorKind::RegistryNotFound, "asked")) })
        }

        fn push<'a>(
            &'a self,
            _: &'a ModelRef,
            _: OutgoingModel,
            _: Option<&'a SecretString>,
            _: ProgressSink,
        ) -> BoxFuture<'a, Result<()>> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn models_of_the_hub_that_must_be_signed_are_refused_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pub");
        std::fs::write(&file, include_bytes!("signature/testdata/p256.pub.pem")).unwrap();
        let keyring = Keyring::new(vec![("hf.co/org/*".to_owned(), file)]).unwrap();
        let registries = Registries::new(Arc::new(Empty), Arc::new(Empty)).with_signatures(keyring);
        for (name, kind) in [
            ("hf.co/org/m:Q4_0", ErrorKind::SignatureRefused),
            ("hf.co/other/m:Q4_0", ErrorKind::RegistryNotFound),
            ("docker.io/org/m", ErrorKind::RegistryNotFound),
        ] {
            let reference = ModelRef::parse(name).unwrap();
            let error = registries.resolve(&reference, None).await.err().unwrap();
            assert_eq!(error.kind, kind, "{name}: {error}");
        }
    }
}

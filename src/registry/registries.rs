use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::SecretString;

use crate::domain::{Error, ErrorKind, ModelRef, Result};

use super::{OutgoingModel, ProgressSink, Registry, RemoteModel};

/// The registry whose models are files of a repository of the Hugging Face Hub.
pub const HUB: &str = "huggingface.co";

/// Every registry there is: the Hub for its own names, the OCI protocol for all others.
pub struct Registries {
    oci: Arc<dyn Registry>,
    hub: Arc<dyn Registry>,
}

impl Registries {
    /// Speaks through these two.
    pub fn new(oci: Arc<dyn Registry>, hub: Arc<dyn Registry>) -> Self {
        Self { oci, hub }
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
        Box::pin(async move { self.of(reference)?.resolve(reference, token).await })
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

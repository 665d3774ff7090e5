use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::{ErrorKind, Result};
use crate::metrics::Metrics;
use crate::protocol::LoadSpec;

use super::{BoxFuture, Engine, EngineFactory, LoadProgress};

/// Loads as another factory does, and counts loads and deaths.
pub struct CountedFactory {
    inner: Arc<dyn EngineFactory>,
    metrics: Metrics,
}

impl CountedFactory {
    /// Around `inner`.
    pub fn new(inner: Arc<dyn EngineFactory>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }
}

impl EngineFactory for CountedFactory {
    fn load(
        &self,
        spec: LoadSpec,
        progress: watch::Sender<LoadProgress>,
    ) -> BoxFuture<'_, Result<Arc<dyn Engine>>> {
        Box::pin(async move {
            let mut meter = self.metrics.load(&spec.name);
            let loaded = self.inner.load(spec, progress).await;
            match &loaded {
                Ok(engine) => {
                    meter.loaded();
                    let mut exited = engine.exited();
                    tokio::spawn(async move {
                        // An error means that the engine was dropped, which is no death.
                        let exit = exited.wait_for(Option::is_some).await.map(|exit| exit.clone());
                        if exit.is_ok_and(|exit| exit.is_some_and(|exit| !exit.requested)) {
                            meter.died();
                        }
                    });
                }
                Err(error) => {
                    let died =
                        matches!(error.kind, ErrorKind::EngineCrashed | ErrorKind::LoadCrashed);
                    meter.failed(died);
                }
            }
            loaded
        })
    }
}

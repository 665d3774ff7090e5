use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::{Error, Prompt, Result};
use crate::engine::{BoxFuture, Engine, EngineFactory, LoadProgress};
use crate::protocol::{LoadSpec, ModelInfo, Purpose};

use super::control::Control;
use super::engine::ScriptedEngine;
use super::script::Script;

/// Loads engines that play scripts. See the [module](super) for how to use it.
#[derive(Clone)]
pub struct ScriptedFactory {
    scripts: Arc<dyn Fn(&Prompt) -> Script + Send + Sync>,
    control: Control,
    info: ModelInfo,
    load_time: Duration,
    load_errors: Arc<Mutex<VecDeque<Error>>>,
    hold_loads: bool,
    by_hand: bool,
}

impl ScriptedFactory {
    /// Every prompt gets the same script.
    pub fn new(script: Script) -> Self {
        Self::choosing(move |_| script.clone())
    }

    /// Every prompt gets these pieces, then a normal end: 5 prompt tokens, none cached, one
    /// completion token for each piece and one for the end.
    pub fn answering<I: IntoIterator<Item = S>, S: Into<String>>(pieces: I) -> Self {
        Self::new(Script::answering(pieces))
    }

    /// Each prompt gets the script that `scripts` chooses for it.
    pub fn choosing(scripts: impl Fn(&Prompt) -> Script + Send + Sync + 'static) -> Self {
        Self {
            scripts: Arc::new(scripts),
            control: Control::new(),
            info: ModelInfo {
                context_size: 4096,
                train_context: 4096,
                max_sequences: 8,
                vocab_size: 32_000,
                has_chat_template: true,
                architecture: "scripted".into(),
                purpose: Purpose::Generate,
                embedding_size: 0,
                vision: false,
                audio: false,
            },
            load_time: Duration::ZERO,
            load_errors: Arc::default(),
            hold_loads: false,
            by_hand: false,
        }
    }

    /// What a loaded model says of itself, changed: a purpose, a size of vectors, senses.
    #[must_use]
    pub fn with_info(mut self, change: impl FnOnce(&mut ModelInfo)) -> Self {
        change(&mut self.info);
        self
    }

    /// How many jobs a loaded model takes at once (8).
    #[must_use]
    pub fn max_sequences(mut self, sequences: u32) -> Self {
        self.info.max_sequences = sequences;
        self
    }

    /// KV cells of a loaded model (4,096); longer prompts are refused.
    #[must_use]
    pub fn context_size(mut self, cells: u32) -> Self {
        self.info.context_size = cells;
        self
    }

    /// How long a load takes, with progress at a quarter, half and three quarters (no time).
    #[must_use]
    pub fn load_time(mut self, time: Duration) -> Self {
        self.load_time = time;
        self
    }

    /// The next loads fail with these errors, one each.
    #[must_use]
    pub fn failing_loads(self, errors: impl IntoIterator<Item = Error>) -> Self {
        self.load_errors.lock().unwrap_or_else(PoisonError::into_inner).extend(errors);
        self
    }

    /// Loads finish only by [`Control::finish_load`].
    #[must_use]
    pub fn holding_loads(mut self) -> Self {
        self.hold_loads = true;
        self
    }

    /// Pieces come only by [`Control::step`].
    #[must_use]
    pub fn by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }

    /// An engine at once, without a load.
    pub fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(ScriptedEngine::new(
            self.info.clone(),
            Arc::clone(&self.scripts),
            Arc::clone(&self.control.shared),
            self.by_hand,
        ))
    }

    /// The control of this factory, its clones, and all the engines they load.
    pub fn control(&self) -> Control {
        self.control.clone()
    }
}

impl fmt::Debug for ScriptedFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedFactory").field("info", &self.info).finish_non_exhaustive()
    }
}

impl EngineFactory for ScriptedFactory {
    fn load(
        &self,
        spec: LoadSpec,
        progress: watch::Sender<LoadProgress>,
    ) -> BoxFuture<'_, Result<Arc<dyn Engine>>> {
        Box::pin(async move {
            let shared = &self.control.shared;
            shared.record().loads.push(spec);
            for quarter in 0..4u8 {
                progress.send_replace(LoadProgress(f32::from(quarter) / 4.0));
                tokio::time::sleep(self.load_time / 4).await;
            }
            if self.hold_loads
                && let Ok(permit) = shared.loads.acquire().await
            {
                permit.forget();
            }
            let error = {
                let mut errors = self.load_errors.lock().unwrap_or_else(PoisonError::into_inner);
                errors.pop_front()
            };
            if let Some(error) = error {
                return Err(error);
            }
            Ok(self.engine())
        })
    }
}

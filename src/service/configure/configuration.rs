use crate::domain::{Digest, KeepAlive};
use crate::protocol::Purpose;

/// As much context as the model has.
pub const ALL_CONTEXT: u32 = u32::MAX;

/// What is configured for a model, as it was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Its context in tokens; [`ALL_CONTEXT`]: as much as it has.
    pub context: Option<u32>,
    /// How long it stays once idle.
    pub keep_alive: Option<KeepAlive>,
    /// The most tokens of thought; 0: none, -1: without a bound.
    pub reasoning_budget: Option<i32>,
    /// Flags of llama.cpp's server.
    pub flags: Vec<String>,
}

/// What is to change; the rest stays as it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconfigure {
    /// What the model is meant to be for; `None`: whatever it is for.
    pub purpose: Option<Purpose>,
    /// `Some(None)`: nothing is said of it any more; likewise below.
    pub context: Option<Option<u32>>,
    /// See [`Configuration::keep_alive`].
    pub keep_alive: Option<Option<KeepAlive>>,
    /// See [`Configuration::reasoning_budget`].
    pub reasoning_budget: Option<Option<i32>>,
    /// All flags, in the place of the earlier ones.
    pub flags: Option<Vec<String>>,
}

impl Reconfigure {
    /// What is configured after it.
    pub(super) fn apply(self, before: &Configuration) -> Configuration {
        let Self { purpose: _, context, keep_alive, reasoning_budget, flags } = self;
        Configuration {
            context: context.unwrap_or(before.context),
            keep_alive: keep_alive.unwrap_or(before.keep_alive),
            reasoning_budget: reasoning_budget.unwrap_or(before.reasoning_budget),
            flags: flags.unwrap_or_else(|| before.flags.clone()),
        }
    }
}

/// A model and what is configured for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// Its id.
    pub id: Digest,
    /// Its first tag, or its id.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
    /// What was said.
    pub configuration: Configuration,
}

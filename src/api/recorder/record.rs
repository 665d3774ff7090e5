use std::time::{SystemTime, UNIX_EPOCH};

/// One request to a model and its answer.
#[derive(Debug, Clone)]
pub(in crate::api) struct Record {
    /// The name it was asked for, as clients wrote it.
    pub(in crate::api) model: String,
    pub(in crate::api) method: String,
    /// The path, as clients wrote it.
    pub(in crate::api) path: String,
    /// The body, with what is too long in it cut and marked.
    pub(in crate::api) request: String,
    /// Likewise, a stream in one piece.
    pub(in crate::api) response: String,
    pub(in crate::api) status: u16,
    pub(in crate::api) user_agent: String,
    pub(in crate::api) origin: String,
    pub(in crate::api) begun: SystemTime,
}

impl Record {
    /// Since 1970.
    pub(in crate::api) fn nanos(&self) -> u128 {
        self.begun.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
    }

    /// Since 1970.
    pub(in crate::api) fn seconds(&self) -> u64 {
        self.begun.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// What it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let Self { model, method, path, request, response, user_agent, origin, .. } = self;
        let texts = [model, method, path, request, response, user_agent, origin];
        texts.iter().fold(size_of::<Self>(), |sum, text| sum.saturating_add(text.len()))
    }
}

use std::time::Duration;

/// How long a model stays in memory once nobody uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// So long after the end of the last request; zero: it goes with that.
    For(Duration),
    /// Until it is unloaded, or its memory is needed.
    Forever,
}

/// What a request says of the model that it runs on, beside what it asks of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// How long the model stays after this request; `None`: as is configured for it.
    pub keep_alive: Option<KeepAlive>,
    /// The tokens of context that it needs to have. A loaded model that has as many, or that is in
    /// use, stays as it is.
    pub context: Option<u32>,
}

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use super::{Dropped, Queue, parse_filter};

type Apply = dyn Fn(Targets) -> Result<(), String> + Send + Sync;

/// Which lines are logged, while the daemon runs; cheap to clone.
#[derive(Clone)]
pub struct LogControl {
    inner: Arc<Inner>,
}

struct Inner {
    filter: Mutex<String>,
    apply: Box<Apply>,
    queues: Vec<Queue>,
    dropped: Dropped,
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogControl").field("filter", &self.filter()).finish_non_exhaustive()
    }
}

impl LogControl {
    /// `filter` holds now; `apply` makes another one hold. `queues` are what lines go through, and
    /// `dropped` counts for all of them.
    pub fn new(
        filter: &str,
        apply: impl Fn(Targets) -> Result<(), String> + Send + Sync + 'static,
        queues: Vec<Queue>,
        dropped: Dropped,
    ) -> Self {
        let filter = Mutex::new(filter.to_owned());
        Self { inner: Arc::new(Inner { filter, apply: Box::new(apply), queues, dropped }) }
    }

    /// One that remembers a filter and logs nothing.
    pub fn idle(filter: &str) -> Self {
        Self::new(filter, |_| Ok(()), Vec::new(), Dropped::default())
    }

    /// The filter that holds, as it was written.
    pub fn filter(&self) -> String {
        self.inner.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes another filter hold from now on, for the daemon at once and for the processes of models
    /// that are loaded from now on.
    ///
    /// # Errors
    /// In words, what is wrong with it; then the old one holds.
    pub fn set_filter(&self, text: &str) -> Result<(), String> {
        let targets = parse_filter(text)?;
        let mut filter = self.inner.filter.lock().unwrap_or_else(PoisonError::into_inner);
        (self.inner.apply)(targets)?;
        text.clone_into(&mut filter);
        Ok(())
    }

    /// Counts the lines that nobody took in time.
    pub fn dropped(&self) -> &Dropped {
        &self.inner.dropped
    }

    /// Waits until what was logged is written, at most this long for each place that it goes to.
    pub fn flush(&self, limit: Duration) {
        for queue in &self.inner.queues {
            queue.flush(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_changes_nothing() {
        let control = LogControl::idle("info");
        assert!(control.set_filter("loud").unwrap_err().contains("loud"));
        assert_eq!(control.filter(), "info");
        control.set_filter("warn,modeld::scheduler=debug").unwrap();
        assert_eq!(control.filter(), "warn,modeld::scheduler=debug");
    }
}

use std::fmt;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::reload;

use crate::config::Live;

type Change = Box<dyn Fn(&Targets) + Send + Sync>;

/// Which log lines are written, while the daemon runs; clones are the same one. Every layer of the
/// subscriber takes its filter from here.
#[derive(Clone)]
pub struct LogControl {
    filter: Live<Option<String>>,
    layers: Arc<Mutex<Vec<Change>>>,
}

impl LogControl {
    /// One that starts with a filter that is known to parse.
    pub fn new(filter: &str) -> Self {
        Self { filter: Live::new(Some(filter.to_owned())), layers: Arc::default() }
    }

    /// The filter of one more layer.
    pub fn filter<S: 'static>(&self) -> reload::Layer<Targets, S> {
        let text = self.filter.get().unwrap_or_default();
        let (filter, handle) = reload::Layer::new(targets(&text));
        // Fails where the layer is gone, and then nobody misses it.
        let change: Change = Box::new(move |targets| drop(handle.reload(targets.clone())));
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        filter
    }

    /// The text of the filter, for processes that are started from now on.
    pub fn for_workers(&self) -> Live<Option<String>> {
        self.filter.clone()
    }

    /// Another filter from now on, known to parse.
    pub fn set(&self, filter: &str) {
        self.filter.set(Some(filter.to_owned()));
        let targets = targets(filter);
        for change in self.layers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            change(&targets);
        }
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").field("filter", &self.filter).finish_non_exhaustive()
    }
}

fn targets(filter: &str) -> Targets {
    Targets::from_str(filter).unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::{Layer as _, fmt};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_layer_follows() {
        let control = LogControl::new("info");
        let (one, two) = (Lines::default(), Lines::default());
        let (to_one, to_two) = (one.clone(), two.clone());
        let layer = fmt::layer().with_writer(move || to_one.clone()).with_filter(control.filter());
        let other = fmt::layer().with_writer(move || to_two.clone()).with_filter(control.filter());
        let subscriber = tracing_subscriber::registry().with(layer).with(Some(other));
        tracing::subscriber::with_default(subscriber, || {
            let say = |text: &str| tracing::debug!(target: "modeld::x", "{text}");
            say("first");
            control.set("warn,modeld::x=debug");
            say("second");
            control.set("off");
            say("third");
        });
        for lines in [one, two] {
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains("second"), "{text}");
        }
        assert_eq!(control.for_workers().get().as_deref(), Some("off"));
    }
}

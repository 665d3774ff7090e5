//! A time limit for what cannot be interrupted: chat templates are programs, and the only way to
//! end one is to end the process.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::protocol::ToDaemon;

/// Watches one thing at a time.
pub struct Watchdog {
    signals: Sender<Signal>,
}

enum Signal {
    Watch { until: Instant, last_words: Box<ToDaemon> },
    Done,
}

impl Watchdog {
    /// Starts the watching thread. `expire` is called with the last words of what took too long,
    /// and is expected to end the process.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(expire: impl Fn(ToDaemon) + Send + 'static) -> io::Result<Self> {
        let (signals, incoming) = mpsc::channel();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || run(&incoming, expire))?;
        Ok(Self { signals })
    }

    /// Runs `work`; after `limit` the watchdog expires with `last_words`.
    pub fn watch<T>(&self, limit: Duration, last_words: ToDaemon, work: impl FnOnce() -> T) -> T {
        let until = Instant::now() + limit;
        // The thread ends only with this value.
        let _ = self.signals.send(Signal::Watch { until, last_words: Box::new(last_words) });
        let out = work();
        let _ = self.signals.send(Signal::Done);
        out
    }
}

fn run(signals: &Receiver<Signal>, expire: impl Fn(ToDaemon)) {
    while let Ok(signal) = signals.recv() {
        let Signal::Watch { until, last_words } = signal else { continue };
        match signals.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => expire(*last_words),
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobId;

    const WORDS: ToDaemon = ToDaemon::Released { job: JobId(7) };

    #[test]
    fn work_over_its_limit_expires_with_its_last_words() {
        let (said, heard) = mpsc::channel();
        let watchdog = Watchdog::start(move |words| drop(said.send(words))).expect("a thread");
        // The work ends only once the watchdog has spoken.
        let words = watchdog.watch(Duration::from_millis(5), WORDS, || heard.recv());
        assert_eq!(words, Ok(WORDS));
    }

    #[test]
    fn work_within_its_limit_is_left_alone() {
        let (said, heard) = mpsc::channel();
        let watchdog = Watchdog::start(move |words| drop(said.send(words))).expect("a thread");
        assert_eq!(watchdog.watch(Duration::from_secs(600), WORDS, || 1), 1);
        assert_eq!(watchdog.watch(Duration::from_secs(600), WORDS, || 2), 2);
        drop(watchdog);
        // The sender is dropped with the thread, which ends because nobody can ask it any more.
        assert_eq!(heard.recv(), Err(mpsc::RecvError));
    }
}

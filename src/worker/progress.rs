//! Signs of life while a model loads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::step::FrameSink;
use crate::protocol::ToDaemon;

/// How often the fraction is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is sent although it stands still.
const SILENCE: Duration = Duration::from_secs(1);
/// The smallest step worth a frame.
const STEP: f32 = 0.01;

/// The fraction that is loaded, written by llama.cpp's callback.
#[derive(Debug, Clone, Default)]
pub struct Fraction(Arc<AtomicU32>);

impl Fraction {
    /// From 0 to 1; anything else is brought into that range.
    pub fn set(&self, fraction: f32) {
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        self.0.store(fraction.to_bits(), Ordering::Relaxed);
    }

    fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Sends `Progress` from a thread of its own, at least once a second, until it is dropped. After
/// that no more frame comes.
pub struct Reporter {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(fraction: Fraction, out: Arc<dyn FrameSink>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let mut sent = 0.0;
            let mut at = Instant::now();
            out.send(ToDaemon::Progress(sent));
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let now = fraction.get();
                if now - sent >= STEP || at.elapsed() >= SILENCE {
                    (sent, at) = (now, Instant::now());
                    out.send(ToDaemon::Progress(sent));
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has ended the process already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Sent(Mutex<Vec<ToDaemon>>);

    impl FrameSink for Sent {
        fn send(&self, frame: ToDaemon) {
            self.0.lock().expect("no panic").push(frame);
        }
    }

    #[test]
    fn the_first_frame_comes_at_once_and_none_after_the_drop() {
        let sent = Arc::new(Sent::default());
        let out: Arc<dyn FrameSink> = sent.clone();
        drop(Reporter::start(Fraction::default(), out).expect("a thread"));
        assert_eq!(Arc::strong_count(&sent), 1, "the thread has ended");
        assert_eq!(*sent.0.lock().expect("no panic"), [ToDaemon::Progress(0.0)]);
    }

    #[test]
    fn nonsense_from_the_loader_stays_a_fraction() {
        let fraction = Fraction::default();
        for (set, got) in [(0.5, 0.5), (7.0, 1.0), (-1.0, 0.0), (f32::NAN, 0.0)] {
            fraction.set(set);
            assert_eq!(fraction.get(), got);
        }
    }
}

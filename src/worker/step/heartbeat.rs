use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::protocol::ToDaemon;

use super::FrameSink;

/// What `Alive` says; written by the loop, read by the heartbeat.
#[derive(Debug, Default)]
pub(in crate::worker) struct Vitals {
    pub(in crate::worker) steps: AtomicU64,
    pub(in crate::worker) used_cells: AtomicU32,
    pub(in crate::worker) running: AtomicU32,
}

/// Sends `Alive` from a thread of its own, so that a long step does not look like a dead worker; the
/// count of steps shows which it is. Ends when dropped.
#[derive(Debug)]
pub(in crate::worker) struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    pub(in crate::worker) fn start(
        vitals: Arc<Vitals>,
        out: Arc<dyn FrameSink>,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = Builder::new().name("heartbeat".into()).spawn(move || {
            loop {
                out.send(ToDaemon::Alive {
                    steps: vitals.steps.load(Ordering::Relaxed),
                    used_cells: vitals.used_cells.load(Ordering::Relaxed),
                    running: vitals.running.load(Ordering::Relaxed),
                });
                match stopped.recv_timeout(interval) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It can only have panicked in the sink, which has nothing to say to us.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    struct Out(Mutex<Sender<ToDaemon>>);

    impl FrameSink for Out {
        fn send(&self, frame: ToDaemon) {
            let _ = self.0.lock().unwrap().send(frame);
        }
    }

    #[test]
    fn it_beats_until_dropped() {
        let (sender, frames) = channel();
        let vitals = Arc::new(Vitals::default());
        let out = Arc::new(Out(Mutex::new(sender)));
        let beat = Heartbeat::start(Arc::clone(&vitals), out, Duration::from_millis(1)).unwrap();
        vitals.steps.store(7, Ordering::Relaxed);
        let seven = ToDaemon::Alive { steps: 7, used_cells: 0, running: 0 };
        assert!(frames.iter().any(|frame| frame == seven));
        drop(beat);
        assert_eq!(frames.iter().filter(|frame| *frame != seven).count(), 0, "the sender is gone");
    }
}

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that may wait for a sink; a longer single entry is taken all the same.
const AHEAD: usize = 1 << 20;

/// Where log entries wait for a sink that may be slow: a pipe that nobody reads, a busy disk, a full
/// journal. Whoever writes an entry never waits; what does not fit is dropped and counted. Cheap to
/// clone; the thread that empties it ends when the last clone is gone.
#[derive(Clone)]
pub struct Queue {
    open: Arc<Open>,
}

/// Counts what was dropped, of all queues that share it.
#[derive(Debug, Clone, Default)]
pub struct Dropped(Arc<AtomicU64>);

impl Dropped {
    /// Entries so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Closes the queue when it goes.
struct Open(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something was put in, or it was closed.
    filled: Condvar,
    /// Something was written.
    written: Condvar,
    /// Of all queues.
    dropped: Dropped,
    /// Of this one, for want of room.
    overflown: AtomicU64,
    ahead: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Entries that were ever put in, and those that the sink has taken.
    accepted: u64,
    done: u64,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    /// Starts the thread that hands each entry to `sink`, which may block as long as it likes. An
    /// entry whose sink fails is lost, and counted likewise. `name` is the thread's.
    ///
    /// # Errors
    /// Those of creating a thread.
    pub fn start<S>(name: &str, dropped: Dropped, sink: S) -> io::Result<Self>
    where
        S: FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    {
        Self::bounded(name, dropped, AHEAD, sink)
    }

    fn bounded<S>(name: &str, dropped: Dropped, ahead: usize, mut sink: S) -> io::Result<Self>
    where
        S: FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    {
        let state = Mutex::new(State::default());
        let (filled, written) = (Condvar::new(), Condvar::new());
        let overflown = AtomicU64::new(0);
        let shared = Arc::new(Shared { state, filled, written, dropped, overflown, ahead });
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || theirs.empty(&mut sink))?;
        Ok(Self { open: Arc::new(Open(shared)) })
    }

    /// Puts an entry in, or drops it; never waits for the sink.
    pub fn push(&self, entry: &[u8]) {
        let shared = &self.open.0;
        let mut state = shared.lock();
        let bytes = state.bytes.saturating_add(entry.len());
        if bytes > shared.ahead && state.bytes > 0 {
            drop(state);
            shared.overflown.fetch_add(1, Ordering::Relaxed);
            shared.drop_one();
            return;
        }
        state.bytes = bytes;
        state.accepted = state.accepted.saturating_add(1);
        state.waiting.push_back(entry.into());
        drop(state);
        shared.filled.notify_one();
    }

    /// Waits until the sink has taken all that was put in before, at most this long. Answers
    /// whether it has.
    pub fn flush(&self, limit: Duration) -> bool {
        let shared = &self.open.0;
        let deadline = Instant::now().checked_add(limit);
        let mut state = shared.lock();
        let wanted = state.accepted;
        while state.done < wanted {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let left = left.unwrap_or(limit);
            if left.is_zero() {
                return false;
            }
            let waited = shared.written.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// What one entry is written to, in one piece.
    pub fn writer(&self) -> impl io::Write + use<> {
        Entry(self.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_one(&self) {
        self.dropped.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread: until the queue is closed and empty.
    fn empty(&self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) {
        let mut reported = 0;
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                if state.closed {
                    return;
                }
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let batch = std::mem::take(&mut state.waiting);
            drop(state);
            for entry in &batch {
                // What is being written still counts as waiting.
                if sink(entry).is_err() {
                    self.drop_one();
                }
                let mut state = self.lock();
                state.bytes = state.bytes.saturating_sub(entry.len());
                state.done = state.done.saturating_add(1);
                drop(state);
                self.written.notify_all();
            }
            // Not of what the sink refused: it would refuse this, too, and so on for ever.
            let overflown = self.overflown.load(Ordering::Relaxed);
            if overflown > reported {
                let lines = overflown.saturating_sub(reported);
                tracing::warn!(
                    lines,
                    "log lines were left out: they came faster than they were read"
                );
                reported = overflown;
            }
        }
    }
}

struct Entry(Queue);

impl io::Write for Entry {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.0.push(entry);
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A queue whose sink waits for a permit before each entry, and what it has taken.
    fn gated(ahead: usize) -> (Queue, Dropped, mpsc::Sender<()>, mpsc::Receiver<String>) {
        let (permit, permits) = mpsc::channel();
        let (taken, entries) = mpsc::channel();
        let dropped = Dropped::default();
        let queue = Queue::bounded("test", dropped.clone(), ahead, move |entry| {
            permits.recv().map_err(io::Error::other)?;
            taken.send(String::from_utf8_lossy(entry).into_owned()).map_err(io::Error::other)
        });
        (queue.unwrap(), dropped, permit, entries)
    }

    #[test]
    fn a_sink_that_is_stuck_costs_lines_and_no_time() {
        let (queue, dropped, permit, entries) = gated(10);
        for n in 0..100 {
            queue.push(format!("{n:02}\n").as_bytes());
        }
        assert_eq!(dropped.count(), 97);
        assert!(!queue.flush(Duration::from_millis(1)));
        for _ in 0..3 {
            permit.send(()).unwrap();
        }
        assert!(queue.flush(SOON));
        assert_eq!(entries.try_iter().collect::<Vec<_>>(), ["00\n", "01\n", "02\n"]);
        permit.send(()).unwrap();
        queue.push(b"on");
        assert!(queue.flush(SOON));
        assert_eq!(entries.try_iter().collect::<Vec<_>>(), ["on"]);
    }

    #[test]
    fn an_entry_longer_than_the_queue_is_whole() {
        let (queue, dropped, permit, entries) = gated(3);
        permit.send(()).unwrap();
        queue.push(b"longer than three");
        assert!(queue.flush(SOON));
        assert_eq!((entries.recv().unwrap().as_str(), dropped.count()), ("longer than three", 0));
    }

    #[test]
    fn what_its_sink_refuses_is_counted() {
        let dropped = Dropped::default();
        let refuse = |_: &[u8]| Err(io::ErrorKind::StorageFull.into());
        let queue = Queue::start("test", dropped.clone(), refuse).unwrap();
        queue.push(b"x");
        assert!(queue.flush(SOON));
        assert_eq!(dropped.count(), 1);
    }

    #[test]
    fn what_is_in_it_is_written_after_its_last_writer_is_gone() {
        let (queue, _, permit, entries) = gated(100);
        queue.push(b"a");
        queue.push(b"b");
        drop(queue);
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        assert_eq!(entries.iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}

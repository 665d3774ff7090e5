use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::domain::{Error, Result};
use crate::store::{Blob, PartialBlob, PartialHash, StoreError};

/// After so many bytes, or so long, what was written is made safe against a crash. The steps double
/// from the first to the largest: who is killed early keeps most of what came, and that costs a
/// layer four syncs more than even steps would, beside the writing.
const FIRST_CHECKPOINT: u64 = 4 << 20;
const CHECKPOINT_BYTES: u64 = 64 << 20;
const CHECKPOINT_AFTER: Duration = Duration::from_secs(5);
/// A hasher that is further behind reads from the disk (from the page cache, that is) what it
/// missed, instead of keeping those who bring bytes waiting.
const MAX_LAG: u64 = 32 << 20;
/// What the smallest piece counts for: a server that sends single bytes must not fill the memory
/// with what surrounds them.
const SMALLEST_CHARGE: usize = 4 << 10;

/// Where the bytes of one layer go: a thread that writes them, and one that hashes them meanwhile.
/// Dropped without [`Sink::commit`], what came is kept for another time.
pub(super) struct Sink {
    /// Unbounded by itself; every piece in it holds its share of `room`.
    sender: Sender<Message>,
    room: Arc<Semaphore>,
    capacity: usize,
}

/// What became of the layer, when its threads are done with it.
pub(super) type Outcome = oneshot::Receiver<std::result::Result<Ended, StoreError>>;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Verified and visible.
    Stored(Blob),
    /// Kept for another time, or thrown away as asked.
    Put,
}

enum Message {
    Piece(Piece),
    Commit,
    Discard,
}

struct Piece {
    offset: u64,
    bytes: Bytes,
    room: Arc<OwnedSemaphorePermit>,
}

/// The threads of a layer are gone; its outcome says why.
#[derive(Debug)]
pub(super) struct Gone;

impl Sink {
    /// `room` has `capacity` permits, one for each byte that may be in memory.
    pub(super) fn start(
        partial: PartialBlob,
        room: Arc<Semaphore>,
        capacity: usize,
    ) -> Result<(Self, Outcome)> {
        let (sender, messages) = mpsc::channel();
        let (tell, outcome) = oneshot::channel();
        Builder::new()
            .name("pull-write".into())
            .spawn(move || {
                let ended = Writer::run(Arc::new(partial), &messages);
                if let Err(Err(error)) = tell.send(ended) {
                    tracing::warn!(%error, "an interrupted download could not be kept");
                }
            })
            .map_err(Error::internal)?;
        Ok((Self { sender, room, capacity }, outcome))
    }

    /// Hands bytes over; waits while too many are in memory.
    pub(super) async fn write(&self, offset: u64, bytes: Bytes) -> std::result::Result<(), Gone> {
        let charge = bytes.len().max(SMALLEST_CHARGE).min(self.capacity);
        let charge = u32::try_from(charge).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(charge).await.map_err(|_| Gone)?;
        let piece = Piece { offset, bytes, room: Arc::new(room) };
        self.sender.send(Message::Piece(piece)).map_err(|_| Gone)
    }

    /// Everything came: verify it and make it visible.
    pub(super) fn commit(self) {
        // A thread that is gone has said why.
        let _ = self.sender.send(Message::Commit);
    }

    /// Nothing that came is worth keeping.
    pub(super) fn discard(self) {
        let _ = self.sender.send(Message::Discard);
    }
}

/// The writing thread.
struct Writer {
    partial: Arc<PartialBlob>,
    hasher: Hasher,
    /// Up to where the hasher was told to go.
    queued: u64,
    saver: Saver,
}

impl Writer {
    fn run(
        partial: Arc<PartialBlob>,
        messages: &Receiver<Message>,
    ) -> std::result::Result<Ended, StoreError> {
        let hasher = Hasher::start(&partial)?;
        let saver = Saver::new(partial.have());
        let mut writer = Self { partial: Arc::clone(&partial), hasher, queued: 0, saver };
        let command = writer.take(messages);
        let Self { hasher, saver, .. } = writer;
        let saved = saver.finish();
        match command {
            Ok(Some(Message::Commit)) => {
                let hash = hasher.finish(partial.prefix())?;
                saved?;
                Ok(Ended::Stored(partial.commit(hash)?))
            }
            Ok(Some(_)) => {
                hasher.abandon();
                partial.discard();
                Ok(Ended::Put)
            }
            Ok(None) => {
                hasher.abandon();
                saved?;
                partial.pause()?;
                Ok(Ended::Put)
            }
            Err(error) => {
                hasher.abandon();
                // What was written before the failure is still good, unless a sync failed.
                if saved.is_ok()
                    && let Err(error) = partial.pause()
                {
                    tracing::warn!(%error, "an interrupted download could not be kept");
                }
                Err(error)
            }
        }
    }

    /// Writes what comes; answers with how it is to end.
    fn take(
        &mut self,
        messages: &Receiver<Message>,
    ) -> std::result::Result<Option<Message>, StoreError> {
        loop {
            self.read_back();
            match messages.recv_timeout(CHECKPOINT_AFTER) {
                Ok(Message::Piece(piece)) => self.write(piece)?,
                Ok(command) => return Ok(Some(command)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
            self.saver.look(&self.partial)?;
        }
    }

    fn write(&mut self, piece: Piece) -> std::result::Result<(), StoreError> {
        let Piece { offset, bytes, room } = piece;
        // The hasher first, so that both work at once. If the write fails, nothing comes of it.
        if offset == self.queued && self.hasher.lag(self.queued) < MAX_LAG {
            self.queued = self.queued.saturating_add(bytes.len() as u64);
            self.hasher.send(Job::Bytes { bytes: bytes.clone(), _room: Arc::clone(&room) });
        }
        self.partial.write_at(offset, &bytes)
    }

    /// Lets the hasher catch up with what it was not given.
    fn read_back(&mut self) {
        let prefix = self.partial.prefix();
        if self.queued < prefix && self.hasher.lag(self.queued) < MAX_LAG {
            self.hasher.send(Job::ReadBack { end: prefix });
            self.queued = prefix;
        }
    }
}

enum Job {
    /// The next bytes; they hold their share of the room until they are hashed.
    Bytes {
        bytes: Bytes,
        _room: Arc<OwnedSemaphorePermit>,
    },
    ReadBack {
        end: u64,
    },
}

/// The hashing thread, as the writing one sees it.
struct Hasher {
    jobs: SyncSender<Job>,
    progress: Arc<Progress>,
    thread: JoinHandle<std::result::Result<PartialHash, StoreError>>,
}

#[derive(Default)]
struct Progress {
    position: AtomicU64,
    abandoned: AtomicBool,
}

impl Hasher {
    fn start(partial: &Arc<PartialBlob>) -> std::result::Result<Self, StoreError> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(256);
        let progress = Arc::<Progress>::default();
        let (seen, partial) = (Arc::clone(&progress), Arc::clone(partial));
        let path = "the hashing thread";
        let thread = Builder::new()
            .name("pull-hash".into())
            .spawn(move || {
                let mut hash = partial.hash();
                for job in queue {
                    match job {
                        Job::Bytes { bytes, .. } => hash.update(&bytes),
                        Job::ReadBack { end } => hash.read_back(&partial, end, |position| {
                            seen.position.store(position, Ordering::Relaxed);
                            !seen.abandoned.load(Ordering::Relaxed)
                        })?,
                    }
                    seen.position.store(hash.position(), Ordering::Relaxed);
                }
                Ok(hash)
            })
            .map_err(|source| StoreError::Io { action: "start", path: path.into(), source })?;
        Ok(Self { jobs, progress, thread })
    }

    fn lag(&self, queued: u64) -> u64 {
        queued.saturating_sub(self.progress.position.load(Ordering::Relaxed))
    }

    fn send(&self, job: Job) {
        // A thread that failed says so at the end.
        let _ = self.jobs.send(job);
    }

    fn finish(self, end: u64) -> std::result::Result<PartialHash, StoreError> {
        self.send(Job::ReadBack { end });
        drop(self.jobs);
        join(self.thread)
    }

    fn abandon(self) {
        self.progress.abandoned.store(true, Ordering::Relaxed);
        drop(self.jobs);
        let _ = join(self.thread);
    }
}

/// Makes checkpoints beside the writing.
struct Saver {
    saved: u64,
    /// How many bytes after the last checkpoint the next one is due.
    step: u64,
    at: Instant,
    running: Option<JoinHandle<std::result::Result<(), StoreError>>>,
}

impl Saver {
    fn new(saved: u64) -> Self {
        Self { saved, step: FIRST_CHECKPOINT, at: Instant::now(), running: None }
    }

    fn look(&mut self, partial: &Arc<PartialBlob>) -> std::result::Result<(), StoreError> {
        match self.running.take() {
            Some(thread) if thread.is_finished() => join(thread)?,
            Some(thread) => self.running = Some(thread),
            None => {
                let have = partial.have();
                let due = have.saturating_sub(self.saved) >= self.step
                    || (have > self.saved && self.at.elapsed() >= CHECKPOINT_AFTER);
                if due {
                    (self.saved, self.at) = (have, Instant::now());
                    self.step = self.step.saturating_mul(2).min(CHECKPOINT_BYTES);
                    let partial = Arc::clone(partial);
                    let started =
                        Builder::new().name("pull-save".into()).spawn(move || partial.checkpoint());
                    // Without a thread there will be another time.
                    self.running = started.ok();
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> std::result::Result<(), StoreError> {
        self.running.map_or(Ok(()), join)
    }
}

fn join<T>(
    thread: JoinHandle<std::result::Result<T, StoreError>>,
) -> std::result::Result<T, StoreError> {
    thread.join().unwrap_or_else(|_| {
        let source = std::io::Error::other("a thread of the download panicked");
        Err(StoreError::Io { action: "finish", path: "the download".into(), source })
    })
}

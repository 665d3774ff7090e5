use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::{LayerProgress, TransferEvent};
use crate::registry::Descriptor;

/// Who hears what a pull does.
pub(super) type Events<'a> = &'a (dyn Fn(TransferEvent) + Send + Sync);

const EVERY: Duration = Duration::from_millis(100);
const EVERY_BYTES: u64 = 1 << 20;

/// Tells how far one layer is: not too often, never backwards, and `size` only at the very end.
pub(super) struct Meter<'a> {
    events: Events<'a>,
    blob: Descriptor,
    /// For those who wait for the same blob.
    current: &'a watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: u64,
    shown: Option<(u64, Instant)>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(
        events: Events<'a>,
        blob: Descriptor,
        current: &'a watch::Sender<u64>,
    ) -> Self {
        Self { events, blob, current, state: Mutex::default() }
    }

    pub(super) fn status(&self, text: String) {
        (self.events)(TransferEvent::Status(text));
    }

    /// Further bytes came.
    pub(super) fn add(&self, bytes: u64) {
        let current = {
            let mut state = self.lock();
            state.current = state.current.saturating_add(bytes);
            state.current
        };
        // Verified and stored is more than received.
        let current = current.min(self.blob.size.saturating_sub(1));
        self.current.send_replace(current);
        self.show(current);
    }

    /// Somebody else is this far.
    pub(super) fn follow(&self, current: u64) {
        let current = current.min(self.blob.size.saturating_sub(1));
        self.lock().current = current;
        if self.lock().shown.is_none_or(|(shown, _)| shown < current) {
            self.show(current);
        }
    }

    /// An attempt begins with this many bytes. Fewer than were shown: they turned out to be wrong.
    pub(super) fn begin(&self, current: u64) {
        *self.lock() = State { current, shown: None };
        self.current.send_replace(current);
        if current > 0 {
            self.show(current.min(self.blob.size.saturating_sub(1)));
        }
    }

    /// The blob is verified and stored.
    pub(super) fn complete(&self) {
        self.emit(self.blob.size);
    }

    fn show(&self, current: u64) {
        let now = Instant::now();
        let due = self.lock().shown.is_none_or(|(bytes, at)| {
            now.duration_since(at) >= EVERY || current.saturating_sub(bytes) >= EVERY_BYTES
        });
        if due {
            self.lock().shown = Some((current, now));
            self.emit(current);
        }
    }

    fn emit(&self, current: u64) {
        let Self { blob, .. } = self;
        (self.events)(TransferEvent::Layer(LayerProgress {
            layer: blob.digest,
            size: blob.size,
            current,
        }));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::Digest;

use super::open::Inner;

/// Which files are in use, and which of them are to go once they are not.
#[derive(Default)]
pub(super) struct Leases {
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) counts: HashMap<Digest, usize>,
    pub(super) doomed: HashSet<Digest>,
}

impl Leases {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the tables whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_leased(&self, digest: &Digest) -> bool {
        self.lock().counts.contains_key(digest)
    }
}

/// Keeps files in the store: while it lives none of them is deleted, whatever is removed from the
/// index. What was removed meanwhile goes when the last lease on it does.
pub struct Lease {
    inner: Arc<Inner>,
    digests: Vec<Digest>,
}

impl Lease {
    pub(super) fn new(inner: &Arc<Inner>, digests: Vec<Digest>) -> Self {
        let mut state = inner.leases.lock();
        for digest in &digests {
            *state.counts.entry(*digest).or_default() += 1;
        }
        drop(state);
        Self { inner: Arc::clone(inner), digests }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lease").field(&self.digests).finish()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.inner.leases.lock();
        let mut sweep = false;
        for digest in &self.digests {
            if let Some(count) = state.counts.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.counts.remove(digest);
                    sweep |= state.doomed.contains(digest);
                }
            }
        }
        drop(state);
        if sweep {
            // Leases end on threads that must not wait for a disk.
            let inner = Arc::clone(&self.inner);
            let spawned = std::thread::Builder::new()
                .name("store-sweep".into())
                .spawn(move || inner.sweep_logged());
            if let Err(error) = spawned {
                tracing::warn!(%error, "removed files stay until the next removal");
            }
        }
    }
}

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::Extensions;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::api::PeerInfo;
use crate::api::bearer::Bearer;
use crate::domain::{Error, ErrorKind, Result};

use super::record::Record;

/// Responses that run without a reader at once.
const MAX_BACKGROUND: usize = 16;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// Since it was last of use.
    pub(super) age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { count: 1_000, bytes: 64 << 20, age: Duration::from_secs(3_600) }
    }
}

/// Whose response it is: the user on the Unix socket, whatever program of theirs asks; the token
/// or else the address on TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::responses) struct Owner(Arc<str>);

impl Owner {
    pub(in crate::api::responses) fn of(extensions: &Extensions) -> Self {
        if let Some(Bearer::Valid(token)) = extensions.get() {
            return Self(format!("token:{}", token.id).into());
        }
        let whole = match extensions.get::<PeerInfo>() {
            // Every command of a shell is a process group of its own.
            Some(PeerInfo::Unix { uid, .. }) => PeerInfo::Unix { uid: *uid, pgid: None },
            Some(tcp @ PeerInfo::Tcp { .. }) => *tcp,
            None => return Self("unknown".into()),
        };
        Self(whole.client_key().0)
    }
}

/// The responses of this daemon; cheap to clone. What was not of use for longest goes first;
/// responses that still run do not count as unused.
#[derive(Debug, Clone)]
pub(in crate::api) struct ResponseStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    kept: Mutex<Kept>,
    background: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    /// The ids by the time of their last use.
    by_use: BTreeMap<u64, String>,
    uses: u64,
    bytes: usize,
    sweeping: bool,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    record: Arc<Record>,
    bytes: usize,
    /// Its key in `by_use`.
    order: u64,
    used: Instant,
}

impl Default for ResponseStore {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl ResponseStore {
    pub(super) fn new(bounds: Bounds) -> Self {
        let background = Arc::new(Semaphore::new(MAX_BACKGROUND));
        Self { shared: Arc::new(Shared { bounds, kept: Mutex::default(), background }) }
    }

    /// Keeps a response. One that alone is over the bounds is not kept.
    pub(in crate::api::responses) fn insert(&self, owner: Owner, record: Arc<Record>) {
        let Bounds { count, bytes: limit, .. } = self.shared.bounds;
        let bytes = record.bytes();
        if bytes > limit || count == 0 {
            tracing::debug!(bytes, "a response is too large to be kept");
            return;
        }
        let mut kept = self.shared.kept();
        let id = record.id();
        kept.remove(&id);
        let entry = Entry { owner, record, bytes, order: 0, used: Instant::now() };
        kept.bytes = kept.bytes.saturating_add(bytes);
        kept.entries.insert(id.clone(), entry);
        kept.touch(&id);
        kept.shrink(self.shared.bounds);
        if !kept.sweeping {
            kept.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(&self.shared)));
        }
    }

    /// Counts a response anew once it is final.
    pub(in crate::api::responses) fn settle(&self, record: &Record) {
        let bytes = record.bytes();
        let mut kept = self.shared.kept();
        let id = record.id();
        if let Some(entry) = kept.entries.get_mut(&id) {
            let before = std::mem::replace(&mut entry.bytes, bytes);
            kept.bytes = kept.bytes.saturating_sub(before).saturating_add(bytes);
            kept.touch(&id);
            kept.shrink(self.shared.bounds);
        }
    }

    /// A response of this client.
    ///
    /// # Errors
    /// `NotFound`, whether it is gone or another's; `param` names the field or path that named it.
    pub(in crate::api::responses) fn get(
        &self,
        owner: &Owner,
        id: &str,
        param: &str,
    ) -> Result<Arc<Record>> {
        let mut kept = self.shared.kept();
        kept.expire(self.shared.bounds.age);
        let entry = kept.entries.get(id).filter(|entry| entry.owner == *owner);
        let Some(record) = entry.map(|entry| Arc::clone(&entry.record)) else {
            return Err(not_found(id, param));
        };
        kept.touch(id);
        Ok(record)
    }

    /// Forgets a response of this client, and ends it if it runs.
    ///
    /// # Errors
    /// As [`ResponseStore::get`].
    pub(in crate::api::responses) fn delete(&self, owner: &Owner, id: &str) -> Result<()> {
        let record = self.get(owner, id, "response_id")?;
        self.shared.kept().remove(id);
        record.cancel();
        Ok(())
    }

    /// All items of a response and of those that it continues, the oldest first.
    ///
    /// # Errors
    /// `NotFound` if one of them is gone, `Conflict` if the last one still runs.
    pub(in crate::api::responses) fn conversation(
        &self,
        owner: &Owner,
        id: &str,
    ) -> Result<Vec<Value>> {
        const PARAM: &str = "previous_response_id";
        let mut chain = vec![self.get(owner, id, PARAM)?];
        if chain.iter().any(|record| !record.is_final()) {
            let message = "the response still runs; wait until it is complete or cancel it";
            return Err(Error::new(ErrorKind::Conflict, message).with_param(PARAM));
        }
        while let Some(previous) = chain.last().and_then(|record| record.previous()) {
            if chain.len() > self.shared.bounds.count {
                break;
            }
            chain.push(self.get(owner, &previous, PARAM)?);
        }
        let mut items = Vec::new();
        for record in chain.iter().rev() {
            items.extend_from_slice(record.input());
            items.extend(record.output()?);
        }
        Ok(items)
    }

    /// An item of any response of this client.
    pub(in crate::api::responses) fn item(&self, owner: &Owner, id: &str) -> Option<Value> {
        let mut kept = self.shared.kept();
        kept.expire(self.shared.bounds.age);
        let mut own = kept.entries.values().filter(|entry| entry.owner == *owner);
        own.find_map(|entry| entry.record.item(id))
    }

    /// Whether nothing is kept that somebody could still ask for.
    pub(in crate::api) fn is_empty(&self) -> bool {
        let mut kept = self.shared.kept();
        kept.expire(self.shared.bounds.age);
        kept.entries.is_empty()
    }

    /// A place for a response that runs without a reader.
    ///
    /// # Errors
    /// `QueueFull` if there is none.
    pub(in crate::api::responses) fn background(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.background).try_acquire_owned().map_err(|_| {
            let message = format!(
                "{MAX_BACKGROUND} responses run in the background already; wait for one to finish \
                 or cancel one"
            );
            Error::new(ErrorKind::QueueFull, message).with_retry_after(Duration::from_secs(5))
        })
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        let kept = self.shared.kept();
        assert_eq!(kept.bytes, kept.entries.values().map(|entry| entry.bytes).sum::<usize>());
        assert_eq!(kept.by_use.len(), kept.entries.len());
        (kept.entries.len(), kept.bytes)
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn touch(&mut self, id: &str) {
        self.uses = self.uses.saturating_add(1);
        if let Some(entry) = self.entries.get_mut(id) {
            self.by_use.remove(&entry.order);
            entry.order = self.uses;
            entry.used = Instant::now();
            self.by_use.insert(self.uses, id.to_owned());
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(entry) = self.entries.remove(id) {
            self.by_use.remove(&entry.order);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    /// The entries that may go, the one that was not of use for longest first.
    fn idle(&self) -> impl Iterator<Item = (&String, &Entry)> {
        let entries = self.by_use.values().filter_map(|id| self.entries.get_key_value(id));
        entries.filter(|(_, entry)| entry.record.is_final())
    }

    fn shrink(&mut self, bounds: Bounds) {
        self.expire(bounds.age);
        while self.entries.len() > bounds.count || self.bytes > bounds.bytes {
            let oldest = self.idle().next().map(|(id, _)| id.clone());
            let Some(id) = oldest else { return };
            self.remove(&id);
        }
    }

    fn expire(&mut self, age: Duration) {
        loop {
            let oldest = self.idle().next().filter(|(_, entry)| entry.used.elapsed() >= age);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
            self.remove(&id);
        }
    }
}

/// Frees what has aged, also while nobody asks, until there is nothing left.
async fn sweep(shared: Weak<Shared>) {
    loop {
        let next = {
            let Some(shared) = shared.upgrade() else { return };
            let age = shared.bounds.age;
            let mut kept = shared.kept();
            kept.expire(age);
            if kept.entries.is_empty() {
                kept.sweeping = false;
                return;
            }
            // Those that run are looked at again after a whole life.
            let oldest = kept.idle().next().map_or_else(Instant::now, |(_, entry)| entry.used);
            oldest.checked_add(age)
        };
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

fn not_found(id: &str, param: &str) -> Error {
    let id: String = id.chars().take(128).collect();
    let message = format!(
        "there is no response {id:?}; responses are kept in memory for a while, unless `store` is \
         false, and only for the client that made them"
    );
    Error::new(ErrorKind::NotFound, message).with_param(param)
}

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::domain::ModelRef;

use super::Record;

/// Records of one model.
const PER_MODEL: usize = 10;
/// Of all models together.
const MAX_RECORDS: usize = 512;
/// Bytes of all records together.
const MAX_BYTES: usize = 32 << 20;
/// Records that a follower may be behind before it loses some.
const AHEAD: usize = 128;

/// The last records; cheap to clone. They are forgotten when the daemon ends.
#[derive(Clone)]
pub(in crate::api) struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    kept: Mutex<Kept>,
    live: broadcast::Sender<Arc<Record>>,
}

#[derive(Default)]
struct Kept {
    /// In the order in which they ended.
    records: VecDeque<Arc<Record>>,
    bytes: usize,
}

/// News for a follower.
#[derive(Debug)]
pub(in crate::api) enum Follow {
    New(Arc<Record>),
    /// So many came faster than they were read.
    Lost(u64),
}

impl Default for Recorder {
    fn default() -> Self {
        let inner = Inner { kept: Mutex::default(), live: broadcast::Sender::new(AHEAD) };
        Self { inner: Arc::new(inner) }
    }
}

impl Recorder {
    /// Keeps a record, and forgets the oldest where there are too many.
    pub(super) fn keep(&self, record: Record) {
        let record = Arc::new(record);
        let mut kept = self.lock();
        let name = canonical(&record.model);
        let same = |other: &Arc<Record>| canonical(&other.model) == name;
        if kept.records.iter().filter(|other| same(other)).count() >= PER_MODEL
            && let Some(oldest) = kept.records.iter().position(same)
        {
            kept.forget(oldest);
        }
        kept.bytes = kept.bytes.saturating_add(record.bytes());
        kept.records.push_back(Arc::clone(&record));
        while kept.bytes > MAX_BYTES || kept.records.len() > MAX_RECORDS {
            kept.forget(0);
        }
        // Under the lock, so that who begins to follow sees each record once.
        let _ = self.inner.live.send(record);
    }

    /// The records there are, oldest first.
    pub(in crate::api) fn all(&self) -> Vec<Arc<Record>> {
        self.lock().records.iter().cloned().collect()
    }

    /// The records there are, and those to come.
    pub(in crate::api) fn follow(&self) -> (Vec<Arc<Record>>, Follower) {
        let kept = self.lock();
        (kept.records.iter().cloned().collect(), Follower(self.inner.live.subscribe()))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget(&mut self, index: usize) {
        if let Some(record) = self.records.remove(index) {
            self.bytes = self.bytes.saturating_sub(record.bytes());
        }
    }
}

/// Hears of every new record.
pub(in crate::api) struct Follower(broadcast::Receiver<Arc<Record>>);

impl Follower {
    /// The next one; `None`: nobody records any more. May be dropped and called again.
    pub(in crate::api) async fn next(&mut self) -> Option<Follow> {
        match self.0.recv().await {
            Ok(record) => Some(Follow::New(record)),
            Err(RecvError::Lagged(count)) => Some(Follow::Lost(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// One spelling for all of a name.
fn canonical(name: &str) -> String {
    ModelRef::parse(name).map_or_else(|_| name.to_owned(), |name| name.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn record(model: &str, request: String) -> Record {
        Record {
            model: model.to_owned(),
            method: "POST".to_owned(),
            path: "/".to_owned(),
            request,
            response: String::new(),
            status: 200,
            user_agent: String::new(),
            origin: String::new(),
            begun: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn ten_of_each_model_stay() {
        let recorder = Recorder::default();
        for n in 0..13 {
            // One model, whatever it is called.
            let name = if n % 2 == 0 { "ai/a" } else { "docker.io/ai/a:latest" };
            recorder.keep(record(name, n.to_string()));
        }
        recorder.keep(record("ai/b", "b".to_owned()));
        let kept: Vec<String> = recorder.all().iter().map(|r| r.request.clone()).collect();
        assert_eq!(kept, ["3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "b"]);
    }

    #[test]
    fn all_together_are_bounded() {
        let recorder = Recorder::default();
        for n in 0..100 {
            recorder.keep(record(&format!("ai/m{n}"), "x".repeat(1 << 20)));
        }
        let kept = recorder.all();
        let bytes: usize = kept.iter().map(|r| r.bytes()).sum();
        assert!(bytes <= MAX_BYTES && kept.len() == 31, "{bytes} {}", kept.len());
        assert_eq!(kept.last().map(|r| r.model.as_str()), Some("ai/m99"));
        for n in 0..MAX_RECORDS + 9 {
            recorder.keep(record(&format!("ai/n{n}"), String::new()));
        }
        assert_eq!(recorder.all().len(), MAX_RECORDS);
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_what_it_lost() {
        let recorder = Recorder::default();
        let (_, mut follower) = recorder.follow();
        for n in 0..AHEAD + 5 {
            recorder.keep(record("m", n.to_string()));
        }
        assert!(matches!(follower.next().await, Some(Follow::Lost(5))));
        let Some(Follow::New(first)) = follower.next().await else { panic!("a record") };
        assert_eq!(first.request, "5");
    }
}

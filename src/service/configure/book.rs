use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{Digest, Error, ErrorKind, KeepAlive, Result};
use crate::files;
use crate::protocol::Purpose;

use super::{ALL_CONTEXT, Configuration, InForce, Settings};

/// The file's name, beside the models.
const FILE: &str = "configurations.json";
/// What becomes of one that cannot be read.
const ASIDE: &str = "configurations.json.damaged";
/// Raised when older programs would misread it.
const VERSION: u32 = 1;
/// The largest file that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Everything that is configured, in memory and in a file that is replaced as a whole; cheap to
/// clone.
#[derive(Clone)]
pub(in crate::service) struct Book {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    known: Mutex<Known>,
    /// One change at a time, from what it is based on until it is on the disk.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    entries: Entries,
    /// How often the load of any model has changed since the start.
    revision: u64,
    revisions: BTreeMap<Digest, u64>,
}

type Entries = BTreeMap<(Digest, Mode), Entry>;

#[derive(Clone)]
struct Entry {
    configuration: Configuration,
    settings: Arc<Settings>,
}

/// A [`Purpose`] as the file spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Completion,
    Embedding,
    Reranking,
}

#[derive(Serialize, Deserialize)]
struct WireBook {
    version: u32,
    models: Vec<WireEntry>,
}

#[derive(Serialize, Deserialize)]
struct WireEntry {
    model: String,
    mode: Mode,
    /// -1: all that the model has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context_size: Option<i64>,
    /// In milliseconds; -1: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_alive_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning_budget: Option<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    flags: Vec<String>,
}

impl Book {
    /// What is configured according to the file in `dir`. One that is damaged is put aside, and
    /// what can be read of it counts. Blocks.
    pub(in crate::service) fn open(dir: &Path) -> Self {
        let known = Known { entries: read(dir), ..Known::default() };
        let (dir, known) = (dir.to_owned(), Mutex::new(known));
        Self { inner: Arc::new(Inner { dir, known, changing: tokio::sync::Mutex::default() }) }
    }

    /// What counts for a model.
    pub(in crate::service) fn in_force(&self, model: Digest, purpose: Purpose) -> InForce {
        let known = self.inner.known();
        let revision = known.revisions.get(&model).copied().unwrap_or(0);
        let Some(entry) = known.entries.get(&(model, purpose.into())) else {
            return InForce { revision, ..InForce::default() };
        };
        let keep_alive = entry.configuration.keep_alive;
        InForce { settings: Arc::clone(&entry.settings), keep_alive, revision }
    }

    /// What was said of a model.
    pub(super) fn configuration(&self, model: Digest, purpose: Purpose) -> Configuration {
        let known = self.inner.known();
        let entry = known.entries.get(&(model, purpose.into()));
        entry.map(|entry| entry.configuration.clone()).unwrap_or_default()
    }

    /// Everything that was said.
    pub(super) fn all(&self) -> Vec<(Digest, Purpose, Configuration)> {
        let known = self.inner.known();
        let entries = known.entries.iter();
        entries.map(|((id, mode), e)| (*id, (*mode).into(), e.configuration.clone())).collect()
    }

    /// Keeps others from changing anything meanwhile.
    pub(super) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.changing.lock().await
    }

    /// Says something else of a model; it counts once it is on the disk.
    ///
    /// # Errors
    /// `DiskFull`, `Internal`, and then nothing has changed.
    pub(super) async fn set(
        &self,
        _changing: &tokio::sync::MutexGuard<'_, ()>,
        (model, purpose): (Digest, Purpose),
        configuration: Configuration,
        settings: Settings,
    ) -> Result<()> {
        let key = (model, purpose.into());
        let mut entries = self.inner.known().entries.clone();
        let before = entries.get(&key).map(|entry| Arc::clone(&entry.settings)).unwrap_or_default();
        let loads_anew = settings.load_differs(&before);
        if configuration == Configuration::default() {
            entries.remove(&key);
        } else {
            entries.insert(key, Entry { configuration, settings: Arc::new(settings) });
        }
        self.write(&entries).await?;
        let mut known = self.inner.known();
        known.entries = entries;
        if loads_anew {
            known.revision = known.revision.saturating_add(1);
            let revision = known.revision;
            known.revisions.insert(model, revision);
        }
        Ok(())
    }

    /// Forgets models that are gone.
    pub(in crate::service) async fn forget(&self, gone: impl Fn(Digest) -> bool) {
        let _changing = self.changing().await;
        let before = self.inner.known().entries.clone();
        let mut entries = before.clone();
        entries.retain(|(model, _), _| !gone(*model));
        if entries.len() == before.len() {
            return;
        }
        // The deletion is done, so this is no failure of it; no model has that id any more.
        if let Err(error) = self.write(&entries).await {
            tracing::warn!(%error, cause = error.cause, "configurations could not be written");
        }
        self.inner.known().entries = entries;
    }

    async fn write(&self, entries: &Entries) -> Result<()> {
        let models = entries.iter().map(WireEntry::from).collect();
        let book = WireBook { version: VERSION, models };
        let bytes = serde_json::to_vec_pretty(&book).map_err(Error::internal)?;
        let dir = self.inner.dir.clone();
        let written =
            tokio::task::spawn_blocking(move || files::replace(&dir.join(FILE), &bytes, 0o600))
                .await;
        written.map_err(Error::internal)?.map_err(|fault| {
            let path = self.inner.dir.join(FILE);
            let message = format!("{} cannot be written: {fault}", path.display());
            match fault.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Error::new(ErrorKind::DiskFull, message)
                }
                _ => Error::internal(message),
            }
        })
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(dir: &Path) -> Entries {
    let path = dir.join(FILE);
    let (entries, fault) = match text(&path).map(|text| text.map(|text| parse(&text))) {
        Ok(None) => return Entries::new(),
        Ok(Some(Ok((entries, None)))) => return entries,
        Ok(Some(Ok((entries, Some(fault))))) => (entries, fault),
        Ok(Some(Err(fault))) => (Entries::new(), fault),
        Err(fault) => (Entries::new(), fault.to_string()),
    };
    let aside = dir.join(ASIDE);
    let kept = std::fs::rename(&path, &aside).map(|()| aside.display().to_string());
    let kept = kept.unwrap_or_else(|fault| format!("nowhere: {fault}"));
    let left = entries.len();
    if !entries.is_empty() {
        // Or the next start would find none of them.
        let models = entries.iter().map(WireEntry::from).collect();
        let written = serde_json::to_vec_pretty(&WireBook { version: VERSION, models });
        if let Err(fault) =
            written.map_err(io::Error::other).and_then(|text| files::replace(&path, &text, 0o600))
        {
            tracing::warn!(%fault, "the configurations that are left could not be written");
        }
    }
    tracing::warn!(path = %path.display(), fault, kept, left, "damaged configurations are put aside");
    entries
}

fn text(path: &Path) -> io::Result<Option<String>> {
    match files::read_regular(path, MAX_BYTES) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(io::Error::other),
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// What a file says, and what is wrong with the rest of it.
fn parse(text: &str) -> std::result::Result<(Entries, Option<String>), String> {
    #[derive(Deserialize)]
    struct Loose {
        version: u32,
        models: Vec<serde_json::Value>,
    }
    let loose: Loose = serde_json::from_str(text).map_err(|fault| fault.to_string())?;
    let Loose { version, models } = loose;
    if version != VERSION {
        return Err(format!("it has version {version}, not {VERSION}"));
    }
    let (mut entries, mut fault) = (Entries::new(), None);
    for value in models {
        let name = value.get("model").and_then(serde_json::Value::as_str);
        let name = name.unwrap_or("an entry").to_owned();
        let wire = serde_json::from_value::<WireEntry>(value).map_err(|fault| fault.to_string());
        match wire.and_then(WireEntry::read) {
            Ok((key, entry)) => drop(entries.insert(key, entry)),
            Err(wrong) => fault = Some(format!("{name}: {wrong}")),
        }
    }
    Ok((entries, fault))
}

impl WireEntry {
    fn read(self) -> std::result::Result<((Digest, Mode), Entry), String> {
        let Self { model, mode, context_size, keep_alive_ms, reasoning_budget, flags } = self;
        let id = model.parse::<Digest>().map_err(|fault| fault.to_string())?;
        let context = context_size.map(|tokens| u32::try_from(tokens).unwrap_or(ALL_CONTEXT));
        let keep_alive = keep_alive_ms.map(|ms| match u64::try_from(ms) {
            Ok(ms) => KeepAlive::For(Duration::from_millis(ms)),
            Err(_) => KeepAlive::Forever,
        });
        let configuration = Configuration { context, keep_alive, reasoning_budget, flags };
        let settings = Settings::of(&configuration).map_err(|fault| fault.message)?;
        Ok(((id, mode), Entry { configuration, settings: Arc::new(settings) }))
    }
}

impl From<(&(Digest, Mode), &Entry)> for WireEntry {
    fn from(((model, mode), entry): (&(Digest, Mode), &Entry)) -> Self {
        let Configuration { context, keep_alive, reasoning_budget, flags } = &entry.configuration;
        let tokens = |tokens: u32| if tokens == ALL_CONTEXT { -1 } else { i64::from(tokens) };
        let millis = |keep_alive| match keep_alive {
            // Up, or less than one would be none.
            KeepAlive::For(time) => {
                Duration::as_nanos(&time).div_ceil(1_000_000).try_into().unwrap_or(i64::MAX)
            }
            KeepAlive::Forever => -1,
        };
        Self {
            model: model.to_string(),
            mode: *mode,
            context_size: context.map(tokens),
            keep_alive_ms: keep_alive.map(millis),
            reasoning_budget: *reasoning_budget,
            flags: flags.clone(),
        }
    }
}

impl From<Purpose> for Mode {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Generate => Self::Completion,
            Purpose::Embed => Self::Embedding,
            Purpose::Rerank => Self::Reranking,
        }
    }
}

impl From<Mode> for Purpose {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Completion => Self::Generate,
            Mode::Embedding => Self::Embed,
            Mode::Reranking => Self::Rerank,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (Digest, Purpose) {
        (Digest::of(b"m"), Purpose::Generate)
    }

    fn full() -> Configuration {
        Configuration {
            context: Some(ALL_CONTEXT),
            keep_alive: Some(KeepAlive::Forever),
            reasoning_budget: Some(0),
            flags: vec!["--temp".into(), "0.5".into()],
        }
    }

    async fn set(book: &Book, configuration: Configuration) {
        let settings = Settings::of(&configuration).expect("settings");
        let changing = book.changing().await;
        book.set(&changing, key(), configuration, settings).await.expect("written");
    }

    #[tokio::test]
    async fn what_was_said_outlives_the_daemon() {
        let dir = tempfile::tempdir().expect("a directory");
        let book = Book::open(dir.path());
        let half = Configuration {
            context: Some(512),
            keep_alive: Some(KeepAlive::For(Duration::from_millis(1500))),
            ..Configuration::default()
        };
        for said in [full(), half] {
            set(&book, said.clone()).await;
            assert_eq!(Book::open(dir.path()).configuration(key().0, key().1), said);
        }
        set(&book, Configuration::default()).await;
        assert!(Book::open(dir.path()).all().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 1);
    }

    #[tokio::test]
    async fn only_what_needs_a_load_counts_as_a_revision() {
        let dir = tempfile::tempdir().expect("a directory");
        let book = Book::open(dir.path());
        let revision = || book.in_force(key().0, key().1).revision;
        set(&book, Configuration { keep_alive: Some(KeepAlive::Forever), ..Default::default() })
            .await;
        assert_eq!(revision(), 0);
        set(&book, full()).await;
        set(&book, full()).await;
        assert_eq!(revision(), 1);
        set(&book, Configuration::default()).await;
        assert_eq!(revision(), 2, "back to what the daemon says");
    }

    #[tokio::test]
    async fn a_deleted_model_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let book = Book::open(dir.path());
        set(&book, full()).await;
        book.forget(|id| id != key().0).await;
        assert_eq!(book.all().len(), 1);
        book.forget(|id| id == key().0).await;
        assert!(book.all().is_empty() && Book::open(dir.path()).all().is_empty());
    }

    #[tokio::test]
    async fn a_damaged_file_is_kept_aside() {
        for text in ["", "{\"version\":1", "[]", "{\"version\":2,\"models\":[]}", "\u{0}\u{1}"] {
            let dir = tempfile::tempdir().expect("a directory");
            std::fs::write(dir.path().join(FILE), text).expect("a file");
            let book = Book::open(dir.path());
            assert!(book.all().is_empty(), "{text}");
            let aside = std::fs::read_to_string(dir.path().join(ASIDE)).expect("a copy");
            assert_eq!(aside, text);
            set(&book, full()).await;
            assert_eq!(Book::open(dir.path()).all().len(), 1);
        }
    }

    #[tokio::test]
    async fn one_bad_entry_does_not_take_the_others_along() {
        let dir = tempfile::tempdir().expect("a directory");
        set(&Book::open(dir.path()), full()).await;
        let path = dir.path().join(FILE);
        let mut book: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).expect("a file")).expect("JSON");
        let mut bad = book["models"][0].clone();
        bad["model"] = Digest::of(b"other").to_string().into();
        bad["flags"] = serde_json::json!(["--no-such-flag"]);
        book["models"].as_array_mut().expect("models").push(bad);
        std::fs::write(&path, book.to_string()).expect("a file");
        assert_eq!(Book::open(dir.path()).all().len(), 1);
        assert!(dir.path().join(ASIDE).exists());
    }
}

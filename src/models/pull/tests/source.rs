//! A registry whose every answer can be made to go wrong.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use secrecy::SecretString;
use tokio::sync::watch;

use crate::domain::{Digest, Error, ErrorKind, ModelRef, Pulled, Result, TransferEvent};
use crate::gguf::testing::Writer;
use crate::models::{Models, PullLimits};
use crate::registry::{
    Artifact, BlobBody, BlobSource, Descriptor, FetchError, OutgoingModel, ProgressSink, Registry,
    RemoteModel, Retry, media,
};
use crate::store::Store;

/// How one answer goes wrong. Offsets count from its first byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    None,
    /// No answer, but this.
    Refuse(Retry),
    /// The stream just ends.
    Cut(u64),
    /// The stream ends in an error, as a stall does in the client.
    Break(u64),
    /// Nothing more comes, for ever.
    Hang(u64),
    /// All of the blob, whatever was asked for.
    Full,
    /// All of the blob, cut off.
    FullCut(u64),
    /// It says that it begins elsewhere.
    WrongStart(i64),
    /// Announced, but without a byte.
    Empty,
    /// Announced to be empty.
    NoBytes,
    /// More bytes than announced.
    Longer,
    /// Announces more than there can be.
    Overlong,
    /// Announces less than was asked for.
    Shorter(u64),
    /// Another content of the same size.
    WrongBytes,
    /// One bit at this offset of the blob.
    Flip(u64),
    /// Right, but under another validator.
    Validator(&'static str),
}

#[derive(Default)]
pub(super) struct FakeSource {
    pub(super) blobs: HashMap<Digest, Bytes>,
    /// By blob; afterwards [`FakeSource::always`].
    pub(super) script: Mutex<HashMap<Digest, VecDeque<Fault>>>,
    pub(super) always: Mutex<Option<Fault>>,
    /// Every answer that was asked for.
    pub(super) asked: Mutex<Vec<(Digest, Range<u64>)>>,
    /// Bytes that were read from answers.
    pub(super) served: Arc<Mutex<HashMap<Digest, u64>>>,
    /// Time between two pieces.
    pub(super) slow: Duration,
    pub(super) piece: usize,
    /// No answer before this is true.
    pub(super) open: Option<watch::Receiver<bool>>,
}

impl FakeSource {
    pub(super) fn asked_of(&self, digest: &Digest) -> Vec<Range<u64>> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(of, _)| of == digest).map(|(_, range)| range.clone()).collect()
    }

    pub(super) fn served_of(&self, digest: &Digest) -> u64 {
        self.served.lock().unwrap().get(digest).copied().unwrap_or_default()
    }

    pub(super) fn then(&self, digest: &Digest, faults: &[Fault]) {
        self.script.lock().unwrap().entry(*digest).or_default().extend(faults.iter().cloned());
    }

    fn answer(
        &self,
        digest: Digest,
        asked: Range<u64>,
    ) -> std::result::Result<BlobBody, FetchError> {
        self.asked.lock().unwrap().push((digest, asked.clone()));
        let scripted = self.script.lock().unwrap().entry(digest).or_default().pop_front();
        let fault = scripted.or_else(|| *self.always.lock().unwrap()).unwrap_or(Fault::None);
        let whole = &self.blobs[&digest];
        let slice = |range: Range<u64>| whole.slice(range.start as usize..range.end as usize);
        let Range { start, end } = asked;
        let broken = Err(FetchError::passing("the connection was reset"));
        let mut body = (start, end, slice(asked.clone()), None, None);
        match fault {
            Fault::None => {}
            Fault::Refuse(retry) => {
                let error = Error::new(ErrorKind::RegistryUnavailable, "too many requests");
                return Err(FetchError { error, retry });
            }
            Fault::Cut(after) => body.2.truncate(after as usize),
            Fault::Break(after) => {
                body.2.truncate(after as usize);
                body.3 = Some(stream::iter([broken]).boxed());
            }
            Fault::Hang(after) => {
                body.2.truncate(after as usize);
                body.3 = Some(stream::pending().boxed());
            }
            Fault::Full => body = (0, whole.len() as u64, whole.clone(), None, None),
            Fault::FullCut(after) => {
                let cut = whole.slice(..whole.len().min(after as usize));
                body = (0, whole.len() as u64, cut, None, None);
            }
            Fault::WrongStart(by) => body.0 = start.saturating_add_signed(by),
            Fault::Empty => body.2.clear(),
            Fault::NoBytes => {
                body.1 = start;
                body.2.clear();
            }
            Fault::Longer => body.2 = [&body.2[..], b"more"].concat().into(),
            Fault::Overlong => body.1 = whole.len() as u64 + 1,
            Fault::Shorter(len) => {
                body.1 = (start + len).min(end);
                body.2 = slice(start..body.1);
            }
            Fault::WrongBytes => body.2 = body.2.iter().map(|byte| !byte).collect(),
            Fault::Flip(at) => {
                let mut bytes = body.2.to_vec();
                if let Some(byte) = bytes.get_mut(at.wrapping_sub(start) as usize) {
                    *byte ^= 1;
                }
                body.2 = bytes.into();
            }
            Fault::Validator(name) => body.4 = Some(name.to_owned()),
        }
        let (start, end, bytes, tail, validator) = body;
        let pieces: Vec<Bytes> =
            bytes.chunks(self.piece.max(1)).map(|piece| bytes.slice_ref(piece)).collect();
        let (served, slow) = (Arc::clone(&self.served), self.slow);
        let stream = stream::iter(pieces)
            .then(move |piece| {
                let served = Arc::clone(&served);
                async move {
                    if !slow.is_zero() {
                        tokio::time::sleep(slow).await;
                    }
                    *served.lock().unwrap().entry(digest).or_default() += piece.len() as u64;
                    Ok(piece)
                }
            })
            .chain(tail.unwrap_or_else(|| stream::empty().boxed()))
            .boxed();
        Ok(BlobBody { start, end, validator, stream })
    }
}

impl BlobSource for FakeSource {
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, std::result::Result<BlobBody, FetchError>> {
        assert!(range.start < range.end && range.end <= blob.size, "{range:?} of {blob:?}");
        async move {
            if let Some(mut open) = self.open.clone() {
                open.wait_for(|open| *open).await.unwrap();
            }
            self.answer(blob.digest, range)
        }
        .boxed()
    }
}

/// A model of the fake registry.
#[derive(Clone)]
pub(super) struct Offer {
    pub(super) remote: RemoteModel,
    pub(super) source: Arc<FakeSource>,
    /// The layer that is not the weights.
    pub(super) big: Digest,
}

impl Offer {
    /// Weights that are a good (and small) GGUF file, and another layer of `big` random bytes.
    pub(super) fn new(big: usize) -> Self {
        Self::with(&Writer::tiny().build(), big, |_| {})
    }

    pub(super) fn with(weights: &[u8], big: usize, change: impl FnOnce(&mut FakeSource)) -> Self {
        let mut bytes = vec![0; big];
        fastrand::Rng::with_seed(big as u64).fill(&mut bytes);
        let blobs = [Bytes::copy_from_slice(weights), Bytes::from(bytes)];
        let digests = blobs.each_ref().map(|bytes| Digest::of(bytes));
        let sizes = blobs.each_ref().map(Bytes::len);
        let mut source = FakeSource { piece: 16 << 10, ..FakeSource::default() };
        source.blobs = digests.into_iter().zip(blobs).collect();
        change(&mut source);
        let source = Arc::new(source);
        let remote = remote(&digests, &sizes, Arc::clone(&source) as Arc<dyn BlobSource>);
        Self { remote, source, big: digests[1] }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.source.blobs[&self.big]
    }
}

/// The manifest of weights and another layer.
pub(super) fn remote(
    layers: &[Digest; 2],
    sizes: &[usize; 2],
    blobs: Arc<dyn BlobSource>,
) -> RemoteModel {
    let config = b"{}".to_vec();
    let descriptor = |kind: &str, digest: &Digest, size: usize| serde_json::json!({"mediaType": kind, "digest": digest.to_string(), "size": size});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": descriptor(media::CONFIG_V1, &Digest::of(&config), config.len()),
        "layers": [
            descriptor(media::GGUF, &layers[0], sizes[0]),
            descriptor("application/octet-stream", &layers[1], sizes[1]),
        ],
    });
    let manifest = manifest.to_string().into_bytes();
    let artifact = Artifact::parse(&manifest).unwrap();
    RemoteModel {
        id: Digest::of(&manifest),
        manifest,
        artifact,
        config,
        blobs,
        warnings: Vec::new(),
    }
}

struct FakeRegistry(RemoteModel);

impl Registry for FakeRegistry {
    fn resolve<'a>(
        &'a self,
        _: &'a ModelRef,
        _: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RemoteModel>> {
        async { Ok(self.0.clone()) }.boxed()
    }

    fn push<'a>(
        &'a self,
        _: &'a ModelRef,
        _: OutgoingModel,
        _: Option<&'a SecretString>,
        _: ProgressSink,
    ) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }
}

pub(super) struct Home {
    pub(super) dir: tempfile::TempDir,
    pub(super) models: Models,
}

impl Home {
    pub(super) fn new(offer: &Offer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let models = models(dir.path(), offer);
        Self { dir, models }
    }

    pub(super) fn limited(mut self, limits: PullLimits) -> Self {
        self.models = self.models.with_pull_limits(limits);
        self
    }

    /// As another process would see it.
    pub(super) fn elsewhere(&self, offer: &Offer) -> Models {
        models(self.dir.path(), offer)
    }

    pub(super) fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("models").join(dir)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// No blob is visible that is not what its name says.
    pub(super) fn assert_sound(&self) {
        for name in self.names("blobs/sha256") {
            let path = self.dir.path().join("models/blobs/sha256").join(&name);
            assert_eq!(Digest::of(&std::fs::read(path).unwrap()).hex(), name);
        }
    }

    pub(super) fn assert_whole(&self, offer: &Offer) {
        self.assert_sound();
        assert_eq!(self.names("ingest"), [""; 0]);
        assert_eq!(self.names("blobs/sha256").len(), 3);
        let found = self.models.store().find("m").unwrap();
        assert_eq!(found.model.id, offer.remote.id);
    }

    pub(super) fn assert_empty(&self) {
        for dir in ["blobs/sha256", "manifests/sha256", "ingest"] {
            assert_eq!(self.names(dir), [""; 0], "{dir}");
        }
        assert_eq!(self.models.store().list().unwrap(), []);
    }
}

fn models(dir: &std::path::Path, offer: &Offer) -> Models {
    let store = Store::open(&dir.join("models")).unwrap();
    Models::new(store).with_registry(Arc::new(FakeRegistry(offer.remote.clone())))
}

pub(super) async fn pull(models: &Models) -> Result<Pulled> {
    models.plan_pull("m", None).await?.run(|_| {}).await
}

pub(super) async fn pull_heard(models: &Models) -> (Result<Pulled>, Vec<TransferEvent>) {
    pull_told(models, |_| {}).await
}

pub(super) async fn pull_told(
    models: &Models,
    told: impl Fn(&TransferEvent) + Send + Sync,
) -> (Result<Pulled>, Vec<TransferEvent>) {
    let heard = Mutex::new(Vec::new());
    let plan = models.plan_pull("m", None).await.unwrap();
    let pulled = plan.run(|event| {
        told(&event);
        heard.lock().unwrap().push(event);
    });
    (pulled.await, heard.into_inner().unwrap())
}

/// How far the layers were told to be, in order.
pub(super) fn steps(heard: &[TransferEvent], digest: &Digest) -> Vec<u64> {
    let step = |event: &TransferEvent| match event {
        TransferEvent::Layer(layer) if layer.layer == *digest => Some(layer.current),
        _ => None,
    };
    heard.iter().filter_map(step).collect()
}

pub(super) fn said(heard: &[TransferEvent], what: &str) -> bool {
    heard.iter().any(|event| matches!(event, TransferEvent::Status(text) if text.contains(what)))
}

//! A registry that plays what a test tells it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use crate::domain::{Digest, Error, ErrorKind, LayerProgress, ModelRef, Result};
use crate::gguf::testing::Writer;
use crate::models::{Models, PackageOptions, PackagePlan};
use crate::registry::{
    BlobBody, BlobSource, Descriptor, FetchError, OutgoingModel, ProgressSink, Registry,
    RemoteModel,
};
use crate::store::Store;

/// Pieces that a layer comes in.
const PIECE: usize = 64;

/// A registry of one model under any of some names.
pub(crate) struct Shelf {
    model: RemoteModel,
    names: Vec<String>,
    token: Mutex<Option<&'static str>>,
    faults: Mutex<HashMap<String, Error>>,
    blobs: Arc<Blobs>,
    /// Plans made.
    pub(crate) resolved: AtomicUsize,
    /// Names pushed.
    pub(crate) pushed: Mutex<Vec<String>>,
    _dir: tempfile::TempDir,
}

/// The model's layers, a piece for each permit.
struct Blobs {
    by_digest: HashMap<Digest, Bytes>,
    gate: Arc<Semaphore>,
    opened: AtomicUsize,
    fault: Mutex<Option<FetchError>>,
}

impl Shelf {
    /// `names` as they are written in full. No bytes flow before [`Shelf::let_pass`].
    pub(crate) async fn of(gguf: &Writer, names: &[&str]) -> Arc<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Models::new(Store::open(&dir.path().join("store")).expect("a store"));
        let weights = dir.path().join("model.gguf");
        std::fs::write(&weights, gguf.build()).expect("a file");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_750_000_000);
        let file = File::options().write(true).open(&weights).expect("a file");
        file.set_modified(time).expect("a time");
        let plan = PackagePlan::new(&PackageOptions { weights, ..PackageOptions::default() });
        let mut tar = Vec::new();
        plan.expect("a plan").write_tar(&mut tar, &mut |_| {}).expect("a tar");
        let entry = store.load_archive(Box::new(std::io::Cursor::new(tar))).await.expect("a model");
        let OutgoingModel { manifest, artifact, open } =
            store.outgoing(&entry.id.to_string()).await.expect("a model");
        let read = |digest: &Digest| {
            let mut bytes = Vec::new();
            open(digest).expect("a blob").read_to_end(&mut bytes).expect("bytes");
            bytes
        };
        let layers = artifact.layers.iter().map(|layer| layer.blob.digest);
        let blobs = Arc::new(Blobs {
            by_digest: layers.map(|digest| (digest, read(&digest).into())).collect(),
            gate: Arc::new(Semaphore::new(0)),
            opened: AtomicUsize::new(0),
            fault: Mutex::default(),
        });
        let config = read(&artifact.config.digest);
        let model = RemoteModel {
            id: entry.id,
            manifest,
            artifact,
            config,
            blobs: blobs.clone(),
            warnings: Vec::new(),
        };
        Arc::new(Self {
            model,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            token: Mutex::default(),
            faults: Mutex::default(),
            blobs,
            resolved: AtomicUsize::new(0),
            pushed: Mutex::default(),
            _dir: dir,
        })
    }

    /// Lets so many pieces through, of layers that are pulled or pushed.
    pub(crate) fn let_pass(&self, pieces: usize) {
        self.blobs.gate.add_permits(pieces);
    }

    pub(crate) fn let_all_pass(&self) {
        self.let_pass(1 << 20);
    }

    /// Lets nothing through any more.
    pub(crate) fn hold_up(&self) {
        self.blobs.gate.forget_permits(usize::MAX);
    }

    /// From now on only this token opens.
    pub(crate) fn want_token(&self, token: &'static str) {
        *self.token.lock().expect("unpoisoned") = Some(token);
    }

    /// What is answered instead of the plan for `name`.
    pub(crate) fn refuse(&self, name: &str, error: Error) {
        self.faults.lock().expect("unpoisoned").insert(name.to_owned(), error);
    }

    /// What the next piece of a layer is instead of bytes.
    pub(crate) fn break_off(&self, error: Error) {
        let fault = FetchError { error, retry: crate::registry::Retry::Never };
        *self.blobs.fault.lock().expect("unpoisoned") = Some(fault);
        self.let_pass(1);
    }

    /// Layers that were begun.
    pub(crate) fn opened(&self) -> usize {
        self.blobs.opened.load(Ordering::SeqCst)
    }

    fn check(&self, reference: &ModelRef, token: Option<&SecretString>) -> Result<()> {
        let name = reference.to_string();
        if let Some(error) = self.faults.lock().expect("unpoisoned").get(&name) {
            return Err(error.clone());
        }
        let wanted = *self.token.lock().expect("unpoisoned");
        if wanted.is_some() && token.map(|token| token.expose_secret()) != wanted {
            return Err(Error::new(ErrorKind::RegistryUnauthorized, "the registry wants a token"));
        }
        if !self.names.contains(&name) {
            let message = format!("the registry has no {name}");
            return Err(Error::new(ErrorKind::RegistryNotFound, message));
        }
        Ok(())
    }
}

impl Registry for Shelf {
    fn resolve<'a>(
        &'a self,
        reference: &'a ModelRef,
        token: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RemoteModel>> {
        Box::pin(async move {
            self.resolved.fetch_add(1, Ordering::SeqCst);
            self.check(reference, token)?;
            Ok(self.model.clone())
        })
    }

    fn push<'a>(
        &'a self,
        reference: &'a ModelRef,
        model: OutgoingModel,
        token: Option<&'a SecretString>,
        progress: ProgressSink,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.check(reference, token)?;
            for layer in &model.artifact.layers {
                let size = layer.blob.size;
                let tell =
                    |current| progress(LayerProgress { layer: layer.blob.digest, size, current });
                tell(0);
                self.blobs.gate.acquire().await.expect("open").forget();
                tell(size);
            }
            self.pushed.lock().expect("unpoisoned").push(reference.to_string());
            Ok(())
        })
    }
}

impl BlobSource for Blobs {
    fn open<'a>(
        &'a self,
        blob: &'a Descriptor,
        range: std::ops::Range<u64>,
    ) -> BoxFuture<'a, std::result::Result<BlobBody, FetchError>> {
        let bytes = self.by_digest[&blob.digest].clone();
        let gate = self.gate.clone();
        let fault = self.fault.lock().expect("unpoisoned").clone();
        Box::pin(async move {
            self.opened.fetch_add(1, Ordering::SeqCst);
            let at = |offset: u64| usize::try_from(offset).expect("small");
            let part = bytes.slice(at(range.start)..at(range.end));
            let pieces: Vec<_> = part.chunks(PIECE).map(Bytes::copy_from_slice).collect();
            let stream = stream::iter(pieces).then(move |piece| {
                let (gate, fault) = (gate.clone(), fault.clone());
                async move {
                    gate.acquire().await.expect("open").forget();
                    fault.map_or(Ok(piece), Err)
                }
            });
            Ok(BlobBody {
                start: range.start,
                end: range.end,
                validator: None,
                stream: stream.boxed(),
            })
        })
    }
}

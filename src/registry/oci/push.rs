use std::collections::BTreeSet;
use std::future::ready;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, StatusCode};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use tokio::time::{Instant, timeout};

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::registry::{Descriptor, FetchError, OutgoingModel, ProgressSink, Retry, media};

use super::answer::invalid;
use super::document::{self, fatal};
use super::retry::{Patience, patiently};
use super::session::{Session, certificates};
use super::source::Source;
use super::upload::{self, BeforePiece, Limits, Meter};
use super::{Access, Gateway};

/// How many blobs are uploaded at a time.
const PARALLEL: usize = 3;
/// An upload that was refused after this time may have outlived its token.
const TOKEN_AGE: Duration = Duration::from_secs(30);

/// One push.
pub(super) struct Push {
    pub access: Arc<dyn Access>,
    pub source: Source,
    pub tag: String,
    pub patience: Patience,
    pub limits: Limits,
    pub progress: ProgressSink,
}

type Opener = Arc<dyn Fn(&Digest) -> Result<std::fs::File> + Send + Sync>;

impl Push {
    /// Uploads what the registry does not have, then the manifest.
    pub async fn run(
        &self,
        gateway: &dyn Gateway,
        ca_files: &[PathBuf],
        model: OutgoingModel,
    ) -> Result<()> {
        let OutgoingModel { manifest, artifact, open } = model;
        let certificates = certificates(ca_files).await?;
        // Authorised before anything else, so that a missing login is said at once.
        self.rights().await?;
        let gate = gateway.open(&self.source.host.endpoint).await?;
        let session = Session::new(&self.source, &self.tag, gate, &certificates)?;
        let session = Arc::new(session);
        let mut seen = BTreeSet::new();
        let blobs = artifact.layers.iter().map(|layer| layer.blob).chain([artifact.config]);
        let blobs: Vec<Descriptor> = blobs.filter(|blob| seen.insert(blob.digest)).collect();
        stream::iter(blobs)
            .map(|blob| self.push_blob(&session, blob, &open).boxed())
            .buffer_unordered(PARALLEL)
            .try_for_each(|()| ready(Ok(())))
            .await?;
        patiently(self.patience, || self.push_manifest(&session, &manifest)).await?;
        Ok(())
    }

    async fn push_blob(
        &self,
        session: &Arc<Session>,
        blob: Descriptor,
        open: &Opener,
    ) -> std::result::Result<(), FetchError> {
        let meter = Arc::new(Meter::new(blob, Arc::clone(&self.progress)));
        patiently(self.patience, || self.try_blob(session, blob, open, &meter)).await?;
        meter.done();
        Ok(())
    }

    async fn try_blob(
        &self,
        session: &Arc<Session>,
        blob: Descriptor,
        open: &Opener,
        meter: &Arc<Meter>,
    ) -> std::result::Result<(), FetchError> {
        session.authorize(&self.rights().await?).await?;
        if self.has_blob(session, &blob.digest).await? {
            return Ok(());
        }
        let begun = Instant::now();
        let sent = match self.send_blob(session, blob, open, meter).await {
            Err(Refused::TooLarge) => {
                tracing::debug!(host = %self.source.host.name, "blobs go in pieces from now on");
                session.use_pieces();
                self.send_blob(session, blob, open, meter).await
            }
            other => other,
        };
        sent.map_err(|refused| {
            let mut error = match refused {
                Refused::TooLarge => invalid(format!(
                    "{} takes no requests of {} bytes, the size of one piece of a layer",
                    self.source.host.name,
                    upload::PIECE_STEP
                )),
                Refused::Because(error) => error,
            };
            let unauthorized = error.error.kind == ErrorKind::RegistryUnauthorized;
            if unauthorized && begun.elapsed() > TOKEN_AGE {
                error.retry = Retry::Soon;
            }
            error
        })
    }

    async fn send_blob(
        &self,
        session: &Arc<Session>,
        blob: Descriptor,
        open: &Opener,
        meter: &Arc<Meter>,
    ) -> std::result::Result<(), Refused> {
        let Descriptor { digest, size } = blob;
        let opener = Arc::clone(open);
        let file = tokio::task::spawn_blocking(move || opener(&digest)).await;
        let file = file.unwrap_or_else(|e| Err(Error::internal(e)));
        let file = file.map_err(|e| Refused::Because(fatal(e)))?;
        meter.begin();
        let in_pieces = session.in_pieces();
        let (client, step, before) = match in_pieces {
            true => (&session.pieces, upload::PIECE_STEP, Some(self.renewal(session))),
            false => (&session.whole, upload::WHOLE_STEP, None),
        };
        let bytes = upload::stream(file, step, Arc::clone(meter), before);
        let name = digest.to_string();
        let sending = client.push_blob_stream(&session.reference, bytes, &name, Some(size));
        let mut too_large = false;
        let sent = upload::watched(sending, meter, self.limits, |error| {
            let large = StatusCode::PAYLOAD_TOO_LARGE.as_u16();
            too_large =
                matches!(&error, OciDistributionError::ServerError { code, .. } if *code == large);
            session.explain(error, &format!("the layer {digest}"))
        })
        .await;
        match sent {
            // Where it lies now is of no interest: it is asked for by its digest.
            Ok(_location) => Ok(()),
            Err(_) if too_large => Err(Refused::TooLarge),
            Err(error) => Err(Refused::Because(error)),
        }
    }

    /// Whether the registry has a blob already. A registry that does not like the question is
    /// taken to have nothing.
    async fn has_blob(
        &self,
        session: &Session,
        digest: &Digest,
    ) -> std::result::Result<bool, FetchError> {
        let (name, what) = (digest.to_string(), format!("the layer {digest}"));
        let asked = session.whole.blob_exists(&session.reference, &name);
        match self.in_time(session, asked, &what).await {
            Err(error) if error.error.kind == ErrorKind::RegistryInvalid => Ok(false),
            other => other,
        }
    }

    async fn push_manifest(
        &self,
        session: &Session,
        manifest: &[u8],
    ) -> std::result::Result<(), FetchError> {
        session.authorize(&self.rights().await?).await?;
        let what = format!("the manifest of {}:{}", self.source.scope.repository, self.tag);
        let body = manifest.to_vec();
        let kind = HeaderValue::from_static(media::MANIFEST);
        let (client, reference) = (&session.whole, &session.reference);
        self.in_time(session, client.push_manifest_raw(reference, body, kind), &what).await?;
        // Asked for by the tag, as whoever pulls will.
        let access = self.access.as_ref();
        let kept = document::fetch(access, &self.source, &self.tag, None, None).await?.digest;
        let own = Digest::of(manifest);
        if kept != own {
            let host = &self.source.host.name;
            return Err(invalid(format!(
                "{host} has {kept} as {what} after {own} was pushed: it changes what it is given, \
                 or someone else pushed the same tag just now"
            )));
        }
        Ok(())
    }

    /// The right to push, as it is now.
    async fn rights(&self) -> std::result::Result<RegistryAuth, FetchError> {
        let Source { host, scope, token, .. } = &self.source;
        self.access.oci_auth(host, scope, token.as_ref()).await
    }

    /// Keeps the session's rights fresh; a token that is still good costs nothing to ask for.
    fn renewal(&self, session: &Arc<Session>) -> BeforePiece {
        let (access, source) = (Arc::clone(&self.access), self.source.clone());
        let session = Arc::clone(session);
        Arc::new(move || {
            let (access, source) = (Arc::clone(&access), source.clone());
            let session = Arc::clone(&session);
            async move {
                let Source { host, scope, token, .. } = &source;
                session.authorize(&access.oci_auth(host, scope, token.as_ref()).await?).await
            }
            .boxed()
        })
    }

    async fn in_time<T>(
        &self,
        session: &Session,
        asked: impl Future<Output = std::result::Result<T, OciDistributionError>>,
        what: &str,
    ) -> std::result::Result<T, FetchError> {
        match timeout(self.limits.answer, asked).await {
            Ok(answer) => answer.map_err(|error| session.explain(error, what)),
            Err(_) => {
                let (host, seconds) = (&self.source.host.name, self.limits.answer.as_secs());
                Err(FetchError::passing(format!(
                    "{host} does not answer for {what} within {seconds} s"
                )))
            }
        }
    }
}

/// Why a blob was not taken.
enum Refused {
    /// The request was too large for whatever stands in front of the registry.
    TooLarge,
    Because(FetchError),
}

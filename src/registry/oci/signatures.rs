use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_client::Reference;
use serde::Deserialize;

use crate::domain::{Digest, ErrorKind};
use crate::registry::signature::Demand;
use crate::registry::{Descriptor, FetchError, MAX_MANIFEST_BYTES};

use super::Access;
use super::answer::clean;
use super::document::{self, Document, fatal};
use super::retry::{Patience, patiently};
use super::small;
use super::source::Source;

/// How many signatures of one source are looked at, the newest first.
const MAX_SIGNATURES: usize = 50;
/// How many manifests that refer to the model are looked into.
const MAX_REFERRERS: usize = 50;
/// The longest payload, in bytes.
const MAX_PAYLOAD_BYTES: usize = 64 << 10;
/// The longest signature in base64, in bytes; those of RSA keys of 8192 bits have 1368.
const MAX_SIGNATURE_CHARS: usize = 4096;

/// The layers that are payloads.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// What the manifest of signatures is called where it refers to what they are for.
const SIGNATURE_ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// What is not read.
const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// Manifests of signatures: a layer for each, the newest last.
#[derive(Deserialize)]
struct SignatureManifest {
    layers: Vec<SignatureLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignatureLayer {
    media_type: String,
    digest: String,
    size: i64,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "dev.cosignproject.cosign/signature")]
    signature: Option<String>,
}

/// What refers to a manifest
/// (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>).
#[derive(Deserialize)]
struct Referrers {
    manifests: Vec<Referrer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    artifact_type: Option<String>,
    digest: String,
    size: i64,
}

/// What has to be signed, and how.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub demand: Demand<'a>,
    pub named: &'a Reference,
    pub manifest: Digest,
}

/// Looks for a signature that meets the demand, at each source until there is one.
///
/// # Errors
/// `SignatureRefused` where there is none; a source that cannot be asked is that failure, as it may
/// have one. Mirrors may fail: the registry itself comes after them.
pub(super) async fn require(
    access: &dyn Access,
    sources: &[Source],
    wanted: Wanted<'_>,
    patience: Patience,
) -> Result<(), FetchError> {
    let (mut found, mut flaws) = (0_usize, Vec::new());
    for source in sources {
        let mut search = Search {
            access,
            source,
            wanted,
            patience,
            found: 0,
            looked_at: 0,
            flaws: Vec::new(),
            payloads: HashMap::new(),
        };
        match search.run().await {
            Ok(true) => {
                let (model, by) = (wanted.named, &source.host.name);
                tracing::info!(%model, digest = %wanted.manifest, %by, "the signature is good");
                return Ok(());
            }
            Ok(false) => {
                found = found.saturating_add(search.found);
                flaws.append(&mut search.flaws);
            }
            Err(error) if source.is_mirror => {
                let mirror = &source.host.name;
                tracing::warn!(%mirror, %error, "a mirror was not asked for signatures");
            }
            Err(error) => return Err(error),
        }
    }
    Err(fatal(wanted.demand.refusal(wanted.named, wanted.manifest, found, &flaws)))
}

/// The search at one source.
struct Search<'a> {
    access: &'a dyn Access,
    source: &'a Source,
    wanted: Wanted<'a>,
    patience: Patience,
    found: usize,
    looked_at: usize,
    flaws: Vec<String>,
    /// Signatures by several keys mostly share one.
    payloads: HashMap<Digest, Vec<u8>>,
}

impl Search<'_> {
    /// Whether there is a signature that meets the demand: under the tag that is made of the
    /// digest, else among what refers to the manifest.
    async fn run(&mut self) -> Result<bool, FetchError> {
        let tag = format!("sha256-{}.sig", self.wanted.manifest.hex());
        if let Some(document) = self.document(&tag, None).await?
            && self.any_of(&document).await?
        {
            return Ok(true);
        }
        for referrer in self.referrers().await? {
            if let Some(document) =
                self.document(&referrer.digest.to_string(), Some(referrer)).await?
                && self.any_of(&document).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A document that may be missing. One that breaks the protocol is no signature, but does not
    /// keep others from being looked at.
    async fn document(
        &mut self,
        named: &str,
        known: Option<Descriptor>,
    ) -> Result<Option<Document>, FetchError> {
        let (digest, size) = (known.map(|known| known.digest), known.map(|known| known.size));
        let fetch = || document::fetch(self.access, self.source, named, digest, size);
        match patiently(self.patience, fetch).await {
            Ok(document) => Ok(Some(document)),
            Err(error) if error.error.kind == ErrorKind::RegistryNotFound => Ok(None),
            Err(error) => self.note(error).map(|()| None),
        }
    }

    /// Takes down what is wrong with what was found; what keeps from finding it stays an error.
    fn note(&mut self, error: FetchError) -> Result<(), FetchError> {
        match error.error.kind {
            ErrorKind::RegistryInvalid => {
                self.flaws.push(error.error.message);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// The manifests of signatures that say they refer to the model's. Registries that do not know
    /// the question have the list under a tag.
    async fn referrers(&mut self) -> Result<Vec<Descriptor>, FetchError> {
        let (source, id) = (self.source, self.wanted.manifest);
        let url = source.referrers_url(&id, SIGNATURE_ARTIFACT).map_err(fatal)?;
        let what = format!("the list of what refers to {id} in {}", source.scope.repository);
        let fetch = || document::fetch_from(self.access, source, url.clone(), &what, None, None);
        let list = match patiently(self.patience, fetch).await {
            Ok(list) if list.head.manifests.is_some() => Some(list),
            Ok(_) => None,
            // Registries have many ways to say that they do not know a path.
            Err(error) => match error.error.kind {
                ErrorKind::RegistryNotFound
                | ErrorKind::RegistryInvalid
                | ErrorKind::RegistryUnauthorized => None,
                _ => return Err(error),
            },
        };
        let list = match list {
            Some(list) => list,
            None => match self.document(&format!("sha256-{}", id.hex()), None).await? {
                Some(list) => list,
                None => return Ok(Vec::new()),
            },
        };
        let referrers = match serde_json::from_slice::<Referrers>(&list.bytes) {
            Ok(list) => list.manifests,
            Err(error) => {
                self.flaws.push(format!("{what} cannot be read: {}", clean(&error.to_string())));
                return Ok(Vec::new());
            }
        };
        Ok(self.signatures_among(&referrers))
    }

    fn signatures_among(&mut self, referrers: &[Referrer]) -> Vec<Descriptor> {
        let of = |referrer: &&Referrer, is: fn(&str) -> bool| {
            referrer.artifact_type.as_deref().is_some_and(is)
        };
        let bundles = referrers.iter().filter(|r| of(r, |kind| kind.starts_with(BUNDLE_PREFIX)));
        if let bundles @ 1.. = bundles.count() {
            self.flaws.push(format!("{bundles} are sigstore bundles, which modeld does not read"));
            self.found = self.found.saturating_add(bundles);
        }
        let descriptors: Vec<Descriptor> = referrers
            .iter()
            .filter(|r| of(r, |kind| kind == SIGNATURE_ARTIFACT || kind == SIMPLE_SIGNING))
            .filter_map(|r| descriptor(&r.digest, r.size, MAX_MANIFEST_BYTES))
            .collect();
        if descriptors.len() > MAX_REFERRERS {
            let count = descriptors.len();
            self.flaws
                .push(format!("of {count} manifests of signatures {MAX_REFERRERS} were read"));
        }
        descriptors.into_iter().rev().take(MAX_REFERRERS).collect()
    }

    /// Whether one of the signatures of a manifest meets the demand.
    async fn any_of(&mut self, document: &Document) -> Result<bool, FetchError> {
        let manifest = match serde_json::from_slice::<SignatureManifest>(&document.bytes) {
            Ok(manifest) => manifest,
            Err(error) => {
                let (digest, error) = (document.digest, clean(&error.to_string()));
                self.flaws.push(format!("{digest} is no manifest of signatures: {error}"));
                return Ok(false);
            }
        };
        let signatures = manifest.layers.iter().filter(|layer| layer.media_type == SIMPLE_SIGNING);
        let count = signatures.clone().count();
        self.found = self.found.saturating_add(count);
        let left = MAX_SIGNATURES.saturating_sub(self.looked_at);
        self.looked_at = self.looked_at.saturating_add(count.min(left));
        if count > left {
            self.flaws.push(format!("of {count} signatures only the newest {left} were read"));
        }
        for layer in signatures.rev().take(left) {
            if self.is_good(layer).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_good(&mut self, layer: &SignatureLayer) -> Result<bool, FetchError> {
        let Some(blob) = descriptor(&layer.digest, layer.size, MAX_PAYLOAD_BYTES) else {
            let (digest, size) = (clean(&layer.digest), layer.size);
            self.flaws.push(format!("the payload {digest:?} of {size} bytes is not read"));
            return Ok(false);
        };
        let text = layer.annotations.as_ref().and_then(|all| all.signature.as_deref());
        let text = text.filter(|text| text.len() <= MAX_SIGNATURE_CHARS);
        let Some(signature) = text.and_then(|text| STANDARD.decode(text.trim()).ok()) else {
            self.flaws.push(format!("the payload {} has no signature in base64", blob.digest));
            return Ok(false);
        };
        if !self.payloads.contains_key(&blob.digest) {
            let what = format!("the signature's payload {}", blob.digest);
            let fetch = || small::fetch(self.access, self.source, blob, MAX_PAYLOAD_BYTES, &what);
            match patiently(self.patience, fetch).await {
                Ok(payload) => self.payloads.insert(blob.digest, payload),
                Err(error) => return self.note(error).map(|()| false),
            };
        }
        let Some(payload) = self.payloads.get(&blob.digest) else { return Ok(false) };
        let Wanted { demand, named, manifest } = self.wanted;
        match demand.accepts(payload, &signature, manifest, named) {
            Ok(()) => Ok(true),
            Err(flaw) => {
                self.flaws.push(flaw.to_string());
                Ok(false)
            }
        }
    }
}

/// A descriptor with a digest and a size that can be asked for.
fn descriptor(digest: &str, size: i64, max: usize) -> Option<Descriptor> {
    let digest = digest.parse().ok()?;
    let size = u64::try_from(size).ok().filter(|size| *size <= max as u64)?;
    Some(Descriptor { digest, size })
}

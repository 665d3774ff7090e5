use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::Digest;
use crate::registry::{Part, media};

use super::candidate::{Candidate, Content, Files, ImportEvent, Name, Origin};
use super::files;

const MAX_MANIFEST_BYTES: u64 = 4 << 20;

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

/// `manifests/HOST/NAMESPACE/MODEL/TAG` and `blobs/sha256-…`. The weights are plain GGUF files.
/// Parameters, system prompts and messages come along; templates are in Go's language and come along
/// to be shown, since the weights have a template of their own.
pub(super) fn scan(root: &Path) -> (Vec<Candidate>, Vec<ImportEvent>) {
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for host in files::dirs_in(&root.join("manifests")) {
        for model in files::dirs_in(&host).iter().flat_map(|namespace| files::dirs_in(namespace)) {
            for manifest in plain_files(&model) {
                let name = name(&manifest);
                match read(root, &manifest, &name) {
                    Ok(candidate) => found.push(candidate),
                    Err(why) => skipped.push(ImportEvent::Skipped {
                        origin: Origin::Ollama,
                        what: name,
                        why,
                    }),
                }
            }
        }
    }
    (found, skipped)
}

fn read(root: &Path, path: &Path, name: &str) -> Result<Candidate, String> {
    let size = path.metadata().map_err(|e| e.to_string())?.len();
    if size > MAX_MANIFEST_BYTES {
        return Err(format!("its manifest has {size} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("its manifest cannot be read: {e}"))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|e| format!("its manifest is none: {e}"))?;
    let mut expected = HashMap::new();
    let mut blob = |layer: &Layer| -> Result<PathBuf, String> {
        let digest: Digest = layer.digest.parse().map_err(|_| "a digest is none".to_owned())?;
        let path = root.join("blobs").join(format!("sha256-{}", digest.hex()));
        if !path.is_file() {
            return Err(format!("{} is missing", path.display()));
        }
        expected.insert(path.clone(), digest);
        Ok(path)
    };
    let mut of_type = |kind: &str| -> Result<Vec<PathBuf>, String> {
        let suffix = format!("{}{kind}", media::OLLAMA_PREFIX);
        manifest.layers.iter().filter(|l| l.media_type == suffix).map(&mut blob).collect()
    };
    let [weights] = of_type("model")?
        .try_into()
        .map_err(|all: Vec<PathBuf>| format!("it has {} files of weights, not one", all.len()))?;
    let mmproj = of_type("projector")?.into_iter().next();
    let (licenses, adapters) = (of_type("license")?, of_type("adapter")?);
    let mut profile = Vec::new();
    for (part, kind) in [
        (Part::System, "system"),
        (Part::Parameters, "params"),
        (Part::Messages, "messages"),
        (Part::GoTemplate, "template"),
    ] {
        let paths = match of_type(kind) {
            // It is only shown.
            Err(_) if part == Part::GoTemplate => Vec::new(),
            paths => paths?,
        };
        profile.extend(paths.into_iter().map(|path| (part, path)));
    }
    let name = Name::Tag(name.to_owned());
    let files = Files { weights, mmproj, licenses, adapters, profile, expected, name };
    Ok(Candidate { origin: Origin::Ollama, content: Content::Files(files) })
}

/// `HOST/NAMESPACE/MODEL:TAG`, from the path.
fn name(manifest: &Path) -> String {
    let parts: Vec<&str> =
        manifest.components().rev().take(4).filter_map(|part| part.as_os_str().to_str()).collect();
    match parts.as_slice() {
        [tag, model, namespace, host] => {
            format!("{host}/{namespace}/{model}:{tag}").to_ascii_lowercase()
        }
        _ => manifest.display().to_string(),
    }
}

fn plain_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    found.sort();
    found
}

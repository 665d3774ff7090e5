use std::path::Path;

use serde::Deserialize;
use url::Url;

use super::candidate::{Candidate, Name, Origin};
use super::{files, names};

/// What llama.cpp writes beside a file that it downloaded.
#[derive(Deserialize)]
struct Sidecar {
    url: String,
}

/// A flat directory of `ORG_REPO_FILE.gguf`, each with a `.json` that says where it came from.
pub(super) fn scan(root: &Path) -> Vec<Candidate> {
    files::gguf_in(root)
        .into_iter()
        .flat_map(|path| {
            let name = repository(&path).map(Name::Repository);
            files::group(Origin::LlamaCpp, std::slice::from_ref(&path), &|stem| {
                name.clone().unwrap_or_else(|| files::local(stem))
            })
        })
        .filter(|candidate| match &candidate.content {
            // Of shards the first stands for all.
            super::candidate::Content::Files(found) => {
                let name = files::file_name(&found.weights);
                !name.contains("-of-") || name.contains("-00001-of-")
            }
            super::candidate::Content::Artifact { .. } => true,
        })
        .collect()
}

fn repository(path: &Path) -> Option<String> {
    let sidecar = path.with_file_name(format!("{}.json", files::file_name(path)));
    if sidecar.metadata().ok()?.len() > 64 << 10 {
        return None;
    }
    let sidecar: Sidecar = serde_json::from_slice(&std::fs::read(sidecar).ok()?).ok()?;
    let url = Url::parse(&sidecar.url).ok()?;
    if url.host_str() != Some("huggingface.co") {
        return None;
    }
    let mut parts = url.path_segments()?;
    let (org, repository) = (names::component(parts.next()?), names::component(parts.next()?));
    Some(format!("huggingface.co/{org}/{repository}"))
}

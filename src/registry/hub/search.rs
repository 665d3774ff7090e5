use serde::Deserialize;

use crate::domain::{Error, ErrorKind, Result};
use crate::registry::search::{SearchHit, Source, unix_seconds};

use super::Hub;

/// The largest answer that is read, in bytes: hits come with the names of all their files.
const MAX_ANSWER_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireHit {
    id: String,
    #[serde(default)]
    downloads: u64,
    #[serde(default)]
    likes: u64,
    last_modified: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

impl Hub {
    /// Up to `limit` repositories with GGUF files whose names hold `query`, those with the most
    /// downloads first. No token is sent: only what everyone may see is found.
    ///
    /// # Errors
    /// `RegistryUnavailable`, `RegistryInvalid`.
    pub async fn search(&self, query: &str, limit: usize) -> Result<Vec<SearchHit>> {
        let mut url = self.url(&["api", "models"])?;
        if !query.is_empty() {
            url.query_pairs_mut().append_pair("search", query);
        }
        url.query_pairs_mut()
            .append_pair("filter", "gguf")
            .append_pair("sort", "downloads")
            .append_pair("direction", "-1")
            .append_pair("limit", &limit.to_string())
            // Without it the times are left out.
            .append_pair("full", "true");
        let response = self.get_public(url, "a search").await?;
        let bytes = response.read(MAX_ANSWER_BYTES).await?;
        let hits: Vec<WireHit> = serde_json::from_slice(&bytes).map_err(|e| {
            let text = format!("the Hub's answer to a search is not taken: {e}");
            Error::new(ErrorKind::RegistryInvalid, text)
        })?;
        let hits = hits.into_iter().filter(|hit| is_repository(&hit.id)).take(limit);
        Ok(hits
            .map(|hit| SearchHit {
                name: format!("hf.co/{}", hit.id),
                source: Source::HuggingFace,
                description: String::new(),
                downloads: hit.downloads,
                likes: hit.likes,
                updated: unix_seconds(hit.last_modified.as_deref()),
                gguf: hit.tags.iter().any(|tag| tag == "gguf"),
            })
            .collect())
    }
}

/// Whether this is a name that can be pulled, and printed.
fn is_repository(id: &str) -> bool {
    id.len() <= 256
        && id.split('/').count() == 2
        && id.split('/').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        })
}

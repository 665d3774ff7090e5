//! Search for models where they are published: Docker Hub's `ai/` and the Hugging Face Hub.
//!
//! Owns the combination of the two: each source may fail without the other, what it found is
//! checked before anyone prints it, and its failure is part of the result.

use serde::Deserialize;
use url::Url;

use crate::domain::{Error, ErrorKind, Result};

use super::egress::{Egress, EgressRequest};
use super::hub::{Hub, unexpected};

/// Where Docker Hub's API is.
pub const DOCKER_HUB_ENDPOINT: &str = "https://hub.docker.com";
/// The most hits that one source is asked for.
pub const MAX_HITS: usize = 100;

/// The longest query, in bytes.
const MAX_QUERY_BYTES: usize = 200;
/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The longest description that is shown, in characters.
const MAX_DESCRIPTION: usize = 200;
/// Who publishes models on Docker Hub.
const NAMESPACE: &str = "ai";

/// Where a model was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Docker Hub.
    DockerHub,
    /// The Hugging Face Hub.
    HuggingFace,
}

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchHit {
    /// What to pull: `ai/smollm2`, `hf.co/org/repo`.
    pub name: String,
    /// Where it is.
    pub source: Source,
    /// What it is in one line; empty if nobody says.
    pub description: String,
    /// How often it was fetched: on Docker Hub ever, on the Hugging Face Hub in a month.
    pub downloads: u64,
    /// Stars or likes.
    pub likes: u64,
    /// When it changed last, in Unix seconds; 0 if nobody says.
    pub updated: i64,
    /// The source says that it has GGUF files. Docker Hub does not say.
    pub gguf: bool,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct SearchResults {
    /// Docker Hub's hits, then the Hugging Face Hub's, each with the most fetched first.
    pub hits: Vec<SearchHit>,
    /// The sources that did not answer, and why.
    pub failures: Vec<(Source, Error)>,
}

/// All places to search; one that is `None` is left out.
#[derive(Clone, Default)]
pub struct Search {
    /// Docker Hub.
    pub docker: Option<DockerHub>,
    /// The Hugging Face Hub.
    pub hugging_face: Option<Hub>,
}

impl Search {
    /// Up to `limit` hits (1 to [`MAX_HITS`]) of each source; for an empty query, those that are
    /// fetched most.
    ///
    /// # Errors
    /// `InvalidValue` for a query that is too long or holds control characters, or for a
    /// limit out of range; never the failure of a source.
    pub async fn find(&self, query: &str, limit: usize) -> Result<SearchResults> {
        let query = query.trim();
        if query.len() > MAX_QUERY_BYTES || query.chars().any(char::is_control) {
            let text = format!("a query has at most {MAX_QUERY_BYTES} bytes of printable text");
            return Err(Error::invalid("query", text));
        }
        if !(1..=MAX_HITS).contains(&limit) {
            let text = format!("the limit is {limit}; 1 to {MAX_HITS} are possible");
            return Err(Error::invalid("limit", text));
        }
        let docker = async {
            match &self.docker {
                Some(docker) => docker.search(query, limit).await,
                None => Ok(Vec::new()),
            }
        };
        let hugging_face = async {
            match &self.hugging_face {
                Some(hub) => hub.search(query, limit).await,
                None => Ok(Vec::new()),
            }
        };
        let (docker, hugging_face) = tokio::join!(docker, hugging_face);
        let mut results = SearchResults::default();
        for (source, found) in [(Source::DockerHub, docker), (Source::HuggingFace, hugging_face)] {
            match found {
                Ok(hits) => results.hits.extend(hits),
                Err(error) => results.failures.push((source, error)),
            }
        }
        Ok(results)
    }
}

/// Docker Hub's catalogue of models.
#[derive(Clone)]
pub struct DockerHub {
    egress: Egress,
    endpoint: Url,
}

#[derive(Deserialize)]
struct WireRepositories {
    results: Vec<WireRepository>,
}

#[derive(Deserialize)]
struct WireRepository {
    name: String,
    description: Option<String>,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    pull_count: u64,
    last_updated: Option<String>,
    #[serde(default)]
    content_types: Vec<String>,
}

impl DockerHub {
    /// The catalogue at `endpoint` ([`DOCKER_HUB_ENDPOINT`]), without an account.
    pub fn new(egress: Egress, endpoint: Url) -> Self {
        Self { egress, endpoint }
    }

    /// Up to `limit` models of `ai/` that hold every word of `query` in name or description.
    ///
    /// # Errors
    /// `RegistryUnavailable`, `RegistryInvalid`.
    pub async fn search(&self, query: &str, limit: usize) -> Result<Vec<SearchHit>> {
        let query = query.to_ascii_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        // The catalogue looks for one part of a name; the longest leaves the least to look through.
        let longest = words.iter().max_by_key(|word| word.len()).copied().unwrap_or_default();
        let mut url = self.endpoint.clone();
        url.set_path(&format!("/v2/namespaces/{NAMESPACE}/repositories"));
        if !longest.is_empty() {
            url.query_pairs_mut().append_pair("name", longest);
        }
        url.query_pairs_mut().append_pair("page_size", "100");
        let request = EgressRequest::get(url, self.endpoint.clone());
        let response = self.egress.send(request).await?;
        if response.status != http::StatusCode::OK {
            let host = response.url.host_str().unwrap_or_default();
            return Err(unexpected(response.status, &response.headers, host, "a search").into());
        }
        let bytes = response.read(MAX_ANSWER_BYTES).await?;
        let found: WireRepositories = serde_json::from_slice(&bytes).map_err(|e| {
            let text = format!("Docker Hub's answer to a search is not taken: {e}");
            Error::new(ErrorKind::RegistryInvalid, text)
        })?;
        let mut hits: Vec<SearchHit> = found
            .results
            .into_iter()
            .filter(|found| is_name(&found.name))
            // Older answers do not say what a repository holds; everything in this one is a model.
            .filter(|found| {
                found.content_types.is_empty() || found.content_types.iter().any(|t| t == "model")
            })
            .map(hit)
            .filter(|hit| {
                let text = format!("{} {}", hit.name, hit.description).to_ascii_lowercase();
                words.iter().all(|word| text.contains(word))
            })
            .collect();
        hits.sort_by_key(|hit| std::cmp::Reverse(hit.downloads));
        hits.truncate(limit);
        Ok(hits)
    }
}

fn hit(found: WireRepository) -> SearchHit {
    let WireRepository { name, description, star_count, pull_count, last_updated, .. } = found;
    let description = description.unwrap_or_default();
    let words: Vec<&str> = description.split_whitespace().collect();
    SearchHit {
        name: format!("{NAMESPACE}/{name}"),
        source: Source::DockerHub,
        description: words
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_DESCRIPTION)
            .collect(),
        downloads: pull_count,
        likes: star_count,
        updated: unix_seconds(last_updated.as_deref()),
        gguf: false,
    }
}

/// Whether this is a name that can be pulled, and printed.
fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The seconds of an RFC 3339 time; 0 for none or nonsense.
pub(super) fn unix_seconds(text: Option<&str>) -> i64 {
    let parsed = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    parsed.map_or(0, |time| time.as_second().max(0))
}

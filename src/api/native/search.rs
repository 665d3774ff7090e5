use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::Error;
use crate::registry::search::{SearchHit, SearchResults, Source};

use super::query::read_query;

/// How many hits of each source there are if nobody says.
const LIMIT: usize = 25;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    query: String,
    limit: Option<String>,
}

/// What was found, and which sources did not answer.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Found)]
pub(super) struct Found {
    results: Vec<Hit>,
    errors: Vec<Failure>,
}

/// A model that can be pulled.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Hit)]
struct Hit {
    /// What to pull.
    name: String,
    /// `docker.io` or `huggingface.co`.
    source: &'static str,
    description: String,
    /// On Docker Hub ever, on the Hugging Face Hub in a month.
    downloads: u64,
    stars: u64,
    /// Unix seconds; 0 if nobody says.
    updated: i64,
    /// Whether the source says that it has GGUF files.
    gguf: bool,
}

/// A source that did not answer.
#[derive(Serialize, ToSchema)]
#[schema(as = native::SearchFailure)]
struct Failure {
    source: &'static str,
    message: String,
}

/// `GET /modeld/search?query&limit`.
pub(in crate::api) async fn search(State(state): State<ApiState>, uri: Uri) -> Reply {
    let Params { query, limit } = read_query(&uri)?;
    let limit = match limit {
        None => LIMIT,
        Some(text) => text
            .parse()
            .map_err(|_| Error::invalid("limit", "`limit` must be a whole number from 1 to 100"))?,
    };
    Ok(Json(Found::from(state.service.search(&query, limit).await?)).into_response())
}

impl From<SearchResults> for Found {
    fn from(found: SearchResults) -> Self {
        let SearchResults { hits, failures } = found;
        Self {
            results: hits.into_iter().map(Hit::from).collect(),
            errors: failures
                .into_iter()
                .map(|(source, error)| Failure { source: name(source), message: error.message })
                .collect(),
        }
    }
}

impl From<SearchHit> for Hit {
    fn from(hit: SearchHit) -> Self {
        let SearchHit { name: model, source, description, downloads, likes, updated, gguf } = hit;
        Self {
            name: model,
            source: name(source),
            description,
            downloads,
            stars: likes,
            updated,
            gguf,
        }
    }
}

fn name(source: Source) -> &'static str {
    match source {
        Source::DockerHub => "docker.io",
        Source::HuggingFace => "huggingface.co",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ErrorKind;

    #[test]
    fn what_was_found_on_the_wire() {
        let hit = SearchHit {
            name: "ai/smollm2".into(),
            source: Source::DockerHub,
            description: "Tiny".into(),
            downloads: 7,
            likes: 3,
            updated: 1_735_689_600,
            gguf: false,
        };
        let error = Error::new(ErrorKind::RegistryUnavailable, "huggingface.co:443 stalled");
        let found = SearchResults { hits: vec![hit], failures: vec![(Source::HuggingFace, error)] };
        insta::assert_json_snapshot!(Found::from(found), @r#"
        {
          "results": [
            {
              "name": "ai/smollm2",
              "source": "docker.io",
              "description": "Tiny",
              "downloads": 7,
              "stars": 3,
              "updated": 1735689600,
              "gguf": false
            }
          ],
          "errors": [
            {
              "source": "huggingface.co",
              "message": "huggingface.co:443 stalled"
            }
          ]
        }
        "#);
    }
}

use axum::Json;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::checks::count;
use crate::api::params::ModelName;
use crate::api::refusal::Reply;
use crate::api::reply::name_model;
use crate::api::state::ApiState;
use crate::domain::{Error, ModelConfig, ModelEntry, Result};

/// Models on a page that names no `limit`, and the most that it may name.
const PAGE: usize = 20;
const MAX_PAGE: u32 = 1_000;

/// Which part of the list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    limit: Option<String>,
    after_id: Option<String>,
    before_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = anthropic::ModelList)]
pub(super) struct List {
    data: Vec<WireModel>,
    has_more: bool,
    first_id: Option<String>,
    last_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = anthropic::Model)]
pub(super) struct WireModel {
    r#type: &'static str,
    id: String,
    display_name: String,
    created_at: String,
    lifecycle: &'static str,
    max_input_tokens: Option<u32>,
    max_tokens: Option<u32>,
}

impl From<ModelEntry> for WireModel {
    fn from(entry: ModelEntry) -> Self {
        let ModelEntry { id, tags, created, config } = entry;
        let ModelConfig { gguf, context_size, .. } = &*config;
        let id = tags.into_iter().next().unwrap_or_else(|| id.to_string());
        // Years beyond 9999 have no such form.
        let time = jiff::Timestamp::from_second(created).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self {
            r#type: "model",
            display_name: gguf.get("general.name").unwrap_or(&id).clone(),
            id,
            created_at: time.to_string(),
            lifecycle: "active",
            // Prompt and answer share the context.
            max_input_tokens: *context_size,
            max_tokens: *context_size,
        }
    }
}

/// `GET …/v1/models?limit=…&after_id=…`, newest first.
pub(in crate::api) async fn list(State(state): State<ApiState>, uri: Uri) -> Reply {
    let Query(page) = Query::try_from_uri(&uri)
        .map_err(|fault| Error::invalid("query", format!("the query cannot be read: {fault}")))?;
    let models = state.service.list().await?.into_iter().map(WireModel::from).collect();
    Ok(Json(cut(models, page)?).into_response())
}

/// `GET …/v1/models/{id}`; the id may contain slashes, encoded or not.
pub(in crate::api) async fn retrieve(
    State(state): State<ApiState>,
    ModelName(name): ModelName,
) -> Reply {
    let entry = state.service.inspect(&name).await.map_err(name_model)?;
    Ok(Json(WireModel::from(entry)).into_response())
}

fn cut(models: Vec<WireModel>, page: Page) -> Result<List> {
    let Page { limit, after_id, before_id } = page;
    let limit = match limit {
        None => PAGE,
        Some(text) => {
            let number = text.parse().map_err(|_| {
                Error::invalid("limit", format!("`limit` must be between 1 and {MAX_PAGE}"))
            })?;
            count("limit", Some(number), 1, MAX_PAGE)?.map_or(PAGE, |limit| limit as usize)
        }
    };
    let at = |name: &str, id: &str| {
        models.iter().position(|model| model.id == id).ok_or_else(|| {
            Error::invalid(name, format!("`{name}` is no id of this list; start it again"))
        })
    };
    let (from, to) = match (after_id, before_id) {
        (Some(_), Some(_)) => {
            let message = "send `after_id` or `before_id`, not both";
            return Err(Error::invalid("before_id", message));
        }
        (Some(id), None) => (at("after_id", &id)?.saturating_add(1), models.len()),
        (None, Some(id)) => (0, at("before_id", &id)?),
        (None, None) => (0, models.len()),
    };
    let size = to.saturating_sub(from);
    // A page before something ends at it, any other begins after something.
    let skipped = if to < models.len() { size.saturating_sub(limit) } else { 0 };
    let data: Vec<WireModel> =
        models.into_iter().skip(from.saturating_add(skipped)).take(size.min(limit)).collect();
    let id = |model: Option<&WireModel>| model.map(|model| model.id.clone());
    Ok(List { has_more: size > limit, first_id: id(data.first()), last_id: id(data.last()), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: &str) -> WireModel {
        WireModel {
            r#type: "model",
            id: id.into(),
            display_name: id.into(),
            created_at: String::new(),
            lifecycle: "active",
            max_input_tokens: None,
            max_tokens: None,
        }
    }

    fn page(query: &str) -> Result<(String, bool)> {
        let uri: Uri = format!("/v1/models?{query}").parse().expect("a path");
        let Query(page) = Query::try_from_uri(&uri).expect("a query");
        let list = cut("abcde".chars().map(|c| model(&c.to_string())).collect(), page)?;
        assert_eq!(list.first_id.as_ref(), list.data.first().map(|model| &model.id));
        assert_eq!(list.last_id.as_ref(), list.data.last().map(|model| &model.id));
        Ok((list.data.iter().map(|model| model.id.as_str()).collect(), list.has_more))
    }

    #[test]
    fn pages_go_forth_and_back() {
        for (query, ids, more) in [
            ("", "abcde", false),
            ("limit=5", "abcde", false),
            ("limit=2", "ab", true),
            ("limit=2&after_id=b", "cd", true),
            ("limit=2&after_id=d", "e", false),
            ("limit=2&after_id=e", "", false),
            ("limit=2&before_id=e", "cd", true),
            ("limit=2&before_id=c", "ab", false),
            ("limit=2&before_id=b", "a", false),
            ("before_id=a", "", false),
        ] {
            assert_eq!(page(query), Ok((ids.to_owned(), more)), "{query}");
        }
    }

    #[test]
    fn bad_pages_name_their_field() {
        for (query, param) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=x", "limit"),
            ("after_id=x", "after_id"),
            ("before_id=x", "before_id"),
            ("before_id=b&after_id=a", "before_id"),
        ] {
            assert_eq!(page(query).expect_err(query).param.as_deref(), Some(param), "{query}");
        }
    }
}

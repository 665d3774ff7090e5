use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::body::MAX_SMALL_BODY;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, ModelRef, Result};
use crate::models::{Headers, Portrait, StoredMessage};

use super::super::body::read;
use super::super::convert::model_name;
use super::super::error::{Wanted, said};
use super::super::types::ShowRequest;
use super::details::{Details, capabilities, modified, time};
use super::{info, modelfile};

/// The answer of `POST /api/show`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::Model)]
pub(in crate::api::ollama) struct Shown {
    #[serde(skip_serializing_if = "String::is_empty")]
    license: String,
    modelfile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    template: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    details: Details,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<WireMessage>,
    /// Programs read it without looking whether it is there.
    model_info: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    projector_info: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tensors: Vec<Value>,
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<&'static str>,
    modified_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ollama::StoredMessage)]
struct WireMessage {
    role: String,
    content: String,
}

/// `POST /api/show`.
pub(in crate::api) async fn show(State(state): State<ApiState>, request: Request) -> Reply {
    Ok(serve(&state, request).await?)
}

async fn serve(state: &ApiState, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let request: ShowRequest = read(&parts, body, MAX_SMALL_BODY).await?;
    let ShowRequest {
        model,
        name,
        verbose,
        // What a model would look like with other settings was asked by an older version.
        system: _,
        template: _,
        options: _,
    } = request;
    let name = model_name(&model, &name)
        .ok_or_else(|| Error::new(ErrorKind::MissingField, "model is required"))?;
    let headers = state.service.headers(&name).await.map_err(said(&name, Wanted::Look))?;
    let shown = shown(headers, verbose.unwrap_or(false), &name, &parts.headers);
    Ok(Json(shown).into_response())
}

fn shown(headers: Headers, verbose: bool, asked: &str, request: &HeaderMap) -> Shown {
    let Headers { portrait, weights, projector, licenses } = headers;
    let details = Details::of(&portrait);
    let modified_at = time(modified(&portrait));
    let capabilities = capabilities(portrait.abilities);
    let Portrait { entry, facts, template, ollama, .. } = portrait;
    let tag = entry.tags.first().map(|tag| ModelRef::short(tag, |_| false));
    let from = tag.unwrap_or_else(|| entry.id.short());
    let mut model_info = info::model_info(&weights, facts.as_deref(), verbose);
    // This one names models by what it finds here.
    if from_copilot(request)
        && let Some(info) = model_info.as_object_mut()
    {
        info.insert("general.basename".to_owned(), asked.into());
    }
    let messages = ollama.messages.iter().map(|StoredMessage { role, content }| WireMessage {
        role: role.clone(),
        content: content.clone(),
    });
    Shown {
        modelfile: modelfile::modelfile(&from, &template, &ollama, &licenses),
        license: licenses.join("\n"),
        parameters: modelfile::parameters(&ollama.parameters),
        messages: messages.collect(),
        template,
        system: ollama.system,
        details,
        model_info,
        projector_info: projector.map(|header| info::metadata(&header, verbose).into()),
        tensors: if verbose { info::tensors(&weights) } else { Vec::new() },
        capabilities,
        modified_at,
    }
}

fn from_copilot(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with("GitHubCopilotChat/"))
}

use std::path::PathBuf;

use axum::Json;
use axum::extract::Request;
use axum::response::IntoResponse;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body;
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, Result};
use crate::models::Changes;

/// Room for a template and several licences.
const MAX_BODY: usize = 8 << 20;

/// The body of `POST /models/{name}/repackage`. Docker's clients send the first two fields.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::Repackage)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Repackage {
    /// The name for the new model.
    target: Option<String>,
    /// The largest context that it may get, in tokens.
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    context_size: Option<i64>,
    /// The text of a Jinja template, in the place of its own.
    chat_template: Option<String>,
    /// Texts of further licences.
    licenses: Option<Vec<String>>,
    /// The absolute path of a projector on the daemon's machine, in the place of its own.
    mmproj: Option<String>,
    /// Absolute paths of further LoRA adapters, likewise.
    lora: Option<Vec<String>>,
}

/// Its answer.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Repackaged)]
pub(super) struct Repackaged {
    message: String,
    source: String,
    target: String,
    /// An extension: the id.
    model: String,
}

/// `POST /models/{name}/repackage`: a new config and manifest over the same blobs.
pub(super) async fn repackage(state: &ApiState, source: &str, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_BODY).await?;
    let (target, changes) = changes(json::decode(&body)?)?;
    let made = state.service.repackage(source, &target, changes).await?;
    let mut message = format!("Model repackaged successfully as {target:?}");
    if made.converted {
        message.push_str(
            "; the source is a CNCF ModelPack, which has no field for a context size, so the new \
             model is a Docker model artifact",
        );
    }
    let (source, model) = (source.to_owned(), made.id.to_string());
    Ok((StatusCode::CREATED, Json(Repackaged { message, source, target, model })).into_response())
}

fn changes(request: Repackage) -> Result<(String, Changes)> {
    let Repackage { target, context_size, chat_template, licenses, mmproj, lora } = request;
    let target = target.filter(|target| !target.trim().is_empty()).ok_or_else(|| {
        Error::new(ErrorKind::MissingField, "target is required").with_param("target")
    })?;
    let context_size = context_size
        .map(|size| match i32::try_from(size).map(u32::try_from) {
            Ok(Ok(size @ 1..)) => Ok(size),
            _ => {
                let message = format!("`context_size` is {size}; 1 to {} are possible", i32::MAX);
                Err(Error::invalid("context_size", message))
            }
        })
        .transpose()?;
    let absolute = |field: String, path: String| {
        let path = PathBuf::from(path);
        if path.is_absolute() {
            return Ok(path);
        }
        let message = "write an absolute path: the daemon stands somewhere else";
        Err(Error::invalid(field, message))
    };
    let adapters = lora.unwrap_or_default().into_iter().enumerate();
    let changes = Changes {
        context_size,
        chat_template,
        licenses: licenses.unwrap_or_default(),
        mmproj: mmproj.map(|path| absolute("mmproj".to_owned(), path)).transpose()?,
        adapters: adapters
            .map(|(at, path)| absolute(format!("lora[{at}]"), path))
            .collect::<Result<_>>()?,
    };
    Ok((target, changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let read = |json: &str| changes(serde_json::from_str(json).unwrap());
        let (target, good) = read(
            r#"{"target": "m", "context_size": 2147483647, "mmproj": "/p", "lora": ["/a", "/b"]}"#,
        )
        .unwrap();
        assert_eq!((target.as_str(), good.context_size), ("m", Some(i32::MAX as u32)));
        assert_eq!((good.mmproj, good.adapters.len()), (Some("/p".into()), 2));
        for (json, param) in [
            (r#"{}"#, "target"),
            (r#"{"target": " "}"#, "target"),
            (r#"{"target": "m", "context_size": 0}"#, "context_size"),
            (r#"{"target": "m", "context_size": -1}"#, "context_size"),
            (r#"{"target": "m", "context_size": 2147483648}"#, "context_size"),
            (r#"{"target": "m", "context_size": 4294967296}"#, "context_size"),
            (r#"{"target": "m", "mmproj": "p"}"#, "mmproj"),
            (r#"{"target": "m", "lora": ["/a", "b"]}"#, "lora[1]"),
        ] {
            assert_eq!(read(json).unwrap_err().param.as_deref(), Some(param), "{json}");
        }
    }
}

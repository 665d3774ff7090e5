use axum::extract::{Request, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::json;
use crate::api::refusal::Reply;
use crate::api::state::ApiState;
use crate::domain::{Error, Result};
use crate::models::{ImportEvent, ImportOptions, Imported, Places};
use crate::store::AdoptedAs;

use super::lines::{LINES_AHEAD, Work, line, stream};

/// The body of `POST /modeld/import`. Paths are absolute.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::ImportRequest)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Import {
    /// Stores of Docker Model Runner.
    docker: Vec<String>,
    /// Ollama's directories of models.
    ollama: Vec<String>,
    /// LM Studio's.
    lm_studio: Vec<String>,
    /// llama.cpp's caches.
    llama_cpp: Vec<String>,
    /// Caches of Hugging Face's libraries.
    hub_cache: Vec<String>,
    /// GGUF files, and directories of them.
    paths: Vec<String>,
    /// The name for one of `paths`.
    name: Option<String>,
    /// Change nothing.
    dry_run: bool,
}

/// One line of the answer.
#[derive(Serialize, ToSchema)]
#[schema(as = native::ImportLine)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Line {
    Reading {
        path: String,
        bytes: u64,
    },
    Imported {
        origin: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        tags: Vec<String>,
        bytes: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        how: Option<&'static str>,
        notes: Vec<String>,
    },
    Skipped {
        origin: &'static str,
        what: String,
        why: String,
    },
    Success,
    Error {
        message: String,
    },
}

/// `POST /modeld/import`: what other programs have, as JSON lines while it is looked into. The last
/// line says how it ended.
pub(in crate::api) async fn import(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let options = options(json::decode(&body)?)?;
    let (sender, lines) = mpsc::channel::<Bytes>(LINES_AHEAD);
    let reported = sender.clone();
    let service = state.service.clone();
    // It goes on without its client: what was found is worth having.
    let work: Work = Box::pin(async move {
        let report = move |event| drop(reported.blocking_send(line(&Line::from(event))));
        service.import(options, report).await.map(|()| line(&Line::Success))
    });
    stream(work, sender, lines, |message| line(&Line::Error { message })).await
}

fn options(request: Import) -> Result<ImportOptions> {
    let Import { docker, ollama, lm_studio, llama_cpp, hub_cache, paths, name, dry_run } = request;
    let absolute = |field: &str, all: Vec<String>| -> Result<Vec<std::path::PathBuf>> {
        let check = |(at, path): (usize, String)| {
            let path = std::path::PathBuf::from(path);
            if path.is_absolute() {
                return Ok(path);
            }
            let message = "write an absolute path: the daemon stands somewhere else";
            Err(Error::invalid(format!("{field}[{at}]"), message))
        };
        all.into_iter().enumerate().map(check).collect()
    };
    if name.is_some() && paths.len() != 1 {
        let message = format!("a name goes with one path; there are {}", paths.len());
        return Err(Error::invalid("name", message));
    }
    Ok(ImportOptions {
        places: Places {
            docker: absolute("docker", docker)?,
            ollama: absolute("ollama", ollama)?,
            lm_studio: absolute("lm_studio", lm_studio)?,
            llama_cpp: absolute("llama_cpp", llama_cpp)?,
            hub_cache: absolute("hub_cache", hub_cache)?,
        },
        paths: absolute("paths", paths)?,
        name,
        dry_run,
    })
}

impl From<ImportEvent> for Line {
    fn from(event: ImportEvent) -> Self {
        match event {
            ImportEvent::Reading { path, bytes } => {
                Self::Reading { path: path.display().to_string(), bytes }
            }
            ImportEvent::Imported(Imported { origin, id, tags, bytes, how, notes }) => {
                Self::Imported {
                    origin: origin.name(),
                    id: id.map(|id| id.to_string()),
                    tags,
                    bytes,
                    how: how.map(|how| match how {
                        AdoptedAs::Present => "present",
                        AdoptedAs::Reflink => "reflink",
                        AdoptedAs::HardLink => "hard link",
                        AdoptedAs::Reference => "reference",
                    }),
                    notes,
                }
            }
            ImportEvent::Skipped { origin, what, why } => {
                Self::Skipped { origin: origin.name(), what, why }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_a_name_is_for_one() {
        let read = |json: &str| options(serde_json::from_str(json).unwrap());
        let good = read(r#"{"ollama": ["/a"], "paths": ["/b"], "name": "m", "dry_run": true}"#);
        assert_eq!(good.map(|o| (o.places.ollama, o.dry_run)), Ok((vec!["/a".into()], true)));
        for (json, param) in [
            (r#"{"paths": ["/a", "b"]}"#, "paths[1]"),
            (r#"{"docker": ["~/.docker"]}"#, "docker[0]"),
            (r#"{"paths": ["/a", "/b"], "name": "m"}"#, "name"),
        ] {
            assert_eq!(read(json).unwrap_err().param.as_deref(), Some(param), "{json}");
        }
    }
}

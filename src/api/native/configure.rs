use axum::Json;
use axum::extract::{Query, Request, State};
use axum::response::IntoResponse;
use http::{StatusCode, Uri};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::api::body::{self, MAX_SMALL_BODY};
use crate::api::checks::{missing, no_nul};
use crate::api::go_duration::{format_keep_alive, parse_keep_alive};
use crate::api::json::{self, Object};
use crate::api::params::BACKEND;
use crate::api::refusal::Reply;
use crate::api::reply::name_model;
use crate::api::state::ApiState;
use crate::domain::{Error, ErrorKind, KeepAlive, Result};
use crate::protocol::Purpose;
use crate::service::{ALL_CONTEXT, Configuration, Configured, Reconfigure};

use super::types::mode_of;

/// The body of `POST /engines/_configure`. What is absent stays as it is configured, null takes it
/// back.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::Configure)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Configure {
    model: Option<String>,
    /// `completion`, `embedding` or `reranking`; a model is for one of them.
    mode: Option<String>,
    /// In tokens; -1: all that the model has, 0: as null.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<i64>)]
    context_size: Option<Option<i64>>,
    /// Flags of llama.cpp's server, in the place of the earlier ones.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<Vec<String>>)]
    runtime_flags: Option<Option<Vec<String>>>,
    /// The same as a shell would read them, where `runtime-flags` says nothing.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    raw_runtime_flags: Option<Option<String>>,
    #[schema(value_type = Option<Speculative>)]
    speculative: Option<Object<Speculative>>,
    /// How long it stays once idle, as Go writes durations (`"5m"`); `"0"`: not at all, negative:
    /// for ever.
    #[serde(rename = "keep_alive", default, deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    keep_alive: Option<Option<String>>,
    /// Refused: there is no vLLM here.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    vllm: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<LlamaCpp>)]
    llamacpp: Option<Option<Object<LlamaCpp>>>,
}

/// Drafts of a smaller model, which modeld does not use: refused where it asks for them.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::Speculative)]
#[serde(deny_unknown_fields)]
struct Speculative {
    draft_model: Option<String>,
    num_tokens: Option<i64>,
    #[expect(dead_code, reason = "it says nothing without drafts")]
    min_acceptance_rate: Option<f64>,
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = native::LlamaCpp)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LlamaCpp {
    /// The most tokens of thought; 0: none, -1: without a bound.
    #[serde(default, deserialize_with = "said")]
    #[schema(value_type = Option<i64>)]
    reasoning_budget: Option<Option<i64>>,
}

/// What is configured for one model.
#[derive(Serialize, ToSchema)]
#[schema(as = native::Configured)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WireConfigured {
    backend: &'static str,
    model: String,
    #[serde(rename = "ModelID")]
    model_id: String,
    mode: &'static str,
    config: WireConfiguration,
}

#[derive(Serialize, ToSchema)]
#[schema(as = native::Configuration)]
#[serde(rename_all = "kebab-case")]
struct WireConfiguration {
    #[serde(skip_serializing_if = "Option::is_none")]
    context_size: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runtime_flags: Vec<String>,
    #[serde(rename = "keep_alive", skip_serializing_if = "Option::is_none")]
    keep_alive: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    llamacpp: Option<WireLlamaCpp>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = native::ConfiguredLlamaCpp)]
#[serde(rename_all = "kebab-case")]
struct WireLlamaCpp {
    reasoning_budget: i32,
}

#[derive(Deserialize)]
struct Filter {
    model: Option<String>,
}

/// `POST /engines/_configure`. Docker's client insists on 202.
pub(in crate::api) async fn configure(State(state): State<ApiState>, request: Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body::read(&parts, body, MAX_SMALL_BODY).await?;
    let (model, change) = convert(json::decode(&body)?)?;
    state.service.configure(&model, change).await.map_err(name_model)?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// `GET /engines/_configure`.
pub(in crate::api) async fn configurations(State(state): State<ApiState>, uri: Uri) -> Reply {
    let Query(Filter { model }) = Query::try_from_uri(&uri).map_err(|fault| {
        Error::new(ErrorKind::InvalidValue, "the query cannot be read; check its encoding")
            .with_cause(fault)
    })?;
    let model = model.filter(|model| !model.is_empty());
    let found = state.service.configurations(model.as_deref()).await?;
    Ok(Json(found.into_iter().map(WireConfigured::from).collect::<Vec<_>>()).into_response())
}

fn convert(body: Configure) -> Result<(String, Reconfigure)> {
    let Configure {
        model,
        mode,
        context_size,
        runtime_flags,
        raw_runtime_flags,
        speculative,
        keep_alive,
        vllm,
        llamacpp,
    } = body;
    let model = model.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| missing("model", "name the model to configure"))?;
    if let Some(Object(speculative)) = speculative {
        refuse_drafts(&speculative)?;
    }
    if vllm.is_some_and(|value| !value.is_null()) {
        let message = "`vllm` configures an engine that modeld does not have: its only one is \
                       llama.cpp; leave it out";
        return Err(Error::unsupported("vllm", message));
    }
    let reasoning_budget = match llamacpp {
        None => None,
        // Nothing is left of it.
        Some(None) => Some(None),
        Some(Some(Object(LlamaCpp { reasoning_budget }))) => match reasoning_budget {
            Some(Some(tokens)) => Some(Some(budget(tokens)?)),
            other => other.map(|_| None),
        },
    };
    let change = Reconfigure {
        purpose: mode.as_deref().map(purpose).transpose()?,
        context: context_size.map(context).transpose()?,
        keep_alive: keep_alive.map(stay).transpose()?,
        reasoning_budget,
        flags: flags(runtime_flags, raw_runtime_flags)?,
    };
    Ok((model, change))
}

fn purpose(mode: &str) -> Result<Purpose> {
    match mode {
        "completion" => Ok(Purpose::Generate),
        "embedding" => Ok(Purpose::Embed),
        "reranking" => Ok(Purpose::Rerank),
        "image-generation" => {
            Err(Error::unsupported("mode", "modeld makes no images; `mode` cannot be that"))
        }
        _ => Err(Error::invalid("mode", "`mode` must be completion, embedding or reranking")),
    }
}

fn context(tokens: Option<i64>) -> Result<Option<u32>> {
    match tokens {
        None | Some(0) => Ok(None),
        Some(-1) => Ok(Some(ALL_CONTEXT)),
        Some(tokens) => match u32::try_from(tokens).ok().filter(|n| i32::try_from(*n).is_ok()) {
            Some(tokens) => Ok(Some(tokens)),
            None => {
                let message = format!(
                    "`context-size` is {tokens}; it must be a number of tokens, or -1 for all that \
                     the model has"
                );
                Err(Error::invalid("context-size", message))
            }
        },
    }
}

fn stay(text: Option<String>) -> Result<Option<KeepAlive>> {
    let read = |text: String| {
        let wrong = |fault| Error::invalid("keep_alive", format!("`keep_alive` {fault}"));
        parse_keep_alive(&text).map_err(wrong)
    };
    text.map(read).transpose()
}

fn budget(tokens: i64) -> Result<i32> {
    const FIELD: &str = "llamacpp.reasoning-budget";
    i32::try_from(tokens).ok().filter(|tokens| *tokens >= -1).ok_or_else(|| {
        let message = format!(
            "`{FIELD}` is {tokens}; it must be a number of tokens, 0 for none or -1 for no bound"
        );
        Error::invalid(FIELD, message)
    })
}

/// All flags from now on; `None`: they stay.
fn flags(
    words: Option<Option<Vec<String>>>,
    raw: Option<Option<String>>,
) -> Result<Option<Vec<String>>> {
    let raw = match raw {
        None => None,
        Some(raw) => {
            let raw = raw.unwrap_or_default();
            Some(shell_words::split(&raw).map_err(|_| {
                let message = "`raw-runtime-flags` has a quote that is not closed";
                Error::invalid("raw-runtime-flags", message)
            })?)
        }
    };
    let words = words.map(Option::unwrap_or_default);
    let flags = match (words, raw) {
        (Some(words), Some(raw)) if words.is_empty() => Some(raw),
        (words, raw) => words.or(raw),
    };
    for flag in flags.iter().flatten() {
        no_nul(flag, || "runtime-flags".to_owned())?;
    }
    Ok(flags)
}

fn refuse_drafts(speculative: &Speculative) -> Result<()> {
    let Speculative { draft_model, num_tokens, .. } = speculative;
    let named = draft_model.as_deref().is_some_and(|model| !model.is_empty());
    let field = match (named, num_tokens) {
        (true, _) => "speculative.draft_model",
        (false, Some(tokens)) if *tokens != 0 => "speculative.num_tokens",
        _ => return Ok(()),
    };
    let message = format!(
        "`{field}` asks for drafts of a smaller model, which modeld does not use; leave \
         `speculative` out"
    );
    Err(Error::unsupported(field, message))
}

/// Tells null from nothing.
fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl From<Configured> for WireConfigured {
    fn from(configured: Configured) -> Self {
        let Configured { id, name, purpose, configuration } = configured;
        let Configuration { context, keep_alive, reasoning_budget, flags } = configuration;
        let tokens = |tokens| if tokens == ALL_CONTEXT { -1 } else { i64::from(tokens) };
        Self {
            backend: BACKEND,
            model: name,
            model_id: id.to_string(),
            mode: mode_of(purpose),
            config: WireConfiguration {
                context_size: context.map(tokens),
                runtime_flags: flags,
                keep_alive: keep_alive.map(format_keep_alive),
                llamacpp: reasoning_budget
                    .map(|reasoning_budget| WireLlamaCpp { reasoning_budget }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn read(mut body: Value) -> Result<Reconfigure> {
        body["model"] = "m".into();
        convert(json::decode(body.to_string().as_bytes())?).map(|(_, change)| change)
    }

    #[test]
    fn what_is_absent_stays_and_null_takes_it_back() {
        assert_eq!(read(json!({})), Ok(Reconfigure::default()));
        let nulls = json!({"context-size": null, "keep_alive": null, "runtime-flags": null,
                           "llamacpp": null, "vllm": null, "speculative": null, "mode": null});
        let back = Reconfigure {
            purpose: None,
            context: Some(None),
            keep_alive: Some(None),
            reasoning_budget: Some(None),
            flags: Some(Vec::new()),
        };
        assert_eq!(read(nulls), Ok(back));
    }

    #[test]
    fn what_docker_s_clients_say() {
        let change = read(json!({
            "mode": "embedding", "context-size": 8192, "keep_alive": "1h30m",
            "raw-runtime-flags": "--temp 0.1 --chat-template-kwargs '{\"a\": 1}'",
            "llamacpp": {"reasoning-budget": -1}, "speculative": {"min_acceptance_rate": 0.5},
        }));
        let change = change.expect("a change");
        assert_eq!((change.purpose, change.context), (Some(Purpose::Embed), Some(Some(8192))));
        let time = Duration::from_secs(5400);
        assert_eq!(change.keep_alive, Some(Some(KeepAlive::For(time))));
        assert_eq!(change.reasoning_budget, Some(Some(-1)));
        let words = ["--temp", "0.1", "--chat-template-kwargs", "{\"a\": 1}"];
        assert_eq!(change.flags, Some(words.map(str::to_owned).to_vec()));
    }

    #[test]
    fn words_win_over_a_line_of_them() {
        let both = |words: Value| json!({"runtime-flags": words, "raw-runtime-flags": "--b"});
        let flags = |body| read(body).expect("a change").flags.expect("flags");
        assert_eq!(flags(both(json!(["--a"]))), ["--a"]);
        assert_eq!(flags(both(json!([]))), ["--b"]);
        assert_eq!(flags(both(Value::Null)), ["--b"]);
    }

    #[test]
    fn contexts() {
        let context = |tokens: i64| read(json!({"context-size": tokens})).map(|c| c.context);
        assert_eq!(context(-1), Ok(Some(Some(ALL_CONTEXT))));
        assert_eq!(context(0), Ok(Some(None)));
        for wrong in [-2, i64::MAX, 1 << 31] {
            assert_eq!(
                context(wrong).expect_err("no context").param.as_deref(),
                Some("context-size")
            );
        }
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (body, param) in [
            (json!({"vllm": {}}), "vllm"),
            (json!({"speculative": {"draft_model": "x"}}), "speculative.draft_model"),
            (json!({"speculative": {"num_tokens": 4}}), "speculative.num_tokens"),
            (json!({"mode": "image-generation"}), "mode"),
            (json!({"mode": "chat"}), "mode"),
            (json!({"keep_alive": "5"}), "keep_alive"),
            (json!({"raw-runtime-flags": "'x"}), "raw-runtime-flags"),
            (json!({"runtime-flags": ["a\u{0}"]}), "runtime-flags"),
            (json!({"llamacpp": {"reasoning-budget": -2}}), "llamacpp.reasoning-budget"),
        ] {
            assert_eq!(read(body).expect_err(param).param.as_deref(), Some(param));
        }
        assert!(convert(Configure::default()).is_err());
        assert!(read(json!({"keep_alive": 5})).is_err() && read(json!({"what": 1})).is_err());
    }

    #[test]
    fn the_keys_of_docker_s_client() {
        let configured = Configured {
            id: crate::domain::Digest::of(b"m"),
            name: "docker.io/ai/m:latest".into(),
            purpose: Purpose::Rerank,
            configuration: Configuration {
                context: Some(ALL_CONTEXT),
                keep_alive: Some(KeepAlive::For(Duration::from_secs(300))),
                reasoning_budget: Some(0),
                flags: vec!["--jinja".into()],
            },
        };
        insta::assert_json_snapshot!(WireConfigured::from(configured));
    }
}

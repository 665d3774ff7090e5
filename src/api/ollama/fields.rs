//! What becomes of each field of a request.

use crate::api::fields::{Field, Table, honoured, ignored, refused};

/// The routes that run models, and their `options`.
pub(in crate::api) const OLLAMA: &[Table] = &[
    Table { title: "Ollama: `POST /api/chat`", fields: CHAT },
    Table { title: "Ollama: `messages[]`", fields: MESSAGE },
    Table { title: "Ollama: `POST /api/generate`", fields: GENERATE },
    Table { title: "Ollama: `POST /api/embed`", fields: EMBED },
    Table { title: "Ollama: `POST /api/embeddings`", fields: EMBEDDINGS },
    Table { title: "Ollama: `options`", fields: OPTION_FIELDS },
];

const MODEL: Field = honoured("model", "required; `llama3`, `NAME:TAG`, `hf.co/…`, in any case");
const NAME: Field = honoured("name", "another spelling of `model`");
const STREAM: Field = honoured("stream", "lines of JSON; default true");
const FORMAT: Field =
    honoured("format", "`json` or a JSON schema; a model that thinks then does not");
const OPTIONS: Field = honoured("options", "see below; the model's own for what it leaves open");
const KEEP_ALIVE: Field = honoured(
    "keep_alive",
    "seconds, or a text like `5m`; 0: goes at once, negative: for ever. Only from who may manage; from others it is left away, and unloading is 403",
);
const THINK: Field = honoured(
    "think",
    "true, false, `low`, `medium`, `high`, `max`. Default: true for models that can",
);
const LOGPROBS: Field = honoured("logprobs", "");
const TOP_LOGPROBS: Field = honoured("top_logprobs", "0 to 20; needs `logprobs`");
const SHIFT: Field = honoured(
    "shift",
    "**differs**: default false, an answer that reaches the end of the context ends there, with \
     `done_reason` `length`. true: the older half of what `num_keep` does not keep is forgotten, and \
     the answer goes on, for ten contexts at most; never where the prompt has images",
);
const DEBUG: Field = refused("_debug_render_only", "`/v1/tokenize` shows the tokens of a chat");

const CHAT: &[Field] = &[
    MODEL,
    NAME,
    honoured("messages", "none: the model is loaded, or unloaded with `keep_alive` 0"),
    honoured("tools", "taken by every model that chats, also without `tools` in its capabilities"),
    STREAM,
    FORMAT,
    OPTIONS,
    KEEP_ALIVE,
    THINK,
    LOGPROBS,
    TOP_LOGPROBS,
    honoured(
        "truncate",
        "**differs**: default false, what does not fit is an error with both numbers. true: the \
         oldest turns go, system messages and the last turn stay, and the header \
         `x-truncated-tokens` says how many tokens went",
    ),
    SHIFT,
    DEBUG,
];

const MESSAGE: &[Field] = &[
    honoured(
        "role",
        "system, user, assistant, tool, in any case; a last one by the assistant is continued",
    ),
    honoured("content", "a text"),
    honoured("thinking", "of an assistant's turn"),
    honoured("images", "base64, also as data URLs; before the text"),
    honoured("tool_calls", "with `arguments` as an object, or as JSON text"),
    honoured("tool_name", "whose result it is"),
    honoured("tool_call_id", "default: the first call of that name without a result"),
];

const GENERATE: &[Field] = &[
    MODEL,
    NAME,
    honoured("prompt", "none: the model is loaded, or unloaded with `keep_alive` 0"),
    honoured("suffix", "for models with fill-in-the-middle tokens"),
    honoured("images", "base64, also as data URLs; not with `raw`, `suffix` or `context`"),
    honoured("system", ""),
    refused("template", "unless empty: the model's own Jinja template is used, or `raw`"),
    honoured(
        "context",
        "tokens as an answer told them, before the prompt; thoughts are not told apart then",
    ),
    honoured("raw", "the prompt as it stands; not with `system`, `template` or `context`"),
    STREAM,
    FORMAT,
    OPTIONS,
    KEEP_ALIVE,
    THINK,
    LOGPROBS,
    TOP_LOGPROBS,
    honoured(
        "truncate",
        "**differs**: default false, what does not fit is an error with both numbers. true: the \
         beginning of the prompt goes, and the header `x-truncated-tokens` says how many tokens",
    ),
    SHIFT,
    DEBUG,
];

const EMBED: &[Field] = &[
    MODEL,
    NAME,
    honoured("input", "a text or up to 2048 of them; none: the model is loaded"),
    honoured(
        "truncate",
        "**differs**: default false, what does not fit is an error. true: the end of each input \
         that does not fit goes, and the header `x-truncated-tokens` says how many tokens",
    ),
    honoured("dimensions", "so many of the first values; more than there are: all"),
    OPTIONS,
    KEEP_ALIVE,
];

const EMBEDDINGS: &[Field] =
    &[MODEL, NAME, honoured("prompt", "one text; none: the model is loaded"), OPTIONS, KEEP_ALIVE];

const OTHER_PLACE: &str = "how models are loaded is the daemon's to decide";
const RETIRED: &str = "of older versions; changes nothing upstream either";

const OPTION_FIELDS: &[Field] = &[
    honoured("num_predict", "tokens of the answer at most; 0 and below: the rest of the context"),
    honoured("temperature", "0 to 100. Default: the model file's, else 0.8"),
    honoured("top_k", "0 and below: all. Default: the model file's, else 40"),
    honoured("top_p", "0 to 1. Default: the model file's, else **0.95**, as in all dialects"),
    honoured("min_p", "0 to 1. Default: the model file's, else **0.05**, as in all dialects"),
    honoured("typical_p", "0 to 1; 1: off"),
    honoured("seed", "-1: a fresh one for each request"),
    honoured("stop", "a text or up to 64"),
    honoured("repeat_last_n", "-1: the whole context. Default: 64"),
    honoured("repeat_penalty", "over 0, to 100; 1: off"),
    honoured("presence_penalty", "-2 to 2"),
    honoured("frequency_penalty", "-2 to 2"),
    honoured("num_ctx", "a model that has as many or is in use stays as it is"),
    honoured(
        "num_keep",
        "tokens at the beginning that `shift` keeps, half of the context at most; -1: the prompt. \
         Default: the prompt, if it is no longer than that, else 4",
    ),
    ignored("num_batch", OTHER_PLACE),
    ignored("num_gpu", OTHER_PLACE),
    ignored("main_gpu", OTHER_PLACE),
    ignored("use_mmap", OTHER_PLACE),
    ignored("num_thread", OTHER_PLACE),
    ignored("draft_num_predict", OTHER_PLACE),
    ignored("mirostat", RETIRED),
    ignored("mirostat_tau", RETIRED),
    ignored("mirostat_eta", RETIRED),
    ignored("tfs_z", RETIRED),
    ignored("penalize_newline", RETIRED),
    ignored("numa", RETIRED),
    ignored("low_vram", RETIRED),
    ignored("f16_kv", RETIRED),
    ignored("logits_all", RETIRED),
    ignored("vocab_only", RETIRED),
    ignored("use_mlock", RETIRED),
    ignored("embedding_only", RETIRED),
    ignored("num_gqa", RETIRED),
];

#[cfg(test)]
mod tests {
    use super::super::convert;
    use super::super::types::{
        ChatRequest, EmbedRequest, EmbeddingsRequest, GenerateRequest, WireMessage,
    };
    use super::*;
    use crate::api::fields::{Treatment, assert_complete};

    #[test]
    fn every_field_has_a_row() {
        let [chat, message, generate, embed, embeddings, _] = OLLAMA else {
            panic!("another number of tables")
        };
        assert_complete::<ChatRequest>(chat);
        assert_complete::<WireMessage>(message);
        assert_complete::<GenerateRequest>(generate);
        assert_complete::<EmbedRequest>(embed);
        assert_complete::<EmbeddingsRequest>(embeddings);
    }

    #[test]
    fn every_option_has_a_row() {
        let rows: Vec<(&str, bool)> = OPTION_FIELDS
            .iter()
            .map(|field| (field.name, field.treatment == Treatment::Honoured))
            .collect();
        let known: Vec<(&str, bool)> = convert::OPTIONS
            .iter()
            .map(|(name, kind)| (*name, *kind != convert::Kind::Any))
            .collect();
        assert_eq!(rows, known);
    }
}

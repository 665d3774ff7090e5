//! What becomes of each endpoint of the programs that modeld stands in for: the documentation is
//! made of these tables, and a test holds them to the routes.

use std::fmt::Write as _;

/// An endpoint of another program.
#[derive(Debug, Clone, Copy)]
struct Endpoint {
    method: &'static str,
    /// As [`super::ROUTES`] spells it, where it is served.
    path: &'static str,
    is_served: bool,
    /// Where modeld differs, and why; empty: nowhere that a client would notice.
    note: &'static str,
}

const fn same(method: &'static str, path: &'static str) -> Endpoint {
    Endpoint { method, path, is_served: true, note: "" }
}

const fn differs(method: &'static str, path: &'static str, note: &'static str) -> Endpoint {
    Endpoint { method, path, is_served: true, note }
}

const fn missing(method: &'static str, path: &'static str, note: &'static str) -> Endpoint {
    Endpoint { method, path, is_served: false, note }
}

/// The native API of Docker Model Runner. Every path is served with the prefix `/exp/vDD4.40` too.
const DOCKER: &[Endpoint] = &[
    differs("GET", "/", "says that modeld runs"),
    same("GET", "/version"),
    differs("GET", "/logs", "the owner alone: logs name models and clients"),
    differs("GET", "/metrics", "of the daemon and all its models; DMR's are empty as a rule"),
    same("GET", "/models"),
    differs(
        "GET",
        "/models/{*model}",
        "a bare word that is no name finds a model by the last part of its name, as in DMR",
    ),
    differs(
        "POST",
        "/models/create",
        "whoever joins a running pull sees its progress; what was interrupted goes on where it was",
    ),
    differs("POST", "/models/load", "what is no model is 400 with the reason, not 500"),
    same("GET", "/models/{*model}/export"),
    differs(
        "DELETE",
        "/models/{*model}",
        "a busy model is 409 with the number of its requests unless `force=true`; an idle one is \
         unloaded first",
    ),
    differs("DELETE", "/models/purge", "409 while a model is busy unless `force=true`"),
    differs(
        "POST",
        "/models/{*model}",
        "`…/tag` and `…/push`; a name with `/export` at its end works",
    ),
    same("POST", "/models/{*model}/repackage"),
    same("GET", "/engines/status"),
    differs("GET", "/engines/ps", "names the tag that was asked for; more fields at the end"),
    same("GET", "/engines/df"),
    differs("POST", "/engines/unload", "what was configured stays"),
    differs(
        "POST",
        "/engines/_configure",
        "merged with what was configured before, and kept over a restart; a change of keep_alive \
         unloads nothing; flags that modeld cannot honour are refused by name",
    ),
    same("GET", "/engines/_configure"),
    differs(
        "GET",
        "/engines/requests",
        "only with `--record-requests`, and for the owner alone: records hold prompts",
    ),
    differs("POST", "/engines/install-backend", "llama.cpp is built in; others are refused"),
    differs("POST", "/engines/uninstall-backend", "llama.cpp is built in and stays"),
    same("POST", "/v1/chat/completions"),
    same("POST", "/v1/completions"),
    same("POST", "/v1/embeddings"),
    differs("POST", "/rerank", "also under `/v1` and `/v2`"),
    differs("POST", "/score", "also under `/v1` and `/v2`"),
    same("GET", "/v1/models"),
    same("GET", "/v1/models/{*model}"),
    same("POST", "/v1/responses"),
    missing("POST", "/v1/images/generations", "modeld makes no images"),
];

/// The API of Ollama.
const OLLAMA: &[Endpoint] = &[
    differs("GET", "/", "`Ollama is running` on the port of `--ollama-port`"),
    same("GET", "/api/version"),
    same("GET", "/api/tags"),
    same("POST", "/api/show"),
    differs(
        "POST",
        "/api/chat",
        "a prompt that does not fit is an error with both numbers; messages are dropped only where \
         the client sends `truncate: true`, and `x-truncated-tokens` says how much. Ollama drops \
         them silently",
    ),
    differs("POST", "/api/generate", "likewise"),
    differs("POST", "/api/embed", "likewise, per input"),
    same("POST", "/api/embeddings"),
    same("GET", "/api/ps"),
    differs(
        "POST",
        "/api/pull",
        "bare names are Docker Hub's `ai/`, as everywhere in modeld; write \
         `registry.ollama.ai/library/NAME` for Ollama's. A model that is not there is 404, not an \
         error after 200",
    ),
    same("POST", "/api/push"),
    differs(
        "POST",
        "/api/create",
        "no quantizing, and no templates of Go: the model's own is used",
    ),
    same("POST", "/api/copy"),
    differs("DELETE", "/api/delete", "a busy model is 409"),
    same("POST", "/api/blobs/{digest}"),
    missing("POST", "/api/experimental/web_search", "modeld asks nobody on the Internet"),
];

/// What OpenAI's API has beside.
const OPENAI: &[Endpoint] = &[
    same("POST", "/v1/chat/completions"),
    same("POST", "/v1/completions"),
    same("POST", "/v1/embeddings"),
    same("POST", "/v1/responses"),
    same("GET", "/v1/responses/{response_id}"),
    same("DELETE", "/v1/responses/{response_id}"),
    same("POST", "/v1/responses/{response_id}/cancel"),
    same("GET", "/v1/responses/{response_id}/input_items"),
    same("POST", "/v1/responses/input_tokens"),
    same("GET", "/v1/models"),
    same("GET", "/v1/models/{*model}"),
    missing("GET", "/v1/chat/completions", "chats are not stored; `store: true` is refused"),
    missing("POST", "/v1/audio/transcriptions", "sounds go into chats of models that hear"),
    missing("POST", "/v1/images/generations", "modeld makes no images"),
    missing("POST", "/v1/files", "nothing is stored for clients"),
    missing("POST", "/v1/batches", "likewise"),
    missing("POST", "/v1/assistants", "gone from OpenAI's API as well; use `/v1/responses`"),
    missing("POST", "/v1/moderations", "needs a model of OpenAI's"),
];

/// Anthropic's API. Every path is served below `/anthropic` too.
const ANTHROPIC: &[Endpoint] = &[
    same("POST", "/v1/messages"),
    same("POST", "/v1/messages/count_tokens"),
    differs("GET", "/v1/models", "in Anthropic's form if `anthropic-version` is sent"),
    missing("POST", "/v1/messages/batches", "nothing is stored for clients"),
    missing("POST", "/v1/files", "likewise"),
];

const PEERS: [(&str, &[Endpoint]); 4] = [
    ("Docker Model Runner", DOCKER),
    ("Ollama", OLLAMA),
    ("OpenAI", OPENAI),
    ("Anthropic", ANTHROPIC),
];

/// The part of the page about compatibility that is about endpoints, in Markdown.
pub(super) fn endpoints() -> String {
    let mut page = String::new();
    for (name, endpoints) in PEERS {
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## Endpoints of {name}\n\n| | | Difference |\n|---|---|---|\n");
        for Endpoint { method, path, is_served, note } in endpoints {
            let word = match (is_served, note.is_empty()) {
                (false, _) => "not served",
                (true, true) => "the same",
                (true, false) => "served",
            };
            let _ = writeln!(page, "| {method} `{path}` | {word} | {} |", note.replace('|', "\\|"));
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ACTIONS, ROUTES};

    #[test]
    fn what_is_said_to_be_served_is() {
        for endpoint in PEERS.iter().flat_map(|(_, endpoints)| *endpoints) {
            let Endpoint { method, path, is_served, note } = endpoint;
            let mut all = ROUTES.iter().chain(ACTIONS);
            let found = all.any(|route| route.method == *method && route.path == *path);
            assert_eq!(found, *is_served, "{method} {path}");
            assert!(*is_served || !note.is_empty(), "{method} {path} without a word why");
        }
    }
}

//! What is served, as a table: for the documentation, and for the test that holds the router to it.

/// A route, for documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// `GET` includes `HEAD`.
    pub method: &'static str,
    /// As the router spells it; `/v1` stands for `/v1`, `/engines/v1` and `/engines/llama.cpp/v1`,
    /// before `/responses` also for nothing and `/engines`.
    pub path: &'static str,
    /// Whether it is for the owner alone.
    pub for_owner: bool,
    /// What it does.
    pub what: &'static str,
}

const fn open(method: &'static str, path: &'static str, what: &'static str) -> Route {
    Route { method, path, for_owner: false, what }
}

const fn managing(method: &'static str, path: &'static str, what: &'static str) -> Route {
    Route { method, path, for_owner: true, what }
}

/// All routes: what the documentation lists and a test holds against [`super::router()`].
pub const ROUTES: &[Route] = &[
    open("POST", "/v1/chat/completions", "OpenAI chat completions, streamed or whole"),
    open("POST", "/v1/completions", "OpenAI text completions, streamed or whole"),
    open("POST", "/v1/embeddings", "OpenAI embeddings"),
    open("POST", "/v1/rerank", "documents by how well they answer a query (Jina, Cohere, vLLM)"),
    open("POST", "/v1/score", "scores of pairs of texts (vLLM)"),
    open("POST", "/v1/tokenize", "the tokens of a text or a conversation"),
    open("POST", "/v1/detokenize", "the text of tokens"),
    open("POST", "/rerank", "as `/v1/rerank`; also under `/v2` and `/engines/llama.cpp`"),
    open("POST", "/score", "as `/v1/score`"),
    open("POST", "/tokenize", "as `/v1/tokenize`"),
    open("POST", "/detokenize", "as `/v1/detokenize`"),
    open("POST", "/v1/responses", "OpenAI responses, streamed, whole or in the background"),
    open("POST", "/v1/responses/input_tokens", "the tokens that a response would be asked with"),
    open("GET", "/v1/responses/{response_id}", "a stored response, also as a stream"),
    open("DELETE", "/v1/responses/{response_id}", "forgets a response"),
    open("POST", "/v1/responses/{response_id}/cancel", "ends a response in the background"),
    open("GET", "/v1/responses/{response_id}/input_items", "what a response was asked with"),
    open("GET", "/v1/models", "OpenAI model list; Anthropic's with the header `anthropic-version`"),
    open("GET", "/v1/models/{*model}", "one model in OpenAI's form, or in Anthropic's likewise"),
    open("POST", "/v1/messages", "Anthropic messages, streamed or whole"),
    open("POST", "/v1/messages/count_tokens", "the tokens of an Anthropic request"),
    open("POST", "/anthropic/v1/messages", "the same, under Docker Model Runner's prefix"),
    open("POST", "/anthropic/v1/messages/count_tokens", "the same"),
    open("GET", "/anthropic/v1/models", "Anthropic model list (`limit`, `after_id`, `before_id`)"),
    open("GET", "/anthropic/v1/models/{*model}", "one model in Anthropic's form"),
    managing("POST", "/api/pull", "pulls a model, with its progress as Ollama's lines"),
    managing("POST", "/api/push", "uploads a model, likewise"),
    managing("POST", "/api/create", "makes a model of another one or of uploaded files"),
    managing("POST", "/api/copy", "gives a model another name"),
    managing("DELETE", "/api/delete", "removes a name, and with the last one the model"),
    managing("HEAD", "/api/blobs/{digest}", "whether the store has a file"),
    managing("POST", "/api/blobs/{digest}", "takes in a file of any size"),
    managing("POST", "/api/me", "401: there is no account at ollama.com"),
    managing("POST", "/api/signout", "401, likewise"),
    open("GET", "/api/status", "that nothing is asked of a cloud"),
    open("GET", "/api/experimental/model-recommendations", "an empty list"),
    open("POST", "/api/chat", "Ollama chats, streamed or whole"),
    open("POST", "/api/generate", "Ollama completions, streamed or whole"),
    open("POST", "/api/embed", "Ollama embeddings"),
    open("POST", "/api/embeddings", "Ollama's older form of one embedding"),
    open("POST", "/api/show", "one model in Ollama's form, with its metadata"),
    open("GET", "/api/tags", "the models of the store in Ollama's form"),
    open("GET", "/api/ps", "the loaded models in Ollama's form"),
    open("GET", "/api/version", "Ollama's version, and modeld's own"),
    open("GET", "/anthropic", "as `GET /`, for clients with this base URL"),
    open("GET", "/", "a line of text that says that modeld runs"),
    open("GET", "/openapi.json", "this API as an OpenAPI 3.1 document"),
    open("GET", "/version", "the version"),
    open("GET", "/health", "200 while the process answers"),
    open("GET", "/ready", "200 while new requests are taken, 503 while stopping"),
    managing("GET", "/logs", "the daemon's log (`?follow=true`, `?no-engines=true`)"),
    open("GET", "/metrics", "counters and histograms for Prometheus"),
    open("GET", "/models", "the models of the store"),
    open("GET", "/models/{*model}", "one model of the store; of its registry with `?remote=true`"),
    managing("DELETE", "/models/{*model}", "untags or deletes a model (`?force=true`)"),
    managing("POST", "/models/{*model}", "`…/tag?repo=R&tag=T` another name; `…/push` uploads it"),
    managing("POST", "/models/create", "pulls a model, with its progress as lines of JSON"),
    managing("POST", "/models/load", "takes in a model as a Docker model tar"),
    managing("POST", "/modeld/import", "takes in what other programs have, as JSON lines"),
    managing("POST", "/modeld/login", "checks a registry's credential and keeps it"),
    managing("DELETE", "/modeld/login", "forgets a registry's credential (`?registry=R`)"),
    managing("GET", "/modeld/login", "the registries and user names that are logged in"),
    managing("GET", "/modeld/search", "looks for models on Docker Hub and the Hugging Face Hub"),
    managing("GET", "/modeld/tcp", "the TCP listeners"),
    managing("PUT", "/modeld/tcp", "listens on TCP (`host`, `port`, `containers`), from now on"),
    managing("DELETE", "/modeld/tcp", "stops to; what runs ends normally (`?containers=true`)"),
    managing("POST", "/modeld/prune", "removes what no model needs, as JSON lines"),
    managing("POST", "/modeld/fsck", "checks every file of the store, as JSON lines"),
    managing("POST", "/modeld/reload", "has the settings files read again"),
    managing("DELETE", "/models/purge", "removes every model and download (`?force=true`)"),
    open("GET", "/engines/df", "the disk space that models take"),
    open("GET", "/engines/ps", "the loaded models"),
    managing("GET", "/engines/requests", "the last requests and answers, where they are recorded"),
    open("GET", "/engines/status", "the state of the engine"),
    managing("POST", "/engines/unload", "unloads idle models"),
    managing("POST", "/engines/_configure", "configures a model; also under `/engines/llama.cpp`"),
    open("GET", "/engines/_configure", "what is configured (`?model=`)"),
    managing("POST", "/engines/install-backend", "200 for llama.cpp, which is there anyway"),
    managing("POST", "/engines/uninstall-backend", "refused: llama.cpp is part of modeld"),
    managing("GET", "/modeld/log-level", "which lines are logged"),
    managing("PUT", "/modeld/log-level", "logs other lines from now on (`filter`)"),
    open("GET", "/modeld/status", "the daemon and the processes of models, and what confines them"),
    open("GET", "/modeld/transfers", "the pulls and pushes that run or wait"),
    managing("DELETE", "/modeld/transfers", "stops those of `?reference=`"),
];

/// What lies behind the catch-all of a route in [`ROUTES`]: names may hold slashes, so that no router
/// can tell these apart, and the handler of that route does.
pub const ACTIONS: &[Route] = &[
    managing("GET", "/models/{*model}/export", "a model as a Docker model tar"),
    managing("POST", "/models/{*model}/repackage", "makes another model with the same weights"),
];

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::{Method, StatusCode};

use crate::domain::{Error, ErrorKind};

use super::family::Family;
use super::middleware::{front, guard_browser, note_template, require_management, trace};
use super::params::require_backend;
use super::refusal::Refusal;
use super::{ApiState, anthropic, native, openai, openapi, responses};

/// Every route of every dialect, behind the guards that stand before all of them.
pub fn router(state: ApiState) -> Router {
    let manage = from_fn(require_management);
    let model = delete(native::remove).post(native::act).route_layer(manage.clone());
    let routes = Router::new()
        .merge(responses_family(""))
        .merge(responses_family("/engines"))
        .merge(openai_family("/v1"))
        .merge(openai_family("/engines/v1"))
        .merge(openai_family("/engines/{backend}/v1").route_layer(from_fn(require_backend)))
        .merge(ranking_family(""))
        .merge(ranking_family("/v2"))
        .merge(ranking_family("/engines"))
        .merge(ranking_family("/engines/{backend}").route_layer(from_fn(require_backend)))
        .merge(anthropic_family("/anthropic/v1"))
        .route("/anthropic/v1/models", get(anthropic::list))
        .route("/anthropic/v1/models/{*model}", get(anthropic::retrieve))
        .route("/anthropic", get(native::root))
        .route("/anthropic/", get(native::root))
        .route("/", get(native::root))
        .route("/openapi.json", get(openapi::openapi))
        .route("/version", get(native::version))
        .route("/health", get(native::health))
        .route("/ready", get(native::ready))
        .route("/models", get(native::list))
        .route("/models/create", post(native::create).route_layer(manage.clone()))
        .route("/models/load", post(native::load).route_layer(manage.clone()))
        .route("/modeld/import", post(native::import).route_layer(manage.clone()))
        .route(
            "/modeld/login",
            get(native::logins)
                .post(native::login)
                .delete(native::logout)
                .route_layer(manage.clone()),
        )
        .route("/modeld/search", get(native::search).route_layer(manage.clone()))
        .route("/modeld/prune", post(native::prune).route_layer(manage.clone()))
        .route("/modeld/fsck", post(native::fsck).route_layer(manage.clone()))
        .route("/models/purge", delete(native::purge).route_layer(manage.clone()))
        .route("/models/{*model}", model.get(native::inspect))
        .route("/engines/df", get(native::df))
        .route("/engines/ps", get(native::ps))
        .route("/engines/status", get(native::status))
        .route("/engines/unload", post(native::unload).route_layer(manage.clone()))
        .route(
            "/modeld/transfers",
            delete(native::cancel).route_layer(manage).get(native::transfers),
        )
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(note_template))
        .with_state(state);
    // The routes are the fallback of an outer router, because only there do layers run before a
    // route is chosen; the last one added is the outermost.
    Router::new()
        .fallback_service(routes)
        .layer(from_fn(guard_browser))
        .layer(from_fn(front))
        .layer(from_fn(trace))
}

fn openai_family(prefix: &str) -> Router<ApiState> {
    anthropic_family(prefix)
        .route(&format!("{prefix}/chat/completions"), post(openai::chat_completions))
        .route(&format!("{prefix}/completions"), post(openai::completions))
        .route(&format!("{prefix}/embeddings"), post(openai::embeddings))
        .merge(ranking_family(prefix))
        .merge(responses_family(prefix))
        .route(&format!("{prefix}/models"), get(list))
        .route(&format!("{prefix}/models/{{*model}}"), get(retrieve))
}

fn anthropic_family(prefix: &str) -> Router<ApiState> {
    Router::new()
        .route(&format!("{prefix}/messages"), post(anthropic::messages))
        .route(&format!("{prefix}/messages/count_tokens"), post(anthropic::count_tokens))
}

/// `GET …/v1/models`, in the words of whoever asks: two dialects share the path.
async fn list(State(state): State<ApiState>, request: Request) -> Response {
    match Family::of(request.uri().path(), request.headers()) {
        Family::Anthropic => anthropic::list.call(request, state).await,
        Family::OpenAi | Family::Native => openai::list.call(request, state).await,
    }
}

/// `GET …/v1/models/{id}`, likewise.
async fn retrieve(State(state): State<ApiState>, request: Request) -> Response {
    match Family::of(request.uri().path(), request.headers()) {
        Family::Anthropic => anthropic::retrieve.call(request, state).await,
        Family::OpenAi | Family::Native => openai::retrieve.call(request, state).await,
    }
}

/// What clients look for without a version in front as well.
fn ranking_family(prefix: &str) -> Router<ApiState> {
    Router::new()
        .route(&format!("{prefix}/rerank"), post(openai::rerank))
        .route(&format!("{prefix}/score"), post(openai::score))
        .route(&format!("{prefix}/tokenize"), post(openai::tokenize))
        .route(&format!("{prefix}/detokenize"), post(openai::detokenize))
}

fn responses_family(prefix: &str) -> Router<ApiState> {
    let one = format!("{prefix}/responses/{{response_id}}");
    Router::new()
        .route(&format!("{prefix}/responses"), post(responses::create))
        .route(&format!("{prefix}/responses/input_tokens"), post(responses::count))
        .route(&one, get(responses::retrieve).delete(responses::delete))
        .route(&format!("{one}/cancel"), post(responses::cancel))
        .route(&format!("{one}/input_items"), get(responses::input_items))
}

/// A route, for documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// `GET` includes `HEAD`.
    pub method: &'static str,
    /// As the router spells it; `/v1` stands for `/v1`, `/engines/v1` and `/engines/llama.cpp/v1`,
    /// before `/responses` also for nothing and `/engines`.
    pub path: &'static str,
    /// Whether TCP may not.
    pub unix_only: bool,
    /// What it does.
    pub what: &'static str,
}

const fn open(method: &'static str, path: &'static str, what: &'static str) -> Route {
    Route { method, path, unix_only: false, what }
}

const fn managing(method: &'static str, path: &'static str, what: &'static str) -> Route {
    Route { method, path, unix_only: true, what }
}

/// All routes: what the documentation lists and a test holds against [`router`].
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
    open("GET", "/anthropic", "as `GET /`, for clients with this base URL"),
    open("GET", "/", "a line of text that says that modeld runs"),
    open("GET", "/openapi.json", "this API as an OpenAPI 3.1 document"),
    open("GET", "/version", "the version"),
    open("GET", "/health", "200 while the process answers"),
    open("GET", "/ready", "200 while new requests are taken, 503 while stopping"),
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
    managing("POST", "/modeld/prune", "removes what no model needs, as JSON lines"),
    managing("POST", "/modeld/fsck", "checks every file of the store, as JSON lines"),
    managing("DELETE", "/models/purge", "removes every model and download (`?force=true`)"),
    open("GET", "/engines/df", "the disk space that models take"),
    open("GET", "/engines/ps", "the loaded models"),
    open("GET", "/engines/status", "the state of the engine"),
    managing("POST", "/engines/unload", "unloads idle models"),
    open("GET", "/modeld/transfers", "the pulls and pushes that run or wait"),
    managing("DELETE", "/modeld/transfers", "stops those of `?reference=`"),
];

/// What lies behind the catch-all of a route in [`ROUTES`]: names may hold slashes, so that no router
/// can tell these apart, and the handler of that route does.
pub const ACTIONS: &[Route] = &[
    managing("GET", "/models/{*model}/export", "a model as a Docker model tar"),
    managing("POST", "/models/{*model}/repackage", "makes another model with the same weights"),
];

async fn unknown_route(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(200).collect();
    let message = format!("{} {path} is not served by modeld; check the path", request.method());
    Refusal(Error::new(ErrorKind::RouteNotFound, message))
}

async fn wrong_method(request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        // `Allow` is filled in by the router.
        return StatusCode::NO_CONTENT.into_response();
    }
    let message =
        format!("{} is not allowed on this path; the Allow header lists what is", request.method());
    Refusal(Error::new(ErrorKind::MethodNotAllowed, message)).into_response()
}

use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, head, post};
use axum::{Extension, Router};
use http::{Method, StatusCode};

use crate::domain::{Error, ErrorKind};

use super::family::Family;
use super::middleware::{
    front, guard_browser, note_template, require_management, require_token, take_token, trace,
};
use super::params::require_backend;
use super::recorder::record;
use super::refusal::Refusal;
use super::{ApiState, ListenerClass, anthropic, native, ollama, openai, openapi, responses};

/// Every route of every dialect, behind the guards that stand before all of them.
pub fn router(state: ApiState) -> Router {
    let origins = state.origins.clone();
    let manage = from_fn(require_management);
    let (metrics, recorder) = (state.service.metrics().clone(), state.recorder.clone());
    let (tokens, required) = (state.tokens.clone(), state.token_required);
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
        .merge(ollama_family())
        .merge(ollama_store().route_layer(manage.clone()))
        .route("/anthropic/v1/models", get(anthropic::list))
        .route("/anthropic/v1/models/{*model}", get(anthropic::retrieve))
        .route("/anthropic", get(native::root))
        .route("/anthropic/", get(native::root))
        .route("/", get(root))
        .route("/openapi.json", get(openapi::openapi))
        .route("/version", get(native::version))
        .route("/health", get(native::health))
        .route("/ready", get(native::ready))
        .route("/logs", get(native::logs).route_layer(manage.clone()))
        .route("/metrics", get(native::metrics))
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
        .route(
            "/modeld/tcp",
            get(native::tcp)
                .put(native::open_tcp)
                .delete(native::close_tcp)
                .route_layer(manage.clone()),
        )
        .route("/modeld/prune", post(native::prune).route_layer(manage.clone()))
        .route("/modeld/fsck", post(native::fsck).route_layer(manage.clone()))
        .route("/modeld/reload", post(native::reload).route_layer(manage.clone()))
        .route("/models/purge", delete(native::purge).route_layer(manage.clone()))
        .route("/models/{*model}", model.get(native::inspect))
        .merge(
            Router::new()
                .route("/engines/{backend}/_configure", post(native::configure))
                .route_layer(from_fn(require_backend))
                .route_layer(manage.clone()),
        )
        .route(
            "/engines/_configure",
            post(native::configure).route_layer(manage.clone()).get(native::configurations),
        )
        .route("/engines/install-backend", post(native::install).route_layer(manage.clone()))
        .route("/engines/uninstall-backend", post(native::uninstall).route_layer(manage.clone()))
        .route("/engines/df", get(native::df))
        .route("/engines/ps", get(native::ps))
        .route("/engines/requests", get(native::requests).route_layer(manage.clone()))
        .route("/engines/status", get(native::status))
        .route("/engines/unload", post(native::unload).route_layer(manage.clone()))
        .route(
            "/modeld/log-level",
            get(native::log_level).put(native::set_log_level).route_layer(manage.clone()),
        )
        .route("/modeld/status", get(native::daemon_status))
        .route(
            "/modeld/transfers",
            delete(native::cancel).route_layer(manage).get(native::transfers),
        )
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(note_template))
        .layer(Extension(state.rooms.clone()))
        .with_state(state);
    // The routes are the fallback of an outer router, because only there do layers run before a
    // route is chosen; the last one added is the outermost.
    Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(required, require_token))
        .layer(from_fn_with_state(origins, guard_browser))
        .layer(from_fn(front))
        .layer(from_fn_with_state(recorder, record))
        .layer(from_fn_with_state(tokens, take_token))
        .layer(from_fn_with_state(metrics, trace))
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

fn ollama_family() -> Router<ApiState> {
    Router::new()
        .route("/api/version", get(ollama::version))
        .route("/api/tags", get(ollama::tags))
        .route("/api/ps", get(ollama::ps))
        .route("/api/show", post(ollama::show))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/api/embed", post(ollama::embed))
        .route("/api/embeddings", post(ollama::embeddings))
        .route("/api/status", get(ollama::status))
        .route("/api/experimental/model-recommendations", get(ollama::recommendations))
}

/// The management of models in Ollama's API.
fn ollama_store() -> Router<ApiState> {
    Router::new()
        .route("/api/pull", post(ollama::pull))
        .route("/api/push", post(ollama::push))
        .route("/api/create", post(ollama::create))
        .route("/api/copy", post(ollama::copy))
        .route("/api/delete", delete(ollama::delete))
        .route("/api/blobs/{digest}", head(ollama::has_blob).post(ollama::upload_blob))
        .route("/api/me", post(ollama::me))
        .route("/api/signout", post(ollama::signout))
}

/// `GET /`: who is there, in the words of whose port it is.
async fn root(request: Request) -> &'static str {
    match request.extensions().get::<ListenerClass>() {
        Some(ListenerClass::Ollama { .. }) => ollama::RUNNING,
        _ => native::root().await,
    }
}

/// `GET …/v1/models`, in the words of whoever asks: two dialects share the path.
async fn list(State(state): State<ApiState>, request: Request) -> Response {
    match Family::of(request.uri().path(), request.headers()) {
        Family::Anthropic => anthropic::list.call(request, state).await,
        Family::OpenAi | Family::Ollama | Family::Native => openai::list.call(request, state).await,
    }
}

/// `GET …/v1/models/{id}`, likewise.
async fn retrieve(State(state): State<ApiState>, request: Request) -> Response {
    match Family::of(request.uri().path(), request.headers()) {
        Family::Anthropic => anthropic::retrieve.call(request, state).await,
        Family::OpenAi | Family::Ollama | Family::Native => {
            openai::retrieve.call(request, state).await
        }
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

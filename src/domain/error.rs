use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result of anything that a client may hear about.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as one of a closed list: programs branch on this, people read the message.
///
/// `api::status` maps every kind to exactly one HTTP status; there is no other such table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The body is not JSON, or not one JSON value.
    InvalidJson,
    /// A field has the wrong type or a value out of range; `param` names it.
    InvalidValue,
    /// A required field is absent; `param` names it.
    MissingField,
    /// The field or value is known, but modeld does not do it; `param` names it.
    Unsupported,
    /// A model reference that cannot be parsed.
    InvalidReference,
    /// A digest that cannot be parsed.
    InvalidDigest,
    /// The prompt does not fit into the model's context. The message names both numbers.
    ContextLengthExceeded,
    /// No such model in the store.
    ModelNotFound,
    /// No such thing as the path or a field names, other than a model (a stored response, an item of
    /// one); `param` names the field.
    NotFound,
    /// The model exists but is of the wrong kind for the request (chat on an embedder).
    UnsupportedModel,
    /// No such route.
    RouteNotFound,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// The request body is over the limit.
    BodyTooLarge,
    /// The client sent its body too slowly or not at all.
    RequestTimeout,
    /// A `Content-Encoding` or content type that is not taken.
    UnsupportedMediaType,
    /// The Host header is none that this listener answers to.
    HostRefused,
    /// A browser page of an origin that is not allowed.
    OriginRefused,
    /// The listener or client does not have the right to do this.
    Forbidden,
    /// The listener wants a token, and the request has none that is valid.
    TokenRequired,
    /// The queue of the model is full; `retry_after` is computed from measured rates.
    QueueFull,
    /// Memory is held by models that are busy, or by the bodies of other requests.
    MemoryBusy,
    /// The deadline that the request names passed while it waited or ran.
    DeadlineExceeded,
    /// The model file is damaged, hostile, or of an architecture that llama.cpp does not know.
    InvalidModel,
    /// The model's worker crashed while it loaded the model: whatever the file does to llama.cpp,
    /// it will do again.
    LoadCrashed,
    /// The model killed its worker too often; it is not tried again until asked explicitly.
    ModelQuarantined,
    /// The model would never fit into this machine's memory.
    ModelTooLarge,
    /// The state of a model forbids the operation (several tags, live requests).
    Conflict,
    /// The disk cannot hold it.
    DiskFull,
    /// The registry wants credentials, or others than those that it got.
    RegistryUnauthorized,
    /// The registry does not know the model, or does not show it to this user.
    RegistryNotFound,
    /// The egress policy does not allow to speak to this host or address.
    RegistryForbidden,
    /// What the registry sent breaks the protocol, or is not what was promised (digest, size).
    RegistryInvalid,
    /// The registry cannot be reached, stalls, or answers that it is overloaded; trying again later
    /// may help.
    RegistryUnavailable,
    /// A signature that the policy demands is missing or wrong.
    SignatureRefused,
    /// The worker process died.
    EngineCrashed,
    /// The request was cancelled by its client.
    Cancelled,
    /// The daemon is stopping.
    ShuttingDown,
    /// A fault of modeld itself.
    Internal,
}

/// An error with the text that its reader sees.
///
/// The message says what happened, with the numbers, and what to do next. `cause` is for the log
/// alone and may hold paths or system errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Which kind of error; decides the status code.
    pub kind: ErrorKind,
    /// What the client reads.
    pub message: String,
    /// The request field at fault, as the client spelled it (`messages[2].content`).
    pub param: Option<String>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// For the log only.
    pub cause: Option<String>,
}

impl Error {
    /// An error of `kind` that tells the client `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, retry_after: None, cause: None }
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds what only the log should show.
    #[must_use]
    pub fn with_cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// A field with the wrong type or a value out of range.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidValue, message).with_param(param)
    }

    /// A field or value that is known but not done by modeld.
    pub fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message).with_param(param)
    }

    /// A fault of modeld itself: the client learns that it happened, the log learns why.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, "modeld failed internally; its log has the cause")
            .with_cause(cause)
    }
}

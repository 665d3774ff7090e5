//! From a [`LoadSpec`] to a model that can compute.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::compute::Compute;
use super::cpu;
use super::embed::Pool;
use super::llama::{
    ChatTemplates, Context, ContextError, ContextSettings, Model, PooledContext, Projector,
};
use super::progress::Fraction;
use super::watchdog::Watchdog;
use crate::domain::{Error, ErrorKind};
use crate::protocol::{LoadSpec, ModelInfo, Purpose, ToDaemon};

/// Sequence ids beyond the running ones, for finished prompts that the next one may go on from.
const IDLE_PREFIXES: u32 = 16;

/// The same where every sequence costs a state of its own.
const RECURRENT_IDLE_PREFIXES: u32 = 2;

/// The largest chat template file, in bytes.
const MAX_TEMPLATE: u64 = 1 << 20;
/// How long a template may be analysed; it is run about twenty times for that.
const TEMPLATE_LIMIT: Duration = Duration::from_secs(5);

/// A loaded model.
pub struct Loaded {
    /// Weights and vocabulary.
    pub model: Arc<Model>,
    /// KV cells and compute buffers.
    pub context: AnyContext,
    /// The chat templates, or why there are none. A model whose template is broken still completes
    /// plain text.
    pub templates: Result<ChatTemplates, String>,
    /// What makes images and sounds readable, or why it cannot be used; `None`: there is none.
    pub projector: Option<Result<Projector, String>>,
    /// For the daemon.
    pub info: ModelInfo,
}

/// What computes, by what the model was loaded for.
pub enum AnyContext {
    /// Text.
    Generate(Context),
    /// Vectors or scores.
    Pooled(PooledContext),
}

/// Loads. Runs on the thread that will compute.
///
/// # Errors
/// `InvalidModel` when the file is at fault, `ModelTooLarge` when memory is, `UnsupportedModel` for
/// a model that generates no text.
pub fn load(
    spec: &LoadSpec,
    abort: Arc<AtomicBool>,
    fraction: &Fraction,
    watchdog: &Watchdog,
) -> Result<Loaded, Error> {
    let callback = fraction.clone();
    let mut model = Model::load(&spec.weights, false, move |loaded| {
        callback.set(loaded);
        true
    })
    .map_err(|lines| llama_error(spec, &lines))?;
    add_adapters(spec, &mut model)?;
    let threads = if spec.threads == 0 { cpu::physical_cores() } else { spec.threads };
    if spec.purpose != Purpose::Generate {
        return load_pooled(spec, model, threads, abort);
    }
    if !model.generates() {
        return Err(generates_nothing(spec));
    }
    let templates = templates(spec, &model, watchdog)?;
    // Idle prefixes need sequence ids of their own, or each new request would evict one.
    let spare = if model.is_recurrent() { RECURRENT_IDLE_PREFIXES } else { IDLE_PREFIXES };
    let sequences = spec.max_sequences.saturating_add(spare);
    let settings = ContextSettings { cells: spec.context_size, sequences, threads };
    let context = Context::new(Arc::clone(&model), settings, abort)
        .map_err(|error| context_error(spec, error))?;
    let projector = match &spec.mmproj {
        Some(path) => Some(projector(spec, path, &model, threads)?),
        None => None,
    };
    let seeing = projector.as_ref().and_then(|projector| projector.as_ref().ok());
    let limits = context.limits();
    let info = ModelInfo {
        context_size: limits.cells,
        train_context: model.train_context(),
        max_sequences: limits.max_sequences.saturating_sub(spare).max(1),
        vocab_size: u32::try_from(limits.vocab_size).unwrap_or(u32::MAX),
        has_chat_template: model.has_chat_template(),
        architecture: model.metadata("general.architecture").unwrap_or_default(),
        purpose: spec.purpose,
        embedding_size: 0,
        vision: seeing.is_some_and(Projector::vision),
        audio: seeing.is_some_and(|projector| projector.sample_rate().is_some()),
    };
    Ok(Loaded { model, context: AnyContext::Generate(context), templates, projector, info })
}

/// Loads the LoRA adapters; one that cannot be applied fails the load, or answers would be those of
/// another model.
fn add_adapters(spec: &LoadSpec, model: &mut Arc<Model>) -> Result<(), Error> {
    let count = spec.adapters.len();
    for (number, path) in (1usize..).zip(&spec.adapters) {
        let model = Arc::get_mut(model)
            .ok_or_else(|| Error::internal("the model is in use before it is loaded"))?;
        model.add_adapter(path).map_err(|lines| {
            let message = format!(
                "LoRA adapter {number} of {count} of {} cannot be applied: {}. Package the model \
                 with adapters that were made for it, or without them",
                spec.name,
                first_reason(spec, &lines)
            );
            Error::new(ErrorKind::InvalidModel, message).with_cause(lines)
        })?;
    }
    Ok(())
}

/// A model that makes vectors or scores.
fn load_pooled(
    spec: &LoadSpec,
    model: Arc<Model>,
    threads: u32,
    abort: Arc<AtomicBool>,
) -> Result<Loaded, Error> {
    let sequences = spec.max_sequences;
    let settings = ContextSettings { cells: spec.context_size, sequences, threads };
    let context = PooledContext::new(Arc::clone(&model), settings, spec.purpose, abort)
        .map_err(|error| context_error(spec, error))?;
    let limits = context.limits();
    let info = ModelInfo {
        context_size: limits.longest,
        train_context: model.train_context(),
        max_sequences: limits.max_sequences,
        vocab_size: u32::try_from(limits.vocab_size).unwrap_or(u32::MAX),
        has_chat_template: false,
        architecture: model.metadata("general.architecture").unwrap_or_default(),
        purpose: spec.purpose,
        embedding_size: u32::try_from(limits.width).unwrap_or(u32::MAX),
        vision: false,
        audio: false,
    };
    let templates = Err("the model makes vectors and does not chat".to_owned());
    Ok(Loaded { model, context: AnyContext::Pooled(context), templates, projector: None, info })
}

/// Loads the projector. A broken one fails the load; one that only needs what modeld cannot do leaves
/// a model of text, and the reason.
fn projector(
    spec: &LoadSpec,
    path: &Path,
    model: &Arc<Model>,
    threads: u32,
) -> Result<Result<Projector, String>, Error> {
    // It works beside the steps, which should not lose all of the machine to it.
    let threads = threads.div_ceil(2);
    let projector = Projector::load(path, Arc::clone(model), threads).map_err(|lines| {
        let message = format!(
            "the projector of {} cannot be used: {}. Package the model with the projector that was \
             made for it, or without one",
            spec.name,
            first_reason(spec, &lines)
        );
        Error::new(ErrorKind::InvalidModel, message).with_cause(lines)
    })?;
    if projector.has_plane_positions() {
        let reason = "it places images in two dimensions (M-RoPE), which modeld does not do yet";
        tracing::warn!(model = spec.name, reason, "the model is loaded for text only");
        return Ok(Err(reason.to_owned()));
    }
    Ok(Ok(projector))
}

fn context_error(spec: &LoadSpec, error: ContextError) -> Error {
    let message = match error {
        ContextError::Llama(lines) => return llama_error(spec, &lines),
        ContextError::NoMemoryOfTokens => return generates_nothing(spec),
        ContextError::NoPooling => format!(
            "{}'s file does not say how to pool the states of its tokens into one vector \
             (`pooling_type`), so it cannot embed: use a model whose file does",
            spec.name
        ),
        ContextError::OtherPooling if spec.purpose == Purpose::Rerank => {
            format!("{} makes vectors, not scores: use a reranker", spec.name)
        }
        ContextError::OtherPooling => {
            format!("{} makes scores, not vectors: use an embedding model", spec.name)
        }
    };
    Error::new(ErrorKind::UnsupportedModel, message)
}

fn generates_nothing(spec: &LoadSpec) -> Error {
    let message = format!(
        "{} computes embeddings or translations and cannot generate text: use a language model",
        spec.name
    );
    Error::new(ErrorKind::UnsupportedModel, message)
}

/// Parses the chat templates. Only a replacement that cannot be read fails the load.
fn templates(
    spec: &LoadSpec,
    model: &Arc<Model>,
    watchdog: &Watchdog,
) -> Result<Result<ChatTemplates, String>, Error> {
    let replacement = match &spec.chat_template {
        Some(path) => Some(read_template(path).map_err(|reason| {
            let message = format!("the chat template file for {} {reason}", spec.name);
            Error::new(ErrorKind::InvalidModel, message).with_cause(path.display())
        })?),
        None => None,
    };
    let last_words = ToDaemon::LoadFailed(Error::new(
        ErrorKind::InvalidModel,
        format!(
            "the chat template of {} took more than {} s of processor time to analyse: give it \
             another one",
            spec.name,
            TEMPLATE_LIMIT.as_secs()
        ),
    ));
    let parsed = watchdog.watch(TEMPLATE_LIMIT, last_words, || {
        ChatTemplates::new(Arc::clone(model), replacement.as_deref())
    });
    Ok(parsed.map_err(|error| {
        tracing::warn!(model = spec.name, %error, "the chat template cannot be used");
        error.to_string()
    }))
}

fn read_template(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TEMPLATE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_TEMPLATE {
        return Err(format!("is over the limit of {MAX_TEMPLATE} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    if text.contains('\0') {
        return Err("contains a NUL character".to_owned());
    }
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(text)
}

/// What llama.cpp's error lines mean to the client: without paths, the first cause first.
fn llama_error(spec: &LoadSpec, lines: &str) -> Error {
    let lower = lines.to_lowercase();
    let memory = ["out of memory", "failed to allocate", "unable to allocate", "bad_alloc"];
    let too_large = memory.iter().any(|sign| lower.contains(sign));
    let (kind, message) = if too_large {
        let message = format!(
            "there is not enough memory for {} with a context of {} tokens: use a smaller context \
             or a smaller model",
            spec.name, spec.context_size
        );
        (ErrorKind::ModelTooLarge, message)
    } else {
        let reason = first_reason(spec, lines);
        (ErrorKind::InvalidModel, format!("{} could not be loaded: {reason}", spec.name))
    };
    Error::new(kind, message).with_cause(lines)
}

/// The first error line without the C++ function in front of it and without paths.
fn first_reason(spec: &LoadSpec, lines: &str) -> String {
    let first = lines.split("; ").next().unwrap_or(lines);
    let mut reason = first;
    // "llama_model_load: error loading model: the reason"
    while let Some((head, rest)) = reason.split_once(": ") {
        let is_function = !head.contains(' ') && head.contains('_');
        if !is_function && head != "error loading model" {
            break;
        }
        reason = rest;
    }
    let mut reason = reason.to_owned();
    let (weights, mmproj) = (spec.weights.as_path(), spec.mmproj.as_deref());
    let adapters = spec.adapters.iter().map(std::path::PathBuf::as_path);
    let files = adapters.chain(mmproj).chain([weights]).chain(weights.parent());
    for path in files {
        let path = path.to_string_lossy();
        if path.len() > 1 {
            reason = reason.replace(path.as_ref(), "the file");
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Purpose;

    fn spec() -> LoadSpec {
        LoadSpec {
            name: "ai/test".into(),
            purpose: Purpose::Generate,
            weights: "/home/me/models/x.gguf".into(),
            mmproj: None,
            chat_template: None,
            adapters: vec![],
            readable: vec![],
            context_size: 8192,
            max_sequences: 1,
            threads: 1,
        }
    }

    #[test]
    fn the_client_reads_the_cause_without_functions_and_paths() {
        let error = llama_error(
            &spec(),
            "llama_model_load: error loading model: unknown model architecture: 'x'; \
             llama_model_load_from_file_impl: failed to load model",
        );
        assert_eq!(error.kind, ErrorKind::InvalidModel);
        assert_eq!(error.message, "ai/test could not be loaded: unknown model architecture: 'x'");
        let error = llama_error(
            &spec(),
            "gguf_init_from_file: failed to open GGUF file '/home/me/models/x.gguf' (denied)",
        );
        assert!(!error.message.contains("/home"), "{}", error.message);
        assert!(error.cause.is_some_and(|cause| cause.contains("/home/me")));
    }

    #[test]
    fn a_lack_of_memory_is_told_apart_and_names_the_context() {
        let error = llama_error(&spec(), "llama_init: failed to allocate buffer for kv cache");
        assert_eq!(error.kind, ErrorKind::ModelTooLarge);
        assert!(error.message.contains("8192"), "{}", error.message);
    }

    #[test]
    fn a_template_file_is_bounded_text() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("template.jinja");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            read_template(&path)
        };
        assert_eq!(read(b"{{ messages }}"), Ok("{{ messages }}".to_owned()));
        assert!(read(b"").is_err());
        assert!(read(b"a\0b").is_err());
        assert!(read(&[0xff, 0xfe]).is_err());
        assert!(read(&vec![b' '; (MAX_TEMPLATE + 1) as usize]).is_err());
        assert!(read_template(&directory.path().join("missing")).is_err());
    }
}

use std::path::Path;
use std::sync::{Arc, RwLock};

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_sys_2 as sys;

use super::adapters::AdapterPtr;
use super::{backend, logs, shim};
use crate::domain::Sampling;
use crate::worker::compute::Token;

/// Weights, metadata and vocabulary of one GGUF file. Immutable once loaded.
pub struct Model {
    inner: LlamaModel,
    vocab: VocabPtr,
    vocab_size: i32,
    longest_token: usize,
    /// LoRA adapters that every context of the model applies.
    pub(super) adapters: Vec<AdapterPtr>,
    /// Control tokens that are spelled out in answers. Few.
    spelled: RwLock<Vec<Token>>,
}

/// Belongs to the model and lives as long.
#[derive(Clone, Copy)]
struct VocabPtr(*const sys::llama_vocab);

// SAFETY: the vocabulary is written while the model loads and only read after that.
unsafe impl Send for VocabPtr {}
// SAFETY: as above.
unsafe impl Sync for VocabPtr {}

// `Model::as_ptr` reads the one pointer that `LlamaModel` (`repr(transparent)`) consists of.
const _: () = assert!(size_of::<LlamaModel>() == size_of::<*mut sys::llama_model>());
const _: () = assert!(align_of::<LlamaModel>() == align_of::<*mut sys::llama_model>());

impl Model {
    /// Loads the file (of a sharded model: its first shard). `progress` hears from 0 to 1 on this
    /// thread and must not panic; returning false gives up.
    ///
    /// # Errors
    /// llama.cpp's own error lines. They may name paths.
    pub fn load(
        path: &Path,
        vocab_only: bool,
        progress: impl FnMut(f32) -> bool + 'static,
    ) -> Result<Arc<Self>, String> {
        let backend = backend::backend()?;
        logs::take_errors();
        let params = LlamaModelParams::default()
            .with_vocab_only(vocab_only)
            .with_progress_callback(progress);
        let inner = LlamaModel::load_from_file(backend, path, &params)
            .map_err(|error| logs::take_errors_or(&error.to_string()))?;
        let raw = raw_model(&inner);
        // SAFETY: `raw` is the model that `inner` owns.
        let vocab = unsafe { sys::llama_model_get_vocab(raw) };
        if vocab.is_null() {
            return Err("the model has no vocabulary".to_owned());
        }
        // SAFETY: `vocab` belongs to the model, which lives.
        let vocab_size = unsafe { sys::llama_vocab_n_tokens(vocab) };
        if vocab_size <= 0 {
            return Err("the model's vocabulary is empty".to_owned());
        }
        let mut longest_token = 0;
        // SAFETY: as above; the shim stays within the vocabulary.
        let status = unsafe { shim::modeld_longest_token(vocab, &mut longest_token) };
        if shim::Status::from(status) != shim::Status::Ok {
            return Err("the model's vocabulary cannot be read".to_owned());
        }
        let (vocab, spelled) = (VocabPtr(vocab), RwLock::default());
        let adapters = Vec::new();
        Ok(Arc::new(Self { inner, vocab, vocab_size, longest_token, adapters, spelled }))
    }

    /// A metadata value as text; arrays are not kept by llama.cpp.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.inner.meta_val_str(key).ok()
    }

    /// The sampling that the file recommends (`general.sampling.*`); `None` where it is silent or
    /// says something that is no such number.
    pub fn sampling_defaults(&self) -> Sampling {
        sampling_from(|key| self.metadata(key))
    }

    /// The context that the model was trained for, in tokens.
    pub fn train_context(&self) -> u32 {
        // SAFETY: the model lives as long as `self`.
        let length = unsafe { sys::llama_model_n_ctx_train(self.as_ptr()) };
        u32::try_from(length).unwrap_or(0)
    }

    /// Whether the file carries a chat template.
    pub fn has_chat_template(&self) -> bool {
        // SAFETY: the model lives; a null name asks for the default template.
        !unsafe { sys::llama_model_chat_template(self.as_ptr(), std::ptr::null()) }.is_null()
    }

    /// Whether text can be generated: it has a decoder and predicts the next token.
    pub fn generates(&self) -> bool {
        // SAFETY: the model lives as long as `self`.
        unsafe {
            sys::llama_model_has_decoder(self.as_ptr())
                && !sys::llama_model_has_encoder(self.as_ptr())
                && !sys::llama_model_is_diffusion(self.as_ptr())
        }
    }

    /// Whether a sequence's state is more than its KV cells, so that it cannot be cut back.
    pub fn is_recurrent(&self) -> bool {
        // SAFETY: the model lives as long as `self`.
        unsafe {
            sys::llama_model_is_recurrent(self.as_ptr())
                || sys::llama_model_is_hybrid(self.as_ptr())
        }
    }

    /// Values of a vector that it pools to.
    pub(super) fn embedding_width(&self) -> usize {
        // SAFETY: the model lives as long as `self`.
        usize::try_from(unsafe { sys::llama_model_n_embd_out(self.as_ptr()) }).unwrap_or(0)
    }

    /// Values of a score; the first one is it.
    pub(super) fn score_width(&self) -> usize {
        // SAFETY: the model lives as long as `self`.
        unsafe { sys::llama_model_n_cls_out(self.as_ptr()) as usize }
    }

    /// Tokens in the vocabulary.
    pub fn vocab_size(&self) -> i32 {
        self.vocab_size
    }

    /// The most bytes of text that one token stands for.
    pub fn longest_token(&self) -> usize {
        self.longest_token
    }

    pub(super) fn spelled(&self) -> &RwLock<Vec<Token>> {
        &self.spelled
    }

    pub(super) fn as_ptr(&self) -> *const sys::llama_model {
        raw_model(&self.inner)
    }

    pub(super) fn vocab_ptr(&self) -> *const sys::llama_vocab {
        self.vocab.0
    }
}

fn raw_model(model: &LlamaModel) -> *const sys::llama_model {
    // SAFETY: `LlamaModel` is `repr(transparent)` over a non-null pointer to the model (asserted
    // above as far as it can be), and any such pointer may be read as a raw one.
    unsafe { *std::ptr::from_ref(model).cast::<*const sys::llama_model>() }
}

fn sampling_from(value: impl Fn(&str) -> Option<String>) -> Sampling {
    let float = |key: &str, range: std::ops::RangeInclusive<f32>| {
        value(key)?.trim().parse::<f32>().ok().filter(|number| range.contains(number))
    };
    let whole = |key: &str| value(key)?.trim().parse::<i64>().ok();
    Sampling {
        temperature: float("general.sampling.temp", 0.0..=10.0),
        // llama.cpp: zero or less means all.
        top_k: whole("general.sampling.top_k").and_then(|k| u32::try_from(k.max(0)).ok()),
        top_p: float("general.sampling.top_p", 0.0..=1.0),
        min_p: float("general.sampling.min_p", 0.0..=1.0),
        repeat_penalty: float("general.sampling.penalty_repeat", 0.01..=10.0),
        // llama.cpp: -1 means the whole context; there is no such value here, so it is left open.
        repeat_last_n: whole("general.sampling.penalty_last_n").and_then(|n| u32::try_from(n).ok()),
        ..Sampling::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommended_sampling_is_read_and_nonsense_is_left_out() {
        let read = |pairs: &'static [(&str, &str)]| {
            sampling_from(|key| {
                let pair = pairs.iter().find(|(name, _)| *name == key)?;
                Some(pair.1.to_owned())
            })
        };
        let good = read(&[
            ("general.sampling.temp", "0.600000"),
            ("general.sampling.top_k", "20"),
            ("general.sampling.top_p", "0.95"),
            ("general.sampling.penalty_last_n", "-1"),
        ]);
        assert_eq!(good.temperature, Some(0.6));
        assert_eq!(good.top_k, Some(20));
        assert_eq!(good.top_p, Some(0.95));
        assert_eq!(good.repeat_last_n, None);
        assert_eq!(good.min_p, None);
        let bad = read(&[
            ("general.sampling.temp", "NaN"),
            ("general.sampling.top_k", "-5"),
            ("general.sampling.top_p", "2"),
            ("general.sampling.penalty_repeat", "0"),
        ]);
        assert_eq!(bad, Sampling { top_k: Some(0), ..Sampling::default() });
    }
}

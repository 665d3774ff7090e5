use std::ffi::{c_char, c_int};
use std::ptr;

use llama_cpp_sys_2::{
    llama_adapter_lora, llama_batch, llama_context, llama_context_params, llama_model,
    llama_sampler, llama_vocab, mtmd_context, mtmd_input_chunks,
};

/// `common_chat_templates`, known by pointer only.
#[repr(C)]
pub(super) struct RawTemplates {
    _opaque: [u8; 0],
}

/// `modeld_projector_traits` in mtmd_shim.cpp.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Traits {
    pub(super) vision: bool,
    pub(super) audio: bool,
    pub(super) mrope: bool,
    pub(super) sample_rate: i32,
}

/// `modeld_chunk` in mtmd_shim.cpp.
#[repr(C)]
pub(super) struct RawChunk {
    pub(super) tokens: *const i32,
    pub(super) count: usize,
    pub(super) positions: i32,
    pub(super) whole: bool,
}

impl RawChunk {
    pub(super) fn empty() -> Self {
        Self { tokens: ptr::null(), count: 0, positions: 0, whole: false }
    }
}

/// `std::regex`, known by pointer only.
#[repr(C)]
pub(super) struct RawRegex {
    _opaque: [u8; 0],
}

/// `modeld_parser`, known by pointer only.
#[repr(C)]
pub(super) struct RawParser {
    _opaque: [u8; 0],
}

/// Text that C++ allocated.
#[repr(C)]
pub(super) struct Bytes {
    data: *mut c_char,
    len: usize,
}

impl Bytes {
    pub(super) fn empty() -> Self {
        Self { data: ptr::null_mut(), len: 0 }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: shim.h's `give` is the only writer; it sets `data` to an allocation of at
        // least `len` initialised bytes, which lives until `drop`.
        unsafe { std::slice::from_raw_parts(self.data.cast::<u8>(), self.len) }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.as_slice()).trim().to_owned()
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: `data` is null or came from `malloc` in shim.h, and this is the only free.
        unsafe { modeld_bytes_free(self.data) }
    }
}

/// `modeld_status` in shim.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    /// The template called `raise_exception`.
    Raised,
    /// The template failed.
    Template,
    /// The JSON was refused.
    Input,
    /// llama.cpp threw.
    Exception,
}

impl From<c_int> for Status {
    fn from(code: c_int) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Raised,
            2 => Self::Template,
            3 => Self::Input,
            _ => Self::Exception,
        }
    }
}

unsafe extern "C" {
    pub(super) safe fn modeld_exit_now(code: c_int) -> !;
    pub(super) safe fn modeld_silence_common_log();
    fn modeld_bytes_free(data: *mut c_char);

    pub(super) fn modeld_context_new(
        model: *mut llama_model,
        params: llama_context_params,
        error: *mut Bytes,
    ) -> *mut llama_context;
    pub(super) fn modeld_adapter_load(
        model: *mut llama_model,
        path: *const c_char,
        error: *mut Bytes,
    ) -> *mut llama_adapter_lora;
    pub(super) fn modeld_adapters_apply(
        context: *mut llama_context,
        adapters: *mut *mut llama_adapter_lora,
        count: usize,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_decode(
        context: *mut llama_context,
        batch: llama_batch,
        result: *mut i32,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_logits(context: *mut llama_context, index: i32) -> *const f32;
    pub(super) fn modeld_pooled(context: *mut llama_context, seq: i32) -> *const f32;
    pub(super) fn modeld_memory_clear(context: *mut llama_context) -> c_int;
    pub(super) fn modeld_sequence_remove(
        context: *mut llama_context,
        seq: i32,
        from: i32,
        removed: *mut bool,
    ) -> c_int;
    pub(super) fn modeld_sequence_copy(
        context: *mut llama_context,
        from: i32,
        to: i32,
        len: i32,
    ) -> c_int;

    pub(super) fn modeld_tokenize(
        vocab: *const llama_vocab,
        text: *const c_char,
        len: i32,
        tokens: *mut i32,
        capacity: i32,
        add_special: bool,
        parse_special: bool,
        result: *mut i32,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_detokenize(
        vocab: *const llama_vocab,
        tokens: *const i32,
        count: i32,
        text: *mut c_char,
        capacity: i32,
        result: *mut i32,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_control_text(
        vocab: *const llama_vocab,
        token: i32,
        text: *mut *const c_char,
    ) -> c_int;
    pub(super) fn modeld_token_piece(
        vocab: *const llama_vocab,
        token: i32,
        buffer: *mut c_char,
        capacity: i32,
        special: bool,
        result: *mut i32,
    ) -> c_int;
    pub(super) fn modeld_token_text(
        vocab: *const llama_vocab,
        token: i32,
        buffer: *mut c_char,
        capacity: i32,
        result: *mut i32,
    ) -> c_int;
    pub(super) fn modeld_grammar_new(
        vocab: *const llama_vocab,
        text: *const c_char,
        skip: usize,
        error: *mut Bytes,
    ) -> *mut llama_sampler;
    pub(super) fn modeld_grammar_apply(
        sampler: *mut llama_sampler,
        first: i32,
        logits: *mut f32,
        count: usize,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_grammar_accept(
        sampler: *mut llama_sampler,
        token: i32,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_grammar_clone(
        sampler: *const llama_sampler,
        error: *mut Bytes,
    ) -> *mut llama_sampler;
    pub(super) fn modeld_grammar_free(sampler: *mut llama_sampler);
    pub(super) fn modeld_regex_new(
        pattern: *const c_char,
        len: usize,
        error: *mut Bytes,
    ) -> *mut RawRegex;
    pub(super) fn modeld_regex_free(regex: *mut RawRegex);
    pub(super) fn modeld_regex_find(
        regex: *const RawRegex,
        text: *const c_char,
        len: usize,
        whole: bool,
        start: *mut usize,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_longest_token(vocab: *const llama_vocab, longest: *mut usize) -> c_int;

    pub(super) fn modeld_templates_new(
        model: *const llama_model,
        source: *const c_char,
        len: usize,
        out: *mut *mut RawTemplates,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_templates_free(templates: *mut RawTemplates);
    pub(super) fn modeld_templates_apply(
        templates: *const RawTemplates,
        request: *const c_char,
        len: usize,
        out: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_templates_caps(templates: *const RawTemplates, out: *mut Bytes) -> c_int;

    pub(super) fn modeld_parser_new(
        format: *const c_char,
        len: usize,
        out: *mut *mut RawParser,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_parser_free(parser: *mut RawParser);
    pub(super) fn modeld_parser_parse(
        parser: *const RawParser,
        text: *const c_char,
        len: usize,
        partial: bool,
        out: *mut Bytes,
    ) -> c_int;

    pub(super) fn modeld_projector_new(
        path: *const c_char,
        model: *const llama_model,
        threads: i32,
        error: *mut Bytes,
    ) -> *mut mtmd_context;
    pub(super) fn modeld_projector_free(projector: *mut mtmd_context);
    pub(super) fn modeld_projector_describe(
        projector: *const mtmd_context,
        traits: *mut Traits,
    ) -> c_int;
    pub(super) fn modeld_media_split(
        projector: *const mtmd_context,
        rgb: *const u8,
        width: u32,
        height: u32,
        samples: *const f32,
        sample_count: usize,
        chunks: *mut *mut mtmd_input_chunks,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_chunks_free(chunks: *mut mtmd_input_chunks);
    pub(super) fn modeld_chunks_count(chunks: *const mtmd_input_chunks) -> usize;
    pub(super) fn modeld_chunks_get(
        projector: *const mtmd_context,
        chunks: *const mtmd_input_chunks,
        index: usize,
        out: *mut RawChunk,
    ) -> c_int;
    pub(super) fn modeld_chunks_encode(
        projector: *mut mtmd_context,
        chunks: *const mtmd_input_chunks,
        index: usize,
        rows: *mut f32,
        floats: usize,
        error: *mut Bytes,
    ) -> c_int;
    pub(super) fn modeld_decode_whole(
        context: *mut llama_context,
        batch: llama_batch,
        result: *mut i32,
        error: *mut Bytes,
    ) -> c_int;
}

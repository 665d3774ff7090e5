use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;

use super::{logs, shim};

static BACKEND: OnceLock<Option<LlamaBackend>> = OnceLock::new();

/// Starts llama.cpp, once per process: its log lines go to `tracing`, its last words before an
/// abort too, and compute devices are found. Not before the process is confined: GPU drivers start
/// threads here.
///
/// # Errors
/// When llama.cpp was already started by someone else in this process.
pub(super) fn backend() -> Result<&'static LlamaBackend, String> {
    BACKEND
        .get_or_init(|| {
            logs::install();
            shim::modeld_silence_common_log();
            // SAFETY: `last_words` has the expected signature and never unwinds into C.
            unsafe { llama_cpp_sys_2::ggml_set_abort_callback(Some(last_words)) };
            LlamaBackend::init().ok()
        })
        .as_ref()
        .ok_or_else(|| "llama.cpp is already in use in this process".to_owned())
}

/// Ends the process at once, without exit handlers: those would take llama.cpp's globals away
/// under a decode that still runs on another thread.
pub fn exit_now(code: i32) -> ! {
    shim::modeld_exit_now(code)
}

/// Called by ggml before it aborts; without it ggml would start a debugger for a stack trace.
unsafe extern "C" fn last_words(message: *const c_char) {
    if message.is_null() {
        return;
    }
    // SAFETY: ggml passes a NUL-terminated string that lives for the call.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    tracing::error!(target: "modeld::llama", "llama.cpp aborts: {message}");
}

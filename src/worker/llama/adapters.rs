use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::context::{Context, ContextError};
use super::logs;
use super::model::Model;
use super::shim::{self, Bytes, Status};

/// Belongs to the model and lives as long.
#[derive(Clone, Copy)]
pub(super) struct AdapterPtr(NonNull<sys::llama_adapter_lora>);

// SAFETY: an adapter is written while it loads and only read after that.
unsafe impl Send for AdapterPtr {}
// SAFETY: as above.
unsafe impl Sync for AdapterPtr {}

impl Model {
    /// Loads a LoRA adapter, which contexts that are made from now on apply.
    ///
    /// # Errors
    /// llama.cpp's own error lines. They may name paths.
    pub fn add_adapter(&mut self, path: &Path) -> Result<(), String> {
        let text = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| "its path contains a NUL".to_owned())?;
        logs::take_errors();
        let mut error = Bytes::empty();
        // SAFETY: the model lives and, borrowed mutably, is used by nobody else; `text` ends with a
        // NUL and lives for the call.
        let raw = unsafe {
            shim::modeld_adapter_load(self.as_ptr().cast_mut(), text.as_ptr(), &mut error)
        };
        let raw = NonNull::new(raw).ok_or_else(|| {
            let thrown = error.text();
            logs::take_errors_or(if thrown.is_empty() { "it was not taken" } else { &thrown })
        })?;
        self.adapters.push(AdapterPtr(raw));
        Ok(())
    }
}

impl Context {
    /// Applies the adapters of the model. The room for them is in the graph already: it is sized by the adapters of the model.
    pub(super) fn apply_adapters(&self) -> Result<(), ContextError> {
        let adapters = self.model.adapters.iter();
        let mut adapters: Vec<_> = adapters.map(|adapter| adapter.0.as_ptr()).collect();
        if adapters.is_empty() {
            return Ok(());
        }
        let mut error = Bytes::empty();
        // SAFETY: the context lives; the adapters belong to its model, which lives longer, and
        // llama.cpp copies the pointers.
        let status = unsafe {
            shim::modeld_adapters_apply(
                self.raw.as_ptr(),
                adapters.as_mut_ptr(),
                adapters.len(),
                &mut error,
            )
        };
        match Status::from(status) {
            Status::Ok => Ok(()),
            _ => Err(ContextError::Llama(format!(
                "the LoRA adapters cannot be applied: {}",
                error.text()
            ))),
        }
    }
}

//! llama.cpp, made safe: the only module of modeld with `unsafe` code.
//!
//! It owns the model, its vocabulary, one context and the chat templates. It promises that no call
//! of its public functions, with any arguments, is undefined behaviour or aborts the process for a
//! reason that could have been checked: token ids, sequence ids, positions and batch sizes are
//! checked before every foreign call, and C++ exceptions are caught on the C++ side
//! (`chat_shim.cpp`, `mtmd_shim.cpp`). What remains is an assertion inside llama.cpp; that ends the
//! worker process, which is why it is one.
//!
//! * `backend`: once per process: initialisation, log lines, last words. `model`: weights and
//!   metadata. `vocab`: text to tokens and back. `context`: batches and sequences. `chat`: templates.
//!   `grammar`: llama.cpp's grammars, one call at a time and none after the first error.
//!   `parser`: answers. `pooled`: vectors and scores.
//! * `mtmd`: projectors: images and sounds to rows that stand in the place of tokens.
//! * `shim`: the declarations of `chat_shim.cpp` and `mtmd_shim.cpp`.
//!
//! It must never decide what to compute; that is `step`'s.

#![allow(unsafe_code, reason = "foreign calls are what this module is for")]

mod adapters;
mod backend;
mod chat;
mod context;
mod grammar;
mod logs;
mod model;
mod mtmd;
mod parser;
mod pooled;
mod shim;
mod vocab;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_vocab;
#[cfg(test)]
pub(in crate::worker) mod tiny;

pub use backend::exit_now;
pub use chat::{ChatTemplates, GrammarTrigger, RenderError, Rendered};
pub use context::{Context, ContextError, ContextSettings, MAX_WHOLE_ROWS};
pub use grammar::{Grammar, TriggerRegex};
pub use model::Model;
pub use mtmd::{Piece, Projector};
pub use parser::{ChatParser, Parsed, ParsedCall};
pub use pooled::PooledContext;
pub use vocab::{MAX_TEXT, TokenizeError};

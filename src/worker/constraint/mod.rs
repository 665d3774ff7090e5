//! What an answer may look like, compiled into something that allows or forbids tokens.
//!
//! Owns the vocabulary's trie for llguidance and llama.cpp's grammars. Knows no request and no
//! sequence.

mod compiler;

pub use compiler::{Compiler, Trigger};

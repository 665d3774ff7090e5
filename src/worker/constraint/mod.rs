//! What an answer may look like, compiled into something that allows or forbids tokens.
//!
//! Owns the vocabulary's trie for llguidance and llama.cpp's grammars. Knows no request and no
//! sequence.
//!
//! * `compiler`: from a request's constraint to one for tokens. `vocabulary`: the trie.
//! * `guided`: JSON schemas, regular expressions, choices and Lark, by llguidance.
//! * `derived`: GBNF, by llama.cpp; `trigger`: when a grammar that waits begins to apply.

mod begun;
mod compiler;
mod derived;
mod guided;
mod trigger;
mod vocabulary;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_model;

pub use compiler::Compiler;
pub use trigger::Trigger;

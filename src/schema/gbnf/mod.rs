//! A reader of GBNF, llama.cpp's notation for grammars, that finds what its compiler does not
//! survive: recursion without bound, repetitions that multiply, left recursion that hides behind
//! something empty, and rules that fan out exponentially.
//!
//! It is more lenient than llama.cpp in details (line breaks, names of tokens): it decides what is
//! dangerous, not what is a grammar. One danger remains: a grammar may become ambiguous without
//! bound while an answer is written (`r ::= "a" r "b" | "a" r "c"`), which no look at its rules
//! tells; the worker's heartbeat ends that.

mod check;
mod graph;
mod read;

pub use check::{MAX_DERIVED_GBNF, check_gbnf};

/// The longest grammar that a client may send, in bytes.
pub(super) const MAX_CLIENT_GBNF: usize = 64 << 10;

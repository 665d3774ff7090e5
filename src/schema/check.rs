use std::thread;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;
use toktrie::{ApproximateTokEnv, InferenceCapabilities};

use super::fault::SchemaFault;
use super::gbnf;
use super::grammar::{grammar, json_grammar, limits};
use crate::domain::Constraint;

/// Stack of the thread that compiles; only what is used of it costs memory. A schema at its limits
/// uses less than half.
const STACK: usize = 32 << 20;

/// The most of llguidance's own words that a message repeats, in characters.
const MAX_WORDS: usize = 300;

/// Whether answers can be held to this schema.
///
/// Takes up to 100 ms, usually less than one; on a thread of its own, because compilers recurse.
///
/// # Errors
/// A [`SchemaFault`] for what is no schema, too large, or uses a keyword that cannot be guaranteed.
pub fn check(schema: &Value) -> Result<(), SchemaFault> {
    on_large_stack(|| compile(json_grammar(schema)?))
}

/// Whether answers can be held to this regular expression (Rust's syntax without look-around and
/// back-references), which has to match the whole of them.
///
/// # Errors
/// A [`SchemaFault`] for what is too large or not understood.
pub fn check_regex(regex: &str) -> Result<(), SchemaFault> {
    check_constraint(&Constraint::Regex(regex.to_owned()))
}

/// Whether answers can be held to be one of these texts.
///
/// # Errors
/// A [`SchemaFault`] for no or empty choices, and for too many.
pub fn check_choice(choices: &[String]) -> Result<(), SchemaFault> {
    check_constraint(&Constraint::Choice(choices.to_vec()))
}

/// Whether answers can be held to this grammar in llguidance's Lark. Special tokens (`<|end|>`) are
/// not known here and refused.
///
/// # Errors
/// A [`SchemaFault`] for what is too large or not understood.
pub fn check_lark(lark: &str) -> Result<(), SchemaFault> {
    check_constraint(&Constraint::Lark(lark.to_owned()))
}

/// Whether llama.cpp can be given this GBNF grammar of a client: bounded, without left recursion,
/// and not so ambiguous that reading one character takes forever. Whether it is a grammar in all
/// details is decided by llama.cpp, in the worker.
///
/// # Errors
/// A [`SchemaFault`] that names the rule at fault.
pub fn check_gbnf_text(text: &str) -> Result<(), SchemaFault> {
    gbnf::check_gbnf(text, gbnf::MAX_CLIENT_GBNF)
}

fn check_constraint(constraint: &Constraint) -> Result<(), SchemaFault> {
    on_large_stack(|| grammar(constraint)?.map_or(Ok(()), compile))
}

/// Runs it where recursion is safe.
pub(super) fn on_large_stack<T: Send>(
    run: impl FnOnce() -> Result<T, SchemaFault> + Send,
) -> Result<T, SchemaFault> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("schema".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, run)
            .map_err(|error| SchemaFault::whole(format!("no thread for it: {error}; try again")))?;
        // llguidance catches its panics; this is for those outside of it.
        let failed = || Err(SchemaFault::whole("its compiler failed; simplify it"));
        thread.join().unwrap_or_else(|_| failed())
    })
}

/// Compiles a grammar over a vocabulary of bytes and takes its first step.
pub(super) fn compile(grammar: TopLevelGrammar) -> Result<(), SchemaFault> {
    let words = |error: &dyn std::fmt::Display| {
        let text = error.to_string();
        if text.contains("oneOf constraints are not supported") {
            return SchemaFault::whole(
                "oneOf cannot be guaranteed where its alternatives may overlap; use anyOf, or give \
                 each a required property with a const of its own",
            );
        }
        let line = text.lines().next().unwrap_or_default();
        let line: String = line.chars().take(MAX_WORDS).collect();
        SchemaFault::whole(format!("it cannot be enforced: {line}"))
    };
    let bytes = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new(&bytes, InferenceCapabilities::default(), &[])
        .map_err(|error| words(&error))?;
    *factory.limits_mut() = limits();
    factory.quiet();
    let parser = factory.create_parser(grammar).map_err(|error| words(&error))?;
    let mut matcher = Matcher::new(Ok(parser));
    match matcher.compute_mask_or_eos() {
        Ok(mask) if mask.num_set() > 0 => Ok(()),
        Ok(_) => Err(SchemaFault::whole("no answer obeys it")),
        Err(error) => Err(words(&error)),
    }
}

//! JSON schemas, regular expressions, choices and grammars that clients send: which of them can be
//! guaranteed, and what is wrong with the others.
//!
//! Runs in the daemon, before anything is queued or loaded, on text that nobody has looked at:
//! bounded in time (100 ms, measured over a corpus of hostile input) and memory, and without a
//! vocabulary. The worker compiles what has passed here by the same [`grammar`] under the same
//! [`limits`], so what is accepted here is not refused there.
//!
//! * `keyword`: every keyword of JSON Schema and what becomes of it. `clean`: the walk that bounds a
//!   schema and rewrites it into the subset that is enforced exactly. `literal`, `number`, `name`,
//!   `format`, `pattern`: parts of it. `cost`: what combining schemas may cost. `inline`: makes the alternatives of
//!   `oneOf` visible.
//! * `check`: the questions that dialects ask. `loosen`: the nearest schema that can be guaranteed, for
//!   those that only guide. `gbnf`: a reader of llama.cpp's grammars that finds
//!   what would hang or crash their compiler.
//!
//! # What of JSON Schema is enforced
//!
//! `type`, `const`, `enum`, `properties`, `required`, `additionalProperties`, `patternProperties`,
//! `propertyNames` (names by a list or a pattern), `minProperties`/`maxProperties` (where a repeated
//! name cannot cheat), `items`, `prefixItems`, `minItems`/`maxItems`, `minLength`/`maxLength`,
//! `pattern`, `format`, `minimum`/`maximum` and the exclusive ones, `multipleOf`, `anyOf`, `allOf`,
//! `oneOf` (where the alternatives exclude each other visibly), `$ref` within the document (cycles
//! too). Draft 4 to 2020-12; where they differ, the structure says which is meant (`items` as a list,
//! `exclusiveMinimum` as a boolean).
//!
//! Ignored on purpose: annotations (`title`, `description`, `default`, `examples`, `$schema`,
//! `discriminator`, `x-…` and so on) and formats that say how a value is stored, not how it looks
//! (`int64`, `double`, `binary`). Everything else is refused by name.
//!
//! # Bounds
//!
//! 256 KiB of JSON, nesting 64, 5,000 subschemas, 500 properties in one object, 5,000 enum values,
//! 300 optional properties in one object, 100 patterns. Numbers beyond 2^53 have no exact meaning in most JSON readers: a bound out there
//! becomes the nearest exact one, a constant is refused.

mod check;
mod clean;
mod cost;
mod fault;
mod format;
mod gbnf;
mod grammar;
mod inline;
mod keyword;
mod literal;
mod loosen;
mod name;
mod number;
mod pattern;

#[cfg(test)]
mod tests;

pub use check::{check, check_choice, check_gbnf_text, check_lark, check_regex};
pub use fault::SchemaFault;
pub use gbnf::{MAX_DERIVED_GBNF, check_gbnf};
pub use grammar::{grammar, limits};
pub use loosen::{any_object, loosen};

//! Requests, field by field. The wire types are taken apart without `..`, so a new field does not
//! compile until it is mapped, refused by name, or ignored with a word why.

mod blocks;
mod messages;
mod request;
mod tools;

pub(super) use request::{Converted, convert as messages, counted};

#[cfg(test)]
mod tests;

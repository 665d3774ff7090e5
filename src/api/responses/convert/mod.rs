//! Requests of the Responses API in terms of the domain.

mod fields;
mod input;
mod items;
mod request;
mod text;
mod tools;

pub(super) use fields::invalid_choice;
pub(super) use request::{Converted, Past, convert};

#[cfg(test)]
mod tests;

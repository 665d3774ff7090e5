use std::sync::Arc;

use crate::domain::{Constraint, Error};
use crate::worker::compute::{Token, TokenConstraint};
use crate::worker::llama::Model;

/// Compiles constraints for one model's vocabulary.
pub struct Compiler {
    _model: Arc<Model>,
}

/// What makes a lazy grammar apply: from here on the output has to obey it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// This token.
    Token(Token),
    /// This text, wherever it comes.
    Word(String),
    /// A match of this regular expression in the output so far; the grammar applies from the start
    /// of the first group.
    Pattern(String),
    /// The same, for an expression that has to match all of the output so far.
    PatternFull(String),
}

impl Compiler {
    /// For the vocabulary of `model`.
    pub fn new(model: Arc<Model>) -> Self {
        Self { _model: model }
    }

    /// The constraint of a request; `None`: anything goes.
    ///
    /// # Errors
    /// `InvalidValue` or `Unsupported` with what is wrong and where.
    pub fn compile(
        &self,
        constraint: &Constraint,
    ) -> Result<Option<Box<dyn TokenConstraint>>, Error> {
        match constraint {
            Constraint::None => Ok(None),
            _ => Err(Error::unsupported("response_format", "constraints are not done yet")),
        }
    }

    /// A grammar that llama.cpp derived for a model's tool calls; with `triggers` it applies only
    /// once one of them has come.
    ///
    /// # Errors
    /// `Internal` if llama.cpp does not take it.
    pub fn grammar(
        &self,
        _gbnf: &str,
        _triggers: Option<&[Trigger]>,
    ) -> Result<Box<dyn TokenConstraint>, Error> {
        Err(Error::internal("grammars are not done yet"))
    }
}

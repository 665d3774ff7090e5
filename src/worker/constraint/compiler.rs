use std::sync::{Arc, OnceLock};

use llguidance::{Matcher, ParserFactory};

use super::begun::Begun;
use super::derived::{Followed, Lazy};
use super::guided::{Guided, words};
use super::trigger::{Trigger, Triggers};
use super::vocabulary;
use crate::domain::{Constraint, Error, ErrorKind};
use crate::schema::{self, SchemaFault};
use crate::worker::compute::TokenConstraint;
use crate::worker::llama::{Grammar, Model};

/// Compiles constraints for one model's vocabulary.
///
/// On the prepare thread, whose stack is large: compilers recurse.
pub struct Compiler {
    model: Arc<Model>,
    /// Built when first needed.
    factory: OnceLock<Result<ParserFactory, String>>,
}

impl Compiler {
    /// For the vocabulary of `model`.
    pub fn new(model: Arc<Model>) -> Self {
        Self { model, factory: OnceLock::new() }
    }

    /// The constraint of a request; `None`: anything goes.
    ///
    /// # Errors
    /// `InvalidValue` or `UnsupportedModel` with what is wrong and where. What `schema` has accepted
    /// in the daemon is not refused here, but for a GBNF grammar that llama.cpp does not read.
    pub fn compile(
        &self,
        constraint: &Constraint,
    ) -> Result<Option<Box<dyn TokenConstraint>>, Error> {
        if let Constraint::Gbnf(text) = constraint {
            schema::check_gbnf_text(text).map_err(|fault| invalid(constraint, &fault))?;
            let grammar = Grammar::new(Arc::clone(&self.model), text)
                .map_err(|reason| Error::invalid(param(constraint), reason))?;
            return Ok(Some(Box::new(Followed(grammar))));
        }
        let grammar = schema::grammar(constraint).map_err(|fault| invalid(constraint, &fault))?;
        let Some(grammar) = grammar else { return Ok(None) };
        let factory = self.factory.get_or_init(|| vocabulary::factory(&self.model));
        let factory = factory
            .as_ref()
            .map_err(|reason| Error::new(ErrorKind::UnsupportedModel, reason.clone()))?;
        let parser = factory.create_parser(grammar).map_err(|error| {
            let text = format!("it cannot be enforced: {}", words(error));
            Error::invalid(param(constraint), text)
        })?;
        let guided = Guided::new(Matcher::new(Ok(parser)), Arc::clone(&self.model));
        Ok(Some(Box::new(guided)))
    }

    /// A constraint that applies to answers that begin with `beginning` (white space aside).
    ///
    /// # Errors
    /// As [`Compiler::compile`]; `Internal` for a constraint of nothing.
    pub fn begun(
        &self,
        constraint: &Constraint,
        beginning: &'static str,
    ) -> Result<Box<dyn TokenConstraint>, Error> {
        let inner = self.compile(constraint)?;
        let inner = inner.ok_or_else(|| Error::internal("a constraint of nothing"))?;
        Ok(Box::new(Begun::new(inner, Arc::clone(&self.model), beginning)))
    }

    /// A grammar that llama.cpp derived for a model's tool calls; with `triggers` it applies only
    /// once one of them has come.
    ///
    /// # Errors
    /// `Internal` if llama.cpp does not take it.
    pub fn grammar(
        &self,
        gbnf: &str,
        triggers: Option<&[Trigger]>,
    ) -> Result<Box<dyn TokenConstraint>, Error> {
        schema::check_gbnf(gbnf, schema::MAX_DERIVED_GBNF).map_err(Error::internal)?;
        let grammar = Grammar::new(Arc::clone(&self.model), gbnf).map_err(Error::internal)?;
        Ok(match triggers {
            None => Box::new(Followed(grammar)),
            Some(triggers) => {
                let triggers = Triggers::new(triggers).map_err(Error::internal)?;
                Box::new(Lazy::new(grammar, Arc::clone(&self.model), triggers))
            }
        })
    }
}

/// The request field that a constraint comes from, as far as that is known here.
fn param(constraint: &Constraint) -> &'static str {
    match constraint {
        Constraint::None | Constraint::JsonObject | Constraint::JsonSchema(_) => "response_format",
        _ => "grammar",
    }
}

fn invalid(constraint: &Constraint, fault: &SchemaFault) -> Error {
    let place = if fault.pointer.is_empty() { "" } else { " at " };
    let text = format!("{}{place}{}", fault.message, fault.pointer);
    Error::invalid(param(constraint), text)
}

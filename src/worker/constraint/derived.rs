use std::sync::Arc;

use super::trigger::Triggers;
use crate::worker::compute::{Token, TokenConstraint};
use crate::worker::llama::{Grammar, Model};

/// A grammar that applies from the beginning.
///
/// A mask over SmolLM2's 49,152 tokens takes 35 ms on a busy machine (llama.cpp compares every token
/// with every state), so ask for one token first.
#[derive(Debug)]
pub(super) struct Followed(pub(super) Grammar);

impl TokenConstraint for Followed {
    fn allows(&mut self, token: Token) -> Result<bool, String> {
        self.0.allows(token)
    }

    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        self.0.mask(logits)
    }

    fn accept(&mut self, token: Token) -> Result<(), String> {
        self.0.accept(token)
    }

    fn fork(&self) -> Result<Box<dyn TokenConstraint>, String> {
        Ok(Box::new(Self(self.0.try_clone()?)))
    }
}

/// A grammar that applies from a trigger on; before, anything goes.
///
/// The triggers are looked for here and not by llama.cpp, whose expressions would read the whole
/// output anew with every token, recursing with its length.
pub(super) struct Lazy {
    grammar: Grammar,
    model: Arc<Model>,
    /// `None`: it applies.
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone)]
struct Waiting {
    triggers: Arc<Triggers>,
    output: Vec<u8>,
    /// The output's tokens and where each begins.
    tokens: Vec<(Token, usize)>,
}

impl Lazy {
    /// Waiting for one of `triggers`.
    pub(super) fn new(grammar: Grammar, model: Arc<Model>, triggers: Triggers) -> Self {
        let triggers = Arc::new(triggers);
        let waiting = Waiting { triggers, output: Vec::new(), tokens: Vec::new() };
        Self { grammar, model, waiting: Some(waiting) }
    }
}

impl std::fmt::Debug for Lazy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lazy").field("applies", &self.waiting.is_none()).finish_non_exhaustive()
    }
}

impl TokenConstraint for Lazy {
    fn allows(&mut self, token: Token) -> Result<bool, String> {
        if self.waiting.is_some() { Ok(true) } else { self.grammar.allows(token) }
    }

    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        if self.waiting.is_some() { Ok(()) } else { self.grammar.mask(logits) }
    }

    fn accept(&mut self, token: Token) -> Result<(), String> {
        let Some(waiting) = &mut self.waiting else { return self.grammar.accept(token) };
        if waiting.triggers.has_token(token) {
            self.waiting = None;
            return self.grammar.accept(token);
        }
        let old = waiting.output.len();
        waiting.tokens.push((token, old));
        waiting.output.extend(self.model.token_text(token));
        let Some(start) = waiting.triggers.find(&waiting.output, old) else { return Ok(()) };
        // The token in which it begins counts from there on only.
        let first = waiting.tokens.partition_point(|(_, begin)| *begin <= start).saturating_sub(1);
        let covered = waiting.tokens.get(first..).unwrap_or_default();
        let skip = covered.first().map_or(0, |(_, begin)| start.saturating_sub(*begin));
        if skip > 0 {
            self.grammar = self.grammar.restarted(skip)?;
        }
        for (token, _) in covered {
            self.grammar.accept(*token)?;
        }
        self.waiting = None;
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn TokenConstraint>, String> {
        Ok(Box::new(Self {
            grammar: self.grammar.try_clone()?,
            model: Arc::clone(&self.model),
            waiting: self.waiting.clone(),
        }))
    }
}

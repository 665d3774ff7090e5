use std::fmt;
use std::sync::Arc;

use crate::worker::compute::{Token, TokenConstraint};
use crate::worker::llama::Model;

/// A constraint for answers that begin with a certain text; every other answer is free.
///
/// White space does not count for the beginning. A beginning that the constraint does not take
/// itself (for its white space) leaves the answer free, too: whoever reads it decides.
pub(super) struct Begun {
    inner: Box<dyn TokenConstraint>,
    model: Arc<Model>,
    stage: Stage,
}

#[derive(Clone)]
enum Stage {
    /// The output so far may be the beginning.
    Waiting {
        beginning: &'static str,
        output: Vec<u8>,
        tokens: Vec<Token>,
    },
    Applies,
    Free,
}

impl Begun {
    /// `inner` for answers that begin with `beginning`, which has no white space.
    pub(super) fn new(
        inner: Box<dyn TokenConstraint>,
        model: Arc<Model>,
        beginning: &'static str,
    ) -> Self {
        let stage = Stage::Waiting { beginning, output: Vec::new(), tokens: Vec::new() };
        Self { inner, model, stage }
    }
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let applies = matches!(self.stage, Stage::Applies);
        f.debug_struct("Begun").field("applies", &applies).finish_non_exhaustive()
    }
}

impl TokenConstraint for Begun {
    fn allows(&mut self, token: Token) -> Result<bool, String> {
        if matches!(self.stage, Stage::Applies) { self.inner.allows(token) } else { Ok(true) }
    }

    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        if matches!(self.stage, Stage::Applies) { self.inner.mask(logits) } else { Ok(()) }
    }

    fn accept(&mut self, token: Token) -> Result<(), String> {
        let (beginning, output, tokens) = match &mut self.stage {
            Stage::Waiting { beginning, output, tokens } => (*beginning, output, tokens),
            Stage::Applies => return self.inner.accept(token),
            Stage::Free => return Ok(()),
        };
        tokens.push(token);
        let bytes = self.model.token_text(token);
        output.extend(bytes.into_iter().filter(|byte| !byte.is_ascii_whitespace()));
        if beginning.as_bytes().starts_with(output) && output.len() < beginning.len() {
            return Ok(());
        }
        let begun = output.starts_with(beginning.as_bytes())
            && tokens.iter().all(|token| self.inner.accept(*token).is_ok());
        self.stage = if begun { Stage::Applies } else { Stage::Free };
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn TokenConstraint>, String> {
        Ok(Box::new(Self {
            inner: self.inner.fork()?,
            model: Arc::clone(&self.model),
            stage: self.stage.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Constraint;
    use crate::worker::constraint::Compiler;
    use crate::worker::llama::tiny;

    const BYTE: Token = 4;

    /// Says `text`, byte by byte, and answers whether `next` may follow.
    fn after(text: &str, next: char) -> bool {
        let compiler = Compiler::new(tiny::model(None));
        let schema = Constraint::JsonSchema(r#"{"const":{"go":1}}"#.to_owned());
        let mut begun = compiler.begun(&schema, "{\"go\"").expect("compiled");
        for byte in text.bytes() {
            let token = BYTE + Token::from(byte);
            assert_eq!(begun.allows(token), Ok(true), "{text:?} at {:?}", char::from(byte));
            begun.accept(token).expect("taken");
        }
        begun.allows(BYTE + next as Token).expect("an answer")
    }

    #[test]
    fn it_applies_once_the_answer_has_begun_like_that() {
        assert!(after("{\"go\"", ':'));
        assert!(!after("{\"go\"", 'x'));
        assert!(!after("{\"go\":1}", 'x'), "nothing may follow");
    }

    #[test]
    fn other_answers_are_free_also_when_they_are_json() {
        for text in ["", "{", "{\"g", "{\"gone\":", "I go", "  ", "\n{\"going"] {
            assert!(after(text, 'x'), "{text:?}");
        }
    }
}

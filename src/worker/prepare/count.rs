use std::iter::repeat_n;

use super::cache::{Encodings, Part};
use super::encode::Encoder;
use super::media::Placed;
use super::query::pieces;
use super::run::Ready;
use crate::domain::Error;
use crate::protocol::QueryAnswer;
use crate::worker::compute::Token;
use crate::worker::llama::Piece;

/// What is told of a row of an image or sound: it is no token of any vocabulary.
const NO_TOKEN: Token = -1;

impl Encoder {
    /// The tokens of a prompt that is only asked about. Images and sounds are cut up as for an
    /// answer, but nothing is computed of them.
    pub(super) fn count(&mut self, ready: Ready) -> Result<QueryAnswer, Error> {
        let text = ready.prompt.tokens;
        let mut tokens = Vec::new();
        let mut done = 0;
        for placed in &ready.media {
            tokens.extend_from_slice(text.get(done..placed.at).unwrap_or_default());
            done = placed.at;
            self.measure(placed, &mut tokens)?;
        }
        tokens.extend_from_slice(text.get(done..).unwrap_or_default());
        pieces(&self.model, tokens)
    }

    /// Appends what stands for one image or sound.
    fn measure(&mut self, placed: &Placed, tokens: &mut Vec<Token>) -> Result<(), Error> {
        if let Some(encoded) = self.known.get(&Encodings::key(&placed.media)) {
            for part in &encoded.parts {
                match part {
                    Part::Tokens(own) => tokens.extend_from_slice(own),
                    Part::Rows { ids, .. } => tokens.extend(repeat_n(NO_TOKEN, ids.len())),
                }
            }
            return Ok(());
        }
        let decoded = self.decode(placed)?;
        let list = self.projector.split(&decoded).and_then(|pieces| pieces.list());
        for piece in list.map_err(|cause| self.unreadable(placed, cause))? {
            match piece {
                Piece::Tokens(own) => tokens.extend(own),
                Piece::Rows { count, .. } => tokens.extend(repeat_n(NO_TOKEN, count)),
            }
        }
        Ok(())
    }
}

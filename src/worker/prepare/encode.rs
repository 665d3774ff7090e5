use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::cache::{Encoded, Encodings, Part};
use super::media::{Placed, unusable};
use super::query::answered;
use super::run::{Ready, hand_over};
use super::tokenize::too_long;
use crate::domain::{Error, ErrorKind, JobId, MediaKind};
use crate::worker::compute::{MediaSegment, PreparedPrompt};
use crate::worker::jobs::Jobs;
use crate::worker::llama::{MAX_WHOLE_ROWS, Model, Piece, Projector};
use crate::worker::media::{Decoded, decode};
use crate::worker::output::Formats;
use crate::worker::step::{FrameSink, StepCommand};

/// A prompt whose images and sounds are still files.
pub struct Pending {
    pub(super) job: JobId,
    pub(super) ready: Ready,
    /// It is only asked about: the answer is how many tokens it has.
    pub(super) asked: bool,
}

/// Decodes and encodes images and sounds, on a thread of its own: it may take seconds, in which
/// neither a step nor the preparation of another prompt should wait.
pub struct Encoder {
    /// The model's name, for messages.
    pub name: String,
    /// Makes rows of pixels and samples.
    pub projector: Projector,
    /// The model's vocabulary.
    pub model: Arc<Model>,
    /// The longest sequence, in tokens.
    pub context_size: u32,
    /// What was encoded before.
    pub known: Encodings,
    /// Shared with the reader.
    pub jobs: Arc<Jobs>,
    /// How answers are read.
    pub formats: Arc<Formats>,
    /// To the step loop.
    pub step: Sender<StepCommand>,
    /// To the daemon.
    pub out: Arc<dyn FrameSink>,
}

impl Encoder {
    /// Works until the channel closes.
    pub fn run(mut self, prompts: &Receiver<Pending>) {
        while let Ok(Pending { job, mut ready, asked }) = prompts.recv() {
            if asked {
                let answer = self.count(ready);
                self.out.send(answered(job, answer));
                continue;
            }
            let media = std::mem::take(&mut ready.media);
            let outcome = self.put_in(job, &mut ready.prompt, &media).map(|()| ready);
            hand_over(&self.jobs, &self.step, &self.formats, &*self.out, job, outcome);
        }
    }

    /// Puts the images and sounds into the prompt. Of a job that nobody wants any more, only some.
    fn put_in(
        &mut self,
        job: JobId,
        prompt: &mut PreparedPrompt,
        media: &[Placed],
    ) -> Result<(), Error> {
        let text = std::mem::take(&mut prompt.tokens);
        let mut done = 0;
        for placed in media {
            if !self.jobs.is_wanted(job) {
                return Ok(());
            }
            prompt.tokens.extend_from_slice(text.get(done..placed.at).unwrap_or_default());
            done = placed.at;
            let left = text.len().saturating_sub(done);
            let taken = prompt.tokens.len().saturating_add(left);
            let encoded = self.encode(placed, taken)?;
            for part in &encoded.parts {
                match part {
                    Part::Tokens(tokens) => prompt.tokens.extend_from_slice(tokens),
                    Part::Rows { ids, rows } => {
                        let start = prompt.tokens.len();
                        prompt.media.push(MediaSegment { start, rows: Arc::clone(rows) });
                        prompt.tokens.extend_from_slice(ids);
                    }
                }
            }
            self.check_length(prompt.tokens.len().saturating_add(left), left == 0)?;
        }
        prompt.tokens.extend_from_slice(text.get(done..).unwrap_or_default());
        if prompt.tokens.last().is_some_and(|last| *last < 0) {
            let message = format!(
                "the chat template of {} puts nothing behind the last image, so that no answer can \
                 begin: put text behind it",
                self.name
            );
            return Err(Error::unsupported("messages", message));
        }
        Ok(())
    }

    /// One image or sound beside `taken` tokens of the same prompt.
    fn encode(&mut self, placed: &Placed, taken: usize) -> Result<Arc<Encoded>, Error> {
        let param = &placed.param;
        let key = Encodings::key(&placed.media);
        if let Some(encoded) = self.known.get(&key) {
            return Ok(encoded);
        }
        let decoded = self.decode(placed)?;
        let context_size = self.context_size;
        let name = self.name.clone();
        let encoded = encode(&mut self.projector, &decoded, &key, |rows| {
            fits(taken.saturating_add(rows), context_size)
        });
        let encoded = encoded.map_err(|failure| match failure {
            Failure::TooLong(error) => error,
            Failure::TooLarge(rows) => Error::unsupported(
                param.clone(),
                format!(
                    "{name} reads this image as {rows} tokens at once, and at most \
                     {MAX_WHOLE_ROWS} can be: send a smaller image"
                ),
            ),
            Failure::Projector(cause) => self.unreadable(placed, cause),
        })?;
        Ok(self.known.insert(key, encoded))
    }

    /// A file's pixels or samples.
    pub(super) fn decode(&self, placed: &Placed) -> Result<Decoded, Error> {
        let Placed { at: _, media, param } = placed;
        let rate = self.projector.sample_rate().unwrap_or_default();
        let decoded = match media.kind {
            MediaKind::Audio if rate == 0 => Err("has no use here".to_owned()),
            _ => decode(media, rate),
        };
        decoded.map_err(|reason| unusable(media.kind, param, &reason))
    }

    /// The error of a file that the projector does not take.
    pub(super) fn unreadable(&self, placed: &Placed, cause: String) -> Error {
        let name = &self.name;
        let message =
            format!("the projector of {name} cannot make anything of this file: try another");
        Error::new(ErrorKind::InvalidValue, message)
            .with_param(placed.param.clone())
            .with_cause(cause)
    }

    fn check_length(&self, tokens: usize, exact: bool) -> Result<(), Error> {
        let most = usize::try_from(self.context_size.saturating_sub(1)).unwrap_or(usize::MAX);
        if tokens <= most {
            return Ok(());
        }
        Err(too_long(u64::try_from(tokens).unwrap_or(u64::MAX), exact, self.context_size))
    }
}

enum Failure {
    TooLong(Error),
    TooLarge(usize),
    Projector(String),
}

impl From<String> for Failure {
    fn from(cause: String) -> Self {
        Self::Projector(cause)
    }
}

/// At least one token of the context stays for the answer.
fn fits(tokens: usize, context_size: u32) -> Result<(), Error> {
    let tokens = u64::try_from(tokens).unwrap_or(u64::MAX);
    if tokens < u64::from(context_size) {
        return Ok(());
    }
    Err(too_long(tokens, false, context_size))
}

/// All pieces of an image or sound. What cannot be used is refused before anything is computed.
fn encode(
    projector: &mut Projector,
    decoded: &Decoded,
    key: &[u8; 32],
    fits: impl Fn(usize) -> Result<(), Error>,
) -> Result<Encoded, Failure> {
    let mut pieces = projector.split(decoded)?;
    let list = pieces.list()?;
    let lengths = list.iter().map(|piece| match piece {
        Piece::Tokens(tokens) => tokens.len(),
        Piece::Rows { count, .. } => *count,
    });
    fits(lengths.sum()).map_err(Failure::TooLong)?;
    for piece in &list {
        if let Piece::Rows { count, whole: true } = piece
            && *count > MAX_WHOLE_ROWS
        {
            return Err(Failure::TooLarge(*count));
        }
    }
    let mut parts = Vec::new();
    for (index, piece) in list.into_iter().enumerate() {
        parts.push(match piece {
            Piece::Tokens(tokens) => Part::Tokens(tokens),
            Piece::Rows { .. } => Part::rows(key, index, pieces.encode(index)?),
        });
    }
    Ok(Encoded { parts })
}

use std::sync::mpsc::Sender;

use super::encode::Pending;
use super::run::Preparer;
use crate::domain::{ChatPrompt, Error, ErrorKind, JobId, Media, MediaKind};
use crate::worker::compute::Token;
use crate::worker::quote::{Part, parts, split_media};

/// What the loaded model can see and hear, and who makes it so.
pub struct Senses {
    /// It takes images.
    pub vision: bool,
    /// It takes sounds.
    pub audio: bool,
    /// Why it takes neither although it has a projector.
    pub without: Option<String>,
    /// To the thread that encodes; `None` where there is nothing to encode with.
    pub encoder: Option<Sender<Pending>>,
}

/// An image or sound that has to go into a prompt.
#[derive(Debug)]
pub(super) struct Placed {
    /// Before which of the prompt's tokens.
    pub(super) at: usize,
    /// What it is.
    pub(super) media: Media,
    /// The field that it came in.
    pub(super) param: String,
}

impl Preparer {
    /// The tokens of a rendered conversation, and where its images and sounds belong.
    pub(super) fn tokenize_chat(
        &self,
        job: JobId,
        chat: &ChatPrompt,
        rendered: &str,
    ) -> Result<(Vec<Token>, Vec<Placed>), Error> {
        let all = media_of(chat);
        if all.is_empty() {
            return Ok((self.tokenize(job, &parts(rendered))?, Vec::new()));
        }
        for (media, _) in &all {
            self.check_taken(media.kind)?;
        }
        let (first, rest) = split_media(rendered);
        for (index, (_, param)) in all.iter().enumerate() {
            if !rest.iter().any(|(placed, _)| *placed == index) {
                let message = format!(
                    "the chat template of {} leaves this image or sound out: put it into the last \
                     message of a user, or load the model with another template",
                    self.name
                );
                return Err(Error::unsupported(param.clone(), message));
            }
        }
        let mut tokens = self.tokenize_more(job, Vec::new(), &parts(first), true)?;
        let mut placed = Vec::new();
        for (index, text) in rest {
            // A number that is none of ours cannot come out of a template.
            if let Some((media, param)) = all.get(index) {
                let (media, param) = ((*media).clone(), param.clone());
                placed.push(Placed { at: tokens.len(), media, param });
            }
            if !text.is_empty() {
                tokens = self.tokenize_more(job, tokens, &parts(text), false)?;
            }
        }
        Ok((tokens, placed))
    }

    fn check_taken(&self, kind: MediaKind) -> Result<(), Error> {
        let (taken, what) = match kind {
            MediaKind::Image => (self.senses.vision, "images"),
            MediaKind::Audio => (self.senses.audio, "sounds"),
        };
        if taken {
            return Ok(());
        }
        let reason = match &self.senses.without {
            Some(reason) => format!("cannot take {what}: {reason}"),
            None => format!("has no projector for {what}"),
        };
        let message =
            format!("{} {reason}; send text, or ask a model that takes {what}", self.name);
        Err(Error::unsupported("messages", message))
    }

    /// Tokens that go on with those of `parts`; `start`: with what the tokenizer puts before a
    /// prompt. What it puts behind one is left out, as an answer follows.
    fn tokenize_more(
        &self,
        job: JobId,
        mut tokens: Vec<Token>,
        parts: &[Part<'_>],
        start: bool,
    ) -> Result<Vec<Token>, Error> {
        let bytes = parts.iter().map(|part| part.text.len()).sum();
        self.watch_tokenizer(job, bytes, || {
            for (index, part) in parts.iter().enumerate() {
                let before = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
                let room = self.longest().saturating_sub(1).saturating_sub(before);
                let first = start && index == 0;
                let more = self
                    .model
                    .tokenize_part(part.text, room, first, !part.quoted)
                    .map_err(|error| self.not_tokenized(error, before, false))?;
                tokens.extend(more);
                if first && self.model.adds_end() {
                    tokens.pop();
                }
            }
            Ok(tokens)
        })
    }
}

/// All images and sounds in their order, each with the field it came in.
fn media_of(chat: &ChatPrompt) -> Vec<(&Media, String)> {
    let messages = chat.messages.iter().enumerate();
    let media = messages.flat_map(|(index, message)| {
        let param = format!("messages[{index}].content");
        message.media.iter().map(move |at| (&at.media, param.clone()))
    });
    media.collect()
}

/// The error of an image or sound that cannot be used; `reason` goes on from its name.
pub(super) fn unusable(kind: MediaKind, param: &str, reason: &str) -> Error {
    let what = match kind {
        MediaKind::Image => "image",
        MediaKind::Audio => "recording",
    };
    Error::new(ErrorKind::InvalidValue, format!("the {what} {reason}")).with_param(param)
}

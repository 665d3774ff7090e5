use bytes::BytesMut;
use serde::Serialize;

use crate::api::body::{Render, sse_json};
use crate::domain::{Delta, Error, Event, FinishReason};

use super::super::error::Envelope;
use super::parts::{Meta, Shape, WireTimings, WireUsage, finish_reason};

/// Turns events into the chunks of a stream, in OpenAI's order: the role (chat only), the text, an
/// empty delta with the reason of the end, the usage if asked for, `[DONE]`.
pub(in crate::api::openai) struct ChunkStream {
    shape: Shape,
    meta: Meta,
    include_usage: bool,
    role_sent: bool,
    finish: Option<FinishReason>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: &'a [Choice<'a>],
    /// Absent unless usage was asked for; then null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<WireUsage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<WireTimings>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(flatten)]
    piece: Piece<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Piece<'a> {
    Delta(WireDelta<'a>),
    Text(&'a str),
}

#[derive(Default, Serialize)]
struct WireDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl ChunkStream {
    pub(in crate::api::openai) fn new(shape: Shape, meta: Meta, include_usage: bool) -> Self {
        Self { shape, meta, include_usage, role_sent: false, finish: None }
    }

    fn chunk<'a>(&'a self, choices: &'a [Choice<'a>]) -> Chunk<'a> {
        let Meta { id, created, model, system_fingerprint } = &self.meta;
        let object = match self.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Text => "text_completion",
        };
        let usage = self.include_usage.then_some(None);
        Chunk {
            id,
            object,
            created: *created,
            model,
            system_fingerprint,
            choices,
            usage,
            timings: None,
        }
    }

    /// The first chunk of a chat, once.
    fn role(&mut self, out: &mut BytesMut) {
        if self.shape == Shape::Chat && !self.role_sent {
            self.role_sent = true;
            let delta = WireDelta { role: Some("assistant"), content: Some("") };
            sse_json(out, &self.chunk(&[choice(Piece::Delta(delta), None)]));
        }
    }

    fn text(&mut self, text: &str, out: &mut BytesMut) {
        let piece = match self.shape {
            Shape::Chat => Piece::Delta(WireDelta { role: None, content: Some(text) }),
            Shape::Text => Piece::Text(text),
        };
        sse_json(out, &self.chunk(&[choice(piece, None)]));
    }
}

fn choice<'a>(piece: Piece<'a>, finish_reason: Option<&'static str>) -> Choice<'a> {
    Choice { index: 0, piece, logprobs: None, finish_reason }
}

impl Render for ChunkStream {
    fn event(&mut self, event: Event, out: &mut BytesMut) {
        match event {
            Event::Waiting { .. } | Event::Loading { .. } => {}
            Event::Started { .. } => self.role(out),
            Event::Delta { delta: Delta::Content(text), .. } => {
                self.role(out);
                self.text(&text, out);
            }
            Event::Delta { .. } | Event::Vector { .. } => {}
            Event::Ended { finish, .. } => self.finish = Some(finish),
            Event::Finished(outcome) => {
                self.role(out);
                let piece = match self.shape {
                    Shape::Chat => Piece::Delta(WireDelta::default()),
                    Shape::Text => Piece::Text(""),
                };
                let choices = [choice(
                    piece,
                    Some(finish_reason(self.finish.as_ref().unwrap_or(&FinishReason::Stop))),
                )];
                let mut last = self.chunk(&choices);
                last.timings = Some(WireTimings::new(&outcome));
                sse_json(out, &last);
                if self.include_usage {
                    let mut usage = self.chunk(&[]);
                    usage.usage = Some(Some(WireUsage::new(outcome.usage)));
                    sse_json(out, &usage);
                }
                out.extend_from_slice(b"data: [DONE]\n\n");
            }
        }
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        sse_json(out, &Envelope::new(error));
    }
}

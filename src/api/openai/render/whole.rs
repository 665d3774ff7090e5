use bytes::Bytes;
use serde::Serialize;

use crate::domain::{Choice as Spoken, Error, FinishReason, Result, Transcript};

use super::parts::{Meta, Shape, WireTimings, WireUsage, finish_reason};

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: [Choice<'a>; 1],
    usage: WireUsage,
    timings: WireTimings,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(flatten)]
    piece: Piece<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Piece<'a> {
    Message(WireMessage<'a>),
    Text(&'a str),
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

/// The body of an answer that is not streamed.
///
/// # Errors
/// `Internal` if the transcript is not complete.
pub(in crate::api::openai) fn whole(
    shape: Shape,
    meta: &Meta,
    transcript: &Transcript,
) -> Result<Bytes> {
    let outcome = transcript
        .outcome
        .as_ref()
        .ok_or_else(|| Error::internal("a generation ended without a result"))?;
    let none = Spoken::default();
    let answer = transcript.choices.first().unwrap_or(&none);
    let content = &answer.content;
    let (object, piece) = match shape {
        Shape::Chat => {
            let message = WireMessage { role: "assistant", content, refusal: None };
            ("chat.completion", Piece::Message(message))
        }
        Shape::Text => ("text_completion", Piece::Text(content)),
    };
    let finish_reason = finish_reason(answer.finish.as_ref().unwrap_or(&FinishReason::Stop));
    let answer = Answer {
        id: &meta.id,
        object,
        created: meta.created,
        model: &meta.model,
        system_fingerprint: &meta.system_fingerprint,
        choices: [Choice { index: 0, piece, logprobs: None, finish_reason }],
        usage: WireUsage::new(outcome.usage),
        timings: WireTimings::new(outcome),
    };
    serde_json::to_vec(&answer).map(Bytes::from).map_err(Error::internal)
}

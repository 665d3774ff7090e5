use std::time::Instant;

use crate::domain::{Event, FinishReason, JobId, Limits, Outcome, Timings, Usage};
use crate::worker::compute::{SeqId, Token};
use crate::worker::sampling::{Params, Sampler};
use crate::worker::text::{StopMatcher, Utf8Decoder};

use super::media::MediaMap;

/// One started answer. Everything it needs to be computed anew is here, nothing of it in llama.cpp.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    /// The prompt and what was generated after it.
    pub(super) tokens: Vec<Token>,
    /// The images and sounds in the prompt.
    pub(super) media: MediaMap,
    /// Its sequence while it runs.
    pub(super) seq: Option<SeqId>,
    pub(super) sampler: Sampler,
    pub(super) ignore_end: bool,
    /// When it was started by the daemon.
    pub(super) arrived: Instant,
    /// Tokens that are to be computed before the next can be chosen, as far as that is known while
    /// it waits.
    pub(super) expected: usize,
    /// The last step in which it decoded.
    pub(super) last_step: u64,
    /// Nothing more will be said about it; to be removed.
    pub(super) ended: bool,
    prompt_tokens: usize,
    cached_tokens: usize,
    generated: u32,
    max_tokens: Option<u32>,
    utf8: Utf8Decoder,
    stop: StopMatcher,
    /// Text that may be shown and was not sent yet.
    text: String,
    began: Option<Instant>,
    first_token: Option<Instant>,
}

impl Job {
    pub(super) fn new(
        id: JobId,
        prompt: Vec<Token>,
        media: MediaMap,
        params: Params,
        limits: Limits,
        now: Instant,
    ) -> Self {
        Self {
            id,
            sampler: Sampler::new(params, &prompt),
            seq: None,
            media,
            ignore_end: limits.ignore_eos,
            arrived: now,
            expected: prompt.len(),
            last_step: 0,
            ended: false,
            prompt_tokens: prompt.len(),
            cached_tokens: 0,
            generated: 0,
            max_tokens: limits.max_tokens,
            utf8: Utf8Decoder::default(),
            stop: StopMatcher::new(&limits.stop),
            text: String::new(),
            began: None,
            first_token: None,
            tokens: prompt,
        }
    }

    /// Whether it has chosen a token, so that a reader waits for the next.
    pub(super) fn is_streaming(&self) -> bool {
        self.generated > 0
    }

    /// Its sequence begins to be computed, `cached` tokens of it being there already. Answers what
    /// to say the first time.
    pub(super) fn begin(&mut self, seq: SeqId, cached: usize, now: Instant) -> Option<Event> {
        self.seq = Some(seq);
        if self.began.is_some() {
            return None;
        }
        self.began = Some(now);
        self.cached_tokens = cached;
        let usage = self.usage();
        let Usage { prompt_tokens, cached_tokens, .. } = usage;
        Some(Event::Started { prompt_tokens, cached_tokens })
    }

    /// Its prompt is computed. Answers the end if no token is wanted.
    pub(super) fn prefilled(&mut self, now: Instant) -> Option<FinishReason> {
        self.first_token.get_or_insert(now);
        (self.max_tokens == Some(0)).then_some(FinishReason::Length)
    }

    /// The next token is `token`, which spells `piece`; the sequence may have `capacity` tokens.
    /// Answers why it ends here, if it does.
    pub(super) fn push(
        &mut self,
        token: Token,
        is_end: bool,
        piece: &[u8],
        capacity: usize,
    ) -> Option<FinishReason> {
        self.generated = self.generated.saturating_add(1);
        if is_end {
            return Some(self.close(FinishReason::Stop));
        }
        self.tokens.push(token);
        let mut decoded = String::new();
        self.utf8.push(piece, &mut decoded);
        if let Some(stop) = self.stop.push(&decoded, &mut self.text) {
            return Some(FinishReason::StopString(stop));
        }
        let enough = self.max_tokens.is_some_and(|max| self.generated >= max);
        if enough || self.tokens.len() >= capacity {
            return Some(self.close(FinishReason::Length));
        }
        None
    }

    /// Ends the text: shows what was held back. Answers why it ended.
    pub(super) fn close(&mut self, reason: FinishReason) -> FinishReason {
        let mut rest = String::new();
        self.utf8.finish(&mut rest);
        let found = self.stop.push(&rest, &mut self.text);
        let found = found.or_else(|| self.stop.finish(&mut self.text));
        found.map_or(reason, FinishReason::StopString)
    }

    /// The text since the last call.
    pub(super) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// The counts and times of an answer that ends now.
    pub(super) fn outcome(&self, now: Instant) -> Outcome {
        let between = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_duration_since(from).as_secs_f64() * 1000.0,
            _ => 0.0,
        };
        let timings = Timings {
            queue_ms: 0.0,
            load_ms: 0.0,
            prompt_ms: between(self.began, self.first_token.or(Some(now))),
            decode_ms: between(self.first_token, Some(now)),
        };
        Outcome { usage: self.usage(), timings }
    }

    fn usage(&self) -> Usage {
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        Usage {
            prompt_tokens: count(self.prompt_tokens),
            cached_tokens: count(self.cached_tokens),
            completion_tokens: self.generated,
            reasoning_tokens: 0,
        }
    }
}

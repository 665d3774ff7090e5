use std::collections::VecDeque;
use std::time::Instant;

use crate::domain::{
    Delta, Event, FinishReason, JobId, Limits, Outcome, OutputOptions, Shift, Timings,
    TokenLogprob, Usage,
};
use crate::worker::compute::{PreparedPrompt, SeqId, Token, TokenConstraint};
use crate::worker::sampling::{Params, Sampler};
use crate::worker::text::AnswerText;

use super::media::MediaMap;
use super::thought::Thought;

/// The most alternatives to a token.
const MAX_TOP: usize = 20;
/// Contexts that an answer may fill where the oldest of it is forgotten.
const MAX_CONTEXTS: usize = 10;
/// What a shift keeps of a long prompt: models lean on the very first tokens.
const FIRST_TOKENS: usize = 4;

/// One answer of a started request. Everything it needs to be computed anew is here, nothing of it
/// in llama.cpp.
#[derive(Debug)]
pub(super) struct Job {
    /// Its request.
    pub(super) id: JobId,
    /// Which of the request's answers it is, from 0.
    pub(super) choice: u32,
    /// How many answers are to be made of this one as soon as its prompt is computed.
    pub(super) further: u32,
    /// The prompt and what follows it: what was sampled, and what comes without sampling.
    pub(super) tokens: Vec<Token>,
    /// The images and sounds in the prompt; nothing in a new job.
    pub(super) media: MediaMap,
    /// Its sequence while it runs.
    pub(super) seq: Option<SeqId>,
    pub(super) sampler: Sampler,
    pub(super) constraint: Option<Box<dyn TokenConstraint>>,
    pub(super) ignore_end: bool,
    /// Since when it waits for its turn: when the daemon started it. A further answer queues up
    /// anew when one of its request has been let in.
    pub(super) arrived: Instant,
    /// Tokens that are to be computed before the next can be chosen, as far as that is known while
    /// it waits.
    pub(super) expected: usize,
    /// The last step in which it decoded.
    pub(super) last_step: u64,
    /// Nothing more will be said about it; to be removed.
    pub(super) ended: bool,
    /// How many alternatives to each token are wanted.
    pub(super) logprobs: Option<usize>,
    prompt_tokens: usize,
    cached_tokens: usize,
    /// Where in `tokens` the answer begins, as far as it is there still.
    answer_from: usize,
    shift: Option<Shift>,
    /// Tokens were forgotten since its sequence was computed.
    shifted: bool,
    /// Where in `tokens` the part begins that nothing was said about yet.
    told: usize,
    /// Where in `tokens` the part begins whose probabilities are not known; beyond all of them if
    /// nobody wants to know.
    scored: usize,
    /// The probabilities of the tokens before that, as far as they were not said.
    scores: VecDeque<TokenLogprob>,
    echo: bool,
    thought: Option<Thought>,
    generated: u32,
    max_tokens: Option<u32>,
    text: AnswerText,
    began: Option<Instant>,
    first_token: Option<Instant>,
    /// What answers of the same request cost that have ended.
    others: (u32, u32),
}

impl Job {
    /// The first answer of a request whose sequences may have `capacity` tokens.
    pub(super) fn new(
        id: JobId,
        prompt: PreparedPrompt,
        params: Params,
        limits: Limits,
        output: &OutputOptions,
        capacity: usize,
        now: Instant,
    ) -> Self {
        let PreparedPrompt { mut tokens, constraint, mut forced, thinking, inputs: _, media: _ } =
            prompt;
        let prompt_tokens = tokens.len();
        let most = limits.max_tokens.map_or(usize::MAX, |max| max.try_into().unwrap_or(usize::MAX));
        forced.truncate(most.min(capacity.saturating_sub(prompt_tokens)));
        let endless = u32::try_from(capacity.saturating_mul(MAX_CONTEXTS)).unwrap_or(u32::MAX);
        let max_tokens = match limits.shift {
            Some(_) => Some(limits.max_tokens.unwrap_or(endless).min(endless)),
            None => limits.max_tokens,
        };
        let sampler = Sampler::new(params, &tokens);
        tokens.append(&mut forced);
        let logprobs = output.logprobs.map(|top| top.try_into().unwrap_or(MAX_TOP).min(MAX_TOP));
        let scored = match logprobs {
            None => usize::MAX,
            // Nothing comes before the first token that could have made it likely.
            Some(_) if output.echo => 1,
            Some(_) => prompt_tokens,
        };
        Self {
            id,
            choice: 0,
            further: output.choices.saturating_sub(1),
            sampler,
            constraint,
            seq: None,
            media: MediaMap::default(),
            ignore_end: limits.ignore_eos,
            arrived: now,
            expected: tokens.len(),
            last_step: 0,
            ended: false,
            logprobs,
            prompt_tokens,
            cached_tokens: 0,
            answer_from: prompt_tokens,
            shift: limits.shift,
            shifted: false,
            told: prompt_tokens,
            scored,
            scores: VecDeque::new(),
            echo: output.echo,
            thought: thinking.map(Thought::new),
            generated: 0,
            max_tokens,
            text: AnswerText::new(&limits.stop),
            began: None,
            first_token: None,
            others: (0, 0),
            tokens,
        }
    }

    /// Another answer to the same prompt, which nothing was said about yet.
    ///
    /// # Errors
    /// Why the constraint cannot be in two answers.
    pub(super) fn fork(&self, choice: u32, now: Instant) -> Result<Self, String> {
        Ok(Self {
            id: self.id,
            choice,
            further: 0,
            tokens: self.tokens.clone(),
            seq: None,
            media: self.media.clone(),
            sampler: self.sampler.of_choice(choice),
            constraint: self.constraint.as_ref().map(|constraint| constraint.fork()).transpose()?,
            ignore_end: self.ignore_end,
            arrived: now,
            expected: 1,
            last_step: self.last_step,
            ended: false,
            logprobs: self.logprobs,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            answer_from: self.answer_from,
            shift: self.shift,
            shifted: self.shifted,
            told: self.told,
            scored: self.scored,
            scores: self.scores.clone(),
            echo: self.echo,
            thought: self.thought.clone(),
            generated: self.generated,
            max_tokens: self.max_tokens,
            text: self.text.clone(),
            began: self.began,
            first_token: self.first_token,
            others: (0, 0),
        })
    }

    /// Whether it has chosen a token, so that a reader waits for the next.
    pub(super) fn is_streaming(&self) -> bool {
        self.generated > 0
    }

    /// The tokens whose computation may be taken from elsewhere, and the next, which may not: its
    /// logits are wanted.
    pub(super) fn reusable(&self) -> &[Token] {
        self.tokens.get(..self.scored).unwrap_or(&self.tokens)
    }

    /// Whether the logits after the token at `at` are wanted.
    pub(super) fn wants_logits(&self, at: usize) -> bool {
        at + 1 == self.tokens.len() || at + 1 >= self.scored
    }

    /// How many of the `tokens` from `start` on can be computed if so many of them may ask for
    /// logits, and how many of these do.
    pub(super) fn within(&self, start: usize, tokens: usize, outputs: usize) -> (usize, usize) {
        let silent = self.scored.saturating_sub(1).saturating_sub(start).min(tokens);
        let loud = tokens - silent;
        if loud > 0 {
            let loud = loud.min(outputs);
            return (silent + loud, loud);
        }
        match start + tokens == self.tokens.len() {
            true if outputs == 0 => (tokens.saturating_sub(1), 0),
            last => (tokens, usize::from(last)),
        }
    }

    /// The first token whose probability is wanted and not known, if it is there already.
    pub(super) fn unscored(&self) -> Option<Token> {
        self.tokens.get(self.scored).copied()
    }

    /// That token, if it follows the one at `at`.
    pub(super) fn to_score(&self, at: usize) -> Option<Token> {
        self.unscored().filter(|_| at + 1 == self.scored)
    }

    /// The probability of [`Job::unscored`].
    pub(super) fn score(&mut self, token: TokenLogprob) {
        self.scores.push_back(token);
        self.scored = self.scored.saturating_add(1);
    }

    /// Its sequence begins to be computed, `cached` tokens of it being there already. Answers what
    /// to say the first time.
    pub(super) fn begin(&mut self, seq: SeqId, cached: usize, now: Instant) -> Option<Event> {
        self.seq = Some(seq);
        if self.began.is_some() {
            return None;
        }
        self.began = Some(now);
        // What is forced may have been cached too, but is no part of the prompt.
        self.cached_tokens = cached.min(self.prompt_tokens.saturating_sub(1));
        let Usage { prompt_tokens, cached_tokens, .. } = self.usage();
        Some(Event::Started { prompt_tokens, cached_tokens })
    }

    /// Its tokens are computed.
    pub(super) fn prefilled(&mut self, now: Instant) {
        self.first_token.get_or_insert(now);
    }

    /// Whether all of its tokens were said.
    pub(super) fn is_told(&self) -> bool {
        self.told == self.tokens.len()
    }

    /// Whether no token is wanted.
    pub(super) fn is_prompt_only(&self) -> bool {
        self.max_tokens == Some(0)
    }

    /// Says the prompt, if that is wanted and was not done yet; `piece` spells a token.
    pub(super) fn echo(&mut self, mut piece: impl FnMut(Token, &mut Vec<u8>)) {
        if !std::mem::take(&mut self.echo) {
            return;
        }
        let mut bytes = Vec::new();
        for (at, token) in self.tokens.iter().take(self.prompt_tokens).enumerate() {
            bytes.clear();
            piece(*token, &mut bytes);
            let first = || TokenLogprob {
                token: *token,
                bytes: bytes.clone(),
                logprob: None,
                top: Vec::new(),
            };
            let score = match self.logprobs {
                None => None,
                Some(_) if at == 0 => Some(first()),
                Some(_) => self.scores.pop_front(),
            };
            self.text.echo(&bytes, score);
        }
    }

    /// The next token that came without sampling and was not said yet, with its probability.
    pub(super) fn untold(&mut self) -> Option<(Token, Option<TokenLogprob>)> {
        let token = self.tokens.get(self.told).copied()?;
        Some((token, self.scores.pop_front()))
    }

    /// Says a token, which spells `piece`; the sequence may have `capacity` tokens. Answers why it
    /// ends here, if it does.
    pub(super) fn say(
        &mut self,
        token: Token,
        piece: &[u8],
        score: Option<TokenLogprob>,
        capacity: usize,
    ) -> Option<FinishReason> {
        self.generated = self.generated.saturating_add(1);
        if self.told == self.tokens.len() {
            self.tokens.push(token);
            self.scored = self.scored.saturating_add(usize::from(self.logprobs.is_some()));
        }
        self.told += 1;
        if let Some(thought) = &mut self.thought {
            thought.observe(self.tokens.get(self.answer_from..self.told).unwrap_or_default());
        }
        if let Some(stop) = self.text.push(piece, score) {
            return Some(FinishReason::StopString(stop));
        }
        let enough = self.max_tokens.is_some_and(|max| self.generated >= max);
        let full = self.told >= capacity && (enough || !self.forget(capacity));
        (enough || full).then(|| self.close(FinishReason::Length))
    }

    /// Forgets older tokens, if it may, so that a sequence of `capacity` tokens has room again;
    /// whether it did. Its sequence is to be computed anew then.
    pub(super) fn forget(&mut self, capacity: usize) -> bool {
        let Some(shift) = self.shift.filter(|_| self.media.is_empty()) else { return false };
        let most = capacity / 2;
        let keep = match shift.keep {
            Some(keep) => usize::try_from(keep).unwrap_or(usize::MAX).min(self.prompt_tokens),
            None if self.prompt_tokens <= most => self.prompt_tokens,
            None => FIRST_TOKENS,
        };
        let keep = keep.min(most);
        // Nothing that was not said yet may go.
        let gone = self.told.saturating_sub(keep).div_ceil(2);
        if gone == 0 {
            return false;
        }
        self.tokens.drain(keep..keep + gone);
        self.told -= gone;
        self.answer_from = self.answer_from.saturating_sub(gone).max(keep.min(self.answer_from));
        if self.scored != usize::MAX {
            self.scored = self.scored.saturating_sub(gone);
        }
        self.shifted = true;
        true
    }

    /// Whether tokens were forgotten since the last time it was asked.
    pub(super) fn take_shifted(&mut self) -> bool {
        std::mem::take(&mut self.shifted)
    }

    /// The model ends it.
    pub(super) fn say_end(&mut self) -> FinishReason {
        self.generated = self.generated.saturating_add(1);
        self.close(FinishReason::Stop)
    }

    /// Ends a thought that has used up its tokens, as far as the constraint lets it: puts what ends
    /// it behind what was said. False if nothing is to be ended.
    ///
    /// # Errors
    /// The constraint's.
    pub(super) fn end_thought(&mut self, capacity: usize) -> Result<bool, String> {
        let Some(thought) = &self.thought else { return Ok(false) };
        let said = self.tokens.get(self.answer_from..).unwrap_or_default();
        let due = thought.due(said).to_vec();
        let before = self.tokens.len();
        for token in due.into_iter().take(capacity.saturating_sub(before)) {
            if let Some(constraint) = &mut self.constraint {
                if !constraint.allows(token)? {
                    break;
                }
                constraint.accept(token)?;
            }
            self.tokens.push(token);
        }
        Ok(self.tokens.len() > before)
    }

    /// Ends the text: shows what was held back. Answers why it ended.
    pub(super) fn close(&mut self, reason: FinishReason) -> FinishReason {
        self.text.finish().map_or(reason, FinishReason::StopString)
    }

    /// What it has said since the last call.
    pub(super) fn speak(&mut self, events: &mut Vec<(JobId, Event)>) {
        let (tokens, text) = self.text.take();
        let mut say = |delta| events.push((self.id, Event::Delta { choice: self.choice, delta }));
        if !tokens.is_empty() {
            say(Delta::Logprobs(tokens));
        }
        if !text.is_empty() {
            say(Delta::Content(text));
        }
    }

    /// Counts the cost of an answer to the same request that has ended.
    pub(super) fn add(&mut self, (generated, thought): (u32, u32)) {
        self.others.0 = self.others.0.saturating_add(generated);
        self.others.1 = self.others.1.saturating_add(thought);
    }

    /// The counts and times of a request whose last answer ends now.
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

    /// Tokens of this answer and of those that ended before: all, and of these thoughts.
    pub(super) fn cost(&self) -> (u32, u32) {
        let thought = self.thought.as_ref().map_or(0, Thought::spent);
        (self.generated.saturating_add(self.others.0), thought.saturating_add(self.others.1))
    }

    fn usage(&self) -> Usage {
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        let (completion_tokens, reasoning_tokens) = self.cost();
        Usage {
            prompt_tokens: count(self.prompt_tokens),
            cached_tokens: count(self.cached_tokens),
            completion_tokens,
            reasoning_tokens,
        }
    }
}

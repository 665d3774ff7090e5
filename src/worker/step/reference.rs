//! What the loop has to say, computed without it: one answer after the other, each alone, one token
//! after the other.

use std::collections::VecDeque;

use crate::domain::{FinishReason, Limits, OutputOptions, Sampling};
use crate::worker::compute::{PreparedPrompt, ThinkingMarks, Token, TokenConstraint};
use crate::worker::sampling::{Params, Sampler, Scratch, logprobs, resolve};
use crate::worker::text::{StopMatcher, Utf8Decoder};

use super::fake::{END, piece, row};

/// All that a job can be asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) tokens: Vec<Token>,
    pub(super) constraint: Option<Rule>,
    pub(super) forced: Vec<Token>,
    pub(super) thinking: Option<ThinkingMarks>,
    pub(super) sampling: Sampling,
    pub(super) limits: Limits,
    pub(super) output: OutputOptions,
}

impl Request {
    pub(super) fn plain(tokens: &[Token], sampling: Sampling, limits: Limits) -> Self {
        Self { tokens: tokens.to_vec(), sampling, limits, ..Self::default() }
    }

    pub(super) fn prompt(&self) -> PreparedPrompt {
        PreparedPrompt {
            tokens: self.tokens.clone(),
            constraint: self.constraint.clone().map(|rule| Box::new(rule) as _),
            forced: self.forced.clone(),
            thinking: self.thinking.clone(),
            ..PreparedPrompt::default()
        }
    }
}

/// A constraint by hash: about a third of the tokens is forbidden, other ones at each place, an end
/// is allowed now and then, and with `dead` there are places where nothing is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) state: u64,
    pub(super) dead: bool,
}

impl TokenConstraint for Rule {
    fn allows(&mut self, token: Token) -> Result<bool, String> {
        if END.contains(&token) {
            return Ok(self.state % 4 == 1);
        }
        let dead = self.dead && self.state.is_multiple_of(16);
        let third = (self.state >> 8).wrapping_add(u64::from(token.unsigned_abs()) * 7) % 3;
        Ok(!dead && third > 0)
    }

    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        for (token, logit) in (0..).zip(logits) {
            if !self.allows(token)? {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: Token) -> Result<(), String> {
        assert!(!END.contains(&token), "an end is not accepted");
        assert!(self.allows(token)?, "{token} is not allowed");
        let next =
            (self.state ^ u64::from(token.unsigned_abs())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.state = next ^ (next >> 31);
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn TokenConstraint>, String> {
        Ok(Box::new(self.clone()))
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) text: String,
    /// The tokens that the text is made of, and maybe more, with their log-probabilities.
    pub(super) tokens: Vec<(Token, Option<f32>)>,
    /// `None`: the constraint leaves nothing to say.
    pub(super) finish: Option<FinishReason>,
    pub(super) count: u32,
    pub(super) thought: u32,
}

/// How much was thought and whether a thought is open.
fn thought(marks: &ThinkingMarks, said: &[Token]) -> (u32, bool) {
    let (mut total, mut open_since) = (0, marks.open.then_some(0));
    for len in 1..=said.len() {
        let said = &said[..len];
        match open_since {
            None if said.ends_with(&marks.start) => open_since = Some(len),
            None => {}
            Some(since) => {
                if let Some(end) = marks.ends.iter().find(|end| said.ends_with(end)) {
                    total += (len - since).saturating_sub(end.len());
                    open_since = None;
                }
            }
        }
    }
    let open = open_since.map_or(0, |since| said.len() - since);
    ((total + open) as u32, open_since.is_some())
}

/// What is missing of the end of a thought that may not go on.
fn due(marks: &ThinkingMarks, said: &[Token]) -> Vec<Token> {
    let (spent, open) = thought(marks, said);
    if !open || marks.budget.is_none_or(|budget| spent < budget) {
        return Vec::new();
    }
    let mut best: (usize, &[Token]) = (0, &marks.ends[0]);
    for end in &marks.ends {
        for begun in 1..end.len() {
            if said.ends_with(&end[..begun]) && begun >= best.0 {
                best = (begun, &end[begun..]);
            }
        }
    }
    best.1.to_vec()
}

impl Request {
    /// How many tokens stand before the first that is chosen, prompt aside.
    pub(super) fn given(&self) -> usize {
        let due = self.thinking.as_ref().map_or(0, |marks| due(marks, &self.forced).len());
        self.forced.len() + due
    }

    /// What the answer with this number says when it is alone in a context of so many cells.
    pub(super) fn answer(&self, choice: u32, cells: usize) -> Answer {
        let params = resolve(&self.sampling, &Sampling::default());
        let params = Params { seed: params.seed.wrapping_add(choice.into()), ..params };
        let mut sampler = Sampler::new(params, &self.tokens);
        let mut rule = self.constraint.clone();
        let (mut utf8, mut stop) = (Utf8Decoder::default(), StopMatcher::new(&self.limits.stop));
        let mut history = self.tokens.clone();
        let mut queue: VecDeque<Token> = self.forced.iter().copied().collect();
        queue.truncate(cells.saturating_sub(history.len()));
        let masked = if self.limits.ignore_eos { &END[..] } else { &[] };
        let start = self.tokens.len();
        let mut answer =
            Answer { text: String::new(), tokens: Vec::new(), finish: None, count: 0, thought: 0 };
        let of = |history: &[Token], token| {
            logprobs(&row(history), token, 0, &mut Scratch::default()).token
        };
        if self.output.echo {
            for (at, token) in self.tokens.iter().enumerate() {
                utf8.push(piece(*token), &mut answer.text);
                let logprob = (at > 0).then(|| of(&history[..at], *token));
                answer.tokens.push((*token, logprob));
            }
        }
        let reason = loop {
            if self.limits.max_tokens == Some(answer.count)
                || answer.count > 0 && history.len() >= cells
            {
                break FinishReason::Length;
            }
            if queue.is_empty()
                && let Some(marks) = &self.thinking
            {
                for token in due(marks, &history[start..]) {
                    if history.len() + queue.len() >= cells
                        || rule.as_mut().is_some_and(|rule| !rule.allows(token).unwrap())
                    {
                        break;
                    }
                    if let Some(rule) = &mut rule {
                        rule.accept(token).unwrap();
                    }
                    queue.push_back(token);
                }
            }
            let token = match queue.pop_front() {
                Some(token) => {
                    sampler.accept(token);
                    token
                }
                None => {
                    let (row, scratch) = (row(&history), &mut Scratch::default());
                    let token = match &mut rule {
                        None => sampler.sample(&row, masked, scratch),
                        Some(rule) => sampler.sample_allowed(&row, masked, rule, scratch).unwrap(),
                    };
                    match token.filter(|token| !END.contains(token)) {
                        None => {
                            if rule.is_some_and(|mut rule| !rule.allows(END[0]).unwrap()) {
                                answer.thought = self.thought(&history);
                                return answer;
                            }
                            answer.count += 1;
                            break FinishReason::Stop;
                        }
                        Some(token) => {
                            if let Some(rule) = &mut rule {
                                rule.accept(token).unwrap();
                            }
                            token
                        }
                    }
                }
            };
            answer.count += 1;
            if !piece(token).is_empty() {
                answer.tokens.push((token, Some(of(&history, token))));
            }
            history.push(token);
            answer.thought = self.thought(&history);
            let mut decoded = String::new();
            utf8.push(piece(token), &mut decoded);
            if let Some(found) = stop.push(&decoded, &mut answer.text) {
                answer.finish = Some(FinishReason::StopString(found));
                return answer;
            }
        };
        let mut rest = String::new();
        utf8.finish(&mut rest);
        let found = stop.push(&rest, &mut answer.text).or_else(|| stop.finish(&mut answer.text));
        answer.finish = Some(found.map_or(reason, FinishReason::StopString));
        answer
    }

    fn thought(&self, history: &[Token]) -> u32 {
        let said = &history[self.tokens.len()..];
        self.thinking.as_ref().map_or(0, |marks| thought(marks, said).0)
    }
}

/// What a plain job says when it is alone in the world: text, end, tokens.
pub(super) fn alone(
    prompt: &[Token],
    sampling: &Sampling,
    limits: &Limits,
    cells: usize,
) -> (String, FinishReason, u32) {
    let answer = Request::plain(prompt, sampling.clone(), limits.clone()).answer(0, cells);
    (answer.text, answer.finish.unwrap(), answer.count)
}

//! What a request can ask for besides plain text: several answers, probabilities, echoes, forced
//! beginnings, constraints, budgets.

use crate::domain::{
    Delta, Error, ErrorKind, Event, FinishReason, JobId, Limits, OutputOptions, Sampling, Usage,
};
use crate::protocol::ToDaemon;
use crate::worker::compute::{
    ComputeLimits, PreparedPrompt, ThinkingMarks, Token, TokenConstraint,
};

use super::fake::{Bench, END, VOCAB, events_of, greedy, limits, piece, transcript_of};
use super::reference::{Request, Rule};
use super::{StepCommand, StepSettings};

fn prompt(seed: usize, len: usize) -> Vec<Token> {
    (0..len).map(|at| ((at * 7 + at / 5 + seed * (at + 1)) % VOCAB) as Token).collect()
}

fn bench() -> Bench {
    Bench::new(limits(), StepSettings::default())
}

/// So many tokens, whatever they are.
fn exactly(tokens: u32) -> Limits {
    Limits { max_tokens: Some(tokens), ignore_eos: true, ..Limits::default() }
}

fn choices(choices: u32) -> OutputOptions {
    OutputOptions { choices, ..OutputOptions::default() }
}

fn drawn(seed: u64) -> Sampling {
    Sampling { temperature: Some(1.0), seed: Some(seed), ..Sampling::default() }
}

fn usage(frames: &[ToDaemon], job: u64) -> Usage {
    transcript_of(frames, job).outcome.expect("finished").usage
}

fn failure(frames: &[ToDaemon]) -> Error {
    let failed = frames.iter().find_map(|frame| match frame {
        ToDaemon::Failed { error, .. } => Some(error.clone()),
        _ => None,
    });
    failed.expect("a failure")
}

#[test]
fn several_answers_share_one_prefill_and_differ_by_their_seeds() {
    let mut bench = bench();
    let request =
        Request { output: choices(4), ..Request::plain(&prompt(0, 100), drawn(7), exactly(10)) };
    bench.request(0, request.clone());
    bench.finish();
    let computed: usize = bench.batches().iter().map(Vec::len).sum();
    assert_eq!(computed, 100 + 4 * 9);
    let frames = bench.frames();
    let said: Vec<String> =
        transcript_of(&frames, 0).choices.into_iter().map(|choice| choice.content).collect();
    let alone: Vec<String> = (0..4)
        .map(|number| {
            let sampling = drawn(7 + number);
            Request { sampling, ..request.clone() }.answer(0, 4096).text
        })
        .collect();
    assert_eq!(said, alone);
    assert_ne!(said[0], said[1]);
    let usage = usage(&frames, 0);
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (100, 40));
}

#[test]
fn each_answer_ends_once_and_the_request_after_the_last() {
    let mut bench = bench();
    let limits = Limits { max_tokens: Some(60), ..Limits::default() };
    let request = Request::plain(&prompt(1, 20), drawn(1), limits);
    bench.request(0, Request { output: choices(3), ..request });
    bench.finish();
    let events = events_of(&bench.frames(), 0);
    let mut ended: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            Event::Ended { choice, .. } => Some(*choice),
            _ => None,
        })
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 2]);
    assert!(matches!(events.first(), Some(Event::Started { .. })));
    assert!(matches!(events.last(), Some(Event::Finished(_))));
    assert_eq!(events.iter().filter(|e| matches!(e, Event::Finished(_))).count(), 1);
}

#[test]
fn more_answers_than_sequences_take_turns() {
    let mut bench =
        Bench::new(ComputeLimits { max_sequences: 2, ..limits() }, StepSettings::default());
    let request = Request::plain(&prompt(0, 50), drawn(3), exactly(5));
    bench.request(0, Request { output: choices(9), ..request });
    bench.finish();
    let computed: usize = bench.batches().iter().map(Vec::len).sum();
    assert_eq!(computed, 50 + 9 * 4, "the prompt stays");
    assert_eq!(usage(&bench.frames(), 0).completion_tokens, 45);
}

#[test]
fn further_answers_leave_room_for_other_requests() {
    let settings = StepSettings { max_requests: 2, ..StepSettings::default() };
    let mut bench = Bench::new(ComputeLimits { max_sequences: 4, ..limits() }, settings);
    let request = Request::plain(&prompt(0, 50), drawn(3), exactly(500));
    bench.request(0, Request { output: choices(9), ..request });
    for _ in 0..20 {
        bench.step();
    }
    bench.greedy(1, &prompt(1, 10), 5);
    for _ in 0..10 {
        bench.step();
    }
    assert_eq!(usage(&bench.frames(), 1).completion_tokens, 5);
}

#[test]
fn a_cancelled_request_ends_in_all_its_answers() {
    let mut bench = bench();
    let request = Request::plain(&prompt(0, 50), drawn(3), exactly(500));
    bench.request(0, Request { output: choices(20), ..request });
    for _ in 0..5 {
        bench.step();
    }
    bench.cancel(0);
    assert!(!bench.step());
    assert!(bench.engine.jobs.is_empty());
    assert_eq!(bench.engine.slots.cells().pinned(), 0);
    assert_eq!(bench.frames().last(), Some(&ToDaemon::Released { job: JobId(0) }));
}

#[test]
fn probabilities_stand_before_the_text_they_are_of() {
    let mut bench = bench();
    let output = OutputOptions { logprobs: Some(3), ..OutputOptions::default() };
    let whole =
        Sampling { logit_bias: [6, 7, 8, 9, 18].map(|token| (token, -100.0)).to_vec(), ..drawn(5) };
    bench.request(0, Request { output, ..Request::plain(&prompt(0, 9), whole, exactly(40)) });
    bench.finish();
    let events = events_of(&bench.frames(), 0);
    let deltas: Vec<Delta> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::Delta { delta, .. } => Some(delta),
            _ => None,
        })
        .collect();
    assert!(deltas.len() >= 20, "{deltas:?}");
    let (mut bytes, mut text) = (Vec::new(), String::new());
    for pair in deltas.chunks(2) {
        let [Delta::Logprobs(tokens), Delta::Content(more)] = pair else { panic!("{pair:?}") };
        bytes.extend(tokens.iter().flat_map(|token| token.bytes.clone()));
        text.push_str(more);
        assert!(String::from_utf8_lossy(&bytes).starts_with(&text), "{pair:?}");
        for token in tokens {
            let best = token.top.first().expect("three of them");
            assert!(token.top.len() == 3 && token.logprob.unwrap() <= best.2, "{token:?}");
            assert_eq!(best.1, piece(best.0));
        }
    }
}

#[test]
fn an_echo_with_probabilities_is_computed_anew_within_the_rows_there_are() {
    let mut bench = bench();
    bench.greedy(0, &prompt(0, 60), 1);
    bench.finish();
    bench.batches();
    let output = OutputOptions { logprobs: Some(1), echo: true, choices: 2 };
    let request = Request { output, ..Request::plain(&prompt(0, 60), greedy(), exactly(0)) };
    bench.request(1, request.clone());
    bench.finish();
    // The bench refuses batches that ask for more than 16.
    let sizes: Vec<usize> = bench.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [16, 16, 16, 12]);
    let frames = bench.frames();
    let expected = request.answer(0, 4096);
    let transcript = transcript_of(&frames, 1);
    assert_eq!(transcript.choices.len(), 2);
    for choice in transcript.choices {
        assert_eq!(
            (choice.content, choice.finish),
            (expected.text.clone(), Some(FinishReason::Length))
        );
        let tokens: Vec<_> = choice.logprobs.iter().map(|t| (t.token, t.logprob)).collect();
        assert_eq!(tokens, expected.tokens);
        assert_eq!((tokens.len(), tokens[0].1), (60, None));
    }
    let usage = usage(&frames, 1);
    assert_eq!((usage.cached_tokens, usage.completion_tokens), (0, 0));
}

#[test]
fn an_echo_without_probabilities_takes_the_prefix_cache() {
    let mut bench = bench();
    let output = OutputOptions { echo: true, ..OutputOptions::default() };
    for job in 0..2 {
        let request = Request::plain(&prompt(0, 60), greedy(), exactly(2));
        bench.request(job, Request { output: output.clone(), ..request });
        bench.finish();
    }
    let frames = bench.frames();
    assert!(usage(&frames, 1).cached_tokens >= 59);
    assert_eq!(transcript_of(&frames, 0).choices, transcript_of(&frames, 1).choices);
}

#[test]
fn a_long_echo_does_not_keep_a_short_prompt_waiting() {
    let mut bench = bench();
    let output = OutputOptions { logprobs: Some(0), echo: true, choices: 1 };
    bench.request(0, Request { output, ..Request::plain(&prompt(0, 2000), greedy(), exactly(1)) });
    bench.step();
    bench.greedy(1, &prompt(1, 20), 1);
    bench.step();
    bench.step();
    assert_eq!(usage(&bench.frames(), 1).completion_tokens, 1);
}

#[test]
fn a_forced_beginning_is_computed_with_the_prompt_and_said() {
    let mut bench = bench();
    let forced = vec![0, 1, 3];
    let request = Request { forced, ..Request::plain(&prompt(0, 20), greedy(), exactly(5)) };
    bench.request(0, request.clone());
    bench.finish();
    let sizes: Vec<usize> = bench.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [23, 1]);
    let frames = bench.frames();
    let said = &transcript_of(&frames, 0).choices[0].content;
    assert!(said.starts_with("ab "), "{said}");
    assert_eq!(said, &request.answer(0, 4096).text);
    let usage = usage(&frames, 0);
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (20, 5));
}

#[test]
fn a_forced_beginning_obeys_the_limits() {
    let mut bench = bench();
    let request = |limits| Request {
        forced: vec![0, 1, 3, 0],
        ..Request::plain(&prompt(0, 20), greedy(), limits)
    };
    bench.request(0, request(exactly(2)));
    bench.request(1, request(Limits { stop: vec!["b a".into()], ..exactly(50) }));
    bench.request(2, request(exactly(0)));
    bench.finish();
    let frames = bench.frames();
    let ends: Vec<(String, Option<FinishReason>, u32)> = (0..3)
        .map(|job| {
            let choice = transcript_of(&frames, job).choices.remove(0);
            (choice.content, choice.finish, usage(&frames, job).completion_tokens)
        })
        .collect();
    let stop = FinishReason::StopString("b a".into());
    assert_eq!(
        ends,
        [
            ("ab".to_owned(), Some(FinishReason::Length), 2),
            ("a".to_owned(), Some(stop), 4),
            (String::new(), Some(FinishReason::Length), 0),
        ]
    );
}

/// Tokens 12 and 17 end a thought, 16 begins one.
fn marks(open: bool, budget: Option<u32>) -> ThinkingMarks {
    ThinkingMarks { open, start: vec![16], ends: vec![vec![12, 17]], budget }
}

#[test]
fn a_thought_is_counted_and_ended_when_its_budget_is_used_up() {
    for (open, budget, thought) in [(true, 0, 0), (true, 4, 4), (false, 2, 0)] {
        let mut bench = bench();
        let banned = [12, 16, 17].map(|token| (token, -100.0)).to_vec();
        let sampling = Sampling { logit_bias: banned, ..drawn(9) };
        let request = Request {
            thinking: Some(marks(open, Some(budget))),
            ..Request::plain(&prompt(0, 20), sampling, exactly(12))
        };
        bench.request(0, request.clone());
        bench.finish();
        let frames = bench.frames();
        let usage = usage(&frames, 0);
        assert_eq!((usage.completion_tokens, usage.reasoning_tokens), (12, thought));
        let said = &transcript_of(&frames, 0).choices[0].content;
        assert_eq!(said, &request.answer(0, 4096).text);
        assert_eq!(said.contains("cccx"), open, "{said}");
    }
}

#[test]
fn the_end_of_a_thought_takes_one_batch() {
    let mut bench = bench();
    let sampling = Sampling { logit_bias: vec![(12, -100.0), (17, -100.0)], ..drawn(9) };
    let thinking = Some(marks(true, Some(2)));
    bench.request(0, Request { thinking, ..Request::plain(&prompt(0, 20), sampling, exactly(6)) });
    bench.finish();
    let sizes: Vec<usize> = bench.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [20, 1, 3, 1]);
}

#[test]
fn a_constraint_holds_for_every_answer_on_its_own() {
    let mut bench = bench();
    let request = Request {
        constraint: Some(Rule { state: 77, dead: false }),
        output: choices(3),
        ..Request::plain(&prompt(0, 20), drawn(4), exactly(30))
    };
    bench.request(0, request.clone());
    bench.finish();
    for (number, choice) in (0..).zip(transcript_of(&bench.frames(), 0).choices) {
        assert_eq!(choice.content, request.answer(number, 4096).text);
    }
}

/// Allows so many tokens, then an end or nothing, or breaks.
#[derive(Debug, Clone)]
struct Count {
    left: u32,
    may_end: bool,
    breaks: bool,
}

impl TokenConstraint for Count {
    fn allows(&mut self, token: Token) -> Result<bool, String> {
        if self.breaks && self.left == 0 {
            return Err("the lexer ran out of states".to_owned());
        }
        Ok(if END.contains(&token) { self.left == 0 && self.may_end } else { self.left > 0 })
    }

    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        for (token, logit) in (0..).zip(logits) {
            if !self.allows(token)? {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn accept(&mut self, _token: Token) -> Result<(), String> {
        self.left -= 1;
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn TokenConstraint>, String> {
        Err("there is only one".to_owned())
    }
}

fn constrained(bench: &mut Bench, constraint: Count, limits: Limits, output: OutputOptions) {
    let (job, sampling) = (JobId(0), greedy());
    let prompt = PreparedPrompt {
        tokens: prompt(0, 20),
        constraint: Some(Box::new(constraint)),
        ..PreparedPrompt::default()
    };
    bench.engine.handle(StepCommand::Prepared { job, prompt: Box::new(prompt) });
    bench.engine.handle(StepCommand::Start { job, sampling, limits, output });
    bench.finish();
    assert_eq!(bench.engine.slots.cells().pinned(), 0);
}

#[test]
fn where_only_the_end_is_allowed_it_ends_even_if_ends_are_ignored() {
    let mut bench = bench();
    let count = Count { left: 6, may_end: true, breaks: false };
    constrained(&mut bench, count, exactly(50), OutputOptions::default());
    let frames = bench.frames();
    assert_eq!(transcript_of(&frames, 0).choices[0].finish, Some(FinishReason::Stop));
    assert_eq!(usage(&frames, 0).completion_tokens, 7);
}

#[test]
fn a_constraint_that_leaves_nothing_or_breaks_fails_the_request() {
    for (breaks, says) in [(false, "neither another token"), (true, "ran out of states")] {
        let mut bench = bench();
        let count = Count { left: 6, may_end: false, breaks };
        constrained(&mut bench, count, exactly(50), OutputOptions::default());
        let error = failure(&bench.frames());
        assert_eq!(error.kind, ErrorKind::InvalidValue);
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn a_constraint_that_cannot_be_copied_allows_one_answer() {
    let mut bench = bench();
    let count = Count { left: 6, may_end: true, breaks: false };
    constrained(&mut bench, count, exactly(50), choices(2));
    let error = failure(&bench.frames());
    assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::Unsupported, Some("n")));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let plain = || Request::plain(&prompt(0, 20), greedy(), exactly(1));
    let bias = |token| Sampling { logit_bias: vec![(0, 1.0), (token, 1.0)], ..greedy() };
    let echo = OutputOptions { choices: 128, logprobs: Some(20), echo: true };
    let cases = [
        (Request { sampling: bias(VOCAB as Token), ..plain() }, "logit_bias"),
        (Request { sampling: bias(-1), ..plain() }, "logit_bias"),
        (Request { output: choices(129), ..plain() }, "n"),
        (Request { output: echo, tokens: prompt(0, 1000), ..plain() }, "logprobs"),
    ];
    for (request, param) in cases {
        let mut bench = bench();
        bench.request(0, request);
        let error = failure(&bench.frames());
        assert_eq!((error.kind, error.param.as_deref()), (ErrorKind::InvalidValue, Some(param)));
    }
}

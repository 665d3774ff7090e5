//! Random work for the loop: whatever comes in whatever order, every job must say exactly what it
//! would say alone, once, and leave nothing behind.

use proptest::prelude::*;

use crate::domain::{Choice, ErrorKind, Event, JobId, Limits, OutputOptions, Sampling};
use crate::protocol::ToDaemon;
use crate::worker::compute::{ComputeLimits, DecodeError, ThinkingMarks, Token};

use super::StepSettings;
use super::fake::{Bench, VOCAB, events_of, piece, transcript_of};
use super::reference::{Answer, Request, Rule};

#[derive(Debug, Clone)]
enum Action {
    Start(Box<Request>),
    Cancel(prop::sample::Index),
    CancelDuring(Vec<prop::sample::Index>),
    Abort,
    Steps(u8),
}

/// Prompts that often begin alike.
fn prompts() -> impl Strategy<Value = Vec<Token>> {
    let fresh = prop::collection::vec(0..VOCAB as Token, 1..40);
    let shared = (0usize..60, prop::collection::vec(0..VOCAB as Token, 1..12));
    prop_oneof![
        fresh,
        shared.prop_map(|(len, mut tail)| {
            let mut prompt: Vec<Token> = (0..len).map(|at| (at * 7 % VOCAB) as Token).collect();
            prompt.append(&mut tail);
            prompt
        }),
    ]
}

fn samplings() -> impl Strategy<Value = Sampling> {
    (prop::bool::ANY, any::<u64>(), 0u32..30, -0.5f32..0.5).prop_map(
        |(greedy, seed, top_k, presence_penalty)| Sampling {
            temperature: Some(if greedy { 0.0 } else { 1.0 }),
            seed: Some(seed),
            top_k: Some(top_k),
            presence_penalty,
            ..Sampling::default()
        },
    )
}

fn job_limits() -> impl Strategy<Value = Limits> {
    let stop = prop::collection::vec("[ab ]{1,3}", 0..2);
    (prop::option::weighted(0.9, 0u32..40), stop, prop::bool::ANY).prop_map(
        |(max_tokens, stop, ignore_eos)| Limits { max_tokens, stop, ignore_eos, shift: None },
    )
}

fn outputs() -> impl Strategy<Value = OutputOptions> {
    let logprobs = prop::option::weighted(0.3, 0u32..5);
    (prop_oneof![3 => Just(1u32), 2 => 2u32..6], logprobs, prop::bool::weighted(0.2))
        .prop_map(|(choices, logprobs, echo)| OutputOptions { choices, logprobs, echo })
}

/// Few tokens, so that models often come upon the marks by themselves.
fn thinking() -> impl Strategy<Value = ThinkingMarks> {
    let mark = || prop::collection::vec(6 as Token..10, 1..4);
    (prop::bool::ANY, mark(), prop::collection::vec(mark(), 1..3), prop::option::of(0u32..8))
        .prop_map(|(open, start, ends, budget)| ThinkingMarks { open, start, ends, budget })
}

fn requests() -> impl Strategy<Value = Request> {
    let rule =
        (any::<u64>(), prop::bool::weighted(0.2)).prop_map(|(state, dead)| Rule { state, dead });
    // Neither end token.
    let forced = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(6..18 as Token, 1..8)];
    let changes = (
        prop::option::weighted(0.2, 0.0f32..1.0),
        prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec((0..VOCAB as Token, -101.0f32..3.0), 1..3)],
    );
    (
        prompts(),
        prop::option::weighted(0.3, rule),
        forced,
        prop::option::weighted(0.3, thinking()),
        samplings(),
        changes,
        job_limits(),
        outputs(),
    )
        .prop_map(
            |(tokens, constraint, forced, thinking, sampling, changes, limits, output)| {
                let (typical_p, logit_bias) = changes;
                let sampling = Sampling { typical_p, logit_bias, ..sampling };
                Request { tokens, constraint, forced, thinking, sampling, limits, output }
            },
        )
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => requests().prop_map(|request| Action::Start(Box::new(request))),
        1 => any::<prop::sample::Index>().prop_map(Action::Cancel),
        1 => prop::collection::vec(any::<prop::sample::Index>(), 1..4).prop_map(Action::CancelDuring),
        1 => Just(Action::Abort),
        6 => (1u8..12).prop_map(Action::Steps),
    ];
    prop::collection::vec(action, 1..40)
}

fn machines() -> impl Strategy<Value = (ComputeLimits, StepSettings, usize)> {
    let sizes = (40u32..300, 1usize..70, 1u32..7, 0usize..12);
    (sizes, prop::bool::ANY, 1usize..20, 0usize..8, 0usize..10, 0usize..5).prop_map(
        |(sizes, can_rewind, min_chunk, headroom, missing, max_requests)| {
            let (cells, max_batch, max_sequences, more) = sizes;
            let limits = ComputeLimits {
                cells,
                max_batch,
                max_sequences,
                max_outputs: (max_sequences as usize + more).min(max_batch),
                vocab_size: VOCAB,
                can_rewind,
            };
            let settings =
                StepSettings { min_chunk, headroom, max_requests, ..StepSettings::default() };
            (limits, settings, missing)
        },
    )
}

struct Expected {
    request: Request,
    cancelled: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn every_job_says_what_it_would_say_alone(
        (limits, settings, missing) in machines(),
        actions in actions(),
        cost in (0u64..20_000, 0u64..2_000),
    ) {
        let mut bench = Bench::new(limits, settings);
        {
            let mut script = bench.script.borrow_mut();
            script.missing = missing;
            script.cost = (
                std::time::Duration::from_micros(cost.0),
                std::time::Duration::from_micros(cost.1),
            );
        }
        let mut jobs: Vec<Expected> = Vec::new();
        let mut owed: Vec<u64> = Vec::new();
        for action in actions {
            match action {
                Action::Start(request) => {
                    bench.request(jobs.len() as u64, (*request).clone());
                    jobs.push(Expected { request: *request, cancelled: false });
                }
                Action::Cancel(which) if !jobs.is_empty() => {
                    let job = which.index(jobs.len());
                    if !jobs[job].cancelled {
                        jobs[job].cancelled = true;
                        bench.cancel(job as u64);
                    }
                }
                Action::CancelDuring(which) if !jobs.is_empty() => {
                    for which in which {
                        let job = which.index(jobs.len());
                        if !jobs[job].cancelled {
                            jobs[job].cancelled = true;
                            bench.script.borrow_mut().cancel_during.push(JobId(job as u64));
                            owed.push(job as u64);
                        }
                    }
                }
                Action::Cancel(_) | Action::CancelDuring(_) => {}
                Action::Abort => {
                    bench.script.borrow_mut().answers.push_back(Some(DecodeError::Aborted));
                }
                Action::Steps(count) => {
                    for _ in 0..count {
                        bench.step();
                    }
                    for job in owed.drain(..) {
                        bench.cancel(job);
                    }
                }
            }
        }
        for job in owed {
            bench.cancel(job);
        }
        bench.finish();
        check(&bench, &jobs, limits.cells as usize, missing)?;

        // Nothing runs any more, and what is left in the cells is idle: room for a whole context.
        let cells = bench.engine.slots.cells();
        prop_assert_eq!(cells.pinned(), 0);
        prop_assert_eq!(cells.capacity() - cells.free(), bench.script.borrow().used());
        while bench.engine.slots.evict_one(&mut bench.engine.compute) {}
        prop_assert_eq!(bench.engine.slots.cells().free(), limits.cells as usize);
        prop_assert_eq!(bench.script.borrow().used(), 0);
    }
}

fn check(
    bench: &Bench,
    jobs: &[Expected],
    cells: usize,
    missing: usize,
) -> Result<(), TestCaseError> {
    let frames = bench.frames();
    for (id, job) in jobs.iter().enumerate() {
        let id = id as u64;
        let events = events_of(&frames, id);
        let request = &job.request;
        let expected: Vec<Answer> =
            (0..request.output.choices).map(|choice| request.answer(choice, cells)).collect();
        let released =
            frames.iter().filter(|f| **f == ToDaemon::Released { job: JobId(id) }).count();
        prop_assert_eq!(released, usize::from(job.cancelled), "job {}", id);
        let failed: Vec<ErrorKind> = frames
            .iter()
            .filter_map(|frame| match frame {
                ToDaemon::Failed { job, error } if job.0 == id => Some(error.kind),
                _ => None,
            })
            .collect();
        let outcomes: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Finished(outcome) => Some(outcome.clone()),
                _ => None,
            })
            .collect();
        let starts = events.iter().filter(|event| matches!(event, Event::Started { .. })).count();
        prop_assert!(starts <= 1);
        prop_assert!(outcomes.len() + failed.len() <= 1);
        if !job.cancelled {
            prop_assert_eq!(outcomes.len() + failed.len(), 1, "job {} never ends", id);
        }
        // A context with fewer cells than it promised ends an answer earlier.
        let prompt = request.tokens.len();
        let longest = expected.iter().map(|answer| answer.count as usize).max().unwrap_or(0);
        let cut = missing > 0 && prompt + longest.max(request.given()) + 4 >= cells - missing;
        let dead = expected.iter().any(|answer| answer.finish.is_none());
        match failed.first() {
            None => {}
            Some(ErrorKind::InvalidValue) => prop_assert!(dead, "job {} can go on", id),
            Some(kind) => {
                prop_assert_eq!(*kind, ErrorKind::ContextLengthExceeded);
                let tokens = prompt + request.given();
                prop_assert!(tokens > cells - missing, "job {} fits", id);
            }
        }
        let transcript = transcript_of(&frames, id);
        prop_assert!(transcript.choices.len() <= expected.len());
        for (number, choice) in (0..).zip(&transcript.choices) {
            let ended = events.iter().position(
                |event| matches!(event, Event::Ended { choice, .. } if *choice == number),
            );
            let mut after = events.iter().skip(ended.map_or(events.len(), |at| at + 1));
            let again = after.any(|event| match event {
                Event::Delta { choice, .. } | Event::Ended { choice, .. } => *choice == number,
                _ => false,
            });
            prop_assert!(!again, "answer {} of job {} goes on after its end", number, id);
            check_choice(request, choice, &expected[number as usize], cut)?;
        }
        if let Some(outcome) = outcomes.first() {
            prop_assert_eq!(starts, 1);
            prop_assert!(matches!(events.last(), Some(Event::Finished(_))));
            prop_assert_eq!(outcome.usage.prompt_tokens as usize, prompt);
            prop_assert!((outcome.usage.cached_tokens as usize) < prompt);
            prop_assert_eq!(transcript.choices.len(), expected.len());
            prop_assert!(transcript.choices.iter().all(|choice| choice.finish.is_some()));
            if !cut {
                prop_assert!(!dead, "job {} had nothing more to say", id);
                let count: u32 = expected.iter().map(|answer| answer.count).sum();
                let thought: u32 = expected.iter().map(|answer| answer.thought).sum();
                prop_assert_eq!(outcome.usage.completion_tokens, count);
                prop_assert_eq!(outcome.usage.reasoning_tokens, thought);
            }
        }
    }
    Ok(())
}

/// One answer, which may be complete or not; `cut`: it may have ended earlier than it should.
fn check_choice(
    request: &Request,
    choice: &Choice,
    expected: &Answer,
    cut: bool,
) -> Result<(), TestCaseError> {
    if !cut {
        if choice.finish.is_some() {
            prop_assert_eq!(&choice.content, &expected.text);
            prop_assert_eq!(&choice.finish, &expected.finish);
        } else {
            prop_assert!(expected.text.starts_with(&choice.content));
        }
    }
    let Some(top) = request.output.logprobs else {
        prop_assert!(choice.logprobs.is_empty());
        return Ok(());
    };
    let said: Vec<_> = choice.logprobs.iter().map(|token| (token.token, token.logprob)).collect();
    prop_assert!(expected.tokens.starts_with(&said) || cut, "{:?} {:?}", expected.tokens, said);
    prop_assert!(choice.logprobs.iter().all(|token| token.bytes == piece(token.token)));
    let bytes: Vec<u8> = choice.logprobs.iter().flat_map(|token| token.bytes.clone()).collect();
    prop_assert!(String::from_utf8_lossy(&bytes).starts_with(&choice.content));
    for token in choice.logprobs.iter().filter(|token| token.logprob.is_some()) {
        prop_assert_eq!(token.top.len(), top as usize);
    }
    Ok(())
}

//! Random work for the loop: whatever comes in whatever order, every job must say exactly what it
//! would say alone, once, and leave nothing behind.

use proptest::prelude::*;

use crate::domain::{ErrorKind, Event, JobId, Limits, Sampling};
use crate::protocol::ToDaemon;
use crate::worker::compute::{ComputeLimits, DecodeError, Token};

use super::StepSettings;
use super::fake::{Bench, VOCAB, alone, events_of, finish_of, text_of};

#[derive(Debug, Clone)]
enum Action {
    Start { prompt: Vec<Token>, sampling: Sampling, limits: Limits },
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
    (prop::option::weighted(0.9, 0u32..40), stop, prop::bool::ANY)
        .prop_map(|(max_tokens, stop, ignore_eos)| Limits { max_tokens, stop, ignore_eos })
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => (prompts(), samplings(), job_limits())
            .prop_map(|(prompt, sampling, limits)| Action::Start { prompt, sampling, limits }),
        1 => any::<prop::sample::Index>().prop_map(Action::Cancel),
        1 => prop::collection::vec(any::<prop::sample::Index>(), 1..4).prop_map(Action::CancelDuring),
        1 => Just(Action::Abort),
        6 => (1u8..12).prop_map(Action::Steps),
    ];
    prop::collection::vec(action, 1..40)
}

fn machines() -> impl Strategy<Value = (ComputeLimits, StepSettings, usize)> {
    (40u32..300, 1usize..70, 1u32..7, prop::bool::ANY, 1usize..20, 0usize..8, 0usize..10).prop_map(
        |(cells, max_batch, max_sequences, can_rewind, min_chunk, headroom, missing)| {
            let limits =
                ComputeLimits { cells, max_batch, max_sequences, vocab_size: VOCAB, can_rewind };
            (limits, StepSettings { min_chunk, headroom, ..StepSettings::default() }, missing)
        },
    )
}

struct Expected {
    prompt: Vec<Token>,
    sampling: Sampling,
    limits: Limits,
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
                Action::Start { prompt, sampling, limits } => {
                    bench.start(jobs.len() as u64, &prompt, sampling.clone(), limits.clone());
                    jobs.push(Expected { prompt, sampling, limits, cancelled: false });
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
        let text = text_of(&events);
        let (expected, finish, count) = alone(&job.prompt, &job.sampling, &job.limits, cells);
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
        if !failed.is_empty() {
            prop_assert_eq!(&failed, &[ErrorKind::ContextLengthExceeded]);
            prop_assert!(job.prompt.len() > cells - missing, "job {} fits", id);
        }
        if let Some(outcome) = outcomes.first() {
            prop_assert_eq!(starts, 1);
            prop_assert!(matches!(events.last(), Some(Event::Finished(_))));
            prop_assert_eq!(outcome.usage.prompt_tokens as usize, job.prompt.len());
            prop_assert!((outcome.usage.cached_tokens as usize) < job.prompt.len());
            // A context with fewer cells than it promised ends an answer earlier.
            let cut = missing > 0
                && job.prompt.len() + count.max(outcome.usage.completion_tokens) as usize
                    >= cells - missing;
            if !cut {
                prop_assert_eq!(&text, &expected, "job {}", id);
                prop_assert_eq!(finish_of(&events), Some(finish));
                prop_assert_eq!(outcome.usage.completion_tokens, count);
            }
        } else {
            prop_assert!(expected.starts_with(&text));
        }
    }
    Ok(())
}

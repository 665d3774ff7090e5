//! One behaviour of the loop at a time.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::domain::{
    ErrorKind, Event, FinishReason, JobId, Limits, Outcome, OutputOptions, Sampling,
};
use crate::protocol::ToDaemon;
use crate::worker::compute::{ComputeLimits, DecodeError, Token};

use super::fake::{Bench, VOCAB, events_of, finish_of, greedy, limits, prepared, text_of};
use super::reference::alone;
use super::{StepCommand, StepSettings};

fn prompt(seed: usize, len: usize) -> Vec<Token> {
    (0..len).map(|at| ((at * 7 + at / 5 + seed * (at + 1)) % VOCAB) as Token).collect()
}

fn bench() -> Bench {
    Bench::new(limits(), StepSettings::default())
}

fn outcome(frames: &[ToDaemon], job: u64) -> Outcome {
    match events_of(frames, job).pop() {
        Some(Event::Finished(outcome)) => outcome,
        other => panic!("job {job} ended with {other:?}"),
    }
}

fn failures(frames: &[ToDaemon]) -> Vec<(u64, ErrorKind)> {
    let failed = frames.iter().filter_map(|frame| match frame {
        ToDaemon::Failed { job, error } => Some((job.0, error.kind)),
        _ => None,
    });
    failed.collect()
}

#[test]
fn the_outputs_of_a_step_are_one_frame() {
    let mut bench = bench();
    for job in 0..4 {
        bench.greedy(job, &prompt(job as usize, 10), 5);
    }
    bench.step();
    bench.frames();
    bench.step();
    let frames = bench.frames();
    assert!(matches!(frames.as_slice(), [ToDaemon::Events(_)]), "{frames:?}");
}

#[test]
fn only_the_last_token_of_a_prompt_asks_for_logits() {
    let mut bench = bench();
    bench.greedy(0, &prompt(0, 30), 1);
    bench.finish();
    let asked: Vec<u32> =
        bench.batches().concat().iter().filter(|t| t.logits).map(|t| t.pos).collect();
    assert_eq!(asked, [29]);
}

#[test]
fn a_long_prompt_does_not_stop_a_stream() {
    let mut bench = bench();
    bench.script.borrow_mut().cost = (Duration::from_millis(10), Duration::from_millis(1));
    bench.greedy(0, &prompt(0, 10), 200);
    for _ in 0..5 {
        bench.step();
    }
    bench.batches();
    bench.greedy(1, &prompt(1, 1000), 1);
    while bench.engine.jobs.len() > 1 {
        bench.step();
    }
    let sizes: Vec<usize> = bench.batches().iter().map(Vec::len).collect();
    assert!(sizes.len() > 20, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 65), "more than the target time: {sizes:?}");
}

#[test]
fn a_short_prompt_overtakes_a_long_one_that_came_first() {
    let mut bench = bench();
    bench.script.borrow_mut().cost = (Duration::ZERO, Duration::from_millis(5));
    bench.greedy(0, &prompt(0, 2000), 1);
    bench.step();
    bench.greedy(1, &prompt(1, 20), 1);
    bench.step();
    let frames = bench.frames();
    assert_eq!(outcome(&frames, 1).usage.completion_tokens, 1);
    assert_eq!(bench.engine.jobs.len(), 1);
}

#[test]
fn short_prompts_cannot_hold_up_a_long_one_for_ever() {
    let mut bench = bench();
    bench.script.borrow_mut().cost = (Duration::ZERO, Duration::from_millis(5));
    bench.greedy(0, &prompt(0, 1000), 1);
    for job in 1..200 {
        // As much as a step holds, every step.
        bench.greedy(job, &prompt(job as usize, 100), 1);
        bench.step();
        if events_of(&bench.frames(), 0).iter().any(|e| matches!(e, Event::Finished(_))) {
            return;
        }
    }
    panic!("starved");
}

#[test]
fn small_prompts_cannot_keep_a_big_one_out_of_the_cells() {
    let mut bench = Bench::new(ComputeLimits { cells: 200, ..limits() }, StepSettings::default());
    bench.script.borrow_mut().cost = (Duration::from_millis(10), Duration::ZERO);
    for job in 1..200 {
        bench.greedy(job, &prompt(job as usize, 10), 5);
        bench.step();
        if job == 5 {
            bench.greedy(0, &prompt(0, 150), 1);
        }
        if events_of(&bench.frames(), 0).iter().any(|e| matches!(e, Event::Finished(_))) {
            return;
        }
    }
    panic!("starved");
}

#[test]
fn a_prefix_is_shared_with_a_sequence_that_runs() {
    let mut bench = bench();
    let system = prompt(0, 100);
    bench.greedy(0, &[system.clone(), prompt(1, 5)].concat(), 50);
    for _ in 0..5 {
        bench.step();
    }
    bench.greedy(1, &[system, prompt(2, 5)].concat(), 50);
    for _ in 0..5 {
        bench.step();
    }
    let started = events_of(&bench.frames(), 1).into_iter().next();
    assert_eq!(started, Some(Event::Started { prompt_tokens: 105, cached_tokens: 100 }));
    assert!(bench.script.borrow().used() < 140, "shared cells count once");
}

#[test]
fn a_burst_computes_its_common_prefix_once() {
    let mut bench = bench();
    for job in 0..6 {
        bench.greedy(job, &[prompt(0, 200), prompt(job as usize + 1, 8)].concat(), 3);
    }
    bench.finish();
    let computed: usize = bench.batches().iter().map(Vec::len).sum();
    assert!(computed < 208 + 5 * 9 + 6 * 3, "{computed} tokens computed");
}

#[test]
fn a_conversation_goes_on_where_it_ended() {
    let mut bench = bench();
    let first = prompt(0, 50);
    bench.greedy(0, &first, 10);
    bench.finish();
    let history: Vec<Token> = bench.batches().concat().iter().map(|t| t.token).collect();
    bench.greedy(1, &[history.clone(), prompt(3, 7)].concat(), 1);
    bench.finish();
    let usage = outcome(&bench.frames(), 1).usage;
    assert_eq!((usage.prompt_tokens, usage.cached_tokens), (66, history.len() as u32));
}

#[test]
fn the_same_prompt_again_computes_one_token() {
    let mut bench = bench();
    for job in 0..3 {
        bench.greedy(job, &prompt(0, 50), 1);
        bench.finish();
    }
    let batches: Vec<usize> = bench.batches().iter().map(Vec::len).collect();
    assert_eq!(batches, [50, 1, 1]);
    let texts: Vec<String> = {
        let frames = bench.frames();
        (0..3).map(|job| text_of(&events_of(&frames, job))).collect()
    };
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

#[test]
fn without_rewinding_only_a_whole_sequence_is_gone_on_with() {
    let mut bench =
        Bench::new(ComputeLimits { can_rewind: false, ..limits() }, StepSettings::default());
    bench.greedy(0, &prompt(0, 50), 1);
    bench.finish();
    bench.greedy(1, &prompt(0, 40), 1);
    bench.finish();
    bench.greedy(2, &prompt(0, 60), 1);
    bench.finish();
    let frames = bench.frames();
    let cached: Vec<u32> = (0..3).map(|job| outcome(&frames, job).usage.cached_tokens).collect();
    assert_eq!(cached, [0, 0, 50]);
}

#[test]
fn the_newest_is_preempted_and_goes_on_seamlessly() {
    let settings = StepSettings { headroom: 0, ..StepSettings::default() };
    let mut bench = Bench::new(ComputeLimits { cells: 100, ..limits() }, settings);
    bench.greedy(0, &prompt(0, 20), 50);
    bench.greedy(1, &prompt(1, 20), 50);
    bench.finish();
    let computed: usize = bench.batches().iter().map(Vec::len).sum();
    assert!(computed > 2 * 69, "nothing was preempted");
    let frames = bench.frames();
    let limits = Limits { max_tokens: Some(50), ignore_eos: true, ..Limits::default() };
    for job in 0..2 {
        let expected = alone(&prompt(job as usize, 20), &greedy(), &limits, 100);
        let events = events_of(&frames, job);
        assert_eq!(
            (text_of(&events), 50),
            (expected.0, outcome(&frames, job).usage.completion_tokens)
        );
    }
    let order: Vec<u64> = frames
        .iter()
        .filter_map(|frame| match frame {
            ToDaemon::Events(events) => Some(events),
            _ => None,
        })
        .flatten()
        .filter(|(_, event)| matches!(event, Event::Finished(_)))
        .map(|(job, _)| job.0)
        .collect();
    assert_eq!(order, [0, 1]);
}

#[test]
fn the_end_of_the_context_is_a_length() {
    let mut bench = Bench::new(ComputeLimits { cells: 64, ..limits() }, StepSettings::default());
    let limits = Limits { ignore_eos: true, ..Limits::default() };
    bench.start(0, &prompt(0, 60), greedy(), limits.clone());
    bench.start(1, &prompt(1, 64), greedy(), limits);
    bench.finish();
    let frames = bench.frames();
    let ends = [0, 1].map(|job| {
        let finish = finish_of(&events_of(&frames, job));
        (finish, outcome(&frames, job).usage.completion_tokens)
    });
    assert_eq!(ends, [(Some(FinishReason::Length), 4), (Some(FinishReason::Length), 1)]);
}

#[test]
fn a_prompt_that_cannot_fit_names_both_numbers() {
    let mut bench = Bench::new(ComputeLimits { cells: 64, ..limits() }, StepSettings::default());
    bench.greedy(0, &prompt(0, 65), 1);
    let frames = bench.frames();
    assert_eq!(failures(&frames), [(0, ErrorKind::ContextLengthExceeded)]);
    let Some(ToDaemon::Failed { error, .. }) = frames.first() else { panic!() };
    assert!(error.message.contains("65") && error.message.contains("64"), "{error}");
}

#[test]
fn no_tokens_wanted_means_prefill_alone() {
    let mut bench = bench();
    bench.greedy(0, &prompt(0, 10), 0);
    bench.finish();
    let frames = bench.frames();
    let [Event::Started { .. }, Event::Ended { finish, .. }, Event::Finished(outcome)] =
        &events_of(&frames, 0)[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!((finish, outcome.usage.completion_tokens), (&FinishReason::Length, 0));
}

#[test]
fn times_are_measured_from_prefill_on() {
    let mut bench = bench();
    bench.script.borrow_mut().cost = (Duration::from_millis(10), Duration::ZERO);
    bench.greedy(0, &prompt(0, 10), 4);
    bench.finish();
    let timings = outcome(&bench.frames(), 0).timings;
    assert_eq!((timings.prompt_ms, timings.decode_ms), (10.0, 30.0));
    assert_eq!((timings.queue_ms, timings.load_ms), (0.0, 0.0));
}

#[test]
fn a_cancelled_job_costs_nothing_more_and_leaves_a_prefix() {
    let mut bench = bench();
    bench.greedy(0, &prompt(0, 50), 100);
    bench.step();
    bench.board.cancel(JobId(0));
    bench.batches();
    assert!(!bench.step(), "the command is still on its way");
    assert_eq!(bench.batches().len(), 0);
    bench.cancel(0);
    assert_eq!(bench.frames().last(), Some(&ToDaemon::Released { job: JobId(0) }));
    bench.greedy(1, &prompt(0, 60), 1);
    bench.finish();
    assert_eq!(outcome(&bench.frames(), 1).usage.cached_tokens, 50);
}

#[test]
fn an_aborted_step_leaves_no_trace() {
    let mut bench = bench();
    bench.greedy(0, &prompt(0, 50), 100);
    bench.step();
    bench.script.borrow_mut().cancel_during = vec![JobId(0)];
    bench.step();
    assert!(!bench.board.abort_flag().load(std::sync::atomic::Ordering::Acquire));
    bench.greedy(1, &prompt(1, 50), 3);
    bench.cancel(0);
    bench.finish();
    assert_eq!(outcome(&bench.frames(), 1).usage.completion_tokens, 3);
}

#[test]
fn every_cancel_is_answered_once_whatever_the_state() {
    let mut bench = bench();
    bench.cancel(9);
    bench.engine.handle(prepared(JobId(9), &prompt(0, 5)));
    bench.engine.handle(prepared(JobId(1), &prompt(0, 5)));
    bench.cancel(1);
    bench.greedy(2, &prompt(0, 5), 1);
    bench.finish();
    bench.cancel(2);
    let released: Vec<u64> = bench
        .frames()
        .iter()
        .filter_map(|frame| match frame {
            ToDaemon::Released { job } => Some(job.0),
            _ => None,
        })
        .collect();
    assert_eq!(released, [9, 1, 2]);
    // Neither a prompt that came too late nor one that was dropped can be started.
    for job in [9, 1] {
        let job = JobId(job);
        let (sampling, limits) = (Sampling::default(), Limits::default());
        bench.engine.handle(StepCommand::Start {
            job,
            sampling,
            limits,
            output: OutputOptions::default(),
        });
    }
    assert_eq!(failures(&bench.frames()), [(9, ErrorKind::Internal), (1, ErrorKind::Internal)]);
}

#[test]
fn an_invalid_batch_ends_its_jobs_and_no_others() {
    let mut bench = bench();
    bench.greedy(0, &prompt(0, 10), 5);
    bench.script.borrow_mut().answers.push_back(Some(DecodeError::Invalid("token".into())));
    bench.step();
    assert_eq!(failures(&bench.frames()), [(0, ErrorKind::Internal)]);
    bench.greedy(1, &prompt(0, 10), 5);
    bench.finish();
    assert_eq!(outcome(&bench.frames(), 1).usage.completion_tokens, 5);
}

#[test]
fn a_lost_context_ends_the_loop_without_a_word() {
    let mut bench =
        Bench::new(ComputeLimits { max_sequences: 1, ..limits() }, StepSettings::default());
    bench.greedy(0, &prompt(0, 10), 5);
    bench.greedy(1, &prompt(1, 10), 5);
    bench.script.borrow_mut().answers.push_back(Some(DecodeError::Fatal("-3".into())));
    assert_eq!(bench.engine.step(), Err("-3".into()));
    // The daemon tells the jobs, and tries again what it can.
    assert_eq!(failures(&bench.frames()), []);
}

#[test]
fn a_hundred_jobs_share_one_sequence() {
    let mut bench =
        Bench::new(ComputeLimits { max_sequences: 1, ..limits() }, StepSettings::default());
    for job in 0..100 {
        bench.greedy(job, &prompt(job as usize, 10), 2);
    }
    bench.finish();
    let frames = bench.frames();
    assert!((0..100).all(|job| outcome(&frames, job).usage.completion_tokens == 2));
}

#[test]
fn it_runs_until_its_commands_end_and_wakes_for_each() {
    let bench = bench();
    let frames = bench.listen();
    let (sender, commands) = channel();
    let client = thread::spawn(move || {
        for job in (0..3).map(JobId) {
            let limits = Limits { max_tokens: Some(3), ..Limits::default() };
            let start = StepCommand::Start {
                job,
                sampling: greedy(),
                limits,
                output: OutputOptions::default(),
            };
            sender.send(prepared(job, &prompt(0, 9))).unwrap();
            sender.send(start).unwrap();
            let finished = |frame: &ToDaemon| match frame {
                ToDaemon::Events(events) => {
                    events.iter().any(|(id, e)| *id == job && matches!(e, Event::Finished(_)))
                }
                _ => false,
            };
            assert!(frames.iter().any(|frame| finished(&frame)));
        }
    });
    assert_eq!(bench.engine.run(commands), Ok(()));
    client.join().unwrap();
}

/// What is seeded gives the same tokens whatever else is in the batch.
#[test]
fn company_does_not_change_a_seeded_draw() {
    let sampling = Sampling { seed: Some(42), ..Sampling::default() };
    let limits = Limits { max_tokens: Some(30), ignore_eos: true, ..Limits::default() };
    let mut bench = bench();
    bench.greedy(0, &prompt(0, 70), 20);
    bench.start(1, &prompt(1, 20), sampling.clone(), limits.clone());
    bench.greedy(2, &prompt(2, 5), 50);
    bench.finish();
    let expected = alone(&prompt(1, 20), &sampling, &limits, 4096).0;
    assert_eq!(text_of(&events_of(&bench.frames(), 1)), expected);
    assert!(!expected.is_empty());
}

//! Images in prompts: computed between other people's steps, shared and found again.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::domain::{Event, JobId, Limits, OutputOptions};
use crate::worker::compute::{
    ComputeLimits, DecodeError, MediaRows, MediaSegment, PreparedPrompt, Token,
};

use super::fake::{Bench, events_of, greedy, limits, text_of};
use super::reference::alone;
use super::{StepCommand, StepSettings};

/// A prompt in which the tokens below zero are images: a run each.
fn prompt(tokens: &[Token], whole: bool) -> PreparedPrompt {
    let mut media = Vec::new();
    let mut start = 0;
    for run in tokens.chunk_by(|a, b| (*a < 0) == (*b < 0)) {
        if run[0] < 0 {
            let values = run.iter().map(|id| *id as f32).collect();
            let rows = Arc::new(MediaRows { count: run.len(), values, whole });
            media.push(MediaSegment { start, rows });
        }
        start += run.len();
    }
    PreparedPrompt { tokens: tokens.to_vec(), media, ..PreparedPrompt::default() }
}

fn ask(bench: &mut Bench, job: u64, tokens: &[Token], whole: bool, answer: u32) {
    let job = JobId(job);
    let prompt = Box::new(prompt(tokens, whole));
    bench.engine.handle(StepCommand::Prepared { job, prompt });
    let limits = Limits { max_tokens: Some(answer), ignore_eos: true, ..Limits::default() };
    let output = OutputOptions::default();
    bench.engine.handle(StepCommand::Start { job, sampling: greedy(), limits, output });
}

fn expected(tokens: &[Token], answer: u32) -> String {
    let limits = Limits { max_tokens: Some(answer), ignore_eos: true, ..Limits::default() };
    alone(tokens, &greedy(), &limits, 4096).0
}

/// So many rows of image `number`; with another number of rows it is another image.
fn image(number: i32, rows: usize) -> Vec<Token> {
    let rows = rows as i32;
    (0..rows).map(|row| -1 - (number * 1000 + rows) * 1000 - row).collect()
}

fn cached(events: &[Event]) -> Option<u32> {
    events.iter().find_map(|event| match event {
        Event::Started { cached_tokens, .. } => Some(*cached_tokens),
        _ => None,
    })
}

#[test]
fn the_same_image_is_found_again_and_another_one_is_not() {
    let mut bench = Bench::new(limits(), StepSettings::default());
    let mut asked = Vec::new();
    for (job, number) in [(1, 1), (2, 1), (3, 2)] {
        let tokens = [vec![1, 2, 3], image(number, 16), vec![4, 0, 1]].concat();
        ask(&mut bench, job, &tokens, false, 8);
        bench.finish();
        let events = events_of(&bench.frames(), job);
        assert_eq!(text_of(&events), expected(&tokens, 8));
        asked.push(cached(&events));
    }
    assert_eq!(asked, [Some(0), Some(21), Some(3)]);
}

#[test]
fn a_stream_goes_on_while_an_image_is_computed() {
    let settings = StepSettings::default();
    let mut bench = Bench::new(limits(), settings);
    bench.script.borrow_mut().cost = (Duration::from_millis(5), Duration::from_millis(1));
    bench.greedy(1, &[1, 2], 2000);
    for _ in 0..8 {
        bench.step();
    }
    bench.frames();
    bench.batches();
    let tokens = [vec![3], image(1, 600), vec![4]].concat();
    ask(&mut bench, 2, &tokens, false, 1);
    let mut longest = Duration::ZERO;
    let mut heard = false;
    while !heard {
        let before = bench.script.borrow().elapsed;
        bench.step();
        longest = longest.max(bench.script.borrow().elapsed - before);
        let frames = bench.frames();
        let decoded = bench.batches().concat().iter().any(|token| token.logits);
        assert!(decoded, "a token of the stream in every step");
        let ended = |event: &Event| matches!(event, Event::Finished(_));
        heard = events_of(&frames, 2).iter().any(ended);
    }
    // 600 rows alone would take 605 ms; the first chunk is a guess.
    assert!(longest < Duration::from_millis(100), "{longest:?}");
}

#[test]
fn an_image_that_has_to_be_whole_is_computed_at_once_or_not() {
    let mut small = limits();
    small.cells = 64;
    let mut bench = Bench::new(small, StepSettings::default());
    bench.greedy(1, &[1, 2, 3, 4], 24);
    for _ in 0..4 {
        bench.step();
    }
    let tokens = [vec![3], image(1, 30), vec![4]].concat();
    ask(&mut bench, 2, &tokens, true, 4);
    bench.finish();
    assert_eq!(text_of(&events_of(&bench.frames(), 2)), expected(&tokens, 4));
    // Too large for the context even alone.
    let tokens = [vec![3], image(2, 63), vec![4]].concat();
    ask(&mut bench, 3, &tokens, true, 4);
    bench.finish();
    assert!(events_of(&bench.frames(), 3).is_empty());
}

#[test]
fn rows_that_make_no_sense_are_a_fault_and_never_computed() {
    let mut bench = Bench::new(limits(), StepSettings::default());
    let job = JobId(1);
    let mut broken = prompt(&[1, -5, -6, 2], false);
    broken.media.clear();
    bench.engine.handle(StepCommand::Prepared { job, prompt: Box::new(broken) });
    let (limits, output) = (Limits::default(), OutputOptions::default());
    bench.engine.handle(StepCommand::Start { job, sampling: greedy(), limits, output });
    assert!(!bench.step());
    assert!(bench.batches().is_empty());
}

fn tokens() -> impl Strategy<Value = Vec<Token>> {
    let text = || prop::collection::vec(0..4, 1..6);
    let part = (0..3, 1usize..20, text())
        .prop_map(|(number, rows, text)| [image(number, rows), text].concat());
    (text(), prop::collection::vec(part, 0..4))
        .prop_map(|(first, rest)| [vec![first], rest].concat().concat())
}

fn machines() -> impl Strategy<Value = ComputeLimits> {
    (120u32..400, 1usize..64, 1u32..5, any::<bool>()).prop_map(
        |(cells, max_batch, max_sequences, can_rewind)| ComputeLimits {
            cells,
            // Rows that have to be computed at once fit into a batch.
            max_batch: max_batch.max(20),
            max_sequences,
            can_rewind,
            ..limits()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_answer_about_images_is_what_it_would_be_alone(
        machine in machines(),
        whole in any::<bool>(),
        prompts in prop::collection::vec((tokens(), 1u32..12, 0usize..6), 1..6),
        faults in prop::collection::vec(0usize..12, 0..6),
    ) {
        let mut bench = Bench::new(machine, StepSettings::default());
        for fault in &faults {
            let mut script = bench.script.borrow_mut();
            script.answers.extend(std::iter::repeat_n(None, *fault));
            script.answers.push_back(Some(DecodeError::Aborted));
        }
        for (job, (tokens, answer, steps)) in (1..).zip(&prompts) {
            ask(&mut bench, job, tokens, whole, *answer);
            for _ in 0..*steps {
                bench.step();
            }
        }
        bench.finish();
        let frames = bench.frames();
        for (job, (tokens, answer, _)) in (1..).zip(&prompts) {
            prop_assert_eq!(text_of(&events_of(&frames, job)), expected(tokens, *answer));
        }
    }
}

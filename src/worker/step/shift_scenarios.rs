//! Answers that go on when the context is full.

use proptest::prelude::*;

use crate::domain::{Event, FinishReason, Limits, Shift};
use crate::worker::compute::{ComputeLimits, Token};

use super::StepSettings;
use super::fake::{Bench, END, VOCAB, events_of, finish_of, greedy, limits, piece, row, text_of};

/// What a context of `capacity` says that forgets, written the obvious way.
fn forgetful(prompt: &[Token], keep: usize, capacity: usize, answer: usize) -> String {
    let mut history = prompt.to_vec();
    let mut said = Vec::new();
    for _ in 0..answer {
        let row = row(&history);
        let best = (0..VOCAB as Token)
            .filter(|token| !END.contains(token))
            .max_by(|a, b| row[*a as usize].total_cmp(&row[*b as usize]).then(b.cmp(a)));
        let token = best.expect("a token");
        said.extend_from_slice(piece(token));
        history.push(token);
        if history.len() >= capacity {
            history.drain(keep..keep + (history.len() - keep).div_ceil(2));
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn ask(keep: Option<u32>, answer: Option<u32>) -> Limits {
    let shift = Some(Shift { keep });
    Limits { max_tokens: answer, ignore_eos: true, shift, ..Limits::default() }
}

fn numbers(len: usize, seed: usize) -> Vec<Token> {
    (0..len).map(|at| ((at * 11 + seed * 7 + at / 3) % VOCAB) as Token).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever runs beside them, and however often the context is full.
    #[test]
    fn answers_go_on_over_the_end_of_the_context(
        long in 1usize..60, keep in proptest::option::of(0u32..80), answer in 1u32..300, seed in 0usize..99,
    ) {
        let cells = ComputeLimits { cells: 64, ..limits() };
        let mut bench = Bench::new(cells, StepSettings::default());
        let (first, second) = (numbers(long, seed), numbers(5, seed + 1));
        bench.start(0, &first, greedy(), ask(keep, Some(answer)));
        bench.start(1, &second, greedy(), ask(None, Some(100)));
        bench.finish();
        let frames = bench.frames();
        let events = events_of(&frames, 0);
        prop_assert_eq!(finish_of(&events), Some(FinishReason::Length));
        let kept = match keep {
            Some(keep) => (keep as usize).min(long),
            None if long <= 32 => long,
            None => 4,
        };
        let expected = forgetful(&first, kept.min(32), 64, answer as usize);
        // Of an answer that ends within a character, the rest is told in its own way.
        let text = text_of(&events);
        let whole = |text: &str| text.trim_end_matches('\u{fffd}').to_owned();
        prop_assert_eq!(whole(&text), whole(&expected));
        let Some(Event::Finished(outcome)) = events.last() else { panic!("{events:?}") };
        prop_assert_eq!(outcome.usage.prompt_tokens as usize, long);
        prop_assert_eq!(outcome.usage.completion_tokens, answer);
        prop_assert_eq!(text_of(&events_of(&frames, 1)).is_empty(), false);
    }
}

#[test]
fn an_answer_without_a_bound_ends_after_ten_contexts() {
    let mut bench = Bench::new(ComputeLimits { cells: 32, ..limits() }, StepSettings::default());
    bench.start(0, &numbers(8, 1), greedy(), ask(None, None));
    bench.finish();
    let events = events_of(&bench.frames(), 0);
    assert_eq!(finish_of(&events), Some(FinishReason::Length));
    let Some(Event::Finished(outcome)) = events.last() else { panic!("{events:?}") };
    assert_eq!(outcome.usage.completion_tokens, 320);
}

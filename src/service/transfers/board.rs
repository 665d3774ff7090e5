use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::domain::{Digest, LayerProgress, Result, TransferEvent, TransferPlan};
use crate::metrics::ByteMeter;

use super::job::Moved;

/// Warnings of one transfer that are kept for watchers to come.
const MAX_WARNINGS: usize = 32;

/// The state of a transfer, as watchers read it: the latest of everything, with the revision at
/// which it changed.
#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    meter: ByteMeter,
}

#[derive(Default)]
struct State {
    revision: u64,
    plan: Option<(u64, TransferPlan)>,
    status: Option<(u64, String)>,
    warnings: Vec<(u64, String)>,
    layers: Vec<(u64, LayerProgress)>,
    /// Where a layer is in `layers`.
    places: HashMap<Digest, usize>,
    end: Option<Result<Moved>>,
}

impl Board {
    /// One whose bytes are counted.
    pub(super) fn counting(meter: ByteMeter) -> Self {
        Self { meter, ..Self::default() }
    }

    pub(super) fn post(&self, event: TransferEvent) {
        let mut state = self.lock();
        let revision = state.revision.saturating_add(1);
        match event {
            TransferEvent::Planned(plan) => {
                if state.plan.as_ref().is_some_and(|(_, known)| *known == plan) {
                    return;
                }
                state.plan = Some((revision, plan));
            }
            TransferEvent::Status(text) => state.status = Some((revision, text)),
            TransferEvent::Warning(text) => {
                if state.warnings.len() >= MAX_WARNINGS {
                    return;
                }
                state.warnings.push((revision, text));
            }
            TransferEvent::Layer(progress) => {
                // What moves does not wait any more.
                state.status = None;
                let next = state.layers.len();
                let before = state.places.get(&progress.layer).copied();
                let before = before.and_then(|place| state.layers.get(place));
                let before = before.map_or(0, |(_, layer)| layer.current);
                self.meter.add(progress.current.saturating_sub(before));
                let place = *state.places.entry(progress.layer).or_insert(next);
                match state.layers.get_mut(place) {
                    Some(known) => *known = (revision, progress),
                    None => state.layers.push((revision, progress)),
                }
            }
        }
        state.revision = revision;
        drop(state);
        self.changed.send_replace(());
    }

    /// The first end counts.
    pub(super) fn end(&self, end: Result<Moved>) {
        self.lock().end.get_or_insert(end);
        self.changed.send_replace(());
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Total and done, in bytes.
    pub(super) fn progress(&self) -> (u64, u64) {
        let state = self.lock();
        let total = state.plan.as_ref().map_or(0, |(_, plan)| plan.total());
        let done = state.layers.iter().map(|(_, layer)| layer.current);
        (total, done.fold(0, u64::saturating_add))
    }

    /// Completes a `changed` after every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What is new since the revision `seen`, oldest first, and the end if it has come.
    pub(super) fn since(&self, seen: &mut u64) -> (Vec<TransferEvent>, Option<Result<Moved>>) {
        let state = self.lock();
        let plan = state.plan.iter().map(|(at, plan)| (*at, TransferEvent::Planned(plan.clone())));
        let status =
            state.status.iter().map(|(at, text)| (*at, TransferEvent::Status(text.clone())));
        let warnings =
            state.warnings.iter().map(|(at, text)| (*at, TransferEvent::Warning(text.clone())));
        let layers = state.layers.iter().map(|(at, layer)| (*at, TransferEvent::Layer(*layer)));
        let all = plan.chain(status).chain(warnings).chain(layers);
        let mut news: Vec<_> = all.filter(|(at, _)| *at > *seen).collect();
        news.sort_by_key(|(at, _)| *at);
        *seen = state.revision;
        (news.into_iter().map(|(_, event)| event).collect(), state.end.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: u8, current: u64) -> TransferEvent {
        let layer = Digest::of(&[number]);
        TransferEvent::Layer(LayerProgress { layer, size: 100, current })
    }

    #[test]
    fn a_late_reader_sees_the_latest_of_each_layer_and_no_backlog() {
        let board = Board::default();
        board.post(TransferEvent::Planned(TransferPlan::default()));
        board.post(TransferEvent::Status("waiting".into()));
        for current in 0..1000 {
            board.post(layer(1, current));
            board.post(layer(2, current));
        }
        board.post(TransferEvent::Warning("hm".into()));
        let mut seen = 0;
        let (news, end) = board.since(&mut seen);
        assert_eq!(
            news,
            [
                TransferEvent::Planned(TransferPlan::default()),
                layer(1, 999),
                layer(2, 999),
                TransferEvent::Warning("hm".into()),
            ]
        );
        assert_eq!(end, None);
        assert_eq!(board.since(&mut seen).0, []);
        board.post(layer(2, 100));
        assert_eq!(board.since(&mut seen).0, [layer(2, 100)]);
        assert_eq!(board.progress(), (0, 1099));
    }

    #[test]
    fn the_first_end_counts_and_stays() {
        let board = Board::default();
        board.end(Ok(Moved::Pushed));
        board.end(Err(crate::domain::Error::internal("late")));
        for mut seen in [0, 7] {
            assert_eq!(board.since(&mut seen).1, Some(Ok(Moved::Pushed)));
        }
    }

    #[test]
    fn the_same_plan_is_told_once_and_warnings_do_not_pile_up() {
        let board = Board::default();
        let mut seen = 0;
        for _ in 0..100 {
            board.post(TransferEvent::Planned(TransferPlan::default()));
            board.post(TransferEvent::Warning("again".into()));
        }
        assert_eq!(board.since(&mut seen).0.len(), 1 + MAX_WARNINGS);
    }
}

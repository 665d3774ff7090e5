//! Which models are in memory, which may come, and which must go: a plain value without clock,
//! lock or IO.
//!
//! ```text
//!           admit                startable            ready
//! (absent) ──────▶ WaitsForRoom ──────────▶ Loading ────────▶ Ready
//!     ▲                 │                      │                │ admit of another, expiry,
//!     │      gone       ▼         gone         ▼                ▼ unloading
//!     └─────────────────┴──────────────────────┴──────────── Unloading
//! ```
//!
//! A model with live requests never goes to make room for another; an idle one does, least recently
//! used first, also one that is to stay for ever: that says how long it stays while nobody needs its
//! memory. Memory of one that unloads counts as taken until it is gone: only then does the next load
//! begin.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::domain::{Digest, Error, ErrorKind, KeepAlive};

/// Deaths in a row, without a token between, after which a model is not tried again.
const MAX_DEATHS: u32 = 3;

/// Where a model is between disk and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Others are unloaded for it.
    WaitsForRoom,
    Loading,
    Ready,
    Unloading,
}

/// Why a model may not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denial {
    /// It would not fit even alone.
    TooLarge { needed: u64, budget: u64 },
    /// Models with live requests hold the memory.
    Busy { needed: u64, held: u64, budget: u64 },
    /// It killed its worker too often.
    Quarantined { deaths: u32, reason: String },
}

impl Denial {
    /// The error for the client.
    pub(super) fn into_error(self, model: &str, retry_after: Duration) -> Error {
        match self {
            Self::TooLarge { needed, budget } => Error::new(
                ErrorKind::ModelTooLarge,
                format!(
                    "{model} needs about {}, and models may use {}: choose a smaller \
                     quantisation or context",
                    mebibytes(needed),
                    mebibytes(budget)
                ),
            ),
            Self::Busy { needed, held, budget } => Error::new(
                ErrorKind::MemoryBusy,
                format!(
                    "{model} needs about {}, but models in use hold {} of {}; try again in {} s",
                    mebibytes(needed),
                    mebibytes(held),
                    mebibytes(budget),
                    retry_after.as_secs()
                ),
            )
            .with_retry_after(retry_after),
            Self::Quarantined { deaths, reason } => Error::new(
                ErrorKind::ModelQuarantined,
                format!(
                    "{model} ended its worker {deaths} times in a row and is not tried again \
                     until it is loaded explicitly; the last time: {reason}"
                ),
            ),
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The models in memory and on their way.
#[derive(Debug)]
pub(super) struct Residency {
    /// Bytes that all models together may take; `None`: nobody counts.
    budget: Option<u64>,
    models: HashMap<Digest, Resident>,
    deaths: HashMap<Digest, Deaths>,
    admissions: u64,
}

#[derive(Debug)]
struct Resident {
    phase: Phase,
    bytes: u64,
    /// Requests that wait or run.
    live: usize,
    idle_since: Option<Instant>,
    keep_alive: KeepAlive,
    admission: u64,
}

#[derive(Debug)]
struct Deaths {
    count: u32,
    reason: String,
}

impl Residency {
    pub(super) fn new(budget: Option<u64>) -> Self {
        Self { budget, models: HashMap::new(), deaths: HashMap::new(), admissions: 0 }
    }

    /// Where a model is; `None`: nowhere.
    pub(super) fn phase(&self, model: Digest) -> Option<Phase> {
        self.models.get(&model).map(|resident| resident.phase)
    }

    /// Says that a model is wanted. Answers the models that have to be unloaded for it, marked as
    /// such already. Without effect if the model is there or under way.
    pub(super) fn admit(&mut self, model: Digest, bytes: u64) -> Result<Vec<Digest>, Denial> {
        if let Some(Deaths { count, reason }) = self.deaths.get(&model)
            && *count >= MAX_DEATHS
        {
            return Err(Denial::Quarantined { deaths: *count, reason: reason.clone() });
        }
        if self.models.contains_key(&model) {
            return Ok(Vec::new());
        }
        let victims = self.victims(bytes, None)?;
        for victim in &victims {
            self.unloading(*victim);
        }
        self.admissions = self.admissions.saturating_add(1);
        let (phase, admission) = (Phase::WaitsForRoom, self.admissions);
        let keep_alive = KeepAlive::Forever;
        let resident = Resident { phase, bytes, live: 0, idle_since: None, keep_alive, admission };
        self.models.insert(model, resident);
        Ok(victims)
    }

    /// Whether an idle model could be replaced by itself in another size, others making room.
    pub(super) fn could_become(&self, model: Digest, bytes: u64) -> bool {
        self.victims(bytes, Some(model)).is_ok()
    }

    /// How long a model stays once it is idle.
    pub(super) fn set_keep_alive(&mut self, model: Digest, keep_alive: KeepAlive) {
        if let Some(resident) = self.models.get_mut(&model) {
            resident.keep_alive = keep_alive;
        }
    }

    /// What [`Residency::set_keep_alive`] said last.
    pub(super) fn keep_alive(&self, model: Digest) -> Option<KeepAlive> {
        self.models.get(&model).map(|resident| resident.keep_alive)
    }

    /// An idle model was of use: its time begins anew.
    pub(super) fn touch(&mut self, model: Digest, now: Instant) {
        if let Some(resident) = self.models.get_mut(&model)
            && resident.idle_since.is_some()
        {
            resident.idle_since = Some(now);
        }
    }

    /// The models whose load can begin now, marked as loading; first come, first served.
    pub(super) fn startable(&mut self) -> Vec<Digest> {
        let waits = |resident: &Resident| resident.phase == Phase::WaitsForRoom;
        let mut taken: u64 = self
            .models
            .values()
            .filter(|r| !waits(r))
            .fold(0, |sum, r| sum.saturating_add(r.bytes));
        let mut waiting: Vec<_> = self.models.iter_mut().filter(|(_, r)| waits(r)).collect();
        waiting.sort_by_key(|(_, resident)| resident.admission);
        let mut startable = Vec::new();
        for (model, resident) in waiting {
            taken = taken.saturating_add(resident.bytes);
            if self.budget.is_some_and(|budget| taken > budget) {
                break;
            }
            resident.phase = Phase::Loading;
            startable.push(*model);
        }
        startable
    }

    /// A load is done.
    pub(super) fn ready(&mut self, model: Digest, now: Instant) {
        if let Some(resident) = self.models.get_mut(&model) {
            resident.phase = Phase::Ready;
            resident.idle_since = (resident.live == 0).then_some(now);
        }
    }

    /// A model begins to leave.
    pub(super) fn unloading(&mut self, model: Digest) {
        if let Some(resident) = self.models.get_mut(&model) {
            resident.phase = Phase::Unloading;
        }
    }

    /// A model has left, one way or another, and its memory is free.
    pub(super) fn gone(&mut self, model: Digest) {
        self.models.remove(&model);
    }

    /// How many requests wait for a model or run on it.
    pub(super) fn set_live(&mut self, model: Digest, live: usize, now: Instant) {
        if let Some(resident) = self.models.get_mut(&model) {
            resident.idle_since = match (live, resident.idle_since) {
                (0, None) => Some(now),
                (0, since) => since,
                _ => None,
            };
            resident.live = live;
        }
    }

    /// When an idle model will be unloaded; `None`: never, or it is not idle.
    pub(super) fn expiry(&self, model: Digest) -> Option<Instant> {
        self.models.get(&model).and_then(|resident| self.expiry_of(resident))
    }

    /// The models whose time is over.
    pub(super) fn expired(&self, now: Instant) -> Vec<Digest> {
        let over = |resident: &Resident| self.expiry_of(resident).is_some_and(|at| at <= now);
        self.models.iter().filter(|(_, r)| over(r)).map(|(model, _)| *model).collect()
    }

    /// When [`Residency::expired`] has something to say.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.models.values().filter_map(|resident| self.expiry_of(resident)).min()
    }

    /// The worker of a model died before it said anything.
    pub(super) fn died(&mut self, model: Digest, reason: &str) {
        let none = Deaths { count: 0, reason: String::new() };
        let deaths = self.deaths.entry(model).or_insert(none);
        deaths.count = deaths.count.saturating_add(1);
        reason.clone_into(&mut deaths.reason);
    }

    /// The model said something, or somebody insists on it: earlier deaths do not count any more.
    pub(super) fn forgive(&mut self, model: Digest) {
        self.deaths.remove(&model);
    }

    /// The idle models, least recently used first, that have to go for `bytes` more, once
    /// `leaving` is gone.
    fn victims(&self, bytes: u64, leaving: Option<Digest>) -> Result<Vec<Digest>, Denial> {
        let Some(budget) = self.budget else { return Ok(Vec::new()) };
        if bytes > budget {
            return Err(Denial::TooLarge { needed: bytes, budget });
        }
        let staying = |(model, resident): &(&Digest, &Resident)| {
            resident.phase != Phase::Unloading && Some(**model) != leaving
        };
        let residents = self.models.iter().filter(staying);
        let mut held = residents.clone().fold(0u64, |sum, (_, r)| sum.saturating_add(r.bytes));
        let mut idle: Vec<_> = residents
            .filter(|(_, resident)| resident.phase == Phase::Ready && resident.live == 0)
            .collect();
        idle.sort_by_key(|(_, resident)| (resident.idle_since, resident.admission));
        let mut victims = Vec::new();
        for (model, resident) in idle {
            if held.saturating_add(bytes) <= budget {
                break;
            }
            held = held.saturating_sub(resident.bytes);
            victims.push(*model);
        }
        if held.saturating_add(bytes) > budget {
            return Err(Denial::Busy { needed: bytes, held, budget });
        }
        Ok(victims)
    }

    fn expiry_of(&self, resident: &Resident) -> Option<Instant> {
        let idle = resident.idle_since.filter(|_| resident.phase == Phase::Ready)?;
        match resident.keep_alive {
            KeepAlive::For(time) => idle.checked_add(time),
            KeepAlive::Forever => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model(n: u8) -> Digest {
        Digest::of(&[n])
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn load(residency: &mut Residency, n: u8, bytes: u64, now: Instant) {
        residency.admit(model(n), bytes).unwrap();
        assert_eq!(residency.startable(), [model(n)]);
        residency.ready(model(n), now);
    }

    #[test]
    fn without_a_budget_everything_comes_and_nothing_goes() {
        let mut residency = Residency::new(None);
        for n in 0..9 {
            assert_eq!(residency.admit(model(n), u64::MAX), Ok(vec![]));
        }
        assert_eq!(residency.startable().len(), 9);
        assert_eq!(residency.next_expiry(), None);
    }

    #[test]
    fn the_least_recently_used_idle_model_makes_room() {
        let now = Instant::now();
        let mut residency = Residency::new(Some(10));
        load(&mut residency, 1, 5, now + secs(2));
        load(&mut residency, 2, 5, now + secs(1));
        assert_eq!(residency.admit(model(3), 4), Ok(vec![model(2)]));
        assert_eq!(residency.startable(), [], "memory is not free yet");
        residency.gone(model(2));
        assert_eq!(residency.startable(), [model(3)]);
    }

    #[test]
    fn a_busy_model_stays_and_the_newcomer_is_told_when_to_come_back() {
        let now = Instant::now();
        let mut residency = Residency::new(Some(10 << 20));
        load(&mut residency, 1, 8 << 20, now);
        residency.set_live(model(1), 1, now);
        let denial = residency.admit(model(2), 4 << 20).unwrap_err();
        let error = denial.into_error("b", secs(7));
        assert_eq!(error.kind, ErrorKind::MemoryBusy);
        assert_eq!(
            error.message,
            "b needs about 4 MiB, but models in use hold 8 MiB of 10 MiB; try again in 7 s"
        );
        assert_eq!(residency.phase(model(2)), None);
        let denial = residency.admit(model(2), 11 << 20).unwrap_err();
        assert_eq!(denial, Denial::TooLarge { needed: 11 << 20, budget: 10 << 20 });
    }

    #[test]
    fn an_idle_model_expires_and_a_used_one_does_not() {
        let now = Instant::now();
        let mut residency = Residency::new(None);
        load(&mut residency, 1, 1, now);
        residency.set_keep_alive(model(1), KeepAlive::For(secs(300)));
        residency.set_live(model(1), 1, now + secs(10));
        assert_eq!(residency.next_expiry(), None);
        residency.set_live(model(1), 0, now + secs(50));
        residency.set_live(model(1), 0, now + secs(60));
        assert_eq!(residency.next_expiry(), Some(now + secs(350)));
        assert_eq!(residency.expired(now + secs(349)), []);
        assert_eq!(residency.expired(now + secs(350)), [model(1)]);
        residency.touch(model(1), now + secs(100));
        assert_eq!(residency.next_expiry(), Some(now + secs(400)));
    }

    #[test]
    fn a_time_beyond_the_clock_is_for_ever() {
        let now = Instant::now();
        let mut residency = Residency::new(None);
        load(&mut residency, 1, 1, now);
        residency.set_keep_alive(model(1), KeepAlive::For(Duration::MAX));
        assert_eq!(residency.next_expiry(), None);
    }

    #[test]
    fn a_model_that_stays_for_ever_goes_where_its_memory_is_needed() {
        let now = Instant::now();
        let mut residency = Residency::new(Some(10));
        load(&mut residency, 1, 8, now);
        residency.set_keep_alive(model(1), KeepAlive::Forever);
        assert_eq!(residency.admit(model(2), 4), Ok(vec![model(1)]));
    }

    #[test]
    fn an_idle_model_can_grow_into_its_own_memory_and_that_of_other_idle_ones() {
        let now = Instant::now();
        let mut residency = Residency::new(Some(10));
        load(&mut residency, 1, 4, now);
        load(&mut residency, 2, 4, now);
        assert!(residency.could_become(model(1), 10));
        assert!(!residency.could_become(model(1), 11));
        residency.set_live(model(2), 1, now);
        assert!(residency.could_become(model(1), 6));
        assert!(!residency.could_become(model(1), 7));
    }

    #[test]
    fn three_deaths_in_a_row_are_enough() {
        let mut residency = Residency::new(None);
        for reason in ["a", "b"] {
            residency.died(model(1), reason);
        }
        residency.forgive(model(1));
        for reason in ["c", "d", "signal 11"] {
            assert!(residency.admit(model(1), 1).is_ok());
            residency.gone(model(1));
            residency.died(model(1), reason);
        }
        let error = residency.admit(model(1), 1).unwrap_err().into_error("m", secs(1));
        assert_eq!(error.kind, ErrorKind::ModelQuarantined);
        assert!(error.message.contains("3 times") && error.message.contains("signal 11"));
    }

    proptest! {
        /// Whatever happens, the budget holds and nobody in use is sent away.
        #[test]
        fn the_budget_holds(ops in prop::collection::vec((0u8..6, 0u8..5, 1u64..60), 0..200)) {
            const BUDGET: u64 = 100;
            let mut now = Instant::now();
            let mut residency = Residency::new(Some(BUDGET));
            for (n, op, bytes) in ops {
                now += secs(1);
                let id = model(n);
                match (op, residency.phase(id)) {
                    (0, _) => {
                        let busy: Vec<_> = residency
                            .models
                            .iter()
                            .filter(|(_, r)| r.live > 0)
                            .map(|(id, _)| *id)
                            .collect();
                        if let Ok(victims) = residency.admit(id, bytes) {
                            prop_assert!(victims.iter().all(|victim| !busy.contains(victim)));
                        }
                    }
                    (1, Some(Phase::Loading)) => residency.ready(id, now),
                    (2, Some(Phase::Unloading | Phase::WaitsForRoom)) => residency.gone(id),
                    (3, Some(Phase::Ready)) => residency.set_live(id, 1, now),
                    (4, Some(_)) => residency.set_live(id, 0, now),
                    _ => {}
                }
                residency.startable();
                let taken: u64 = residency
                    .models
                    .values()
                    .filter(|r| r.phase != Phase::WaitsForRoom)
                    .map(|r| r.bytes)
                    .sum();
                prop_assert!(taken <= BUDGET);
            }
        }
    }
}

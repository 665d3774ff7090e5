//! Who waits for one model, and who is next: a plain value without clock, lock or IO.
//!
//! Fairness is deficit round robin over clients, counted in tokens: each client in turn gets a
//! quantum of tokens to spend, and its requests are served in their order while the sum lasts. So a
//! client with a hundred long requests delays another one's short request by at most one turn.
//!
//! A request that is next but does not fit yet keeps its turn: nobody overtakes it for ever.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::domain::{ClientKey, Error, ErrorKind, JobId};

/// Tokens that a client may spend in one turn.
const QUANTUM: u64 = 512;

/// How much may wait for one model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) requests: usize,
    pub(super) prompt_tokens: u64,
}

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) job: JobId,
    pub(super) client: ClientKey,
    /// Estimated until `prepared`.
    pub(super) prompt_tokens: u64,
    /// What it will probably generate.
    pub(super) output_tokens: u64,
    /// Whether the engine has tokenised it: only then it can be next.
    pub(super) prepared: bool,
    /// After which it is handed back.
    pub(super) deadline: Option<Instant>,
}

impl Entry {
    fn cost(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.output_tokens)
    }
}

/// Why a request may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too many wait.
    Full { waiting: usize, limit: usize },
    /// What waits has too many prompt tokens.
    TokensFull { waiting: u64, limit: u64 },
    /// Its deadline would pass while it waits.
    TooLate { wait: Duration },
}

impl Refusal {
    /// The error for the client.
    pub(super) fn into_error(self, model: &str, retry_after: Duration) -> Error {
        let again = retry_after.as_secs();
        let message = match self {
            Self::Full { waiting, limit } if waiting == limit => {
                format!("{waiting} requests wait for {model}, the limit; try again in {again} s")
            }
            Self::Full { waiting, limit } => format!(
                "{waiting} requests wait for {model}, the limit is {limit}; \
                 try again in {again} s"
            ),
            Self::TokensFull { waiting, limit } => format!(
                "requests with {waiting} prompt tokens wait for {model}, the limit is {limit}; \
                 try again in {again} s"
            ),
            Self::TooLate { wait } => format!(
                "a request for {model} would wait about {} s, longer than its timeout; \
                 try again in {again} s or allow more time",
                wait.as_secs().max(1)
            ),
        };
        Error::new(ErrorKind::QueueFull, message).with_retry_after(retry_after)
    }
}

/// The waiting requests of one model.
#[derive(Debug, Clone)]
pub(super) struct WaitingList {
    bounds: Bounds,
    clients: HashMap<ClientKey, Share>,
    /// Clients with waiting requests; the first one's turn it is.
    turns: VecDeque<ClientKey>,
    /// The first one's turn has not begun: it has not got its quantum yet.
    fresh: bool,
    prompt_tokens: u64,
    len: usize,
    held: usize,
}

#[derive(Debug, Clone, Default)]
struct Share {
    waiting: VecDeque<Entry>,
    /// Tokens it may spend in this turn.
    deficit: u64,
}

impl WaitingList {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            clients: HashMap::new(),
            turns: VecDeque::new(),
            fresh: true,
            prompt_tokens: 0,
            len: 0,
            held: 0,
        }
    }

    /// Other bounds for whoever comes from now on.
    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one more may wait.
    pub(super) fn check(&self, prompt_tokens: u64) -> Result<(), Refusal> {
        let waiting = self.len.saturating_add(self.held);
        if waiting >= self.bounds.requests {
            return Err(Refusal::Full { waiting, limit: self.bounds.requests });
        }
        // A prompt that is too long by itself may wait alone: the model says whether it fits.
        let (sum, limit) =
            (self.prompt_tokens.saturating_add(prompt_tokens), self.bounds.prompt_tokens);
        if sum > limit && self.len > 0 {
            return Err(Refusal::TokensFull { waiting: self.prompt_tokens, limit });
        }
        Ok(())
    }

    /// Puts a request at the end of its client's line; answers how many wait before it.
    pub(super) fn try_push(&mut self, entry: Entry) -> Result<usize, Refusal> {
        self.check(entry.prompt_tokens)?;
        let job = entry.job;
        self.insert(entry, VecDeque::push_back, VecDeque::push_back);
        Ok(self.order().iter().position(|waiting| *waiting == job).unwrap_or(0))
    }

    /// Puts a request that was served once already before all others of its client, whatever the
    /// bounds; its client is next.
    pub(super) fn push_front(&mut self, entry: Entry) {
        let client = entry.client.clone();
        let cost = entry.cost();
        self.insert(entry, VecDeque::push_front, VecDeque::push_front);
        if let Some(place) = self.turns.iter().position(|turn| *turn == client) {
            self.turns.rotate_left(place);
        }
        self.fresh = true;
        if let Some(share) = self.clients.get_mut(&client) {
            share.deficit = share.deficit.saturating_add(cost);
        }
    }

    /// The engine has counted the prompt.
    pub(super) fn prepared(&mut self, job: JobId, prompt_tokens: u64) {
        let Some(entry) = self.find(job) else { return };
        let before = std::mem::replace(&mut entry.prompt_tokens, prompt_tokens);
        entry.prepared = true;
        let others = self.prompt_tokens.saturating_sub(before);
        self.prompt_tokens = others.saturating_add(prompt_tokens);
    }

    /// The engine is gone, and with it all that it had prepared.
    pub(super) fn unprepare_all(&mut self) {
        for entry in self.clients.values_mut().flat_map(|share| &mut share.waiting) {
            entry.prepared = false;
        }
    }

    /// Who is next. Asked again without a change it answers the same.
    pub(super) fn peek(&mut self) -> Option<&Entry> {
        let client = self.choose(|entry| entry.prepared)?;
        self.clients.get(&client)?.waiting.front()
    }

    /// Takes the one that [`WaitingList::peek`] names.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let client = self.choose(|entry| entry.prepared)?;
        self.take_from(&client)
    }

    /// Takes a request out, wherever it is.
    pub(super) fn remove(&mut self, job: JobId) -> Option<Entry> {
        let (client, place) = self.clients.iter().find_map(|(client, share)| {
            let place = share.waiting.iter().position(|entry| entry.job == job)?;
            Some((client.clone(), place))
        })?;
        let entry = self.clients.get_mut(&client)?.waiting.remove(place)?;
        self.removed(&client, &entry);
        Some(entry)
    }

    /// Takes out all whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<JobId> {
        let late = |entry: &Entry| entry.deadline.is_some_and(|deadline| deadline <= now);
        let jobs: Vec<_> = self.entries().filter(|entry| late(entry)).map(|e| e.job).collect();
        for job in &jobs {
            self.remove(*job);
        }
        jobs
    }

    /// When [`WaitingList::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.entries().filter_map(|entry| entry.deadline).min()
    }

    /// All jobs in the order in which they would be served.
    pub(super) fn order(&self) -> Vec<JobId> {
        let mut rest = self.clone();
        let mut order = Vec::with_capacity(self.len);
        while let Some(client) = rest.choose(|_| true)
            && let Some(entry) = rest.take_from(&client)
        {
            order.push(entry.job);
        }
        order
    }

    /// A place that somebody left, but the engine still holds something of it: it is not free yet.
    pub(super) fn hold(&mut self) {
        self.held = self.held.saturating_add(1);
    }

    /// The engine has let go of what [`WaitingList::hold`] was for.
    pub(super) fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// The engine is gone, and with it all that it held.
    pub(super) fn release_all(&mut self) {
        self.held = 0;
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.clients.values().flat_map(|share| &share.waiting)
    }

    fn find(&mut self, job: JobId) -> Option<&mut Entry> {
        let all = self.clients.values_mut().flat_map(|share| &mut share.waiting);
        all.into_iter().find(|entry| entry.job == job)
    }

    fn insert(
        &mut self,
        entry: Entry,
        enqueue: impl FnOnce(&mut VecDeque<Entry>, Entry),
        take_turn: impl FnOnce(&mut VecDeque<ClientKey>, ClientKey),
    ) {
        self.len = self.len.saturating_add(1);
        self.prompt_tokens = self.prompt_tokens.saturating_add(entry.prompt_tokens);
        let client = entry.client.clone();
        let share = self.clients.entry(client.clone()).or_default();
        let new = share.waiting.is_empty();
        enqueue(&mut share.waiting, entry);
        if new {
            take_turn(&mut self.turns, client);
        }
    }

    fn take_from(&mut self, client: &ClientKey) -> Option<Entry> {
        let share = self.clients.get_mut(client)?;
        let entry = share.waiting.pop_front()?;
        share.deficit = share.deficit.saturating_sub(entry.cost());
        self.removed(client, &entry);
        Some(entry)
    }

    fn removed(&mut self, client: &ClientKey, entry: &Entry) {
        self.len = self.len.saturating_sub(1);
        self.prompt_tokens = self.prompt_tokens.saturating_sub(entry.prompt_tokens);
        if self.clients.get(client).is_some_and(|share| share.waiting.is_empty()) {
            // Who has nothing to ask for saves nothing up.
            self.clients.remove(client);
            self.fresh |= self.turns.front() == Some(client);
            self.turns.retain(|turn| turn != client);
        }
    }

    /// Moves the turns on to the client whose first request is next, and gives out the quanta of
    /// the turns that pass. Clients whose first request is not `eligible` are passed over.
    fn choose(&mut self, eligible: impl Fn(&Entry) -> bool) -> Option<ClientKey> {
        // Turns that a client still needs until it can pay; `None`: it takes no part.
        let needs = |list: &Self, client: &ClientKey| {
            let share = list.clients.get(client)?;
            let first = share.waiting.front().filter(|entry| eligible(entry))?;
            Some(first.cost().saturating_sub(share.deficit).div_ceil(QUANTUM))
        };
        let current = self.turns.front()?.clone();
        let current_needs = needs(self, &current);
        if current_needs == Some(0) {
            return Some(current);
        }
        // Its turn is over, unless it has not begun. A turn begins with a quantum, so nobody needs
        // less than one round; the client that needs the fewest is next. All the rounds until then
        // are done at once instead of going round.
        let skip = usize::from(!self.fresh);
        let rounds: Vec<_> = (0..self.turns.len())
            .map(|step| {
                let place = step.saturating_add(skip).checked_rem(self.turns.len()).unwrap_or(0);
                let turn = self.turns.get(place).cloned();
                let rounds = turn.as_ref().and_then(|turn| needs(self, turn));
                (turn, rounds.map(|rounds| rounds.max(1)))
            })
            .collect();
        let (winner, fewest) = rounds
            .iter()
            .enumerate()
            .filter_map(|(step, (_, rounds))| Some((step, (*rounds)?)))
            .min_by_key(|(step, rounds)| (*rounds, *step))?;
        for (step, (turn, rounds)) in rounds.iter().enumerate() {
            let quanta = if step <= winner { fewest } else { fewest.saturating_sub(1) };
            if rounds.is_some()
                && let Some(share) = turn.as_ref().and_then(|turn| self.clients.get_mut(turn))
            {
                share.deficit = share.deficit.saturating_add(quanta.saturating_mul(QUANTUM));
            }
        }
        let chosen = rounds.get(winner).and_then(|(turn, _)| turn.clone())?;
        let place = self.turns.iter().position(|turn| *turn == chosen)?;
        self.turns.rotate_left(place);
        self.fresh = false;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { requests: 64, prompt_tokens: 1 << 40 };

    fn entry(job: u64, client: &str, tokens: u64) -> Entry {
        Entry {
            job: JobId(job),
            client: ClientKey(client.into()),
            prompt_tokens: tokens,
            output_tokens: 0,
            prepared: true,
            deadline: None,
        }
    }

    fn list(entries: impl IntoIterator<Item = Entry>) -> WaitingList {
        let mut list = WaitingList::new(BOUNDS);
        for entry in entries {
            list.try_push(entry).unwrap();
        }
        list
    }

    fn drain(list: &mut WaitingList) -> Vec<u64> {
        std::iter::from_fn(|| list.pop()).map(|entry| entry.job.0).collect()
    }

    #[test]
    fn one_client_is_served_in_order() {
        let mut list = list((0..5).map(|job| entry(job, "a", 100 + job * 700)));
        assert_eq!(drain(&mut list), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn clients_are_first_come_first_served_when_they_ask_for_one_each() {
        let mut list = list([entry(0, "a", 10), entry(1, "b", 10), entry(2, "c", 10)]);
        assert_eq!(drain(&mut list), [0, 1, 2]);
    }

    #[test]
    fn a_busy_client_delays_another_by_one_turn_at_most() {
        let mut busy: Vec<_> = (0..40).map(|job| entry(job, "busy", 512)).collect();
        busy.push(entry(99, "calm", 50));
        let mut list = list(busy);
        assert_eq!(list.order().iter().position(|job| job.0 == 99), Some(1));
        assert_eq!(drain(&mut list).iter().position(|job| *job == 99), Some(1));
    }

    #[test]
    fn a_long_request_is_not_overtaken_for_ever() {
        let mut list = list([entry(0, "long", 5000)]);
        for job in 1..60 {
            list.try_push(entry(job, "short", 500)).unwrap();
        }
        let place = drain(&mut list).iter().position(|job| *job == 0).unwrap();
        assert!(place <= 5000 / 500 + 1, "{place}");
    }

    #[test]
    fn who_is_not_prepared_is_passed_over_and_keeps_its_place() {
        let mut list = list([Entry { prepared: false, ..entry(0, "a", 9) }, entry(1, "b", 9)]);
        assert_eq!(list.pop().unwrap().job, JobId(1));
        assert_eq!(list.pop(), None);
        list.prepared(JobId(0), 12);
        assert_eq!(list.pop().unwrap().prompt_tokens, 12);
    }

    #[test]
    fn a_replay_is_next_whatever_the_bounds() {
        let mut list = WaitingList::new(Bounds { requests: 1, ..BOUNDS });
        list.try_push(entry(0, "a", 10)).unwrap();
        list.push_front(entry(1, "b", 9000));
        assert_eq!(drain(&mut list), [1, 0]);
    }

    #[test]
    fn other_bounds_hold_for_whoever_comes_next() {
        let mut list = WaitingList::new(Bounds { requests: 2, ..BOUNDS });
        list.try_push(entry(0, "a", 1)).unwrap();
        list.try_push(entry(1, "a", 1)).unwrap();
        list.set_bounds(Bounds { requests: 1, ..BOUNDS });
        assert_eq!(list.len(), 2);
        let full = Refusal::Full { waiting: 2, limit: 1 };
        assert_eq!(list.try_push(entry(2, "a", 1)), Err(full));
        list.set_bounds(Bounds { requests: 3, ..BOUNDS });
        assert!(list.try_push(entry(2, "a", 1)).is_ok());
    }

    #[test]
    fn the_bounds_are_kept_and_named() {
        let mut list = WaitingList::new(Bounds { requests: 2, prompt_tokens: 100 });
        list.try_push(entry(0, "a", 5000)).unwrap();
        let refusal = list.try_push(entry(1, "a", 1)).unwrap_err();
        assert_eq!(refusal, Refusal::TokensFull { waiting: 5000, limit: 100 });
        list.prepared(JobId(0), 50);
        assert_eq!(list.try_push(entry(1, "a", 50)), Ok(1));
        let refusal = list.try_push(entry(2, "b", 0)).unwrap_err();
        let error = refusal.into_error("ai/smollm2:latest", Duration::from_secs(3));
        assert_eq!(
            error.message,
            "2 requests wait for ai/smollm2:latest, the limit; try again in 3 s"
        );
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_place_that_the_engine_still_holds_is_not_free() {
        let mut list = WaitingList::new(Bounds { requests: 1, ..BOUNDS });
        list.try_push(entry(0, "a", 1)).unwrap();
        list.remove(JobId(0)).unwrap();
        list.hold();
        assert!(list.try_push(entry(1, "a", 1)).is_err());
        list.release();
        assert!(list.try_push(entry(1, "a", 1)).is_ok());
    }

    #[test]
    fn who_waited_too_long_is_handed_back() {
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        let mut list = list([
            Entry { deadline: Some(now), ..entry(0, "a", 1) },
            Entry { deadline: Some(later), ..entry(1, "a", 1) },
        ]);
        assert_eq!(list.next_deadline(), Some(now));
        assert_eq!(list.expire(now), [JobId(0)]);
        assert_eq!(list.next_deadline(), Some(later));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Push(u8, u16, bool),
        Pop,
        Remove(u8),
        Prepare(u8, u16),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => (0u8..4, any::<u16>(), any::<bool>()).prop_map(|(c, t, p)| Op::Push(c, t, p)),
            2 => Just(Op::Pop),
            1 => any::<u8>().prop_map(Op::Remove),
            1 => (any::<u8>(), any::<u16>()).prop_map(|(j, t)| Op::Prepare(j, t)),
        ]
    }

    proptest! {
        /// Against a plain list: nothing is lost, doubled, over the bound or out of its client's
        /// order, and what is foretold happens.
        #[test]
        fn it_keeps_its_books(ops in prop::collection::vec(op(), 0..120)) {
            let bounds = Bounds { requests: 16, prompt_tokens: 300_000 };
            let mut list = WaitingList::new(bounds);
            let mut model: Vec<Entry> = Vec::new();
            for (number, op) in (0u64..).zip(ops) {
                match op {
                    Op::Push(client, tokens, prepared) => {
                        let client = format!("c{client}");
                        let entry = Entry { prepared, ..entry(number, &client, tokens.into()) };
                        if list.try_push(entry.clone()).is_ok() {
                            model.push(entry);
                        }
                    }
                    Op::Pop => {
                        let foretold = list.peek().cloned();
                        let popped = list.pop();
                        prop_assert_eq!(&foretold, &popped);
                        match popped {
                            Some(popped) => {
                                let first = model.iter().position(|e| e.client == popped.client);
                                prop_assert_eq!(model.remove(first.unwrap()), popped);
                            }
                            None => {
                                let first = |i: usize, entry: &Entry| {
                                    model[..i].iter().all(|before| before.client != entry.client)
                                };
                                let next = (0..).zip(&model).find(|(i, e)| e.prepared && first(*i, e));
                                prop_assert_eq!(next, None);
                            }
                        }
                    }
                    Op::Remove(nth) if !model.is_empty() => {
                        let gone = model.remove(usize::from(nth) % model.len());
                        prop_assert_eq!(list.remove(gone.job), Some(gone));
                    }
                    Op::Prepare(nth, tokens) if !model.is_empty() => {
                        let nth = usize::from(nth) % model.len();
                        model[nth].prepared = true;
                        model[nth].prompt_tokens = tokens.into();
                        list.prepared(model[nth].job, tokens.into());
                    }
                    Op::Remove(_) | Op::Prepare(..) => {}
                }
                prop_assert!(list.len() <= bounds.requests);
                prop_assert_eq!(list.len(), model.len());
                let tokens: u64 = model.iter().map(|entry| entry.prompt_tokens).sum();
                prop_assert_eq!(list.prompt_tokens, tokens);
                prop_assert_eq!(list.order().len(), model.len());
            }
        }

        #[test]
        fn the_foretold_order_is_kept(tokens in prop::collection::vec((0u8..5, 1u64..3000), 0..64)) {
            let entries = (0u64..).zip(&tokens).map(|(job, (c, t))| entry(job, &format!("c{c}"), *t));
            let mut list = list(entries);
            let order: Vec<u64> = list.order().iter().map(|job| job.0).collect();
            prop_assert_eq!(order, drain(&mut list));
        }

        /// While two clients both want more, neither gets ahead by more than a turn and a request.
        #[test]
        fn tokens_are_shared_evenly(
            a in prop::collection::vec(1u64..2000, 32),
            b in prop::collection::vec(1u64..2000, 32),
        ) {
            let costs: Vec<_> = a.iter().map(|t| ("a", *t)).chain(b.iter().map(|t| ("b", *t))).collect();
            let mut list = list((0u64..).zip(costs).map(|(job, (c, t))| entry(job, c, t)));
            let (mut served_a, mut served_b) = (0u64, 0u64);
            while list.clients.len() == 2 {
                let entry = list.pop().unwrap();
                if &*entry.client.0 == "a" { served_a += entry.cost() } else { served_b += entry.cost() }
                prop_assert!(served_a.abs_diff(served_b) <= QUANTUM + 2 * 2000);
            }
        }
    }
}

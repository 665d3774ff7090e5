//! A context that is a rule for the next token, with llama.cpp's memory model: it panics where the
//! loop breaks a rule of [`Compute`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::domain::{Delta, Event, FinishReason, JobId, Limits, Sampling, Transcript};
use crate::protocol::ToDaemon;
use crate::worker::cancel::CancelBoard;
use crate::worker::compute::{
    BatchToken, Compute, ComputeLimits, DecodeError, PreparedPrompt, SeqId, Token, Vocab,
};

use super::reference::Request;
use super::{FrameSink, StepCommand, StepLoop, StepSettings};

pub(super) const VOCAB: usize = 24;
pub(super) const END: [Token; 2] = [5, 23];

/// What a token spells: some of it parts of characters, some of it nothing.
pub(super) fn piece(token: Token) -> &'static [u8] {
    const PIECES: [&[u8]; 20] = [
        b"a",
        b"b",
        b"ab",
        b" ",
        b"c",
        b"<end>",
        b"\xf0\x9f",
        b"\x99\x82",
        b"\xc3",
        b"\xa9",
        b"ba",
        b"",
        b"ccc",
        "\u{e9}a".as_bytes(),
        b"\n",
        b"b c",
        b"aa",
        b"x",
        b"\xff",
        b"y",
    ];
    PIECES.get(token as usize).copied().unwrap_or(b"z")
}

pub(super) struct FakeVocab;

impl Vocab for FakeVocab {
    fn is_end(&self, token: Token) -> bool {
        END.contains(&token)
    }

    fn piece(&self, token: Token, out: &mut Vec<u8>) {
        out.extend_from_slice(piece(token));
    }
}

/// The rule: logits from a hash of all tokens before.
pub(super) fn row(history: &[Token]) -> Vec<f32> {
    let mut hash = history.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, token| {
        (hash ^ u64::from(token.unsigned_abs())).wrapping_mul(0x0100_0000_01b3)
    });
    (0..VOCAB)
        .map(|_| {
            hash ^= hash >> 29;
            hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(1);
            (hash >> 40) as f32 / (1u64 << 22) as f32
        })
        .collect()
}

/// What a test and its context share.
#[derive(Default)]
pub(super) struct Script {
    /// Answers for the next batches; without one a batch is computed.
    pub(super) answers: VecDeque<Option<DecodeError>>,
    /// Cancelled as soon as the next batch is being computed.
    pub(super) cancel_during: Vec<JobId>,
    /// Batches that were computed.
    pub(super) batches: Vec<Vec<BatchToken>>,
    /// Cells there are less than promised.
    pub(super) missing: usize,
    /// Time that a batch takes: fixed and for each token.
    pub(super) cost: (Duration, Duration),
    pub(super) elapsed: Duration,
    /// Holders of each cell: sequence → position → cell; cell → token.
    memory: HashMap<SeqId, BTreeMap<u32, usize>>,
    tokens: HashMap<usize, Token>,
    rows: HashMap<usize, Vec<f32>>,
    next_cell: usize,
}

impl Script {
    pub(super) fn used(&self) -> usize {
        self.memory.values().flat_map(BTreeMap::values).collect::<BTreeSet<_>>().len()
    }

    fn history(&self, seq: SeqId) -> Vec<Token> {
        self.memory.get(&seq).into_iter().flatten().map(|(_, cell)| self.tokens[cell]).collect()
    }
}

pub(super) struct Fake {
    pub(super) limits: ComputeLimits,
    pub(super) script: Rc<RefCell<Script>>,
    board: Arc<CancelBoard>,
    abort: Arc<AtomicBool>,
    row: Vec<f32>,
}

impl Fake {
    fn check(&self, batch: &[BatchToken]) {
        let script = self.script.borrow();
        assert!(!batch.is_empty() && batch.len() <= self.limits.max_batch, "batch size");
        let mut next: HashMap<SeqId, u32> = HashMap::new();
        for token in batch {
            assert!(token.seq < self.limits.max_sequences, "sequence id {}", token.seq);
            assert!((0..VOCAB as Token).contains(&token.token), "token {}", token.token);
            let at = next.entry(token.seq).or_insert_with(|| {
                script.memory.get(&token.seq).map_or(0, |memory| memory.len() as u32)
            });
            assert_eq!(token.pos, *at, "a gap in sequence {}", token.seq);
            *at += 1;
        }
        let asking = batch.iter().filter(|token| token.logits).count();
        assert!(asking <= self.limits.max_outputs, "{asking} ask for logits");
    }
}

impl Compute for Fake {
    fn limits(&self) -> ComputeLimits {
        self.limits
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        self.check(batch);
        for job in std::mem::take(&mut self.script.borrow_mut().cancel_during) {
            self.board.cancel(job);
        }
        let script = &mut *self.script.borrow_mut();
        let capacity = self.limits.cells as usize - script.missing;
        assert!(
            script.used() + batch.len() <= self.limits.cells as usize,
            "more cells than promised"
        );
        script.rows.clear();
        if script.used() + batch.len() > capacity {
            return Err(DecodeError::NoCells { tokens: batch.len() });
        }
        let mut answer = script.answers.pop_front().flatten();
        if self.abort.load(Ordering::Acquire) {
            answer = Some(DecodeError::Aborted);
        }
        // An aborted batch leaves half of itself behind.
        let computed = match answer {
            None => batch.len(),
            Some(DecodeError::Aborted) => batch.len() / 2,
            Some(_) => 0,
        };
        for (index, token) in batch.iter().enumerate().take(computed) {
            let cell = script.next_cell;
            script.next_cell += 1;
            script.tokens.insert(cell, token.token);
            script.memory.entry(token.seq).or_default().insert(token.pos, cell);
            if token.logits {
                let row = row(&script.history(token.seq));
                script.rows.insert(index, row);
            }
        }
        script.elapsed += script.cost.0 + script.cost.1 * computed as u32;
        match answer {
            None => {
                script.batches.push(batch.to_vec());
                Ok(())
            }
            Some(error) => Err(error),
        }
    }

    fn logits(&mut self, index: usize) -> &[f32] {
        let mut script = self.script.borrow_mut();
        self.row = script.rows.remove(&index).expect("logits that were not asked for, or twice");
        &self.row
    }

    fn truncate(&mut self, seq: SeqId, from: u32) -> bool {
        assert!(seq < self.limits.max_sequences, "sequence id {seq}");
        let mut script = self.script.borrow_mut();
        if let Some(memory) = script.memory.get_mut(&seq) {
            if from > 0 && !self.limits.can_rewind && memory.contains_key(&from) {
                return false;
            }
            memory.retain(|pos, _| *pos < from);
        }
        true
    }

    fn share_prefix(&mut self, from: SeqId, to: SeqId, len: u32) {
        assert!(self.limits.can_rewind && from != to && len > 0);
        let mut script = self.script.borrow_mut();
        let shared: BTreeMap<u32, usize> = script.memory[&from]
            .iter()
            .filter(|(pos, _)| **pos < len)
            .map(|(p, c)| (*p, *c))
            .collect();
        assert_eq!(shared.len(), len as usize, "more shared than there is");
        let old = script.memory.insert(to, shared);
        assert!(old.is_none_or(|old| old.is_empty()), "shared into a sequence in use");
    }
}

/// Keeps every frame, or passes it on at once.
#[derive(Default)]
pub(super) struct Frames(Mutex<Vec<ToDaemon>>, Mutex<Option<Sender<ToDaemon>>>);

impl FrameSink for Frames {
    fn send(&self, frame: ToDaemon) {
        match &*self.1.lock().unwrap() {
            Some(listener) => drop(listener.send(frame)),
            None => self.0.lock().unwrap().push(frame),
        }
    }
}

/// A loop over a [`Fake`] and all that it says.
pub(super) struct Bench {
    pub(super) engine: StepLoop<Fake>,
    pub(super) script: Rc<RefCell<Script>>,
    pub(super) board: Arc<CancelBoard>,
    frames: Arc<Frames>,
}

/// Plain limits: plenty of everything.
pub(super) fn limits() -> ComputeLimits {
    ComputeLimits {
        cells: 4096,
        max_batch: 512,
        max_sequences: 8,
        max_outputs: 16,
        vocab_size: VOCAB,
        can_rewind: true,
    }
}

impl Bench {
    pub(super) fn new(limits: ComputeLimits, settings: StepSettings) -> Self {
        let script = Rc::new(RefCell::new(Script::default()));
        let (board, frames) = (CancelBoard::new(), Arc::new(Frames::default()));
        let abort = board.abort_flag();
        let (shared, to_cancel) = (Rc::clone(&script), Arc::clone(&board));
        let fake = Fake { limits, script: shared, board: to_cancel, abort, row: Vec::new() };
        let (start, time) = (Instant::now(), Rc::clone(&script));
        let engine = StepLoop::with_clock(
            fake,
            Arc::new(FakeVocab),
            settings,
            Arc::clone(&board),
            Arc::clone(&frames) as Arc<dyn FrameSink>,
            Box::new(move || start + time.borrow().elapsed),
        );
        Self { engine, script, board, frames }
    }

    pub(super) fn start(&mut self, job: u64, prompt: &[Token], sampling: Sampling, limits: Limits) {
        self.request(job, Request::plain(prompt, sampling, limits));
    }

    pub(super) fn request(&mut self, job: u64, request: Request) {
        let job = JobId(job);
        let prompt = Box::new(request.prompt());
        let Request { sampling, limits, output, .. } = request;
        self.engine.handle(StepCommand::Prepared { job, prompt });
        self.engine.handle(StepCommand::Start { job, sampling, limits, output });
    }

    /// Greedy, so many tokens whatever they are.
    pub(super) fn greedy(&mut self, job: u64, prompt: &[Token], tokens: u32) {
        let limits = Limits { max_tokens: Some(tokens), ignore_eos: true, ..Limits::default() };
        self.start(job, prompt, greedy(), limits);
    }

    pub(super) fn cancel(&mut self, job: u64) {
        self.board.cancel(JobId(job));
        self.engine.handle(StepCommand::Cancel { job: JobId(job) });
    }

    pub(super) fn step(&mut self) -> bool {
        self.engine.step().expect("not fatal")
    }

    pub(super) fn finish(&mut self) {
        for _ in 0..20_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it never comes to an end");
    }

    /// From now on the frames go here, while the loop runs.
    pub(super) fn listen(&self) -> Receiver<ToDaemon> {
        let (sender, frames) = channel();
        *self.frames.1.lock().unwrap() = Some(sender);
        frames
    }

    /// The frames since the last call.
    pub(super) fn frames(&self) -> Vec<ToDaemon> {
        std::mem::take(&mut *self.frames.0.lock().unwrap())
    }

    pub(super) fn batches(&self) -> Vec<Vec<BatchToken>> {
        std::mem::take(&mut self.script.borrow_mut().batches)
    }
}

/// A prompt of nothing but tokens.
pub(super) fn prepared(job: JobId, tokens: &[Token]) -> StepCommand {
    let prompt = PreparedPrompt { tokens: tokens.to_vec(), ..PreparedPrompt::default() };
    StepCommand::Prepared { job, prompt: Box::new(prompt) }
}

/// How the one answer of a job ended.
pub(super) fn finish_of(events: &[Event]) -> Option<FinishReason> {
    events.iter().find_map(|event| match event {
        Event::Ended { finish, .. } => Some(finish.clone()),
        _ => None,
    })
}

pub(super) fn greedy() -> Sampling {
    Sampling { temperature: Some(0.0), ..Sampling::default() }
}

/// The events of one job among frames.
pub(super) fn events_of(frames: &[ToDaemon], job: u64) -> Vec<Event> {
    let events = frames.iter().filter_map(|frame| match frame {
        ToDaemon::Events(events) => Some(events),
        _ => None,
    });
    events.flatten().filter(|(id, _)| id.0 == job).map(|(_, event)| event.clone()).collect()
}

/// The answers of one job among frames.
pub(super) fn transcript_of(frames: &[ToDaemon], job: u64) -> Transcript {
    let mut transcript = Transcript::default();
    events_of(frames, job).into_iter().for_each(|event| transcript.push(event));
    transcript
}

pub(super) fn text_of(events: &[Event]) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Delta { delta: Delta::Content(text), .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::{EmbedLoop, Pool, PoolLimits};
use crate::domain::{Error, ErrorKind, Event, JobId, Limits, OutputOptions, Sampling};
use crate::protocol::ToDaemon;
use crate::worker::cancel::CancelBoard;
use crate::worker::compute::{BatchToken, DecodeError, PreparedPrompt, SeqId, Token};
use crate::worker::step::{FrameSink, StepCommand, StepSettings};

/// This token makes its input's vector no number.
const POISON: Token = 666;

/// The sequence ids of a batch, in order.
type Batch = Vec<BatchToken>;

/// The vector of an input is the sum of its tokens and their number.
struct Sums {
    limits: PoolLimits,
    states: HashMap<SeqId, [f32; 2]>,
    shown: Vec<SeqId>,
    batches: Arc<Mutex<Vec<Batch>>>,
    fault: Option<DecodeError>,
}

impl Pool for Sums {
    fn limits(&self) -> PoolLimits {
        self.limits
    }

    fn decode(&mut self, batch: &[BatchToken]) -> Result<(), DecodeError> {
        assert!(!batch.is_empty() && batch.len() <= self.limits.max_batch);
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        self.shown.clear();
        for item in batch {
            assert!(item.seq < self.limits.max_sequences && item.logits);
            let state = self.states.entry(item.seq).or_default();
            assert_eq!(state[1], item.pos as f32, "a sequence goes on where it was");
            state[0] += if item.token == POISON { f32::NAN } else { item.token as f32 };
            state[1] += 1.0;
            self.shown.push(item.seq);
        }
        self.batches.lock().unwrap().push(batch.to_vec());
        Ok(())
    }

    fn vector(&mut self, seq: SeqId) -> &[f32] {
        if self.shown.contains(&seq) { &self.states[&seq] } else { &[] }
    }

    fn clear(&mut self) {
        self.states.clear();
    }
}

#[derive(Default)]
struct Out(Mutex<Vec<ToDaemon>>);

impl FrameSink for Out {
    fn send(&self, frame: ToDaemon) {
        self.0.lock().unwrap().push(frame);
    }
}

struct Bench {
    engine: EmbedLoop<Sums>,
    board: Arc<CancelBoard>,
    out: Arc<Out>,
    batches: Arc<Mutex<Vec<Batch>>>,
}

impl Bench {
    fn new(max_batch: usize, max_sequences: u32, fault: Option<DecodeError>) -> Self {
        let batches = Arc::default();
        let limits =
            PoolLimits { longest: 1000, max_batch, max_sequences, vocab_size: 1000, width: 2 };
        let pool = Sums {
            limits,
            states: HashMap::new(),
            shown: Vec::new(),
            batches: Arc::clone(&batches),
            fault,
        };
        let (board, out) = (CancelBoard::new(), Arc::new(Out::default()));
        let sink: Arc<dyn FrameSink> = Arc::clone(&out) as _;
        let engine = EmbedLoop::new(pool, StepSettings::default(), Arc::clone(&board), sink);
        Self { engine, board, out, batches }
    }

    fn prepare(&mut self, job: u64, inputs: &[Vec<Token>]) {
        let prompt = PreparedPrompt { inputs: inputs.to_vec(), ..PreparedPrompt::default() };
        self.engine.handle(StepCommand::Prepared { job: JobId(job), prompt: Box::new(prompt) });
    }

    fn start(&mut self, job: u64, inputs: &[Vec<Token>]) {
        self.prepare(job, inputs);
        self.engine.handle(StepCommand::Start {
            job: JobId(job),
            sampling: Sampling::default(),
            limits: Limits::default(),
            output: OutputOptions::default(),
        });
    }

    fn cancel(&mut self, job: u64) {
        self.board.cancel(JobId(job));
        self.engine.handle(StepCommand::Cancel { job: JobId(job) });
    }

    fn step(&mut self) -> bool {
        self.engine.step().expect("no fault")
    }

    /// Sequences and tokens of the last batch.
    fn last(&self) -> (usize, usize) {
        let batches = self.batches.lock().unwrap();
        let batch = batches.last().expect("a batch");
        let sequences: std::collections::BTreeSet<_> = batch.iter().map(|item| item.seq).collect();
        (sequences.len(), batch.len())
    }

    fn events(&self, job: u64) -> Vec<Event> {
        let frames = self.out.0.lock().unwrap();
        let all = frames.iter().filter_map(|frame| match frame {
            ToDaemon::Events(events) => Some(events.clone()),
            _ => None,
        });
        all.flatten().filter(|(id, _)| id.0 == job).map(|(_, event)| event).collect()
    }

    fn vectors(&self, job: u64) -> BTreeMap<u32, Vec<f32>> {
        let vector = |event| match event {
            Event::Vector { index, values } => Some((index, values)),
            _ => None,
        };
        self.events(job).into_iter().filter_map(vector).collect()
    }

    fn is_finished(&self, job: u64) -> bool {
        matches!(self.events(job).last(), Some(Event::Finished(_)))
    }

    fn failure(&self, job: u64) -> Option<Error> {
        self.out.0.lock().unwrap().iter().find_map(|frame| match frame {
            ToDaemon::Failed { job: id, error } if id.0 == job => Some(error.clone()),
            _ => None,
        })
    }

    fn released(&self) -> Vec<u64> {
        let frames = self.out.0.lock().unwrap();
        let released = frames.iter().filter_map(|frame| match frame {
            ToDaemon::Released { job } => Some(job.0),
            _ => None,
        });
        released.collect()
    }
}

fn texts(count: usize, len: usize) -> Vec<Vec<Token>> {
    (0..count).map(|at| vec![at as Token + 1; len]).collect()
}

#[test]
fn a_job_hears_its_start_its_vectors_in_order_and_what_it_cost() {
    let mut bench = Bench::new(512, 8, None);
    bench.start(1, &[vec![1, 2, 3], vec![10], vec![5, 5]]);
    assert!(bench.step());
    let events = bench.events(1);
    assert_eq!(events[0], Event::Started { prompt_tokens: 6, cached_tokens: 0 });
    let values = [vec![6.0, 3.0], vec![10.0, 1.0], vec![10.0, 2.0]];
    for (index, values) in (0..).zip(values) {
        assert_eq!(events[index as usize + 1], Event::Vector { index, values });
    }
    let Event::Finished(outcome) = &events[4] else { panic!("{events:?}") };
    assert_eq!((outcome.usage.prompt_tokens, outcome.usage.completion_tokens), (6, 0));
    assert_eq!(events.len(), 5);
    assert!(!bench.step(), "nothing is left");
    assert_eq!(bench.last(), (3, 6), "all in one batch");
}

#[test]
fn a_job_of_many_inputs_delays_a_small_one_by_one_batch() {
    let mut bench = Bench::new(512, 8, None);
    bench.start(1, &texts(500, 60));
    bench.step();
    assert_eq!(bench.last(), (8, 480));
    bench.start(2, &texts(1, 60));
    bench.step();
    assert!(bench.is_finished(2) && !bench.is_finished(1));
    assert_eq!(bench.last(), (8, 480), "the rest of the batch is the other job's");
}

#[test]
fn an_input_longer_than_a_batch_is_computed_in_pieces() {
    let mut bench = Bench::new(100, 8, None);
    bench.start(1, &[vec![1; 250], vec![2; 10]]);
    bench.start(2, &[vec![3; 10]]);
    for tokens in [100, 100, 50] {
        assert!(bench.vectors(1).is_empty());
        bench.step();
        assert_eq!(bench.last(), (1, tokens));
    }
    assert_eq!(bench.vectors(1)[&0], [250.0, 250.0]);
    bench.step();
    assert!(bench.is_finished(1) && bench.is_finished(2));
}

#[test]
fn a_cancelled_job_is_let_go_of_wherever_it_is() {
    let mut bench = Bench::new(100, 8, None);
    bench.start(1, &[vec![1; 250]]);
    bench.step();
    bench.cancel(1);
    bench.start(2, &[vec![2; 10]]);
    bench.prepare(3, &[vec![3; 10]]);
    bench.cancel(3);
    bench.cancel(4);
    bench.prepare(4, &[vec![4; 10]]);
    // Marked, but the command is still on its way.
    bench.start(5, &[vec![5; 10]]);
    bench.board.cancel(JobId(5));
    bench.step();
    assert_eq!(bench.last(), (1, 10), "only the second computes, from its first token on");
    assert!(bench.is_finished(2) && bench.events(5).is_empty());
    assert!(!bench.step());
    bench.cancel(5);
    assert_eq!(bench.released(), [1, 3, 4, 5]);
}

#[test]
fn a_vector_that_is_none_fails_its_job_alone() {
    let mut bench = Bench::new(512, 8, None);
    bench.start(1, &[vec![1], vec![POISON], vec![2]]);
    bench.start(2, &[vec![7]]);
    bench.step();
    assert_eq!(bench.failure(1).map(|error| error.kind), Some(ErrorKind::InvalidModel));
    assert!(bench.failure(1).is_some_and(|error| error.message.contains("input 1")));
    assert!(!bench.is_finished(1) && bench.is_finished(2));
    assert!(!bench.step());
}

#[test]
fn an_aborted_batch_is_computed_again_and_a_refused_one_fails_its_jobs() {
    let mut bench = Bench::new(512, 8, Some(DecodeError::Aborted));
    bench.start(1, &[vec![1]]);
    assert!(bench.step() && !bench.is_finished(1));
    assert!(bench.step() && bench.is_finished(1));
    let mut bench = Bench::new(512, 8, Some(DecodeError::Invalid("so".into())));
    bench.start(1, &[vec![1], vec![2]]);
    bench.step();
    assert_eq!(bench.failure(1).map(|error| error.kind), Some(ErrorKind::Internal));
    let mut bench = Bench::new(512, 8, Some(DecodeError::Fatal("gone".into())));
    bench.start(1, &[vec![1]]);
    assert_eq!(bench.engine.step(), Err("gone".to_owned()));
}

#[test]
fn what_cannot_be_computed_is_refused_at_the_start() {
    let mut bench = Bench::new(512, 8, None);
    for (job, inputs) in
        [(1, vec![]), (2, vec![vec![]]), (3, vec![vec![1; 1001]]), (4, vec![vec![1000]])]
    {
        bench.start(job, &inputs);
        assert!(bench.failure(job).is_some(), "{inputs:?}");
    }
    assert!(!bench.step());
}

proptest! {
    #[test]
    fn every_job_gets_every_vector(
        jobs in prop::collection::vec(
            prop::collection::vec((1..600i32, 1..400usize), 1..12), 1..6),
        max_batch in 16..600usize,
        sequences in 1..9u32,
    ) {
        let mut bench = Bench::new(max_batch, sequences, None);
        let inputs = |job: &Vec<(Token, usize)>| -> Vec<Vec<Token>> {
            job.iter().map(|(token, len)| vec![*token; *len]).collect()
        };
        for (id, job) in (0..).zip(&jobs) {
            bench.start(id, &inputs(job));
            bench.step();
        }
        while bench.step() {}
        for (id, job) in (0..).zip(&jobs) {
            prop_assert!(bench.is_finished(id));
            let vectors = bench.vectors(id);
            prop_assert_eq!(vectors.len(), job.len());
            for ((token, len), values) in job.iter().zip(vectors.values()) {
                prop_assert_eq!(values, &vec![*token as f32 * *len as f32, *len as f32]);
            }
        }
    }
}

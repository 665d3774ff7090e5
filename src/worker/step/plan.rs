use std::collections::HashSet;

use crate::domain::Event;
use crate::worker::compute::Compute;

use super::StepLoop;
use super::slots::{Prefix, common_prefix};

/// A second of waiting lets a prompt pass others that would be computed so many seconds sooner.
const AGEING: f64 = 4.0;
/// A prompt waits for another one's computation of what they have in common if that saves at least
/// so many tokens.
const WORTH_WAITING: usize = 32;

/// What one job computes in the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Its place among the jobs.
    pub(super) job: usize,
    /// How many of its tokens.
    pub(super) tokens: usize,
    /// Whether this is the one token of a sequence that decodes.
    pub(super) decoding: bool,
}

impl<C: Compute> StepLoop<C> {
    /// Chooses what the next step computes and lets waiting jobs in: first whoever decodes, then
    /// prompts in the order of [`StepLoop::order`] as far as the time budget goes.
    pub(super) fn plan(&mut self) -> Vec<Part> {
        // A cancelled job costs nothing more, even before its command is read.
        let live: Vec<usize> = (0..self.jobs.len()).filter(|&at| !self.is_cancelled(at)).collect();
        let (decoding, prompts): (Vec<usize>, Vec<usize>) =
            live.into_iter().partition(|&at| self.is_decoding(at));
        let mut parts = self.decoders(decoding);
        let mut budget = self.pace.budget(parts.len());
        let mut outputs = self.limits.max_outputs.saturating_sub(parts.len());
        let mut closed = self.crowded && self.jobs.iter().any(|job| job.seq.is_some());
        let mut left = prompts.len();
        for job in self.order(prompts) {
            if budget == 0 {
                break;
            }
            left = left.saturating_sub(1);
            let waits = self.jobs.get(job).is_some_and(|job| job.seq.is_none());
            // Nobody passes a job that waits for room, or it might wait for ever.
            if waits && (closed || self.leaves_its_place(job)) {
                continue;
            }
            let prefix = if waits { self.prefix_of(job) } else { Prefix::default() };
            let pending = self.pending(job).saturating_sub(prefix.len);
            // The end of a budget is not worth a chunk of its own, unless it is all there is to do.
            if budget < pending.min(self.settings.min_chunk) && !parts.is_empty() {
                break;
            }
            if waits {
                if self.others_will_compute(job, prefix, &parts) {
                    continue;
                }
                if !self.fits(job, prefix) || !self.let_in(job, prefix) {
                    closed = true;
                    continue;
                }
            }
            // Whoever wants the logits of many tokens leaves some to the prompts behind it.
            let most = outputs.saturating_sub(left.min(outputs / 2));
            let (tokens, asking) =
                self.within(job, self.in_one_call(job, self.pending(job).min(budget)), most);
            if tokens > 0 {
                budget = budget.saturating_sub(tokens);
                outputs = outputs.saturating_sub(asking);
                parts.push(Part { job, tokens, decoding: false });
            }
        }
        parts
    }

    /// How many of the job's next `tokens` may be computed, and how many of those ask for logits.
    fn within(&self, job: usize, tokens: usize, outputs: usize) -> (usize, usize) {
        self.jobs.get(job).map_or((0, 0), |job| {
            job.within(job.seq.map_or(0, |seq| self.slots.len(seq)), tokens, outputs)
        })
    }

    /// Whether this is a further answer of a request, which leaves the sequences to requests that
    /// have none yet: as many as the daemon may start.
    fn leaves_its_place(&self, job: usize) -> bool {
        let Some(job) = self.jobs.get(job) else { return false };
        let running = || self.jobs.iter().filter(|job| job.seq.is_some());
        if job.choice == 0 || !running().any(|other| other.id == job.id) {
            return false;
        }
        // The first of each request that runs.
        let requests = running().map(|job| job.id).collect::<HashSet<_>>().len();
        let kept = self.settings.max_requests.saturating_sub(requests);
        let sequences = usize::try_from(self.limits.max_sequences).unwrap_or(usize::MAX);
        running().count().saturating_add(kept) >= sequences
    }

    /// Tokens of the job that are not computed yet.
    pub(super) fn pending(&self, job: usize) -> usize {
        self.jobs.get(job).map_or(0, |job| {
            job.tokens.len().saturating_sub(job.seq.map_or(0, |seq| self.slots.len(seq)))
        })
    }

    fn is_cancelled(&self, job: usize) -> bool {
        self.jobs.get(job).is_some_and(|job| self.board.is_cancelled(job.id))
    }

    fn is_decoding(&self, job: usize) -> bool {
        self.jobs.get(job).is_some_and(|job| job.seq.is_some() && job.is_streaming())
            && self.pending(job) == 1
    }

    /// One token for each, those that waited longest first if not all fit into a batch.
    fn decoders(&self, mut decoding: Vec<usize>) -> Vec<Part> {
        if decoding.len() > self.limits.max_batch {
            decoding.sort_by_key(|&at| self.jobs.get(at).map(|job| job.last_step));
            decoding.truncate(self.limits.max_batch);
        }
        decoding.into_iter().map(|job| Part { job, tokens: 1, decoding: true }).collect()
    }

    /// Short prompts before long ones, by the time they will take; the earlier one arrived, the
    /// more time it may take.
    fn order(&self, prompts: Vec<usize>) -> Vec<usize> {
        let mut keyed: Vec<(f64, usize)> = prompts
            .into_iter()
            .filter_map(|at| {
                let job = self.jobs.get(at)?;
                let left = if job.seq.is_some() { self.pending(at) } else { job.expected };
                let arrived = job.arrived.saturating_duration_since(self.epoch).as_secs_f64();
                Some((AGEING * arrived + self.pace.prefill_time(left), at))
            })
            .collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        keyed.into_iter().map(|(_, at)| at).collect()
    }

    fn prefix_of(&self, job: usize) -> Prefix {
        let known = self.jobs.get(job).map(|job| self.slots.best_prefix(job.reusable()));
        known.unwrap_or_default()
    }

    /// Whether a prompt that is in this step already computes what this one begins with. It can be
    /// shared as soon as it is there, so a burst of requests computes a common prompt once.
    fn others_will_compute(&self, job: usize, prefix: Prefix, parts: &[Part]) -> bool {
        let Some(job) = self.jobs.get(job).filter(|_| self.limits.can_rewind) else { return false };
        parts.iter().filter(|part| !part.decoding).any(|part| {
            self.jobs.get(part.job).is_some_and(|other| {
                common_prefix(&other.tokens, job.reusable()) >= prefix.len + WORTH_WAITING
            })
        })
    }

    /// Whether there are cells for all of the job beside what runs. Alone every prompt is tried.
    fn fits(&self, job: usize, prefix: Prefix) -> bool {
        let running = self.jobs.iter().filter(|job| job.seq.is_some()).count();
        if running == 0 {
            return true;
        }
        let promised: usize = (0..self.jobs.len())
            .filter(|&at| self.jobs.get(at).is_some_and(|job| job.seq.is_some()))
            .map(|at| self.pending(at))
            .sum();
        let own = self.jobs.get(job).map_or(0, |job| job.tokens.len());
        let headroom = self.settings.headroom.saturating_mul(running + 1);
        let need = (own - prefix.len.min(own)) + prefix.unpinned + promised;
        let cells = self.slots.cells();
        need.saturating_add(headroom) <= cells.capacity() - cells.pinned()
    }

    /// Gives the job a sequence; false if every id runs.
    fn let_in(&mut self, job: usize, prefix: Prefix) -> bool {
        let now = self.now();
        let Some(job) = self.jobs.get_mut(job) else { return false };
        let Some((seq, cached)) = self.slots.claim(&mut self.compute, prefix) else { return false };
        let id = job.id;
        if let Some(started @ Event::Started { .. }) = job.begin(seq, cached, now) {
            self.events.push((id, started));
        }
        // The request had its turn: its other answers stand behind who waits by now.
        for other in self.jobs.iter_mut().filter(|other| other.id == id && other.seq.is_none()) {
            other.arrived = now;
        }
        true
    }
}

/// Cuts the prompt tokens of a step down to `most`, the last in the order first.
pub(super) fn shrink(parts: &mut Vec<Part>, most: usize) {
    let mut left = most;
    parts.retain_mut(|part| {
        if !part.decoding {
            part.tokens = part.tokens.min(left);
            left -= part.tokens;
        }
        part.tokens > 0
    });
}

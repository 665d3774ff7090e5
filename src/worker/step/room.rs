use crate::domain::{Error, FinishReason};
use crate::worker::compute::Compute;

use super::StepLoop;
use super::admit::too_long;
use super::plan::{Part, shrink};

/// What happens when a step cannot be computed as planned.
impl<C: Compute> StepLoop<C> {
    /// The batch does not fit: gives up what costs least. Idle prefixes go first, then half of the
    /// prompt tokens wait, then the newest sequence goes back to waiting. A sequence that fills the
    /// context alone is at its end.
    pub(super) fn make_room(&mut self, parts: &mut Vec<Part>) {
        if self.slots.evict_one(&mut self.compute) {
            return;
        }
        let prompts: usize = parts.iter().filter(|part| !part.decoding).map(|p| p.tokens).sum();
        let decoding = parts.iter().any(|part| part.decoding);
        if (prompts > 1 || prompts == 1 && decoding) && !self.has_whole(parts) {
            return shrink(parts, prompts / 2);
        }
        let mut running = (0..self.jobs.len())
            .rev()
            .filter(|&at| self.jobs.get(at).is_some_and(|job| job.seq.is_some()));
        let Some(newest) = running.next() else { return parts.clear() };
        if running.next().is_some() {
            self.preempt(newest);
            parts.retain(|part| part.job != newest);
        } else {
            parts.clear();
            self.end_full(newest);
        }
    }

    /// After an abort, positions of the batch may be there or not: removes them, so that all is as
    /// it was before. The cancelled jobs go when their command is read.
    pub(super) fn undo(&mut self, parts: &[Part]) {
        for part in parts {
            let Some(job) = self.jobs.get_mut(part.job) else { continue };
            let Some(seq) = job.seq else { continue };
            if !self.slots.undo(&mut self.compute, seq) {
                job.expected = job.tokens.len();
                job.seq = None;
            }
        }
    }

    /// The batch was refused as invalid, which is a fault of this loop: its jobs end, the others
    /// go on.
    pub(super) fn fail_parts(&mut self, parts: &[Part], cause: &str) {
        tracing::error!(cause, jobs = parts.len(), "a batch was refused as invalid");
        for part in parts {
            self.fail(part.job, Error::internal(format!("invalid batch: {cause}")));
        }
    }

    /// The context is lost, and the process is about to end: the daemon sees that, tells every job,
    /// and tries those again that had no output yet. Saying anything here would take that from them.
    pub(super) fn abandon_all(&mut self, cause: &str) {
        tracing::error!(cause, jobs = self.jobs.len(), "the context is lost");
        self.jobs.clear();
    }

    /// Takes a job's sequence away. It is computed again later and goes on where it was.
    fn preempt(&mut self, at: usize) {
        let Some(job) = self.jobs.get_mut(at) else { return };
        if let Some(seq) = job.seq.take() {
            self.slots.clear(&mut self.compute, seq);
        }
        job.expected = job.tokens.len();
        // Or it would be let in again at once, and sent back again.
        self.crowded = true;
        tracing::debug!(job = %job.id, tokens = job.expected, "preempted for want of KV cells");
    }

    /// The tokens of a job are others now. What its sequence and they begin with in common is found
    /// again.
    pub(super) fn recompute(&mut self, at: usize) {
        let Some(job) = self.jobs.get_mut(at) else { return };
        job.expected = job.tokens.len();
        if let Some(seq) = job.seq.take() {
            self.slots.retire(&mut self.compute, seq);
        }
    }

    /// The job is alone and there is no cell left for it.
    fn end_full(&mut self, at: usize) {
        let Some(job) = self.jobs.get_mut(at) else { return };
        let cells = job.seq.map_or(0, |seq| self.slots.len(seq));
        if job.is_streaming() && job.is_told() && job.forget(cells) {
            job.take_shifted();
            self.recompute(at);
        } else if job.is_streaming() {
            let reason = job.close(FinishReason::Length);
            self.finish(at, reason);
        } else {
            let (tokens, cells) = (job.tokens.len(), job.seq.map_or(0, |seq| self.slots.len(seq)));
            self.fail(at, too_long(tokens, cells));
        }
    }
}

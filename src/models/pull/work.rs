use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::PullLimits;

/// What one more connection must add to be worth another one.
const WORTH: f64 = 1.15;
/// A connection that is this fast, in bytes per second, needs no help.
const FAST: f64 = 150e6;
/// Nothing smaller than this is cut off for another connection.
const SMALLEST_PIECE: u64 = 8 << 20;

/// What is still to fetch of one layer, and who fetches it. Pure; spans keep their numbers.
#[derive(Debug)]
pub(super) struct Work {
    spans: Vec<Span>,
    limits: PullLimits,
    size: u64,
    /// How many connections there may be.
    most: usize,
    ranges: bool,
    /// What the first answer called the content.
    pub(super) validator: Option<String>,
    /// Failures in a row.
    pub(super) failures: u32,
    window: Window,
}

#[derive(Debug, Clone)]
struct Span {
    next: u64,
    end: u64,
    owned: bool,
}

/// What the connections brought since the last look.
#[derive(Debug)]
struct Window {
    since: Instant,
    bytes: u64,
    /// Time in which bytes waited for the disk.
    waited: Duration,
    /// Bytes per second with one connection less.
    before: Option<f64>,
    settled: bool,
}

impl Work {
    pub(super) fn new(missing: Vec<Range<u64>>, size: u64, limits: PullLimits) -> Self {
        let spans = missing
            .into_iter()
            .map(|range| Span { next: range.start, end: range.end, owned: false })
            .collect();
        let window = Window {
            since: Instant::now(),
            bytes: 0,
            waited: Duration::ZERO,
            before: None,
            settled: false,
        };
        let most = limits.connections.max(1);
        Self { spans, limits, size, most, ranges: true, validator: None, failures: 0, window }
    }

    pub(super) fn is_done(&self) -> bool {
        self.spans.iter().all(|span| span.next >= span.end)
    }

    pub(super) fn connections(&self) -> usize {
        self.spans.iter().filter(|span| span.owned).count()
    }

    /// The first span that nobody fetches.
    pub(super) fn claim(&mut self) -> Option<usize> {
        self.claim_from(0)
    }

    /// The first one that an answer that is at `position` will come by.
    pub(super) fn claim_from(&mut self, position: u64) -> Option<usize> {
        let free = |span: &Span| !span.owned && span.next < span.end && span.next >= position;
        let mut candidates: Vec<(u64, usize)> = (self.spans.iter().enumerate())
            .filter(|(_, span)| free(span))
            .map(|(id, span)| (span.next, id))
            .collect();
        candidates.sort_unstable();
        let id = candidates.first()?.1;
        self.spans.get_mut(id)?.owned = true;
        Some(id)
    }

    pub(super) fn release(&mut self, id: usize) {
        if let Some(span) = self.spans.get_mut(id) {
            span.owned = false;
        }
    }

    /// What is left of a span.
    pub(super) fn left(&self, id: usize) -> Range<u64> {
        self.spans.get(id).map_or(0..0, |span| span.next..span.end)
    }

    /// Takes the next bytes of a span, `len` at most: they are as good as written.
    pub(super) fn take(&mut self, id: usize, len: u64) -> u64 {
        let Some(span) = self.spans.get_mut(id) else { return 0 };
        let taken = len.min(span.end - span.next);
        span.next += taken;
        self.window.bytes = self.window.bytes.saturating_add(taken);
        if taken > 0 {
            self.failures = 0;
        }
        taken
    }

    pub(super) fn waited(&mut self, time: Duration) {
        self.window.waited += time;
    }

    /// The source answers every range from the first byte: one connection is all that helps.
    pub(super) fn without_ranges(&mut self) {
        (self.most, self.ranges) = (1, false);
    }

    pub(super) fn has_ranges(&self) -> bool {
        self.ranges
    }

    /// The source has had enough of this many connections.
    pub(super) fn overloaded(&mut self) {
        self.most = self.connections().saturating_sub(1).max(1);
    }

    /// Looks at what the connections brought since the last look, and cuts off a piece for one
    /// more if that is worth it.
    pub(super) fn grow(&mut self) -> bool {
        let now = Instant::now();
        let time = now.duration_since(self.window.since);
        let rate = self.window.bytes as f64 / time.as_secs_f64().max(1e-3);
        let kept_waiting = self.window.waited > time / 4;
        (self.window.since, self.window.bytes, self.window.waited) = (now, 0, Duration::ZERO);
        let connections = self.connections();
        if self.window.settled || self.size <= self.limits.parallel_above || rate <= 0.0 {
            return false;
        }
        if connections == 0 || connections >= self.most || kept_waiting || rate >= FAST {
            return false;
        }
        if self.window.before.is_some_and(|before| rate < before * WORTH) {
            self.window.settled = true;
            return false;
        }
        if !self.split() {
            return false;
        }
        self.window.before = Some(rate);
        true
    }

    /// Cuts the larger half off the largest span that somebody fetches.
    fn split(&mut self) -> bool {
        let smallest = SMALLEST_PIECE.min(self.limits.parallel_above.max(1));
        let largest =
            self.spans.iter_mut().filter(|span| span.owned).max_by_key(|s| s.end - s.next);
        let Some(span) = largest else { return false };
        let half = (span.end - span.next) / 2;
        if half < smallest {
            return false;
        }
        let middle = span.end - half;
        let rest = Span { next: middle, end: span.end, owned: false };
        span.end = middle;
        self.spans.push(rest);
        true
    }
}

use crate::worker::compute::{Compute, ComputeLimits, SeqId, Token};

use super::cells::Cells;

/// The sequences of a context: which tokens each holds, and which are free to be taken.
///
/// A sequence that ended stays as an idle prefix until its cells or its id are needed, the least
/// recently used first. Every change is made in llama.cpp and in the mirror at once.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    cells: Cells,
    can_rewind: bool,
    /// Counts uses, for the order of the idle ones.
    uses: u64,
}

#[derive(Debug, Default)]
struct Slot {
    tokens: Vec<Token>,
    /// One for each token.
    cells: Vec<u32>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    Idle {
        last_use: u64,
    },
    Running,
}

/// What of a prompt is computed already, and where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The sequence that holds it; unimportant if `len` is 0.
    seq: usize,
    /// Its length in tokens.
    pub(super) len: usize,
    /// How many of its cells no running sequence holds yet.
    pub(super) unpinned: usize,
}

impl Slots {
    pub(super) fn new(limits: &ComputeLimits) -> Self {
        Self {
            slots: (0..limits.max_sequences).map(|_| Slot::default()).collect(),
            cells: Cells::new(limits.cells),
            can_rewind: limits.can_rewind,
            uses: 0,
        }
    }

    pub(super) fn cells(&self) -> &Cells {
        &self.cells
    }

    /// How many tokens of the sequence are computed.
    pub(super) fn len(&self, seq: SeqId) -> usize {
        self.get(seq).map_or(0, |slot| slot.tokens.len())
    }

    /// The longest computed prefix of `tokens`, in any sequence. Never all of them: the last one has
    /// to be computed for its logits.
    pub(super) fn best_prefix(&self, tokens: &[Token]) -> Prefix {
        let reusable = tokens.get(..tokens.len().saturating_sub(1)).unwrap_or_default();
        let found = self.slots.iter().enumerate().filter_map(|(seq, slot)| {
            let len = common_prefix(&slot.tokens, reusable);
            let idle = matches!(slot.state, State::Idle { .. });
            let whole = idle && len == slot.tokens.len();
            // What can be taken over needs no second id; what runs needs no more cells.
            (len > 0 && (self.can_rewind || whole)).then_some(((len, whole, !idle), seq))
        });
        let Some(((len, ..), seq)) = found.max() else { return Prefix::default() };
        let shared = self.slots.get(seq).and_then(|slot| slot.cells.get(..len));
        Prefix { seq, len, unpinned: self.cells.unpinned_among(shared.unwrap_or_default()) }
    }

    /// A running sequence that begins with `prefix`, which [`Slots::best_prefix`] has just found.
    /// Answers its id and how many tokens it holds; `None` if every id is running.
    pub(super) fn claim(
        &mut self,
        compute: &mut impl Compute,
        prefix: Prefix,
    ) -> Option<(SeqId, usize)> {
        let source = self.slots.get(prefix.seq).filter(|_| prefix.len > 0);
        let take_over = source.is_some_and(|slot| {
            matches!(slot.state, State::Idle { .. }) && slot.tokens.len() == prefix.len
        });
        self.touch(prefix);
        let to = if take_over {
            prefix.seq
        } else {
            match self.slots.iter().position(|slot| slot.state == State::Empty) {
                Some(empty) => empty,
                // If that is the source itself, it gives way as far as its prefix.
                None => self.least_recent()?,
            }
        };
        let id = SeqId::try_from(to).ok()?;
        if to == prefix.seq {
            self.cut(compute, id, prefix.len);
        } else {
            self.cut(compute, id, 0);
            if prefix.len > 0 {
                self.share(compute, prefix, id);
            }
        }
        let slot = self.slots.get_mut(to)?;
        slot.state = State::Running;
        self.cells.pin(&slot.cells);
        Some((id, slot.tokens.len()))
    }

    /// A batch with these tokens of a running sequence was computed.
    pub(super) fn append(&mut self, seq: SeqId, tokens: &[Token]) {
        if let Some(slot) = index(seq).and_then(|at| self.slots.get_mut(at)) {
            slot.tokens.extend_from_slice(tokens);
            self.cells.take(tokens.len(), &mut slot.cells);
        }
    }

    /// After an aborted batch: removes what it may have left behind. False if only the whole
    /// sequence could be removed, which it then was; it is no longer running.
    pub(super) fn undo(&mut self, compute: &mut impl Compute, seq: SeqId) -> bool {
        let kept = u32::try_from(self.len(seq)).is_ok_and(|len| compute.truncate(seq, len));
        if !kept {
            self.clear(compute, seq);
        }
        kept
    }

    /// A running sequence stops; what it computed stays as an idle prefix.
    pub(super) fn retire(&mut self, compute: &mut impl Compute, seq: SeqId) {
        self.uses += 1;
        let last_use = self.uses;
        let Some(slot) = index(seq).and_then(|at| self.slots.get_mut(at)) else { return };
        if slot.state != State::Running {
            return;
        }
        self.cells.unpin(&slot.cells);
        slot.state = if slot.tokens.is_empty() { State::Empty } else { State::Idle { last_use } };
        if self.can_rewind {
            self.forget_duplicates(compute, seq);
        }
    }

    /// Removes all of a sequence.
    pub(super) fn clear(&mut self, compute: &mut impl Compute, seq: SeqId) {
        if let Some(slot) = index(seq).and_then(|at| self.slots.get_mut(at))
            && slot.state == State::Running
        {
            self.cells.unpin(&slot.cells);
        }
        self.cut(compute, seq, 0);
        if let Some(slot) = index(seq).and_then(|at| self.slots.get_mut(at)) {
            slot.state = State::Empty;
        }
    }

    /// Removes the least recently used idle prefix; false if there is none.
    pub(super) fn evict_one(&mut self, compute: &mut impl Compute) -> bool {
        let seq = self.least_recent().and_then(|at| SeqId::try_from(at).ok());
        if let Some(seq) = seq {
            self.clear(compute, seq);
        }
        seq.is_some()
    }

    /// Removes idle prefixes that another idle one holds too: they would only cost an id.
    fn forget_duplicates(&mut self, compute: &mut impl Compute, seq: SeqId) {
        let Some(new) = index(seq).and_then(|at| self.slots.get(at)) else { return };
        let mut remove = Vec::new();
        for (at, other) in self.slots.iter().enumerate() {
            let Ok(id) = SeqId::try_from(at) else { continue };
            if id != seq && matches!(other.state, State::Idle { .. }) {
                if new.tokens.starts_with(&other.tokens) {
                    remove.push(id);
                } else if other.tokens.starts_with(&new.tokens) {
                    remove = vec![seq];
                    break;
                }
            }
        }
        for id in remove {
            self.clear(compute, id);
        }
    }

    /// Removes the positions from `keep` on of a sequence that is not pinned; all of them if the
    /// model cannot do less.
    fn cut(&mut self, compute: &mut impl Compute, seq: SeqId, keep: usize) {
        let Some(slot) = index(seq).and_then(|at| self.slots.get_mut(at)) else { return };
        if keep >= slot.tokens.len() && keep > 0 {
            return;
        }
        let from = u32::try_from(keep).unwrap_or(0);
        let from = if from > 0 && compute.truncate(seq, from) { from } else { 0 };
        if from == 0 {
            compute.truncate(seq, 0);
        }
        let from = usize::try_from(from).unwrap_or(0);
        slot.tokens.truncate(from);
        let gone = slot.cells.split_off(from.min(slot.cells.len()));
        self.cells.release(&gone);
    }

    fn share(&mut self, compute: &mut impl Compute, prefix: Prefix, to: SeqId) {
        let (Ok(from), Ok(len)) = (SeqId::try_from(prefix.seq), u32::try_from(prefix.len)) else {
            return;
        };
        let Some(source) = self.slots.get(prefix.seq) else { return };
        let tokens = source.tokens.get(..prefix.len).unwrap_or_default().to_vec();
        let cells = source.cells.get(..prefix.len).unwrap_or_default().to_vec();
        compute.share_prefix(from, to, len);
        self.cells.hold(&cells);
        if let Some(slot) = index(to).and_then(|at| self.slots.get_mut(at)) {
            slot.tokens = tokens;
            slot.cells = cells;
        }
    }

    fn touch(&mut self, prefix: Prefix) {
        self.uses += 1;
        if prefix.len > 0
            && let Some(slot) = self.slots.get_mut(prefix.seq)
            && let State::Idle { last_use } = &mut slot.state
        {
            *last_use = self.uses;
        }
    }

    fn least_recent(&self) -> Option<usize> {
        let idle = self.slots.iter().enumerate().filter_map(|(at, slot)| match slot.state {
            State::Idle { last_use } => Some((last_use, at)),
            _ => None,
        });
        idle.min().map(|(_, at)| at)
    }

    fn get(&self, seq: SeqId) -> Option<&Slot> {
        index(seq).and_then(|at| self.slots.get(at))
    }
}

/// How many tokens two sequences begin with in common.
pub(super) fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn index(seq: SeqId) -> Option<usize> {
    usize::try_from(seq).ok()
}

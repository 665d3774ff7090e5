/// Who holds which KV cell: a mirror of llama.cpp's unified cache, exact because a cell is free there
/// too once no sequence holds it.
#[derive(Debug)]
pub(super) struct Cells {
    cells: Vec<Cell>,
    free: Vec<u32>,
    pinned: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// Sequences that hold it.
    holders: u32,
    /// Running ones among them.
    pins: u32,
}

impl Cells {
    pub(super) fn new(capacity: u32) -> Self {
        let size = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self { cells: vec![Cell::default(); size], free: (0..capacity).rev().collect(), pinned: 0 }
    }

    /// All of them.
    pub(super) fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// Those that no sequence holds.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Those that running sequences hold, shared ones counted once.
    pub(super) fn pinned(&self) -> usize {
        self.pinned
    }

    /// Gives `count` free cells to a running sequence; none if there are fewer.
    pub(super) fn take(&mut self, count: usize, into: &mut Vec<u32>) {
        let Some(start) = self.free.len().checked_sub(count) else { return };
        let taken = into.len();
        into.extend(self.free.drain(start..).rev());
        let new = into.get(taken..).unwrap_or_default();
        self.hold(new);
        self.pin(new);
    }

    /// One more sequence holds these.
    pub(super) fn hold(&mut self, which: &[u32]) {
        self.each(which, |cell| cell.holders += 1);
    }

    /// A sequence, not running, lets go of these.
    pub(super) fn release(&mut self, which: &[u32]) {
        for &index in which {
            let Some(cell) = self.get(index) else { continue };
            cell.holders = cell.holders.saturating_sub(1);
            if cell.holders == 0 {
                self.free.push(index);
            }
        }
    }

    /// A sequence that holds these begins to run.
    pub(super) fn pin(&mut self, which: &[u32]) {
        let mut fresh = 0;
        self.each(which, |cell| {
            fresh += usize::from(cell.pins == 0);
            cell.pins += 1;
        });
        self.pinned += fresh;
    }

    /// A sequence that holds these stops running.
    pub(super) fn unpin(&mut self, which: &[u32]) {
        let mut freed = 0;
        self.each(which, |cell| {
            cell.pins = cell.pins.saturating_sub(1);
            freed += usize::from(cell.pins == 0);
        });
        self.pinned = self.pinned.saturating_sub(freed);
    }

    /// How many of these no running sequence holds.
    pub(super) fn unpinned_among(&self, which: &[u32]) -> usize {
        let pins = |index: &&u32| {
            usize::try_from(**index)
                .ok()
                .and_then(|i| self.cells.get(i))
                .is_some_and(|c| c.pins == 0)
        };
        which.iter().filter(pins).count()
    }

    fn each(&mut self, which: &[u32], mut change: impl FnMut(&mut Cell)) {
        for &index in which {
            if let Some(cell) = self.get(index) {
                change(cell);
            }
        }
    }

    fn get(&mut self, index: u32) -> Option<&mut Cell> {
        usize::try_from(index).ok().and_then(|index| self.cells.get_mut(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_cell_counts_once_and_is_free_when_the_last_holder_lets_go() {
        let mut cells = Cells::new(4);
        let mut first = Vec::new();
        cells.take(3, &mut first);
        let shared = first[..2].to_vec();
        cells.hold(&shared);
        cells.pin(&shared);
        assert_eq!((cells.free(), cells.pinned()), (1, 3));

        cells.unpin(&first);
        assert_eq!((cells.free(), cells.pinned()), (1, 2));
        assert_eq!(cells.unpinned_among(&first), 1);
        cells.release(&first);
        assert_eq!((cells.free(), cells.pinned()), (2, 2));
        cells.unpin(&shared);
        cells.release(&shared);
        assert_eq!((cells.free(), cells.pinned()), (4, 0));
    }

    #[test]
    fn too_many_are_not_given_in_part() {
        let mut cells = Cells::new(2);
        let mut taken = Vec::new();
        cells.take(3, &mut taken);
        assert_eq!((taken.len(), cells.free()), (0, 2));
    }
}

use std::ops::Range;

/// Byte ranges: sorted, not empty, with a gap between each and the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    list: Vec<Range<u64>>,
}

impl Ranges {
    /// Ranges that somebody wrote down; `None` where they are not what this type promises, or
    /// reach past `size`.
    pub(super) fn checked(list: Vec<Range<u64>>, size: u64) -> Option<Self> {
        let whole = list.iter().all(|range| range.start < range.end && range.end <= size);
        let apart = list.iter().zip(list.iter().skip(1)).all(|(a, b)| a.end < b.start);
        (whole && apart).then_some(Self { list })
    }

    pub(super) fn list(&self) -> &[Range<u64>] {
        &self.list
    }

    /// Adds a range; `false` and no change where it touches bytes that are in already.
    pub(super) fn add(&mut self, range: Range<u64>) -> bool {
        if range.start >= range.end {
            return true;
        }
        if !self.is_free(range.clone()) {
            return false;
        }
        // At most the one before and the one after touch it.
        let from = self.list.partition_point(|held| held.end < range.start);
        let to = self.list.partition_point(|held| held.start <= range.end);
        let near = self.list.get(from..to).unwrap_or_default();
        let start = near.first().map_or(range.start, |held| held.start.min(range.start));
        let end = near.last().map_or(range.end, |held| held.end.max(range.end));
        self.list.splice(from..to.max(from), std::iter::once(start..end));
        true
    }

    /// Whether no byte of `range` is in.
    pub(super) fn is_free(&self, range: Range<u64>) -> bool {
        let at = self.list.partition_point(|held| held.end <= range.start);
        self.list.get(at).is_none_or(|held| held.start >= range.end)
    }

    /// How many bytes from 0 on are in without a gap.
    pub(super) fn prefix(&self) -> u64 {
        self.list.first().filter(|first| first.start == 0).map_or(0, |first| first.end)
    }

    /// How many bytes are in.
    pub(super) fn total(&self) -> u64 {
        self.list.iter().map(|range| range.end - range.start).sum()
    }

    /// What is not in of the first `size` bytes, in order.
    pub(super) fn missing(&self, size: u64) -> Vec<Range<u64>> {
        let starts = std::iter::once(0).chain(self.list.iter().map(|range| range.end));
        let ends = self.list.iter().map(|range| range.start).chain([size]);
        starts.zip(ends).map(|(start, end)| start..end).filter(|gap| gap.start < gap.end).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_behave_like_a_set_of_bytes(
            adds in prop::collection::vec((0u64..64, 0u64..12), 0..40)
        ) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 80];
            for (start, len) in adds {
                let wanted = start as usize..(start + len) as usize;
                let free = bytes[wanted.clone()].iter().all(|held| !held);
                prop_assert_eq!(ranges.add(start..start + len), free);
                if free {
                    bytes[wanted].fill(true);
                }
                let count = bytes.iter().filter(|held| **held).count() as u64;
                prop_assert_eq!(ranges.total(), count);
                let prefix = bytes.iter().take_while(|held| **held).count() as u64;
                prop_assert_eq!(ranges.prefix(), prefix);
                prop_assert_eq!(Ranges::checked(ranges.list.clone(), 80), Some(ranges.clone()));
                let mut rest = ranges.clone();
                for gap in ranges.missing(80) {
                    prop_assert!(bytes[gap.start as usize..gap.end as usize].iter().all(|b| !b));
                    prop_assert!(rest.add(gap));
                }
                prop_assert_eq!((rest.prefix(), rest.total()), (80, 80));
            }
        }
    }

    #[test]
    fn what_breaks_the_promise_is_refused() {
        let bad: [&[(u64, u64)]; 5] =
            [&[(0, 0)], &[(5, 3)], &[(0, 11)], &[(0, 5), (5, 8)], &[(4, 6), (0, 2)]];
        for pairs in bad {
            let list = pairs.iter().map(|(start, end)| *start..*end).collect();
            assert_eq!(Ranges::checked(list, 10), None, "{pairs:?}");
        }
        assert_eq!(Ranges::default().missing(0), []);
    }
}

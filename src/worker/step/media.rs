use std::sync::Arc;

use crate::worker::compute::{Compute, DecodeError, MediaRows, MediaSegment, Token};

use super::StepLoop;
use super::plan::Part;

/// Where a prompt's images and sounds lie among its tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct MediaMap {
    /// In the order of their places, none empty.
    segments: Vec<MediaSegment>,
}

impl MediaMap {
    /// Whether there is nothing but text.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The map of a prompt, if it makes sense: tokens below zero are there for rows and only for
    /// them, and something follows the last of them, from whose logits the answer can begin.
    pub(super) fn new(segments: Vec<MediaSegment>, tokens: &[Token]) -> Result<Self, String> {
        let mut done = 0;
        for MediaSegment { start, rows } in &segments {
            let end = start.saturating_add(rows.count);
            let before = tokens.get(done..*start).ok_or("rows overlap")?;
            let own = tokens.get(*start..end).ok_or("rows reach beyond the prompt")?;
            if own.is_empty() || before.iter().any(|token| *token < 0) {
                return Err("rows and tokens do not agree".to_owned());
            }
            if own.iter().any(|token| *token >= 0) {
                return Err("a token of text among rows".to_owned());
            }
            done = end;
        }
        let after = tokens.get(done..).unwrap_or_default();
        if after.iter().any(|token| *token < 0) {
            return Err("rows are missing".to_owned());
        }
        if !segments.is_empty() && after.is_empty() {
            return Err("nothing follows the last image".to_owned());
        }
        Ok(Self { segments })
    }

    /// How many of the `tokens` from `start` on are computed in one call: text up to the next rows,
    /// or rows of one segment; where these look at each other, all of them.
    pub(super) fn within(&self, start: usize, tokens: usize) -> usize {
        if let Some((rows, first)) = self.at(start) {
            let left = rows.count.saturating_sub(first);
            return if rows.whole { left } else { tokens.min(left) };
        }
        let next = self.segments.iter().map(|segment| segment.start).find(|next| *next > start);
        next.map_or(tokens, |next| tokens.min(next - start))
    }

    /// The rows at this place of the prompt, and which of them stands there.
    pub(super) fn at(&self, place: usize) -> Option<(&Arc<MediaRows>, usize)> {
        let behind = self.segments.partition_point(|segment| segment.start <= place);
        let MediaSegment { start, rows } = self.segments.get(behind.checked_sub(1)?)?;
        let row = place.checked_sub(*start).filter(|row| *row < rows.count)?;
        Some((rows, row))
    }
}

/// Rows of images and sounds go through llama.cpp in calls of their own, between the batches of
/// tokens, and share their time budget.
impl<C: Compute> StepLoop<C> {
    /// How many of the job's next `tokens` one call can take.
    pub(super) fn in_one_call(&self, job: usize, tokens: usize) -> usize {
        self.jobs.get(job).map_or(tokens, |job| {
            job.media.within(job.seq.map_or(0, |seq| self.slots.len(seq)), tokens)
        })
    }

    /// Whether the part begins with rows, so that it consists of them.
    pub(super) fn is_media(&self, part: &Part) -> bool {
        self.rows_of(part).is_some()
    }

    /// Whether one of the parts is rows that have to be computed at once.
    pub(super) fn has_whole(&self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.rows_of(part).is_some_and(|(rows, _)| rows.whole))
    }

    /// Computes the batch, or the rows where its one part is those.
    pub(super) fn decode_parts(&mut self, parts: &[Part]) -> Result<(), DecodeError> {
        let found = match parts {
            [part] => self.rows_of(part).map(|(rows, first)| (Arc::clone(rows), first)),
            _ => None,
        };
        let (Some((rows, first)), Some(place)) = (found, self.batch.first().copied()) else {
            return self.compute.decode(&self.batch);
        };
        let which = first..first.saturating_add(self.batch.len());
        self.compute.decode_media(place.seq, place.pos, &rows, which)
    }

    fn rows_of(&self, part: &Part) -> Option<(&Arc<MediaRows>, usize)> {
        let job = self.jobs.get(part.job)?;
        job.media.at(self.slots.len(job.seq?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: usize, count: usize, whole: bool) -> MediaSegment {
        MediaSegment { start, rows: Arc::new(MediaRows { count, values: vec![], whole }) }
    }

    fn map(segments: Vec<MediaSegment>, tokens: &[Token]) -> Result<(), String> {
        MediaMap::new(segments, tokens).map(drop)
    }

    #[test]
    fn a_call_takes_text_or_rows_and_those_that_see_each_other_at_once() {
        let tokens = [1, 1, -1, -2, -3, 1, -4, -5, 1, 1];
        let map = MediaMap::new(vec![segment(2, 3, false), segment(6, 2, true)], &tokens);
        let map = map.expect("it makes sense");
        for (start, tokens, taken) in
            [(0, 9, 2), (0, 1, 1), (2, 9, 3), (2, 2, 2), (4, 2, 1), (5, 5, 1), (6, 1, 2), (8, 2, 2)]
        {
            assert_eq!(map.within(start, tokens), taken, "{tokens} from {start}");
        }
        assert_eq!(map.at(4).map(|(rows, row)| (rows.count, row)), Some((3, 2)));
        assert!(map.at(1).is_none() && map.at(5).is_none() && map.at(8).is_none());
    }

    #[test]
    fn rows_and_the_tokens_in_their_place_have_to_agree() {
        let rows = || vec![segment(1, 2, false)];
        assert_eq!(map(rows(), &[1, -1, -2, 1]), Ok(()));
        assert!(map(rows(), &[1, -1, -2]).is_err(), "nothing follows");
        assert!(map(rows(), &[1, -1]).is_err(), "too short");
        assert!(map(rows(), &[1, -1, 1, 1]).is_err(), "text among rows");
        assert!(map(rows(), &[-1, -1, -2, 1]).is_err(), "rows without a segment before");
        assert!(map(rows(), &[1, -1, -2, -3]).is_err(), "rows without a segment behind");
        assert!(map(vec![segment(1, 0, false)], &[1, 1]).is_err(), "no rows");
        let overlapping = vec![segment(1, 2, false), segment(2, 1, false)];
        assert!(map(overlapping, &[1, -1, -2, 1]).is_err(), "overlapping");
    }
}

use crate::worker::compute::{ThinkingMarks, Token};

/// Counts the tokens that an answer spends on thinking, and says when they are used up.
#[derive(Debug, Clone)]
pub(super) struct Thought {
    marks: ThinkingMarks,
    is_open: bool,
    /// Tokens between the marks.
    spent: u32,
    /// Those of the thought that is open.
    current: u32,
}

impl Thought {
    pub(super) fn new(marks: ThinkingMarks) -> Self {
        Self { is_open: marks.open, marks, spent: 0, current: 0 }
    }

    /// Tokens spent so far, marks aside.
    pub(super) fn spent(&self) -> u32 {
        self.spent.saturating_add(self.current)
    }

    /// The answer is now `said`, the last of which is new.
    pub(super) fn observe(&mut self, said: &[Token]) {
        if !self.is_open {
            self.is_open = !self.marks.start.is_empty() && said.ends_with(&self.marks.start);
            return;
        }
        self.current = self.current.saturating_add(1);
        let ended = |end: &&Vec<Token>| !end.is_empty() && said.ends_with(end);
        if let Some(end) = self.marks.ends.iter().find(ended) {
            let mark = u32::try_from(end.len()).unwrap_or(u32::MAX);
            self.spent = self.spent.saturating_add(self.current.saturating_sub(mark));
            (self.current, self.is_open) = (0, false);
        }
    }

    /// What has to follow `said` because no more may be thought: the first end mark, or what is
    /// missing of one that has begun. Empty while nothing has to.
    pub(super) fn due(&self, said: &[Token]) -> &[Token] {
        let used_up = self.marks.budget.is_some_and(|budget| self.spent() >= budget);
        if !self.is_open || !used_up {
            return &[];
        }
        let begun = self.marks.ends.iter().filter_map(|end| {
            let length = (1..end.len()).rev().find(|&length| {
                end.get(..length).is_some_and(|beginning| said.ends_with(beginning))
            })?;
            Some((length, end.get(length..)?))
        });
        let rest = begun.max_by_key(|(length, _)| *length).map(|(_, rest)| rest);
        rest.unwrap_or_else(|| self.marks.ends.first().map_or(&[], Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thought(open: bool, budget: Option<u32>) -> Thought {
        let ends = vec![vec![8, 9], vec![7]];
        Thought::new(ThinkingMarks { open, start: vec![1, 2], ends, budget })
    }

    fn watch(thought: &mut Thought, said: &[Token]) -> u32 {
        for len in 1..=said.len() {
            thought.observe(&said[..len]);
        }
        thought.spent()
    }

    #[test]
    fn what_stands_between_the_marks_is_counted() {
        assert_eq!(watch(&mut thought(false, None), &[3, 1, 2, 3, 4, 8, 9, 5, 1, 2, 6, 7, 3]), 3);
        assert_eq!(watch(&mut thought(true, None), &[3, 8, 9, 5]), 1);
        assert_eq!(watch(&mut thought(false, None), &[3, 2, 1, 3]), 0);
    }

    #[test]
    fn the_end_is_due_once_the_budget_is_used_up() {
        let mut open = thought(true, Some(2));
        assert!(open.due(&[]).is_empty());
        watch(&mut open, &[3]);
        assert!(open.due(&[3]).is_empty());
        open.observe(&[3, 4]);
        assert_eq!(open.due(&[3, 4]), [8, 9]);
        assert_eq!(thought(true, Some(0)).due(&[]), [8, 9]);
        assert!(thought(false, Some(0)).due(&[]).is_empty());
    }

    #[test]
    fn an_end_that_has_begun_is_only_completed() {
        let mut open = thought(true, Some(2));
        watch(&mut open, &[3, 8]);
        assert_eq!(open.due(&[3, 8]), [9]);
        open.observe(&[3, 8, 9]);
        assert!(open.due(&[3, 8, 9]).is_empty());
        assert_eq!(open.spent(), 1);
    }
}

use super::read::{Item, Rule};

/// In so many ways a rule may begin: llama.cpp follows each of them.
const MAX_WAYS: u64 = 20_000;

/// A rule that another may begin with.
#[derive(Debug, Clone, Copy)]
struct Edge {
    to: usize,
    /// Something is left to do behind it.
    grows: bool,
}

/// Which rule may begin with which.
#[derive(Debug)]
pub(super) struct Graph {
    edges: Vec<Vec<Edge>>,
}

impl Graph {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let empty = empty_rules(rules);
        let edges = rules.iter().map(|rule| {
            rule.alternatives.iter().flat_map(|sequence| leading(sequence, &empty)).collect()
        });
        Self { edges: edges.collect() }
    }

    /// A rule that may begin with itself and something behind: reading it would never end. Without
    /// anything behind llama.cpp comes to an end, or refuses it itself.
    pub(super) fn left_recursive(&self) -> Option<usize> {
        let component = self.components();
        self.edges.iter().enumerate().position(|(from, edges)| {
            edges.iter().any(|edge| edge.grows && component.get(from) == component.get(edge.to))
        })
    }

    /// A rule that can begin in too many ways.
    pub(super) fn fans_out(&self) -> Option<usize> {
        let mut ways: Vec<Option<u64>> = vec![None; self.edges.len()];
        for rule in self.finished() {
            let sum = self.below(rule).iter().fold(1u64, |sum, edge| {
                // Those of a circle are not known yet and do not count again.
                sum.saturating_add(ways.get(edge.to).copied().flatten().unwrap_or(0))
            });
            if sum > MAX_WAYS {
                return Some(rule);
            }
            if let Some(place) = ways.get_mut(rule) {
                *place = Some(sum);
            }
        }
        None
    }

    fn below(&self, rule: usize) -> &[Edge] {
        self.edges.get(rule).map_or(&[], Vec::as_slice)
    }

    /// The rules in the order in which a depth-first walk leaves them.
    fn finished(&self) -> Vec<usize> {
        let mut seen = vec![false; self.edges.len()];
        let mut order = Vec::with_capacity(self.edges.len());
        for start in 0..self.edges.len() {
            walk(start, &mut seen, &mut order, |rule, nth| {
                self.below(rule).get(nth).map(|edge| edge.to)
            });
        }
        order
    }

    /// For each rule the number of the circle that it is in (Kosaraju).
    fn components(&self) -> Vec<usize> {
        let mut backward: Vec<Vec<usize>> = vec![Vec::new(); self.edges.len()];
        for (from, edges) in self.edges.iter().enumerate() {
            for edge in edges {
                if let Some(list) = backward.get_mut(edge.to) {
                    list.push(from);
                }
            }
        }
        let mut component = vec![0; self.edges.len()];
        let mut seen = vec![false; self.edges.len()];
        for start in self.finished().into_iter().rev() {
            let mut members = Vec::new();
            walk(start, &mut seen, &mut members, |rule, nth| {
                backward.get(rule).and_then(|list| list.get(nth)).copied()
            });
            for member in members {
                if let Some(place) = component.get_mut(member) {
                    *place = start;
                }
            }
        }
        component
    }
}

/// A depth-first walk without recursion; `order` gets what it leaves.
fn walk(
    start: usize,
    seen: &mut [bool],
    order: &mut Vec<usize>,
    next: impl Fn(usize, usize) -> Option<usize>,
) {
    let mut enter = |rule: usize| match seen.get_mut(rule) {
        Some(place) if !*place => {
            *place = true;
            true
        }
        _ => false,
    };
    let mut path: Vec<(usize, usize)> = Vec::new();
    if enter(start) {
        path.push((start, 0));
    }
    while let Some((rule, nth)) = path.last_mut() {
        let found = next(*rule, *nth);
        *nth += 1;
        match found {
            Some(rule) if enter(rule) => path.push((rule, 0)),
            Some(_) => {}
            None => {
                order.push(*rule);
                path.pop();
            }
        }
    }
}

/// The rules that a sequence may begin with.
fn leading<'a>(sequence: &'a [Item], empty: &'a [bool]) -> impl Iterator<Item = Edge> + 'a {
    let is_empty = |item: &Item| may_be_empty(item, empty);
    let first = sequence.iter().position(|item| !is_empty(item));
    let end = first.map_or(sequence.len(), |at| at + 1);
    sequence.iter().take(end).enumerate().filter_map(move |(at, item)| {
        let grows = item.repeats || at + 1 < sequence.len();
        item.rule.map(|to| Edge { to, grows })
    })
}

fn may_be_empty(item: &Item, empty: &[bool]) -> bool {
    item.empty || item.rule.is_some_and(|rule| empty.get(rule).copied().unwrap_or(false))
}

/// Which rules may stand for nothing.
fn empty_rules(rules: &[Rule]) -> Vec<bool> {
    let mut empty = vec![false; rules.len()];
    // Who has to be looked at again when a rule turns out to be empty.
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); rules.len()];
    for (number, rule) in rules.iter().enumerate() {
        for used in rule.alternatives.iter().flatten().filter_map(|item| item.rule) {
            if let Some(list) = users.get_mut(used) {
                list.push(number);
            }
        }
    }
    let mut todo: Vec<usize> = (0..rules.len()).collect();
    while let Some(number) = todo.pop() {
        let Some(rule) = rules.get(number) else { continue };
        let now = rule
            .alternatives
            .iter()
            .any(|sequence| sequence.iter().all(|item| may_be_empty(item, &empty)));
        if let Some(place) = empty.get_mut(number)
            && now
            && !*place
        {
            *place = true;
            todo.extend(users.get(number).into_iter().flatten().copied());
        }
    }
    empty
}

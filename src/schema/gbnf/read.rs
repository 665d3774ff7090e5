use std::collections::HashMap;

use crate::schema::SchemaFault;

/// How deep groups may be nested: llama.cpp recurses with them.
const MAX_NESTING: usize = 128;
/// Named rules and groups together.
const MAX_RULES: usize = 20_000;
/// Elements after all repetitions are written out.
const MAX_ELEMENTS: u64 = 500_000;
/// From here on llama.cpp takes an upper bound for none.
const MANY: u64 = 2_000;

/// A named rule or a group.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) defined: bool,
    pub(super) alternatives: Vec<Vec<Item>>,
}

/// One thing in a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    /// The rule; `None`: characters or a token.
    pub(super) rule: Option<usize>,
    /// It may be left out, or stands for nothing.
    pub(super) empty: bool,
    /// More of the same may follow it.
    pub(super) repeats: bool,
    weight: u64,
}

/// The rules of a grammar, in the order in which they are first named.
pub(super) fn read(text: &str) -> Result<Vec<Rule>, SchemaFault> {
    let mut reader = Reader {
        text,
        at: 0,
        rules: Vec::new(),
        names: HashMap::new(),
        open: Vec::new(),
        weight: 0,
    };
    while let Some(c) = reader.peek() {
        reader.element(c)?;
    }
    match reader.open.len() {
        0 | 1 => Ok(reader.rules),
        _ => Err(SchemaFault::whole("a group is not closed: ) is missing")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    rules: Vec<Rule>,
    names: HashMap<&'a str, usize>,
    /// The rule being read, then the groups within it, each with the weight of its elements.
    open: Vec<(usize, u64)>,
    weight: u64,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn fault(&self, what: impl std::fmt::Display) -> SchemaFault {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        SchemaFault::whole(format!("line {line} of the grammar: {what}"))
    }

    fn element(&mut self, c: char) -> Result<(), SchemaFault> {
        match c {
            ' ' | '\t' | '\r' | '\n' => self.at += 1,
            '#' => self.at += self.rest().find(['\r', '\n']).unwrap_or(self.rest().len()),
            '"' => self.terminal('"')?,
            '[' => self.terminal(']')?,
            '.' => {
                self.at += 1;
                self.push(None, false, 1)?;
            }
            '<' | '!' => {
                let end =
                    self.rest().find('>').ok_or_else(|| self.fault("a token: > is missing"))?;
                self.at += end + 1;
                self.push(None, false, 1)?;
            }
            '|' => {
                self.at += 1;
                self.rule()?.alternatives.push(Vec::new());
            }
            '(' => {
                self.at += 1;
                if self.open.len() > MAX_NESTING {
                    return Err(self.fault(format!("groups nested deeper than {MAX_NESTING}")));
                }
                self.rule()?;
                let group = self.add(String::new(), true)?;
                self.open.push((group, 0));
            }
            ')' => {
                self.at += 1;
                self.close()?;
            }
            '*' | '+' | '?' | '{' => self.repetition(c)?,
            c if is_word(c) => self.name()?,
            c => return Err(self.fault(format!("{c:?} begins nothing"))),
        }
        Ok(())
    }

    fn add(&mut self, name: String, defined: bool) -> Result<usize, SchemaFault> {
        if self.rules.len() >= MAX_RULES {
            return Err(self.fault(format!("over {MAX_RULES} rules and groups")));
        }
        let name = match self.open.first().and_then(|(rule, _)| self.rules.get(*rule)) {
            Some(rule) if name.is_empty() => rule.name.clone(),
            _ => name,
        };
        self.rules.push(Rule { name, defined, alternatives: vec![Vec::new()] });
        Ok(self.rules.len() - 1)
    }

    fn rule(&mut self) -> Result<&mut Rule, SchemaFault> {
        let fault = self.fault("a rule begins with its name and ::=");
        let at = self.open.last().map(|(rule, _)| *rule);
        at.and_then(|at| self.rules.get_mut(at)).ok_or(fault)
    }

    fn push(&mut self, rule: Option<usize>, empty: bool, weight: u64) -> Result<(), SchemaFault> {
        self.grow(weight)?;
        let item = Item { rule, empty, repeats: false, weight };
        if let Some(sequence) = self.rule()?.alternatives.last_mut() {
            sequence.push(item);
        }
        if let Some((_, sum)) = self.open.last_mut() {
            *sum = sum.saturating_add(weight);
        }
        Ok(())
    }

    fn grow(&mut self, weight: u64) -> Result<(), SchemaFault> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > MAX_ELEMENTS {
            return Err(self.fault(format!(
                "too large with its repetitions written out: over {MAX_ELEMENTS} elements"
            )));
        }
        Ok(())
    }

    /// A literal or a class, up to `end`.
    fn terminal(&mut self, end: char) -> Result<(), SchemaFault> {
        let mut escaped = false;
        let body = self.rest().get(1..).unwrap_or_default();
        let length = body.char_indices().find_map(|(at, c)| {
            let ends = !escaped && c == end;
            escaped = !escaped && c == '\\';
            ends.then_some(at)
        });
        let Some(length) = length else {
            return Err(self.fault(format!("not closed: {end} is missing")));
        };
        self.at += length + 2;
        self.push(None, length == 0, length as u64 + 1)
    }

    fn close(&mut self) -> Result<(), SchemaFault> {
        if self.open.len() < 2 {
            return Err(self.fault("a closing bracket without an opening one"));
        }
        if let Some((group, weight)) = self.open.pop() {
            // Its elements were counted when they came.
            self.weight = self.weight.saturating_sub(weight);
            self.push(Some(group), false, weight.max(1))?;
        }
        Ok(())
    }

    fn name(&mut self) -> Result<(), SchemaFault> {
        let rest = self.rest();
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let name = rest.get(..length).unwrap_or_default();
        self.at += length;
        let number = match self.names.get(name) {
            Some(number) => *number,
            None => {
                let open = std::mem::take(&mut self.open);
                let number = self.add(name.to_owned(), false)?;
                self.open = open;
                self.names.insert(name, number);
                number
            }
        };
        let behind = self.rest().trim_start_matches([' ', '\t']);
        if !behind.starts_with("::=") {
            return self.push(Some(number), false, 1);
        }
        if self.open.len() > 1 {
            return Err(self.fault("a group is not closed before ::="));
        }
        self.at = self.text.len() - behind.len() + 3;
        self.open = vec![(number, 0)];
        if let Some(rule) = self.rules.get_mut(number) {
            // llama.cpp takes the last definition.
            rule.defined = true;
            rule.alternatives = vec![Vec::new()];
        }
        Ok(())
    }

    fn repetition(&mut self, c: char) -> Result<(), SchemaFault> {
        let (least, most) = match c {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            _ => self.bounds()?,
        };
        if c != '{' {
            self.at += 1;
        }
        let nothing = self.fault("nothing to repeat");
        let item = self.rule()?.alternatives.last_mut().and_then(|sequence| sequence.last_mut());
        let item = item.ok_or(nothing)?;
        let times = most.filter(|most| *most <= MANY).unwrap_or(least).max(least).max(1);
        let before = item.weight;
        item.weight = before.saturating_mul(times).saturating_add(times);
        item.empty |= least == 0;
        item.repeats |= most.is_none_or(|most| most > 1);
        let more = item.weight - before;
        self.grow(more)?;
        if let Some((_, sum)) = self.open.last_mut() {
            *sum = sum.saturating_add(more);
        }
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,5}`.
    fn bounds(&mut self) -> Result<(u64, Option<u64>), SchemaFault> {
        let end = self.rest().find('}').ok_or_else(|| self.fault("not closed: } is missing"))?;
        let body = self.rest().get(1..end).unwrap_or_default();
        let (least, most) = body.split_once(',').map_or((body, None), |(a, b)| (a, Some(b)));
        let wrong = || self.fault(format!("{{{}}} is no repetition", body.escape_debug()));
        let least: u64 = least.trim().parse().map_err(|_| wrong())?;
        let most = match most.map(str::trim) {
            None => Some(least),
            Some("") => None,
            Some(most) => Some(most.parse().map_err(|_| wrong())?),
        };
        if least > MANY || most.is_some_and(|most| most < least) {
            return Err(wrong());
        }
        self.at += end + 1;
        Ok((least, most))
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

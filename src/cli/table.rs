/// Which side of its column a cell keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Columns of text with two blanks between them, headers on top, no lines, no colour.
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells.into_iter().map(one_line).collect());
    }

    /// The whole table, each line with its end and no blanks before it.
    pub(super) fn render(&self) -> String {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, (name, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(i));
                cells.map(|c| width(c)).chain([width(name)]).max().unwrap_or(0)
            })
            .collect();
        let header = self.columns.iter().map(|(name, _)| (*name, Align::Left));
        let mut text = String::new();
        line(&mut text, header, &widths);
        for row in &self.rows {
            let aligned = row.iter().zip(&self.columns).map(|(c, (_, align))| (c.as_str(), *align));
            line(&mut text, aligned, &widths);
        }
        text
    }
}

fn line<'a>(text: &mut String, cells: impl Iterator<Item = (&'a str, Align)>, widths: &[usize]) {
    for (at, ((cell, align), &wide)) in cells.zip(widths).enumerate() {
        text.push_str(if at == 0 { "" } else { "  " });
        let blanks = std::iter::repeat_n(' ', wide.saturating_sub(width(cell)));
        match align {
            Align::Left => {
                text.push_str(cell);
                text.extend(blanks);
            }
            Align::Right => {
                text.extend(blanks);
                text.push_str(cell);
            }
        }
    }
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

/// Characters, which is right for all that modeld shows: names are lower-case ASCII.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// A cell that would break the table would also let a model's metadata write into the terminal.
fn one_line(mut text: String) -> String {
    text.retain(|c| !c.is_control());
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table =
            Table::new(&[("NAME", Align::Left), ("N", Align::Right), ("SIZE", Align::Left)]);
        table.row(vec!["a".into(), "4096".into(), "1 MiB".into()]);
        table.row(vec!["longer\n".into(), String::new(), String::new()]);
        assert_eq!(table.render(), "NAME    N     SIZE\na       4096  1 MiB\nlonger\n");
    }

    proptest! {
        #[test]
        fn every_cell_starts_under_its_header(cells in proptest::collection::vec("[a-zé]{0,9}", 1..20)) {
            let mut table = Table::new(&[("FIRST", Align::Left), ("SECOND", Align::Left)]);
            for cell in &cells {
                table.row(vec![cell.clone(), "|".into()]);
            }
            let text = table.render();
            let mut lines = text.lines();
            let column = lines.next().unwrap().find("SECOND").unwrap();
            for line in lines {
                prop_assert_eq!(line.chars().position(|c| c == '|'), Some(column));
            }
        }
    }
}

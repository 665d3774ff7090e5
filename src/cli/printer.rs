use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use super::CliError;

/// The only way to print: data to stdout, notes to stderr.
pub struct Printer {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    out_is_terminal: bool,
    err_is_terminal: bool,
}

impl Printer {
    /// To the process's own streams.
    pub fn stdio() -> Self {
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// To anything else, as into pipes.
    pub fn to(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
            out_is_terminal: false,
            err_is_terminal: false,
        }
    }

    /// Whether somebody looks at the data.
    pub fn out_is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// Whether somebody looks at the notes.
    pub fn err_is_terminal(&self) -> bool {
        self.err_is_terminal
    }

    /// A line of data.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.text(&format!("{}\n", text.as_ref()))
    }

    /// Data as it comes, visible at once. Control characters stay out of a terminal: whoever
    /// wrote them (a model, a file's metadata) must not steer it.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn text(&mut self, text: &str) -> Result<(), CliError> {
        let written = if self.out_is_terminal {
            self.out.write_all(printable(text).as_bytes())
        } else {
            self.out.write_all(text.as_bytes())
        };
        written.and_then(|()| self.out.flush()).map_err(CliError::Output)
    }

    /// Bytes that are nobody's text.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(CliError::Output)
    }

    /// A value for programs, indented.
    ///
    /// # Errors
    /// [`CliError::Output`].
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| CliError::Failed(format!("cannot write JSON: {e}")))?;
        self.line(text)
    }

    /// A line for people. Nothing depends on it: a closed stderr is no failure.
    pub fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", printable(text.as_ref()));
    }

    /// A prompt on a terminal, without a line end.
    pub fn prompt(&mut self, text: &str) {
        let _ = write!(self.err, "{text}");
        let _ = self.err.flush();
    }

    /// A line that says what failed.
    pub fn error(&mut self, text: impl AsRef<str>) {
        self.note(format!("modeld: {}", text.as_ref()));
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\tc\u{9b}31m\u{7}"), "a[2Jb\n\tc31m");
    }
}

//! A worker's stderr: into the log line by line, and the last lines kept for the obituary.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tracing::Level;

use crate::logbook::LLAMA_TARGET;

/// Lines kept.
const KEPT: usize = 20;

/// Longer lines are cut, in bytes.
const MAX_LINE: usize = 4096;

/// The longest quotation in a message for clients, in characters.
const MAX_QUOTE: usize = 200;

/// What C++ says of an exception that nobody caught, before it ends the process. The exception's own
/// text comes next, and that can quote what the code stumbled over, which may be a prompt.
const UNCAUGHT: [&str; 2] = ["terminate called", "libc++abi: terminating"];

/// Reads a stderr to its end in a task of its own.
#[derive(Debug)]
pub(super) struct LastWords {
    lines: Arc<Mutex<Lines>>,
    reader: Option<JoinHandle<()>>,
}

impl LastWords {
    /// Begins to read. `model` and `pid` mark the log lines.
    pub(super) fn read<R>(stderr: Option<R>, model: String, pid: Option<u32>) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        let lines = Arc::new(Mutex::new(Lines::default()));
        let reader = stderr.map(|mut stderr| {
            let lines = Arc::clone(&lines);
            tokio::spawn(async move {
                let mut chunk = [0u8; 4096];
                while let Ok(n) = stderr.read(&mut chunk).await {
                    let complete = lock(&lines).push(chunk.get(..n).unwrap_or_default());
                    for line in complete {
                        log(&line, &model, pid);
                    }
                    if n == 0 {
                        break;
                    }
                }
            })
        });
        Self { lines, reader }
    }

    /// What the process said last, once it is dead. Waits a little for the rest of the pipe, which
    /// a grandchild may hold open.
    pub(super) async fn of_the_dead(&mut self) -> Words {
        if let Some(reader) = self.reader.take() {
            let abort = reader.abort_handle();
            if tokio::time::timeout(Duration::from_millis(200), reader).await.is_err() {
                abort.abort();
            }
        }
        let lines = lock(&self.lines);
        let quote = lines.kept.iter().rev().find(|line| !line.trim().is_empty());
        Words {
            quote: quote.map(|line| line.trim().chars().take(MAX_QUOTE).collect()),
            all: lines.kept.iter().map(String::as_str).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// Logs a line as what it is: at its level and, where llama.cpp says it, as llama.cpp's.
fn log(line: &str, model: &str, pid: Option<u32>) {
    macro_rules! log {
        ($target:literal, $level:expr, $text:expr) => {
            match $level {
                Level::ERROR => tracing::error!(target: $target, model, pid, "{}", $text),
                Level::WARN => tracing::warn!(target: $target, model, pid, "{}", $text),
                Level::INFO => tracing::info!(target: $target, model, pid, "{}", $text),
                Level::DEBUG => tracing::debug!(target: $target, model, pid, "{}", $text),
                Level::TRACE => tracing::trace!(target: $target, model, pid, "{}", $text),
            }
        };
    }
    let (level, line) = levelled(line);
    match line.strip_prefix(LLAMA_TARGET).and_then(|rest| rest.strip_prefix(": ")) {
        Some(text) => log!("llama", level, text),
        None => log!("modeld::worker", level, line),
    }
}

/// A worker's own log lines begin with their level; what else is on its stderr was said by a library
/// without asking.
fn levelled(line: &str) -> (Level, &str) {
    let word = line.trim_start().split_once(' ');
    match word.and_then(|(level, rest)| Some((level.parse().ok()?, rest))) {
        Some((level, rest)) if line.trim_start().starts_with(|c: char| c.is_ascii_uppercase()) => {
            (level, rest)
        }
        _ => (Level::INFO, line),
    }
}

/// The end of a stderr.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Words {
    /// The last line, shortened, for the client.
    pub(super) quote: Option<String>,
    /// The last lines, for the log.
    pub(super) all: String,
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    kept: VecDeque<String>,
    /// Whether the rest belongs to an exception that nobody caught.
    hides: bool,
}

impl Lines {
    /// Takes in bytes, none at the end of the pipe, and answers the lines that they completed.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = MAX_LINE.saturating_sub(self.partial.len());
            self.partial.extend(text.iter().take(room));
            if text.len() < piece.len() {
                complete.extend(self.end_line());
            }
        }
        if bytes.is_empty() && !self.partial.is_empty() {
            complete.extend(self.end_line());
        }
        complete
    }

    /// The line that is complete now, unless it is one that nobody may read.
    fn end_line(&mut self) -> Option<String> {
        let mut line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        if self.hides {
            return None;
        }
        if UNCAUGHT.iter().any(|words| line.starts_with(words)) {
            self.hides = true;
            // Some say the type and the text in one line.
            let of_type = line.find(": ").filter(|_| !line.starts_with("libc++abi"));
            let of_type = of_type.or_else(|| Some(line.match_indices(": ").nth(1)?.0));
            line.truncate(of_type.unwrap_or(line.len()));
        }
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line.clone());
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_pipe_cuts_them(
            lines in prop::collection::vec("[a-z ]{0,9}x", 0..30),
            cut in 1usize..7,
        ) {
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let mut reader = Lines::default();
            let mut got = Vec::new();
            for chunk in text.as_bytes().chunks(cut) {
                got.extend(reader.push(chunk));
            }
            prop_assert_eq!(&got, &lines);
            let kept: Vec<_> = reader.kept.iter().cloned().collect();
            prop_assert_eq!(&kept[..], &lines[lines.len().saturating_sub(KEPT)..]);
        }
    }

    #[test]
    fn a_line_says_its_level_or_is_information() {
        for (line, level, rest) in [
            (" WARN llama: n_ctx is small", Level::WARN, "llama: n_ctx is small"),
            ("ERROR modeld::worker::entry: x", Level::ERROR, "modeld::worker::entry: x"),
            ("GGML_ASSERT(x) failed", Level::INFO, "GGML_ASSERT(x) failed"),
            ("error parsing", Level::INFO, "error parsing"),
            ("1 is the first", Level::INFO, "1 is the first"),
            ("", Level::INFO, ""),
        ] {
            assert_eq!(levelled(line), (level, rest), "{line}");
        }
    }

    #[test]
    fn the_text_of_an_exception_stays_out() {
        for (said, kept) in [
            (
                "GGML_ASSERT(x) failed\nterminate called after throwing an instance of \
                 'std::runtime_error'\n  what():  bad token in: my secret\nmore of my secret",
                "GGML_ASSERT(x) failed\nterminate called after throwing an instance of \
                 'std::runtime_error'",
            ),
            (
                "libc++abi: terminating due to uncaught exception of type std::runtime_error: my \
                 secret\nmore",
                "libc++abi: terminating due to uncaught exception of type std::runtime_error",
            ),
            (
                "terminate called without an active exception\n",
                "terminate called without an active exception",
            ),
        ] {
            let mut lines = Lines::default();
            let mut shown = lines.push(said.as_bytes());
            shown.extend(lines.push(b""));
            assert_eq!(shown.join("\n"), kept);
            assert_eq!(lines.kept.into_iter().collect::<Vec<_>>(), shown);
        }
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            assert!(lines.push(&[b'x'; 1000]).is_empty());
        }
        assert_eq!(lines.push(b"\n").pop().unwrap().len(), MAX_LINE);
    }

    #[tokio::test]
    async fn the_last_words_need_no_newline() {
        let stderr: &[u8] = b"first\n\nGGML_ASSERT(x) failed";
        let mut words = LastWords::read(Some(stderr), "m".into(), None);
        let words = words.of_the_dead().await;
        assert_eq!(words.quote.as_deref(), Some("GGML_ASSERT(x) failed"));
        assert_eq!(words.all, "first\n\nGGML_ASSERT(x) failed");
    }
}

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llama_cpp_sys_2::{
    GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_INFO, GGML_LOG_LEVEL_WARN,
    ggml_log_level,
};
use tracing::Level;

/// Error lines kept for messages.
const KEPT_LINES: usize = 8;
/// Characters kept of one line.
const KEPT_CHARS: usize = 400;

static LOG: Mutex<LineLog> = Mutex::new(LineLog::new());

thread_local! {
    /// Whether the decode that this thread is in was told to end.
    static ENDED: Cell<bool> = const { Cell::new(false) };
}

/// Sends llama.cpp's and ggml's log lines to `tracing` at their own levels, as `llama`. What matters
/// of their errors is said again, in modeld's words, by whoever asks [`take_errors`].
pub(super) fn install() {
    // SAFETY: `on_log` has the signature that all expect, takes no user data and never unwinds
    // into C (a panic in an `extern "C"` function aborts).
    unsafe {
        llama_cpp_sys_2::llama_log_set(Some(on_log), std::ptr::null_mut());
        llama_cpp_sys_2::ggml_log_set(Some(on_log), std::ptr::null_mut());
        llama_cpp_sys_2::mtmd_log_set(Some(on_log), std::ptr::null_mut());
    }
}

/// The error lines since the last call, oldest first.
pub(super) fn take_errors() -> Vec<String> {
    lock().errors.drain(..).collect()
}

/// The error lines since the last call in one line, or `otherwise`.
pub(super) fn take_errors_or(otherwise: &str) -> String {
    let lines = take_errors();
    if lines.is_empty() { otherwise.to_owned() } else { lines.join("; ") }
}

/// A decode from its begin to its end, in the thread that calls llama.cpp.
///
/// To llama.cpp a decode that was told to end is one that failed, and each of its layers complains
/// in turn. As it is our own wish, and what happens whenever a client hangs up, the log has it for
/// those who look closely only, and no later failure is explained by it.
pub(super) struct Decode(());

impl Decode {
    /// Forgets the error lines of what was before it.
    pub(super) fn begin() -> Self {
        take_errors();
        ENDED.set(false);
        Self(())
    }

    /// The decode of this thread, if it is in one, has been told to end. ggml asks whether to go on
    /// in the thread that called it, which is the one that complains then, too: other threads'
    /// lines keep their levels.
    pub(super) fn was_told_to_end() {
        ENDED.set(true);
    }
}

impl Drop for Decode {
    fn drop(&mut self) {
        if ENDED.replace(false) {
            take_errors();
        }
    }
}

fn lock() -> MutexGuard<'static, LineLog> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn on_log(level: ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let mut lines = Vec::new();
    lock().push(level, &text, &mut lines);
    for (level, line) in lines {
        match level_of(level, ENDED.get()) {
            Level::ERROR => tracing::error!(target: "llama", "{line}"),
            Level::WARN => tracing::warn!(target: "llama", "{line}"),
            Level::INFO => tracing::info!(target: "llama", "{line}"),
            Level::DEBUG => tracing::debug!(target: "llama", "{line}"),
            Level::TRACE => tracing::trace!(target: "llama", "{line}"),
        }
    }
}

/// The level of a line in our log. `ended`: in a decode that was told to end.
fn level_of(level: ggml_log_level, ended: bool) -> Level {
    match level {
        GGML_LOG_LEVEL_ERROR | GGML_LOG_LEVEL_WARN if ended => Level::DEBUG,
        GGML_LOG_LEVEL_ERROR => Level::ERROR,
        GGML_LOG_LEVEL_WARN => Level::WARN,
        GGML_LOG_LEVEL_INFO => Level::INFO,
        // Thousands in a load.
        _ => Level::TRACE,
    }
}

/// What its grammars say of their triggers quotes the answer that they follow.
fn quotes_answer(line: &str) -> bool {
    line.starts_with("Grammar triggered") || line.starts_with("Grammar still awaiting")
}

/// Puts lines together: ggml sends them in pieces.
struct LineLog {
    partial: String,
    level: ggml_log_level,
    errors: VecDeque<String>,
}

impl LineLog {
    const fn new() -> Self {
        Self { partial: String::new(), level: 0, errors: VecDeque::new() }
    }

    fn push(
        &mut self,
        level: ggml_log_level,
        text: &str,
        lines: &mut Vec<(ggml_log_level, String)>,
    ) {
        if level != GGML_LOG_LEVEL_CONT {
            self.finish(lines);
            self.level = level;
        }
        for piece in text.split_inclusive('\n') {
            self.partial.push_str(piece.trim_end_matches('\n'));
            if piece.ends_with('\n') {
                self.finish(lines);
            }
        }
    }

    fn finish(&mut self, lines: &mut Vec<(ggml_log_level, String)>) {
        let line = std::mem::take(&mut self.partial);
        let line = line.trim();
        // Progress dots and empty lines say nothing.
        if line.chars().all(|c| c == '.') || quotes_answer(line) {
            return;
        }
        if self.level == GGML_LOG_LEVEL_ERROR {
            if self.errors.len() >= KEPT_LINES {
                self.errors.pop_front();
            }
            self.errors.push_back(line.chars().take(KEPT_CHARS).collect());
        }
        lines.push((self.level, line.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_only_errors_are_kept() {
        let mut log = LineLog::new();
        let mut lines = Vec::new();
        log.push(GGML_LOG_LEVEL_INFO, "loading ", &mut lines);
        log.push(GGML_LOG_LEVEL_CONT, "layers\n", &mut lines);
        log.push(GGML_LOG_LEVEL_INFO, "....\n", &mut lines);
        log.push(GGML_LOG_LEVEL_ERROR, "no such tensor\nat all\n", &mut lines);
        let lines: Vec<_> = lines.iter().map(|(level, line)| (*level, line.as_str())).collect();
        assert_eq!(
            lines,
            [
                (GGML_LOG_LEVEL_INFO, "loading layers"),
                (GGML_LOG_LEVEL_ERROR, "no such tensor"),
                (GGML_LOG_LEVEL_ERROR, "at all"),
            ]
        );
        assert_eq!(log.errors, ["no such tensor", "at all"]);
    }

    #[test]
    fn lines_that_quote_an_answer_are_left_out() {
        let mut log = LineLog::new();
        let mut lines = Vec::new();
        for text in [
            "Grammar triggered on regex: 'my secret'",
            "Grammar triggered on token 5 (`my secret`)\n",
            "Grammar still awaiting trigger after token 5 (`my secret`)\n",
            "n_ctx = 5\n",
        ] {
            log.push(GGML_LOG_LEVEL_INFO, text, &mut lines);
        }
        assert_eq!(lines, [(GGML_LOG_LEVEL_INFO, "n_ctx = 5".to_owned())]);
    }

    #[test]
    fn only_a_decode_that_was_told_to_end_fails_in_silence() {
        let (error, warn) = (GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_WARN);
        let told = || (level_of(error, ENDED.get()), level_of(warn, ENDED.get()));
        let aloud = (Level::ERROR, Level::WARN);
        assert_eq!(told(), aloud);
        let decode = Decode::begin();
        assert_eq!(told(), aloud, "nobody told it to end: a failure is one");
        Decode::was_told_to_end();
        assert_eq!(told(), (Level::DEBUG, Level::DEBUG));
        assert_eq!(level_of(GGML_LOG_LEVEL_INFO, true), Level::INFO);
        let elsewhere = std::thread::spawn(|| ENDED.get()).join().expect("no panic");
        assert!(!elsewhere, "what another thread does fails on its own account");
        drop(decode);
        assert_eq!(told(), aloud, "the next one is another");
        Decode::was_told_to_end();
        let _decode = Decode::begin();
        assert_eq!(told(), aloud, "nor is it what was asked before it");
    }

    #[test]
    fn only_the_last_errors_are_kept_and_cut() {
        let mut log = LineLog::new();
        for n in 0..20 {
            log.push(GGML_LOG_LEVEL_ERROR, &format!("{n}{}\n", "x".repeat(1000)), &mut Vec::new());
        }
        assert_eq!(log.errors.len(), KEPT_LINES);
        assert!(log.errors.iter().all(|line| line.len() == KEPT_CHARS));
        assert!(log.errors.back().is_some_and(|line| line.starts_with("19")));
    }
}

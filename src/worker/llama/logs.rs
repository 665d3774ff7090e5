use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llama_cpp_sys_2::{
    GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_INFO, GGML_LOG_LEVEL_WARN,
    ggml_log_level,
};

/// Error lines kept for messages.
const KEPT_LINES: usize = 8;
/// Characters kept of one line.
const KEPT_CHARS: usize = 400;

static LOG: Mutex<LineLog> = Mutex::new(LineLog::new());

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
        match level {
            GGML_LOG_LEVEL_ERROR => tracing::error!(target: "llama", "{line}"),
            GGML_LOG_LEVEL_WARN => tracing::warn!(target: "llama", "{line}"),
            GGML_LOG_LEVEL_INFO => tracing::info!(target: "llama", "{line}"),
            // Thousands in a load.
            _ => tracing::trace!(target: "llama", "{line}"),
        }
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

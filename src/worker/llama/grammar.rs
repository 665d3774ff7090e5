use std::ffi::{CString, c_char};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::model::Model;
use super::shim::{self, Bytes, RawRegex, Status};
use crate::worker::compute::{Token, Vocab};

/// A longer text of a token is not looked at.
const LONGEST_TEXT: usize = 1 << 16;

/// One of llama.cpp's grammars and how far it has been followed.
///
/// After the first error it is broken: llama.cpp would abort at the next call, so there is none.
pub struct Grammar {
    raw: NonNull<sys::llama_sampler>,
    text: Arc<CString>,
    broken: bool,
    model: Arc<Model>,
}

// SAFETY: a grammar is plain memory of its own; it only reads the vocabulary, which never changes.
unsafe impl Send for Grammar {}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Grammar {
    /// Compiles a grammar that has been checked by `schema::check_gbnf` before: llama.cpp recurses
    /// and loops over what it is given.
    ///
    /// # Errors
    /// When llama.cpp does not take it. Its own reason goes to standard error only.
    pub fn new(model: Arc<Model>, gbnf: &str) -> Result<Self, String> {
        let text = CString::new(gbnf).map_err(|_| "the grammar holds U+0000".to_owned())?;
        Self::compile(model, Arc::new(text), 0)
    }

    /// The same grammar at its beginning, whose first token counts only from its byte `skip` on.
    ///
    /// # Errors
    /// As [`Grammar::new`].
    pub fn restarted(&self, skip: usize) -> Result<Self, String> {
        Self::compile(Arc::clone(&self.model), Arc::clone(&self.text), skip.min(LONGEST_TEXT))
    }

    fn compile(model: Arc<Model>, text: Arc<CString>, skip: usize) -> Result<Self, String> {
        let mut error = Bytes::empty();
        // SAFETY: the vocabulary lives as long as the model, which the grammar keeps; `text` is a C
        // string that is copied.
        let raw =
            unsafe { shim::modeld_grammar_new(model.vocab_ptr(), text.as_ptr(), skip, &mut error) };
        let raw = NonNull::new(raw).ok_or_else(|| match error.text() {
            empty if empty.is_empty() => "llama.cpp cannot read the grammar".to_owned(),
            reason => format!("llama.cpp cannot read the grammar: {reason}"),
        })?;
        Ok(Self { raw, text, broken: false, model })
    }

    /// Whether `token` may come next; end tokens where the grammar may end.
    ///
    /// # Errors
    /// The grammar is broken.
    pub fn allows(&mut self, token: Token) -> Result<bool, String> {
        if !self.contains(token) {
            return Ok(false);
        }
        let mut logit = [0f32];
        self.apply(token, &mut logit)?;
        Ok(logit == [0.0])
    }

    /// Sets the logits of all tokens that may not come next to minus infinity.
    ///
    /// # Errors
    /// The grammar is broken.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let size = usize::try_from(self.model.vocab_size()).unwrap_or(0);
        let (known, rest) = logits.split_at_mut(size.min(logits.len()));
        rest.fill(f32::NEG_INFINITY);
        self.apply(0, known)
    }

    /// Takes in the token that was chosen. End tokens change nothing: llama.cpp aborts over one
    /// that comes too early.
    ///
    /// # Errors
    /// The token was not allowed, or the grammar is broken; it is from then on.
    pub fn accept(&mut self, token: Token) -> Result<(), String> {
        if self.model.is_end(token) {
            return Ok(());
        }
        if !self.contains(token) {
            self.broken = true;
        }
        self.unbroken()?;
        let mut error = Bytes::empty();
        // SAFETY: `raw` is ours alone and not broken, the token is in the vocabulary.
        let status = unsafe { shim::modeld_grammar_accept(self.raw.as_ptr(), token, &mut error) };
        self.outcome(status, &error)
    }

    /// The grammar, followed as far.
    ///
    /// # Errors
    /// The grammar is broken, or llama.cpp cannot copy it.
    pub fn try_clone(&self) -> Result<Self, String> {
        self.unbroken()?;
        let mut error = Bytes::empty();
        // SAFETY: `raw` lives and is not changed meanwhile.
        let raw = unsafe { shim::modeld_grammar_clone(self.raw.as_ptr(), &mut error) };
        let raw = NonNull::new(raw)
            .ok_or_else(|| format!("the grammar cannot be copied: {}", error.text()))?;
        Ok(Self {
            raw,
            text: Arc::clone(&self.text),
            broken: false,
            model: Arc::clone(&self.model),
        })
    }

    fn contains(&self, token: Token) -> bool {
        (0..self.model.vocab_size()).contains(&token)
    }

    fn unbroken(&self) -> Result<(), String> {
        if self.broken { Err("the grammar is broken".to_owned()) } else { Ok(()) }
    }

    fn outcome(&mut self, status: std::ffi::c_int, error: &Bytes) -> Result<(), String> {
        if Status::from(status) == Status::Ok {
            return Ok(());
        }
        self.broken = true;
        // What llama.cpp says repeats the answer's text.
        let _ = error;
        Err("the token does not obey the grammar".to_owned())
    }

    /// `logits` belong to the tokens from `first` on, all of the vocabulary.
    fn apply(&mut self, first: Token, logits: &mut [f32]) -> Result<(), String> {
        self.unbroken()?;
        let mut error = Bytes::empty();
        // SAFETY: `raw` is ours alone and not broken; `logits` is writable for its length, and each
        // of its places stands for a token of the vocabulary.
        let status = unsafe {
            shim::modeld_grammar_apply(
                self.raw.as_ptr(),
                first,
                logits.as_mut_ptr(),
                logits.len(),
                &mut error,
            )
        };
        self.outcome(status, &error)
    }
}

impl Drop for Grammar {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `modeld_grammar_new` or `_clone` and is freed once.
        unsafe { shim::modeld_grammar_free(self.raw.as_ptr()) }
    }
}

/// A regular expression in the syntax that llama.cpp writes its triggers in (ECMAScript, as C++
/// reads it). For expressions of llama.cpp only: hostile ones take exponential time.
pub struct TriggerRegex(NonNull<RawRegex>);

// SAFETY: a `std::regex` is only read after it has been made.
unsafe impl Send for TriggerRegex {}
// SAFETY: as above.
unsafe impl Sync for TriggerRegex {}

impl fmt::Debug for TriggerRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TriggerRegex")
    }
}

impl TriggerRegex {
    /// Compiles it.
    ///
    /// # Errors
    /// C++'s own words.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let mut error = Bytes::empty();
        // SAFETY: `pattern` is readable for its length and copied.
        let raw = unsafe {
            shim::modeld_regex_new(pattern.as_ptr().cast::<c_char>(), pattern.len(), &mut error)
        };
        NonNull::new(raw).map(Self).ok_or_else(|| error.text())
    }

    /// Where the first group that is not empty begins, else where the match begins: anywhere in
    /// `text`, or over the `whole` of it. C++ recurses with the length of a match.
    pub fn find(&self, text: &[u8], whole: bool) -> Option<usize> {
        let mut start = usize::MAX;
        let mut error = Bytes::empty();
        // SAFETY: the expression lives, `text` is readable for its length.
        let status = unsafe {
            shim::modeld_regex_find(
                self.0.as_ptr(),
                text.as_ptr().cast::<c_char>(),
                text.len(),
                whole,
                &mut start,
                &mut error,
            )
        };
        (Status::from(status) == Status::Ok && start <= text.len()).then_some(start)
    }
}

impl Drop for TriggerRegex {
    fn drop(&mut self) {
        // SAFETY: it came from `modeld_regex_new` and is freed once.
        unsafe { shim::modeld_regex_free(self.0.as_ptr()) }
    }
}

impl Model {
    /// The text of a token as llama.cpp's grammars see it: that of control tokens too.
    pub fn token_text(&self, token: Token) -> Vec<u8> {
        if !(0..self.vocab_size()).contains(&token) {
            return Vec::new();
        }
        let mut buffer = vec![0u8; 64];
        for _ in 0..2 {
            let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
            let mut written = 0i32;
            // SAFETY: the token is in the vocabulary, `buffer` is writable for `room` bytes.
            let status = unsafe {
                shim::modeld_token_text(
                    self.vocab_ptr(),
                    token,
                    buffer.as_mut_ptr().cast::<c_char>(),
                    room,
                    &mut written,
                )
            };
            if Status::from(status) != Status::Ok {
                return Vec::new();
            }
            match usize::try_from(written) {
                Ok(written) => {
                    buffer.truncate(written);
                    return buffer;
                }
                // Minus the length that it needs.
                Err(_) => buffer = vec![0; (written.unsigned_abs() as usize).min(LONGEST_TEXT)],
            }
        }
        Vec::new()
    }
}

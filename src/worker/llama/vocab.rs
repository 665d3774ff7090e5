use std::ffi::{CStr, c_char};
use std::sync::PoisonError;

use llama_cpp_sys_2 as sys;

use super::model::Model;
use super::shim::{self, Bytes, Status};
use crate::worker::compute::{Token, Vocab};

/// The longest text that is tokenised, in bytes (as long as the longest request body).
pub const MAX_TEXT: usize = 64 << 20;

/// A piece is rarely longer than this; longer ones take a second call.
const USUAL_PIECE: usize = 64;
/// No piece is longer than this, in bytes.
const LONGEST_PIECE: usize = 1 << 16;

/// Why a text was not tokenised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizeError {
    /// Over [`MAX_TEXT`].
    #[error("a text of {bytes} bytes is over the limit of {MAX_TEXT}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More tokens than were asked for.
    #[error("the text has {} {tokens} tokens", if *.exact { "" } else { "at least" })]
    TooMany {
        /// How many it has.
        tokens: u64,
        /// Whether that is their number or only a lower bound.
        exact: bool,
    },
    /// llama.cpp's tokenizer failed.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

/// The tokens that tell a model to fill the gap between two texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillMarks {
    /// What stands before the gap follows.
    pub prefix: Token,
    /// What stands behind it follows.
    pub suffix: Token,
    /// The gap follows.
    pub middle: Token,
}

/// What stands around and between a query and a document, as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairMarks {
    /// Before the query.
    pub begin: Vec<Token>,
    /// Between the two.
    pub between: Vec<Token>,
    /// Behind the document.
    pub end: Vec<Token>,
}

impl Model {
    /// A whole prompt's tokens, special ones recognised.
    #[cfg(test)]
    pub fn tokenize(&self, text: &str, limit: u32) -> Result<Vec<Token>, TokenizeError> {
        self.tokenize_part(text, limit, true, true)
    }

    /// The tokens of a part of a prompt, at most `limit` of them. `first`: it is the beginning,
    /// where the tokenizer's own (BOS) go if the model wants them; `special`: special tokens are
    /// recognised in it, else they are text like any other.
    ///
    /// # Errors
    /// [`TokenizeError`]; a text that is certainly too long is refused before it is read.
    pub fn tokenize_part(
        &self,
        text: &str,
        limit: u32,
        first: bool,
        special: bool,
    ) -> Result<Vec<Token>, TokenizeError> {
        let bytes = text.len();
        let len = match i32::try_from(bytes) {
            Ok(len) if bytes <= MAX_TEXT => len,
            _ => return Err(TokenizeError::TooLong { bytes }),
        };
        let floor = self.fewest_tokens(bytes);
        if floor > u64::from(limit) {
            return Err(TokenizeError::TooMany { tokens: floor, exact: false });
        }
        // No text has more tokens than bytes and a few special ones. One place more than the limit
        // is never needed: llama.cpp answers how many there would have been.
        let capacity = (bytes.saturating_add(8)).min(limit as usize);
        let mut tokens = vec![0 as Token; capacity];
        let room = i32::try_from(capacity).unwrap_or(i32::MAX);
        let mut count = 0i32;
        let mut error = Bytes::empty();
        // SAFETY: `text` is readable for `len` bytes, `tokens` writable for `room` (no more than
        // its length) ids, the vocabulary lives as long as `self`.
        let status = unsafe {
            shim::modeld_tokenize(
                self.vocab_ptr(),
                text.as_ptr().cast::<c_char>(),
                len,
                tokens.as_mut_ptr(),
                room,
                first,
                special,
                &mut count,
                &mut error,
            )
        };
        if Status::from(status) != Status::Ok || count == i32::MIN {
            return Err(TokenizeError::Failed(error.text()));
        }
        match usize::try_from(count) {
            Ok(count) => {
                tokens.truncate(count);
                Ok(tokens)
            }
            Err(_) => {
                Err(TokenizeError::TooMany { tokens: u64::from(count.unsigned_abs()), exact: true })
            }
        }
    }

    /// Whether the tokenizer ends every text with an end token.
    pub fn adds_end(&self) -> bool {
        // SAFETY: the vocabulary lives as long as `self`.
        unsafe { sys::llama_vocab_get_add_eos(self.vocab_ptr()) }
    }

    /// What the tokenizer puts before every text, if it does.
    pub fn begin(&self) -> Option<Token> {
        // SAFETY: the vocabulary lives as long as `self`.
        let begin = unsafe {
            sys::llama_vocab_get_add_bos(self.vocab_ptr())
                .then(|| sys::llama_vocab_bos(self.vocab_ptr()))
        };
        begin.filter(|token| self.contains(*token))
    }

    /// The tokens that mark the gap between two texts; `None` if the model was not taught any.
    pub fn fill_marks(&self) -> Option<FillMarks> {
        let vocab = self.vocab_ptr();
        // SAFETY: the vocabulary lives as long as `self`.
        let [prefix, suffix, middle] = unsafe {
            [
                sys::llama_vocab_fim_pre(vocab),
                sys::llama_vocab_fim_suf(vocab),
                sys::llama_vocab_fim_mid(vocab),
            ]
        };
        let known = [prefix, suffix, middle].iter().all(|token| self.contains(*token));
        known.then_some(FillMarks { prefix, suffix, middle })
    }

    /// The texts of all control tokens, which decide the structure of a prompt.
    pub fn control_texts(&self) -> Vec<String> {
        let text = |token| self.control_text(token)?.to_str().ok().map(str::to_owned);
        (0..self.vocab_size()).filter_map(text).filter(|text| !text.is_empty()).collect()
    }

    /// A token's bytes; of a control token, how it is written.
    pub fn token_bytes(&self, token: Token) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.piece(token, &mut bytes);
        if bytes.is_empty() && self.contains(token) {
            let text = self.control_text(token).map(CStr::to_bytes).unwrap_or_default();
            bytes.extend_from_slice(text);
        }
        bytes
    }

    /// The text of tokens, control tokens as they are written.
    ///
    /// # Errors
    /// What llama.cpp said; also for a token that is not in the vocabulary.
    pub fn detokenize(&self, tokens: &[Token]) -> Result<Vec<u8>, String> {
        if let Some(token) = tokens.iter().find(|token| !self.contains(**token)) {
            return Err(format!("token {token} is not in the vocabulary"));
        }
        let longest = self.longest_token().clamp(USUAL_PIECE, LONGEST_PIECE);
        let mut room = tokens.len().saturating_mul(8).saturating_add(longest);
        // The second time with the room that llama.cpp asked for.
        for _ in 0..2 {
            let (Ok(count), Ok(size)) = (i32::try_from(tokens.len()), i32::try_from(room)) else {
                break;
            };
            let mut text = vec![0u8; room];
            let mut written = 0i32;
            let mut error = Bytes::empty();
            // SAFETY: `tokens` is readable for `count` ids of the vocabulary, `text` writable for
            // `size` bytes, the vocabulary lives as long as `self`.
            let status = unsafe {
                shim::modeld_detokenize(
                    self.vocab_ptr(),
                    tokens.as_ptr(),
                    count,
                    text.as_mut_ptr().cast::<c_char>(),
                    size,
                    &mut written,
                    &mut error,
                )
            };
            if Status::from(status) != Status::Ok || written == i32::MIN {
                return Err(error.text());
            }
            if let Ok(written) = usize::try_from(written) {
                text.truncate(written);
                return Ok(text);
            }
            room = written.unsigned_abs() as usize;
        }
        Err("the text has no length".to_owned())
    }

    /// What stands around and between a query and a document.
    pub fn pair_marks(&self) -> PairMarks {
        let vocab = self.vocab_ptr();
        // SAFETY: the vocabulary lives as long as `self`.
        let (bos, eos, sep, kind) = unsafe {
            (
                sys::llama_vocab_bos(vocab),
                sys::llama_vocab_eos(vocab),
                sys::llama_vocab_sep(vocab),
                sys::llama_vocab_type(vocab),
            )
        };
        // SAFETY: as above.
        let (add_bos, add_eos, add_sep) = unsafe {
            (
                sys::llama_vocab_get_add_bos(vocab),
                sys::llama_vocab_get_add_eos(vocab),
                sys::llama_vocab_get_add_sep(vocab),
            )
        };
        let known = |wanted: bool, token: Token| {
            (wanted && self.contains(token)).then_some(token).into_iter().collect::<Vec<_>>()
        };
        if kind == sys::LLAMA_VOCAB_TYPE_WPM {
            // BERT's tokenizer has one way, whatever the flags of the file are.
            let (between, end) = (known(true, sep), known(true, sep));
            return PairMarks { begin: known(true, bos), between, end };
        }
        let eos = if self.contains(eos) { eos } else { sep };
        let between = [known(add_eos, eos), known(add_sep, sep)].concat();
        PairMarks { begin: known(add_bos, bos), between, end: known(add_eos, eos) }
    }

    /// The text of a control token; `None` for every other one.
    fn control_text(&self, token: Token) -> Option<&CStr> {
        let mut text = std::ptr::null();
        // SAFETY: callers have checked the token; the vocabulary lives as long as `self`.
        let status = unsafe { shim::modeld_control_text(self.vocab_ptr(), token, &mut text) };
        if Status::from(status) != Status::Ok || text.is_null() {
            return None;
        }
        // SAFETY: the text is a C string of the vocabulary, which does not change.
        Some(unsafe { CStr::from_ptr(text) })
    }

    /// From now on the control tokens with these texts are part of an answer's text: the chat
    /// format is made of them. Other texts are ignored.
    pub fn spell(&self, texts: &[String]) {
        let unknown = |text: &&String| {
            // Only a text that is one token as a whole is the text of a control token.
            matches!(self.tokenize_part(text, 2, false, true).as_deref(), Ok([token])
                if !self.is_spelled(*token))
        };
        let new: Vec<Token> = texts
            .iter()
            .filter(unknown)
            .filter_map(|text| self.tokenize_part(text, 2, false, true).ok()?.first().copied())
            .filter(|token| !self.is_end(*token))
            .collect();
        if !new.is_empty() {
            self.spelled().write().unwrap_or_else(PoisonError::into_inner).extend(new);
        }
    }

    fn is_spelled(&self, token: Token) -> bool {
        self.spelled().read().unwrap_or_else(PoisonError::into_inner).contains(&token)
    }

    /// A lower bound: every byte of the text belongs to some token. Only for the tokenizers of
    /// which that is true (others normalise text away).
    fn fewest_tokens(&self, bytes: usize) -> u64 {
        // SAFETY: the vocabulary lives as long as `self`.
        let kind = unsafe { sys::llama_vocab_type(self.vocab_ptr()) };
        match kind {
            sys::LLAMA_VOCAB_TYPE_SPM | sys::LLAMA_VOCAB_TYPE_BPE => {
                bytes.checked_div(self.longest_token()).unwrap_or(0) as u64
            }
            _ => 0,
        }
    }

    fn contains(&self, token: Token) -> bool {
        (0..self.vocab_size()).contains(&token)
    }

    /// Calls llama.cpp with a buffer; its answer is the length, or minus the length it needs.
    fn piece_into(&self, token: Token, buffer: &mut [u8]) -> i32 {
        let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
        let mut written = 0i32;
        // SAFETY: callers have checked the token; `buffer` is writable for `room` bytes.
        let status = unsafe {
            shim::modeld_token_piece(
                self.vocab_ptr(),
                token,
                buffer.as_mut_ptr().cast::<c_char>(),
                room,
                self.is_spelled(token),
                &mut written,
            )
        };
        if Status::from(status) == Status::Ok { written } else { 0 }
    }
}

impl Vocab for Model {
    fn is_end(&self, token: Token) -> bool {
        // SAFETY: the token is in the vocabulary, which lives as long as `self`.
        self.contains(token) && unsafe { sys::llama_vocab_is_eog(self.vocab_ptr(), token) }
    }

    fn piece(&self, token: Token, out: &mut Vec<u8>) {
        if !self.contains(token) {
            return;
        }
        let mut buffer = [0u8; USUAL_PIECE];
        let written = self.piece_into(token, &mut buffer);
        if let Ok(written) = usize::try_from(written) {
            out.extend_from_slice(buffer.get(..written).unwrap_or_default());
            return;
        }
        let needed = (written.unsigned_abs() as usize).min(LONGEST_PIECE);
        let mut buffer = vec![0u8; needed];
        let written = usize::try_from(self.piece_into(token, &mut buffer)).unwrap_or(0);
        out.extend_from_slice(buffer.get(..written).unwrap_or_default());
    }
}

use std::collections::VecDeque;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::{Media, MediaKind};
use crate::worker::compute::{MediaRows, Token};

/// Bytes of rows that are kept: about ten large images.
const MAX_BYTES: usize = 128 << 20;
/// Files that are kept.
const MAX_FILES: usize = 64;

/// The digest of a file and what it is.
type Key = [u8; 32];

/// What an image or sound became.
#[derive(Debug)]
pub struct Encoded {
    pub(super) parts: Vec<Part>,
}

/// A part of it.
#[derive(Debug)]
pub(super) enum Part {
    /// The model's own tokens.
    Tokens(Vec<Token>),
    /// Rows, and the tokens that stand for them in comparisons of prompts.
    Rows { ids: Vec<Token>, rows: Arc<MediaRows> },
}

impl Part {
    /// The rows of the piece at `index` of the file with this key.
    pub(super) fn rows(key: &Key, index: usize, rows: MediaRows) -> Self {
        Self::Rows { ids: ids(key, index, rows.count), rows: Arc::new(rows) }
    }
}

impl Encoded {
    fn bytes(&self) -> usize {
        let bytes = |part: &Part| match part {
            Part::Tokens(tokens) => size_of_val(tokens.as_slice()),
            Part::Rows { ids, rows } => size_of_val(ids.as_slice()) + size_of_val(&*rows.values),
        };
        self.parts.iter().map(bytes).sum()
    }
}

/// The files that were encoded last: clients send a conversation's images again with every turn.
#[derive(Debug, Default)]
pub struct Encodings {
    /// The most recently used one last.
    kept: VecDeque<(Key, Arc<Encoded>)>,
    bytes: usize,
}

impl Encodings {
    pub(super) fn key(media: &Media) -> Key {
        let kind: u8 = match media.kind {
            MediaKind::Image => 0,
            MediaKind::Audio => 1,
        };
        Sha256::new().chain_update([kind]).chain_update(&media.bytes).finalize().into()
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<Encoded>> {
        let at = self.kept.iter().position(|(kept, _)| kept == key)?;
        let entry = self.kept.remove(at)?;
        let encoded = Arc::clone(&entry.1);
        self.kept.push_back(entry);
        Some(encoded)
    }

    pub(super) fn insert(&mut self, key: Key, encoded: Encoded) -> Arc<Encoded> {
        let encoded = Arc::new(encoded);
        self.bytes = self.bytes.saturating_add(encoded.bytes());
        self.kept.push_back((key, Arc::clone(&encoded)));
        while self.kept.len() > MAX_FILES || self.bytes > MAX_BYTES {
            let Some((_, oldest)) = self.kept.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
        encoded
    }
}

/// Negative tokens, none of which any vocabulary has, the same for the same file.
fn ids(key: &Key, piece: usize, count: usize) -> Vec<Token> {
    let mut state = key.chunks_exact(8).fold(0u64, |state, word| {
        let word = word.iter().fold(0u64, |word, byte| (word << 8) | u64::from(*byte));
        mixed(state ^ word)
    });
    state = mixed(state ^ u64::try_from(piece).unwrap_or(u64::MAX));
    let id = |_| {
        state = mixed(state);
        // The upper 31 bits, below zero.
        -1 - Token::try_from(state >> 33).unwrap_or(0)
    };
    (0..count).map(id).collect()
}

/// A step of SplitMix64.
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bytes: &[u8]) -> Media {
        Media { kind: MediaKind::Image, bytes: bytes.to_vec() }
    }

    fn encoded(floats: usize) -> Encoded {
        let rows = MediaRows { count: 4, values: vec![0.0; floats], whole: false };
        Encoded { parts: vec![Part::rows(&[7; 32], 0, rows)] }
    }

    #[test]
    fn the_tokens_of_a_file_are_negative_and_its_own() {
        let a = Encodings::key(&image(b"a"));
        let b = Encodings::key(&image(b"b"));
        let sound = Encodings::key(&Media { kind: MediaKind::Audio, bytes: b"a".to_vec() });
        let all = [ids(&a, 0, 64), ids(&a, 1, 64), ids(&b, 0, 64), ids(&sound, 0, 64)];
        assert!(all.iter().flatten().all(|id| *id < 0));
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| one[0] != other[0]), "{at}");
        }
        assert_eq!(all[0], ids(&a, 0, 64));
        assert_eq!(all[0][..8], ids(&a, 0, 8));
    }

    #[test]
    fn the_least_recently_used_file_goes_first() {
        let mut known = Encodings::default();
        let key = |n: usize| [n as u8; 32];
        for n in 0..MAX_FILES {
            known.insert(key(n), encoded(1));
        }
        assert!(known.get(&key(0)).is_some());
        known.insert(key(MAX_FILES), encoded(1));
        assert!(known.get(&key(0)).is_some());
        assert!(known.get(&key(1)).is_none());
    }

    #[test]
    fn files_are_kept_up_to_a_number_of_bytes() {
        let mut known = Encodings::default();
        known.insert([1; 32], encoded(MAX_BYTES / 8));
        known.insert([2; 32], encoded(MAX_BYTES / 5));
        assert!(known.get(&[1; 32]).is_none());
        assert!(known.get(&[2; 32]).is_some());
        let whole = known.insert([3; 32], encoded(MAX_BYTES));
        assert_eq!(whole.parts.len(), 1);
        assert!(known.get(&[3; 32]).is_none() && known.bytes == 0);
    }
}

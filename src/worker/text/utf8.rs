use std::str;

/// Decodes UTF-8 that arrives in pieces, never splitting a character.
///
/// The text of all calls together is what [`String::from_utf8_lossy`] makes of all the bytes
/// together: bytes that belong to no character become U+FFFD.
#[derive(Debug, Clone, Default)]
pub struct Utf8Decoder {
    /// The beginning of a character whose end has not come; at most three bytes between calls.
    rest: Vec<u8>,
}

impl Utf8Decoder {
    /// Takes in `bytes` and appends to `out` what is complete.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.rest.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(left) = self.rest.get(done..) {
            match str::from_utf8(left) {
                Ok(text) => {
                    out.push_str(text);
                    done = self.rest.len();
                    break;
                }
                Err(error) => {
                    let (valid, after) = left.split_at(error.valid_up_to());
                    out.push_str(str::from_utf8(valid).unwrap_or_default());
                    done += valid.len();
                    // No length: the bytes may become a character once more of them come.
                    let Some(invalid) = error.error_len() else { break };
                    out.push(char::REPLACEMENT_CHARACTER);
                    done += invalid.min(after.len());
                }
            }
        }
        self.rest.drain(..done.min(self.rest.len()));
    }

    /// Ends the text: an incomplete character becomes one U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if !self.rest.is_empty() {
            self.rest.clear();
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let mut decoder = Utf8Decoder::default();
        let mut out = String::new();
        for byte in &"é🙂".as_bytes()[..5] {
            decoder.push(&[*byte], &mut out);
        }
        assert_eq!(out, "é");
        decoder.push(&"🙂".as_bytes()[3..], &mut out);
        assert_eq!(out, "é🙂");
    }

    #[test]
    fn an_incomplete_character_at_the_end_is_replaced() {
        let mut decoder = Utf8Decoder::default();
        let mut out = String::new();
        decoder.push(&[b'a', 0xf0, 0x9f], &mut out);
        assert_eq!(out, "a");
        decoder.finish(&mut out);
        assert_eq!(out, "a\u{fffd}");
    }

    /// Bytes that are often almost UTF-8.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            (any::<char>(), 0usize..4).prop_map(|(c, keep)| {
                let mut bytes = c.to_string().into_bytes();
                bytes.truncate(keep);
                bytes
            }),
            any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_lossy_text_of_the_whole(
            bytes in bytes(),
            sizes in prop::collection::vec(0usize..6, 1..40),
        ) {
            let mut decoder = Utf8Decoder::default();
            let (mut out, mut left) = (String::new(), bytes.as_slice());
            for size in sizes {
                let (piece, rest) = left.split_at(size.min(left.len()));
                decoder.push(piece, &mut out);
                prop_assert!(decoder.rest.len() <= 3);
                left = rest;
            }
            decoder.push(left, &mut out);
            decoder.finish(&mut out);
            prop_assert_eq!(out, String::from_utf8_lossy(&bytes));
        }
    }
}

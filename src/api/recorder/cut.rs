use memchr::memchr2;

/// Characters of a string of base64 that are kept.
const KEPT: usize = 100;
/// A string is base64 if this many characters behind those are.
const SURE: usize = 412;
/// The longest key or name of a model that is looked at.
const MAX_NAME: usize = 300;

/// Takes JSON text as it comes, and keeps a bounded copy of it in which long strings of base64
/// (images, sounds, vectors) are cut short. Reads the name of the model on the way. Text that is no
/// JSON is kept as it is.
pub(super) struct Cutter {
    out: Vec<u8>,
    limit: usize,
    /// Bytes that were beyond the limit.
    dropped: u64,
    string: Option<Text>,
    depth: usize,
    /// At the top: behind a colon.
    value: bool,
    key: Vec<u8>,
    model: Option<String>,
}

/// A string that is being read.
#[derive(Default)]
struct Text {
    length: usize,
    escaped: bool,
    /// What decides whether it is base64.
    held: Vec<u8>,
    plain: bool,
    cut: u64,
    start: Vec<u8>,
}

impl Cutter {
    /// Keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            out: Vec::new(),
            limit,
            dropped: 0,
            string: None,
            depth: 0,
            value: false,
            key: Vec::new(),
            model: None,
        }
    }

    /// More of the text.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if let Some(text) = &mut self.string
                && text.cut > 0
                && !text.escaped
            {
                // Nothing of this is looked at but its end.
                let plain = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
                text.cut = text.cut.saturating_add(plain as u64);
                if plain > 0 {
                    bytes = bytes.get(plain..).unwrap_or_default();
                    continue;
                }
            }
            self.byte(*first);
            bytes = rest;
        }
    }

    /// The name in `model`, or in Ollama's older `name`.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// What was kept, with a note of what was not.
    pub(super) fn finish(mut self) -> String {
        if let Some(text) = self.string.take() {
            self.close(&text);
        }
        let mut text = String::from_utf8_lossy(&self.out).into_owned();
        if self.dropped > 0 {
            text += &format!("...[truncated {} bytes]", self.dropped);
        }
        text
    }

    fn byte(&mut self, byte: u8) {
        let Some(mut text) = self.string.take() else { return self.outside(byte) };
        if byte == b'"' && !text.escaped {
            self.close(&text);
            self.keep(&[byte]);
            if self.depth == 1 {
                self.named(text.start);
            }
            return;
        }
        text.escaped = byte == b'\\' && !text.escaped;
        text.length = text.length.saturating_add(1);
        if self.depth == 1 && text.start.len() < MAX_NAME {
            text.start.push(byte);
        }
        if text.cut > 0 {
            text.cut = text.cut.saturating_add(1);
        } else if text.length <= KEPT || text.plain {
            self.keep(&[byte]);
        } else if is_base64(byte) {
            text.held.push(byte);
            if text.held.len() > SURE {
                text.cut = text.held.len() as u64;
                text.held = Vec::new();
            }
        } else {
            text.plain = true;
            self.keep(&text.held);
            text.held = Vec::new();
            self.keep(&[byte]);
        }
        self.string = Some(text);
    }

    fn outside(&mut self, byte: u8) {
        self.keep(&[byte]);
        match byte {
            b'"' => self.string = Some(Text::default()),
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if self.depth == 1 => self.value = true,
            b',' if self.depth == 1 => self.value = false,
            _ => {}
        }
    }

    /// A string at the top has ended.
    fn named(&mut self, text: Vec<u8>) {
        if !self.value {
            self.key = text;
            return;
        }
        let wanted = match self.key.as_slice() {
            b"model" => true,
            b"name" => self.model.is_none(),
            _ => false,
        };
        if wanted && text.len() < MAX_NAME {
            let quoted = format!("\"{}\"", String::from_utf8_lossy(&text));
            self.model = serde_json::from_str(&quoted).ok();
        }
    }

    fn close(&mut self, text: &Text) {
        self.keep(&text.held);
        if text.cut > 0 {
            self.keep(format!("...[truncated {} chars]", text.cut).as_bytes());
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.out.len());
        let fits = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.out.extend_from_slice(fits);
        let lost = bytes.len().saturating_sub(fits.len());
        self.dropped = self.dropped.saturating_add(lost as u64);
    }
}

/// With what escapes slashes.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=-_\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, limit: usize) -> (String, Option<String>) {
        let mut cutter = Cutter::new(limit);
        cutter.push(text.as_bytes());
        let model = cutter.model().map(str::to_owned);
        (cutter.finish(), model)
    }

    #[test]
    fn images_are_cut_and_text_is_not() {
        let image = format!("data:image/png;base64,{}", "iVBORw0K".repeat(100));
        let prose = "words and words, ".repeat(100);
        let text = format!(r#"{{"url":"{image}","text":"{prose}","model":"m"}}"#);
        let head: String = image.chars().take(100).collect();
        let expected = format!(
            r#"{{"url":"{head}...[truncated {} chars]","text":"{prose}","model":"m"}}"#,
            image.len() - 100
        );
        assert_eq!(cut(&text, 1 << 20), (expected, Some("m".to_owned())));
    }

    #[test]
    fn a_short_one_stays_whole() {
        let text = format!(r#"["{}"]"#, "A".repeat(KEPT + SURE));
        assert_eq!(cut(&text, 1 << 20).0, text);
    }

    #[test]
    fn a_body_beyond_the_bound_is_cut_and_says_so() {
        let text = format!(r#"{{"text":"{}","model":"late"}}"#, "é ".repeat(500));
        let (kept, model) = cut(&text, 100);
        assert!(kept.ends_with(&format!("...[truncated {} bytes]", text.len() - 100)), "{kept}");
        assert_eq!(model.as_deref(), Some("late"));
    }

    #[test]
    fn the_model_is_the_one_at_the_top() {
        for (text, model) in [
            (r#"{"messages":[{"model":"inner"}],"model":"outer"}"#, Some("outer")),
            (r#"{"name":"old","x":1}"#, Some("old")),
            (r#"{"model":"new","name":"old"}"#, Some("new")),
            (r#"{"x":"model","y":"z"}"#, None),
            (r#"{"model":"a\/b"}"#, Some("a/b")),
            (r#"{"model":7}"#, None),
            ("no json", None),
        ] {
            assert_eq!(cut(text, 1000).1.as_deref(), model, "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_small_json_is_kept_as_it_is(
            texts in prop::collection::vec(".{0,40}", 0..8),
            piece in 1usize..9,
        ) {
            let json = serde_json::to_string(&texts).unwrap();
            let mut cutter = Cutter::new(1 << 20);
            json.as_bytes().chunks(piece).for_each(|bytes| cutter.push(bytes));
            prop_assert_eq!(cutter.finish(), json);
        }

        #[test]
        fn whatever_comes_the_copy_is_bounded(bytes: Vec<u8>, limit in 0usize..64) {
            let mut cutter = Cutter::new(limit);
            cutter.push(&bytes);
            // Three bytes for each that is no UTF-8, and the note.
            prop_assert!(cutter.finish().len() <= limit * 3 + 64);
        }
    }
}

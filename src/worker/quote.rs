//! Keeps what users and tools say apart from what the chat template says.
//!
//! A rendered conversation is one text. If the tokenizer recognised special tokens all over it, a
//! user who writes `<|im_end|>` could end their turn and speak as the system. So each such text in
//! a user's or tool's message is put between two marks before rendering; afterwards the prompt is
//! cut at the marks, and what stood between them is tokenised as text. Tokenizers that put a space
//! in front of a text put one before each such part: the price of writing a special token there.
//!
//! Images and sounds travel through the template in the same way: as characters that mean nothing,
//! one for each, which nobody else can get into the prompt.

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;

use crate::domain::{ChatPrompt, MAX_MEDIA, Message, Role};

/// The marks: the last two code points of Unicode, which are no characters and mean nothing.
const OPEN: char = '\u{10fffe}';
const CLOSE: char = '\u{10ffff}';
/// Where an image or sound stands: this code point and those after it, no characters either, say
/// which one.
const MEDIA: char = '\u{fdd0}';
/// Code points of this kind from `MEDIA` on.
const MEDIA_MARKS: u32 = 32;
const _: () = assert!(MAX_MEDIA <= MEDIA_MARKS as usize);
/// Instead of marks that came from outside.
const REPLACEMENT: &str = "\u{fffd}";

fn is_mark(c: char) -> bool {
    matches!(c, OPEN | CLOSE) || media_index(c).is_some()
}

/// Which image or sound of a conversation the character stands for.
fn media_index(c: char) -> Option<usize> {
    let index = u32::from(c).checked_sub(u32::from(MEDIA)).filter(|index| *index < MEDIA_MARKS)?;
    usize::try_from(index).ok()
}

/// The mark of an image or sound; of one too many, nothing.
fn media_mark(index: usize) -> Option<char> {
    let index = u32::try_from(index).ok().filter(|index| *index < MEDIA_MARKS)?;
    char::from_u32(u32::from(MEDIA) + index)
}

/// Finds the texts of special tokens.
#[derive(Debug)]
pub struct Quotes {
    /// `None` where the vocabulary has no control tokens, or more than can be searched for.
    special: Option<AhoCorasick>,
}

impl Quotes {
    /// For a vocabulary whose control tokens have these texts.
    pub fn new(control_texts: Vec<String>) -> Self {
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest);
        let special = (!control_texts.is_empty()).then(|| builder.build(control_texts));
        Self { special: special.and_then(Result::ok) }
    }

    /// The conversation with the special tokens in what users and tools say marked, and marks where
    /// its images and sounds stand, in their order.
    pub fn quote(&self, mut chat: ChatPrompt) -> ChatPrompt {
        let mut media = 0;
        for message in &mut chat.messages {
            // Marks that came from outside could undo ours, whoever says them.
            place_media(message, &mut media);
            for text in others(message).into_iter().filter(|text| text.contains(is_mark)) {
                *text = text.replace(is_mark, REPLACEMENT);
            }
            if matches!(message.role, Role::User | Role::Tool) {
                for text in spoken(message) {
                    if let Some(marked) = self.marked(text) {
                        *text = marked;
                    }
                }
            }
        }
        for tool in &mut chat.tools {
            if tool.description.contains(is_mark) {
                tool.description = tool.description.replace(is_mark, REPLACEMENT);
            }
            if let Some(marked) = self.marked(&tool.description) {
                tool.description = marked;
            }
            if let Ok(mut schema) = serde_json::from_str(&tool.parameters)
                && self.mark_descriptions(&mut schema)
            {
                tool.parameters = schema.to_string();
            }
        }
        chat
    }

    /// Marks the descriptions in a schema, which are for the reader. All else in it is also for the
    /// grammar and stays as it is: whoever writes tools writes the system message, too. True if any
    /// was marked.
    fn mark_descriptions(&self, schema: &mut Value) -> bool {
        match schema {
            Value::Object(fields) => {
                let mut any = false;
                for (key, value) in fields {
                    any |= match (key.as_str(), &mut *value) {
                        ("description" | "title", Value::String(text)) => match self.marked(text) {
                            Some(marked) => {
                                *text = marked;
                                true
                            }
                            None => false,
                        },
                        ("const" | "enum" | "default" | "examples", _) => false,
                        (_, value) => self.mark_descriptions(value),
                    };
                }
                any
            }
            Value::Array(items) => {
                items.iter_mut().fold(false, |any, item| self.mark_descriptions(item) | any)
            }
            _ => false,
        }
    }

    /// A text with the special tokens in it marked.
    pub fn quote_text(&self, text: &str) -> String {
        // Marks that came from outside could undo ours.
        let text = text.replace(is_mark, REPLACEMENT);
        self.marked(&text).unwrap_or(text)
    }

    /// `text` with every special token between marks; `None` if there is none in it.
    fn marked(&self, text: &str) -> Option<String> {
        let special = self.special.as_ref()?;
        let mut out = String::new();
        let mut done = 0;
        for found in special.find_iter(text) {
            out.push_str(text.get(done..found.start())?);
            out.push(OPEN);
            out.push_str(text.get(found.range())?);
            out.push(CLOSE);
            done = found.end();
        }
        if done == 0 {
            return None;
        }
        out.push_str(text.get(done..)?);
        Some(out)
    }
}

/// Everything that a template may show of what a user or tool says.
fn spoken(message: &mut Message) -> Vec<&mut String> {
    let Message { content, name, tool_call_id, .. } = message;
    [Some(content), name.as_mut(), tool_call_id.as_mut()].into_iter().flatten().collect()
}

/// Takes marks out of the content and puts in those of its images and sounds; `next` is the number
/// of the first.
fn place_media(message: &mut Message, next: &mut usize) {
    let content = &mut message.content;
    if message.media.is_empty() {
        if content.contains(is_mark) {
            *content = content.replace(is_mark, REPLACEMENT);
        }
        return;
    }
    let mut out = String::with_capacity(content.len());
    let mut done = 0;
    for at in &message.media {
        // An offset that makes no sense puts it where the last one stood.
        if let Some(text) = content.get(done..at.offset) {
            out.push_str(&text.replace(is_mark, REPLACEMENT));
            done = at.offset;
        }
        out.extend(media_mark(*next));
        *next = next.saturating_add(1);
    }
    out.push_str(&content.get(done..).unwrap_or_default().replace(is_mark, REPLACEMENT));
    *content = out;
}

/// Every text of a message but its content and the arguments of calls, which are JSON.
fn others(message: &mut Message) -> Vec<&mut String> {
    let Message { role: _, content: _, media: _, reasoning, tool_calls, tool_call_id, name } =
        message;
    let calls = tool_calls.iter_mut().flat_map(|call| [&mut call.id, &mut call.name]);
    let optional = [reasoning, tool_call_id, name].into_iter().flatten();
    optional.chain(calls).collect()
}

/// Whether any text in a JSON value holds a mark.
pub fn has_marks(value: &Value) -> bool {
    value.to_string().contains(is_mark)
}

/// A part of a rendered prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its text.
    pub text: &'a str,
    /// Whether special tokens in it are text.
    pub quoted: bool,
}

impl<'a> Part<'a> {
    /// What the template says.
    pub fn template(text: &'a str) -> Self {
        Self { text, quoted: false }
    }
}

/// A rendered prompt, cut where images and sounds stand: the text before the first, then each one's
/// number with the text behind it.
pub fn split_media(prompt: &str) -> (&str, Vec<(usize, &str)>) {
    let mut marks = prompt.char_indices().filter_map(|(at, c)| Some((at, c, media_index(c)?)));
    let Some(mut mark) = marks.next() else { return (prompt, Vec::new()) };
    let first = prompt.get(..mark.0).unwrap_or_default();
    let mut rest = Vec::new();
    loop {
        let (at, c, index) = mark;
        let next = marks.next();
        let end = next.map_or(prompt.len(), |(end, ..)| end);
        rest.push((index, prompt.get(at + c.len_utf8()..end).unwrap_or_default()));
        match next {
            Some(next) => mark = next,
            None => return (first, rest),
        }
    }
}

/// A rendered prompt, cut at the marks; never empty.
pub fn parts(prompt: &str) -> Vec<Part<'_>> {
    let mut parts = vec![];
    let mut quoted = false;
    let mut left = prompt;
    while let Some((text, rest)) = left.split_once([OPEN, CLOSE]) {
        let mark = left.get(text.len()..).and_then(|from| from.chars().next());
        if !text.is_empty() {
            parts.push(Part { text, quoted });
        }
        quoted = mark == Some(OPEN);
        left = rest;
    }
    if !left.is_empty() || parts.is_empty() {
        parts.push(Part { text: left, quoted });
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Media, MediaAt, MediaKind, Tool};

    fn quotes() -> Quotes {
        Quotes::new(vec!["<s>".into(), "<|end|>".into(), "<|end|>of".into()])
    }

    fn said(role: Role, text: &str) -> String {
        let chat = ChatPrompt::new(vec![Message::text(role, text)]);
        quotes().quote(chat).messages.swap_remove(0).content
    }

    #[test]
    fn special_tokens_of_users_and_tools_become_parts_of_their_own() {
        for role in [Role::User, Role::Tool] {
            let said = said(role, "a <|end|>of b<s>");
            let prompt = format!("<s>[user]{said}<|end|>");
            let part = |text, quoted| Part { text, quoted };
            assert_eq!(
                parts(&prompt),
                [
                    part("<s>[user]a ", false),
                    part("<|end|>of", true),
                    part(" b", false),
                    part("<s>", true),
                    part("<|end|>", false),
                ]
            );
        }
    }

    #[test]
    fn what_system_and_assistant_say_is_left_as_it_is() {
        for role in [Role::System, Role::Assistant] {
            assert_eq!(said(role, "a <|end|> b"), "a <|end|> b");
        }
    }

    #[test]
    fn names_and_ids_are_quoted_too_and_marks_are_taken_out_everywhere() {
        let mut message = Message::text(Role::Tool, "ok");
        message.name = Some("<s>".into());
        message.tool_call_id = Some("\u{10ffff}<|end|>".into());
        message.reasoning = Some("\u{10fffe}".into());
        let chat = ChatPrompt::new(vec![message]);
        let quoted = quotes().quote(chat);
        let message = quoted.messages.first().expect("one");
        assert_eq!(message.name.as_deref(), Some("\u{10fffe}<s>\u{10ffff}"));
        let id = message.tool_call_id.as_deref();
        assert_eq!(id, Some("\u{fffd}\u{10fffe}<|end|>\u{10ffff}"));
        assert_eq!(message.reasoning.as_deref(), Some("\u{fffd}"));
        assert!(has_marks(&serde_json::json!({ "a": ["\u{10ffff}"] })));
    }

    fn image(offset: usize) -> MediaAt {
        MediaAt { offset, media: Media { kind: MediaKind::Image, bytes: vec![] } }
    }

    #[test]
    fn media_are_marked_where_they_stand_and_found_again() {
        let with =
            |text: &str, media: Vec<MediaAt>| Message { media, ..Message::text(Role::User, text) };
        let messages = vec![
            with("a\u{10fffe}b<s>", vec![image(5)]),
            with("", vec![image(0), image(0)]),
            with("\u{e9}", vec![image(1), image(99)]),
        ];
        let quoted = quotes().quote(ChatPrompt::new(messages));
        let prompt: String =
            quoted.messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(
            split_media(&prompt),
            (
                "a\u{fffd}",
                vec![(0, "b\u{10fffe}<s>\u{10ffff}"), (1, ""), (2, ""), (3, ""), (4, "\u{e9}")]
            )
        );
        assert_eq!(split_media("no image"), ("no image", vec![]));
    }

    #[test]
    fn nobody_types_an_image() {
        for role in [Role::System, Role::User, Role::Assistant, Role::Tool] {
            for mark in ['\u{fdd0}', '\u{fdd3}', '\u{fdef}'] {
                assert_eq!(said(role, &format!("a{mark}<__media__>")), "a\u{fffd}<__media__>");
            }
        }
        assert!(has_marks(&serde_json::json!(["\u{fdd0}"])));
    }

    #[test]
    fn what_tools_are_said_to_do_is_quoted_and_what_grammars_are_made_of_is_not() {
        let tool = Tool {
            name: "a".into(),
            description: "does <s>\u{10ffff}".into(),
            parameters: r#"{"description":"<s>","enum":["<s>"],"properties":{"description":{"const":"<s>"}}}"#
                .into(),
            strict: false,
        };
        let chat = ChatPrompt { tools: vec![tool], ..ChatPrompt::default() };
        let tools = quotes().quote(chat).tools;
        assert_eq!(tools[0].description, "does \u{10fffe}<s>\u{10ffff}\u{fffd}");
        assert_eq!(
            tools[0].parameters,
            "{\"description\":\"\u{10fffe}<s>\u{10ffff}\",\"enum\":[\"<s>\"],\
             \"properties\":{\"description\":{\"const\":\"<s>\"}}}"
        );
    }

    #[test]
    fn an_empty_prompt_is_one_empty_part() {
        assert_eq!(parts(""), [Part::template("")]);
    }

    proptest! {
        #[test]
        fn no_text_of_a_user_gets_a_special_token_past_the_marks(
            text in "(<s>|<\\|end\\|>|[<>a|]|\u{10fffe}|\u{10ffff}|\u{fdd0}){0,12}",
        ) {
            let said = said(Role::User, &text);
            for part in parts(&said) {
                if !part.quoted {
                    prop_assert!(!part.text.contains("<s>") && !part.text.contains("<|end|>"));
                }
            }
            let joined: String = parts(&said).iter().map(|part| part.text).collect();
            prop_assert_eq!(joined, text.replace(is_mark, "\u{fffd}"));
        }
    }
}

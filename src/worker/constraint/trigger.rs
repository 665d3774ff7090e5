use memchr::memmem;

use crate::worker::compute::Token;
use crate::worker::llama::TriggerRegex;

/// How far back an expression is looked for, in bytes. C++'s expressions recurse, and every token
/// makes them look again.
const WINDOW: usize = 4096;
/// A longer output is not compared with an expression that has to match all of it.
const LONGEST_WHOLE: usize = 32 << 10;

/// What makes a lazy grammar apply: from here on the output has to obey it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// This token.
    Token(Token),
    /// This text, wherever it comes.
    Word(String),
    /// A match of this regular expression in the output so far; the grammar applies from the start
    /// of the first group that is not empty, or of the match.
    Pattern(String),
    /// The same, for an expression that has to match all of the output so far.
    PatternFull(String),
}

/// The triggers of a grammar, ready to look for. They see the output as llama.cpp's grammars do,
/// the texts of control tokens included.
#[derive(Debug)]
pub(super) struct Triggers {
    tokens: Vec<Token>,
    texts: Vec<Text>,
}

#[derive(Debug)]
enum Text {
    Word(Vec<u8>),
    /// Anywhere within the last bytes.
    Search(TriggerRegex),
    /// Anywhere, but from the very beginning.
    Beginning(TriggerRegex),
    /// All of it.
    Whole(TriggerRegex),
}

impl Triggers {
    /// Compiles them.
    ///
    /// # Errors
    /// An expression that C++ does not read, with its words.
    pub(super) fn new(triggers: &[Trigger]) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut texts = Vec::new();
        for trigger in triggers {
            match trigger {
                Trigger::Token(token) => tokens.push(*token),
                Trigger::Word(word) if word.is_empty() => {}
                Trigger::Word(word) => texts.push(Text::Word(word.clone().into_bytes())),
                Trigger::Pattern(pattern) => {
                    let regex = TriggerRegex::new(pattern)?;
                    texts.push(match (pattern.starts_with('^'), pattern.ends_with('$')) {
                        (true, true) => Text::Whole(regex),
                        (true, false) => Text::Beginning(regex),
                        _ => Text::Search(regex),
                    });
                }
                Trigger::PatternFull(pattern) => {
                    texts.push(Text::Whole(TriggerRegex::new(pattern)?));
                }
            }
        }
        Ok(Self { tokens, texts })
    }

    /// Whether this token is one.
    pub(super) fn has_token(&self, token: Token) -> bool {
        self.tokens.contains(&token)
    }

    /// Where in the output one of the others begins, which it did not before it had more than `old`
    /// bytes.
    pub(super) fn find(&self, output: &[u8], old: usize) -> Option<usize> {
        self.texts.iter().find_map(|text| match text {
            Text::Word(word) => {
                let from = old.saturating_sub(word.len().saturating_sub(1));
                let at = memmem::find(output.get(from..)?, word)?;
                Some(from + at)
            }
            Text::Search(regex) => {
                let from = output.len().saturating_sub(WINDOW);
                Some(from + regex.find(output.get(from..)?, false)?)
            }
            Text::Beginning(regex) => regex.find(output.get(..WINDOW).unwrap_or(output), false),
            Text::Whole(_) if output.len() > LONGEST_WHOLE => None,
            Text::Whole(regex) => regex.find(output, true),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triggers(list: &[Trigger]) -> Triggers {
        Triggers::new(list).expect("triggers")
    }

    #[test]
    fn a_word_is_found_across_pieces_and_only_once_it_is_whole() {
        let triggers = triggers(&[Trigger::Word("<tool>".into())]);
        assert_eq!(triggers.find(b"say <too", 5), None);
        assert_eq!(triggers.find(b"say <tool>{", 8), Some(4));
        assert!(!triggers.has_token(3));
    }

    #[test]
    fn an_expression_begins_at_its_first_group_that_is_not_empty() {
        let triggers = triggers(&[Trigger::Pattern("<x>(a)?(to)".into())]);
        assert_eq!(triggers.find(b"...<x>to", 0), Some(6));
        assert_eq!(triggers.find(b"...<x>ato", 0), Some(6));
        assert_eq!(triggers.find(b"...<x>", 0), None);
    }

    #[test]
    fn a_full_expression_needs_all_of_the_output() {
        let full = triggers(&[Trigger::PatternFull("\\s+to".into())]);
        assert_eq!(full.find(b" to", 0), Some(0));
        assert_eq!(full.find(b" to be", 0), None);
        let anchored = triggers(&[Trigger::Pattern("^\\s+to$".into())]);
        assert_eq!(anchored.find(b"  to", 0), Some(0));
        assert_eq!(anchored.find(b"x to", 0), None);
    }

    #[test]
    fn a_long_output_is_searched_at_its_end() {
        let triggers = triggers(&[Trigger::Pattern("b(c)".into()), Trigger::Token(7)]);
        let mut output = vec![b'a'; 1 << 20];
        assert_eq!(triggers.find(&output, 0), None);
        output.extend(b"bc");
        assert_eq!(triggers.find(&output, 1 << 20), Some((1 << 20) + 1));
        assert!(triggers.has_token(7));
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_an_error() {
        assert!(Triggers::new(&[Trigger::Pattern("(".into())]).is_err());
    }
}

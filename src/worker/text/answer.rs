use std::collections::VecDeque;

use crate::domain::TokenLogprob;

use super::{StopMatcher, Utf8Decoder};

/// The text of one answer on its way from tokens to the reader, and its tokens' probabilities where
/// they are wanted: a token waits until the first of its text may be shown, and goes where that
/// text goes.
#[derive(Debug, Clone)]
pub struct AnswerText {
    utf8: Utf8Decoder,
    stop: StopMatcher,
    /// Bytes of text so far, whether they may be shown or not.
    decoded: usize,
    /// How many of them may be shown.
    shown: usize,
    /// Those that were not taken yet.
    text: String,
    /// Tokens with what `decoded` was before each of them.
    waiting: VecDeque<(usize, TokenLogprob)>,
    /// Tokens that were not taken yet.
    tokens: Vec<TokenLogprob>,
    /// Reused.
    piece: String,
}

impl AnswerText {
    /// An answer that ends before the first of `stops`.
    pub fn new(stops: &[String]) -> Self {
        Self {
            utf8: Utf8Decoder::default(),
            stop: StopMatcher::new(stops),
            decoded: 0,
            shown: 0,
            text: String::new(),
            waiting: VecDeque::new(),
            tokens: Vec::new(),
            piece: String::new(),
        }
    }

    /// A token of an echoed prompt, which is shown whatever it says, even if that is nothing.
    pub fn echo(&mut self, bytes: &[u8], token: Option<TokenLogprob>) {
        let before = self.text.len();
        self.utf8.push(bytes, &mut self.text);
        let more = self.text.len().saturating_sub(before);
        self.decoded += more;
        self.shown += more;
        self.tokens.extend(token);
    }

    /// The next token. Answers the stop string that came up, if one did.
    pub fn push(&mut self, bytes: &[u8], token: Option<TokenLogprob>) -> Option<String> {
        if let Some(token) = token.filter(|_| !bytes.is_empty()) {
            self.waiting.push_back((self.decoded, token));
        }
        self.piece.clear();
        self.utf8.push(bytes, &mut self.piece);
        self.pass_on()
    }

    /// Ends the text: what was held back is shown, unless a stop string is in it after all.
    pub fn finish(&mut self) -> Option<String> {
        self.piece.clear();
        self.utf8.finish(&mut self.piece);
        let found = self.pass_on();
        let before = self.text.len();
        let found = found.or_else(|| self.stop.finish(&mut self.text));
        self.shown += self.text.len().saturating_sub(before);
        found
    }

    /// The text since the last call and the tokens that begin in it.
    pub fn take(&mut self) -> (Vec<TokenLogprob>, String) {
        while self.waiting.front().is_some_and(|(start, _)| *start < self.shown) {
            self.tokens.extend(self.waiting.pop_front().map(|(_, token)| token));
        }
        (std::mem::take(&mut self.tokens), std::mem::take(&mut self.text))
    }

    fn pass_on(&mut self) -> Option<String> {
        self.decoded += self.piece.len();
        let before = self.text.len();
        let found = self.stop.push(&self.piece, &mut self.text);
        self.shown += self.text.len().saturating_sub(before);
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(number: i32, bytes: &[u8]) -> TokenLogprob {
        TokenLogprob { token: number, bytes: bytes.to_vec(), logprob: Some(-1.0), top: vec![] }
    }

    /// What may be shown after each of these tokens, and at the end: tokens and text.
    fn play(stops: &[&str], pieces: &[&[u8]]) -> Vec<(Vec<i32>, String)> {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut answer = AnswerText::new(&stops);
        let mut all = Vec::new();
        let mut stopped = false;
        let mut take = |answer: &mut AnswerText| {
            let (tokens, text) = answer.take();
            all.push((tokens.iter().map(|token| token.token).collect(), text));
        };
        for (number, piece) in (0..).zip(pieces) {
            stopped = answer.push(piece, Some(token(number, piece))).is_some();
            take(&mut answer);
            if stopped {
                break;
            }
        }
        if !stopped {
            answer.finish();
            take(&mut answer);
        }
        all
    }

    #[test]
    fn tokens_of_half_characters_come_with_the_character() {
        let shown = play(&[], &[b"a\xf0", b"\x9f", b"\x99\x82b", b"", b"c"]);
        let expected = [
            (vec![0], "a"),
            (vec![], ""),
            (vec![1, 2], "\u{1f642}b"),
            (vec![], ""),
            (vec![4], "c"),
            (vec![], ""),
        ];
        assert_eq!(shown, expected.map(|(tokens, text)| (tokens, text.to_owned())));
    }

    #[test]
    fn tokens_that_may_be_a_stop_string_are_held_and_those_of_one_are_dropped() {
        let shown = play(&["stop"], &[b"a", b" st", b"o", b"w", b" st", b"op", b"x"]);
        let expected = [
            (vec![0], "a"),
            (vec![1], " "),
            (vec![], ""),
            (vec![2, 3], "stow"),
            (vec![4], " "),
            (vec![], ""),
        ];
        assert_eq!(shown, expected.map(|(tokens, text)| (tokens, text.to_owned())));
    }

    #[test]
    fn an_echo_is_never_cut_and_keeps_its_silent_tokens() {
        let mut answer = AnswerText::new(&["b".to_owned()]);
        answer.echo(b"", Some(token(0, b"")));
        answer.echo(b"ab\xc3", Some(token(1, b"ab\xc3")));
        let (tokens, text) = answer.take();
        assert_eq!((tokens.len(), text.as_str()), (2, "ab"));
        assert_eq!(answer.push(b"\xa9", None), None);
        assert_eq!(answer.take().1, "\u{e9}");
        assert_eq!(answer.push(b"b", None).as_deref(), Some("b"));
    }

    proptest! {
        /// However it is cut, the tokens shown are the first ones that have text, and their text is
        /// all that is shown and at most the rest of the last one more.
        #[test]
        fn tokens_cover_exactly_the_text(
            pieces in prop::collection::vec("[abé🙂]{0,3}", 0..20),
            splits in prop::collection::vec(0usize..9, 0..20),
            stop in prop::option::of("[abé🙂]{1,3}"),
        ) {
            // Tokens that split characters.
            let all: Vec<u8> = pieces.concat().into_bytes();
            let (mut tokens, mut left) = (Vec::new(), all.as_slice());
            for split in splits {
                let (token, rest) = left.split_at(split.min(left.len()));
                tokens.push(token);
                left = rest;
            }
            tokens.push(left);
            let stops: Vec<&str> = stop.as_deref().into_iter().collect();
            let shown = play(&stops, &tokens);
            let text: String = shown.iter().map(|(_, text)| text.as_str()).collect();
            let numbers: Vec<i32> = shown.into_iter().flat_map(|(tokens, _)| tokens).collect();
            let audible: Vec<i32> = (0..tokens.len() as i32)
                .filter(|number| !tokens[*number as usize].is_empty())
                .take(numbers.len())
                .collect();
            prop_assert_eq!(&numbers, &audible);
            let bytes: Vec<u8> =
                numbers.iter().flat_map(|number| tokens[*number as usize].to_vec()).collect();
            prop_assert!(bytes.starts_with(text.as_bytes()));
            let last = numbers.last().map_or(0, |number| tokens[*number as usize].len());
            prop_assert!(text.is_empty() || bytes.len() - text.len() < last.max(1));
        }
    }
}

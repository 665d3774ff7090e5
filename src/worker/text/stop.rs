/// Looks for stop strings in text that arrives in pieces.
///
/// The answer ends before the stop string that *begins* first; of several that begin at the same
/// place the shortest counts. Text is held back only while it could be the beginning of a stop
/// string, so never more than the longest of them. The text shown does not depend on how it was cut
/// into pieces.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    /// Without empty ones, the shortest first.
    stops: Vec<String>,
    /// Whether any stop string begins with this byte.
    first: [bool; 256],
    held: String,
    matched: bool,
}

impl StopMatcher {
    /// A matcher for `stops`; empty strings among them are ignored.
    pub fn new(stops: &[String]) -> Self {
        let mut stops: Vec<String> =
            stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        stops.sort_by_key(String::len);
        let mut first = [false; 256];
        for byte in stops.iter().filter_map(|stop| stop.bytes().next()) {
            if let Some(entry) = first.get_mut(usize::from(byte)) {
                *entry = true;
            }
        }
        Self { stops, first, held: String::new(), matched: false }
    }

    /// Takes in `text` and appends to `out` what may be shown. Answers the stop string that came
    /// up, if one did; nothing is shown after that.
    pub fn push(&mut self, text: &str, out: &mut String) -> Option<String> {
        if self.matched {
            return None;
        }
        if self.stops.is_empty() {
            out.push_str(text);
            return None;
        }
        self.held.push_str(text);
        self.scan(true, out)
    }

    /// Ends the text: what was held back is shown, unless a stop string is in it after all.
    pub fn finish(&mut self, out: &mut String) -> Option<String> {
        if self.matched { None } else { self.scan(false, out) }
    }

    /// Shows `held` up to the first place where a stop string begins, or (`more`: text may follow)
    /// may begin.
    fn scan(&mut self, more: bool, out: &mut String) -> Option<String> {
        let mut shown = self.held.len();
        let mut found = None;
        for (at, byte) in self.held.bytes().enumerate() {
            if !self.first.get(usize::from(byte)).copied().unwrap_or_default() {
                continue;
            }
            // `at` is a character boundary: no stop string begins with a continuation byte.
            let Some(rest) = self.held.get(at..) else { continue };
            found = self.stops.iter().find(|stop| rest.starts_with(stop.as_str())).cloned();
            if found.is_some() || more && self.stops.iter().any(|stop| stop.starts_with(rest)) {
                shown = at;
                break;
            }
        }
        out.push_str(self.held.get(..shown).unwrap_or_default());
        if found.is_some() {
            self.matched = true;
            self.held = String::new();
        } else {
            self.held.drain(..shown);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<String>) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut shown = Vec::new();
        let mut found = None;
        for piece in pieces {
            let mut out = String::new();
            found = found.or(matcher.push(piece, &mut out));
            shown.push(out);
        }
        let mut out = String::new();
        found = found.or(matcher.finish(&mut out));
        shown.push(out);
        (shown, found)
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let (shown, found) = run(&["\n\nUser:"], &["Hi", "!\n", "\nUs", "e", "ful."]);
        assert_eq!(shown, ["Hi", "!", "", "", "\n\nUseful.", ""]);
        assert_eq!(found, None);
    }

    #[test]
    fn what_is_held_at_the_end_is_shown() {
        assert_eq!(run(&["stop"], &["a sto"]), (vec!["a ".into(), "sto".into()], None));
    }

    #[test]
    fn nothing_is_shown_after_a_match() {
        let (shown, found) = run(&["", "###"], &["a#", "##b", "c"]);
        assert_eq!(shown, ["a", "", "", ""]);
        assert_eq!(found.as_deref(), Some("###"));
    }

    #[test]
    fn the_stop_string_that_begins_first_wins_even_if_it_ends_last() {
        assert_eq!(run(&["b", "abc"], &["xab", "c"]).1.as_deref(), Some("abc"));
        assert_eq!(
            run(&["b", "abc"], &["xab", "d"]),
            (vec!["x".into(), "a".into(), String::new()], Some("b".into()))
        );
        assert_eq!(run(&["b", "abc"], &["xab"]), (vec!["x".into(), "a".into()], Some("b".into())));
    }

    proptest! {
        #[test]
        fn the_text_is_cut_before_the_first_stop_string_however_it_arrives(
            text in "[abé🙂]{0,40}",
            stops in prop::collection::vec("[abé🙂]{0,5}", 0..4),
            sizes in prop::collection::vec(0usize..5, 0..40),
        ) {
            let first = stops
                .iter()
                .filter(|stop| !stop.is_empty())
                .filter_map(|stop| Some((text.find(stop.as_str())?, stop.len(), stop.clone())))
                .min();
            let longest = stops.iter().map(String::len).max().unwrap_or(0);

            let mut matcher = StopMatcher::new(&stops);
            let (mut shown, mut found) = (String::new(), None);
            let mut chars = text.chars();
            for size in sizes {
                let piece: String = chars.by_ref().take(size).collect();
                found = found.or(matcher.push(&piece, &mut shown));
                prop_assert!(matcher.held.len() < longest.max(1));
            }
            found = found.or(matcher.push(chars.as_str(), &mut shown));
            found = found.or(matcher.finish(&mut shown));

            match first {
                Some((at, _, stop)) => {
                    prop_assert_eq!(Some(shown.as_str()), text.get(..at));
                    prop_assert_eq!(found, Some(stop));
                }
                None => {
                    prop_assert_eq!(shown, text);
                    prop_assert_eq!(found, None);
                }
            }
        }
    }
}

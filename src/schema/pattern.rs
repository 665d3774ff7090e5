use super::fault::{Place, SchemaFault};

/// The longest pattern, in bytes.
const MAX_BYTES: usize = 4096;

/// Whether a pattern of a schema means the same to llguidance as to JSON Schema (ECMA-262). What
/// llguidance cannot read at all it refuses itself.
pub(super) fn check(pattern: &str, place: &Place) -> Result<(), SchemaFault> {
    if pattern.len() > MAX_BYTES {
        return Err(place.fault(format!(
            "a pattern of {} bytes is over the limit of {MAX_BYTES}",
            pattern.len()
        )));
    }
    match oddity(pattern) {
        None => Ok(()),
        Some(oddity) => Err(place.fault(format!("pattern: {oddity}"))),
    }
}

/// Syntax that the two read differently.
fn oddity(pattern: &str) -> Option<&'static str> {
    let mut in_class = false;
    let mut previous = None;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                if matches!(chars.next(), Some('A' | 'z' | 'Z' | 'a' | '<' | '>')) {
                    return Some("write ^ for the beginning and $ for the end of a text");
                }
                previous = None;
                continue;
            }
            '[' if in_class => return Some("write \\[ for a bracket within a class"),
            '[' => in_class = true,
            ']' if in_class => in_class = false,
            '&' | '-' | '~' if in_class && previous == Some(c) => {
                return Some("escape doubled &, - and ~ within a class");
            }
            _ => {}
        }
        previous = Some(c);
    }
    None
}

/// How many copies the repetitions make, those within repetitions multiplied: llguidance takes time
/// for each. `{3}`, `{,3}`, `{1,3}`, and Lark's `~3` and `~1..3`.
pub(super) fn repeated(pattern: &str) -> u64 {
    // For each open bracket the most of what is in it; the last factor may repeat what just closed.
    let mut open = vec![1u64];
    let mut last = 1u64;
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                rest.next();
                last = 1;
            }
            '(' => {
                open.push(1);
                last = 1;
            }
            ')' => {
                last = if open.len() > 1 { open.pop().unwrap_or(1) } else { 1 };
            }
            '{' | '~' => {
                let (mut most, mut number) = (1u64, 0u64);
                while let Some(digit) = rest.next_if(|c| c.is_ascii_digit() || ", .".contains(*c)) {
                    number = match digit.to_digit(10) {
                        Some(digit) => number.saturating_mul(10).saturating_add(u64::from(digit)),
                        None => 0,
                    };
                    most = most.max(number);
                }
                last = last.saturating_mul(most);
            }
            _ => last = if c == '}' { last } else { 1 },
        }
        if let Some(most) = open.last_mut() {
            *most = (*most).max(last);
        }
    }
    open.into_iter().fold(1, u64::saturating_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_differently_is_refused() {
        for pattern in ["[[a]", "[a&&b]", "[!--a]", r"\Aab\z", "[a~~b]"] {
            assert!(check(pattern, &Place::default()).is_err(), "{pattern}");
        }
        for pattern in [r"^[\[a]$", "a--b", "[a-z]&&", r"^\d{3}-\d{4}$", "[a-]-", r"[\w-]+", "[^]]"]
        {
            assert_eq!(check(pattern, &Place::default()), Ok(()), "{pattern}");
        }
        assert!(check(&"a".repeat(5000), &Place::default()).is_err());
    }

    #[test]
    fn repetitions_within_repetitions_multiply() {
        for (pattern, copies) in [
            ("abc", 1),
            ("a{3}b{1,7}", 7),
            ("(a{3}|b{2}){4,}", 12),
            ("((a{1000}){1000}){1000}", 1_000_000_000),
            ("a{2}{3}", 6),
            (r"\({5}", 5),
            ("a~3..4", 4),
            ("(a{99999999999}){99999999999}", u64::MAX),
        ] {
            assert_eq!(repeated(pattern), copies, "{pattern}");
        }
    }
}

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
}

use std::ffi::OsStr;

/// A path or a name as one word of a POSIX shell, for commands that people copy: as it is where that
/// is safe, else in single quotes (POSIX.1-2024, Shell Command Language, 2.2.2).
pub fn shell_word(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(is_safe) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        for (word, quoted) in [
            ("/home/a.b/x_y-z", "/home/a.b/x_y-z"),
            ("/home/My Models", "'/home/My Models'"),
            ("/a$(id)/`b`;*", "'/a$(id)/`b`;*'"),
            ("~/it's", r"'~/it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), quoted);
        }
    }
}

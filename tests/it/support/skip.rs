use std::fs::File;
use std::io::Write as _;

/// Says that a test, or a part of it, did not run and why: on standard error and in the file
/// that `MODELD_TEST_SKIPS` names, which `contrib/test` prints at its end.
pub fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("MODELD_TEST_SKIPS") {
        let file = File::options().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// What `contrib/test` prepared and handed over in `variable`; says what is skipped without it.
pub fn from_env(test: &str, variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        skip(test, &format!("{variable} is not set; contrib/test sets it"));
    }
    value
}

/// Whether the full counts were asked for (`contrib/test --long`).
pub fn is_long() -> bool {
    std::env::var_os("MODELD_TEST_LONG").is_some_and(|value| value == "1")
}

use super::LLAMA_TARGET;

/// The target of what worker processes say.
pub const ENGINE_TARGET: &str = "modeld::worker";

/// Whether a line of the log is a worker's; `None`: it begins no entry, but goes on with the one
/// before it.
pub fn is_of_engine(line: &str) -> Option<bool> {
    let mut words = line.split_ascii_whitespace();
    let (time, level) = (words.next()?, words.next()?);
    let begins = time.len() > 10 && time.as_bytes().get(10) == Some(&b'T') && time.ends_with('Z');
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    if !begins || !levels.contains(&level) || line.starts_with(' ') {
        return None;
    }
    let target = words.next()?.strip_suffix(':');
    Some([ENGINE_TARGET, LLAMA_TARGET].map(Some).contains(&target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_whose_they_are() {
        for (line, of_engine) in [
            ("2026-01-02T03:04:05.678901Z  INFO modeld::worker: hello pid=1", Some(true)),
            ("2026-01-02T03:04:05.678901Z  WARN llama: n_ctx is small", Some(true)),
            ("2026-01-02T03:04:05.678901Z  WARN modeld::scheduler: modeld::worker: x", Some(false)),
            ("2026-01-02T03:04:05.678901Z ERROR modeld: x", Some(false)),
            ("  INFO modeld::worker: not the beginning", None),
            ("somebody said modeld::worker: x", None),
            ("", None),
        ] {
            assert_eq!(is_of_engine(line), of_engine, "{line}");
        }
    }
}

use std::str::FromStr as _;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The target of what llama.cpp says.
pub const LLAMA_TARGET: &str = "llama";

/// The most that the libraries we are built on may say. What they say below that quotes what passes
/// through them: addresses with their queries, headers, bodies, tokens.
const OTHERS: LevelFilter = LevelFilter::WARN;

/// Reads a filter as `--log` has it: a level, or levels by module (`warn,modeld::scheduler=debug`).
///
/// Three things are not as `tracing` has them. A bare word has to be a level: a misspelt one would
/// count as a module's name, and the log would stay empty. llama.cpp's lines (`llama`) come one level
/// later than the rest, unless they are named. Libraries of others never say more than warnings,
/// whatever is asked: below that nobody can vouch for what they quote.
///
/// # Errors
/// In words, what is wrong with it.
pub fn parse_filter(text: &str) -> Result<Targets, String> {
    let is_level = |word: &str| !word.is_empty() && LevelFilter::from_str(word).is_ok();
    if let Some(word) = text.split(',').find(|word| !word.contains('=') && !is_level(word)) {
        return Err(format!("{word:?} is no level: off, error, warn, info, debug or trace"));
    }
    let asked = Targets::from_str(text).map_err(|error| error.to_string())?;
    let all = asked.default_level().unwrap_or(LevelFilter::OFF);
    let mut filter = Targets::new()
        .with_default(all.min(OTHERS))
        .with_target("modeld", all)
        .with_target(LLAMA_TARGET, one_less(all));
    for (target, level) in asked.iter() {
        let level = if is_ours(target) { level } else { level.min(OTHERS) };
        filter = filter.with_target(target, level);
    }
    Ok(filter)
}

/// By whole words: `modeld_else` is not ours.
fn is_ours(target: &str) -> bool {
    ["modeld", LLAMA_TARGET].iter().any(|own| {
        target.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

fn one_less(level: LevelFilter) -> LevelFilter {
    match level {
        LevelFilter::INFO => LevelFilter::WARN,
        LevelFilter::DEBUG => LevelFilter::INFO,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[track_caller]
    fn shows(text: &str, target: &str, level: Level) -> bool {
        parse_filter(text).unwrap().would_enable(target, &level)
    }

    #[test]
    fn what_is_said_of_modeld_holds() {
        assert!(shows("info", "modeld::access", Level::INFO));
        assert!(!shows("info", "modeld::access", Level::DEBUG));
        assert!(shows("warn,modeld::scheduler=debug", "modeld::scheduler::driver", Level::DEBUG));
        assert!(!shows("warn,modeld::scheduler=debug", "modeld::access", Level::INFO));
        assert!(!shows("off", "modeld", Level::ERROR));
        assert!(!shows("modeld::api=info", "modeld::daemon", Level::ERROR));
    }

    #[test]
    fn libraries_never_say_more_than_warnings() {
        for filter in ["trace", "hyper=trace", "info,reqwest=debug,oci_client=trace"] {
            for target in ["hyper::proto", "reqwest::connect", "oci_client", "axum::rejection"] {
                assert!(!shows(filter, target, Level::INFO), "{filter} {target}");
            }
        }
        assert!(shows("trace", "hyper::proto", Level::WARN));
        assert!(!shows("error", "hyper::proto", Level::WARN));
        assert!(!shows("info,hyper=off", "hyper", Level::ERROR));
    }

    #[test]
    fn llama_comes_later_unless_it_is_named() {
        for (filter, most) in [
            ("info", Level::WARN),
            ("debug", Level::INFO),
            ("trace", Level::TRACE),
            ("info,llama=debug", Level::DEBUG),
        ] {
            assert!(shows(filter, LLAMA_TARGET, most), "{filter}");
            let more = match most {
                Level::WARN => Level::INFO,
                Level::INFO => Level::DEBUG,
                _ => Level::TRACE,
            };
            assert_eq!(shows(filter, LLAMA_TARGET, more), most == Level::TRACE, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_in_words() {
        for (text, word) in
            [("inof", "\"inof\" is no level"), ("", "is no level"), ("info,modeld=loud", "level")]
        {
            let error = parse_filter(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}

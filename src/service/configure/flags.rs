//! Flags of llama.cpp's server, read as what modeld really does. No text of a client becomes part of
//! any command line.

use crate::domain::{Error, Result};

use super::Settings;
use super::flag_table::{FLAGS, Meaning};

/// The field that they come in.
const FIELD: &str = "runtime-flags";
/// The most words.
const MAX_WORDS: usize = 256;
/// How much of a word an error shows.
const MAX_SHOWN: usize = 40;

/// Reads flags: `--flag value`, `--flag=value` or `--flag`. The later one wins.
///
/// # Errors
/// `Unsupported` for a flag that modeld does not have, `InvalidValue` for what is wrong with a value.
pub(super) fn parse(words: &[String]) -> Result<Settings> {
    if words.len() > MAX_WORDS {
        let message =
            format!("{} runtime flags were sent; at most {MAX_WORDS} are taken", words.len());
        return Err(Error::invalid(FIELD, message));
    }
    let mut settings = Settings::default();
    let mut rest = words.iter().map(String::as_str).peekable();
    while let Some(word) = rest.next() {
        let (name, attached) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let invalid = |fault: &str| {
            Err(Error::invalid(FIELD, format!("the runtime flag `{}` {fault}", shown(name))))
        };
        if !name.starts_with('-') {
            return invalid("is no flag, and stands behind none that takes a value");
        }
        let Some((_, meaning)) = FLAGS.iter().find(|(names, _)| names.contains(&name)) else {
            return Err(Error::unsupported(
                FIELD,
                format!("the runtime flag `{}` is not done by modeld; leave it out", shown(name)),
            ));
        };
        let fault = match (meaning, attached) {
            (Meaning::Does(_) | Meaning::IsSo, Some(_)) => return invalid("takes no value"),
            (Meaning::Does(act), None) => {
                act(&mut settings);
                None
            }
            (Meaning::IsSo, None) => None,
            (Meaning::Takes(set), attached) => {
                // Whatever stands there: a value may begin with a dash.
                let Some(value) = attached.or_else(|| rest.next()) else {
                    return invalid("needs a value");
                };
                set(&mut settings, value).err()
            }
            (Meaning::IsSoAt(values), attached) => {
                let Some(value) = attached.or_else(|| rest.next()) else {
                    return invalid("needs a value");
                };
                (!is_one_of(values, value)).then(|| not_done(values))
            }
            (Meaning::MaySay(values), attached) => {
                let value = attached.or_else(|| rest.next_if(|next| !next.starts_with('-')));
                let other = value.is_some_and(|value| !values.contains(&value));
                other.then(|| not_done(values))
            }
        };
        if let Some(fault) = fault {
            return invalid(&fault);
        }
    }
    Ok(settings)
}

fn not_done(values: &[&str]) -> String {
    format!("is done by modeld as {} only; leave it out", values.join(" or "))
}

/// Whether a value is one of these, also where a number is written in another way.
fn is_one_of(values: &[&str], value: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    values.iter().any(|known| {
        *known == value || number(known).is_some_and(|known| number(value) == Some(known))
    })
}

fn shown(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ErrorKind;
    use crate::protocol::Purpose;

    fn read(line: &str) -> Result<Settings> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn what_flags_mean() {
        let settings = read(
            "-c 4096 --threads=3 -np 2 --predict -1 --temp 0.1 --top-k -1 --top-p 0.9 --min-p 0 \
             --seed 42 --repeat-penalty 1.1 --repeat-last-n -1 --presence-penalty -1 \
             --frequency-penalty 0.5 --typical 1.0 --reasoning-budget -1 --ignore-eos",
        )
        .expect("flags");
        assert_eq!(
            (settings.context, settings.threads, settings.sequences, settings.max_tokens),
            (Some(4096), Some(3), Some(2), None)
        );
        let sampling = &settings.sampling;
        assert_eq!((sampling.temperature, sampling.top_k), (Some(0.1), Some(0)));
        assert_eq!((sampling.top_p, sampling.min_p), (Some(0.9), Some(0.0)));
        assert_eq!((sampling.seed, sampling.repeat_penalty), (Some(42), Some(1.1)));
        assert_eq!((sampling.repeat_last_n, sampling.typical_p), (Some(u32::MAX), None));
        assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (-1.0, 0.5));
        assert_eq!((settings.reasoning_budget, settings.ignore_eos), (Some(-1), true));
    }

    #[test]
    fn what_is_so_anyway_is_taken() {
        let line = "--jinja -fa --cont-batching --kv-unified -fa on --flash-attn=auto --mmap \
                    --mirostat 0 --dry-multiplier 0.0 --no-warmup --no-metrics";
        assert_eq!(read(line), Ok(Settings::default()));
        assert_eq!(read("--embeddings").expect("a flag").purpose, Some(Purpose::Embed));
        assert_eq!(read("-c 0").expect("a flag").context, Some(super::super::ALL_CONTEXT));
    }

    #[test]
    fn the_later_one_wins() {
        assert_eq!(read("-c 1 --ctx-size 2").expect("flags").context, Some(2));
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for line in ["--mlock", "--model /etc/passwd", "--api-key x", "-ngl 99", "--lora=a"] {
            let error = read(line).expect_err(line);
            assert_eq!(error.kind, ErrorKind::Unsupported, "{line}");
            let name = line.split([' ', '=']).next().expect("a name");
            assert!(error.message.contains(name), "{}", error.message);
            assert_eq!(error.param.as_deref(), Some(FIELD));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, fault) in [
            ("-c", "needs a value"),
            ("-c many", "whole number"),
            ("--temp --top-k 5", "number"),
            ("--temp 3", "from 0 to 2"),
            ("--temp nan", "number"),
            ("-np 0", "from 1 to 200"),
            ("4096", "is no flag"),
            ("--jinja=yes", "takes no value"),
            ("-fa off", "only"),
            ("--mirostat 2", "only"),
            ("--repeat-penalty 0", "over 0"),
            ("--chat-template-kwargs [1]", "JSON object"),
            ("--chat-template-kwargs {\"a-b\":1}", "variable"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.message.contains(fault), "{line}: {}", error.message);
        }
    }

    proptest! {
        #[test]
        fn no_words_panic(words in prop::collection::vec("(-{0,2}[a-z=-]{0,12}|-?[0-9.e]{0,8}|\\PC{0,8})", 0..12)) {
            let _ = parse(&words);
        }
    }
}

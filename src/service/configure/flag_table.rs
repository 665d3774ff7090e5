use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::protocol::Purpose;

use super::{ALL_CONTEXT, Settings};

/// The most threads.
const MAX_THREADS: i64 = 512;
/// The most sequences at once, see [`crate::protocol::LoadSpec`].
const MAX_SEQUENCES: i64 = 200;
/// The most variables of a chat template.
const MAX_VARIABLES: usize = 64;
/// The longest name of one.
const MAX_NAME: usize = 128;
/// As large as llama.cpp counts.
const MOST: i64 = i32::MAX as i64;

/// What a flag asks for.
pub(super) enum Meaning {
    /// Takes a value; the fault reads on from the flag's name.
    Takes(fn(&mut Settings, &str) -> Result<(), String>),
    /// Takes none and sets something.
    Does(fn(&mut Settings)),
    /// Takes none, and what it asks for is so anyway.
    IsSo,
    /// Takes a value, and what these ask for is so anyway.
    IsSoAt(&'static [&'static str]),
    /// The same for one that may go without its value.
    MaySay(&'static [&'static str]),
}

use Meaning::{Does, IsSo, IsSoAt, MaySay, Takes};

/// Every flag that is taken.
pub(super) const FLAGS: &[(&[&str], Meaning)] = &[
    (
        &["-c", "--ctx-size"],
        Takes(|to, text| {
            // 0 is the model's own.
            let tokens = whole(text, 0, MOST)?;
            to.context = Some(tokens.filter_zero().unwrap_or(ALL_CONTEXT));
            Ok(())
        }),
    ),
    (
        &["-n", "--predict", "--n-predict"],
        Takes(|to, text| {
            // -1 is without a bound, -2 until the context is full: the same here.
            to.max_tokens = whole(text, -2, MOST)?.at_least_one()?;
            Ok(())
        }),
    ),
    (
        &["-t", "--threads"],
        Takes(|to, text| {
            // -1: as many as there are.
            to.threads = Some(whole(text, -1, MAX_THREADS)?.or_zero());
            Ok(())
        }),
    ),
    (
        &["-np", "--parallel"],
        Takes(|to, text| {
            to.sequences = Some(whole(text, 1, MAX_SEQUENCES)?.or_zero());
            Ok(())
        }),
    ),
    (
        &["--temp", "--temperature"],
        Takes(|to, text| set(&mut to.sampling.temperature, number(text, 0.0, 2.0))),
    ),
    (
        &["--top-k"],
        Takes(|to, text| {
            // -1 and 0 both mean all.
            to.sampling.top_k = Some(whole(text, -1, MOST)?.or_zero());
            Ok(())
        }),
    ),
    (&["--top-p"], Takes(|to, text| set(&mut to.sampling.top_p, number(text, 0.0, 1.0)))),
    (&["--min-p"], Takes(|to, text| set(&mut to.sampling.min_p, number(text, 0.0, 1.0)))),
    (
        &["-s", "--seed"],
        Takes(|to, text| {
            // -1: another one for each request.
            to.sampling.seed = u64::try_from(whole(text, -1, i64::from(u32::MAX))?.0).ok();
            Ok(())
        }),
    ),
    (
        &["--typical", "--typical-p"],
        Takes(|to, text| {
            to.sampling.typical_p = Some(number(text, 0.0, 1.0)?).filter(|p| *p < 1.0);
            Ok(())
        }),
    ),
    (
        &["--repeat-penalty"],
        Takes(|to, text| {
            let penalty = number(text, 0.0, 100.0)?;
            if penalty == 0.0 {
                return Err("must be over 0".to_owned());
            }
            to.sampling.repeat_penalty = Some(penalty);
            Ok(())
        }),
    ),
    (
        &["--repeat-last-n"],
        Takes(|to, text| {
            // -1: the whole context.
            let tokens = whole(text, -1, MOST)?;
            to.sampling.repeat_last_n = Some(u32::try_from(tokens.0).unwrap_or(u32::MAX));
            Ok(())
        }),
    ),
    (
        &["--presence-penalty"],
        Takes(|to, text| {
            to.sampling.presence_penalty = number(text, -2.0, 2.0)?;
            Ok(())
        }),
    ),
    (
        &["--frequency-penalty"],
        Takes(|to, text| {
            to.sampling.frequency_penalty = number(text, -2.0, 2.0)?;
            Ok(())
        }),
    ),
    (&["--ignore-eos"], Does(|to| to.ignore_eos = true)),
    (
        &["--reasoning-budget"],
        Takes(|to, text| {
            to.reasoning_budget = i32::try_from(whole(text, -1, MOST)?.0).ok();
            Ok(())
        }),
    ),
    (
        &["--chat-template-kwargs"],
        Takes(|to, text| {
            to.template = variables(text)?;
            Ok(())
        }),
    ),
    (&["--embedding", "--embeddings"], Does(|to| to.purpose = Some(Purpose::Embed))),
    (&["--rerank", "--reranking"], Does(|to| to.purpose = Some(Purpose::Rerank))),
    // Always so.
    (&["--jinja"], IsSo),
    (&["-cb", "--cont-batching"], IsSo),
    (&["-kvu", "--kv-unified"], IsSo),
    (&["--cache-prompt"], IsSo),
    (&["--no-context-shift"], IsSo),
    (&["--mmap"], IsSo),
    (&["--no-warmup"], IsSo),
    (&["--no-metrics"], IsSo),
    (&["--no-slots"], IsSo),
    (&["--no-webui"], IsSo),
    (&["-fa", "--flash-attn"], MaySay(&["on", "auto"])),
    (&["--reasoning-format"], IsSoAt(&["auto", "deepseek"])),
    // Off, as modeld has no such sampler.
    (&["--mirostat"], IsSoAt(&["0"])),
    (&["--dry-multiplier"], IsSoAt(&["0"])),
    (&["--xtc-probability"], IsSoAt(&["0"])),
    (&["--dynatemp-range"], IsSoAt(&["0"])),
    (&["--top-nsigma"], IsSoAt(&["-1"])),
];

/// A whole number within its range.
struct Whole(i64);

impl Whole {
    fn or_zero(&self) -> u32 {
        u32::try_from(self.0).unwrap_or(0)
    }

    fn filter_zero(&self) -> Option<u32> {
        Some(self.or_zero()).filter(|number| *number > 0)
    }

    /// `None` for what is below zero.
    fn at_least_one(&self) -> Result<Option<u32>, String> {
        match self.0 {
            0 => Err("must be at least 1, or -1 for no bound".to_owned()),
            number => Ok(u32::try_from(number).ok()),
        }
    }
}

fn whole(text: &str, min: i64, max: i64) -> Result<Whole, String> {
    let number = text.parse::<i64>().ok().filter(|number| (min..=max).contains(number));
    number.map(Whole).ok_or_else(|| format!("needs a whole number from {min} to {max}"))
}

fn number(text: &str, min: f32, max: f32) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("needs a number from {min} to {max}"))
}

fn set(to: &mut Option<f32>, value: Result<f32, String>) -> Result<(), String> {
    *to = Some(value?);
    Ok(())
}

/// Variables of a chat template, from a JSON object.
fn variables(text: &str) -> Result<BTreeMap<String, String>, String> {
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) else {
        return Err("needs a JSON object".to_owned());
    };
    if object.len() > MAX_VARIABLES {
        return Err(format!("takes at most {MAX_VARIABLES} variables"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut variables = BTreeMap::new();
    for (name, value) in object {
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
            return Err("names something that is no variable".to_owned());
        }
        let value = value.to_string();
        // How JSON spells a NUL, which llama.cpp takes for the end of a text.
        if value.contains("\\u0000") {
            return Err("has a NUL character; remove it".to_owned());
        }
        variables.insert(name, value);
    }
    Ok(variables)
}

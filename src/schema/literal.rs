use serde_json::Value;

use super::fault::{Place, SchemaFault};
use super::number;

/// How deep a constant may be.
const MAX_DEPTH: u32 = 32;
/// The longest text in a constant, in bytes: llguidance takes quadratic time over it.
const MAX_TEXT: usize = 8 << 10;

/// Whether a constant (`const`, one value of `enum`) can be enforced exactly.
pub(super) fn check(value: &Value, place: &mut Place) -> Result<(), SchemaFault> {
    check_at(value, place, 0)
}

fn check_at(value: &Value, place: &mut Place, depth: u32) -> Result<(), SchemaFault> {
    if depth > MAX_DEPTH {
        return Err(place.fault(format!("a constant is nested deeper than {MAX_DEPTH}")));
    }
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(value) => number::exact(value, place).map(drop),
        Value::String(text) => check_text(text, place),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            place.enter(&index.to_string());
            check_at(item, place, depth + 1)?;
            place.leave();
            Ok(())
        }),
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            place.enter(name);
            check_text(name, place)?;
            check_at(member, place, depth + 1)?;
            place.leave();
            Ok(())
        }),
    }
}

/// Whether the text can be written in exactly one way in an answer. Control characters other than
/// those with a short escape cannot be written at all: `\u` escapes are not allowed, so that no
/// property can hide behind another spelling of its name.
pub(super) fn check_text(text: &str, place: &Place) -> Result<(), SchemaFault> {
    if text.len() > MAX_TEXT {
        return Err(place.fault(format!(
            "a constant text of {} bytes is over the limit of {MAX_TEXT}",
            text.len()
        )));
    }
    let short = ['\u{8}', '\t', '\n', '\u{c}', '\r'];
    match text.chars().find(|c| (*c < ' ' || *c == '\u{7f}') && !short.contains(c)) {
        None => Ok(()),
        Some(c) => Err(place.fault(format!(
            "control character U+{:04X} cannot be guaranteed; leave it out",
            u32::from(c)
        ))),
    }
}

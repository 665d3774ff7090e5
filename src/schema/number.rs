use serde_json::{Map, Number, Value, json};

use super::fault::{Place, SchemaFault};

/// The largest whole number up to which every one is exact as a double.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;
/// Nothing but zero is closer to it.
const MIN_FRACTION: f64 = 1e-12;
/// No answer has so many characters, items or properties: an upper bound beyond constrains nothing.
const NEVER_REACHED: u64 = 10_000_000;
/// A lower bound beyond cannot be met by any answer.
const MAX_LOWER: u64 = 100_000;

/// A constant that every reader takes for the same number.
pub(super) fn exact(number: &Number, place: &Place) -> Result<f64, SchemaFault> {
    let value = number.as_f64().filter(|value| value.is_finite());
    match value {
        Some(value) if value == 0.0 => Ok(value),
        Some(value) if (MIN_FRACTION..=MAX_EXACT).contains(&value.abs()) => Ok(value),
        _ => Err(place.fault(format!(
            "the number {number} cannot be guaranteed: its size has to be between 1e-12 and 2^53 \
             - 1 (9007199254740991), or it has to be 0; use a string"
        ))),
    }
}

fn number_of<'a>(
    value: &'a Value,
    keyword: &str,
    place: &Place,
) -> Result<&'a Number, SchemaFault> {
    match value {
        Value::Number(number) => Ok(number),
        _ => Err(place.fault(format!("{keyword} has to be a number"))),
    }
}

/// A bound. One beyond the exact range is moved to its edge where that makes it stricter.
pub(super) fn bound(value: &Value, keyword: &str, place: &Place) -> Result<Value, SchemaFault> {
    let number = number_of(value, keyword, place)?;
    let upper = matches!(keyword, "maximum" | "exclusiveMaximum");
    match number.as_f64() {
        Some(far) if upper && far > MAX_EXACT => Ok(json!(9_007_199_254_740_991i64)),
        Some(far) if !upper && far < -MAX_EXACT => Ok(json!(-9_007_199_254_740_991i64)),
        _ => exact(number, place).map(|_| value.clone()),
    }
}

/// `multipleOf`.
pub(super) fn divisor(value: &Value, place: &Place) -> Result<Value, SchemaFault> {
    let number = number_of(value, "multipleOf", place)?;
    let divisor = exact(number, place)?;
    if divisor <= 0.0 {
        return Err(place.fault("multipleOf has to be more than 0"));
    }
    // The remainders become states of an automaton.
    let mut digits = divisor;
    for _ in 0..12 {
        if digits.fract() == 0.0 {
            break;
        }
        digits *= 10.0;
    }
    if digits.fract() != 0.0 || digits > 10_000.0 {
        return Err(place.fault(format!(
            "multipleOf {number} cannot be guaranteed: at most 10,000 steps of a power of ten"
        )));
    }
    Ok(value.clone())
}

/// A count: `minItems`, `maxLength` and their like. `None`: it constrains nothing.
pub(super) fn count(
    value: &Value,
    keyword: &str,
    place: &Place,
) -> Result<Option<u64>, SchemaFault> {
    let number = number_of(value, keyword, place)?;
    let whole = |value: f64| {
        // Exact: it is whole and below 2^53.
        (value.fract() == 0.0 && (0.0..=MAX_EXACT).contains(&value)).then_some(value as u64)
    };
    let count = number.as_u64().or_else(|| number.as_f64().and_then(whole));
    let far = number.as_f64().is_some_and(|value| value > MAX_EXACT);
    let upper = keyword.starts_with("max");
    match count {
        Some(0) if !upper => Ok(None),
        Some(count) if !upper && count <= MAX_LOWER => Ok(Some(count)),
        Some(count) if upper && count <= NEVER_REACHED => Ok(Some(count)),
        Some(_) if upper => Ok(None),
        None if upper && far => Ok(None),
        Some(_) => Err(place.fault(format!(
            "{keyword} {number} is more than any answer can hold: at most {MAX_LOWER}"
        ))),
        None if far => Err(place.fault(format!(
            "{keyword} {number} is more than any answer can hold: at most {MAX_LOWER}"
        ))),
        None => Err(place.fault(format!("{keyword} has to be a whole number, 0 or more"))),
    }
}

/// Draft 4 says `exclusiveMinimum: true` besides `minimum`; later drafts give the number itself.
pub(super) fn old_exclusive(out: &mut Map<String, Value>, flag: &str, bound: &str) {
    let Some(Value::Bool(exclusive)) = out.get(flag).cloned() else { return };
    out.shift_remove(flag);
    if exclusive && let Some(value) = out.shift_remove(bound) {
        out.insert(flag.to_owned(), value);
    }
}

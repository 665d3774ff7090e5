use std::time::Duration;

use serde_json::Value;

use crate::config::parse_keep_alive;
use crate::domain::{Error, KeepAlive, Result};

/// Longer is for ever.
const MAX_SECONDS: f64 = 1e9;

/// `keep_alive`: seconds as a number, or a text like `5m`; what is negative is for ever.
///
/// # Errors
/// `InvalidValue` for anything else.
pub(in crate::api::ollama) fn keep_alive(value: Option<Value>) -> Result<Option<KeepAlive>> {
    let wrong = |why: &str| {
        let message = format!(
            "`keep_alive` {why}; send a duration like \"5m\" or \"1h30m\", or a number of seconds, \
             0 to unload at once, -1 for ever"
        );
        Error::invalid("keep_alive", message)
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(seconds) if (0.0..=MAX_SECONDS).contains(&seconds) => {
                Ok(Some(KeepAlive::For(Duration::from_secs_f64(seconds))))
            }
            _ => Ok(Some(KeepAlive::Forever)),
        },
        // Some programs have an empty field for it.
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => match parse_keep_alive(&text) {
            Ok(time) => Ok(Some(time.map_or(KeepAlive::Forever, KeepAlive::For))),
            Err(_) => Err(wrong("is no duration")),
        },
        Some(_) => Err(wrong("is neither a text nor a number")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_ways_to_write_it() {
        let secs = |seconds| Some(KeepAlive::For(Duration::from_secs_f64(seconds)));
        for (value, meant) in [
            (json!(null), None),
            (json!(""), None),
            (json!(0), secs(0.0)),
            (json!("0"), secs(0.0)),
            (json!("0s"), secs(0.0)),
            (json!(1800), secs(1800.0)),
            (json!(2.5), secs(2.5)),
            (json!("5m"), secs(300.0)),
            (json!("1h30m"), secs(5400.0)),
            (json!("300ms"), secs(0.3)),
            (json!(-1), Some(KeepAlive::Forever)),
            (json!("-1"), Some(KeepAlive::Forever)),
            (json!("-1m"), Some(KeepAlive::Forever)),
            (json!(1e300), Some(KeepAlive::Forever)),
        ] {
            assert_eq!(keep_alive(Some(value.clone())), Ok(meant), "{value}");
        }
        for value in [json!("soon"), json!("5 parsecs"), json!(true), json!([]), json!({})] {
            let error = keep_alive(Some(value)).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some("keep_alive"));
        }
    }
}

use serde_json::Value;

use crate::domain::{Error, ErrorKind, Result, Thinking};

/// `think`: whether, and how hard. A model that can think does unless told otherwise; to ask one
/// that cannot is an error, as upstream.
///
/// # Errors
/// `InvalidValue`; `UnsupportedModel`.
pub(super) fn convert(value: Option<Value>, name: &str, can_think: bool) -> Result<Thinking> {
    let effort = match value {
        None | Some(Value::Null) => {
            return Ok(Thinking { enabled: can_think.then_some(true), ..Thinking::default() });
        }
        Some(Value::Bool(false)) => {
            return Ok(Thinking { enabled: Some(false), ..Thinking::default() });
        }
        Some(Value::Bool(true)) => None,
        Some(Value::String(level)) => Some(match level.as_str() {
            "low" | "medium" | "high" => level,
            // Templates know no more than this.
            "max" => "high".to_owned(),
            _ => return Err(wrong()),
        }),
        Some(_) => return Err(wrong()),
    };
    if !can_think {
        let message = format!("\"{name}\" does not support thinking");
        return Err(Error::new(ErrorKind::UnsupportedModel, message));
    }
    Ok(Thinking { enabled: Some(true), effort, budget: None })
}

fn wrong() -> Error {
    let message = "`think` must be true, false, \"low\", \"medium\", \"high\" or \"max\"";
    Error::invalid("think", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_think_does_unless_told_otherwise() {
        let asked = |value: Value, can: bool| convert(Some(value), "m", can);
        let thinking = |enabled, effort: Option<&str>| {
            Ok(Thinking { enabled, effort: effort.map(str::to_owned), budget: None })
        };
        assert_eq!(asked(json!(null), true), thinking(Some(true), None));
        assert_eq!(asked(json!(null), false), thinking(None, None));
        assert_eq!(asked(json!(true), true), thinking(Some(true), None));
        assert_eq!(asked(json!("low"), true), thinking(Some(true), Some("low")));
        assert_eq!(asked(json!("max"), true), thinking(Some(true), Some("high")));
        for can in [true, false] {
            assert_eq!(asked(json!(false), can), thinking(Some(false), None));
            for wrong in [json!("hard"), json!(1), json!({})] {
                assert_eq!(asked(wrong, can).expect_err("refused").param.as_deref(), Some("think"));
            }
        }
        for value in [json!(true), json!("high")] {
            let error = asked(value, false).expect_err("refused");
            assert_eq!(error.message, "\"m\" does not support thinking");
        }
    }
}

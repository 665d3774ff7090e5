use serde_json::Value;

/// What a value takes besides its text.
const NODE: usize = 64;

/// About so many bytes of memory.
pub(super) fn value_bytes(value: &Value) -> usize {
    let inner: usize = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(value_bytes).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len().saturating_add(value_bytes(value))).sum()
        }
    };
    inner.saturating_add(NODE)
}

use serde_json::Value;

/// What is wrong with a schema, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaFault {
    /// The place as a JSON pointer (`/properties/age/minimum`); empty: the whole.
    pub pointer: String,
    /// What is wrong there and what to do, in a sentence that names the keyword.
    pub message: String,
}

/// Whether answers can be held to this schema.
///
/// # Errors
/// A [`SchemaFault`] for what is no schema, too large, or uses a keyword that cannot be guaranteed.
pub fn check(schema: &Value) -> Result<(), SchemaFault> {
    match schema {
        Value::Object(_) | Value::Bool(_) => Ok(()),
        _ => Err(SchemaFault {
            pointer: String::new(),
            message: "a schema is an object or a boolean".to_owned(),
        }),
    }
}

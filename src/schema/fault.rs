/// What is wrong with a schema or grammar, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaFault {
    /// The place as a JSON pointer (`/properties/age/minimum`); empty: the whole.
    pub pointer: String,
    /// What is wrong there and what to do, in a sentence that names the keyword.
    pub message: String,
}

impl SchemaFault {
    /// A fault of the whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { pointer: String::new(), message: message.into() }
    }
}

/// Where the walk is: the steps of a JSON pointer.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(Vec<String>);

impl Place {
    /// Of an existing pointer.
    pub(super) fn of(pointer: &str) -> Self {
        Self(vec![pointer.to_owned()].into_iter().filter(|text| !text.is_empty()).collect())
    }

    /// One step down.
    pub(super) fn enter(&mut self, step: &str) {
        self.0.push(format!("/{}", step.replace('~', "~0").replace('/', "~1")));
    }

    /// Back.
    pub(super) fn leave(&mut self) {
        self.0.pop();
    }

    /// The pointer.
    pub(super) fn pointer(&self) -> String {
        self.0.concat()
    }

    /// A fault here.
    pub(super) fn fault(&self, message: impl Into<String>) -> SchemaFault {
        SchemaFault { pointer: self.pointer(), message: message.into() }
    }
}

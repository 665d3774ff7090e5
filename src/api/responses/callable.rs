use std::collections::BTreeMap;

/// What stands between a namespace and a name in the one name that the model knows.
const DOT: char = '.';

/// Everything that the model may call, by the name that the model knows.
pub(super) type Callables = BTreeMap<String, Callable>;

/// Something that the model may call, in the client's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callable {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    /// Takes free text instead of arguments: for the model a function with one field, `input`.
    pub(super) custom: bool,
}

impl Callable {
    /// The name that the model knows it by.
    pub(super) fn full_name(name: &str, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) => format!("{namespace}{DOT}{name}"),
            None => name.to_owned(),
        }
    }
}

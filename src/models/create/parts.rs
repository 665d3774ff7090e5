use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::domain::{Error, Result};
use crate::models::{OllamaLayers, StoredMessage};
use crate::registry::Part;

use super::recipe::Recipe;

/// The layers that a recipe asks for beside template and licences, with their bytes. Equal recipes
/// over equal bases have equal ones; what a recipe does not say stays as it is, byte for byte.
pub(super) fn write(recipe: &Recipe, base: &OllamaLayers) -> Result<Vec<(Part, Vec<u8>)>> {
    let mut parts = Vec::new();
    if let Some(system) = recipe.system.as_ref().filter(|text| !text.is_empty()) {
        parts.push((Part::System, system.clone().into_bytes()));
    }
    if !recipe.parameters.is_empty() {
        parts.push((Part::Parameters, parameters(&base.parameters, &recipe.parameters)?));
    }
    if !recipe.messages.is_empty() {
        parts.push((Part::Messages, messages(&recipe.messages)?));
    }
    Ok(parts)
}

fn parameters(base: &Map<String, Value>, new: &Map<String, Value>) -> Result<Vec<u8>> {
    let known = base.iter().filter(|(_, value)| !value.is_null());
    let sorted: BTreeMap<&String, &Value> = known.chain(new).collect();
    serde_json::to_vec(&sorted).map_err(Error::internal)
}

fn messages(all: &[StoredMessage]) -> Result<Vec<u8>> {
    let wire: Vec<Value> =
        all.iter().map(|said| json!({"role": said.role, "content": said.content})).collect();
    serde_json::to_vec(&wire).map_err(Error::internal)
}

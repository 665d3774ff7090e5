use serde_json::{Map, Value};

use crate::domain::{Digest, Error, ErrorKind, Result, Role as Speaker};
use crate::gguf::human_bytes;
use crate::registry::{Artifact, Part, Role};
use crate::store::Store;

use super::catalog::Models;

/// The largest part that is read, in bytes.
const MAX_PART: u64 = 8 << 20;

/// How to talk to a model, as whoever made it stored it: what a conversation begins with, and what
/// holds where a request says nothing. Empty for models that have nothing of the kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// Comes first where the first message of a request is no system message.
    pub system: Option<String>,
    /// Ollama's `options` by name, for those that a request leaves out. A single `stop` may be a
    /// text or a list; values of others may be of any type: nobody has checked what another program
    /// wrote.
    pub parameters: Map<String, Value>,
    /// Come before the messages of a request, after the system prompt.
    pub messages: Vec<StoredMessage>,
    /// The Jinja template that replaces the one in the weights.
    pub chat_template: Option<String>,
    /// A template in Go's language. For show only: prompts are rendered with the Jinja template.
    pub go_template: Option<String>,
    /// Texts of licences, in order.
    pub licenses: Vec<String>,
}

/// A message that was stored with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Who speaks; never a tool.
    pub role: Speaker,
    /// What is said.
    pub content: String,
}

impl Models {
    /// What is stored about how to talk to a model.
    ///
    /// # Errors
    /// `InvalidReference`, `ModelNotFound`; `InvalidModel` for a part that cannot be read.
    pub async fn profile(&self, model: &str) -> Result<Profile> {
        let model = model.to_owned();
        self.blocking(move |inner| {
            let id = inner.store.find(&model)?.model.id;
            let _lease = inner.store.lease(&id)?;
            let card = inner.cards.get(&inner.store, &id)?;
            read(&inner.store, &card.artifact)
        })
        .await
    }
}

/// The profile of an artifact whose blobs are in the store.
pub(super) fn read(store: &Store, artifact: &Artifact) -> Result<Profile> {
    let text = |digest: &Digest| -> Result<String> {
        let bytes = store.read_blob(digest, MAX_PART)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut profile = Profile::default();
    for layer in &artifact.layers {
        let digest = &layer.blob.digest;
        if matches!(layer.role, Role::Profile(_) | Role::ChatTemplate | Role::License)
            && layer.blob.size > MAX_PART
        {
            let (size, max) = (human_bytes(layer.blob.size), human_bytes(MAX_PART));
            let message = format!(
                "the layer {digest} of the model ({}) has {size}, more than {max}",
                layer.media_type
            );
            return Err(Error::new(ErrorKind::InvalidModel, message));
        }
        let bad = |fault: serde_json::Error| {
            let message = format!(
                "the layer {digest} of the model ({}) cannot be read: {fault}",
                layer.media_type
            );
            Error::new(ErrorKind::InvalidModel, message)
        };
        match layer.role {
            Role::ChatTemplate => profile.chat_template = Some(text(digest)?),
            Role::License => profile.licenses.push(text(digest)?),
            Role::Profile(Part::System) => profile.system = said(text(digest)?),
            Role::Profile(Part::GoTemplate) => profile.go_template = said(text(digest)?),
            Role::Profile(Part::Parameters) => {
                profile.parameters = parameters(&text(digest)?).map_err(bad)?;
            }
            Role::Profile(Part::Messages) => {
                profile.messages = messages(&text(digest)?).map_err(bad)?;
            }
            Role::Weights | Role::Projector | Role::Adapter | Role::Other => {}
        }
    }
    Ok(profile)
}

fn said(text: String) -> Option<String> {
    (!text.trim().is_empty()).then_some(text)
}

/// `null` is what some tools write for none.
fn parameters(json: &str) -> serde_json::Result<Map<String, Value>> {
    let all: Option<Map<String, Value>> = serde_json::from_str(json)?;
    Ok(all.unwrap_or_default().into_iter().filter(|(_, value)| !value.is_null()).collect())
}

#[derive(serde::Deserialize)]
struct WireMessage {
    role: String,
    #[serde(default)]
    content: String,
}

fn messages(json: &str) -> serde_json::Result<Vec<StoredMessage>> {
    let all: Option<Vec<WireMessage>> = serde_json::from_str(json)?;
    let known = |message: WireMessage| {
        let role = match message.role.to_ascii_lowercase().as_str() {
            "system" => Speaker::System,
            "user" => Speaker::User,
            "assistant" => Speaker::Assistant,
            other => {
                tracing::warn!(role = other, "a stored message of an unknown role is left out");
                return None;
            }
        };
        Some(StoredMessage { role, content: message.content })
    };
    Ok(all.unwrap_or_default().into_iter().filter_map(known).collect())
}

/// The bytes of the parts that a profile has, templates and licences left out. Equal profiles have
/// equal bytes.
pub(super) fn write(profile: &Profile) -> Result<Vec<(Part, Vec<u8>)>> {
    let mut parts = Vec::new();
    if let Some(system) = &profile.system {
        parts.push((Part::System, system.clone().into_bytes()));
    }
    if !profile.parameters.is_empty() {
        let sorted: std::collections::BTreeMap<_, _> = profile.parameters.iter().collect();
        parts.push((Part::Parameters, serde_json::to_vec(&sorted).map_err(Error::internal)?));
    }
    if !profile.messages.is_empty() {
        let wire: Vec<Value> = profile
            .messages
            .iter()
            .map(|said| serde_json::json!({"role": said.role.as_str(), "content": said.content}))
            .collect();
        parts.push((Part::Messages, serde_json::to_vec(&wire).map_err(Error::internal)?));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let parameters: Map<String, Value> =
            serde_json::from_str(r#"{"top_k": 3, "stop": ["a", "b"], "temperature": 0.5}"#)
                .unwrap();
        let said = |role, content: &str| StoredMessage { role, content: content.to_owned() };
        let profile = Profile {
            system: Some("Be brief.".to_owned()),
            parameters,
            messages: vec![said(Speaker::User, "hi"), said(Speaker::Assistant, "ho")],
            ..Profile::default()
        };
        let parts = write(&profile).unwrap();
        let shown: Vec<String> = parts
            .iter()
            .map(|(part, bytes)| format!("{part:?}: {}", String::from_utf8_lossy(bytes)))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @"");
        let json = |at: usize| String::from_utf8(parts[at].1.clone()).unwrap();
        assert_eq!(super::parameters(&json(1)).unwrap(), profile.parameters);
        assert_eq!(super::messages(&json(2)).unwrap(), profile.messages);
    }

    #[test]
    fn what_other_programs_write_is_read_as_far_as_it_is_known() {
        assert_eq!(parameters("null").unwrap(), Map::new());
        let read = parameters(r#"{"num_ctx": 7, "seed": null, "strange": {}}"#).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["num_ctx", "strange"]);
        assert!(parameters("[]").is_err());
        assert_eq!(messages("null").unwrap(), []);
        let read = messages(
            r#"[{"role": "tool", "content": "x"}, {"role": "User", "content": "y", "images": []},
                {"role": "assistant"}]"#,
        );
        let said = |role, content: &str| StoredMessage { role, content: content.to_owned() };
        assert_eq!(read.unwrap(), [said(Speaker::User, "y"), said(Speaker::Assistant, "")]);
        assert!(messages("{}").is_err());
    }
}

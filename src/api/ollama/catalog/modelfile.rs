//! What a model says about its use, as text in the form of Ollama's files.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::models::OllamaLayers;

/// Where values begin in the text of parameters.
const COLUMN: usize = 31;

/// One parameter a line, those with several values several times; `None` without any.
pub(super) fn parameters(parameters: &Map<String, Value>) -> Option<String> {
    let lines: Vec<String> =
        pairs(parameters).map(|(key, value)| format!("{key:<COLUMN$}{value}")).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A file that would make the same model again from `name`.
pub(super) fn modelfile(
    name: &str,
    template: &str,
    layers: &OllamaLayers,
    licenses: &[String],
) -> String {
    let mut file = format!("# Written by modeld.\n\nFROM {name}\n");
    // Writing to a string cannot fail.
    let mut block = |word: &str, text: &str| {
        let _ = writeln!(file, "{word} \"\"\"{text}\"\"\"");
    };
    if !template.is_empty() {
        block("TEMPLATE", template);
    }
    if let Some(system) = &layers.system {
        block("SYSTEM", system);
    }
    for (key, value) in pairs(&layers.parameters) {
        let _ = writeln!(file, "PARAMETER {key} {value}");
    }
    for message in &layers.messages {
        let _ = writeln!(file, "MESSAGE {} \"\"\"{}\"\"\"", message.role, message.content);
    }
    for license in licenses {
        let _ = writeln!(file, "LICENSE \"\"\"{license}\"\"\"");
    }
    file
}

/// Each value of each parameter; texts quoted.
fn pairs(parameters: &Map<String, Value>) -> impl Iterator<Item = (&String, String)> {
    parameters.iter().flat_map(|(key, value)| {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        values.iter().map(move |value| (key, value.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::StoredMessage;

    #[test]
    fn a_model_without_settings_says_little() {
        assert_eq!(parameters(&Map::new()), None);
        let file = modelfile("smollm2:latest", "", &OllamaLayers::default(), &[]);
        assert_eq!(file, "# Written by modeld.\n\nFROM smollm2:latest\n");
    }

    #[test]
    fn settings_stand_in_columns_and_in_the_file() {
        let set = json!({ "stop": ["<|a|>", "\"b\""], "temperature": 0.5 });
        let layers = OllamaLayers {
            system: Some("Be brief.".into()),
            template: None,
            parameters: set.as_object().expect("an object").clone(),
            messages: vec![StoredMessage { role: "user".into(), content: "Hi".into() }],
        };
        let licenses = ["Free.".to_owned()];
        let file = modelfile("x:latest", "{{ messages }}", &layers, &licenses);
        let columns = parameters(&layers.parameters).expect("some");
        insta::assert_snapshot!(format!("{columns}\n\n{file}"));
    }
}

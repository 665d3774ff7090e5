use std::collections::BTreeSet;

use crate::domain::{Error, ErrorKind, Result};

use super::header::wrong_type;
use super::{Facts, GgufError, Header, Value};

const ALPHA: &str = "adapter.lora.alpha";
/// An adapter with this key works only from certain tokens on.
const INVOCATION: &str = "adapter.alora.invocation_tokens";

/// What a LoRA adapter says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// `general.architecture`: that of the models it is for.
    pub architecture: String,
    /// The tensors that it changes.
    pub targets: BTreeSet<String>,
}

impl Adapter {
    /// Reads an adapter, and checks what llama.cpp would trust blindly.
    ///
    /// # Errors
    /// The first rule that the file breaks.
    pub fn of(header: &Header) -> std::result::Result<Self, GgufError> {
        for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
            let found = header.text(key)?.unwrap_or_default();
            if found != expected {
                let found = found.chars().take(40).collect();
                return Err(GgufError::NotAnAdapter { key, expected, found });
            }
        }
        match header.get(ALPHA) {
            None | Some(Value::Float(_)) => {}
            Some(other) => return Err(wrong_type(ALPHA, "a float", other)),
        }
        if header.get(INVOCATION).is_some() {
            return Err(GgufError::ActivatedAdapter);
        }
        let architecture = header
            .text("general.architecture")?
            .filter(|arch| !arch.is_empty())
            .ok_or(GgufError::NoArchitecture)?
            .to_owned();
        let (mut first, mut second) = (BTreeSet::new(), BTreeSet::new());
        for tensor in &header.tensors {
            let name = tensor.name.as_str();
            if let Some(target) = name.strip_suffix(".lora_a") {
                first.insert(target.to_owned());
            } else if let Some(target) = name.strip_suffix(".lora_b") {
                second.insert(target.to_owned());
            } else if !name.ends_with("_norm.weight") {
                return Err(GgufError::AdapterTensor { name: name.to_owned() });
            }
        }
        if let Some(alone) = first.symmetric_difference(&second).next() {
            return Err(GgufError::AdapterHalf { target: alone.clone() });
        }
        if first.is_empty() {
            return Err(GgufError::EmptyAdapter);
        }
        Ok(Self { architecture, targets: first })
    }

    /// Whether it is for the model with these facts and headers; `name` is for the message.
    ///
    /// # Errors
    /// `InvalidModel` with what the two are.
    pub fn require_base(&self, name: &str, facts: &Facts, weights: &[Header]) -> Result<()> {
        let refuse = |why: String| {
            let message = format!(
                "the LoRA adapter {name} does not fit the model: {why}; use one that was made for it"
            );
            Err(Error::new(ErrorKind::InvalidModel, message))
        };
        if self.architecture != facts.architecture {
            return refuse(format!(
                "it is for the architecture {:?}, and the model's is {:?}",
                self.architecture, facts.architecture
            ));
        }
        let there: BTreeSet<&str> = weights
            .iter()
            .flat_map(|header| header.tensors.iter().map(|tensor| tensor.name.as_str()))
            .collect();
        match self.targets.iter().find(|target| !there.contains(target.as_str())) {
            Some(target) => refuse(format!("it changes the tensor {target:?}, which is not there")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::read_header;
    use crate::gguf::testing::Writer;

    fn lora(architecture: &str) -> Writer {
        Writer::empty()
            .text("general.type", "adapter")
            .text("general.architecture", architecture)
            .text("adapter.type", "lora")
            .f32(ALPHA, 8.0)
            .tensor("token_embd.weight.lora_a", &[32, 2], 0)
            .tensor("token_embd.weight.lora_b", &[2, 4], 0)
    }

    fn header(writer: &Writer) -> Header {
        let bytes = writer.build();
        read_header(bytes.as_slice(), bytes.len() as u64).unwrap()
    }

    #[test]
    fn an_adapter_is_read_and_fits_its_model_only() {
        let base = header(&Writer::tiny());
        let facts = Facts::of(&base).unwrap();
        let fits = |writer: &Writer| {
            let adapter = Adapter::of(&header(writer)).unwrap();
            adapter.require_base("x", &facts, std::slice::from_ref(&base))
        };
        assert_eq!(fits(&lora("llama")), Ok(()));
        let error = fits(&lora("qwen2")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidModel);
        assert!(error.message.contains("qwen2") && error.message.contains("llama"), "{error}");
        let far = lora("llama").tensor("blk.7.x.lora_a", &[2], 0).tensor("blk.7.x.lora_b", &[2], 0);
        assert!(fits(&far).unwrap_err().message.contains("blk.7.x"));
    }

    #[test]
    fn what_is_no_adapter_is_refused_by_its_own_rule() {
        let mut messages = Vec::new();
        for (what, writer) in [
            ("a model", Writer::tiny()),
            ("a control vector", lora("llama").without("adapter.type").text("adapter.type", "cv")),
            ("alpha", lora("llama").without(ALPHA).u32(ALPHA, 8)),
            ("activated", lora("llama").u32s(INVOCATION, &[1])),
            ("architecture", lora("llama").without("general.architecture")),
            ("half", lora("llama").tensor("x.lora_a", &[2], 0)),
            ("other tensor", lora("llama").tensor("x.weight", &[2], 0)),
            ("empty", lora("llama").forget_tensors()),
        ] {
            let error = Adapter::of(&header(&writer)).err();
            messages.push(format!("{what}: {}", error.unwrap_or_else(|| panic!("{what}"))));
        }
        insta::assert_snapshot!(messages.join("\n"));
    }
}

use std::collections::BTreeMap;

use super::header::wrong_type;
use super::{GgufError, Header, Value};

/// llama.cpp has room for so many layers and aborts above (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;
const MAX_HEADS: u64 = 65_536;
const MAX_WIDTH: u64 = 1 << 24;
const MAX_ROPE_DIMENSIONS: u64 = 16_384;
/// Longer arrays are not shown.
const SHOWN_ELEMENTS: u64 = 50;

/// Architectures that only embed, whatever else their files say.
const EMBEDDERS: [&str; 11] = [
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "gemma-embedding",
    "llama-embed",
    "t5encoder",
];

/// What a model file says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// `general.architecture`.
    pub architecture: String,
    /// `general.name`; empty if not said.
    pub name: String,
    /// Elements of all tensors.
    pub parameters: u64,
    /// The name of `general.file_type` (`Q4_1`); empty if not said.
    pub quantization: String,
    /// The context it was trained for, in tokens.
    pub context_length: Option<u32>,
    /// It embeds texts and cannot generate.
    pub is_embedder: bool,
    /// It ranks texts (a kind of embedder).
    pub is_reranker: bool,
    /// `tokenizer.chat_template`; empty if it carries none, or one too long to keep.
    pub chat_template: String,
    /// It carries a chat template.
    pub has_chat_template: bool,
    /// `general.license`; empty if not said.
    pub license: String,
    /// Which part of a sharded model it is.
    pub split: Option<Split>,
    /// What its memory need is computed from.
    pub shape: Shape,
    /// All metadata as text, long arrays left out.
    pub metadata: BTreeMap<String, String>,
}

/// Which part of a sharded model a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// From 0.
    pub index: u64,
    /// How many there are.
    pub count: u64,
}

/// The dimensions that decide how much memory a model takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// Numbers that the KV cache holds per token, over all layers.
    pub kv_per_token: u64,
    /// Numbers of recurrent state per sequence, over all layers.
    pub state_per_sequence: u64,
    /// Width of the residual stream.
    pub embedding: u64,
    /// Width of the widest feed-forward layer.
    pub feed_forward: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: u64,
}

impl Facts {
    /// Reads the facts of an unsharded model or of a first shard, and checks every number that
    /// llama.cpp would trust blindly.
    ///
    /// # Errors
    /// The first rule that the file breaks.
    pub fn of(header: &Header) -> Result<Self, GgufError> {
        let arch = header
            .text("general.architecture")?
            .filter(|arch| !arch.is_empty())
            .ok_or(GgufError::NoArchitecture)?
            .to_owned();
        let pooling = header.count(&format!("{arch}.pooling_type"))?;
        let causal = header.get(&format!("{arch}.attention.causal"));
        let is_embedder = EMBEDDERS.contains(&arch.as_str())
            || matches!(pooling, Some(1..))
            || matches!(causal, Some(Value::Bool(false)));
        let parameters = header.tensors.iter().map(|t| t.elements).fold(0, u64::saturating_add);
        Ok(Self {
            name: header.text("general.name")?.unwrap_or_default().to_owned(),
            parameters,
            quantization: header
                .count("general.file_type")?
                .and_then(file_type)
                .unwrap_or_default()
                .to_owned(),
            context_length: header
                .count(&format!("{arch}.context_length"))?
                .map(|context| u32::try_from(context).unwrap_or(u32::MAX)),
            is_embedder,
            is_reranker: pooling == Some(4),
            chat_template: header
                .get("tokenizer.chat_template")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            has_chat_template: matches!(
                header.get("tokenizer.chat_template"),
                Some(Value::String(_) | Value::LongString(_))
            ),
            license: license(header),
            split: split(header)?,
            shape: Shape::of(header, &arch)?,
            metadata: shown(header),
            architecture: arch,
        })
    }

    /// Adds what a further shard holds.
    pub fn add_shard(&mut self, header: &Header) {
        let elements = header.tensors.iter().map(|t| t.elements).fold(0, u64::saturating_add);
        self.parameters = self.parameters.saturating_add(elements);
        self.shape.weight_bytes = self.shape.weight_bytes.saturating_add(weight_bytes(header));
    }
}

impl Shape {
    fn of(header: &Header, arch: &str) -> Result<Self, GgufError> {
        let mut shape = Self { weight_bytes: weight_bytes(header), ..Self::default() };
        if arch == "clip" {
            let key = "clip.vision.block_count";
            if let Some(layers) = header.count(key)? {
                within(key, layers, 1, MAX_LAYERS)?;
            }
            return Ok(shape);
        }
        let key = |name: &str| format!("{arch}.{name}");
        let number = |name: &str, min, max| -> Result<Option<u64>, GgufError> {
            let key = key(name);
            header.count(&key)?.map(|value| within(&key, value, min, max)).transpose()
        };
        let required = |name: &str, min, max| {
            number(name, min, max)?.ok_or_else(|| GgufError::MissingKey { key: key(name) })
        };
        let layers = required("block_count", 1, MAX_LAYERS)?;
        shape.embedding = required("embedding_length", 1, MAX_WIDTH)?;
        number("context_length", 1, u64::from(u32::MAX))?;
        number("rope.dimension_count", 0, MAX_ROPE_DIMENSIONS)?;
        shape.feed_forward = per_layer(header, &key("feed_forward_length"), layers, 0, MAX_WIDTH)?
            .into_iter()
            .max()
            .unwrap_or(0);

        let heads = per_layer(header, &key("attention.head_count"), layers, 1, MAX_HEADS)?;
        let kv_key = key("attention.head_count_kv");
        let kv_heads = match header.get(&kv_key) {
            Some(_) => per_layer(header, &kv_key, layers, 0, MAX_HEADS)?,
            None => heads.clone(),
        };
        let most_heads = heads.iter().copied().max().unwrap_or(0);
        let head = shape.embedding.checked_div(most_heads).unwrap_or(0);
        let key_length = number("attention.key_length", 1, MAX_WIDTH)?.unwrap_or(head);
        let value_length = number("attention.value_length", 1, MAX_WIDTH)?.unwrap_or(head);
        shape.kv_per_token = kv_heads
            .iter()
            .try_fold(0u64, |sum, heads| {
                heads.checked_mul(key_length.checked_add(value_length)?)?.checked_add(sum)
            })
            .ok_or(GgufError::MemoryOverflow)?;

        let state = number("ssm.state_size", 0, MAX_WIDTH)?.unwrap_or(0);
        let inner = number("ssm.inner_size", 0, MAX_WIDTH)?.unwrap_or(0);
        let kernel = number("ssm.conv_kernel", 0, MAX_WIDTH)?.unwrap_or(0);
        shape.state_per_sequence = state
            .checked_add(kernel)
            .and_then(|per_channel| per_channel.checked_mul(inner)?.checked_mul(layers))
            .ok_or(GgufError::MemoryOverflow)?;
        shape.vocabulary = vocabulary(header, arch)?;
        Ok(shape)
    }
}

/// A value that is one number for all layers or an array with one for each; empty if absent.
fn per_layer(
    header: &Header,
    key: &str,
    layers: u64,
    min: u64,
    max: u64,
) -> Result<Vec<u64>, GgufError> {
    let Some(value) = header.get(key) else { return Ok(Vec::new()) };
    if let Some(count) = value.as_count() {
        let count = within(key, count, min, max)?;
        return Ok(vec![count; usize::try_from(layers).unwrap_or(0)]);
    }
    let expected = "an integer or one for each layer";
    let array = value.as_array().ok_or_else(|| wrong_type(key, expected, value))?;
    let items = array.items.as_ref().ok_or_else(|| wrong_type(key, expected, value))?;
    items
        .iter()
        // Layers without attention or feed-forward say 0 in such arrays.
        .map(|item| match item.as_count() {
            Some(count) => within(key, count, 0, max),
            None => Err(wrong_type(key, expected, item)),
        })
        .collect()
}

fn vocabulary(header: &Header, arch: &str) -> Result<u64, GgufError> {
    const TENSOR: &str = "token_embd.weight";
    let tokens = match header.get("tokenizer.ggml.tokens") {
        None => None,
        Some(Value::Array(array)) => Some(array.len),
        Some(value) => return Err(wrong_type("tokenizer.ggml.tokens", "an array", value)),
    };
    let rows = header
        .tensors
        .iter()
        .find(|tensor| tensor.name == TENSOR)
        .and_then(|tensor| tensor.dims.get(1).copied());
    match (tokens, rows) {
        (Some(tokens), Some(rows)) if tokens != rows => {
            Err(GgufError::VocabularySize { tokens, rows, tensor: TENSOR })
        }
        (Some(tokens), _) => Ok(tokens),
        (None, rows) => {
            Ok(header.count(&format!("{arch}.vocab_size"))?.or(rows).unwrap_or(0).min(MAX_WIDTH))
        }
    }
}

fn within(key: &str, value: u64, min: u64, max: u64) -> Result<u64, GgufError> {
    if value < min || value > max {
        return Err(GgufError::OutOfRange {
            key: key.to_owned(),
            value: value.to_string(),
            min,
            max,
        });
    }
    Ok(value)
}

fn split(header: &Header) -> Result<Option<Split>, GgufError> {
    let count = header.count("split.count")?.unwrap_or(0);
    let index = header.count("split.no")?.unwrap_or(0);
    if count < 2 {
        return Ok(None);
    }
    within("split.count", count, 1, 99_999)?;
    within("split.no", index, 0, count - 1)?;
    Ok(Some(Split { index, count }))
}

fn weight_bytes(header: &Header) -> u64 {
    header.tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add)
}

fn license(header: &Header) -> String {
    header.get("general.license").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn shown(header: &Header) -> BTreeMap<String, String> {
    header
        .metadata
        .iter()
        .filter(|(_, value)| match value {
            Value::Array(array) => array.len <= SHOWN_ELEMENTS && array.items.is_some(),
            Value::LongString(_) => false,
            _ => true,
        })
        .map(|(key, value)| (key.clone(), value.to_string()))
        .collect()
}

/// The names of `llama_ftype`, short as Docker shows them.
fn file_type(value: u64) -> Option<&'static str> {
    // Files of later versions carry this bit when the type was guessed (`LLAMA_FTYPE_GUESSED`).
    Some(match value & !1024 {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4_MOE",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => return None,
    })
}

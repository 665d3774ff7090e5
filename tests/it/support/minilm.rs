//! all-MiniLM-L6-v2 twice: as a GGUF file for llama.cpp, and as plain loops over the same weights,
//! which are the reference that llama.cpp's vectors are held against.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::gguf::{Gguf, Value};

const LAYERS: usize = 6;
const HEADS: usize = 12;
const WIDTH: usize = 384;
const INNER: usize = 1536;
const EPSILON: f32 = 1e-12;
/// Tokens of an input.
pub const CONTEXT: usize = 512;
/// Ids of the vocabulary.
const UNKNOWN: i32 = 100;
const CLS: i32 = 101;
const SEP: i32 = 102;

/// The weights and the vocabulary.
pub struct MiniLm {
    tensors: HashMap<String, (Vec<u64>, Vec<f32>)>,
    words: Vec<String>,
    ids: HashMap<String, i32>,
}

impl MiniLm {
    /// Reads `model.safetensors` and `vocab.txt` of a directory.
    pub fn open(dir: &Path) -> Self {
        let words: Vec<String> = fs::read_to_string(dir.join("vocab.txt"))
            .expect("a vocabulary")
            .lines()
            .map(str::to_owned)
            .collect();
        let ids = (0..).zip(&words).map(|(id, word)| (word.clone(), id)).collect();
        let tensors = safetensors(&fs::read(dir.join("model.safetensors")).expect("weights"));
        Self { tensors, words, ids }
    }

    /// The embedder as a GGUF file: mean pooling.
    pub fn embedder(&self) -> Gguf {
        self.gguf(1)
    }

    /// A reranker: the same body under [`head`].
    pub fn reranker(&self) -> Gguf {
        let mut file = self.gguf(4);
        let (weights, bias) = head();
        file.set("bert.classifier.output_labels", Value::Strs(vec!["score".to_owned()]));
        file.tensor("cls.output.weight", &[WIDTH as u64, 1], weights);
        file.tensor("cls.output.bias", &[1], vec![bias]);
        file
    }

    fn gguf(&self, pooling: u32) -> Gguf {
        let mut file = Gguf::new();
        let u32 = |value: usize| Value::U32(u32::try_from(value).expect("small"));
        let (texts, kinds) = self.words.iter().map(|word| llama_word(word)).unzip();
        file.set("general.architecture", Value::str("bert"))
            .set("general.type", Value::str("model"))
            .set("general.name", Value::str("all-MiniLM-L6-v2"))
            .set("general.license", Value::str("apache-2.0"))
            .set("general.file_type", Value::U32(0))
            .set("bert.context_length", u32(CONTEXT))
            .set("bert.embedding_length", u32(WIDTH))
            .set("bert.feed_forward_length", u32(INNER))
            .set("bert.block_count", u32(LAYERS))
            .set("bert.attention.head_count", u32(HEADS))
            .set("bert.attention.layer_norm_epsilon", Value::F32(EPSILON))
            .set("bert.attention.causal", Value::Bool(false))
            .set("bert.pooling_type", Value::U32(pooling))
            .set("tokenizer.ggml.model", Value::str("bert"))
            .set("tokenizer.ggml.pre", Value::str("default"))
            .set("tokenizer.ggml.token_type_count", Value::U32(2))
            .set("tokenizer.ggml.tokens", Value::Strs(texts))
            .set("tokenizer.ggml.token_type", Value::I32s(kinds))
            .set("tokenizer.ggml.unknown_token_id", Value::U32(UNKNOWN as u32))
            .set("tokenizer.ggml.bos_token_id", Value::U32(CLS as u32))
            .set("tokenizer.ggml.eos_token_id", Value::U32(SEP as u32))
            .set("tokenizer.ggml.seperator_token_id", Value::U32(SEP as u32))
            .set("tokenizer.ggml.padding_token_id", Value::U32(0));
        let mut copy = |to: &str, from: &str| {
            let (shape, data) = self.tensors.get(from).expect(from);
            // GGUF names the fastest-running dimension first.
            let dims: Vec<u64> = shape.iter().rev().copied().collect();
            file.tensor(to, &dims, data.clone());
        };
        for (to, from) in [
            ("token_embd.weight", "word_embeddings.weight"),
            ("position_embd.weight", "position_embeddings.weight"),
            ("token_types.weight", "token_type_embeddings.weight"),
            ("token_embd_norm.weight", "LayerNorm.weight"),
            ("token_embd_norm.bias", "LayerNorm.bias"),
        ] {
            copy(to, &format!("embeddings.{from}"));
        }
        for layer in 0..LAYERS {
            for (to, from) in [
                ("attn_q", "attention.self.query"),
                ("attn_k", "attention.self.key"),
                ("attn_v", "attention.self.value"),
                ("attn_output", "attention.output.dense"),
                ("attn_output_norm", "attention.output.LayerNorm"),
                ("ffn_up", "intermediate.dense"),
                ("ffn_down", "output.dense"),
                ("layer_output_norm", "output.LayerNorm"),
            ] {
                for part in ["weight", "bias"] {
                    let from = format!("encoder.layer.{layer}.{from}.{part}");
                    copy(&format!("blk.{layer}.{to}.{part}"), &from);
                }
            }
        }
        file
    }

    /// The tokens of a text with their marks, by BERT's rules.
    pub fn tokenize(&self, text: &str) -> Vec<i32> {
        [vec![CLS], self.pieces(text), vec![SEP]].concat()
    }

    /// The mean of the last states, of length 1.
    pub fn embed(&self, text: &str) -> Vec<f32> {
        let states = self.states(&self.tokenize(text));
        let mut mean = vec![0.0; WIDTH];
        for state in &states {
            add(&mut mean, state);
        }
        let length = dot(&mean, &mean).sqrt();
        mean.iter().map(|value| value / length).collect()
    }

    /// The logit of a pair.
    pub fn score(&self, query: &str, document: &str) -> f32 {
        let tokens =
            [vec![CLS], self.pieces(query), vec![SEP], self.pieces(document), vec![SEP]].concat();
        let (weights, bias) = head();
        dot(&self.states(&tokens)[0], &weights) + bias
    }

    /// Words are what spaces and punctuation leave; pieces the longest that the vocabulary has.
    fn pieces(&self, text: &str) -> Vec<i32> {
        let mut spaced = String::new();
        for letter in text.chars().flat_map(char::to_lowercase).map(without_accent) {
            let alone = letter.is_ascii_punctuation()
                || ('\u{4e00}'..='\u{9fff}').contains(&letter)
                || "\u{3001}\u{3002}\u{2026}\u{2014}\u{201c}\u{201d}".contains(letter);
            if alone {
                spaced.extend([' ', letter, ' ']);
            } else {
                spaced.push(letter);
            }
        }
        spaced.split_whitespace().flat_map(|word| self.word(word)).collect()
    }

    fn word(&self, word: &str) -> Vec<i32> {
        let (mut ids, mut rest) = (Vec::new(), word);
        while !rest.is_empty() {
            let ends = rest.char_indices().map(|(at, letter)| at + letter.len_utf8());
            let known = |end: usize| {
                let mark = if ids.is_empty() { "" } else { "##" };
                Some((self.ids.get(&format!("{mark}{}", &rest[..end]))?, end))
            };
            let Some((id, end)) = ends.rev().find_map(known) else { return vec![UNKNOWN] };
            ids.push(*id);
            rest = &rest[end..];
        }
        ids
    }

    /// The last state of every token.
    fn states(&self, tokens: &[i32]) -> Vec<Vec<f32>> {
        let row = |name: &str, at: usize| {
            let (_, data) = &self.tensors[&format!("embeddings.{name}_embeddings.weight")];
            &data[at * WIDTH..(at + 1) * WIDTH]
        };
        let mut states: Vec<Vec<f32>> = tokens
            .iter()
            .enumerate()
            .map(|(position, token)| {
                let mut state = row("word", *token as usize).to_vec();
                add(&mut state, row("position", position));
                add(&mut state, row("token_type", 0));
                self.norm("embeddings.LayerNorm", &state)
            })
            .collect();
        for layer in 0..LAYERS {
            states = self.layer(&format!("encoder.layer.{layer}"), &states);
        }
        states
    }

    fn layer(&self, layer: &str, states: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let linear = |name: &str, x: &[f32]| self.linear(&format!("{layer}.{name}"), x);
        let each = |name: &str| -> Vec<Vec<f32>> {
            states.iter().map(|state| linear(name, state)).collect()
        };
        let [queries, keys, values] =
            ["query", "key", "value"].map(|name| each(&format!("attention.self.{name}")));
        let size = WIDTH / HEADS;
        let attend = |query: &Vec<f32>| {
            let mut mixed = vec![0.0; WIDTH];
            for head in 0..HEADS {
                let part = head * size..(head + 1) * size;
                let weights: Vec<f32> = keys
                    .iter()
                    .map(|key| dot(&query[part.clone()], &key[part.clone()]) / (size as f32).sqrt())
                    .collect();
                let most = weights.iter().copied().fold(f32::MIN, f32::max);
                let weights: Vec<f32> = weights.iter().map(|w| (w - most).exp()).collect();
                let sum: f32 = weights.iter().sum();
                for (weight, value) in weights.iter().zip(&values) {
                    for at in part.clone() {
                        mixed[at] += weight / sum * value[at];
                    }
                }
            }
            mixed
        };
        let mixed = queries.iter().map(attend).zip(states);
        let finish = |(mixed, state): (Vec<f32>, &Vec<f32>)| {
            let mut seen = linear("attention.output.dense", &mixed);
            add(&mut seen, state);
            let seen = self.norm(&format!("{layer}.attention.output.LayerNorm"), &seen);
            let inner: Vec<f32> =
                linear("intermediate.dense", &seen).into_iter().map(gelu).collect();
            let mut out = linear("output.dense", &inner);
            add(&mut out, &seen);
            self.norm(&format!("{layer}.output.LayerNorm"), &out)
        };
        mixed.map(finish).collect()
    }

    fn linear(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let (_, weight) = &self.tensors[&format!("{name}.weight")];
        let (_, bias) = &self.tensors[&format!("{name}.bias")];
        weight.chunks_exact(x.len()).zip(bias).map(|(row, bias)| dot(row, x) + bias).collect()
    }

    fn norm(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let (_, weight) = &self.tensors[&format!("{name}.weight")];
        let (_, bias) = &self.tensors[&format!("{name}.bias")];
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / x.len() as f32;
        let scale = 1.0 / (variance + EPSILON).sqrt();
        let parts = x.iter().zip(weight).zip(bias);
        parts.map(|((value, weight), bias)| (value - mean) * scale * weight + bias).collect()
    }
}

/// The head of the reranker: made up, so its scores mean nothing, but they differ.
fn head() -> (Vec<f32>, f32) {
    ((0..WIDTH).map(|at| (at as f32 * 0.7).sin() * 0.3).collect(), 0.25)
}

/// How llama.cpp writes a word of the vocabulary: it marks the beginnings of words, BERT marks what
/// goes on. And its kind: normal, control or unused.
fn llama_word(word: &str) -> (String, i32) {
    if word.starts_with("[unused") {
        (word.to_owned(), 5)
    } else if word.len() > 2 && word.starts_with('[') && word.ends_with(']') {
        (word.to_owned(), 3)
    } else if let Some(rest) = word.strip_prefix("##").filter(|rest| !rest.is_empty()) {
        (rest.to_owned(), 1)
    } else {
        (format!("\u{2581}{word}"), 1)
    }
}

/// The accents of the texts that are compared; the normal form of all others is themselves.
fn without_accent(letter: char) -> char {
    match letter {
        'à' | 'â' | 'ä' | 'á' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'ï' | 'í' => 'i',
        'ñ' => 'n',
        'ö' | 'ô' | 'ó' => 'o',
        'ü' | 'ú' | 'ù' => 'u',
        'ç' => 'c',
        // Its two dots over the letter count as an accent.
        'で' => 'て',
        other => other,
    }
}

pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x / std::f32::consts::SQRT_2))
}

/// Abramowitz and Stegun 7.1.26: within 1.5e-7.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly = [1.061_405_4, -1.453_152, 1.421_413_8, -0.284_496_74, 0.254_829_6]
        .iter()
        .fold(0.0, |sum, factor| (sum + factor) * t);
    (1.0 - poly * (-x * x).exp()).copysign(x)
}

/// The 32-bit float tensors of a file: a length, that much JSON, then the data.
fn safetensors(file: &[u8]) -> HashMap<String, (Vec<u64>, Vec<f32>)> {
    let length = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    let (head, data) = file[8..].split_at(length);
    let head: HashMap<String, serde_json::Value> = serde_json::from_slice(head).expect("a header");
    let tensor = |(name, about): (String, serde_json::Value)| {
        if about["dtype"] != "F32" {
            return None;
        }
        let numbers = |key: &str| -> Vec<u64> {
            let list = about[key].as_array().expect(key);
            list.iter().map(|number| number.as_u64().expect("a size")).collect()
        };
        let place = numbers("data_offsets");
        let bytes = &data[place[0] as usize..place[1] as usize];
        let float = |four: &[u8]| f32::from_le_bytes(four.try_into().expect("4 bytes"));
        Some((name, (numbers("shape"), bytes.chunks_exact(4).map(float).collect())))
    };
    head.into_iter().filter_map(tensor).collect()
}

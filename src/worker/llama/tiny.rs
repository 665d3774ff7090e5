//! A vocabulary of bytes in a GGUF file of a few kilobytes, for tests that need no weights:
//! `<unk>`, `<s>`, `</s>`, `<|im_end|>`, one token per byte and one for the space (GGUF version 3, "llama" tokenizer).

use std::path::Path;
use std::sync::Arc;

use super::Model;

/// Ids of the special tokens.
pub(in crate::worker) const BOS: i32 = 1;
pub(in crate::worker) const EOS: i32 = 2;
/// Its text is `<|im_end|>`.
pub(in crate::worker) const TURN_END: i32 = 3;
/// How many tokens there are.
pub(in crate::worker) const SIZE: i32 = 4 + 256 + 1;

const STRING: u32 = 8;
const INT32: u32 = 5;
const FLOAT32: u32 = 6;
const UINT32: u32 = 4;
const BOOL: u32 = 7;
const ARRAY: u32 = 9;

/// Loads it; with a chat template where one is given.
pub(in crate::worker) fn model(template: Option<&str>) -> Arc<Model> {
    load(template, false)
}

/// Loads it with the bytes `P`, `S` and `M` as the marks of a gap.
pub(super) fn filling_model() -> Arc<Model> {
    load(None, true)
}

fn load(template: Option<&str>, fills: bool) -> Arc<Model> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tiny.gguf");
    write(&path, template, fills);
    Model::load(&path, true, |_| true).expect("the vocabulary loads")
}

fn write(path: &Path, template: Option<&str>, fills: bool) {
    let mut texts = vec!["<unk>".to_owned(), "<s>".into(), "</s>".into(), "<|im_end|>".into()];
    texts.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    // How this tokenizer writes a space.
    texts.push("\u{2581}".to_owned());
    // Types: 1 normal, 2 unknown, 3 control, 6 byte.
    let mut kinds = vec![2, 3, 3, 3];
    kinds.resize(4 + 256, 6);
    kinds.push(1);

    let mut pairs = Vec::new();
    pairs.push(pair("general.architecture", STRING, string("llama")));
    pairs.push(pair("tokenizer.ggml.model", STRING, string("llama")));
    let tokens = texts.iter().flat_map(|text| string(text)).collect();
    pairs.push(pair("tokenizer.ggml.tokens", ARRAY, array(STRING, texts.len(), tokens)));
    let scores = texts.iter().flat_map(|_| 0f32.to_le_bytes()).collect();
    pairs.push(pair("tokenizer.ggml.scores", ARRAY, array(FLOAT32, texts.len(), scores)));
    let kinds_bytes = kinds.iter().flat_map(|kind: &i32| kind.to_le_bytes()).collect();
    pairs.push(pair("tokenizer.ggml.token_type", ARRAY, array(INT32, texts.len(), kinds_bytes)));
    pairs.push(pair("tokenizer.ggml.bos_token_id", UINT32, 1u32.to_le_bytes().to_vec()));
    pairs.push(pair("tokenizer.ggml.eos_token_id", UINT32, 2u32.to_le_bytes().to_vec()));
    pairs.push(pair("tokenizer.ggml.eot_token_id", UINT32, 3u32.to_le_bytes().to_vec()));
    pairs.push(pair("tokenizer.ggml.add_bos_token", BOOL, vec![1]));
    pairs.push(pair("tokenizer.ggml.add_space_prefix", BOOL, vec![0]));
    for (mark, byte) in [("pre", b'P'), ("suf", b'S'), ("mid", b'M')] {
        if fills {
            let key = format!("tokenizer.ggml.fim_{mark}_token_id");
            pairs.push(pair(&key, UINT32, (4 + u32::from(byte)).to_le_bytes().to_vec()));
        }
    }
    if let Some(template) = template {
        pairs.push(pair("tokenizer.chat_template", STRING, string(template)));
    }

    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend((pairs.len() as u64).to_le_bytes());
    file.extend(pairs.concat());
    std::fs::write(path, file).expect("written");
}

fn pair(key: &str, kind: u32, value: Vec<u8>) -> Vec<u8> {
    [string(key), kind.to_le_bytes().to_vec(), value].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn array(kind: u32, len: usize, items: Vec<u8>) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &(len as u64).to_le_bytes(), &items].concat()
}

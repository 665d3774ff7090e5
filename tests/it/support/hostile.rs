//! Model files that lie, each with what is wrong with it.

use super::gguf::{Gguf, Tensor, Value};
use super::models::tiny;

/// Files whose structure is wrong: the header check has to refuse them before llama.cpp sees
/// them.
pub fn broken_structure() -> Vec<(&'static str, Vec<u8>)> {
    let good = tiny().bytes();
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let mut nested = 9u32.to_le_bytes().to_vec();
    nested.extend(1u64.to_le_bytes());
    nested.extend(4u32.to_le_bytes());
    nested.extend(1u64.to_le_bytes());
    nested.extend(7u32.to_le_bytes());
    let text_of = |len: u64| [&len.to_le_bytes()[..], b"abc"].concat();
    let array_of = |len: u64| [&4u32.to_le_bytes()[..], &len.to_le_bytes()[..]].concat();
    vec![
        ("nothing", Vec::new()),
        ("three bytes", good[..3].to_vec()),
        ("the magic alone", good[..4].to_vec()),
        ("cut inside the header", good[..20].to_vec()),
        ("cut inside the keys", good[..600].to_vec()),
        ("half of the file", good[..good.len() / 2].to_vec()),
        ("the last tensor bytes missing", good[..good.len() - 64].to_vec()),
        ("HTML", b"<!DOCTYPE html><html><body>404</body></html>".repeat(64)),
        ("zeros", vec![0; 4096]),
        ("wrong magic", patched(0, b"GGML")),
        ("byte-swapped version", patched(4, &3u32.to_be_bytes())),
        ("version 0", patched(4, &0u32.to_le_bytes())),
        ("version 1", patched(4, &1u32.to_le_bytes())),
        ("version 99", patched(4, &99u32.to_le_bytes())),
        ("2^64-1 tensors", with(|file| file.tensor_count = Some(u64::MAX))),
        ("2^40 tensors", with(|file| file.tensor_count = Some(1 << 40))),
        ("2^63 keys", with(|file| file.key_count = Some(1 << 63))),
        ("2^40 keys", with(|file| file.key_count = Some(1 << 40))),
        ("a text of 2^64-1 bytes", key("general.x", Value::Raw(8, text_of(u64::MAX)))),
        ("a text of 2^62 bytes", key("general.x", Value::Raw(8, text_of(1 << 62)))),
        ("an array of 2^62 items", key("general.x", Value::Raw(9, array_of(1 << 62)))),
        ("an array of arrays", key("general.x", Value::Raw(9, nested))),
        ("a value of an unknown type", key("general.x", Value::Raw(4711, vec![0; 8]))),
        ("alignment 0", key("general.alignment", Value::U32(0))),
        ("alignment 3", key("general.alignment", Value::U32(3))),
        ("alignment 2^31", key("general.alignment", Value::U32(1 << 31))),
        ("a key twice", {
            with(|file| file.keys.push(("general.name".to_owned(), Value::str("again"))))
        }),
        ("a tensor twice", {
            with(|file| {
                let copy = file.tensors[0].clone();
                file.tensors.push(copy);
            })
        }),
        ("a tensor name of 70 bytes", with(|file| file.tensors[0].name = "x".repeat(70))),
        ("five dimensions", with(|file| file.tensors[0].dims = vec![1; 5])),
        ("dimensions whose product overflows", {
            with(|file| file.tensors[0].dims = vec![1 << 40, 1 << 40])
        }),
        ("a negative dimension", with(|file| file.tensors[0].dims = vec![u64::MAX, 64])),
        ("tensor type 9999", with(|file| file.tensors[0].kind = 9999)),
        ("tensor type -1", with(|file| file.tensors[0].kind = u32::MAX)),
        ("a tensor behind the end of the file", {
            with(|file| file.tensors[0].offset = Some(1 << 40))
        }),
        ("an offset that wraps", with(|file| file.tensors[0].offset = Some(u64::MAX - 31))),
        ("no architecture", without("general.architecture")),
    ]
}

/// Files of correct structure that no engine can run. Refused when packaged or when used, as the
/// fault of the model, and never at the cost of anything else.
pub fn broken_meaning() -> Vec<(&'static str, Vec<u8>)> {
    let template = |text: &str| key("tokenizer.chat_template", Value::str(text));
    vec![
        ("unknown architecture", key("general.architecture", Value::str("no-such"))),
        ("2^31 layers", key("llama.block_count", Value::U32(1 << 31))),
        ("no layers", key("llama.block_count", Value::U32(0))),
        ("no heads", key("llama.attention.head_count", Value::U32(0))),
        ("an embedding of width 0", key("llama.embedding_length", Value::U32(0))),
        ("a rotation wider than a head", key("llama.rope.dimension_count", Value::U32(99_999))),
        ("fewer embeddings than tokens", {
            with(|file| {
                let tensor = &mut file.tensors[0];
                tensor.dims[1] -= 7;
                let len = (tensor.dims[0] * tensor.dims[1]) as usize;
                tensor.data.truncate(len);
            })
        }),
        (
            "a tensor missing",
            with(|file| {
                file.tensors.pop();
            }),
        ),
        ("a tensor too many", {
            with(|file| file.tensors.push(Tensor::new("blk.9.attn_q.weight", &[4], vec![0.0; 4])))
        }),
        ("an end token outside the vocabulary", {
            key("tokenizer.ggml.eos_token_id", Value::U32(1 << 31))
        }),
        ("one shard of three", {
            with(|file| {
                file.set("split.count", Value::Raw(2, 3u16.to_le_bytes().to_vec()));
                file.set("split.no", Value::Raw(2, 0u16.to_le_bytes().to_vec()));
            })
        }),
        ("a template with a syntax error", template("{% for m in %}{{")),
        ("a template that refuses", template("{{ raise_exception('no') }}")),
        ("a template that never ends", {
            template(
                "{% for a in range(99999999) %}{% for b in range(99999999) %}{{ a }}{% endfor %}{% endfor %}",
            )
        }),
        ("a template nested 10,000 deep", {
            template(&("{% if true %}".repeat(10_000) + &"{% endif %}".repeat(10_000)))
        }),
        ("a template that calls itself", {
            template("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}")
        }),
    ]
}

/// A good file with one change.
fn with(change: impl Fn(&mut Gguf)) -> Vec<u8> {
    let mut file = tiny();
    change(&mut file);
    file.bytes()
}

/// A good file in which one key has another value.
fn key(name: &str, value: Value) -> Vec<u8> {
    let mut file = tiny();
    file.set(name, value);
    file.bytes()
}

fn without(name: &str) -> Vec<u8> {
    let mut file = tiny();
    file.remove(name);
    file.bytes()
}

//! A projector of random numbers: a small vision transformer and two layers behind it, as LLaVA has
//! them (llama.cpp's `clip` architecture, projector type `mlp`).

use super::gguf::{Gguf, Value};
use super::models::Random;

/// Pixels of each side of the images that it sees; others are scaled.
const IMAGE: u64 = 56;
const PATCH: u64 = 14;
/// What an image becomes: one row for each patch.
pub const ROWS: usize = ((IMAGE / PATCH) * (IMAGE / PATCH)) as usize;

/// For a model whose embeddings are `target` wide; `layers` decides how long an image takes.
pub fn projector(target: u64, layers: u64, width: u64) -> Gguf {
    let (inner, heads) = (width * 2, 4);
    let mut file = Gguf::new();
    let u32 = |value: u64| Value::U32(u32::try_from(value).expect("small"));
    let vision = |key: &str| format!("clip.vision.{key}");
    file.set("general.architecture", Value::str("clip"))
        .set("general.type", Value::str("mmproj"))
        .set("general.name", Value::str("tiny-projector"))
        .set("general.file_type", Value::U32(0))
        .set("clip.projector_type", Value::str("mlp"))
        .set("clip.has_vision_encoder", Value::Bool(true))
        .set("clip.use_gelu", Value::Bool(true))
        .set(&vision("image_size"), u32(IMAGE))
        .set(&vision("patch_size"), u32(PATCH))
        .set(&vision("embedding_length"), u32(width))
        .set(&vision("feed_forward_length"), u32(inner))
        .set(&vision("block_count"), u32(layers))
        .set(&vision("projection_dim"), u32(target))
        .set(&vision("attention.head_count"), u32(heads))
        .set(&vision("attention.layer_norm_epsilon"), Value::F32(1e-5))
        .set(&vision("image_mean"), Value::F32s(vec![0.5; 3]))
        .set(&vision("image_std"), Value::F32s(vec![0.5; 3]));
    let mut random = Random(11);
    let patches = (IMAGE / PATCH) * (IMAGE / PATCH);
    let many = |random: &mut Random, len: u64| random.many(len, 0.1);
    let patch = many(&mut random, PATCH * PATCH * 3 * width);
    file.tensor("v.patch_embd.weight", &[PATCH, PATCH, 3, width], patch);
    file.tensor("v.class_embd", &[width], many(&mut random, width));
    let positions = many(&mut random, (patches + 1) * width);
    file.tensor("v.position_embd.weight", &[width, patches + 1], positions);
    for norm in ["v.pre_ln", "v.post_ln"] {
        layer_norm(&mut file, norm, width);
    }
    for layer in 0..layers {
        let name = |part: &str| format!("v.blk.{layer}.{part}");
        for norm in ["ln1", "ln2"] {
            layer_norm(&mut file, &name(norm), width);
        }
        for part in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            linear(&mut file, &mut random, &name(part), width, width);
        }
        linear(&mut file, &mut random, &name("ffn_up"), width, inner);
        linear(&mut file, &mut random, &name("ffn_down"), inner, width);
    }
    linear(&mut file, &mut random, "mm.0", width, target);
    linear(&mut file, &mut random, "mm.2", target, target);
    file
}

fn layer_norm(file: &mut Gguf, name: &str, width: u64) {
    file.tensor(&format!("{name}.weight"), &[width], vec![1.0; width as usize]);
    file.tensor(&format!("{name}.bias"), &[width], vec![0.0; width as usize]);
}

fn linear(file: &mut Gguf, random: &mut Random, name: &str, from: u64, to: u64) {
    file.tensor(&format!("{name}.weight"), &[from, to], random.many(from * to, 0.1));
    file.tensor(&format!("{name}.bias"), &[to], vec![0.0; to as usize]);
}

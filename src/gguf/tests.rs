use proptest::prelude::*;

use super::testing::Writer;
use super::*;

fn check(bytes: &[u8]) -> Result<Facts, GgufError> {
    Facts::of(&read_header(bytes, bytes.len() as u64)?)
}

fn name_of(error: &GgufError) -> String {
    let debug = format!("{error:?}");
    debug.split([' ', '(']).next().unwrap_or_default().to_owned()
}

#[test]
fn a_sound_file_tells_its_facts() {
    let bytes = Writer::tiny().build();
    for version in [2, 3] {
        let mut writer = Writer::tiny();
        writer.version = version;
        let facts = check(&writer.build()).unwrap();
        assert_eq!(facts.architecture, "llama");
        assert_eq!((facts.name.as_str(), facts.quantization.as_str()), ("Tiny", "Q4_1"));
        assert_eq!(facts.parameters, 32 * 4 + 32);
        assert_eq!(facts.context_length, Some(512));
        assert!(facts.has_chat_template && !facts.is_embedder && !facts.is_reranker);
        assert_eq!(facts.split, None);
        assert_eq!(
            facts.shape,
            Shape {
                weight_bytes: 640,
                kv_per_token: 2 * (8 + 8),
                state_per_sequence: 0,
                embedding: 32,
                feed_forward: 64,
                vocabulary: 4,
            }
        );
        assert_eq!(facts.metadata.get("llama.rope.freq_base").unwrap(), "10000.000000");
        assert_eq!(facts.metadata.get("tokenizer.ggml.tokens").unwrap(), "<s>, </s>, a, b");
    }
    assert_eq!(read_header(&bytes[..], bytes.len() as u64).unwrap().tensors.len(), 2);
}

#[test]
fn embedders_are_told_from_generators() {
    let pooled = |kind| check(&Writer::tiny().u32("llama.pooling_type", kind).build()).unwrap();
    assert!(!pooled(0).is_embedder);
    assert!(pooled(1).is_embedder && !pooled(1).is_reranker);
    assert!(pooled(4).is_embedder && pooled(4).is_reranker);
    let blind = Writer::tiny().raw_key(b"llama.attention.causal", 7, &[0]).build();
    assert!(check(&blind).unwrap().is_embedder);
}

#[test]
fn long_arrays_are_counted_and_not_kept() {
    let many: Vec<u32> = (0..5000).collect();
    let fifty: Vec<u32> = (0..51).collect();
    let bytes = Writer::tiny().u32s("x.many", &many).u32s("x.fifty", &fifty).build();
    let header = read_header(&bytes[..], bytes.len() as u64).unwrap();
    let array = header.get("x.many").unwrap().as_array().unwrap();
    assert_eq!((array.len, array.items.is_none()), (5000, true));
    let facts = Facts::of(&header).unwrap();
    assert!(!facts.metadata.contains_key("x.many") && !facts.metadata.contains_key("x.fifty"));
}

#[test]
fn per_layer_arrays_count_layers_without_attention() {
    let writer = Writer::tiny()
        .without("llama.block_count")
        .without("llama.attention.head_count_kv")
        .u32("llama.block_count", 4)
        .u32s("llama.attention.head_count_kv", &[2, 0, 0, 2]);
    assert_eq!(check(&writer.build()).unwrap().shape.kv_per_token, 4 * 16);
}

#[test]
fn shards_name_their_place() {
    let split = |no, count| {
        check(&Writer::tiny().u16("split.no", no).u16("split.count", count).build())
            .map(|facts| facts.split)
    };
    assert_eq!(split(0, 3), Ok(Some(Split { index: 0, count: 3 })));
    assert_eq!(split(0, 1), Ok(None));
    assert_eq!(name_of(&split(3, 3).unwrap_err()), "OutOfRange");
}

/// Every way in which a file can be wrong, each with the one rule that it breaks.
#[test]
fn every_hostile_file_is_refused_by_its_own_rule() {
    let tiny = Writer::tiny;
    let sound = tiny().build();
    let cut = |at: usize| sound[..at].to_vec();
    let with = |change: fn(&mut Writer)| {
        let mut writer = tiny();
        change(&mut writer);
        writer.build()
    };
    let length = |bytes: u64| bytes.to_le_bytes();
    let rekeyed = |key: &str, value: u32| tiny().without(key).u32(key, value).build();
    let tensor = |dims: &[i64], kind: u32| Writer::tiny().raw_tensor("x", dims, kind, 640).build();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "Empty"),
        ("three bytes", b"GGU".to_vec(), "Truncated"),
        ("magic only", b"GGUF".to_vec(), "Truncated"),
        ("bad magic", with(|w| w.magic = b"GGML".to_vec()), "BadMagic"),
        ("swapped magic", with(|w| w.magic = b"FUGG".to_vec()), "BadMagic"),
        ("html", b"<!DOCTYPE html><html></html>".to_vec(), "BadMagic"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\0".to_vec(), "BadMagic"),
        ("zeros", vec![0; 4096], "BadMagic"),
        ("version 0", with(|w| w.version = 0), "UnknownVersion"),
        ("version 1", with(|w| w.version = 1), "Version1"),
        ("version 999", with(|w| w.version = 999), "UnknownVersion"),
        ("big-endian", with(|w| w.version = 3u32.swap_bytes()), "BigEndian"),
        ("tensors 2^64-1", with(|w| w.tensor_count = Some(u64::MAX)), "TooManyTensors"),
        ("tensors 2^40", with(|w| w.tensor_count = Some(1 << 40)), "TooManyTensors"),
        ("one tensor more", with(|w| w.tensor_count = Some(3)), "TensorNameLength"),
        ("keys 2^63-1", with(|w| w.key_count = Some(u64::MAX >> 1)), "TooManyKeys"),
        ("keys 2^40", with(|w| w.key_count = Some(1 << 40)), "TooManyKeys"),
        ("cut in the header", cut(20), "Truncated"),
        ("cut in the keys", cut(60), "Truncated"),
        ("cut in half", cut(sound.len() / 2), "Truncated"),
        ("last byte missing", cut(sound.len() - 1), "ExtentPastEnd"),
        (
            "key length 2^62",
            {
                let mut bytes = sound.clone();
                bytes[24..32].copy_from_slice(&length(1 << 62));
                bytes
            },
            "KeyLength",
        ),
        ("empty key", tiny().raw_key(b"", 7, &[1]).build(), "KeyLength"),
        ("NUL in a key", tiny().raw_key(b"a\0b", 7, &[1]).build(), "KeyText"),
        ("key not UTF-8", tiny().raw_key(b"a\xff", 7, &[1]).build(), "KeyText"),
        ("string length 2^62", tiny().raw_key(b"k", 8, &length(1 << 62)).build(), "StringLength"),
        (
            "string length 2^64-1",
            tiny().raw_key(b"k", 8, &length(u64::MAX)).build(),
            "StringLength",
        ),
        ("string past the end", tiny().raw_key(b"k", 8, &length(9999)).build(), "Truncated"),
        ("array length 2^62", tiny().array("k", 0, 1 << 62, &[]).build(), "ArrayLength"),
        ("array past the end", tiny().array("k", 10, 1 << 20, &[]).build(), "Truncated"),
        ("array of arrays", tiny().array("k", 9, 1, &[0; 12]).build(), "NestedArray"),
        ("value type 13", tiny().raw_key(b"k", 13, &[0; 8]).build(), "ValueType"),
        ("value type 2^32-1", tiny().raw_key(b"k", u32::MAX, &[0; 8]).build(), "ValueType"),
        ("duplicate key", tiny().text("general.name", "again").build(), "DuplicateKey"),
        ("alignment 0", tiny().u32("general.alignment", 0).build(), "Alignment"),
        ("alignment 3", tiny().u32("general.alignment", 3).build(), "Alignment"),
        ("alignment 2^31", tiny().u32("general.alignment", 1 << 31).build(), "Alignment"),
        ("alignment text", tiny().text("general.alignment", "32").build(), "WrongType"),
        (
            "tensor name of 64",
            tiny().raw_tensor(&"n".repeat(64), &[1], 0, 640).build(),
            "TensorNameLength",
        ),
        ("tensor name with NUL", tiny().raw_tensor("a\0b", &[1], 0, 640).build(), "TensorNameText"),
        (
            "duplicate tensor",
            tiny().tensor("token_embd.weight", &[32], 0).build(),
            "DuplicateTensor",
        ),
        ("5 dimensions", tensor(&[1, 1, 1, 1, 1], 0), "Dimensions"),
        ("negative dimension", tensor(&[-1], 0), "NegativeDimension"),
        ("dimensions overflow", tensor(&[1 << 32, 1 << 32], 0), "ElementsOverflow"),
        ("bytes overflow", tensor(&[1 << 62], 0), "ElementsOverflow"),
        ("tensor type 9999", tensor(&[32], 9999), "TensorType"),
        ("tensor type -1", tensor(&[32], u32::MAX), "TensorType"),
        ("removed tensor type", tensor(&[32], 4), "TensorType"),
        ("half a block", tensor(&[16], 3), "BlockSize"),
        ("misaligned", tiny().raw_tensor("x", &[1], 0, 641).build(), "Misaligned"),
        ("offset past the end", tiny().raw_tensor("x", &[1], 0, 1 << 40).build(), "OffsetPastEnd"),
        ("overlap", tiny().raw_tensor("x", &[1], 0, 0).build(), "Overlap"),
        ("extent past the end", tensor(&[1 << 20], 0), "ExtentPastEnd"),
        ("no architecture", tiny().without("general.architecture").build(), "NoArchitecture"),
        (
            "empty architecture",
            tiny().without("general.architecture").text("general.architecture", "").build(),
            "NoArchitecture",
        ),
        ("architecture 7", rekeyed("general.architecture", 7), "WrongType"),
        ("no block count", tiny().without("llama.block_count").build(), "MissingKey"),
        ("0 layers", rekeyed("llama.block_count", 0), "OutOfRange"),
        ("2^31 layers", rekeyed("llama.block_count", 1 << 31), "OutOfRange"),
        ("513 layers", rekeyed("llama.block_count", 513), "OutOfRange"),
        ("0 heads", rekeyed("llama.attention.head_count", 0), "OutOfRange"),
        ("2^32-1 heads", rekeyed("llama.attention.head_count", u32::MAX), "OutOfRange"),
        ("width 0", rekeyed("llama.embedding_length", 0), "OutOfRange"),
        ("context 0", rekeyed("llama.context_length", 0), "OutOfRange"),
        ("rope of 99999", tiny().u32("llama.rope.dimension_count", 99_999).build(), "OutOfRange"),
        (
            "vocabulary of 5",
            tiny()
                .without("tokenizer.ggml.tokens")
                .texts("tokenizer.ggml.tokens", &["a"; 5])
                .build(),
            "VocabularySize",
        ),
        ("vocabulary no array", rekeyed("tokenizer.ggml.tokens", 4), "WrongType"),
    ];
    let mut messages = Vec::new();
    for (what, bytes, rule) in cases {
        let error = check(&bytes).err().unwrap_or_else(|| panic!("{what} was accepted"));
        assert_eq!(name_of(&error), rule, "{what}: {error}");
        messages.push(format!("{what}: {error}"));
    }
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_gap_between_tensors_is_refused() {
    let writer = Writer::tiny().forget_tensors();
    let writer = writer.raw_tensor("a", &[4], 0, 0).raw_tensor("b", &[4], 0, 64);
    let error = check(&writer.build()).unwrap_err();
    assert_eq!(name_of(&error), "Gap", "{error}");
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_cut_not_a_panic() {
    let bytes = Writer::tiny().build();
    let error = read_header(&bytes[..100], bytes.len() as u64).unwrap_err();
    assert_eq!(name_of(&error), "Truncated");
}

#[test]
fn a_header_of_nothing_but_long_strings_is_not_kept() {
    let text = "x".repeat(900 << 10);
    let mut writer = Writer::tiny();
    for index in 0..60 {
        writer = writer.text(&format!("k{index}"), &text);
    }
    let bytes = writer.build();
    let header = read_header(&bytes[..], bytes.len() as u64).unwrap();
    let kept: usize = header.metadata.values().filter_map(Value::as_str).map(str::len).sum();
    assert!(kept <= 32 << 20, "{kept}");
    assert!(matches!(header.get("k59"), Some(Value::LongString(921_600))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_change_of_bytes_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        keep_length in any::<bool>(),
    ) {
        let mut bytes = Writer::tiny().build();
        for (index, byte) in &changes {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
        if !keep_length {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        if let Ok(facts) = check(&bytes) {
            let _ = estimate(&facts.shape, facts.context_length.unwrap_or(512), 4);
        }
    }

    #[test]
    fn random_bytes_after_the_magic_are_handled(tail in prop::collection::vec(any::<u8>(), 0..256)) {
        let bytes = [b"GGUF\x03\0\0\0".as_slice(), &tail].concat();
        let _ = check(&bytes);
    }
}

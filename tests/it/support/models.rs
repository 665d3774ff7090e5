//! The models that the tests run: made here, small, and the same on every machine.

use super::gguf::{Gguf, Value};

/// ChatML. A prompt always ends with a newline, which [`scripted`] stands on.
pub const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The first of the 256 byte tokens.
const FIRST_BYTE: usize = 3;
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// One token of a scripted answer.
#[derive(Clone, Copy)]
pub enum Piece {
    /// A token of its own that reads so; every text may occur once in a script.
    Text(&'static str),
    /// A raw byte, for characters that come in several tokens; once in a script.
    Byte(u8),
}

/// What a scripted model does after its last piece.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    /// It ends the answer.
    End,
    /// It starts again, for ever.
    Repeat,
}

/// Two layers of random numbers: fluent in nothing, as fast as a model can be, 512 tokens of
/// context.
pub fn tiny() -> Gguf {
    let (tokens, kinds) = vocabulary(&[]);
    let (width, inner, layers) = (64, 128, 2);
    let mut random = Random(7);
    let mut file = llama("tiny", width, inner, layers, 512, tokens, kinds);
    let vocab = token_count(&file);
    file.tensor("token_embd.weight", &[width, vocab], random.many(width * vocab, 1.0));
    file.tensor("output_norm.weight", &[width], vec![1.0; width as usize]);
    let mut output = random.many(width * vocab, 0.3);
    // Printable characters are likelier than raw bytes, so that answers are mostly text.
    output[..(FIRST_BYTE + 256) * width as usize].fill(0.0);
    file.tensor("output.weight", &[width, vocab], output);
    for layer in 0..layers {
        block(&mut file, layer, width, inner, |len| random.many(len, 0.05));
    }
    file
}

/// A model that answers every prompt with `script`, token for token, whatever the sampling: its
/// embeddings are one-hot, its attention is zero and its output matrix is a table that says which
/// token follows which. 8,192 tokens of context.
pub fn scripted(script: &[Piece], then: Then) -> Gguf {
    scripted_after('\n', script, then)
}

/// The same for prompts that end with another character, printable ASCII or a newline.
pub fn scripted_after(last: char, script: &[Piece], then: Then) -> Gguf {
    let texts: Vec<&str> = script
        .iter()
        .filter_map(|piece| match piece {
            Piece::Text(text) => Some(*text),
            Piece::Byte(_) => None,
        })
        .collect();
    let (tokens, kinds) = vocabulary(&texts);
    let vocab = tokens.len();
    let position = |text: &str| tokens.iter().rposition(|token| token == text).expect("a token");
    let end = position("<|im_end|>");
    let mut chain: Vec<usize> = script
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => position(&text.replace(' ', "\u{2581}")),
            Piece::Byte(byte) => FIRST_BYTE + usize::from(*byte),
        })
        .collect();
    let start = match last {
        '\n' => FIRST_BYTE + usize::from(b'\n'),
        _ => position(&last.to_string()),
    };
    let first = chain[0];
    chain.insert(0, start);
    chain.push(if then == Then::Repeat { first } else { end });

    let width = vocab.next_multiple_of(64);
    let (inner, layers) = (32, 1);
    let mut embedding = vec![0.0; width * vocab];
    let mut output = vec![0.0; width * vocab];
    // Row `to` of the output matrix, column `from`: how strongly `to` follows `from`.
    let mut follow = |from: usize, to: usize| output[to * width + from] = 5.0;
    for token in 0..vocab {
        embedding[token * width + token] = 1.0;
        if !chain[..chain.len() - 1].contains(&token) {
            follow(token, end);
        }
    }
    chain.windows(2).for_each(|pair| follow(pair[0], pair[1]));

    let (vocab, width) = (vocab as u64, width as u64);
    let mut file = llama("scripted", width, inner, layers, 8192, tokens, kinds);
    file.tensor("token_embd.weight", &[width, vocab], embedding);
    file.tensor("output_norm.weight", &[width], vec![1.0; width as usize]);
    file.tensor("output.weight", &[width, vocab], output);
    block(&mut file, 0, width, inner, |len| vec![0.0; len as usize]);
    file
}

/// Answers "Hello world! STOP here." in tokens that split the words.
pub fn hello() -> Gguf {
    let pieces = ["Hel", "lo wor", "ld! S", "TOP he", "re."].map(Piece::Text);
    scripted(&pieces, Then::End)
}

/// Answers "crab 🦀!", the crab in four tokens of one byte.
pub fn crab() -> Gguf {
    let mut pieces = vec![Piece::Text("crab ")];
    pieces.extend("🦀".bytes().map(Piece::Byte));
    pieces.push(Piece::Text("!!"));
    scripted(&pieces, Then::End)
}

/// Counts one, two, three, four and begins again until something stops it.
pub fn endless() -> Gguf {
    scripted(&["one, ", "two, ", "three, ", "four, "].map(Piece::Text), Then::Repeat)
}

fn llama(
    name: &str,
    width: u64,
    inner: u64,
    layers: u64,
    context: u32,
    tokens: Vec<String>,
    kinds: Vec<i32>,
) -> Gguf {
    let heads = 4;
    let end = tokens.iter().position(|token| token == "<|im_end|>").expect("an end token");
    let mut file = Gguf::new();
    let u32 = |value: u64| Value::U32(u32::try_from(value).expect("small"));
    file.set("general.architecture", Value::str("llama"))
        .set("general.type", Value::str("model"))
        .set("general.name", Value::str(name))
        .set("general.license", Value::str("apache-2.0"))
        .set("general.file_type", Value::U32(0))
        .set("llama.context_length", Value::U32(context))
        .set("llama.embedding_length", u32(width))
        .set("llama.feed_forward_length", u32(inner))
        .set("llama.block_count", u32(layers))
        .set("llama.attention.head_count", u32(heads))
        .set("llama.attention.head_count_kv", u32(heads))
        .set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
        .set("llama.rope.dimension_count", u32(width / heads))
        .set("llama.vocab_size", u32(tokens.len() as u64))
        .set("tokenizer.ggml.model", Value::str("llama"))
        .set("tokenizer.ggml.pre", Value::str("default"))
        .set("tokenizer.ggml.scores", Value::F32s(vec![0.0; tokens.len()]))
        .set("tokenizer.ggml.token_type", Value::I32s(kinds))
        .set("tokenizer.ggml.tokens", Value::Strs(tokens))
        .set("tokenizer.ggml.bos_token_id", Value::U32(1))
        .set("tokenizer.ggml.eos_token_id", u32(end as u64))
        .set("tokenizer.ggml.unknown_token_id", Value::U32(0))
        .set("tokenizer.ggml.add_bos_token", Value::Bool(true))
        .set("tokenizer.ggml.add_space_prefix", Value::Bool(false))
        .set("tokenizer.chat_template", Value::str(CHATML));
    file
}

fn block(
    file: &mut Gguf,
    layer: u64,
    width: u64,
    inner: u64,
    mut fill: impl FnMut(u64) -> Vec<f32>,
) {
    let name = |part: &str| format!("blk.{layer}.{part}.weight");
    for part in ["attn_norm", "ffn_norm"] {
        file.tensor(&name(part), &[width], vec![1.0; width as usize]);
    }
    for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
        file.tensor(&name(part), &[width, width], fill(width * width));
    }
    for part in ["ffn_gate", "ffn_up"] {
        file.tensor(&name(part), &[width, inner], fill(width * inner));
    }
    file.tensor(&name("ffn_down"), &[inner, width], fill(width * inner));
}

/// A SentencePiece vocabulary: every byte, ChatML's marks, printable ASCII, then `more`.
fn vocabulary(more: &[&str]) -> (Vec<String>, Vec<i32>) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["<|im_start|>", "<|im_end|>", "\u{2581}"].map(str::to_owned));
    tokens.extend((b'!'..=b'~').map(|byte| char::from(byte).to_string()));
    tokens.extend(more.iter().map(|text| text.replace(' ', "\u{2581}")));
    let kinds = tokens
        .iter()
        .map(|token| match token.as_str() {
            "<unk>" => UNKNOWN,
            "<s>" | "</s>" | "<|im_start|>" | "<|im_end|>" => CONTROL,
            byte if byte.starts_with("<0x") => BYTE,
            _ => NORMAL,
        })
        .collect();
    (tokens, kinds)
}

fn token_count(file: &Gguf) -> u64 {
    let count = file.keys.iter().find_map(|(key, value)| match value {
        Value::Strs(tokens) if key == "tokenizer.ggml.tokens" => Some(tokens.len()),
        _ => None,
    });
    count.expect("a vocabulary") as u64
}

/// SplitMix64: enough for weights, and the same everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform numbers with mean 0 and standard deviation `deviation`.
    pub(super) fn many(&mut self, len: u64, deviation: f32) -> Vec<f32> {
        let half_width = deviation * 3f32.sqrt();
        let unit = |bits: u64| (bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        (0..len).map(|_| unit(self.next()) * half_width).collect()
    }
}

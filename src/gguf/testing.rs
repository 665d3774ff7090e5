//! Writes small GGUF files, sound and broken ones, for tests.

/// A GGUF file under construction; its parts are written as they are given, right or wrong.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) magic: Vec<u8>,
    pub(crate) version: u32,
    pub(crate) key_count: Option<u64>,
    pub(crate) tensor_count: Option<u64>,
    pub(crate) alignment: usize,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data_bytes: usize,
}

impl Writer {
    pub(crate) fn empty() -> Self {
        Self {
            magic: b"GGUF".to_vec(),
            version: 3,
            key_count: None,
            tensor_count: None,
            alignment: 32,
            keys: Vec::new(),
            tensors: Vec::new(),
            data_bytes: 0,
        }
    }

    /// A sound one-layer model with four tokens.
    pub(crate) fn tiny() -> Self {
        Self::empty()
            .text("general.architecture", "llama")
            .text("general.name", "Tiny")
            .u32("general.file_type", 3)
            .u32("llama.block_count", 1)
            .u32("llama.context_length", 512)
            .u32("llama.embedding_length", 32)
            .u32("llama.feed_forward_length", 64)
            .u32("llama.attention.head_count", 4)
            .u32("llama.attention.head_count_kv", 2)
            .f32("llama.rope.freq_base", 10_000.0)
            .texts("tokenizer.ggml.tokens", &["<s>", "</s>", "a", "b"])
            .text("tokenizer.chat_template", "{{ messages }}")
            .tensor("token_embd.weight", &[32, 4], 0)
            .tensor("output_norm.weight", &[32], 0)
    }

    /// Drops a key, to be given again with another value or not at all.
    pub(crate) fn without(mut self, key: &str) -> Self {
        let prefix = text(key.as_bytes());
        self.keys.retain(|entry| !entry.starts_with(&prefix));
        self
    }

    pub(crate) fn raw_key(mut self, key: &[u8], kind: u32, value: &[u8]) -> Self {
        let entry = [&text(key)[..], &kind.to_le_bytes(), value].concat();
        self.keys.push(entry);
        self
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.raw_key(key.as_bytes(), 8, &text(value.as_bytes()))
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw_key(key.as_bytes(), 4, &value.to_le_bytes())
    }

    pub(crate) fn u16(self, key: &str, value: u16) -> Self {
        self.raw_key(key.as_bytes(), 2, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.raw_key(key.as_bytes(), 6, &value.to_le_bytes())
    }

    pub(crate) fn u32s(self, key: &str, values: &[u32]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, 4, values.len() as u64, &items)
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|value| text(value.as_bytes())).collect();
        self.array(key, 8, values.len() as u64, &items)
    }

    pub(crate) fn array(self, key: &str, kind: u32, len: u64, items: &[u8]) -> Self {
        let value = [&kind.to_le_bytes()[..], &len.to_le_bytes(), items].concat();
        self.raw_key(key.as_bytes(), 9, &value)
    }

    /// A tensor that follows the one before it; only types 0 (f32) and 3 (q4_1) get data.
    pub(crate) fn tensor(mut self, name: &str, dims: &[i64], kind: u32) -> Self {
        let offset = self.data_bytes.next_multiple_of(self.alignment);
        let elements: i64 = dims.iter().product();
        let bytes = if kind == 3 { elements / 32 * 20 } else { elements * 4 };
        self.data_bytes = offset + bytes as usize;
        self.raw_tensor(name, dims, kind, offset as u64)
    }

    /// A tensor as it is said, without data.
    pub(crate) fn raw_tensor(mut self, name: &str, dims: &[i64], kind: u32, offset: u64) -> Self {
        let mut entry = text(name.as_bytes());
        entry.extend((dims.len() as u32).to_le_bytes());
        entry.extend(dims.iter().flat_map(|size| size.to_le_bytes()));
        entry.extend(kind.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    /// Drops the descriptions of all tensors; their data stays.
    pub(crate) fn forget_tensors(mut self) -> Self {
        self.tensors.clear();
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut out = self.magic.clone();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        out.extend(self.keys.concat());
        out.extend(self.tensors.concat());
        if !self.tensors.is_empty() {
            out.resize(out.len().next_multiple_of(self.alignment.max(1)), 0);
        }
        let data = (0..self.data_bytes).map(|index| (index % 251) as u8);
        out.extend(data);
        out
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

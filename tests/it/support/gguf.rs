//! Writes GGUF version 3 files, correct ones and, through the override fields, wrong ones.
//!
//! Layout (ggml's `docs/gguf.md`): magic, version, tensor count, key count, keys, tensor
//! descriptions, padding to the alignment, tensor data, each tensor padded again.

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT: usize = 32;

/// The type number of 32-bit floats, for values and for tensors.
pub const TENSOR_F32: u32 = 0;

/// The value of a key.
#[derive(Clone)]
pub enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Str(String),
    Strs(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    /// A type number and the bytes after it, as they are.
    Raw(u32, Vec<u8>),
}

impl Value {
    pub fn str(text: &str) -> Self {
        Self::Str(text.to_owned())
    }

    fn type_number(&self) -> u32 {
        match self {
            Self::U32(_) => 4,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Str(_) => 8,
            Self::Strs(_) | Self::F32s(_) | Self::I32s(_) => 9,
            Self::Raw(number, _) => *number,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::U32(value) => out.extend(value.to_le_bytes()),
            Self::F32(value) => out.extend(value.to_le_bytes()),
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Str(value) => write_str(out, value.as_bytes()),
            Self::Strs(values) => {
                write_array_head(out, 8, values.len());
                values.iter().for_each(|value| write_str(out, value.as_bytes()));
            }
            Self::F32s(values) => {
                write_array_head(out, 6, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::I32s(values) => {
                write_array_head(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::Raw(_, bytes) => out.extend(bytes),
        }
    }
}

/// A tensor of 32-bit floats. `dims` are in GGUF's order: the fastest-running one first.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub kind: u32,
    pub data: Vec<f32>,
    /// Written instead of the true place.
    pub offset: Option<u64>,
}

impl Tensor {
    pub fn new(name: &str, dims: &[u64], data: Vec<f32>) -> Self {
        Self { name: name.to_owned(), dims: dims.to_vec(), kind: TENSOR_F32, data, offset: None }
    }
}

/// A whole file.
#[derive(Clone)]
pub struct Gguf {
    pub version: u32,
    pub keys: Vec<(String, Value)>,
    pub tensors: Vec<Tensor>,
    /// Written instead of the true number of keys.
    pub key_count: Option<u64>,
    /// Written instead of the true number of tensors.
    pub tensor_count: Option<u64>,
}

impl Gguf {
    pub fn new() -> Self {
        Self {
            version: 3,
            keys: Vec::new(),
            tensors: Vec::new(),
            key_count: None,
            tensor_count: None,
        }
    }

    /// Sets a key; one that is there already gets the new value.
    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        match self.keys.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.keys.push((key.to_owned(), value)),
        }
        self
    }

    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.keys.retain(|(name, _)| name != key);
        self
    }

    pub fn tensor(&mut self, name: &str, dims: &[u64], data: Vec<f32>) -> &mut Self {
        self.tensors.push(Tensor::new(name, dims, data));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            write_str(&mut out, key.as_bytes());
            out.extend(value.type_number().to_le_bytes());
            value.write(&mut out);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            write_str(&mut out, tensor.name.as_bytes());
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            tensor.data.iter().for_each(|value| data.extend(value.to_le_bytes()));
            pad(&mut data);
        }
        pad(&mut out);
        out.extend(data);
        out
    }
}

fn write_str(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

fn write_array_head(out: &mut Vec<u8>, kind: u32, len: usize) {
    out.extend(kind.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

use crate::domain::{Error, ErrorKind};

/// The rule that a GGUF file breaks. Sizes, offsets and positions are bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant is its documentation")]
pub enum GgufError {
    #[error("the file is empty")]
    Empty,
    #[error("the file is not GGUF: it {looks_like}")]
    BadMagic { looks_like: String },
    #[error(
        "the file ends at byte {file_bytes}, but {what} at byte {position} needs {needed} more"
    )]
    Truncated { what: &'static str, position: u64, needed: u64, file_bytes: u64 },
    #[error("GGUF version 1 is not supported; convert the model with a current llama.cpp")]
    Version1,
    #[error("the file is big-endian GGUF; only little-endian files can be run")]
    BigEndian,
    #[error("GGUF version {0} is not known; versions 2 and 3 are")]
    UnknownVersion(u32),
    #[error("it declares {count} metadata keys, more than {max}")]
    TooManyKeys { count: u64, max: u64 },
    #[error("it declares {count} tensors, more than {max}")]
    TooManyTensors { count: u64, max: u64 },
    #[error("its header is longer than {max} bytes")]
    HeaderTooLong { max: u64 },
    #[error("metadata key {index} has {bytes} bytes; 1 to {max} are allowed")]
    KeyLength { index: u64, bytes: u64, max: u64 },
    #[error("metadata key {index} is not printable UTF-8")]
    KeyText { index: u64 },
    #[error("metadata key {0:?} occurs twice")]
    DuplicateKey(String),
    #[error("metadata key {key:?} has the unknown value type {kind}")]
    ValueType { key: String, kind: u32 },
    #[error("metadata key {key:?} is an array of arrays")]
    NestedArray { key: String },
    #[error("metadata key {key:?} holds a string of {bytes} bytes, more than {max}")]
    StringLength { key: String, bytes: u64, max: u64 },
    #[error("metadata key {key:?} holds an array of {len} elements, more than {max}")]
    ArrayLength { key: String, len: u64, max: u64 },
    #[error("metadata key {key:?} must be {expected}, but is {found}")]
    WrongType { key: String, expected: &'static str, found: String },
    #[error("the alignment {0} is not a power of two up to 1048576")]
    Alignment(u64),
    #[error("the name of tensor {index} has {bytes} bytes; 1 to 63 are allowed")]
    TensorNameLength { index: u64, bytes: u64 },
    #[error("the name of tensor {index} is not printable UTF-8")]
    TensorNameText { index: u64 },
    #[error("tensor {0:?} occurs twice")]
    DuplicateTensor(String),
    #[error("tensor {name:?} has {dims} dimensions; up to 4 are allowed")]
    Dimensions { name: String, dims: u32 },
    #[error("tensor {name:?} has the negative dimension {size}")]
    NegativeDimension { name: String, size: i64 },
    #[error("tensor {name:?} has more elements than can be counted")]
    ElementsOverflow { name: String },
    #[error("tensor {name:?} has the unknown type {kind}")]
    TensorType { name: String, kind: u32 },
    #[error(
        "tensor {name:?} has rows of {row} elements, not a multiple of the {block} of a {kind} block"
    )]
    BlockSize { name: String, row: u64, block: u64, kind: &'static str },
    #[error("tensor {name:?} starts at {offset}, which the alignment {alignment} does not divide")]
    Misaligned { name: String, offset: u64, alignment: u64 },
    #[error("tensor {name:?} starts at {offset}, inside the one before it, which ends at {end}")]
    Overlap { name: String, offset: u64, end: u64 },
    #[error("tensor {name:?} starts at {offset}, but the one before it ends at {end}")]
    Gap { name: String, offset: u64, end: u64 },
    #[error(
        "tensor {name:?} starts at {offset}, but the file has only {available} bytes of tensor data"
    )]
    OffsetPastEnd { name: String, offset: u64, available: u64 },
    #[error(
        "tensor {name:?} ends at {end}, but the file has only {available} bytes of tensor data"
    )]
    ExtentPastEnd { name: String, end: u64, available: u64 },
    #[error("it does not say which architecture it has (general.architecture)")]
    NoArchitecture,
    #[error("metadata key {key:?} is missing")]
    MissingKey { key: String },
    #[error("metadata key {key:?} is {value}; {min} to {max} are possible")]
    OutOfRange { key: String, value: String, min: u64, max: u64 },
    #[error("its vocabulary has {tokens} tokens, but {tensor:?} has rows for {rows}")]
    VocabularySize { tokens: u64, rows: u64, tensor: &'static str },
    #[error("it is no LoRA adapter: {key} is {found:?} instead of {expected:?}")]
    NotAnAdapter { key: &'static str, expected: &'static str, found: String },
    #[error("it is an adapter that begins at certain tokens (aLoRA), which is not supported")]
    ActivatedAdapter,
    #[error("its tensor {name:?} is neither half of an adapter's pair (.lora_a, .lora_b)")]
    AdapterTensor { name: String },
    #[error("its pair for the tensor {target:?} lacks one half")]
    AdapterHalf { target: String },
    #[error("it changes no tensor")]
    EmptyAdapter,
    #[error("its memory need cannot be computed: a product of its dimensions is out of range")]
    MemoryOverflow,
    #[error("the file cannot be read: {0}")]
    Io(std::io::ErrorKind),
}

impl From<GgufError> for Error {
    fn from(error: GgufError) -> Self {
        match error {
            GgufError::Io(kind) => Error::internal(format!("reading a GGUF header: {kind}")),
            rule => Error::new(
                ErrorKind::InvalidModel,
                format!("the model file is damaged or not made for llama.cpp: {rule}"),
            ),
        }
    }
}

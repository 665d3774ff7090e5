use std::collections::BTreeMap;
use std::io::Read;

use super::source::Source;
use super::tensor::{check_extents, read_tensors};
use super::value::{KEEP_BYTES, read_value};
use super::{GgufError, TensorInfo, Value};

/// The longest header that is read, vocabulary included.
pub const MAX_HEADER_BYTES: u64 = 256 << 20;
/// The most metadata keys; real files have less than 100.
pub const MAX_KEYS: u64 = 65_536;
/// The most tensors in one file; the largest mixtures of experts have some thousands.
pub const MAX_TENSORS: u64 = 65_536;

const MAX_KEY_BYTES: u64 = 64 << 10;
const MAX_ALIGNMENT: u64 = 1 << 20;
const DEFAULT_ALIGNMENT: u64 = 32;

/// The header of a GGUF file whose structure is sound.
#[derive(Debug, Clone)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorInfo>,
    /// The length of the whole file in bytes.
    pub file_bytes: u64,
}

impl Header {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// The value of a key that must be text where it is there.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text)),
                None => Err(wrong_type(key, "a text", value)),
            },
        }
    }

    /// The value of a key that must be a non-negative integer where it is there.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub fn count(&self, key: &str) -> Result<Option<u64>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_count() {
                Some(count) => Ok(Some(count)),
                None => Err(wrong_type(key, "a non-negative integer", value)),
            },
        }
    }
}

/// Reads and checks the header of a file of `file_bytes` bytes. Tensor data is not read.
///
/// # Errors
/// The first rule that the file breaks.
pub fn read_header<R: Read>(reader: R, file_bytes: u64) -> Result<Header, GgufError> {
    if file_bytes == 0 {
        return Err(GgufError::Empty);
    }
    let mut source = Source::new(reader, file_bytes);
    read_magic(&mut source)?;
    let version = read_version(&mut source)?;
    let tensor_count = source.u64("the number of tensors")?;
    if tensor_count > MAX_TENSORS {
        return Err(GgufError::TooManyTensors { count: tensor_count, max: MAX_TENSORS });
    }
    let key_count = source.u64("the number of metadata keys")?;
    if key_count > MAX_KEYS {
        return Err(GgufError::TooManyKeys { count: key_count, max: MAX_KEYS });
    }

    let metadata = read_metadata(&mut source, key_count)?;
    let alignment = alignment(&metadata)?;
    let tensors = read_tensors(&mut source, tensor_count)?;
    let data_start = source
        .position()
        .checked_next_multiple_of(alignment)
        .ok_or(GgufError::Alignment(alignment))?;
    check_extents(&tensors, alignment, source.file_bytes().saturating_sub(data_start))?;
    Ok(Header { version, metadata, tensors, file_bytes })
}

fn read_magic<R: Read>(source: &mut Source<R>) -> Result<(), GgufError> {
    let magic: [u8; 4] = source.array("the magic")?;
    let looks_like = match &magic {
        b"GGUF" => return Ok(()),
        b"FUGG" => "has the magic backwards".to_owned(),
        b"<!DO" | b"<!do" | b"<htm" | b"<HTM" => "looks like a web page".to_owned(),
        [0x1f, 0x8b, ..] => "is gzip; unpack it first".to_owned(),
        [0x28, 0xb5, 0x2f, 0xfd] => "is zstd; unpack it first".to_owned(),
        b"PK\x03\x04" => "is a zip archive".to_owned(),
        b"lmgg" | b"tjgg" | b"fmgg" => "is an older ggml format; convert it to GGUF".to_owned(),
        [a, b, c, d] => format!("begins with the bytes {a:02x} {b:02x} {c:02x} {d:02x}"),
    };
    Err(GgufError::BadMagic { looks_like })
}

fn read_version<R: Read>(source: &mut Source<R>) -> Result<u32, GgufError> {
    match source.u32("the version")? {
        version @ 2..=3 => Ok(version),
        1 => Err(GgufError::Version1),
        // A big-endian 2 or 3 read as little-endian has nothing in its low half.
        swapped if swapped != 0 && swapped & 0xffff == 0 => Err(GgufError::BigEndian),
        version => Err(GgufError::UnknownVersion(version)),
    }
}

fn read_metadata<R: Read>(
    source: &mut Source<R>,
    count: u64,
) -> Result<BTreeMap<String, Value>, GgufError> {
    let mut metadata = BTreeMap::new();
    let mut budget = KEEP_BYTES;
    for index in 0..count {
        let bytes = source.u64("the length of a metadata key")?;
        if bytes == 0 || bytes > MAX_KEY_BYTES {
            return Err(GgufError::KeyLength { index, bytes, max: MAX_KEY_BYTES });
        }
        // Keys must all be kept, to find duplicates; a header made of nothing but keys ends here.
        budget = budget
            .checked_sub(bytes)
            .ok_or(GgufError::HeaderTooLong { max: super::MAX_HEADER_BYTES })?;
        let key = String::from_utf8(source.bytes(bytes, "a metadata key")?)
            .ok()
            .filter(|key| !key.chars().any(char::is_control))
            .ok_or(GgufError::KeyText { index })?;
        if metadata.contains_key(&key) {
            return Err(GgufError::DuplicateKey(key));
        }
        let value = read_value(source, &key, &mut budget)?;
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    const KEY: &str = "general.alignment";
    let alignment = match metadata.get(KEY) {
        None => DEFAULT_ALIGNMENT,
        Some(Value::Uint(value)) => *value,
        Some(value) => return Err(wrong_type(KEY, "an unsigned integer", value)),
    };
    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
        return Err(GgufError::Alignment(alignment));
    }
    Ok(alignment)
}

pub(super) fn wrong_type(key: &str, expected: &'static str, found: &Value) -> GgufError {
    GgufError::WrongType { key: key.to_owned(), expected, found: found.describe() }
}

use std::fmt;
use std::io::Read;

use super::GgufError;
use super::source::Source;

/// Longer strings are not a model's metadata; the longest known ones are chat templates.
const MAX_STRING_BYTES: u64 = 64 << 20;
/// Longer strings are counted, not kept.
const KEEP_STRING_BYTES: u64 = 1 << 20;
/// Longer arrays (vocabularies) are counted, not kept. Per-layer arrays have at most 512 elements.
const KEEP_ELEMENTS: u64 = 1024;
/// More elements than any header may hold bytes.
const MAX_ELEMENTS: u64 = super::MAX_HEADER_BYTES;

/// How many bytes of metadata a header may make us remember.
pub(super) const KEEP_BYTES: u64 = 32 << 20;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An unsigned integer of any width.
    Uint(u64),
    /// A signed integer of any width.
    Int(i64),
    /// A float of either width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text; invalid UTF-8 has been replaced.
    String(String),
    /// Text too long to keep; its length in bytes.
    LongString(u64),
    /// An array.
    Array(Array),
}

/// An array of plain values.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// How many elements it has in the file.
    pub len: u64,
    /// Its elements; `None` where there are too many to keep.
    pub items: Option<Vec<Value>>,
}

impl Value {
    /// As a count: a non-negative integer.
    pub fn as_count(&self) -> Option<u64> {
        match self {
            Self::Uint(value) => Some(*value),
            Self::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// As text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// As an array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Uint(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => format!("the number {value}"),
            Self::Bool(value) => value.to_string(),
            Self::String(text) => format!("a text of {} bytes", text.len()),
            Self::LongString(bytes) => format!("a text of {bytes} bytes"),
            Self::Array(array) => format!("an array of {} elements", array.len),
        }
    }
}

/// As `docker model inspect` shows it: floats with six decimals, arrays joined with `, `.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uint(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:.6}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::String(text) => f.write_str(text),
            Self::LongString(_) => Ok(()),
            Self::Array(array) => {
                for (index, item) in array.items.iter().flatten().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    fmt::Display::fmt(item, f)?;
                }
                Ok(())
            }
        }
    }
}

/// The value types of the GGUF specification, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    fn from_wire(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes that one element takes at least; strings begin with their length.
    fn bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String | Self::Array => 8,
        }
    }
}

/// Reads the type and the value of `key`. `budget` is what may still be remembered.
pub(super) fn read_value<R: Read>(
    source: &mut Source<R>,
    key: &str,
    budget: &mut u64,
) -> Result<Value, GgufError> {
    match read_kind(source, key)? {
        Kind::Array => read_array(source, key, budget).map(Value::Array),
        kind => read_plain(source, key, kind, budget),
    }
}

fn read_kind<R: Read>(source: &mut Source<R>, key: &str) -> Result<Kind, GgufError> {
    let kind = source.u32("the type of a metadata value")?;
    Kind::from_wire(kind).ok_or_else(|| GgufError::ValueType { key: key.to_owned(), kind })
}

fn read_plain<R: Read>(
    source: &mut Source<R>,
    key: &str,
    kind: Kind,
    budget: &mut u64,
) -> Result<Value, GgufError> {
    const WHAT: &str = "a metadata value";
    Ok(match kind {
        Kind::U8 => Value::Uint(u8::from_le_bytes(source.array(WHAT)?).into()),
        Kind::I8 => Value::Int(i8::from_le_bytes(source.array(WHAT)?).into()),
        Kind::U16 => Value::Uint(u16::from_le_bytes(source.array(WHAT)?).into()),
        Kind::I16 => Value::Int(i16::from_le_bytes(source.array(WHAT)?).into()),
        Kind::U32 => Value::Uint(source.u32(WHAT)?.into()),
        Kind::I32 => Value::Int(i32::from_le_bytes(source.array(WHAT)?).into()),
        Kind::F32 => Value::Float(f32::from_le_bytes(source.array(WHAT)?).into()),
        Kind::Bool => Value::Bool(u8::from_le_bytes(source.array(WHAT)?) != 0),
        Kind::String => read_string(source, key, budget)?,
        Kind::U64 => Value::Uint(source.u64(WHAT)?),
        Kind::I64 => Value::Int(i64::from_le_bytes(source.array(WHAT)?)),
        Kind::F64 => Value::Float(f64::from_le_bytes(source.array(WHAT)?)),
        Kind::Array => return Err(GgufError::NestedArray { key: key.to_owned() }),
    })
}

fn read_string<R: Read>(
    source: &mut Source<R>,
    key: &str,
    budget: &mut u64,
) -> Result<Value, GgufError> {
    let bytes = string_length(source, key)?;
    if bytes > KEEP_STRING_BYTES || bytes > *budget {
        source.skip(bytes, "a metadata string")?;
        return Ok(Value::LongString(bytes));
    }
    *budget -= bytes;
    let raw = source.bytes(bytes, "a metadata string")?;
    Ok(Value::String(String::from_utf8_lossy(&raw).into_owned()))
}

fn string_length<R: Read>(source: &mut Source<R>, key: &str) -> Result<u64, GgufError> {
    let bytes = source.u64("the length of a metadata string")?;
    if bytes > MAX_STRING_BYTES {
        return Err(GgufError::StringLength { key: key.to_owned(), bytes, max: MAX_STRING_BYTES });
    }
    Ok(bytes)
}

fn read_array<R: Read>(
    source: &mut Source<R>,
    key: &str,
    budget: &mut u64,
) -> Result<Array, GgufError> {
    let kind = read_kind(source, key)?;
    let len = source.u64("the length of a metadata array")?;
    if kind == Kind::Array {
        return Err(GgufError::NestedArray { key: key.to_owned() });
    }
    if len > MAX_ELEMENTS {
        return Err(GgufError::ArrayLength { key: key.to_owned(), len, max: MAX_ELEMENTS });
    }
    // Both factors are small: no overflow.
    source.require(len * kind.bytes(), "a metadata array")?;
    let cost = len.saturating_mul(std::mem::size_of::<Value>() as u64);
    if len <= KEEP_ELEMENTS && cost <= *budget {
        *budget -= cost;
        let items = (0..len)
            .map(|_| read_plain(source, key, kind, budget))
            .collect::<Result<Vec<Value>, _>>()?;
        return Ok(Array { len, items: Some(items) });
    }
    if kind == Kind::String {
        for _ in 0..len {
            let bytes = string_length(source, key)?;
            source.skip(bytes, "a metadata string")?;
        }
    } else {
        source.skip(len * kind.bytes(), "a metadata array")?;
    }
    Ok(Array { len, items: None })
}

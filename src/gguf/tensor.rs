use std::collections::HashSet;
use std::io::Read;

use super::GgufError;
use super::source::Source;

/// llama.cpp keeps names in 64 bytes, the terminating zero included (`GGML_MAX_NAME`).
const MAX_NAME_BYTES: u64 = 63;

/// One tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Elements along each dimension, the row first.
    pub dims: Vec<u64>,
    /// How its numbers are stored (`q4_K`).
    pub kind: &'static str,
    /// Where it begins, in bytes after the start of the tensor data.
    pub offset: u64,
    /// Its elements.
    pub elements: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// Reads the description of all tensors; their extents are checked by [`check_extents`].
pub(super) fn read_tensors<R: Read>(
    source: &mut Source<R>,
    count: u64,
) -> Result<Vec<TensorInfo>, GgufError> {
    let mut tensors = Vec::new();
    let mut seen = HashSet::new();
    for index in 0..count {
        let tensor = read_tensor(source, index)?;
        if !seen.insert(tensor.name.clone()) {
            return Err(GgufError::DuplicateTensor(tensor.name));
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// Every tensor begins where the padded one before it ends, as llama.cpp requires, and the last
/// one ends inside the file. `available` is the bytes of the file after its header.
pub(super) fn check_extents(
    tensors: &[TensorInfo],
    alignment: u64,
    available: u64,
) -> Result<(), GgufError> {
    let mut end: u64 = 0;
    for tensor in tensors {
        let (name, offset) = (|| tensor.name.clone(), tensor.offset);
        if offset % alignment != 0 {
            return Err(GgufError::Misaligned { name: name(), offset, alignment });
        }
        if offset > available {
            return Err(GgufError::OffsetPastEnd { name: name(), offset, available });
        }
        if offset < end {
            return Err(GgufError::Overlap { name: name(), offset, end });
        }
        if offset > end {
            return Err(GgufError::Gap { name: name(), offset, end });
        }
        let last = offset
            .checked_add(tensor.bytes)
            .ok_or_else(|| GgufError::ElementsOverflow { name: name() })?;
        if last > available {
            return Err(GgufError::ExtentPastEnd { name: name(), end: last, available });
        }
        end = last
            .checked_next_multiple_of(alignment)
            .ok_or_else(|| GgufError::ElementsOverflow { name: name() })?;
    }
    Ok(())
}

fn read_tensor<R: Read>(source: &mut Source<R>, index: u64) -> Result<TensorInfo, GgufError> {
    let bytes = source.u64("the length of a tensor's name")?;
    if bytes == 0 || bytes > MAX_NAME_BYTES {
        return Err(GgufError::TensorNameLength { index, bytes });
    }
    let name = String::from_utf8(source.bytes(bytes, "a tensor's name")?)
        .ok()
        .filter(|name| !name.chars().any(char::is_control))
        .ok_or(GgufError::TensorNameText { index })?;

    let count = source.u32("the number of a tensor's dimensions")?;
    if count > 4 {
        return Err(GgufError::Dimensions { name, dims: count });
    }
    let mut dims = Vec::with_capacity(4);
    let mut elements: u64 = 1;
    for _ in 0..count {
        let size = i64::from_le_bytes(source.array("a dimension of a tensor")?);
        let Ok(size) = u64::try_from(size) else {
            return Err(GgufError::NegativeDimension { name, size });
        };
        elements = match elements.checked_mul(size) {
            Some(product) if i64::try_from(product).is_ok() => product,
            _ => return Err(GgufError::ElementsOverflow { name }),
        };
        dims.push(size);
    }

    let wire = source.u32("the type of a tensor")?;
    let Some((kind, block, block_bytes)) = tensor_type(wire) else {
        return Err(GgufError::TensorType { name, kind: wire });
    };
    // Without dimensions it is a single number.
    let row = dims.first().copied().unwrap_or(1);
    if row % block != 0 {
        return Err(GgufError::BlockSize { name, row, block, kind });
    }
    let Some(bytes) = (elements / block).checked_mul(block_bytes) else {
        return Err(GgufError::ElementsOverflow { name });
    };
    let offset = source.u64("the offset of a tensor")?;
    Ok(TensorInfo { name, dims, kind, offset, elements, bytes })
}

/// Name, elements per block and bytes per block of a `ggml_type`, as the pinned llama.cpp has them.
/// Numbers that are missing here were taken out of ggml.
fn tensor_type(wire: u32) -> Option<(&'static str, u64, u64)> {
    Some(match wire {
        0 => ("f32", 1, 4),
        1 => ("f16", 1, 2),
        2 => ("q4_0", 32, 18),
        3 => ("q4_1", 32, 20),
        6 => ("q5_0", 32, 22),
        7 => ("q5_1", 32, 24),
        8 => ("q8_0", 32, 34),
        9 => ("q8_1", 32, 36),
        10 => ("q2_K", 256, 84),
        11 => ("q3_K", 256, 110),
        12 => ("q4_K", 256, 144),
        13 => ("q5_K", 256, 176),
        14 => ("q6_K", 256, 210),
        15 => ("q8_K", 256, 292),
        16 => ("iq2_xxs", 256, 66),
        17 => ("iq2_xs", 256, 74),
        18 => ("iq3_xxs", 256, 98),
        19 => ("iq1_s", 256, 50),
        20 => ("iq4_nl", 32, 18),
        21 => ("iq3_s", 256, 110),
        22 => ("iq2_s", 256, 82),
        23 => ("iq4_xs", 256, 136),
        24 => ("i8", 1, 1),
        25 => ("i16", 1, 2),
        26 => ("i32", 1, 4),
        27 => ("i64", 1, 8),
        28 => ("f64", 1, 8),
        29 => ("iq1_m", 256, 56),
        30 => ("bf16", 1, 2),
        34 => ("tq1_0", 256, 54),
        35 => ("tq2_0", 256, 66),
        39 => ("mxfp4", 32, 17),
        40 => ("nvfp4", 64, 36),
        41 => ("q1_0", 128, 18),
        42 => ("q2_0", 64, 18),
        _ => return None,
    })
}

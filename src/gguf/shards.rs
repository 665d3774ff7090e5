use crate::domain::{Error, ErrorKind, Result};

use super::{Facts, GgufError, Header, Split};

/// The name of one file of a sharded model: `stem-00001-of-00003.gguf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardName<'a> {
    /// What the names of all shards begin with, directories included.
    pub stem: &'a str,
    /// Which one, from 1.
    pub number: usize,
    /// How many there are.
    pub count: usize,
}

impl<'a> ShardName<'a> {
    /// Reads the name or path of a file; `None` if it is no shard's.
    pub fn of(path: &'a str) -> Option<Self> {
        let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let five = |digits: &str| {
            let valid = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
            valid.then(|| digits.parse().ok()).flatten()
        };
        Some(Self { stem, number: five(number)?, count: five(count)? })
    }
}

/// The facts of a model in one file or of all its shards in their order.
///
/// # Errors
/// `InvalidModel` for the rule that a header breaks, or for files that are not the shards of one
/// model.
pub fn facts_of(headers: &[Header]) -> Result<Facts> {
    let (first, rest) = headers.split_first().ok_or(GgufError::Empty)?;
    let mut facts = Facts::of(first)?;
    let expected = headers.len() as u64;
    match facts.split {
        None if expected == 1 => {}
        Some(Split { index: 0, count }) if count == expected => {}
        Some(Split { index, count }) => {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!(
                    "the first file is shard {} of {count}, but the model has {expected} GGUF \
                     files; all shards are needed, in order",
                    index.saturating_add(1)
                ),
            ));
        }
        None => {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("the model has {expected} GGUF files that are not shards of one model"),
            ));
        }
    }
    for (index, header) in (1u64..).zip(rest) {
        let number = header.count("split.no")?;
        let count = header.count("split.count")?;
        if (number, count) != (Some(index), Some(expected)) {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("GGUF file {} of {expected} is not that shard", index.saturating_add(1)),
            ));
        }
        facts.add_shard(header);
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards_are_told_from_others() {
        let shard = ShardName::of("a/m-00002-of-00003.gguf");
        assert_eq!(shard, Some(ShardName { stem: "a/m", number: 2, count: 3 }));
        for other in [
            "m.gguf",
            "m-00001-of-00002",
            "m-1-of-2.gguf",
            "m-000001-of-00002.gguf",
            "00001-of-00002.gguf",
            "m-0000x-of-00002.gguf",
            "m-+0001-of-00002.gguf",
        ] {
            assert_eq!(ShardName::of(other), None, "{other}");
        }
    }
}

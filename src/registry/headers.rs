use std::io::{self, Read};
use std::ops::Range;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;

use crate::domain::{Error, ErrorKind, Result};
use crate::gguf::{GgufError, Header, read_header};

use super::{BlobBody, FetchError};

/// How much of a GGUF file is read first in search of the end of its header, in bytes.
const FIRST_PIECE: u64 = 1 << 20;

/// Begins to read a range of a file.
pub(super) type Open<'a> = dyn Fn(Range<u64>) -> BoxFuture<'a, std::result::Result<BlobBody, FetchError>>
    + Send
    + Sync
    + 'a;

/// Reads more and more of a GGUF file that is elsewhere until its header ends. `prefix` is what is
/// known of it already.
///
/// # Errors
/// `InvalidModel` for a header that breaks a rule or is longer than `max`; those of opening it.
pub(super) async fn remote_header(
    name: &str,
    size: u64,
    mut prefix: Vec<u8>,
    max: u64,
    open: &Open<'_>,
) -> Result<Header> {
    let breaks = |rule: &GgufError| {
        Error::new(ErrorKind::InvalidModel, format!("{name} cannot be run: {rule}"))
    };
    let mut goal = FIRST_PIECE.min(size);
    loop {
        while (prefix.len() as u64) < goal {
            let from = prefix.len() as u64;
            let body = open(from..goal).await?;
            let count = usize::try_from(goal.saturating_sub(from)).unwrap_or(usize::MAX);
            collect(body, from, count, &mut prefix).await?;
            if prefix.len() as u64 == from {
                let text = format!("nothing comes of {name} from byte {from} on");
                return Err(Error::new(ErrorKind::RegistryUnavailable, text));
            }
        }
        // Vocabularies take some milliseconds.
        let (read, back) = tokio::task::spawn_blocking(move || {
            let whole = prefix.len() as u64 == size;
            (read_header(Prefix { rest: &prefix, whole }, size), prefix)
        })
        .await
        .map_err(Error::internal)?;
        prefix = back;
        match read {
            Ok(header) => return Ok(header),
            Err(GgufError::Io(io::ErrorKind::WouldBlock)) if goal < max => {
                goal = goal.saturating_mul(2).min(max).min(size);
            }
            Err(GgufError::Io(io::ErrorKind::WouldBlock)) => {
                return Err(breaks(&GgufError::HeaderTooLong { max }));
            }
            Err(rule) => return Err(breaks(&rule)),
        }
    }
}

/// Reads the bytes of `body` from `from` on until `out` has grown by `count` of them, or the body
/// ends.
pub(super) async fn collect(
    mut body: BlobBody,
    from: u64,
    count: usize,
    out: &mut Vec<u8>,
) -> std::result::Result<(), FetchError> {
    let goal = out.len().saturating_add(count);
    let mut skip = usize::try_from(from.saturating_sub(body.start)).unwrap_or(usize::MAX);
    while out.len() < goal {
        let Some(piece) = body.stream.next().await else { break };
        let piece = piece?;
        let skipped = skip.min(piece.len());
        skip = skip.saturating_sub(skipped);
        let rest = piece.get(skipped..).unwrap_or_default();
        let wanted = goal.saturating_sub(out.len()).min(rest.len());
        out.extend_from_slice(rest.get(..wanted).unwrap_or_default());
    }
    Ok(())
}

/// The beginning of a file. Its end is an error of its own, unless it is the file's.
struct Prefix<'a> {
    rest: &'a [u8],
    whole: bool,
}

impl Read for Prefix<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && !self.whole && !out.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.rest.read(out)
    }
}

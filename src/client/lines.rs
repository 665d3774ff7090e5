use bytes::{Buf as _, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;

use super::ClientError;

/// The longest line that is taken: far over any event, far under what would hurt.
const MAX_LINE: usize = 8 * 1024 * 1024;

/// A body read line by line, each as soon as it is complete.
pub struct Lines<B> {
    body: B,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no line end.
    scanned: usize,
    ended: bool,
}

impl<B> Lines<B>
where
    B: Body<Data = bytes::Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    pub(super) fn new(body: B) -> Self {
        Self { body, buffer: BytesMut::new(), scanned: 0, ended: false }
    }

    /// The next line without its end; `None` at the end of the body.
    ///
    /// # Errors
    /// [`ClientError::Broken`]; [`ClientError::Unreadable`] for a line over 8 MiB.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(self.take_rest());
            }
            if self.buffer.len() > MAX_LINE {
                return Err(ClientError::Unreadable {
                    what: "a streaming request".to_owned(),
                    problem: format!("a line is longer than {MAX_LINE} bytes"),
                });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(ClientError::broken(&error)),
                None => self.ended = true,
            }
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let fresh = self.buffer.get(self.scanned..)?;
        let Some(found) = memchr::memchr(b'\n', fresh) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.scanned.saturating_add(found));
        self.buffer.advance(1);
        self.scanned = 0;
        Some(text(&line))
    }

    fn take_rest(&mut self) -> Option<String> {
        let rest = self.buffer.split();
        (!rest.is_empty()).then(|| text(&rest))
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use proptest::prelude::*;

    use super::*;

    fn lines(chunks: Vec<Vec<u8>>) -> Vec<String> {
        let frames = chunks.into_iter().map(|c| Ok::<_, Infallible>(Frame::data(Bytes::from(c))));
        let mut lines = Lines::new(StreamBody::new(futures_util::stream::iter(frames)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut all = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                all.push(line);
            }
            all
        })
    }

    #[test]
    fn lines_end_with_or_without_a_carriage_return_or_not_at_all() {
        assert_eq!(lines(vec![b"a\nb\r\n\nc".to_vec()]), ["a", "b", "", "c"]);
        assert!(lines(vec![]).is_empty());
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(text in "([a-zä]{0,6}\n){0,8}[a-z]{1,3}", cut in 1usize..7) {
            let whole = lines(vec![text.clone().into_bytes()]);
            let pieces = lines(text.as_bytes().chunks(cut).map(<[u8]>::to_vec).collect());
            prop_assert_eq!(&whole, &pieces);
            prop_assert_eq!(whole, text.lines().map(ToOwned::to_owned).collect::<Vec<_>>());
        }
    }
}

use http_body::Body;

use super::{ClientError, Lines};

/// One server-sent event, as far as the OpenAI dialect uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SseEvent {
    /// The text behind `data:`.
    Data(String),
    /// A comment: the request still waits, or its position in the queue.
    Comment(String),
    /// `data: [DONE]`.
    Done,
}

/// A body read event by event.
pub struct Sse<B> {
    lines: Lines<B>,
}

impl<B> Sse<B>
where
    B: Body<Data = bytes::Bytes> + Unpin,
    B::Error: std::error::Error + 'static,
{
    pub(super) fn new(lines: Lines<B>) -> Self {
        Self { lines }
    }

    /// The next event; `None` when the body ends.
    ///
    /// # Errors
    /// Those of [`Lines::next`].
    pub async fn next(&mut self) -> Result<Option<SseEvent>, ClientError> {
        while let Some(line) = self.lines.next().await? {
            if let Some(event) = read(&line) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

fn read(line: &str) -> Option<SseEvent> {
    if let Some(comment) = line.strip_prefix(':') {
        return Some(SseEvent::Comment(comment.trim().to_owned()));
    }
    let data = line.strip_prefix("data:")?;
    match data.strip_prefix(' ').unwrap_or(data) {
        "[DONE]" => Some(SseEvent::Done),
        data => Some(SseEvent::Data(data.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_stream() {
        for (line, event) in [
            ("data: {\"a\":1}", Some(SseEvent::Data("{\"a\":1}".into()))),
            ("data:{}", Some(SseEvent::Data("{}".into()))),
            ("data: [DONE]", Some(SseEvent::Done)),
            (": queued, position 3", Some(SseEvent::Comment("queued, position 3".into()))),
            ("", None),
            ("event: error", None),
        ] {
            assert_eq!(read(line), event, "{line}");
        }
    }
}

use std::convert::Infallible;

use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use super::*;

/// A body whose pieces come when they are sent.
fn body() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, pieces) = mpsc::channel::<Bytes>(64);
    let stream = futures_util::stream::unfold(pieces, |mut pieces| async {
        pieces.recv().await.map(|piece| (Ok::<_, Infallible>(Frame::data(piece)), pieces))
    });
    (sender, Body::new(StreamBody::new(stream)))
}

async fn read_all(body: Body, limit: usize) -> std::result::Result<Bytes, ErrorKind> {
    read(&HeaderMap::new(), body, limit).await.map_err(|error| error.kind)
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit() {
    for (limit, expected) in
        [(10, Ok(Bytes::from_static(b"0123456789"))), (9, Err(ErrorKind::BodyTooLarge))]
    {
        let (sender, body) = body();
        sender.try_send(Bytes::from_static(b"01234")).expect("open");
        sender.try_send(Bytes::from_static(b"56789")).expect("open");
        drop(sender);
        assert_eq!(read_all(body, limit).await, expected);
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_read() {
    let (_open, body) = body();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, "11".parse().expect("a value"));
    let refused = read(&headers, body, 10).await.map_err(|error| error.kind);
    assert_eq!(refused, Err(ErrorKind::BodyTooLarge));
}

#[tokio::test]
async fn a_compressed_body_is_not_taken() {
    for (coding, ok) in [("gzip", false), ("identity, gzip", false), ("identity", true)] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, coding.parse().expect("a value"));
        assert_eq!(read(&headers, Body::empty(), 10).await.is_ok(), ok, "{coding}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_is_given_up() {
    let (sender, body) = body();
    sender.try_send(Bytes::from_static(b"{")).expect("open");
    let begun = Instant::now();
    assert_eq!(read_all(body, 10).await, Err(ErrorKind::RequestTimeout));
    assert_eq!(begun.elapsed(), BODY_IDLE);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_crawls_is_given_up() {
    let (sender, body) = body();
    let crawl = tokio::spawn(async move {
        while sender.send(Bytes::from_static(b"x")).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let begun = Instant::now();
    assert_eq!(read_all(body, 1000).await, Err(ErrorKind::RequestTimeout));
    assert_eq!(begun.elapsed(), BODY_TIME);
    crawl.abort();
}

/// Shows the kind of each event.
struct Names;

impl Render for Names {
    fn event(&mut self, event: Event, out: &mut BytesMut) {
        let name = match event {
            Event::Delta { delta: crate::domain::Delta::Content(text), .. } => text,
            other => format!("{other:?}").chars().take_while(char::is_ascii_alphabetic).collect(),
        };
        out.extend_from_slice(format!("[{name}]").as_bytes());
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        out.extend_from_slice(format!("[{:?}]", error.kind).as_bytes());
    }
}

type Events = mpsc::Sender<Result<Event>>;

fn events() -> (Events, impl Stream<Item = Bytes> + Unpin) {
    let (sender, receiver) = mpsc::channel(64);
    let events = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|event| (event, receiver))
    });
    let stream = EventStream::new(Box::pin(events), Names);
    (sender, stream.map(|bytes| bytes.unwrap_or_else(|never| match never {})))
}

fn delta(text: &str) -> Result<Event> {
    Ok(Event::content(text))
}

const STARTED: Event = Event::Started { prompt_tokens: 1, cached_tokens: 0 };

async fn next(stream: &mut (impl Stream<Item = Bytes> + Unpin)) -> Option<String> {
    stream.next().await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test(start_paused = true)]
async fn what_is_ready_goes_out_together() {
    let (sender, mut stream) = events();
    for event in [Ok(STARTED), delta("a"), delta("b")] {
        sender.try_send(event).expect("open");
    }
    assert_eq!(next(&mut stream).await.as_deref(), Some("[Started][a][b]"));
    sender.try_send(delta("c")).expect("open");
    assert_eq!(next(&mut stream).await.as_deref(), Some("[c]"));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_hears_its_latest_position_and_nothing_stale() {
    let (sender, mut stream) = events();
    for position in [5, 3] {
        sender.try_send(Ok(Event::Waiting { position })).expect("open");
    }
    assert_eq!(next(&mut stream).await.as_deref(), Some(": queued, position 3\n\n"));
    sender.try_send(Ok(Event::Loading { fraction: 0.42 })).expect("open");
    assert_eq!(next(&mut stream).await.as_deref(), Some(": loading the model, 42 %\n\n"));
    sender.try_send(Ok(Event::Waiting { position: 0 })).expect("open");
    sender.try_send(Ok(STARTED)).expect("open");
    assert_eq!(next(&mut stream).await.as_deref(), Some("[Started]"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_shows_that_it_lives() {
    let (sender, mut stream) = events();
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(next(&mut stream).await.as_deref(), Some(": keep-alive\n\n"));
        assert_eq!(begun.elapsed(), KEEP_ALIVE);
    }
    sleep(Duration::from_secs(10)).await;
    sender.try_send(Ok(STARTED)).expect("open");
    assert_eq!(next(&mut stream).await.as_deref(), Some("[Started]"));
    let begun = Instant::now();
    assert_eq!(next(&mut stream).await.as_deref(), Some(": keep-alive\n\n"));
    assert_eq!(begun.elapsed(), KEEP_ALIVE, "counted from the last event");
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_an_end_or_an_error() {
    let (sender, mut stream) = events();
    sender.try_send(Err(Error::new(ErrorKind::EngineCrashed, "dead"))).expect("open");
    sender.try_send(delta("late")).expect("open");
    assert_eq!(next(&mut stream).await.as_deref(), Some("[EngineCrashed]"));
    assert_eq!(next(&mut stream).await, None);
    let (sender, mut stream) = events();
    drop(sender);
    assert_eq!(next(&mut stream).await.as_deref(), Some("[Internal]"), "an end without a result");
    assert_eq!(next(&mut stream).await, None);
}

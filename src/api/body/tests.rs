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
    read(&parts(&[]), body, limit).await.map_err(|error| error.kind)
}

fn parts(headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::new(());
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().expect("a name");
        request.headers_mut().insert(name, value.parse().expect("a value"));
    }
    request.into_parts().0
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
    let parts = parts(&[("content-length", "11")]);
    let refused = read(&parts, body, 10).await.map_err(|error| error.kind);
    assert_eq!(refused, Err(ErrorKind::BodyTooLarge));
}

#[tokio::test]
async fn a_compressed_body_is_not_taken() {
    for (coding, ok) in [("gzip", false), ("identity, gzip", false), ("identity", true)] {
        let parts = parts(&[("content-encoding", coding)]);
        assert_eq!(read(&parts, Body::empty(), 10).await.is_ok(), ok, "{coding}");
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
    assert_eq!(begun.elapsed(), BODY_IDLE);
    crawl.abort();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let (sender, body) = body();
    let crawl = tokio::spawn(async move {
        while sender.send(Bytes::from(vec![b' '; 2048])).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let begun = Instant::now();
    assert_eq!(read_all(body, MAX_BODY).await, Err(ErrorKind::RequestTimeout));
    assert_eq!(begun.elapsed(), BODY_TIME);
    crawl.abort();
}

#[tokio::test]
async fn what_finds_no_room_is_refused_and_gives_its_own_back() {
    let mut parts = parts(&[]);
    parts.extensions.insert(Rooms::default());
    let large = || Body::from(vec![b' '; MAX_BODY]);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(read(&parts, large(), MAX_BODY).await.expect("room"));
    }
    let refused = read(&parts, large(), MAX_BODY).await.map_err(|error| error.kind);
    assert_eq!(refused, Err(ErrorKind::MemoryBusy));
    held.pop();
    assert!(read(&parts, large(), MAX_BODY).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_came_fast_buys_no_time_for_a_crawl() {
    let (sender, body) = body();
    let crawl = tokio::spawn(async move {
        let mut piece = Bytes::from(vec![b' '; 1 << 20]);
        while sender.send(piece).await.is_ok() {
            sleep(Duration::from_secs(8)).await;
            piece = Bytes::from_static(b"x");
        }
    });
    let begun = Instant::now();
    assert_eq!(read_all(body, 2 << 20).await, Err(ErrorKind::RequestTimeout));
    assert_eq!(begun.elapsed(), BODY_IDLE);
    crawl.abort();
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_that_keeps_coming_is_read() {
    // 64 MiB at a megabyte a second, and a small one at just the rate that is asked for.
    for (piece, pause, count) in [(1 << 20, 1000, 64), (4 << 10, 4000, 50)] {
        let (sender, body) = body();
        let whole = tokio::spawn(async move { read_all(body, MAX_BODY).await });
        for _ in 0..count {
            sleep(Duration::from_millis(pause)).await;
            sender.send(Bytes::from(vec![b' '; piece])).await.expect("still read");
        }
        drop(sender);
        assert_eq!(whole.await.expect("read").map(|body| body.len()), Ok(piece * count));
    }
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

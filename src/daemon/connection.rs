use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::activity::Activity;
use super::phase::{Patience, Phase, Tracked, Watched};
use crate::api::{ListenerClass, PeerInfo, PeerOwner};

/// Bytes of a request's line and headers together; hyper answers 431 beyond. It takes at most 100
/// headers, its default.
const MAX_HEAD: usize = 64 * 1024;

/// How long a connection may idle between requests while there are few places left.
const SCARCE_IDLE: Duration = Duration::from_secs(5);

/// What every connection needs; cheap to clone.
#[derive(Clone)]
pub(super) struct Server {
    pub router: Router,
    pub patience: Patience,
    pub activity: Activity,
    /// Cancelled: finish the request at hand, take no other.
    pub closing: CancellationToken,
    /// Cancelled: end, whatever is going on.
    pub killed: CancellationToken,
}

impl Server {
    /// For a connection beside many others: where places are `scarce`, nobody keeps one for long
    /// without using it.
    pub(super) fn among(mut self, scarce: bool) -> Self {
        if scarce {
            self.patience.idle = self.patience.idle.min(SCARCE_IDLE);
        }
        self
    }

    /// Serves one connection until it ends, expires, or the daemon does. It counts as work from
    /// this call on, not only from when the future first runs.
    pub(super) fn serve<S>(
        self,
        stream: S,
        class: ListenerClass,
        peer: PeerInfo,
    ) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let phase = Phase::accepted(self.patience, self.activity.enter());
        self.serve_in(phase, stream, class, peer)
    }

    async fn serve_in<S>(self, phase: Phase, stream: S, class: ListenerClass, peer: PeerInfo)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(Watched::new(stream, phase.clone()));
        let router = self.router;
        let owner = PeerOwner::default();
        // The id of the last answer that began.
        let last = &Mutex::new(None);
        let service = service_fn(|mut request: Request<Incoming>| {
            let busy = phase.busy();
            request.extensions_mut().insert(class);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(owner.clone());
            let answer = router.clone().oneshot(request.map(Body::new));
            async move {
                answer.await.map(|answer| {
                    let id = answer.headers().get("x-request-id").cloned();
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = id;
                    answer.map(|body| Tracked::new(body, busy))
                })
            }
        });
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .max_header_size(MAX_HEAD)
                .serve_connection(io, service)
        );
        let mut expired = pin!(phase.expired());
        let mut closing = pin!(async {
            self.closing.cancelled().await;
            phase.settled().await;
        });
        let mut asked_to_close = false;
        loop {
            tokio::select! {
                // The connection first: what has arrived is read before anything is closed.
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, listener = class.as_str(), "connection ended");
                    }
                    break;
                }
                () = &mut closing, if !asked_to_close => {
                    asked_to_close = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut expired => {
                    tracing::debug!(listener = class.as_str(), "connection was idle too long");
                    break;
                }
                () = self.killed.cancelled() => break,
            }
        }
        if phase.is_sending() {
            // The line about the request was written when its answer was made, and says that it is
            // complete.
            let id = last.lock().unwrap_or_else(PoisonError::into_inner).take();
            tracing::info!(
                listener = class.as_str(),
                id = id.as_ref().and_then(|id| id.to_str().ok()),
                "a connection ended before its client had taken the end of an answer"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    fn server(router: Router) -> Server {
        Server {
            router,
            patience: Patience::default(),
            activity: Activity::default(),
            closing: CancellationToken::new(),
            killed: CancellationToken::new(),
        }
    }

    fn connect(server: &Server) -> DuplexStream {
        connect_within(server, 256 * 1024)
    }

    /// With room for so many bytes on their way in each direction.
    fn connect_within(server: &Server, room: usize) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(room);
        let peer = PeerInfo::Unix { uid: 0, pgid: None };
        tokio::spawn(server.clone().serve(theirs, ListenerClass::Unix, peer));
        ours
    }

    fn hello() -> Server {
        server(Router::new().route("/", get(async || "hello")))
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    fn slow() -> Router {
        let handler = async || {
            tokio::time::sleep(Duration::from_secs(5)).await;
            "done"
        };
        Router::new().route("/", get(handler))
    }

    /// Ends with `server`, but answers at once.
    fn hello_of(server: &Server) -> Server {
        Server { router: hello().router, ..server.clone() }
    }

    async fn seconds_until_closed(stream: &mut DuplexStream) -> (String, u64) {
        let start = Instant::now();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        (String::from_utf8(answer).unwrap(), start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_ten_seconds() {
        let mut stream = connect(&hello());
        assert_eq!(seconds_until_closed(&mut stream).await, (String::new(), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_ends_ten_seconds_after_its_first_byte() {
        let mut stream = connect(&hello());
        for (byte, seconds) in [(b"G", 4), (b"E", 1)] {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            stream.write_all(byte).await.unwrap();
        }
        assert_eq!(seconds_until_closed(&mut stream).await, (String::new(), 9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_alive_connection_may_idle_for_a_minute() {
        let mut stream = connect(&hello());
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let (answer, seconds) = seconds_until_closed(&mut stream).await;
        assert!(answer.ends_with("hello"), "{answer}");
        assert_eq!(seconds, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_hours_is_not_idle() {
        let slow = post(async || {
            tokio::time::sleep(Duration::from_secs(7200)).await;
            "done"
        });
        let mut stream = connect(&server(Router::new().route("/", slow)));
        let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let (answer, seconds) = seconds_until_closed(&mut stream).await;
        assert!(answer.ends_with("done"), "{answer}");
        assert_eq!(seconds, 7200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_of_a_long_answer_has_to_read() {
        let long = Router::new().route("/", get(async || "x".repeat(4 << 20)));
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut stream = connect(&server(long));
        stream.write_all(request).await.unwrap();
        let mut some = vec![0; 64 << 10];
        let start = Instant::now();
        // Slow is fine.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(29)).await;
            stream.read_exact(&mut some).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(31)).await;
        let (rest, seconds) = seconds_until_closed(&mut stream).await;
        assert_eq!(start.elapsed().as_secs(), 4 * 29 + 31);
        assert!(rest.len() < 1 << 20 && seconds == 0, "{} bytes, {seconds} s", rest.len());
    }

    /// Long, and yet handed over to the connection as a whole and at once.
    const LONG: usize = 64 << 10;

    fn long() -> Server {
        server(Router::new().route("/", get(async || "#".repeat(LONG))))
    }

    /// Takes a KiB every `pause` until the other end closes; answers how much of the long answer came,
    /// and how long the end took after the last of it.
    async fn read_slowly(stream: &mut DuplexStream, pause: Duration) -> (usize, Duration) {
        let (mut some, mut answer) = ([0; 1 << 10], 0);
        let mut last = Instant::now();
        loop {
            let read = stream.read(&mut some).await.unwrap();
            if read == 0 {
                return (answer, last.elapsed());
            }
            last = Instant::now();
            answer += some[..read].iter().filter(|&&byte| byte == b'#').count();
            tokio::time::sleep(pause).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_all_of_an_answer_that_is_ready_at_once() {
        for (scarce, idle) in [(false, 60), (true, 5)] {
            let mut stream = connect_within(&long().among(scarce), 1 << 10);
            stream.write_all(GET).await.unwrap();
            // Ten minutes for all of it.
            let (answer, end) = read_slowly(&mut stream, Duration::from_secs(10)).await;
            assert_eq!(answer, LONG, "{idle}");
            // It is seen only when the pause is over.
            assert!(end <= Duration::from_secs(idle.max(10)), "{end:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_reading_the_rest_of_an_answer_is_closed() {
        let mut stream = connect_within(&long(), 1 << 10);
        stream.write_all(GET).await.unwrap();
        tokio::time::sleep(Duration::from_secs(31)).await;
        let (answer, seconds) = seconds_until_closed(&mut stream).await;
        assert_eq!((answer.len(), seconds), (1 << 10, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_still_on_its_way_out_is_work() {
        let server = long();
        let mut stream = connect_within(&server, 1 << 10);
        stream.write_all(GET).await.unwrap();
        let mut some = [0; 1 << 10];
        for _ in 0..8 {
            stream.read_exact(&mut some).await.unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert!(!server.activity.is_quiet());
        }
        let mut rest = vec![0; LONG - (8 << 10)];
        stream.read_exact(&mut rest).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(server.activity.is_quiet());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_lets_a_slow_reader_finish() {
        let server = long();
        let mut stream = connect_within(&server, 1 << 10);
        stream.write_all(GET).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.closing.cancel();
        let (answer, end) = read_slowly(&mut stream, Duration::from_secs(10)).await;
        assert_eq!(answer, LONG);
        // Nothing is waited for once it is out.
        assert!(end <= Duration::from_secs(10), "{end:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_begins_behind_a_slow_answer_has_its_time_from_there() {
        let mut stream = connect_within(&long(), 1 << 10);
        stream.write_all(GET).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        stream.write_all(b"GET / HT").await.unwrap();
        let (answer, end) = read_slowly(&mut stream, Duration::from_secs(10)).await;
        assert_eq!(answer, LONG);
        assert!(end <= Duration::from_secs(10), "{end:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_places_are_few_nobody_idles_long() {
        let mut stream = connect(&hello().among(true));
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let (answer, seconds) = seconds_until_closed(&mut stream).await;
        assert!(answer.ends_with("hello"), "{answer}");
        assert_eq!(seconds, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn heads_are_bounded_in_bytes_and_fields() {
        let long = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
        for head in [long, many] {
            let mut stream = connect(&hello());
            stream.write_all(head.as_bytes()).await.unwrap();
            let (answer, _) = seconds_until_closed(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn closing_finishes_what_runs_and_drops_what_idles() {
        let server = server(slow());
        let mut busy = connect(&server);
        let mut idle = connect(&hello_of(&server));
        idle.write_all(GET).await.unwrap();
        busy.write_all(GET).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.closing.cancel();
        let (answer, seconds) = seconds_until_closed(&mut idle).await;
        assert!(answer.ends_with("hello"), "{answer}");
        assert_eq!(seconds, 0);
        let (answer, seconds) = seconds_until_closed(&mut busy).await;
        assert!(answer.ends_with("done"), "{answer}");
        // The idle one took 20 ms of the four seconds that were left.
        assert_eq!(seconds, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_connected_before_the_end_is_answered() {
        let server = hello();
        let (mut early, mut silent) = (connect(&server), connect(&server));
        server.closing.cancel();
        tokio::time::sleep(Duration::from_millis(900)).await;
        early.write_all(GET).await.unwrap();
        let (answer, seconds) = seconds_until_closed(&mut early).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
        assert_eq!(seconds, 0);
        assert_eq!(seconds_until_closed(&mut silent).await, (String::new(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_further_request_that_was_begun_before_the_end_is_answered() {
        let server = hello();
        let mut stream = connect(&server);
        stream.write_all(GET).await.unwrap();
        let mut first = [0; 16 * 1024];
        let mut read = 0;
        while !first[..read].ends_with(b"hello") {
            read += stream.read(&mut first[read..]).await.unwrap();
        }
        let (begun, rest) = GET.split_at(9);
        stream.write_all(begun).await.unwrap();
        tokio::task::yield_now().await;
        server.closing.cancel();
        tokio::time::sleep(Duration::from_secs(5)).await;
        stream.write_all(rest).await.unwrap();
        let (answer, _) = seconds_until_closed(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_work_until_its_answer_is_out() {
        let server = hello();
        let mut stream = connect(&server);
        assert!(!server.activity.is_quiet(), "its request is on its way");
        stream.write_all(GET).await.unwrap();
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(server.activity.is_quiet(), "it is kept alive and idle");
        stream.write_all(b"G").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!server.activity.is_quiet(), "another begins");
        drop(stream);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(server.activity.is_quiet(), "it is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn handlers_learn_who_is_there() {
        let who = get(async |request: axum::extract::Request| {
            let class = request.extensions().get::<ListenerClass>().copied();
            let peer = request.extensions().get::<PeerInfo>().copied();
            format!("{class:?} {peer:?}")
        });
        let mut stream = connect(&server(Router::new().route("/", who)));
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let (answer, _) = seconds_until_closed(&mut stream).await;
        let seen = "Some(Unix) Some(Unix { uid: 0, pgid: None })";
        assert!(answer.ends_with(seen), "{answer}");
    }
}

//! Many clients that stall at once: others go on, and the stalled ones go.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::http::{Address, Client, Wire};
use crate::support::{Daemon, is_long, skip, wait_until};

/// Ten seconds of patience; the rest is for a busy machine.
const CLOSED: Duration = Duration::from_secs(15);
/// What so many connections may take of the daemon's memory.
const MEMORY: u64 = 64 << 20;

/// A connection that sends next to nothing.
struct Stalled {
    wire: Wire,
    drips: bool,
    begun: Instant,
}

impl Stalled {
    fn new(client: &Client, begins: &str, drips: bool) -> Self {
        let mut wire = client.connect();
        wire.write_all(begins.as_bytes()).expect("an open connection");
        let done = match &wire {
            Wire::Unix(stream) => stream.set_nonblocking(true),
            Wire::Tcp(stream) => stream.set_nonblocking(true),
        };
        done.expect("an open connection");
        Self { wire, drips, begun: Instant::now() }
    }

    /// Whether the daemon has closed it. An answer may come before.
    fn is_closed(&mut self) -> bool {
        let mut answer = [0; 4096];
        loop {
            match self.wire.read(&mut answer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
    }
}

#[test]
fn a_thousand_stalled_clients_keep_nobody_waiting() {
    let test = "a_thousand_stalled_clients_keep_nobody_waiting";
    let (heads, idle, bodies) = if is_long() { (1_000, 1_000, 200) } else { (60, 60, 20) };
    let needed = 2 * (heads + idle + bodies) + 500;
    let limit = modeld::daemon::raise_descriptor_limit();
    if limit.is_some_and(|limit| limit < needed) {
        return skip(test, &format!("it needs {needed} descriptors, and may have {limit:?}"));
    }
    let daemon = Daemon::builder().tcp().args(&["--log", "warn"]).start();
    let before = resident(daemon.pid());
    let clients = [daemon.tcp_client(), daemon.client()];
    let head = "GET /models HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let body = "POST /engines/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"model\": \"";
    let mut stalled = Vec::new();
    for (count, begins, drips) in [(heads, head, true), (idle, "", false), (bodies, body, true)] {
        for number in 0..count {
            // Two of five over TCP, where 1,024 may be at once.
            let client = &clients[usize::from(number % 5 > 1)];
            stalled.push(Stalled::new(client, begins, drips));
        }
    }
    let all = stalled.len();
    let over = AtomicBool::new(false);
    let (mut times, mut most) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let healthy = scope.spawn(|| {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                daemon.client().get("/models").expect(200);
                times.push(begun.elapsed());
            }
            times
        });
        let mut dripped = Instant::now();
        wait_until(CLOSED * 2, "every stalled connection is closed", || {
            if dripped.elapsed() > Duration::from_secs(1) {
                dripped = Instant::now();
                for one in stalled.iter_mut().filter(|one| one.drips) {
                    let _ = one.wire.write(b"a");
                }
                most = most.max(resident(daemon.pid()).unwrap_or(0));
            }
            stalled.retain_mut(|one| !one.is_closed());
            let late = stalled.iter().filter(|one| one.begun.elapsed() > CLOSED).count();
            if late > 0 {
                over.store(true, Ordering::Relaxed);
                panic!("{late} of {all} are open after {CLOSED:?}");
            }
            stalled.is_empty()
        });
        over.store(true, Ordering::Relaxed);
        times = healthy.join().expect("a client that is answered");
    });
    times.sort();
    assert!(times.len() > 20, "only {} answers while others stalled", times.len());
    let p99 = times[times.len() * 99 / 100];
    let grown = before.map(|before| most.saturating_sub(before));
    eprintln!(
        "{all} stalled clients: {} answers to a healthy one, p50 {:?}, p99 {p99:?}, most {:?}; {} KiB \
         more memory",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1],
        grown.unwrap_or(0) >> 10
    );
    assert!(grown.is_none_or(|grown| grown <= MEMORY), "{grown:?} bytes more");
    daemon.tcp_client().get("/models").expect(200);
}

#[test]
fn a_flood_on_one_listener_leaves_the_others() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let other = other.expect("a free port");
    let port = other.port().to_string();
    let daemon = Daemon::builder().tcp().args(&["--ollama-port", &port]).start();
    // More than the half that this listener has; what is too much waits in the kernel.
    let test = "a_flood_on_one_listener_leaves_the_others";
    if modeld::daemon::raise_descriptor_limit().is_some_and(|limit| limit < 2_000) {
        return skip(test, "it needs 2,000 descriptors");
    }
    let flood: Vec<Wire> = (0..560).map(|_| daemon.tcp_client().connect()).collect();
    let begun = Instant::now();
    daemon.client().get("/models").expect(200);
    Client { address: Address::Tcp(other) }.get("/api/tags").expect(200);
    // Places on the flooded one come free only when the first of them have been silent for 10 s.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(flood);
    daemon.tcp_client().get("/models").expect(200);
}

/// Sends most of a body at once, and then a byte a second; the status that this ends with (0 where
/// the connection did), `Retry-After`, and how long the crawl took.
fn send_and_crawl(client: &Client, size: usize) -> (u16, Option<String>, Duration) {
    let mut wire = client.connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        size + (1 << 20)
    );
    let piece = vec![b' '; 1 << 20];
    let all = (0..size / piece.len()).map(|_| piece.as_slice());
    // Who is refused may not get rid of the rest.
    let _ = wire.write_all(head.as_bytes()).and_then(|()| {
        let mut all = all;
        all.try_for_each(|piece| wire.write_all(piece))
    });
    let begun = Instant::now();
    wire.set_patience(Duration::from_secs(1));
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match wire.read(&mut some) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&some[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => drop(wire.write(b" ")),
            Err(_) => break,
        }
    }
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let after = answer.lines().find_map(|line| line.strip_prefix("retry-after: "));
    (status, after.map(str::to_owned), begun.elapsed())
}

#[test]
fn bodies_over_tcp_have_a_bounded_part_of_memory() {
    let daemon = Daemon::builder().tcp().args(&["--log", "warn"]).start();
    let client = daemon.tcp_client();
    let before = resident(daemon.pid());
    let (ends, most) = std::thread::scope(|scope| {
        let crawls: Vec<_> =
            (0..20).map(|_| scope.spawn(|| send_and_crawl(&client, 60 << 20))).collect();
        // Meanwhile neither small requests are kept out nor the owner.
        let mut most = 0;
        let kind = [("Content-Type", "application/json")];
        let large = vec![b' '; 60 << 20];
        while !crawls.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let small = serde_json::json!({ "model": "ai/none", "messages": [] });
            for _ in 0..20 {
                client.post("/v1/chat/completions", &small).expect(400);
                most = most.max(resident(daemon.pid()).unwrap_or(0));
            }
            daemon.client().send("POST", "/v1/chat/completions", &kind, &large).expect(400);
        }
        let ends: Vec<_> = crawls.into_iter().map(|crawl| crawl.join().expect("an end")).collect();
        (ends, most)
    });
    let count = |wanted| ends.iter().filter(|(status, _, _)| *status == wanted).count();
    let grown = before.map(|before| most.saturating_sub(before) >> 20);
    eprintln!("{} held, {} refused; {grown:?} MiB more", count(408), count(429));
    assert!(count(408) > 0 && count(408) < ends.len(), "{ends:?}");
    assert_eq!(count(408) + count(429) + count(0), ends.len(), "{ends:?}");
    for (status, after, time) in &ends {
        assert!(*time < CLOSED, "{status} after {time:?}");
        assert!(*status != 429 || after.as_deref() == Some("5"), "{after:?}");
    }
    // 256 MiB of theirs and 60 MiB of the owner's, twice where the copies that they outgrew have not
    // gone back to the system yet. Unbounded, they would take 1,220 MiB and more.
    assert!(grown.is_none_or(|grown| grown < 640), "{grown:?} MiB more");
    // All of it is free again.
    assert_eq!(send_and_crawl(&client, 62 << 20).0, 408);
}

/// Bytes of a process in memory; `None` where there is no `/proc`.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().split(' ').next()?.parse().ok()?;
    Some(kib << 10)
}

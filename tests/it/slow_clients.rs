//! Clients that are slow on purpose. Each test takes as long as the time-out it tests, so most
//! run only in a long run.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::support::http::Wire;
use crate::support::{Daemon, is_long, skip};

/// A header has to be complete after ten seconds; the rest is for a busy machine.
const CLOSED: Duration = Duration::from_secs(15);

#[test]
fn half_a_header_is_closed_and_nobody_waits_for_it() {
    if !is_long() {
        skip("half_a_header_is_closed_and_nobody_waits_for_it", "it takes 15 s; --long runs it");
        return;
    }
    let daemon = Daemon::builder().tcp().start();
    let clients = [daemon.client(), daemon.tcp_client()];
    let mut stalled: Vec<Wire> = Vec::new();
    for client in &clients {
        for start in ["", "GET /models HTTP/1.1\r\nHost: local"] {
            for _ in 0..50 {
                let mut wire = client.connect();
                wire.write_all(start.as_bytes()).expect("an open connection");
                stalled.push(wire);
            }
        }
    }
    let started = Instant::now();
    for client in &clients {
        client.get("/models").expect(200);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "others are served meanwhile");
    for mut wire in stalled {
        let left = CLOSED.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
        wire.set_patience(left);
        let mut rest = Vec::new();
        let end = wire.read_to_end(&mut rest);
        assert!(
            end.is_ok() || rest.starts_with(b"HTTP/1.1 408"),
            "still open after {:?}: {end:?}",
            started.elapsed()
        );
    }
}

#[test]
fn half_a_body_is_closed() {
    if !is_long() {
        skip("half_a_body_is_closed", "it takes up to 60 s; --long runs it");
        return;
    }
    let daemon = Daemon::builder().start();
    let mut wire = daemon.client().connect();
    let head = "POST /engines/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"model\":";
    wire.write_all(head.as_bytes()).unwrap();
    wire.set_patience(Duration::from_secs(75));
    let mut rest = Vec::new();
    let end = wire.read_to_end(&mut rest);
    assert!(end.is_ok(), "{end:?}");
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "never a success");
}

#[test]
fn connections_that_send_nothing_do_not_keep_others_out() {
    let daemon = Daemon::builder().tcp().start();
    let idle: Vec<Wire> = (0..200).map(|_| daemon.tcp_client().connect()).collect();
    daemon.client().get("/models").expect(200);
    daemon.tcp_client().get("/models").expect(200);
    drop(idle);
}

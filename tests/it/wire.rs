//! Bytes that are not quite HTTP/1.1: refused or closed, never taken for a request.

use crate::support::Daemon;

/// Complete requests, or what pretends to be one, that must not be answered with success.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let request = |lines: &[&str]| (lines.join("\r\n") + "\r\n\r\n").into_bytes();
    let chat = "POST /engines/v1/chat/completions HTTP/1.1";
    let host = "Host: localhost";
    vec![
        ("HTTP/3.0", request(&["GET /models HTTP/3.0", host])),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a TLS hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".repeat(8)),
        ("zeros", vec![0; 512]),
        ("no method", request(&["/models HTTP/1.1", host])),
        ("spaces in the path", request(&["GET /mo dels HTTP/1.1", host])),
        ("a NUL in a header", request(&["GET /models HTTP/1.1", host, "X: a\0b"])),
        ("a space before the colon", request(&["GET /models HTTP/1.1", host, "X : y"])),
        ("no colon", request(&["GET /models HTTP/1.1", host, "nonsense"])),
        ("a folded header", request(&["GET /models HTTP/1.1", host, "X: a", " b"])),
        ("length and chunks", {
            let mut bytes =
                request(&[chat, host, "Content-Length: 5", "Transfer-Encoding: chunked"]);
            bytes.extend(b"0\r\n\r\nGET /models HTTP/1.1\r\nHost: localhost\r\n\r\n");
            bytes
        }),
        ("chunked twice", {
            let mut bytes = request(&[chat, host, "Transfer-Encoding: chunked, chunked"]);
            bytes.extend(b"0\r\n\r\n");
            bytes
        }),
        ("an unknown coding", request(&[chat, host, "Transfer-Encoding: zip"])),
        ("two lengths", request(&[chat, host, "Content-Length: 5", "Content-Length: 6"])),
        ("a negative length", request(&[chat, host, "Content-Length: -1"])),
        ("a huge length", request(&[chat, host, "Content-Length: 99999999999999999999999"])),
        ("a broken chunk", {
            let mut bytes = request(&[chat, host, "Transfer-Encoding: chunked"]);
            bytes.extend(b"zz\r\n{}\r\n0\r\n\r\n");
            bytes
        }),
        ("a chunk of 2^64 bytes", {
            let mut bytes = request(&[chat, host, "Transfer-Encoding: chunked"]);
            bytes.extend(b"FFFFFFFFFFFFFFFFF\r\n{}");
            bytes
        }),
        ("a header of 100 KiB", {
            request(&["GET /models HTTP/1.1", host, &format!("X: {}", "a".repeat(100 << 10))])
        }),
        ("1,000 headers", {
            let many: Vec<String> = (0..1000).map(|number| format!("X-{number}: y")).collect();
            let mut lines = vec!["GET /models HTTP/1.1", host];
            lines.extend(many.iter().map(String::as_str));
            request(&lines)
        }),
        ("a path of 100 KiB", {
            request(&[&format!("GET /models/{} HTTP/1.1", "a".repeat(100 << 10)), host])
        }),
    ]
}

#[test]
fn broken_bytes_are_never_a_success() {
    let mut daemon = Daemon::builder().tcp().start();
    for client in [daemon.client(), daemon.tcp_client()] {
        for (what, bytes) in broken() {
            if let Some(answer) = client.raw(&bytes) {
                assert!((400..=505).contains(&answer.status), "{what}: {}", answer.status);
                assert_ne!(answer.status, 500, "{what}: {}", answer.text());
            }
        }
        for cut in ["", "GET /models\r\n", "POST /models HTTP/1.1\r\nContent-Length: 500\r\n\r\n{"]
        {
            if let Some(answer) = client.raw_cut_off(cut.as_bytes()) {
                assert!((400..500).contains(&answer.status), "{cut:?}: {}", answer.status);
            }
        }
    }
    assert!(daemon.is_alive());
    daemon.client().get("/models").expect(200);
    daemon.tcp_client().get("/models").expect(200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let daemon = Daemon::builder().start();
    let two = "GET /models HTTP/1.1\r\nHost: localhost\r\n\r\nGET /no-such HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let first = daemon.client().raw(two.as_bytes()).expect("an answer");
    assert_eq!(first.status, 200);
}

#[test]
fn a_random_beginning_of_a_good_request_does_no_harm() {
    let mut daemon = Daemon::builder().start();
    let body = r#"{"model":"ai/none","messages":[{"role":"user","content":"Hi"}]}"#;
    let good = format!(
        "POST /engines/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    for end in 0..good.len() {
        if let Some(answer) = daemon.client().raw_cut_off(&good.as_bytes()[..end]) {
            assert!((400..500).contains(&answer.status), "{end} bytes: {}", answer.status);
        }
    }
    assert_eq!(daemon.client().raw(good.as_bytes()).expect("an answer").status, 404);
    assert!(daemon.is_alive());
}

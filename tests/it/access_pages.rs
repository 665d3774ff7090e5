//! Every route against Hosts and Origins: what web pages and rebound names can reach, and what not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use modeld::api::{ACTIONS, ROUTES, Route};

use crate::support::http::PATIENCE;
use crate::support::{Daemon, is_long};

/// Names of this machine; `PORT` stands for that of the listener.
const OURS: [&str; 9] = [
    "localhost",
    "localhost:PORT",
    "LOCALHOST:PORT",
    "127.0.0.1",
    "127.0.0.1:PORT",
    "[::1]",
    "[::1]:PORT",
    "host.docker.internal:PORT",
    "model-runner.docker.internal",
];

/// What a page could have its browser send instead.
const THEIRS: [&str; 31] = [
    "",
    ":PORT",
    "localhost:",
    "localhost:1",
    "localhost:PORTx",
    "localhost:99999",
    "localhost:PORT:PORT",
    "localhost.",
    "localhost.evil.example",
    "evil.example",
    "evil.example:PORT",
    "evil.local",
    "model-runner.docker.internal.evil.example",
    "127.0.0.1.nip.example",
    "127.0.0.1.",
    "127.1",
    "127.0.0.2",
    "2130706433",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "0.0.0.0",
    "[::]",
    "[::1",
    "::1",
    "[::1]x",
    "[127.0.0.1]",
    "192.168.1.2",
    "user@localhost",
    "localhost/x",
    "localhost,evil.example",
    "localhost evil.example",
];

/// Who asks, and whether it may.
const ORIGINS: [(Option<&str>, bool); 8] = [
    (None, true),
    (Some("http://localhost:3000"), true),
    (Some("https://127.0.0.1"), true),
    (Some("null"), false),
    (Some("https://evil.example"), false),
    (Some("http://localhost.evil.example"), false),
    (Some("file://"), false),
    (Some("chrome-extension://abcdef"), false),
];

#[test]
fn every_route_by_host_and_origin() {
    let args = ["--log", "off", "--no-log-file"];
    let daemon = Daemon::builder().tcp().args(&args).start();
    let routes: Vec<&Route> = ROUTES.iter().chain(ACTIONS).collect();
    assert!(routes.len() > 70, "{}", routes.len());
    let (ours, theirs) = match is_long() {
        true => (&OURS[..], &THEIRS[..]),
        // All Hosts meet some routes below, all routes some Hosts.
        false => (&OURS[..1], &THEIRS[9..10]),
    };
    let mut kept = Kept::new(daemon.port());
    let mut asked = 0;
    let mut hold = |route: &Route, host: &str, host_ok: bool| {
        for (origin, origin_ok) in ORIGINS {
            asked += kept.holds(route, (host, host_ok), (origin, origin_ok));
        }
    };
    for route in &routes {
        ours.iter().for_each(|host| hold(route, host, true));
        theirs.iter().for_each(|host| hold(route, host, false));
    }
    let some = ["/v1/chat/completions", "/models", "/models/purge", "/api/tags"];
    for route in routes.iter().filter(|route| some.contains(&route.path)) {
        OURS.iter().for_each(|host| hold(route, host, true));
        THEIRS.iter().for_each(|host| hold(route, host, false));
    }
    assert!(asked > 1_500, "only {asked} requests");
    // Whatever the pages asked for, the daemon lives and its owner is served.
    daemon.client().get("/models").expect(200);
}

/// A connection that is used for many requests, one after the other.
struct Kept {
    address: SocketAddr,
    wire: Option<BufReader<TcpStream>>,
}

impl Kept {
    fn new(address: SocketAddr) -> Self {
        Self { address, wire: None }
    }

    /// Asks and compares; answers how many requests that were.
    fn holds(&mut self, route: &Route, host: (&str, bool), origin: (Option<&str>, bool)) -> usize {
        let ((host, host_ok), (origin, origin_ok)) = (host, origin);
        let is_page = origin.is_some();
        if host_ok && !is_page && route.for_owner {
            // This process is the owner's: it would be done.
            return 0;
        }
        let host = host.replace("PORT", &self.address.port().to_string());
        let path = route.path.replace("{*model}", "ai/none").replace("{response_id}", "resp_x");
        let path = path.replace("{digest}", &format!("sha256:{}", "0".repeat(64)));
        let (status, headers) = self.ask(route.method, &path, &host, origin);
        let what = format!("{} {path} with Host {host:?} and Origin {origin:?}", route.method);
        let allowed = headers.iter().find(|line| line.starts_with("access-control-allow-origin:"));
        if !host_ok || !origin_ok {
            assert!([400, 403].contains(&status), "{what}: {status}");
            assert_eq!(allowed, None, "{what}");
        } else {
            assert_eq!(status == 403, route.for_owner, "{what}: {status}");
            assert_ne!(status, 401, "{what}");
            assert_eq!(allowed.is_some(), is_page, "{what}: {allowed:?}");
        }
        1
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        host: &str,
        origin: Option<&str>,
    ) -> (u16, Vec<String>) {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let body = if method == "POST" { "{}" } else { "" };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let mut wire = self.wire.take().unwrap_or_else(|| {
            let wire = TcpStream::connect(self.address).expect("a daemon that listens");
            wire.set_read_timeout(Some(PATIENCE)).expect("a positive timeout");
            BufReader::new(wire)
        });
        wire.get_mut().write_all(request.as_bytes()).expect("an open connection");
        let mut line = String::new();
        wire.read_line(&mut line).expect("a status");
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("{request:?}: {line:?}"));
        let mut headers = Vec::new();
        loop {
            line.clear();
            wire.read_line(&mut line).expect("a header");
            match line.trim_end() {
                "" => break,
                header => headers.push(header.to_ascii_lowercase()),
            }
        }
        let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
        let length: Option<u64> = length.and_then(|length| length.parse().ok());
        let closes = headers.iter().any(|line| line == "connection: close");
        if method == "HEAD" || status == 204 {
            self.wire = Some(wire).filter(|_| !closes);
        } else if let (Some(length), false) = (length, closes) {
            let mut body = Vec::new();
            (&mut wire).take(length).read_to_end(&mut body).expect("a body");
            self.wire = Some(wire);
        }
        (status, headers)
    }
}

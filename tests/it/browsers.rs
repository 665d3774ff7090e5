//! What stands between a web page and the models: the Host and Origin rules of TCP listeners.

use std::process::Command;

use serde_json::json;

use crate::support::{Daemon, models, skip};

const CHAT: &str = "/engines/v1/chat/completions";

#[test]
fn only_names_of_this_machine_are_answered_to() {
    let daemon = Daemon::builder().tcp().start();
    let port = daemon.port().port();
    let client = daemon.tcp_client();
    let status = |host: &str| client.send("GET", "/models", &[("Host", host)], b"").status;
    for good in ["localhost", "127.0.0.1", "[::1]"] {
        assert_eq!(status(&format!("{good}:{port}")), 200, "{good}");
    }
    for evil in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "0.0.0.0"] {
        assert_eq!(status(&format!("{evil}:{port}")), 403, "{evil}");
        assert_eq!(status(evil), 403, "{evil} without a port");
    }
    for broken in ["", "a b", "localhost:x", "user@localhost"] {
        let status = status(broken);
        assert!([400, 403].contains(&status), "{broken:?}: {status}");
    }
    let none = client.raw(b"GET /models HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(none.is_none_or(|answer| [400, 403].contains(&answer.status)), "no Host");
    let two = format!(
        "GET /models HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    );
    let two = client.raw(two.as_bytes());
    assert!(two.is_none_or(|answer| [400, 403].contains(&answer.status)), "two Hosts");
}

#[test]
fn a_foreign_page_gets_nothing_and_a_local_one_may_ask() {
    let daemon = Daemon::builder().tcp().model("ai/hello", &models::hello()).start();
    let client = daemon.tcp_client();
    let body = json!({ "model": "ai/hello", "messages": [{ "role": "user", "content": "Hi" }] });
    let ask = |origin: &str| {
        let headers = [("Content-Type", "application/json"), ("Origin", origin)];
        client.send("POST", CHAT, &headers, body.to_string().as_bytes())
    };
    for foreign in ["https://evil.example", "null", "http://localhost.evil.example", "file://"] {
        for path in ["/models", "/engines/v1/models", "/engines/ps", "/"] {
            let answer = client.send("GET", path, &[("Origin", foreign)], b"");
            assert_eq!(answer.status, 403, "{foreign} on {path}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{foreign} on {path}");
        }
        let answer = ask(foreign);
        assert_eq!(answer.status, 403, "{foreign}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{foreign}");
    }
    let local = ask("http://localhost:3000").expect(200);
    assert_eq!(local.header("access-control-allow-origin"), Some("http://localhost:3000"));
}

#[test]
fn a_local_page_may_not_manage() {
    let daemon = Daemon::builder().tcp().model("ai/tiny", &models::tiny()).start();
    let client = daemon.tcp_client();
    let origin = [("Origin", "http://localhost:3000")];
    for (method, path) in management() {
        let answer = client.send(method, path, &origin, b"");
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
    }
    daemon.client().get("/models/ai/tiny").expect(200);
}

/// What `curl` is answered that `wrapper` makes another's: of another user, or in a container.
fn status_of(wrapper: &[&str], method: &str, url: &str) -> String {
    let (program, arguments) = wrapper.split_first().expect("a program");
    let mut curl = Command::new(program);
    curl.args(arguments).args(["curl", "-s", "--noproxy", "*", "-o", "/dev/null"]);
    let output = curl.args(["-w", "%{http_code}", "-X", method, url]).output();
    String::from_utf8(output.expect("it runs").stdout).expect("a status")
}

fn works(wrapper: &[&str]) -> bool {
    let (program, arguments) = wrapper.split_first().expect("a program");
    let mut command = Command::new(program);
    let output = command.args(arguments).args(["curl", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn management_over_tcp_is_for_the_same_user_alone() {
    let test = "management_over_tcp_is_for_the_same_user_alone";
    let daemon = Daemon::builder().tcp().model("ai/tiny", &models::tiny()).start();
    let port = daemon.port().port();
    let other_user = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"][..];
    let other_namespace = &["unshare", "--user"][..];
    for wrapper in [other_user, other_namespace] {
        if !works(wrapper) {
            skip(test, &format!("{} cannot be used here", wrapper[0]));
            continue;
        }
        for prefix in ["", "/exp/vDD4.40", "/", "/exp/vDD4.40/"] {
            for (method, path) in management() {
                let url = format!("http://127.0.0.1:{port}{prefix}{path}");
                assert_eq!(status_of(wrapper, method, &url), "403", "{wrapper:?}: {method} {url}");
            }
        }
        let list = format!("http://127.0.0.1:{port}/models");
        assert_eq!(status_of(wrapper, "GET", &list), "200", "{wrapper:?}");
    }
    let known = if cfg!(target_os = "linux") { 200 } else { 403 };
    daemon.tcp_client().delete("/models/ai/tiny").expect(known);
}

fn management() -> [(&'static str, &'static str); 4] {
    [
        ("DELETE", "/models/ai/tiny"),
        ("POST", "/models/ai/tiny/tag?repo=ai/x&tag=y"),
        ("POST", "/models/load"),
        ("POST", "/engines/unload"),
    ]
}

use std::sync::Arc;
use std::time::Duration;

use http::header;

use super::super::testing::{FakeLookup, TestServer, raw_port, reply};
use super::super::*;
use super::common::*;

#[tokio::test]
async fn an_authority_of_the_users_own_is_trusted_when_named() {
    let server = TestServer::start_tls(|_| reply(200, &[], "secure")).await;
    let (_file, options) = trusting();
    let answer = get(&Egress::new(options).unwrap(), server.url("/")).await.unwrap();
    assert_eq!(text(answer).await, "secure");

    let refused = error(get(&egress(), server.url("/")).await);
    assert!(
        matches!(&refused, EgressError::Invalid(t) if t.contains("--registry-ca")),
        "{refused}"
    );
}

#[tokio::test]
async fn a_certificate_is_for_its_host() {
    let server = TestServer::start_tls(|_| reply(200, &[], "")).await;
    let (_file, mut options) = trusting();
    let lookup = FakeLookup::default();
    lookup.answer("other.example", &[&["127.0.0.1"]]);
    options.lookup = Arc::new(lookup);
    let at = server.url_as("other.example", "/");
    let refused = error(get(&Egress::new(options).unwrap(), at).await);
    assert!(matches!(&refused, EgressError::Invalid(t) if t.contains("another host")), "{refused}");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    let plain = TestServer::start(|_| reply(200, &[], "")).await;
    // What OpenSSL answers to HTTP: an alert.
    let secure = raw_port(b"\x15\x03\x01\x00\x02\x02\x46").await;
    let nonsense = raw_port(b"SSH-2.0-test\r\n").await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let table = [
        (format!("https://127.0.0.1:{}/?q=canary", plain.port()), "Invalid", "--insecure-registry"),
        (format!("http://127.0.0.1:{secure}/?q=canary"), "Invalid", "expects TLS"),
        (format!("http://127.0.0.1:{nonsense}/?q=canary"), "Invalid", "not HTTP"),
        (format!("http://127.0.0.1:{closed}/?q=canary"), "Unreachable", "refused"),
        ("https://unknown.example/?q=canary".into(), "Unreachable", "cannot be resolved"),
        ("http://plain.example/?q=canary".into(), "Forbidden", "--insecure-registry"),
    ];
    for (at, kind, expected) in table {
        let failed = error(get(&egress(), url(&at)).await);
        let shown = format!("{failed:?}");
        assert!(shown.starts_with(kind) && shown.contains(expected), "{at}: {shown}");
        assert!(!shown.contains("canary") && !shown.contains("?q"), "{shown}");
        let host = url(&at).host_str().unwrap().to_owned();
        assert!(shown.contains(&host), "{shown}");
    }
}

fn proxied(proxy: &TestServer, no: &str) -> EgressOptions {
    let address = format!("http://user:pass@127.0.0.1:{}", proxy.port());
    let no = no.to_owned();
    let proxies = Proxies::from_variables(|name| match name {
        "ALL_PROXY" => Some(address.clone()),
        "NO_PROXY" => Some(no.clone()),
        _ => None,
    });
    let insecure = vec!["plain.example".into()];
    EgressOptions { proxies, insecure, ..options() }
}

#[tokio::test]
async fn a_proxy_is_asked_for_everything_but_this_machine() {
    let proxy = TestServer::start(|_| reply(200, &[], "by proxy")).await;
    let local = TestServer::start(|_| reply(200, &[], "direct")).await;
    let mut options = proxied(&proxy, "");
    options.first_byte = Duration::from_secs(30);
    let egress = Egress::new(options).unwrap();
    let answer = get(&egress, url("http://plain.example/x")).await.unwrap();
    assert_eq!(text(answer).await, "by proxy");
    assert_eq!(text(get(&egress, local.url("/")).await.unwrap()).await, "direct");
    let [seen] = &proxy.seen()[..] else { panic!("{:?}", proxy.seen()) };
    assert_eq!(seen.target, "http://plain.example/x");
    assert_eq!(seen.header("proxy-authorization"), "Basic dXNlcjpwYXNz");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_without_its_password() {
    let options = {
        let proxy = TestServer::start(|_| reply(200, &[], "")).await;
        proxied(&proxy, "exempt.example")
    };
    // The port is closed again.
    tokio::task::yield_now().await;
    let egress = Egress::new(options).unwrap();
    let failed = error(get(&egress, url("https://registry.example/")).await);
    let EgressError::Unreachable(text) = failed else { panic!("{failed}") };
    assert!(text.contains("the proxy 127.0.0.1:") && text.contains("HTTPS_PROXY"), "{text}");
    assert!(!text.contains("pass"), "{text}");
    let direct = error(get(&egress, url("https://exempt.example/")).await).to_string();
    assert!(direct.contains("cannot be resolved"), "{direct}");
}

#[tokio::test]
async fn what_a_proxy_is_asked_for_is_checked_as_far_as_it_can_be() {
    let proxy = TestServer::start(|_| reply(200, &[], "")).await;
    let egress = Egress::new(proxied(&proxy, "")).unwrap();
    for target in
        ["https://169.254.169.254/", "https://10.0.0.1/", "https://[fd00::1]/", "http://a.example/"]
    {
        let request = EgressRequest::get(url(target), url("https://registry.example/"));
        let refused = error(egress.send(request).await);
        assert!(matches!(refused, EgressError::Forbidden(_)), "{target}: {refused}");
    }
    assert_eq!(proxy.seen().len(), 0);
}

#[tokio::test]
async fn nothing_is_sent_that_was_not_asked_for() {
    let server = TestServer::start(|_| reply(200, &[], "")).await;
    get(&egress(), server.url("/x")).await.unwrap();
    let [seen] = &server.seen()[..] else { panic!("{:?}", server.seen()) };
    let mut names: Vec<&str> = seen.headers.keys().map(header::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"]);
    assert_eq!(seen.header("user-agent"), concat!("modeld/", env!("CARGO_PKG_VERSION")));
}

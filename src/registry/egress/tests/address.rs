use std::sync::Arc;

use super::super::testing::{Canary, FakeLookup, TestServer, reply};
use super::super::*;
use super::common::*;

/// What a hostile registry could name as a realm or in a Location.
fn hostile(port: u16) -> (FakeLookup, Vec<String>) {
    let lookup = FakeLookup::default();
    for (name, addresses) in [
        ("loopback.example", &["127.0.0.1"][..]),
        ("127.0.0.1.wildcard.example", &["127.0.0.1"]),
        ("loopback6.example", &["::1"]),
        ("zero.example", &["0.0.0.0"]),
        ("unspecified.example", &["::"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
        ("nat64.example", &["64:ff9b::7f00:1"]),
        ("sixtofour.example", &["2002:7f00:1::1"]),
        ("many.example", &["127.0.0.1", "::1", "10.0.0.1", "fd00::1"]),
        ("metadata.example", &["169.254.169.254"]),
    ] {
        lookup.answer(name, &[addresses]);
    }
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.255.255.254",
        "0.0.0.0",
        "0",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "2130706433",
        "017700000001",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "①②⑦.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "127.0.0.1.",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "x.localhost",
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "[fd00::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "198.18.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:db8::1]",
        "[fec0::1]",
        "loopback.example",
        "127.0.0.1.wildcard.example",
        "loopback6.example",
        "zero.example",
        "unspecified.example",
        "mapped.example",
        "nat64.example",
        "sixtofour.example",
        "many.example",
        "metadata.example",
    ];
    let targets = hosts.iter().map(|host| format!("https://{host}:{port}/token"));
    (lookup, targets.collect())
}

#[tokio::test]
async fn nothing_that_an_answer_names_is_asked_at_a_private_address() {
    let canary = Canary::start().await;
    let (lookup, mut targets) = hostile(canary.port());
    // Without TLS it is refused for that, too.
    targets.push(format!("http://127.0.0.1:{}/", canary.port()));
    let lookup = Arc::new(lookup);
    let egress = Egress::new(EgressOptions { lookup, ..EgressOptions::default() }).unwrap();
    let list = targets.clone();
    let registry = TestServer::start(move |seen| {
        let at: usize = seen.target.trim_start_matches('/').parse().unwrap();
        reply(302, &[("location", &percent(&list[at]))], "")
    })
    .await;
    for (at, target) in targets.iter().enumerate() {
        let named = registry.url("/");
        let realm = error(egress.send(EgressRequest::get(url(target), named.clone())).await);
        assert!(matches!(realm, EgressError::Forbidden(_)), "realm {target}: {realm}");
        let redirected = registry.url(&format!("/{at}"));
        let redirect = error(egress.send(EgressRequest::get(redirected, named)).await);
        assert!(matches!(redirect, EgressError::Forbidden(_)), "Location {target}: {redirect}");
    }
    assert_eq!(registry.seen().len(), targets.len());
    assert_eq!(canary.connections().await, 0);
}

/// As bytes of a header that a test can write; URLs read them back.
fn percent(text: &str) -> String {
    let unit = |c: char| match c.is_ascii() {
        true => c.to_string(),
        false => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
    };
    text.chars().map(unit).collect()
}

#[tokio::test]
async fn other_schemes_and_credentials_in_urls_are_never_followed() {
    for location in [
        "file:///etc/passwd",
        "ftp://a.example/x",
        "gopher://a.example/",
        "data:,x",
        "unix:/run/x.sock",
        "https://user:secret@a.example/",
        "https://user@a.example/",
        "http://a.example/",
    ] {
        let registry = TestServer::start(move |_| reply(307, &[("location", location)], "")).await;
        let refused = error(get(&egress(), registry.url("/")).await);
        assert!(
            matches!(&refused, EgressError::Forbidden(t) if !t.contains("secret")),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_what_was_checked_is_connected_to() {
    let registry = TestServer::start(|_| reply(200, &[], "here")).await;
    let lookup = Arc::new(FakeLookup::default());
    // A metadata address is not allowed even to the named registry; a second look would see it.
    lookup.answer("registry.example", &[&["127.0.0.1"], &["169.254.169.254"]]);
    let insecure = TestServer::start_tls(|_| reply(200, &[], "tls")).await;
    let (dir, mut options) = trusting();
    options.lookup = lookup.clone();
    let egress = Egress::new(options).unwrap();
    let answer = get(&egress, insecure.url_as("registry.example", "/")).await.unwrap();
    assert_eq!(text(answer).await, "tls");
    assert_eq!(lookup.asked("registry.example"), 1);
    drop((dir, registry));
}

#[tokio::test]
async fn a_connection_for_the_named_registry_serves_no_redirect() {
    let private = TestServer::start_tls(|_| reply(200, &[], "private")).await;
    let lookup = Arc::new(FakeLookup::default());
    lookup.answer("registry.example", &[&["127.0.0.1"]]);
    let (_dir, mut options) = trusting();
    options.lookup = lookup;
    let egress = Egress::new(options).unwrap();
    let target = private.url_as("registry.example", "/");
    let answer = get(&egress, target.clone()).await.unwrap();
    assert_eq!(text(answer).await, "private");
    // The connection is idle now; another registry refers to the same host.
    let other = TestServer::start(move |_| reply(302, &[("location", target.as_str())], "")).await;
    let refused = error(get(&egress, other.url("/")).await);
    assert!(matches!(refused, EgressError::Forbidden(_)), "{refused}");
    assert_eq!(private.seen().len(), 1);
}

#[tokio::test]
async fn a_listed_host_may_be_private_wherever_it_is_named() {
    let storage = TestServer::start(|_| reply(200, &[], "bytes")).await;
    let to = storage.url("/blob").to_string();
    let registry = TestServer::start(move |_| reply(307, &[("location", &to)], "")).await;
    let listed = EgressOptions {
        private_hosts: vec![format!("127.0.0.1:{}", storage.port())],
        ..EgressOptions::default()
    };
    let answer = get(&Egress::new(listed).unwrap(), registry.url("/")).await.unwrap();
    assert_eq!((answer.url.clone(), text(answer).await), (storage.url("/blob"), "bytes".into()));
    assert!(get(&egress(), registry.url("/")).await.is_err());
}

#[tokio::test]
async fn the_canary_sees_who_connects() {
    let canary = Canary::start().await;
    let at = url(&format!("http://127.0.0.1:{}/", canary.port()));
    let limited = Egress::new(options()).unwrap();
    let asking = tokio::spawn(async move { get(&limited, at).await });
    // It is given up: the canary says nothing.
    assert!(asking.await.unwrap().is_err());
    assert_eq!(canary.connections().await, 1);
}

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::testing::{CA_PEM, Canary, FakeLookup, TestServer, raw_port, reply};
use super::super::*;
use super::common::*;

/// The host of a test server.
fn at(server: &TestServer) -> HostPort {
    HostPort::of(&server.url("/")).unwrap()
}

/// An OCI client that can only speak through the gate.
fn oci(gate: &EgressGate, protocol: ClientProtocol) -> Client {
    let authority = oci_client::client::Certificate {
        encoding: oci_client::client::CertificateEncoding::Pem,
        data: CA_PEM.as_bytes().to_vec(),
    };
    Client::new(ClientConfig {
        protocol,
        https_proxy: Some(gate.proxy_url().into()),
        http_proxy: Some(gate.proxy_url().into()),
        extra_root_certificates: vec![authority],
        ..ClientConfig::default()
    })
}

fn reference(host: &str, server: &TestServer) -> Reference {
    format!("{host}:{}/some/model:tag", server.port()).parse().unwrap()
}

async fn manifest_of(client: &Client, reference: &Reference) -> Result<String, String> {
    let accepted = ["application/vnd.oci.image.manifest.v1+json"];
    let pulled = client.pull_manifest_raw(reference, &RegistryAuth::Anonymous, &accepted).await;
    pulled
        .map(|(bytes, _)| String::from_utf8(bytes.to_vec()).unwrap())
        .map_err(|error| format!("{error:?}"))
}

const MANIFEST: &str = "{\"schemaVersion\":2}";

fn registry(target: &str) -> http::Response<super::super::testing::TestBody> {
    match target.contains("/manifests/") {
        true => {
            reply(200, &[("content-type", "application/vnd.oci.image.manifest.v1+json")], MANIFEST)
        }
        false => reply(200, &[], "{}"),
    }
}

#[tokio::test]
async fn an_oci_client_speaks_to_a_registry_without_tls_through_the_gate() {
    let server = TestServer::start(|seen| registry(&seen.target)).await;
    let gate = EgressGate::start(&egress(), vec![at(&server)]).await.unwrap();
    let client = oci(&gate, ClientProtocol::Http);
    let found = manifest_of(&client, &reference("127.0.0.1", &server)).await;
    assert_eq!(found.unwrap(), MANIFEST);
    // The gate's own client was the one that asked.
    for seen in server.seen() {
        assert_eq!(seen.header("accept-encoding"), "identity");
        assert_eq!(seen.header("proxy-authorization"), "");
    }
    assert!(!server.seen().is_empty());
    drop(gate);
    assert!(manifest_of(&client, &reference("127.0.0.1", &server)).await.is_err());
}

#[tokio::test]
async fn an_oci_client_speaks_tls_through_the_gate() {
    let server = TestServer::start_tls(|seen| registry(&seen.target)).await;
    let lookup = Arc::new(FakeLookup::default());
    lookup.answer("registry.example", &[&["127.0.0.1"]]);
    // Only the gate knows where this name is.
    let options = EgressOptions { lookup: lookup.clone(), ..EgressOptions::default() };
    let host: HostPort = format!("registry.example:{}", server.port()).parse().unwrap();
    let gate = EgressGate::start(&Egress::new(options).unwrap(), vec![host]).await.unwrap();
    let client = oci(&gate, ClientProtocol::Https);
    let found = manifest_of(&client, &reference("registry.example", &server)).await;
    assert_eq!(found.unwrap(), MANIFEST);
    assert!(lookup.asked("registry.example") > 0);
    drop(gate);
    assert!(manifest_of(&client, &reference("registry.example", &server)).await.is_err());
}

#[tokio::test]
async fn a_location_at_another_host_is_refused() {
    for scheme in ["http", "https"] {
        let canary = Canary::start().await;
        let target = format!("{scheme}://127.0.0.1:{}/stolen", canary.port());
        let server =
            TestServer::start(move |_| reply(307, &[("location", target.as_str())], "")).await;
        let gate = EgressGate::start(&egress(), vec![at(&server)]).await.unwrap();
        let client = oci(&gate, ClientProtocol::Http);
        let failed = manifest_of(&client, &reference("127.0.0.1", &server)).await.unwrap_err();
        match scheme {
            // The client keeps the gate's password to itself when it follows a redirect.
            "http" => assert!(failed.contains("407") && failed.contains("redirect"), "{failed}"),
            _ => {
                let text = gate.last_failure().unwrap().to_string();
                assert!(text.contains(&format!("refers to 127.0.0.1:{}", canary.port())), "{text}");
            }
        }
        assert_eq!(canary.connections().await, 0);
    }
}

/// What the gate answers to a client with the given proxy settings.
async fn ask(proxy: &str, target: &str) -> Result<reqwest::Response, reqwest::Error> {
    let proxy = reqwest::Proxy::all(proxy).unwrap();
    reqwest::Client::builder().proxy(proxy).build().unwrap().get(target).send().await
}

#[tokio::test]
async fn who_does_not_know_the_password_is_refused() {
    let server = TestServer::start(|_| reply(200, &[], "")).await;
    let gate = EgressGate::start(&egress(), vec![at(&server)]).await.unwrap();
    let right = url(gate.proxy_url());
    let none = format!("http://127.0.0.1:{}", right.port().unwrap());
    let wrong = format!("http://modeld:guess@127.0.0.1:{}", right.port().unwrap());
    for proxy in [&none, &wrong] {
        let refused = ask(proxy, server.url("/").as_str()).await.unwrap();
        assert_eq!(refused.status(), 407);
        assert!(ask(proxy, "https://127.0.0.1:1/").await.is_err());
    }
    assert_eq!(ask(gate.proxy_url(), server.url("/").as_str()).await.unwrap().status(), 200);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(gate.last_failure(), None);
}

#[tokio::test]
async fn the_policy_holds_for_hosts_on_the_list_too() {
    let lookup = Arc::new(FakeLookup::default());
    lookup.answer("metadata.example", &[&["169.254.169.254"]]);
    let options = EgressOptions { lookup, ..EgressOptions::default() };
    let listed = ["169.254.169.254:443", "metadata.example:443", "plain.example:80"];
    let listed: Vec<HostPort> = listed.iter().map(|host| host.parse().unwrap()).collect();
    let gate = EgressGate::start(&Egress::new(options).unwrap(), listed).await.unwrap();
    for target in ["https://169.254.169.254/", "https://metadata.example/", "http://plain.example/"]
    {
        match ask(gate.proxy_url(), target).await {
            Ok(answer) => assert_eq!(answer.status(), 403, "{target}"),
            Err(_) => assert!(target.starts_with("https"), "{target}"),
        }
        let failure = gate.last_failure();
        assert!(
            matches!(&failure, Some(EgressError::Forbidden(t)) if t.contains(url(target).host_str().unwrap())),
            "{failure:?}"
        );
    }
}

/// An outer proxy: a gate of its own, reached as the environment's.
#[tokio::test]
async fn the_gate_goes_through_the_environments_proxy() {
    let server = TestServer::start_tls(|seen| registry(&seen.target)).await;
    let lookup = Arc::new(FakeLookup::default());
    lookup.answer("registry.example", &[&["127.0.0.1"]]);
    let knowing = EgressOptions { lookup, ..EgressOptions::default() };
    let host: HostPort = format!("registry.example:{}", server.port()).parse().unwrap();
    let outer =
        EgressGate::start(&Egress::new(knowing).unwrap(), vec![host.clone()]).await.unwrap();
    let proxies = Proxies::from_variables(|name| {
        (name == "https_proxy").then(|| outer.proxy_url().to_owned())
    });
    // Without a resolver: only the outer one can find the name.
    let lookup = Arc::new(FakeLookup::default());
    let options = EgressOptions { lookup, proxies, ..EgressOptions::default() };
    let gate = EgressGate::start(&Egress::new(options).unwrap(), vec![host]).await.unwrap();
    let client = oci(&gate, ClientProtocol::Https);
    let found = manifest_of(&client, &reference("registry.example", &server)).await;
    assert_eq!(found.unwrap(), MANIFEST);

    let elsewhere: HostPort = "other.example:443".parse().unwrap();
    let proxies = Proxies::from_variables(|name| {
        (name == "HTTPS_PROXY").then(|| outer.proxy_url().to_owned())
    });
    let lookup = Arc::new(FakeLookup::default());
    let options = EgressOptions { lookup, proxies, ..EgressOptions::default() };
    let gate = EgressGate::start(&Egress::new(options).unwrap(), vec![elsewhere]).await.unwrap();
    assert!(ask(gate.proxy_url(), "https://other.example/").await.is_err());
    let failure = gate.last_failure();
    assert!(
        matches!(&failure, Some(EgressError::Unreachable(t)) if t.contains("403")),
        "{failure:?}"
    );
}

#[tokio::test]
async fn a_password_of_the_gate_is_in_no_text() {
    let gate = EgressGate::start(&egress(), Vec::new()).await.unwrap();
    let other = EgressGate::start(&egress(), Vec::new()).await.unwrap();
    let password = url(gate.proxy_url()).password().unwrap().to_owned();
    assert!(password.len() >= 40);
    assert_ne!(password, url(other.proxy_url()).password().unwrap());
    let refused = ask(gate.proxy_url(), "http://127.0.0.1:1/").await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(!refused.text().await.unwrap().contains(&password));
    assert!(!gate.last_failure().unwrap().to_string().contains(&password));
}

/// A tunnel through the gate to a port that says nothing, opened.
async fn tunnel(gate: &EgressGate, port: u16) -> TcpStream {
    let proxy = url(gate.proxy_url());
    let pair = format!("{}:{}", proxy.username(), proxy.password().unwrap());
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port().unwrap())).await.unwrap();
    let head = format!(
        "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\
         proxy-authorization: Basic {pair}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    stream
}

async fn silent_host() -> (u16, Vec<HostPort>) {
    let port = raw_port(b"").await;
    (port, vec![format!("127.0.0.1:{port}").parse().unwrap()])
}

#[tokio::test]
async fn a_tunnel_ends_with_its_gate() {
    let (port, allowed) = silent_host().await;
    let gate = EgressGate::start(&egress(), allowed).await.unwrap();
    let mut open = tunnel(&gate, port).await;
    drop(gate);
    // The end, or a reset: either way it is cut.
    assert!(matches!(open.read(&mut [0; 8]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_closed() {
    let (port, allowed) = silent_host().await;
    let options = EgressOptions { settle: Duration::from_millis(100), ..options() };
    let gate = EgressGate::start(&Egress::new(options).unwrap(), allowed).await.unwrap();
    let mut open = tunnel(&gate, port).await;
    assert_eq!(open.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn connections_over_the_bound_wait_for_a_place() {
    let server = TestServer::start(|_| reply(200, &[], "")).await;
    let gate = EgressGate::start(&egress(), vec![at(&server)]).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(tunnel(&gate, server.port()).await);
    }
    let to = server.url("/");
    let mut waiting = Box::pin(ask(gate.proxy_url(), to.as_str()));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "there was a 65th place");
    open.pop();
    assert_eq!(waiting.await.unwrap().status(), 200);
}

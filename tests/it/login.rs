//! Logins with a real registry that asks for a user name and password, and searches.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::daemon::{Daemon, modeld, spawn_ready, wait_until};
use crate::support::http::{Address, Client, JSON};
use crate::support::hub::{Repo, RepoFile, StandIn};
use crate::support::models;
use crate::support::skip;

const PASSWORD: &str = "correct-horse-canary";

/// A registry of the distribution project that knows one user, `me`.
struct PrivateRegistry {
    child: Child,
    host: String,
    _dir: TempDir,
}

impl PrivateRegistry {
    /// `None` where its programs are not installed.
    fn start(test: &str) -> Option<Self> {
        let hashed = Command::new("htpasswd").args(["-Bbn", "me", PASSWORD]).output();
        let Ok(hashed) = hashed else {
            skip(test, "htpasswd (package apache2-utils) is not installed");
            return None;
        };
        let dir = TempDir::new().unwrap();
        let users = dir.path().join("users");
        fs::write(&users, hashed.stdout).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let settings = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: \"{host}\"}}\n\
             storage: {{filesystem: {{rootdirectory: {:?}}}}}\n\
             auth: {{htpasswd: {{realm: test, path: {users:?}}}}}\n",
            dir.path().join("data")
        );
        fs::write(&settings, text).unwrap();
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = spawned else {
            skip(test, "docker-registry is not installed");
            return None;
        };
        let registry = Self { child, host, _dir: dir };
        wait_until(Duration::from_secs(30), "the registry listens", || {
            TcpStream::connect(&registry.host).is_ok()
        });
        Some(registry)
    }
}

impl Drop for PrivateRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kept(daemon: &Daemon) -> std::path::PathBuf {
    daemon.dir().join(".config/modeld/auth.json")
}

#[test]
fn a_wrong_password_is_refused_and_a_right_one_kept_until_the_logout() {
    let Some(registry) = PrivateRegistry::start("login") else { return };
    let host = &registry.host;
    let daemon = Daemon::builder().args(&["--log", "trace"]).start();
    let client = daemon.client();
    assert!(!kept(&daemon).exists(), "starting looks at no login");
    assert_eq!(client.get("/modeld/login").expect(200).json(), json!([]));

    let body = |password: &str| json!({"registry": host, "username": "me", "password": password});
    let refused = client.post("/modeld/login", &body("canary-wrong")).expect(401);
    let text = String::from_utf8(refused.body).unwrap();
    assert!(text.contains(host.as_str()) && text.contains("nothing was stored"), "{text}");
    assert!(!text.contains("canary"), "{text}");
    assert!(!kept(&daemon).exists());

    let done = client.post("/modeld/login", &body(PASSWORD)).expect(200).json();
    assert_eq!(done, json!({"registry": host, "username": "me", "verified": true}));
    let mode = fs::metadata(kept(&daemon)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let listed = client.get("/modeld/login").expect(200).json();
    assert_eq!(listed, json!([{"registry": host, "username": "me"}]));
    assert_eq!(daemon.cli_ok(&["login", "--list"]).lines().count(), 2);

    assert_eq!(daemon.cli_ok(&["logout", host]), format!("Logged out of {host}\n"));
    assert_eq!(client.get("/modeld/login").expect(200).json(), json!([]));
    assert!(!fs::read_to_string(kept(&daemon)).unwrap_or_default().contains(host.as_str()));
    assert_eq!(daemon.cli_ok(&["logout", host]), format!("Not logged in to {host}\n"));
    let log = daemon.log();
    assert!(log.contains("logged in") && !log.contains("canary"), "{log}");
}

#[test]
fn logins_are_no_business_of_web_pages() {
    let daemon = Daemon::builder().tcp().start();
    let client = daemon.tcp_client();
    let page = [("Origin", "http://localhost:3000"), JSON[0]];
    let body = json!({"registry": "127.0.0.1:1", "token": "t"}).to_string();
    for (method, path) in [
        ("GET", "/modeld/login"),
        ("GET", "/modeld/search"),
        ("DELETE", "/modeld/login?registry=docker.io"),
        ("POST", "/modeld/login"),
    ] {
        client.send(method, path, &page, body.as_bytes()).expect(403);
    }
}

#[test]
fn a_registry_that_does_not_listen_is_an_error_of_the_way_there() {
    let daemon = Daemon::builder().start();
    let body = json!({"registry": "127.0.0.1:1", "username": "u", "password": "canary"});
    let refused = daemon.client().post("/modeld/login", &body).expect(502);
    let text = String::from_utf8(refused.body).unwrap();
    assert!(text.contains("127.0.0.1:1") && !text.contains("canary"), "{text}");
    daemon.client().delete("/modeld/login").expect(400);
    daemon.client().delete("/modeld/login?registry=a@b").expect(400);
    daemon.client().get("/modeld/search?limit=0").expect(400);
}

/// The same program with an environment of its own; killed at the end.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn with_hub(dir: &Path, url: &str) -> (Started, Client) {
    let socket = dir.join("d.sock");
    let mut command = modeld(dir, &socket);
    command.args(["serve", "--models-path"]).arg(dir.join("models"));
    // Nobody listens there: what is not on the loopback address is not reached.
    command.env("HF_ENDPOINT", url).env("HTTPS_PROXY", "http://127.0.0.1:1");
    command.env("HF_TOKEN", "hf_canary");
    let child = spawn_ready(command, dir);
    (Started(child), Client { address: Address::Unix(socket) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_says_what_one_source_found_and_why_the_other_did_not_answer() {
    let files = vec![RepoFile::large("hello-F32.gguf", models::hello().bytes())];
    let hub = StandIn::start(vec![Repo::new("Some-Org/Hello-GGUF", files)]).await;
    let url = hub.url.clone();
    let found = tokio::task::spawn_blocking(move || {
        let dir = TempDir::new().unwrap();
        let (_daemon, client) = with_hub(dir.path(), &url);
        client.get("/modeld/search?query=hello&limit=5").expect(200).json()
    })
    .await
    .unwrap();
    assert_eq!(found["results"][0]["name"], "hf.co/Some-Org/Hello-GGUF");
    assert_eq!(found["results"].as_array().unwrap().len(), 1);
    assert_eq!(found["errors"][0]["source"], "docker.io", "{found}");
    assert_eq!(found["errors"].as_array().unwrap().len(), 1);
}

#[test]
fn a_missing_certificate_stops_the_start() {
    let dir = TempDir::new().unwrap();
    let mut command = modeld(dir.path(), &dir.path().join("d.sock"));
    command.args(["serve", "--registry-ca", "/nonexistent/ca.pem"]);
    command.arg("--models-path").arg(dir.path().join("models"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--registry-ca") && text.contains("/nonexistent/ca.pem"), "{text}");
}

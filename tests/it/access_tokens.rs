//! Tokens and TLS on the real program.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::http::Client;
use crate::support::{Daemon, daemon, skip};

/// A new token's text.
#[track_caller]
fn token(daemon: &Daemon, args: &[&str]) -> String {
    let text = daemon.cli_ok(&[&["token", "create"], args].concat());
    let text = text.trim_end().to_owned();
    assert!(text.starts_with("mdl_") && text.len() == 47, "{text}");
    text
}

fn ask(client: &Client, method: &str, path: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    client.send(method, path, &[("Authorization", &bearer)], b"").status
}

#[test]
fn a_token_holds_from_its_making_to_its_end() {
    let daemon = Daemon::builder().tcp().args(&["--require-token"]).start();
    let (tcp, socket) = (daemon.tcp_client(), daemon.client());
    assert_eq!(tcp.get("/models").status, 401);
    socket.get("/models").expect(200);
    let user = token(&daemon, &["--name", "user"]);
    let admin = token(&daemon, &["--name", "admin", "--scope", "admin", "--expires", "1h"]);
    let brief = token(&daemon, &["--name", "brief", "--expires", "1ms"]);
    for (name, text, list, manage) in
        [("user", &user, 200, 403), ("admin", &admin, 200, 200), ("brief", &brief, 401, 401)]
    {
        assert_eq!(ask(&tcp, "GET", "/models", text), list, "{name}");
        assert_eq!(ask(&tcp, "DELETE", "/models/purge", text), manage, "{name}");
        let key = [("x-api-key", text.as_str())];
        assert_eq!(tcp.send("GET", "/models", &key, b"").status, list, "{name} as a key");
    }
    // The commands send one, too.
    let url = format!("http://{}", daemon.port());
    for (text, works) in [(None, false), (Some(&user), true), (Some(&brief), false)] {
        let mut command = daemon::modeld(daemon.dir(), &daemon.socket);
        command.args(["--host", &url, "list"]).envs(text.map(|text| ("MODELD_TOKEN", text)));
        let output = command.stdin(Stdio::null()).output().expect("modeld runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), works, "{errors}");
        assert!(works || errors.contains("modeld token create"), "{errors}");
    }
    daemon.cli_ok(&["token", "revoke", "user"]);
    assert_eq!(ask(&tcp, "GET", "/models", &user), 401);
    assert_eq!(ask(&tcp, "GET", "/models", &admin), 200);
    let list = daemon.cli_ok(&["token", "list"]);
    assert!(list.contains("admin") && list.contains("(expired)"), "{list}");
    let said = format!("{list}{}", daemon.log());
    for text in [user, admin, brief] {
        assert!(!said.contains(&text[4..]), "a token is in a list or in the log");
    }
}

#[test]
fn a_token_that_nobody_could_read_is_taken_back() {
    let daemon = Daemon::builder().start();
    let mut command = daemon::modeld(daemon.dir(), &daemon.socket);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    let output = command.args(["token", "create", "--name", "a"]).stdout(full).output();
    assert_eq!(output.expect("it runs").status.code(), Some(1));
    assert_eq!(daemon.cli_ok(&["token", "list", "--json"]).trim(), "[]");
    token(&daemon, &["--name", "a"]);
}

#[test]
fn a_made_up_key_is_no_reason_to_refuse_where_none_is_needed() {
    let daemon = Daemon::builder().tcp().start();
    let tcp = daemon.tcp_client();
    for key in ["unused", "sk-0123456789", &format!("mdl_{}", "a".repeat(43))] {
        assert_eq!(ask(&tcp, "GET", "/v1/models", key), 200, "{key}");
    }
    // A token of the scope inference says less than being the same user does, and is believed.
    let user = token(&daemon, &[]);
    assert_eq!(ask(&tcp, "DELETE", "/models/purge", &user), 403);
    // Its end does not make it say more.
    let list = daemon.cli_ok(&["token", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("a list");
    daemon.cli_ok(&["token", "revoke", list[0]["id"].as_str().expect("an id")]);
    assert_eq!(ask(&tcp, "GET", "/modeld/log-level", &user), 403);
    assert_eq!(ask(&tcp, "GET", "/v1/models", &user), 200);
}

#[test]
fn what_a_proxy_passes_on_is_not_its_users() {
    let daemon = Daemon::builder().tcp().start();
    let tcp = daemon.tcp_client();
    let admin = token(&daemon, &["--scope", "admin"]);
    let asked = |headers: &[(&str, &str)]| tcp.send("POST", "/engines/unload", headers, b"{}");
    let json = ("Content-Type", "application/json");
    if cfg!(target_os = "linux") {
        asked(&[json]).expect(200);
    }
    for passed in [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=_a"), ("Via", "1.1 p")] {
        let refused = asked(&[json, passed]).expect(403).text();
        assert!(refused.contains("what a proxy passed on"), "{refused}");
        asked(&[json, passed, ("Authorization", &format!("Bearer {admin}"))]).expect(200);
        // It may use models all the same.
        tcp.send("GET", "/v1/models", &[passed], b"").expect(200);
    }
}

#[test]
fn nothing_is_opened_to_the_network_without_a_token() {
    let dir = tempfile::tempdir().expect("a directory");
    for address in ["192.0.2.1:12434", "0.0.0.0:12434", "[::]:12434"] {
        for verb in ["serve", "activate"] {
            let mut command = daemon::modeld(dir.path(), &dir.path().join("s"));
            let output = command.args([verb, "--tcp", address]).output().expect("modeld runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{errors}");
            assert!(errors.contains("modeld token create"), "{errors}");
        }
    }
    assert!(!dir.path().join("s").exists());
}

#[test]
fn from_another_machine_everything_needs_a_token() {
    let test = "from_another_machine_everything_needs_a_token";
    let works = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works("unshare", &["-Urnm", "mount", "-t", "tmpfs", "tmpfs", "/run"])
        || !works("ip", &["-V"])
    {
        return skip(test, "no namespaces can be made here, or there is no ip (iproute2)");
    }
    let dir = tempfile::TempDir::new().expect("a directory");
    let output = Command::new("unshare")
        .args(["-Urnm", "sh", "-c", include_str!("access_public.sh")])
        .env("MODELD", env!("CARGO_BIN_EXE_modeld"))
        .env("DIR", dir.path())
        .env("HOME", dir.path())
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}{}", String::from_utf8_lossy(&output.stdout));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}

/// The status, the version of HTTP and the error of `curl`.
fn curl(ca: &Path, url: &str) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--max-time", "20", "-o", "/dev/null", "--http2"]);
    curl.args(["-w", "%{http_code} %{http_version}", "--cacert"]).arg(ca).arg(url);
    let output = curl.stdin(Stdio::null()).output().expect("curl runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn an_authority_of_ones_own_is_enough_for_tls() {
    let daemon = Daemon::builder().tcp().args(&["--tls", "self-signed"]).start();
    let ca = daemon.file("ca.pem", daemon.cli_ok(&["tls", "ca"]).as_bytes());
    let (ca, port) = (Path::new(&ca), daemon.port().port());
    for host in ["127.0.0.1", "localhost"] {
        let (answer, errors) = curl(ca, &format!("https://{host}:{port}/models"));
        assert_eq!(answer, "200 1.1", "{errors}");
    }
    let stranger = Path::new("/dev/null");
    assert!(curl(stranger, &format!("https://127.0.0.1:{port}/models")).0.starts_with("000"));
    assert!(curl(ca, &format!("http://127.0.0.1:{port}/models")).0.starts_with("000"));
    daemon.client().get("/models").expect(200);
    assert!(daemon.log().contains(&format!("https://127.0.0.1:{port}")), "{}", daemon.log());
    // Commands of the same user believe it without a word; others are told what is missing.
    let list = |host: &str, config: &Path| {
        let mut command = crate::support::daemon::modeld(daemon.dir(), &daemon.socket);
        command.env("MODELD_HOST", host).env("XDG_CONFIG_HOME", config).arg("list");
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (own, other) = (daemon.dir().join(".config"), daemon.dir().join("other"));
    for host in ["127.0.0.1", "localhost"] {
        let (code, said) = list(&format!("https://{host}:{port}"), &own);
        assert_eq!(code, Some(0), "{host}: {said}");
    }
    for (host, config, says) in [
        (format!("https://127.0.0.1:{port}"), &other, "modeld tls ca"),
        (format!("https://127.0.0.2:{port}"), &own, "modeld is not running"),
        (format!("http://127.0.0.1:{port}"), &own, "if it speaks TLS: https://"),
    ] {
        let (code, said) = list(&host, config);
        assert!(code != Some(0) && said.contains(says), "{host}: {said}");
    }
    let plain = Daemon::builder().tcp().start();
    let (code, said) = list(&format!("https://127.0.0.1:{}", plain.port().port()), &own);
    assert!(code == Some(1) && said.contains("use http://"), "{said}");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_new_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let renew = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let made = made.expect("a certificate");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
        std::fs::write(&cert, made.cert.pem()).expect("a file");
        let copy = tempfile::NamedTempFile::new_in(dir.path()).expect("a file");
        std::fs::write(copy.path(), made.cert.pem()).expect("a file");
        copy
    };
    let first = renew();
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let args = [flag("tls-cert", &cert), flag("tls-key", &key)];
    let daemon = Daemon::builder().tcp().args(&[&args[0], &args[1]]).start();
    let url = format!("https://localhost:{}/models", daemon.port().port());
    assert_eq!(curl(first.path(), &url).0, "200 1.1");
    let second = renew();
    assert!(curl(first.path(), &url).0.starts_with("000"));
    assert_eq!(curl(second.path(), &url).0, "200 1.1");
    // Half of a renewal changes nothing.
    std::fs::write(&key, "not a key").expect("a file");
    assert_eq!(curl(second.path(), &url).0, "200 1.1");
}

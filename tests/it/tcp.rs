//! TCP that comes and goes while the daemon runs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::http::{Address, Client};
use crate::support::{Daemon, models};

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

/// A port that was free a moment ago.
fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn put(daemon: &Daemon, body: &Value) -> Value {
    let answer = daemon.client().send("PUT", "/modeld/tcp", JSON, body.to_string().as_bytes());
    answer.expect(200).json()
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn client(port: u16) -> Client {
    Client { address: Address::Tcp(at(port)) }
}

fn settings(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.dir().join(".config/modeld/config.toml")).unwrap_or_default()
}

#[test]
fn it_is_opened_moved_and_closed_while_the_daemon_runs() {
    let daemon = Daemon::builder().start();
    let off = daemon.client().get("/modeld/tcp").expect(200).json();
    assert_eq!((&off["enabled"], &off["address"]), (&json!(false), &Value::Null));
    let (first, second) = (free(), free());

    let on = put(&daemon, &json!({"port": first}));
    assert_eq!(on["address"], at(first).to_string());
    assert_eq!((&on["changed"], &on["notes"]), (&json!(true), &json!([])));
    client(first).get("/models").expect(200);
    assert_eq!(put(&daemon, &json!({"port": first}))["changed"], false);
    assert!(settings(&daemon).contains(&format!("tcp = \"127.0.0.1:{first}\"")));
    let file = daemon.dir().join(".config/modeld/config.toml");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

    assert_eq!(put(&daemon, &json!({"port": second}))["address"], at(second).to_string());
    client(second).get("/models").expect(200);
    assert!(TcpStream::connect(at(first)).is_err());

    let off = daemon.client().delete("/modeld/tcp").expect(200).json();
    assert_eq!((&off["enabled"], &off["changed"]), (&json!(false), &json!(true)));
    assert!(TcpStream::connect(at(second)).is_err());
    // Said, not left out: another file may have it on.
    assert!(settings(&daemon).contains("tcp = false"));
    assert_eq!(daemon.client().delete("/modeld/tcp").expect(200).json()["changed"], false);
}

#[test]
fn a_port_that_is_taken_changes_nothing_and_its_holder_is_named() {
    let daemon = Daemon::builder().start();
    let open = free();
    put(&daemon, &json!({"port": open}));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let body = json!({"port": port}).to_string();
    let refused = daemon.client().send("PUT", "/modeld/tcp", JSON, body.as_bytes());
    let said = refused.expect(409).text();
    assert!(said.contains(&at(port).to_string()) && said.contains("nothing was changed"), "{said}");
    if cfg!(target_os = "linux") {
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
    }
    client(open).get("/models").expect(200);
    assert!(settings(&daemon).contains(&open.to_string()));
    let failed = daemon.cli(&["tcp", "enable", "--port", &port.to_string()]);
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn an_answer_that_runs_is_finished_after_its_listener_is_gone() {
    let daemon = Daemon::with("ai/tiny", &models::tiny());
    let port = free();
    put(&daemon, &json!({"port": port}));
    let body = json!({"model": "ai/tiny", "max_tokens": 200, "stream": true, "temperature": 0,
                      "ignore_eos": true, "messages": [{"role": "user", "content": "Hi"}]});
    let mut events = client(port).stream("/v1/chat/completions", &body);
    assert!(events.next().is_some(), "a first event");
    daemon.client().delete("/modeld/tcp").expect(200);
    assert!(TcpStream::connect(at(port)).is_err());
    let last = events.by_ref().last().expect("a last event");
    assert_eq!(last.data, "[DONE]");
}

#[test]
fn a_kept_alive_connection_ends_with_its_listener_and_others_do_not() {
    let daemon = Daemon::builder().start();
    let port = free();
    put(&daemon, &json!({"port": port}));
    let mut stream = TcpStream::connect(at(port)).unwrap();
    let mut unix = daemon.client().connect();
    let request = format!("GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut some = [0; 1024];
    assert!(stream.read(&mut some).unwrap() > 0);
    daemon.client().delete("/modeld/tcp").expect(200);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    // The connection that was there on the Unix socket is as it was.
    unix.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(unix.read(&mut some).unwrap() > 0);
}

#[test]
fn a_flag_is_stronger_than_the_choice_and_says_so() {
    let daemon = Daemon::builder().tcp().start();
    let listening = daemon.client().get("/modeld/tcp").expect(200).json();
    assert_eq!(listening["address"], daemon.port().to_string());
    let off = daemon.client().delete("/modeld/tcp").expect(200).json();
    assert!(off["notes"][0].as_str().unwrap().contains("--tcp"), "{off}");
    assert!(TcpStream::connect(daemon.port()).is_err());
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let daemon = Daemon::builder().start();
    for (body, field) in [
        (json!({"port": 0}), "port"),
        (json!({"host": "0.0.0.0"}), "no loopback"),
        (json!({"prot": 1}), "prot"),
    ] {
        let body = body.to_string();
        let refused = daemon.client().send("PUT", "/modeld/tcp", JSON, body.as_bytes());
        let said = refused.expect(400).text();
        assert!(said.contains(field), "{body}: {said}");
    }
    assert_eq!(settings(&daemon), "");
}

#[test]
fn a_mistyped_query_closes_nothing() {
    let daemon = Daemon::builder().start();
    let port = free();
    put(&daemon, &json!({"port": port}));
    for query in ["contaniers=true", "containers=true&all", "containers=maybe"] {
        daemon.client().delete(&format!("/modeld/tcp?{query}")).expect(400);
    }
    for path in ["/modeld/login?regstry=r", "/modeld/transfers?model=m"] {
        let said = daemon.client().delete(path).expect(400).text();
        assert!(said.contains("unknown field"), "{path}: {said}");
    }
    client(port).get("/models").expect(200);
}

#[test]
fn a_port_of_its_own_is_not_called_another_programs() {
    let daemon = Daemon::builder().ollama().start();
    let body = json!({"port": daemon.port().port()}).to_string();
    let refused = daemon.client().send("PUT", "/modeld/tcp", JSON, body.as_bytes());
    let said = refused.expect(409).text();
    assert!(said.contains("modeld listens on") && said.contains("--ollama-port"), "{said}");
    daemon.tcp_client().get("/models").expect(200);
    assert_eq!(daemon.client().get("/modeld/tcp").expect(200).json()["enabled"], false);
}

#[test]
fn a_reload_tells_what_holds() {
    let daemon = Daemon::builder().start();
    let reload = || daemon.client().post("/modeld/reload", &json!({})).expect(200).json();
    let (first, second) = (free(), free());
    put(&daemon, &json!({"port": first}));
    assert_eq!(reload()["needs_restart"], json!([]), "it holds already");
    let file = daemon.dir().join(".config/modeld/config.toml");
    fs::write(&file, format!("tcp = {second}\n")).unwrap();
    let told = reload();
    let change = &told["needs_restart"][0];
    assert_eq!(change["key"], "tcp", "{told}");
    assert_eq!(change["from"], at(first).to_string());
    put(&daemon, &json!({"port": second}));
    assert_eq!(reload()["needs_restart"], json!([]));
    daemon.client().delete("/modeld/tcp").expect(200);
    assert_eq!(reload()["needs_restart"], json!([]));
}

#[test]
fn a_settings_file_that_is_named_is_the_one_that_is_written() {
    let mut daemon = Daemon::builder().start();
    daemon.stop();
    let named = daemon.dir().join("other.toml");
    fs::write(&named, "# mine\nlog = \"info\"\n").unwrap();
    let (named_path, port) = (named.to_str().unwrap(), free().to_string());
    let with = |args: &[&str]| daemon.cli_ok(&[&["--config", named_path, "tcp"], args].concat());
    with(&["enable", "--port", &port]);
    assert_eq!(
        fs::read_to_string(&named).unwrap(),
        format!("# mine\nlog = \"info\"\ntcp = \"127.0.0.1:{port}\"\n")
    );
    with(&["disable"]);
    assert!(fs::read_to_string(&named).unwrap().contains("tcp = false"));
    assert_eq!(settings(&daemon), "");
    // Somebody else's daemon has settings that are not ours to write.
    let elsewhere = format!("unix://{}", daemon.dir().join("no.sock").display());
    let refused = daemon.cli(&["--host", &elsewhere, "tcp", "enable"]);
    assert!(!refused.status.success());
    assert_eq!(settings(&daemon), "");
}

#[test]
fn what_clients_have_to_be_told_is_printed() {
    let daemon = Daemon::builder().args(&["--require-token", "--tls", "self-signed"]).start();
    let port = free().to_string();
    let done = daemon.cli(&["tcp", "enable", "--port", &port]);
    let (said, notes) = (done.stdout, String::from_utf8(done.stderr).unwrap());
    let url = format!("https://127.0.0.1:{port}");
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said, format!("modeld listens on {url}, with a token\n"));
    for line in [
        format!("export OPENAI_BASE_URL={url}/engines/v1\n"),
        "export OPENAI_API_KEY=mdl_".to_owned(),
        format!("export OLLAMA_HOST={url}"),
        "modeld tls ca > ".to_owned(),
    ] {
        assert!(notes.contains(&line), "{line:?} in\n{notes}");
    }
    let json: Value = serde_json::from_str(&daemon.cli_ok(&["tcp", "status", "--json"])).unwrap();
    assert_eq!((&json["scheme"], &json["token_required"]), (&json!("https"), &json!(true)));
    assert_eq!(json["listeners"][0]["certificate"], "authority");
}

#[test]
fn the_command_says_what_it_did() {
    let mut daemon = Daemon::builder().start();
    let port = free().to_string();
    let enable = ["tcp", "enable", "--port", &port];
    let place = format!("http://127.0.0.1:{port}");
    assert_eq!(daemon.cli_ok(&enable), format!("modeld listens on {place}\n"));
    assert_eq!(daemon.cli_ok(&enable), format!("modeld already listens on {place}\n"));
    let json: Value = serde_json::from_str(&daemon.cli_ok(&["tcp", "status", "--json"])).unwrap();
    assert_eq!(json["base_url"], format!("{place}/engines/v1"));
    assert_eq!(daemon.cli_ok(&["tcp", "disable"]), "modeld no longer listens on TCP\n");
    assert_eq!(daemon.cli_ok(&["tcp", "disable"]), "modeld did not listen on TCP\n");
    daemon.stop();
    let said = daemon.cli_ok(&enable);
    assert!(said.contains("from its next start"), "{said}");
    assert!(settings(&daemon).contains(&format!("tcp = \"127.0.0.1:{port}\"")));
}

#[test]
fn an_address_for_other_machines_is_not_written_over_without_a_daemon() {
    let mut daemon = Daemon::builder().start();
    daemon.cli_ok(&["tcp", "disable"]);
    daemon.stop();
    let file = daemon.dir().join(".config/modeld/config.toml");
    let said = "tcp = \"0.0.0.0:12434\"\n";
    fs::write(&file, said).unwrap();
    let refused = daemon.cli(&["tcp", "enable"]);
    let problem = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success(), "{problem}");
    assert!(problem.contains("0.0.0.0:12434") && problem.contains("tcp disable"), "{problem}");
    assert_eq!(settings(&daemon), said);
}

#[test]
fn a_lock_that_another_program_holds_is_no_reason_to_wait() {
    let mut daemon = Daemon::builder().start();
    daemon.cli_ok(&["tcp", "disable"]);
    let dir = fs::File::open(daemon.dir().join(".config/modeld")).unwrap();
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let told = put(&daemon, &json!({"port": free()}));
    let notes = told["notes"].to_string();
    assert!(notes.contains("could not be kept") && notes.contains("another program"), "{notes}");
    assert_eq!(told["enabled"], true);
    daemon.stop();
}

//! Users of this machine on Unix sockets: the owner, members of the socket's group, strangers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Daemon, models, skip};

/// A group that nobody is in unless told so.
const GROUP: u32 = 47_110;
/// `nobody`, with and without it.
const MEMBER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=47110"];
const STRANGER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// What `curl` of another user is answered: the status, 000 for a connection without an answer.
fn status_of(wrapper: &[&str], socket: &Path, method: &str, path: &str, body: &str) -> String {
    let (program, arguments) = wrapper.split_first().expect("a program");
    let mut curl = Command::new(program);
    curl.args(arguments).args(["curl", "-s", "--max-time", "20", "-o", "/dev/null"]);
    curl.args(["-w", "%{http_code}", "-X", method, "-d", body, "--unix-socket"]).arg(socket);
    curl.args(["-H", "Content-Type: application/json"]);
    let output = curl.arg(format!("http://localhost{path}")).stdin(Stdio::null()).output();
    String::from_utf8(output.expect("it runs").stdout).expect("a status")
}

/// Whether this test may become other users; says what is skipped where it may not.
fn can_be_others(test: &str) -> bool {
    for wrapper in [MEMBER, STRANGER] {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).args(["curl", "--version"]).stdout(Stdio::null());
        if !command.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            skip(test, "only root can become other users, with setpriv and curl");
            return false;
        }
    }
    true
}

fn mode(path: &Path, bits: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).expect("our own file");
}

#[test]
fn another_user_gets_no_byte_from_the_owners_socket_however_wide_it_is_opened() {
    let test = "another_user_gets_no_byte_from_the_owners_socket_however_wide_it_is_opened";
    if !can_be_others(test) {
        return;
    }
    let daemon = Daemon::builder().start();
    let asked = |wrapper| status_of(wrapper, &daemon.socket, "GET", "/models", "");
    mode(daemon.dir(), 0o755);
    assert_eq!(asked(&STRANGER), "000", "the mode of the socket keeps strangers out");
    mode(&daemon.socket, 0o666);
    assert_eq!(asked(&STRANGER), "000", "their credentials keep them out");
    assert_eq!(asked(&MEMBER), "000", "a group that was opened later was not asked for");
    daemon.client().get("/models").expect(200);
    assert!(daemon.log().contains("a connection of another user was closed"));
}

#[test]
fn members_of_the_sockets_group_use_and_list_and_do_not_manage() {
    let test = "members_of_the_sockets_group_use_and_list_and_do_not_manage";
    if !can_be_others(test) {
        return;
    }
    let group = GROUP.to_string();
    let daemon = Daemon::builder()
        .args(&["--socket-group", &group])
        .model("ai/hello", &models::hello())
        .start();
    let bits = std::fs::metadata(&daemon.socket).expect("a socket").permissions().mode();
    assert_eq!(bits & 0o777, 0o660);
    mode(daemon.dir(), 0o755);
    let chat = r#"{"model":"ai/hello","messages":[{"role":"user","content":"Hi"}]}"#;
    let generate =
        |extra: &str| format!(r#"{{"model":"ai/hello","prompt":"Hi","stream":false{extra}}}"#);
    let load = |extra: &str| format!(r#"{{"model":"ai/hello"{extra}}}"#);
    for (method, path, body, status) in [
        ("GET", "/models", String::new(), "200"),
        ("GET", "/engines/ps", String::new(), "200"),
        ("POST", "/engines/v1/chat/completions", chat.to_owned(), "200"),
        ("POST", "/api/generate", generate(r#","keep_alive":-1"#), "200"),
        ("POST", "/api/generate", load(""), "200"),
        ("POST", "/api/generate", load(r#","keep_alive":0"#), "403"),
        ("DELETE", "/models/ai/hello", String::new(), "403"),
        ("POST", "/models/create", r#"{"from":"ai/x"}"#.to_owned(), "403"),
        ("POST", "/engines/unload", r#"{"all":true}"#.to_owned(), "403"),
        ("POST", "/engines/_configure", r#"{"model":"ai/hello"}"#.to_owned(), "403"),
        ("GET", "/logs", String::new(), "403"),
        ("GET", "/engines/requests", String::new(), "403"),
        ("GET", "/models/ai/hello/export", String::new(), "403"),
    ] {
        let answered = status_of(&MEMBER, &daemon.socket, method, path, &body);
        assert_eq!(answered, status, "{method} {path} {body}");
    }
    let [model] = &daemon.loaded()[..] else { panic!("one loaded model") };
    assert_eq!(model["keep_alive"], "5m0s", "a member of the group has pinned it");
    mode(&daemon.socket, 0o666);
    let stranger = status_of(&STRANGER, &daemon.socket, "GET", "/models", "");
    assert_eq!(stranger, "000", "who is not in the group is closed without an answer");
    // The user whom the daemon runs as.
    daemon.client().delete("/models/ai/hello?force=true").expect(200);
}

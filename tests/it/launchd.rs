//! The property list for macOS, as far as it can be judged elsewhere.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::skip;

#[test]
fn the_property_list_is_one_and_opens_the_socket_for_its_owner_alone() {
    let test = "the_property_list_is_one_and_opens_the_socket_for_its_owner_alone";
    let plist = Path::new(env!("CARGO_MANIFEST_DIR")).join("launchd/org.modeld.plist");
    let script = "import json, plistlib, sys\n\
                  json.dump(plistlib.load(open(sys.argv[1], 'rb')), sys.stdout)";
    let mut python = Command::new("python3");
    let Ok(output) = python.args(["-c", script]).arg(&plist).stdin(Stdio::null()).output() else {
        return skip(test, "there is no python3");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["Label"], "org.modeld");
    assert_eq!(list["ProgramArguments"], json!(["/usr/local/bin/modeld", "serve"]));
    let socket = json!({ "unix": {
        "SockPathName": "/Users/NAME/.modeld/run/modeld.sock", "SockPathMode": 0o600,
    } });
    assert_eq!(list["Sockets"], socket);
    assert_eq!(list["Umask"], 0o077);
    // The grace is ten seconds.
    assert!(list["ExitTimeOut"].as_u64().unwrap() > 10);
    // With the first connection, not at login; and KeepAlive would start it at once.
    assert_eq!(list["RunAtLoad"], false);
    assert!(list.get("KeepAlive").is_none());
}

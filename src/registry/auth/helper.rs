use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::Credential;
use crate::registry::host::DOCKER_HUB;

/// The most bytes that a helper may answer.
const MAX_OUTPUT: u64 = 64 * 1024;

/// What Docker calls its own registry when it speaks to helpers and in its configuration.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// Variables with secrets of ours that are none of a helper's business.
const WITHHELD: [&str; 3] = ["DOCKER_PASSWORD", "DOCKER_HUB_PASSWORD", "HF_TOKEN"];

/// What a helper answers (<https://github.com/docker/docker-credential-helpers>).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks the credential helper `docker-credential-NAME` for a registry's credential: without a
/// shell, for at most `limit`. `path` is where it is looked for, if not in the daemon's own `PATH`.
///
/// # Errors
/// What is wrong with the helper, naming it.
pub(super) async fn get(
    name: &str,
    registry: &str,
    path: Option<&OsStr>,
    limit: Duration,
) -> Result<Option<Credential>, String> {
    if !is_name(name) {
        let shown: String = name.chars().take(40).collect();
        return Err(format!("{shown:?} is not the name of a credential helper"));
    }
    let program = format!("docker-credential-{name}");
    let mut child = Group(Some(spawn(&program, path)?));
    let server = if registry == DOCKER_HUB { DOCKER_HUB_SERVER } else { registry };
    let Ok(answered) = tokio::time::timeout(limit, child.ask(server)).await else {
        return Err(format!("{program} did not answer within {limit:?} and was ended"));
    };
    let (success, output) = answered.map_err(|problem| format!("{program} {problem}"))?;
    if success { read_answer(&program, &output) } else { read_refusal(&program, &output) }
}

fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn spawn(program: &str, path: Option<&OsStr>) -> Result<Child, String> {
    let mut command = Command::new(program);
    if let Some(path) = path {
        command.env("PATH", path);
    }
    for name in WITHHELD {
        command.env_remove(name);
    }
    command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A helper may start others, which must end with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => format!("{program} is not in the PATH of the daemon"),
            kind => format!("{program} cannot be started: {kind}"),
        })
}

/// A running helper and what it started; ended together when this is dropped.
struct Group(Option<Child>);

impl Group {
    /// Sends the question, reads the answer, waits for the end. Whether it ended well, and the
    /// answer.
    async fn ask(&mut self, server: &str) -> Result<(bool, SecretString), String> {
        let Some(child) = &mut self.0 else { return Err("is not running".to_owned()) };
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // One that answers without reading the question has closed the pipe.
                let _ = stdin.write_all(server.as_bytes()).await;
            }
        };
        let read = async {
            let mut text = Vec::new();
            if let Some(stdout) = stdout {
                let limited = stdout.take(MAX_OUTPUT.saturating_add(1));
                let mut limited = std::pin::pin!(limited);
                limited.read_to_end(&mut text).await.map_err(|e| e.kind().to_string())?;
            }
            Ok::<_, String>(text)
        };
        let ((), output) = tokio::join!(write, read);
        let output = output.map_err(|kind| format!("cannot be read: {kind}"))?;
        if u64::try_from(output.len()).is_ok_and(|length| length > MAX_OUTPUT) {
            return Err(format!("answers more than {MAX_OUTPUT} bytes"));
        }
        let output = String::from_utf8(output).map_err(|_| "answers no text".to_owned())?;
        let status = child.wait().await.map_err(|e| format!("cannot be waited for: {e}"))?;
        Ok((status.success(), SecretString::from(output)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once the helper has been waited for, its number may be another's: `id` knows.
        let id = self.0.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

fn read_answer(program: &str, output: &SecretString) -> Result<Option<Credential>, String> {
    // The messages of serde quote the values that they complain about.
    let Answer { username, secret } = serde_json::from_str(output.expose_secret())
        .map_err(|_| format!("{program} answers what is not its protocol's JSON"))?;
    let secret = SecretString::from(secret);
    Ok((!secret.expose_secret().is_empty()).then(|| Credential::new(username, secret)))
}

/// A helper that fails says why on its standard output.
fn read_refusal(program: &str, output: &SecretString) -> Result<Option<Credential>, String> {
    let text = output.expose_secret();
    if text.to_ascii_lowercase().contains("credentials not found") {
        return Ok(None);
    }
    // What looks like an answer may hold the secret.
    let line = text.lines().next().map(str::trim).filter(|line| !line.contains(['{', '"']));
    let line: String = line.unwrap_or_default().chars().take(200).collect();
    Err(if line.is_empty() {
        format!("{program} failed")
    } else {
        format!("{program} failed: {}", line.escape_debug())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::auth::testing::helper_script;

    /// Asks a helper that is this script.
    async fn ask(script: &str, limit: Duration) -> Result<Option<Credential>, String> {
        let dir = helper_script("test", script);
        let path = std::env::join_paths(["/bin".as_ref(), "/usr/bin".as_ref(), dir.path()]);
        get("test", "ghcr.io", Some(&path.unwrap()), limit).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn user_and_password() {
        let script = r#"test "$1" = get || exit 1; server=$(cat)
            echo "{\"ServerURL\":\"x\",\"Username\":\"u of $server\",\"Secret\":\"p\"}""#;
        let credential = ask(script, LONG).await.unwrap().unwrap();
        assert_eq!(credential.username(), Some("u of ghcr.io"));
        assert_eq!(credential.secret().expose_secret(), "p");
    }

    #[tokio::test]
    async fn an_identity_token() {
        let script = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        let credential = ask(script, LONG).await.unwrap().unwrap();
        assert!(matches!(credential, Credential::IdentityToken(_)));
    }

    #[tokio::test]
    async fn not_found_is_anonymous() {
        let script = "echo 'credentials not found in native keychain'; exit 1";
        assert!(ask(script, LONG).await.unwrap().is_none());
        assert!(ask(r#"echo '{"Username":"","Secret":""}'"#, LONG).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_goes_wrong_names_the_helper_and_no_secret() {
        for (script, expected) in [
            ("echo 'the key ring is locked'; exit 1", "failed: the key ring is locked"),
            ("exit 3", "failed"),
            (r#"echo '{"Secret":"canary"}'; exit 1"#, "failed"),
            (r#"echo '{"Secret":["canary"]}'"#, "JSON"),
            ("echo canary", "JSON"),
            ("head -c 70000 /dev/zero", "more than 65536 bytes"),
            ("printf '\\377'", "no text"),
        ] {
            let error = ask(script, LONG).await.unwrap_err();
            assert!(
                error.starts_with("docker-credential-test")
                    && error.contains(expected)
                    && !error.contains("canary"),
                "{script}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a_slow_one_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let mut reader = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).unwrap();
        // A child of the helper's keeps the pipe open for as long as it lives.
        let script = format!("sh -c 'exec 3>{0}; echo x >&3; sleep 1000' & wait", fifo.display());
        let error = ask(&script, Duration::from_millis(500)).await.unwrap_err();
        assert!(error.contains("did not answer within 500ms"), "{error}");
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
    }

    #[tokio::test]
    async fn names_are_held_to_their_grammar() {
        for name in ["", "a/b", "../x", "a b", "a;b", "é", &"a".repeat(200)] {
            let error = get(name, "ghcr.io", None, LONG).await.unwrap_err();
            assert!(error.contains("is not the name"), "{name}: {error}");
        }
        let error = get("none-such", "x", Some("/nowhere".as_ref()), LONG).await.unwrap_err();
        assert_eq!(error, "docker-credential-none-such is not in the PATH of the daemon");
    }
}

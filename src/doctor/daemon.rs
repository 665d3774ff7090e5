use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use super::elsewhere::{Told, Waiting};
use super::finding::Finding;
use super::patient::Patient;
use super::service::Manager;
use crate::client::{Client, ClientError};
use crate::config::{Env, SYSTEM_FILE, socket_path};
use crate::files::shell_word;

/// The daemon and its socket.
const CHECK: &str = "daemon";
/// How long an answer to the simplest question may take.
const PATIENCE: Duration = Duration::from_secs(5);
const START: &str =
    "start it with `modeld service install`, or in the foreground with `modeld serve`";

/// Looks at the socket's file, and asks whoever is behind it for the version.
pub(super) async fn check(patient: &Patient, manager: &Manager) -> Vec<Finding> {
    let host = match &patient.host {
        Ok(host) => host,
        Err(error) => {
            return vec![Finding::fail(CHECK, error.to_string(), "correct or unset what it names")];
        }
    };
    let mut found = Vec::new();
    if let Some(socket) = patient.socket() {
        let (path, uid) = (socket.to_owned(), patient.uid);
        let shared = patient.settings().is_some_and(|config| config.socket_group.value.is_some());
        let look = tokio::task::spawn_blocking(move || file(&path, uid, shared));
        let seen = match tokio::time::timeout(PATIENCE, look).await {
            Ok(Ok(seen)) => seen,
            // Nor would a connection come about.
            Ok(Err(_)) | Err(_) => Err(stuck(socket)),
        };
        match seen {
            Ok(findings) => found.extend(findings),
            Err(finding) => return vec![finding],
        }
        if manager.holds_an_idle_socket(socket) {
            // A connection would start it.
            let text = "not running; the service manager holds the socket, and the first \
                        connection starts it";
            found.push(Finding::ok(CHECK, text));
            return found;
        }
    }
    let client = Client::new(host);
    let client = match patient.env.get(Env::TOKEN).map(|token| client.clone().with_token(token)) {
        None => client,
        Some(Ok(client)) => client,
        Some(Err(error)) => {
            let text = format!("{}: {error}", Env::TOKEN);
            found.push(Finding::fail(CHECK, text, "correct or unset what it names"));
            return found;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, client.version()).await;
    let answer = asked.map(|answer| answer.map(|version| version.version));
    let exists = patient.socket().is_some_and(Path::exists);
    let told = match &answer {
        Ok(Ok(_)) => Told::by(&client).await,
        Ok(Err(_)) | Err(_) => None,
    };
    found.push(judge(answer.ok(), exists, env!("CARGO_PKG_VERSION")));
    if let Some(told) = told {
        found.extend(told.waiting.iter().map(unopened));
        let own = patient.clone();
        // It may look at a file system, which may hang.
        let look = tokio::task::spawn_blocking(move || apart(&own, &told));
        if let Ok(Ok(apart)) = tokio::time::timeout(PATIENCE, look).await {
            found.extend(apart);
        }
    }
    found
}

/// A listener that the daemon would open if it could.
fn unopened(waiting: &Waiting) -> Finding {
    let Waiting { setting, origin, problem } = waiting;
    Finding::warn(
        CHECK,
        format!("is to listen on TCP and does not yet ({setting}, as {origin} says): {problem}"),
        format!(
            "end what is in the way, and it listens there by itself; or set `{setting}` to another \
             place or to off"
        ),
    )
}

/// Whether this user's daemon goes by other files than this command.
fn apart(patient: &Patient, told: &Told) -> Option<Finding> {
    let own = socket_path(None, &patient.env).ok()?;
    if patient.socket() != Some(&own.value) {
        return None;
    }
    let dir = patient.env.own_dir();
    let file = patient.files.first().filter(|file| *file != Path::new(SYSTEM_FILE));
    let settings = file.and_then(|file| told.other_settings(file, dir.as_deref()));
    let found = settings.or_else(|| told.other_tokens(&dir?))?;
    Some(Finding::warn(CHECK, found.message, found.fix))
}

/// A place that cannot be looked at in time.
fn stuck(path: &Path) -> Finding {
    let seconds = PATIENCE.as_secs();
    let text = format!("{} could not be looked at within {seconds} s", path.display());
    Finding::fail(CHECK, text, "see whether its file system hangs: `mount`, `dmesg`")
}

/// The socket's file, if there is one. `shared`: the settings give it to a group.
fn file(path: &Path, uid: u32, shared: bool) -> Result<Option<Finding>, Finding> {
    let shown = path.display();
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            let fix = "let its user read the directories above it";
            return Err(Finding::fail(CHECK, format!("{shown} cannot be looked at: {e}"), fix));
        }
    };
    if !meta.file_type().is_socket() {
        let fix = format!(
            "move {} away, or choose another place with MODEL_RUNNER_SOCK",
            shell_word(path)
        );
        return Err(Finding::fail(CHECK, format!("{shown} is no socket"), fix));
    }
    if meta.uid() != uid {
        let text = format!("{shown} belongs to uid {}, this is uid {uid}", meta.uid());
        return Err(Finding::fail(CHECK, text, "run this as the user of the daemon"));
    }
    let mode = meta.mode() & 0o777;
    Ok(Some(if mode & 0o077 == 0 {
        Finding::ok(CHECK, format!("{shown} is its owner's alone ({mode:04o})"))
    } else if shared && mode & 0o007 == 0 {
        let text = format!("{shown} is its owner's and its group's ({mode:04o}), as is set");
        Finding::ok(CHECK, text)
    } else {
        let text = format!(
            "{shown} has the mode {mode:04o}; the daemon turns other users away all the same"
        );
        let mode = if shared { 660 } else { 600 };
        Finding::warn(CHECK, text, format!("chmod {mode} {}", shell_word(path)))
    }))
}

/// `answer`: what the daemon said; `None` for nothing in time.
fn judge(answer: Option<Result<String, ClientError>>, exists: bool, own: &str) -> Finding {
    match answer {
        Some(Ok(version)) if version == own => {
            Finding::ok(CHECK, format!("answers; version {version}, as this program"))
        }
        Some(Ok(version)) => Finding::warn(
            CHECK,
            format!("answers; version {version}, while this program is {own}"),
            "restart it: systemctl --user restart modeld.service, or end `modeld serve` and start \
             it again",
        ),
        Some(Err(ClientError::NotRunning { place })) if exists => Finding::warn(
            CHECK,
            format!("not running; {place} was left by one that ended without removing it"),
            format!("nothing to clean up, the next daemon replaces it: {START}"),
        ),
        Some(Err(ClientError::NotRunning { place })) => {
            Finding::warn(CHECK, format!("not running (nobody at {place})"), START)
        }
        Some(Err(error @ ClientError::Status { status: 401 | 403, .. })) => Finding::fail(
            CHECK,
            error.to_string(),
            "set MODELD_TOKEN to one of its tokens; where the daemon is, `modeld token create` makes \
             one",
        ),
        Some(Err(error)) => {
            Finding::fail(CHECK, error.to_string(), "look at its log: modeld service logs")
        }
        None => Finding::fail(
            CHECK,
            format!("takes connections and does not answer within {} s", PATIENCE.as_secs()),
            "look at its log (modeld service logs), then restart it: systemctl --user restart \
             modeld.service",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::super::finding::Verdict;
    use super::super::patient::testing::{file as write, patient as patient_at};
    use super::*;

    #[test]
    fn answers_are_judged() {
        let absent = || Some(Err(ClientError::NotRunning { place: "/s".into() }));
        for (answer, exists, verdict, says) in [
            (Some(Ok("1".to_owned())), true, Verdict::Ok, "as this program"),
            (Some(Ok("2".to_owned())), true, Verdict::Warn, "this program is 1"),
            (absent(), false, Verdict::Warn, "nobody at /s"),
            (absent(), true, Verdict::Warn, "was left by one"),
            (Some(Err(ClientError::Broken("x".into()))), true, Verdict::Fail, "broke"),
            (None, true, Verdict::Fail, "does not answer"),
        ] {
            let finding = judge(answer, exists, "1");
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.message.contains(says), "{finding:?}");
        }
    }

    #[tokio::test]
    async fn what_is_at_the_sockets_place_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient_at(dir.path());
        let path = patient.socket().unwrap().to_owned();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let check = async || check(&patient, &Manager::default()).await;
        std::fs::write(&path, "").unwrap();
        assert!(check().await[0].message.contains("is no socket"));
        std::fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        mode(0o666).unwrap();
        let found = check().await;
        assert_eq!(found[0].verdict, Verdict::Warn, "{found:?}");
        assert!(found[1].message.contains("was left by one"), "{found:?}");
        mode(0o660).unwrap();
        let found = check().await;
        assert_eq!(found[0].verdict, Verdict::Warn, "{found:?}");
        mode(0o600).unwrap();
        assert_eq!(check().await[0].verdict, Verdict::Ok);
        let config = "home/.config/modeld/config.toml";
        write(dir.path(), config, "socket-group = \"users\"\n");
        let patient = patient_at(dir.path());
        for (bits, verdict) in [(0o660, Verdict::Ok), (0o666, Verdict::Warn)] {
            mode(bits).unwrap();
            let found = super::check(&patient, &Manager::default()).await;
            assert_eq!(found[0].verdict, verdict, "{found:?}");
        }
    }
}

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::finding::Finding;
use super::patient::Patient;
use crate::config::is_for_others;
use crate::files::shell_word;
use crate::tokens::{Lasting, TokenError, TokenFile};

const CHECK: &str = "secrets";
/// So long before nobody is let in any more somebody should hear of it.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The files with tokens and logins: nobody else may read them, and the daemon has to be able to
/// use its own.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let mut found = open_to_others(patient);
    found.extend(tokens(patient, Timestamp::now()));
    if found.is_empty() {
        found.push(Finding::ok(CHECK, "tokens and logins are for their owner alone"));
    }
    found
}

/// What is wrong with the tokens, which are read as the daemon reads them.
fn tokens(patient: &Patient, now: Timestamp) -> Option<Finding> {
    let file = TokenFile::within(&patient.env.own_dir()?);
    let tokens = match file.read() {
        Ok(tokens) => tokens,
        Err(error) => {
            let text = format!("no token is taken: {error}");
            return Some(Finding::fail(CHECK, text, repair(&file, &error)));
        }
    };
    let tcp = &patient.settings()?.tcp;
    let address = tcp.value.filter(|address| is_for_others(&address.to_string()))?;
    let open = format!("{} has modeld listen on {address}, open to the network", tcp.origin);
    match Lasting::of(&tokens, now) {
        Lasting::Forever => None,
        Lasting::Over => Some(Finding::fail(
            CHECK,
            format!("{open}, and no token is valid: it does not start"),
            "modeld token create; or modeld tcp disable",
        )),
        Lasting::Until(end) => (end.duration_since(now) <= SOON).then(|| {
            let end = end.strftime("%Y-%m-%d %H:%M UTC");
            let text = format!("{open}, and the last token expires at {end}");
            Finding::warn(CHECK, text, "make one that lasts longer: modeld token create")
        }),
    }
}

fn repair(file: &TokenFile, error: &TokenError) -> String {
    let path = shell_word(file.path());
    match error {
        TokenError::Broken { .. } => {
            format!("restore it, or rm {path} and make new tokens: modeld token create")
        }
        _ => format!("chmod 600 {path}; it has to be a file of yours"),
    }
}

fn open_to_others(patient: &Patient) -> Vec<Finding> {
    let open: Vec<(PathBuf, u32)> = files(patient)
        .into_iter()
        .filter_map(|path| {
            let meta = std::fs::metadata(&path).ok().filter(|meta| meta.is_file())?;
            Some((path, meta.mode() & 0o777)).filter(|(_, mode)| mode & 0o077 != 0)
        })
        .collect();
    let warn = |(path, mode): (PathBuf, u32)| {
        let shown = path.display();
        let text = format!("{shown} is open to others ({mode:04o})");
        Finding::warn(CHECK, text, format!("chmod 600 {}", shell_word(&path)))
    };
    open.into_iter().map(warn).collect()
}

fn files(patient: &Patient) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if let Some(dir) = patient.env.own_dir() {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        // What is public by its nature: certificates and the settings, which have a check of
        // their own, as the tokens have.
        let public = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name == "config.toml" || name == "tokens.json")
                || path.extension().is_some_and(|e| e == "crt" || e == "pub")
        };
        all.extend(entries.map(|entry| entry.path()).filter(|path| !public(path)));
    }
    if let Some(home) = &patient.env.home {
        all.push(home.join(".docker/config.json"));
        all.push(home.join(".cache/huggingface/token"));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::Verdict;
    use super::super::patient::testing::{file, patient};
    use super::*;
    use crate::tokens::{NewToken, Scope};

    #[test]
    fn tokens_that_the_daemon_does_not_take_are_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient(dir.path());
        let path = file(dir.path(), "home/.config/modeld/tokens.json", "{}");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        for (text, bits, fix) in [
            ("{}", 0o600, "make new tokens: modeld token create"),
            ("{\"version\":1,\"tokens\":[]}", 0o640, "chmod 600 "),
        ] {
            std::fs::write(&path, text).unwrap();
            mode(bits).unwrap();
            let found = check(&patient);
            assert_eq!((found.len(), found[0].verdict), (1, Verdict::Fail), "{found:?}");
            assert!(found[0].message.starts_with("no token is taken: "), "{found:?}");
            assert!(found[0].fix.as_ref().unwrap().contains(fix), "{found:?}");
        }
        mode(0o600).unwrap();
        assert_eq!(check(&patient)[0].verdict, Verdict::Ok);
    }

    #[test]
    fn an_open_address_needs_a_token_that_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let config = |address: &str| {
            let text = format!("tcp = \"{address}:12434\"\n");
            file(dir.path(), "home/.config/modeld/config.toml", &text);
            patient(dir.path())
        };
        assert_eq!(check(&config("127.0.0.1"))[0].verdict, Verdict::Ok);
        let open = config("0.0.0.0");
        let said = |verdict| {
            let found = check(&open);
            assert_eq!((found.len(), found[0].verdict), (1, verdict), "{found:?}");
            format!("{found:?}")
        };
        let none = said(Verdict::Fail);
        for word in ["config.toml:1", "0.0.0.0:12434", "modeld token create", "modeld tcp disable"]
        {
            assert!(none.contains(word), "{none}");
        }
        let tokens = TokenFile::within(&open.env.own_dir().unwrap());
        for (days, verdict) in [(13, Verdict::Warn), (15, Verdict::Ok)] {
            let life = Some(std::time::Duration::from_secs(days * 24 * 3600));
            let wanted = NewToken { name: None, scope: Scope::Inference, life };
            tokens.create(wanted, Timestamp::now()).unwrap();
            said(verdict);
        }
    }

    #[test]
    fn a_token_that_others_may_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient(dir.path());
        assert_eq!(check(&patient)[0].verdict, Verdict::Ok);
        let token = file(dir.path(), "home/.config/modeld/token", "secret");
        let mode = |mode| std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode));
        mode(0o640).unwrap();
        let found = check(&patient);
        assert_eq!(found[0].verdict, Verdict::Warn);
        assert!(found[0].message.contains("0640") && !found[0].message.contains("secret"));
        mode(0o600).unwrap();
        assert_eq!(check(&patient)[0].verdict, Verdict::Ok);
    }
}

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::finding::Finding;
use super::patient::Patient;
use crate::files::shell_word;

const CHECK: &str = "secrets";

/// The files with tokens and logins: nobody else may read them.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let open: Vec<(PathBuf, u32)> = files(patient)
        .into_iter()
        .filter_map(|path| {
            let meta = std::fs::metadata(&path).ok().filter(|meta| meta.is_file())?;
            Some((path, meta.mode() & 0o777)).filter(|(_, mode)| mode & 0o077 != 0)
        })
        .collect();
    if open.is_empty() {
        return vec![Finding::ok(CHECK, "tokens and logins are for their owner alone")];
    }
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
        // their own.
        let public = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name == "config.toml")
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

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::finding::Finding;
use super::patient::Patient;
use crate::config::{SETTINGS, settings_file};

const CHECK: &str = "settings";

/// The settings of the environment and the file of settings.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(error) = &patient.config {
        found.push(Finding::fail(CHECK, error.to_string(), "correct or unset what it names"));
    }
    let dir = patient.env.config_dir.as_ref().map(|dir| dir.join("modeld"));
    match dir.map(|dir| settings_file(&dir)) {
        Some(path) => found.extend(file(&path)),
        None => found.push(Finding::warn(
            CHECK,
            "there is no home directory: nothing is kept",
            "set HOME or XDG_CONFIG_HOME",
        )),
    }
    found
}

fn file(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::ok(CHECK, format!("{shown} is not there; defaults hold"))];
        }
        Err(e) => {
            let fix = format!("make {shown} a text file that its owner can read");
            return vec![Finding::fail(CHECK, format!("{shown}: {e}"), fix)];
        }
    };
    let mut found: Vec<Finding> = problems(&text)
        .into_iter()
        .map(|problem| {
            let fix = format!("correct {shown}; modeld serve --help lists the settings");
            Finding::fail(CHECK, format!("{shown}: {problem}"), fix)
        })
        .collect();
    if let Ok(meta) = std::fs::metadata(path)
        && meta.mode() & 0o022 != 0
    {
        let text = format!("{shown} can be changed by others ({:04o})", meta.mode() & 0o777);
        found.push(Finding::fail(CHECK, text, format!("chmod 600 {shown}")));
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, format!("{shown} can be read")));
    }
    found
}

/// What is wrong with the text of the file.
fn problems(text: &str) -> Vec<String> {
    let document = match text.parse::<toml_edit::DocumentMut>() {
        Ok(document) => document,
        Err(error) => return vec![error.to_string().trim().replace('\n', " ")],
    };
    let known =
        |key: &str| SETTINGS.iter().any(|setting| setting.flag.trim_start_matches('-') == key);
    // Tables hold what has no flag.
    let flat = document.iter().filter(|(_, item)| item.is_value());
    flat.filter(|(key, _)| !known(key)).map(|(key, _)| format!("{key} is no setting")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::{Verdict, worst};
    use super::super::patient::testing::{file as write, patient};
    use super::*;

    #[test]
    fn the_file_is_read_as_the_daemon_reads_it() {
        assert_eq!(problems("keep-alive = \"5m\"\ntcp = 12434\n[engines.x]\nurls = []\n").len(), 0);
        assert_eq!(problems("keep-alife = \"5m\""), ["keep-alife is no setting"]);
        assert!(problems("tcp = = 1")[0].contains("line 1"), "{:?}", problems("tcp = = 1"));
    }

    #[test]
    fn a_file_that_others_may_change_is_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient(dir.path());
        assert_eq!(worst(&check(&patient)), Verdict::Ok);
        let path = write(dir.path(), "home/.config/modeld/config.toml", "tcp = \"12434\"\n");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        mode(0o600).unwrap();
        assert_eq!(worst(&check(&patient)), Verdict::Ok);
        mode(0o666).unwrap();
        assert_eq!(worst(&check(&patient)), Verdict::Fail);
    }
}

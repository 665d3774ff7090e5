use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "settings";

/// The settings of the environment and of the files, as the daemon reads them.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(error) = &patient.config {
        found.push(Finding::fail(CHECK, error.to_string(), "correct or unset what it names"));
    }
    if patient.files.is_empty() {
        found.push(Finding::warn(
            CHECK,
            "there is no home directory: nothing is kept",
            "set HOME or XDG_CONFIG_HOME",
        ));
    }
    if patient.config.is_ok() {
        found.extend(patient.files.iter().map(|path| {
            let shown = path.display();
            Finding::ok(
                CHECK,
                match path.exists() {
                    true => format!("{shown} can be used"),
                    false => format!("{shown} is not there; defaults hold"),
                },
            )
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::{Verdict, worst};
    use super::super::patient::testing::{file as write, patient};
    use super::*;

    #[test]
    fn the_file_is_read_as_the_daemon_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(worst(&check(&patient(dir.path()))), Verdict::Ok);
        for (text, mode, verdict) in [
            ("tcp = \"12434\"\n", 0o600, Verdict::Ok),
            ("tcp = \"12434\"\n", 0o666, Verdict::Fail),
            ("keep-alife = \"5m\"\n", 0o600, Verdict::Fail),
            ("keep-alive = \"5x\"\n", 0o600, Verdict::Fail),
            ("[engines.x]\n", 0o600, Verdict::Fail),
            ("tcp = = 1\n", 0o600, Verdict::Fail),
        ] {
            let path = write(dir.path(), "home/.config/modeld/config.toml", text);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(worst(&check(&patient(dir.path()))), verdict, "{text} {mode:o}");
        }
    }
}

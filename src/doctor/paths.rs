use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::finding::Finding;
use super::patient::Patient;
use crate::files::shell_word;

const CHECK: &str = "paths";

/// What matters of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Directory {
    uid: u32,
    mode: u32,
}

/// The directories above the socket, the models and the log: who may change them could put files of
/// theirs in the place of ours.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let log = patient.config.as_ref().ok().and_then(|config| config.log_file.value.as_deref());
    let places = [
        ("the socket", patient.socket().and_then(Path::parent)),
        ("the models", patient.store()),
        ("the log", log.and_then(Path::parent)),
    ];
    let named = places.into_iter().filter_map(|(what, path)| Some((what, path?)));
    named.flat_map(|(what, path)| place(what, path, patient.uid)).collect()
}

fn place(what: &str, path: &Path, uid: u32) -> Vec<Finding> {
    let shown = path.display();
    let mut found: Vec<Finding> = path
        .ancestors()
        .filter_map(|dir| Some((dir, std::fs::metadata(dir).ok()?)))
        .filter_map(|(dir, meta)| {
            let seen = Directory { uid: meta.uid(), mode: meta.mode() };
            let problem = problem(seen, uid)?;
            let fix = format!("chmod go-w {}, or have its owner corrected", shell_word(dir));
            let text = format!("{} (above {what}) {problem}", dir.display());
            Some(Finding::fail(CHECK, text, fix))
        })
        .collect();
    let nearest = path.ancestors().find(|dir| dir.exists()).map(Path::to_owned);
    let nearest = nearest.unwrap_or_else(|| PathBuf::from("/"));
    if !nearest.is_dir() {
        let text = format!("{} is in the way of {what}: it is no directory", nearest.display());
        found.push(Finding::fail(CHECK, text, format!("move {} away", nearest.display())));
    } else if let Err(error) = access(&nearest, Access::WRITE_OK | Access::EXEC_OK) {
        let text = format!("{} (for {what}) cannot be written to: {error}", nearest.display());
        let fix = "give it to its user, or choose another place: MODEL_RUNNER_SOCK, MODELS_PATH, \
                   MODELD_LOG_FILE";
        found.push(Finding::fail(CHECK, text, fix));
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, format!("{shown} ({what}) is safe and can be written to")));
    }
    found
}

/// Why a directory cannot be trusted by `uid`; root may do everything anyway.
fn problem(dir: Directory, uid: u32) -> Option<String> {
    let Directory { uid: owner, mode } = dir;
    if owner != uid && owner != 0 {
        return Some(format!("belongs to uid {owner}"));
    }
    // In a directory like /tmp nobody may take another one's files away.
    let sticky = mode & 0o1000 != 0;
    (mode & 0o002 != 0 && !sticky)
        .then(|| format!("can be written to by everybody ({:04o})", mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::{Verdict, worst};
    use super::super::patient::testing::{file, patient};
    use super::*;

    #[test]
    fn directories_are_trusted_or_not() {
        for (uid, mode, trusted) in [
            (7, 0o40700, true),
            (0, 0o40755, true),
            (0, 0o41777, true),
            (7, 0o40777, false),
            (8, 0o40700, false),
        ] {
            let seen = Directory { uid, mode };
            assert_eq!(problem(seen, 7).is_none(), trusted, "{seen:?}");
        }
    }

    #[test]
    fn the_way_to_the_models_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient(dir.path());
        assert_eq!(worst(&check(&patient)), Verdict::Ok);
        let data = dir.path().join("home/.local");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
        let found = check(&patient);
        assert_eq!(worst(&found), Verdict::Fail, "{found:?}");
        let spaced = dir.path().join("My Models");
        std::fs::create_dir(&spaced).unwrap();
        std::fs::set_permissions(&spaced, std::fs::Permissions::from_mode(0o777)).unwrap();
        let found = place("the models", &spaced, patient.uid);
        let fix = format!("chmod go-w '{}', or", spaced.display());
        assert!(found[0].fix.as_deref().unwrap().starts_with(&fix), "{found:?}");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient(dir.path());
        file(dir.path(), "home/.local/share/modeld", "");
        let found = check(&patient);
        assert!(found.iter().any(|f| f.message.contains("no directory")), "{found:?}");
    }
}

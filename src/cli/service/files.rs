use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::cli::CliError;
use crate::files::{self, ReadError};

/// How the last line of a file of ours begins. What follows is the SHA-256 of all before it: a
/// person's change shows.
const STAMP: &str =
    "modeld service install made this file; once changed, it is left alone. sha256:";

/// A unit is a page of text; what is larger is somebody else's.
const MAX_BYTES: u64 = 1 << 20;

/// What is at the place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// As we wrote it, with this text (without the stamp), or as it is in the source.
    Ours(String),
    /// Ours once, then changed; or somebody else's.
    Theirs,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Made,
    Updated,
    Unchanged,
    /// Somebody changed it; it was left as it is.
    Left,
}

/// How comments of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comment {
    /// `# …`
    Hash,
    /// `<!-- … -->`
    Xml,
}

/// Looks at a file. `shipped` is the text that people were told to copy.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn look(path: &Path, shipped: Option<&str>) -> Result<Found, CliError> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(failed("look at", path, &e)),
    };
    if !meta.is_file() {
        return Ok(Found::Theirs);
    }
    let text = match files::read_regular(path, MAX_BYTES) {
        Ok(bytes) => String::from_utf8(bytes),
        Err(ReadError::Io(e)) => return Err(failed("read", path, &e)),
        Err(_) => return Ok(Found::Theirs),
    };
    let Ok(text) = text else { return Ok(Found::Theirs) };
    Ok(match unstamped(&text) {
        Some(body) => Found::Ours(body.to_owned()),
        None if shipped == Some(text.as_str()) => Found::Ours(text),
        None => Found::Theirs,
    })
}

/// Writes a file of ours, whole or not at all, unless it is there already or somebody changed it.
///
/// # Errors
/// Where it cannot be written.
pub(super) fn put(
    path: &Path,
    text: &str,
    comment: Comment,
    shipped: Option<&str>,
    force: bool,
) -> Result<Written, CliError> {
    let done = match look(path, shipped)? {
        Found::Ours(body) if body == text => return Ok(Written::Unchanged),
        Found::Theirs if !force => return Ok(Written::Left),
        Found::Nothing => Written::Made,
        Found::Ours(_) | Found::Theirs => Written::Updated,
    };
    write(path, &stamped(text, comment)).map_err(|e| failed("write", path, &e))?;
    Ok(done)
}

/// Removes a file of ours, and the directory if it was made for such files and is empty now.
/// Answers whether there was anything to remove that could be; `None`: somebody changed it.
///
/// # Errors
/// Where it cannot be removed.
pub(super) fn remove(
    path: &Path,
    shipped: Option<&str>,
    force: bool,
) -> Result<Option<bool>, CliError> {
    match look(path, shipped)? {
        Found::Nothing => return Ok(Some(false)),
        Found::Theirs if !force => return Ok(None),
        Found::Ours(_) | Found::Theirs => {}
    }
    std::fs::remove_file(path).map_err(|e| failed("remove", path, &e))?;
    if let Some(dir) = path.parent().filter(|dir| dir.extension().is_some_and(|e| e == "d")) {
        // One that is not empty has somebody else's drop-ins.
        let _ = std::fs::remove_dir(dir);
    }
    Ok(Some(true))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(dir)?;
    files::replace(path, text.as_bytes(), 0o644)
}

fn stamped(text: &str, comment: Comment) -> String {
    let digest = digest(text);
    let line = match comment {
        Comment::Hash => format!("# {STAMP}{digest}"),
        Comment::Xml => format!("<!-- {STAMP}{digest} -->"),
    };
    format!("{text}{line}\n")
}

/// The text without its stamp, if it has one that is right.
fn unstamped(text: &str) -> Option<&str> {
    let lines = text.strip_suffix('\n')?;
    let start = lines.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let (body, last) = lines.split_at_checked(start)?;
    let (_, digest_said) = last.split_once(STAMP)?;
    (digest_said.trim_end_matches(" -->") == digest(body)).then_some(body)
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn failed(doing: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot {doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_ours_is_known_until_somebody_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("units/modeld.service.d/x.conf");
        let put = |text: &str, force| put(&path, text, Comment::Hash, None, force).unwrap();
        assert_eq!(put("a\n", false), Written::Made);
        assert_eq!(put("a\n", false), Written::Unchanged);
        assert_eq!(put("b\n", false), Written::Updated);
        let changed = std::fs::read_to_string(&path).unwrap().replace("b\n", "c\n");
        std::fs::write(&path, &changed).unwrap();
        assert_eq!(put("d\n", false), Written::Left);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), changed);
        assert_eq!(remove(&path, None, false).unwrap(), None);
        assert_eq!(put("d\n", true), Written::Updated);
        assert_eq!(remove(&path, None, false).unwrap(), Some(true));
        assert!(!path.parent().unwrap().exists());
        assert!(path.parent().unwrap().parent().unwrap().exists());
        assert_eq!(remove(&path, None, false).unwrap(), Some(false));
    }

    #[test]
    fn a_copy_of_what_is_shipped_counts_as_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modeld.socket");
        std::fs::write(&path, "shipped\n").unwrap();
        assert_eq!(look(&path, None).unwrap(), Found::Theirs);
        assert_eq!(look(&path, Some("shipped\n")).unwrap(), Found::Ours("shipped\n".into()));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(look(&link, Some("shipped\n")).unwrap(), Found::Theirs);
    }

    #[test]
    fn the_stamp_of_xml_is_a_comment() {
        let text = stamped("<plist/>\n", Comment::Xml);
        assert!(text.ends_with(" -->\n"), "{text}");
        assert_eq!(unstamped(&text), Some("<plist/>\n"));
        assert_eq!(unstamped(&text.replace("plist", "other")), None);
        assert_eq!(unstamped(""), None);
    }
}

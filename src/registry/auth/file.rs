use std::path::Path;

use secrecy::{SecretSlice, SecretString};

use crate::files::open_regular;

/// Reads a file of at most `max` bytes that may hold secrets. `Ok(None)` where there is none.
///
/// # Errors
/// Why it cannot be used, without a word of its content. `private` also refuses a file that others
/// may read, or that is another user's.
pub(super) fn read(path: &Path, max: u64, private: bool) -> Result<Option<SecretString>, String> {
    let shown = path.display();
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(format!("{shown} {error}")),
    };
    if private && file.owner() != rustix::process::geteuid().as_raw() {
        return Err(format!("{shown} belongs to another user (uid {})", file.owner()));
    }
    if private && file.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown} is open to other users (mode {:o}); make it yours alone with `chmod 600 \
             {shown}`",
            file.mode()
        ));
    }
    let bytes = file.read(max).map_err(|error| format!("{shown} {error}"))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(SecretString::from(text))),
        Err(error) => {
            // The bytes may be a secret all the same.
            drop(SecretSlice::from(error.into_bytes()));
            Err(format!("{shown} cannot be read: it is no text in UTF-8"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_read_and_what_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(read(&path, 10, true).unwrap().is_none());
        std::fs::write(&path, "secret").unwrap();
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(0o644);
        assert_eq!(read(&path, 6, false).unwrap().unwrap().expose_secret(), "secret");
        let error = read(&path, 6, true).unwrap_err();
        assert!(error.contains("mode 644") && error.contains("chmod 600"), "{error}");
        mode(0o600);
        assert_eq!(read(&path, 6, true).unwrap().unwrap().expose_secret(), "secret");
        assert!(read(&path, 5, true).unwrap_err().contains("more than 5 bytes"));
        assert!(read(dir.path(), 5, false).unwrap_err().contains("not a regular file"));
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(read(&path, 6, true).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn a_fifo_does_not_hold_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(read(&path, 5, true).unwrap_err().contains("not a regular file"));
    }
}

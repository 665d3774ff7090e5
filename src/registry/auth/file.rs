use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use secrecy::SecretString;

/// Reads a file of at most `max` bytes that may hold secrets. `Ok(None)` where there is none.
///
/// # Errors
/// Why it cannot be used, without a word of its content. `private` also refuses a file that others
/// may read, or that is another user's.
pub(super) fn read(path: &Path, max: u64, private: bool) -> Result<Option<SecretString>, String> {
    let shown = path.display();
    // Without O_NONBLOCK, opening a FIFO waits for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(e) => return Err(format!("{shown} cannot be opened: {e}")),
    };
    let stat = rustix::fs::fstat(&file).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    if private && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(format!("{shown} belongs to another user (uid {})", stat.st_uid));
    }
    let open_to_others = Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO);
    if private && !open_to_others.is_empty() {
        return Err(format!(
            "{shown} is open to other users (mode {:o}); make it yours alone with `chmod 600 \
             {shown}`",
            stat.st_mode & 0o777
        ));
    }
    let mut text = String::new();
    let read = file.take(max.saturating_add(1)).read_to_string(&mut text);
    let text = SecretString::from(text);
    match read {
        Ok(bytes) if u64::try_from(bytes).is_ok_and(|bytes| bytes <= max) => Ok(Some(text)),
        Ok(_) => Err(format!("{shown} has more than {max} bytes")),
        Err(e) => Err(format!("{shown} cannot be read: {}", e.kind())),
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
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(read(&path, 5, true).unwrap_err().contains("not a regular file"));
    }
}

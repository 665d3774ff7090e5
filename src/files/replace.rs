use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// As many symbolic links as Linux follows for one path.
const MOST_LINKS: usize = 40;

/// Puts a file with these bytes and this mode at `path`, whole or not at all: it is written beside
/// its place, synced, and renamed over what was there. A symbolic link at `path` is replaced, too;
/// [`destination`] says where it leads.
///
/// # Errors
/// Those of the file system; what was there before is there then.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (dir, file) = written(path, bytes, mode)?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}

/// The same, with the owner and the mode of what is replaced, but for the right of others to write;
/// `mode` is for a file that was not there.
///
/// # Errors
/// As [`replace`]; where the file is another user's, who it belongs to cannot be kept by everybody.
pub fn renew(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let before = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return replace(path, bytes, mode),
        Err(error) => return Err(error),
    };
    let mut mode = before.mode() & 0o755;
    let (dir, file) = written(path, bytes, 0o600)?;
    let made = file.as_file().metadata()?;
    if made.uid() != before.uid() {
        fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
    } else if made.gid() != before.gid()
        && fchown(file.as_file(), None, Some(before.gid())).is_err()
    {
        // What its group might do, another group must not.
        mode &= !0o070;
    }
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}

/// The same where nothing is yet.
///
/// # Errors
/// `AlreadyExists` where something is, and those of the file system.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (dir, file) = written(path, bytes, mode)?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}

/// Makes a directory that only its owner may look into, and what is missing above it.
///
/// # Errors
/// Those of the file system.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Where a path leads once its symbolic links are followed, also where nothing is there yet: people
/// keep their settings elsewhere and link to them, and the link has to stay.
pub fn destination(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match std::fs::read_link(&path) {
            Ok(target) => path = directory(&path).join(target),
            Err(_) => return path,
        }
    }
    path
}

/// A synced file beside `path`, and the directory of both.
fn written<'a>(path: &'a Path, bytes: &[u8], mode: u32) -> io::Result<(&'a Path, NamedTempFile)> {
    let dir = directory(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Mode 0600 from its first byte on, whatever it is to be at the end.
    let mut file = tempfile::Builder::new().prefix(&format!(".{name}-")).tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok((dir, file))
}

pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_takes_the_place_of_another_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for (bytes, wanted) in [(&b"one"[..], 0o600), (b"two", 0o644)] {
            replace(&path, bytes, wanted).unwrap();
            assert_eq!((std::fs::read(&path).unwrap().as_slice(), mode(&path)), (bytes, wanted));
        }
        assert_eq!(create(&path, b"x", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        create(&dir.path().join("g"), b"three", 0o600).unwrap();
        // Nothing else is left behind.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(replace(&dir.path().join("no/f"), b"x", 0o600).is_err());
        make_private_dir(&dir.path().join("no/deeper")).unwrap();
        assert_eq!(mode(&dir.path().join("no/deeper")), 0o700);
    }

    #[test]
    fn what_is_renewed_stays_whose_and_how_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        renew(&path, b"new", 0o600).unwrap();
        assert_eq!(mode(&path), 0o600);
        for (before, after) in [(0o644, 0o644), (0o640, 0o640), (0o666, 0o644), (0o600, 0o600)] {
            std::fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            renew(&path, b"again", 0o600).unwrap();
            assert_eq!(mode(&path), after, "{before:o}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"again");
        // Only root may give it away, and not every root (of a user namespace).
        if std::os::unix::fs::chown(&path, Some(12_345), Some(54_321)).is_ok() {
            renew(&path, b"theirs", 0o600).unwrap();
            let about = std::fs::metadata(&path).unwrap();
            assert_eq!((about.uid(), about.gid()), (12_345, 54_321));
        }
    }

    #[test]
    fn a_link_is_followed_to_its_end_though_nothing_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink("b", at("a")).unwrap();
        symlink(at("c"), at("b")).unwrap();
        assert_eq!(destination(&at("a")), at("c"));
        assert_eq!(destination(&at("c")), at("c"));
        replace(&destination(&at("a")), b"x", 0o600).unwrap();
        assert_eq!(std::fs::read(at("a")).unwrap(), b"x");
        symlink("round", at("round")).unwrap();
        assert_eq!(destination(&at("round")), at("round"));
    }
}

use std::fs::{File, FileType, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Why a file was not read. The text fits behind the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What the system said.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Something else has its name.
    #[error("is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It is larger than anything of its kind.
    #[error("has more than {max} bytes")]
    TooLarge {
        /// What it may have.
        max: u64,
    },
}

impl ReadError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            other => Self::new(ErrorKind::InvalidData, other.to_string()),
        }
    }
}

/// A regular file that is open for reading. What is asked of it is asked of the open file, which
/// nobody can exchange any more.
#[derive(Debug)]
pub struct Regular {
    file: File,
    about: Metadata,
}

impl Regular {
    /// The user that it belongs to.
    pub fn owner(&self) -> u32 {
        self.about.uid()
    }

    /// Its permission bits.
    pub fn mode(&self) -> u32 {
        self.about.mode() & 0o777
    }

    /// Everything that is in it, at most `max` bytes.
    ///
    /// # Errors
    /// [`ReadError::TooLarge`], [`ReadError::Io`].
    pub fn read(self, max: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        self.file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        match u64::try_from(bytes.len()) {
            Ok(length) if length <= max => Ok(bytes),
            Ok(_) | Err(_) => Err(ReadError::TooLarge { max }),
        }
    }
}

/// Opens a regular file and nothing else, and never waits: opening a pipe would, until somebody
/// writes to it.
///
/// # Errors
/// [`ReadError::Io`], [`ReadError::NotRegular`].
pub fn open_regular(path: &Path) -> Result<Regular, ReadError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match std::fs::metadata(path) {
        // A socket cannot be opened at all (ENXIO), which would not say much.
        Ok(about) if about.file_type().is_socket() => ReadError::NotRegular("a socket"),
        Ok(_) | Err(_) => ReadError::Io(error),
    })?;
    let about = file.metadata()?;
    if about.is_file() {
        return Ok(Regular { file, about });
    }
    Err(ReadError::NotRegular(named(about.file_type())))
}

/// The bytes of a regular file, at most `max`.
///
/// # Errors
/// Every [`ReadError`].
pub fn read_regular(path: &Path, max: u64) -> Result<Vec<u8>, ReadError> {
    open_regular(path)?.read(max)
}

fn named(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path) -> String {
        read_regular(path, 10).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, mode, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert_eq!(refused(&at("fifo")), "is a named pipe, not a regular file");
        assert_eq!(refused(&at("socket")), "is a socket, not a regular file");
        assert_eq!(refused(dir.path()), "is a directory, not a regular file");
        assert_eq!(refused(Path::new("/dev/zero")), "is a device, not a regular file");
        let missing = read_regular(&at("none"), 10).unwrap_err();
        assert!(missing.is_missing() && missing.to_string().starts_with("cannot be read: "));
        std::fs::write(at("file"), b"x").unwrap();
        assert!(read_regular(&at("file/below"), 10).unwrap_err().is_missing());
    }

    #[test]
    fn a_file_may_be_as_large_as_it_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        assert_eq!(read_regular(&path, 10).unwrap(), b"0123456789");
        assert_eq!(read_regular(&path, 9).unwrap_err().to_string(), "has more than 9 bytes");
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert_eq!(read_regular(&dir.path().join("link"), 10).unwrap().len(), 10);
    }
}

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::DaemonError;

/// The lock file beside the socket: one daemon per directory.
const LOCK_NAME: &str = "daemon.lock";
/// The lock file of who listens for a daemon that comes and goes: it cannot keep the daemon's.
const STANDBY_LOCK_NAME: &str = "standby.lock";

/// Held as long as the daemon lives; the kernel lets go of it however the process ends.
#[derive(Debug)]
pub(super) struct DaemonLock {
    _file: File,
}

impl DaemonLock {
    /// Takes the lock beside `socket`, and writes our pid into it for others to read.
    ///
    /// # Errors
    /// [`DaemonError::AlreadyRunning`] while somebody else holds it.
    pub(super) fn take(socket: &Path) -> Result<Self, DaemonError> {
        Self::take_named(socket, LOCK_NAME)
    }

    /// Likewise the lock of who listens for a daemon.
    ///
    /// # Errors
    /// Those of [`DaemonLock::take`].
    pub(super) fn take_standby(socket: &Path) -> Result<Self, DaemonError> {
        Self::take_named(socket, STANDBY_LOCK_NAME)
    }

    fn take_named(socket: &Path, name: &str) -> Result<Self, DaemonError> {
        let path = socket.with_file_name(name);
        let doing = |what: &str| format!("{what} {}", path.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| DaemonError::io(doing("open"), e))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DaemonError::AlreadyRunning {
                    socket: socket.to_owned(),
                    pid: pid_in(&mut file),
                });
            }
            Err(e) => return Err(DaemonError::io(doing("lock"), e)),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(pid.as_bytes()))
            .map_err(|e| DaemonError::io(doing("write to"), e))?;
        Ok(Self { _file: file })
    }
}

/// Whether a daemon runs on `socket`, as far as what it wrote beside it tells. Unlike a connection,
/// this starts none.
pub fn is_running_beside(socket: &Path) -> bool {
    let file = File::open(socket.with_file_name(LOCK_NAME)).ok();
    let pid = file.and_then(|mut file| pid_in(&mut file));
    let pid = pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Keeps a second daemon away from the store, whose leases are known to one process only. The
/// directory itself is locked, so that nothing is added to a layout that others read, too.
#[derive(Debug)]
pub(super) struct StoreLock {
    _directory: Option<File>,
}

impl StoreLock {
    /// Takes the lock of the store in `root`, which is made where it does not exist.
    pub(super) fn take(root: &Path) -> Result<Self, DaemonError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.map_err(|e| DaemonError::io(format!("create {}", root.display()), e))?;
        let directory =
            File::open(root).map_err(|e| DaemonError::io(format!("open {}", root.display()), e))?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _directory: Some(directory) }),
            Err(Errno::WOULDBLOCK) => Err(DaemonError::StoreInUse { root: root.to_owned() }),
            Err(error) => {
                // Some network file systems have no such locks; that must not keep models away.
                tracing::warn!(%error, root = %root.display(), "the store cannot be locked");
                Ok(Self { _directory: None })
            }
        }
    }
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("modeld.sock");
        (dir, socket)
    }

    #[test]
    fn the_lock_names_its_holder() {
        let (_dir, path) = place();
        let held = DaemonLock::take(&path).unwrap();
        let error = DaemonLock::take(&path).unwrap_err();
        let pid = std::process::id();
        assert_eq!(
            error.to_string(),
            format!(
                "another daemon is already running at {} (pid {pid}); stop it first, or choose \
                 another place with --socket",
                path.display()
            )
        );
        drop(held);
        DaemonLock::take(&path).unwrap();
    }

    #[test]
    fn who_runs_is_seen_without_a_connection() {
        let (_dir, path) = place();
        assert!(!is_running_beside(&path), "nobody was there yet");
        let _held = DaemonLock::take(&path).unwrap();
        assert!(is_running_beside(&path));
        // Of one that was killed the file stays.
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        std::fs::write(path.with_file_name(LOCK_NAME), format!("{}\n", child.id())).unwrap();
        assert!(!is_running_beside(&path));
    }

    #[test]
    fn a_store_belongs_to_one_daemon() {
        let (dir, _) = place();
        let held = StoreLock::take(dir.path()).unwrap();
        let error = StoreLock::take(dir.path()).unwrap_err();
        assert!(matches!(error, DaemonError::StoreInUse { .. }), "{error}");
        drop(held);
        StoreLock::take(dir.path()).unwrap();
    }
}

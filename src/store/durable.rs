use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::StoreError;

/// Left free on the disk besides what is asked for, so that logs and other programs go on.
pub(super) const RESERVE_BYTES: u64 = 64 << 20;

/// Creates a file that did not exist, for writing; a link in its place is an error.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file for reading; a link in its place is an error.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}

/// Replaces `path` by `bytes` so that after a crash either the old or the new content is there,
/// whole. `temporary` is a fresh name on the same file system.
pub(super) fn replace(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = create_new(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(temporary, path));
    if let Err(source) = renamed {
        // A failed fsync leaves nothing to trust; the name is free again.
        let _ = std::fs::remove_file(temporary);
        return Err(disk_error("write", path, bytes.len() as u64, source));
    }
    sync_parent(path)
}

/// Gives a synced file its final name. `false`: a file of that name was there already and stays.
pub(super) fn publish(temporary: &Path, path: &Path) -> io::Result<bool> {
    match rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // File systems without the flag: a hard link refuses to replace as well.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            match std::fs::hard_link(temporary, path) {
                Ok(()) => std::fs::remove_file(temporary).map(|()| true),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                // Without hard links too: the lock that the caller holds must do.
                Err(_) if path.symlink_metadata().is_ok() => Ok(false),
                Err(_) => std::fs::rename(temporary, path).map(|()| true),
            }
        }
        Err(e) => Err(e.into()),
    }
}

/// Makes the names in the directory of `path` survive a power loss.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes the names in a directory survive a power loss.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))
}

/// Refuses before the first byte what the disk at `dir` has no room for.
pub(super) fn require_space(dir: &Path, bytes: u64) -> Result<(), StoreError> {
    let free = free_bytes(dir)?;
    let needed = bytes.saturating_add(RESERVE_BYTES);
    if bytes > 0 && needed > free {
        return Err(StoreError::DiskFull { needed, free });
    }
    Ok(())
}

/// Takes the disk space of the first `bytes` bytes now, where the file system can do that.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, path: &Path, bytes: u64) -> Result<(), StoreError> {
    if bytes == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes) {
        Ok(()) | Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => Ok(()),
        Err(e) => Err(disk_error("reserve space for", path, bytes, e.into())),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_file: &File, _path: &Path, _bytes: u64) -> Result<(), StoreError> {
    Ok(())
}

/// Gives the space of a range back, where the file system can do that; it reads as zeros then.
#[cfg(target_os = "linux")]
pub(super) fn punch(file: &File, range: &std::ops::Range<u64>) {
    use rustix::fs::FallocateFlags;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // Only a favour: what stays reserved is taken into account when the download goes on.
    let _ = rustix::fs::fallocate(file, flags, range.start, range.end - range.start);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn punch(_file: &File, _range: &std::ops::Range<u64>) {}

/// An I/O error, told as a full disk where it is one.
pub(super) fn disk_error(
    action: &'static str,
    path: &Path,
    needed: u64,
    source: io::Error,
) -> StoreError {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        let free = path.parent().and_then(|dir| free_bytes(dir).ok()).unwrap_or(0);
        return StoreError::DiskFull { needed, free };
    }
    StoreError::io(action, path)(source)
}

fn free_bytes(dir: &Path) -> Result<u64, StoreError> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|e| StoreError::io("measure the free space of", dir)(e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::{StoreError, sys};
pub(super) use sys::{create_new, open_file};

/// Left free on the disk besides what is asked for, so that logs and other programs go on.
pub(super) const RESERVE_BYTES: u64 = 64 << 20;

/// Replaces `path` by `bytes` so that after a crash either the old or the new content is there,
/// whole. `temporary` is a fresh name on the same file system.
pub(super) fn replace(temporary: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = create_new(temporary).and_then(|mut file| {
        sys::write_all(temporary, &mut file, bytes)?;
        sys::set_mode(temporary, &file, 0o644)?;
        sys::sync_file(temporary, &file)
    });
    let renamed = written.and_then(|()| sys::rename(temporary, path));
    if let Err(source) = renamed {
        // A failed fsync leaves nothing to trust; the name is free again.
        let _ = sys::remove_file(temporary);
        return Err(disk_error("write", path, bytes.len() as u64, source));
    }
    sync_parent(path)
}

/// Makes a directory and those above it so that they survive a power loss: what is synced in a
/// directory is lost with one that was not.
pub(super) fn make_dirs(path: &Path) -> io::Result<()> {
    let absent = |dir: &&Path| dir.symlink_metadata().is_err();
    let made: Vec<&Path> = path.ancestors().take_while(absent).collect();
    sys::make_dirs(path)?;
    for parent in made.iter().filter_map(|dir| dir.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match sys::sync_dir(parent) {
            // One that may be written and not read.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
            done => done?,
        }
    }
    Ok(())
}

/// Cuts off what was reserved past the end of a blob, and makes its bytes survive a power loss.
pub(super) fn finish_blob(path: &Path, file: &File, bytes: u64) -> io::Result<()> {
    sys::set_len(path, file, bytes)?;
    sys::set_mode(path, file, 0o444)?;
    sys::sync_file(path, file)
}

/// Gives a synced file its final name, for good. `false`: a file of that name was there already
/// and stays.
pub(super) fn publish(temporary: &Path, path: &Path) -> io::Result<bool> {
    if !give_name(temporary, path)? {
        return Ok(false);
    }
    let synced = path.parent().map_or(Ok(()), sys::sync_dir);
    if let Err(error) = synced {
        // After a failed fsync a second one may succeed and mean nothing.
        let _ = sys::remove_file(path);
        return Err(error);
    }
    Ok(true)
}

fn give_name(temporary: &Path, path: &Path) -> io::Result<bool> {
    let error = match sys::rename_new(temporary, path) {
        Ok(()) => return Ok(true),
        Err(error) => error,
    };
    match Errno::from_io_error(&error) {
        Some(Errno::EXIST) => Ok(false),
        // File systems without the flag: a hard link refuses to replace as well.
        Some(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            match sys::hard_link(temporary, path) {
                Ok(()) => sys::remove_file(temporary).map(|()| true),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                // Without hard links too: the lock that the caller holds must do.
                Err(_) if path.symlink_metadata().is_ok() => Ok(false),
                Err(_) => sys::rename(temporary, path).map(|()| true),
            }
        }
        _ => Err(error),
    }
}

/// Makes the names in the directory of `path` survive a power loss.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes the names in a directory survive a power loss.
pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    sys::sync_dir(dir).map_err(StoreError::io("sync", dir))
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
    match source.kind() {
        io::ErrorKind::QuotaExceeded => StoreError::QuotaExceeded { needed },
        io::ErrorKind::StorageFull => match path.parent().map(statvfs) {
            Some(Ok(stat)) if stat.f_files > 0 && stat.f_favail == 0 => StoreError::NoInodes,
            Some(Ok(stat)) => StoreError::DiskFull { needed, free: free_of(&stat) },
            _ => StoreError::DiskFull { needed, free: 0 },
        },
        _ => StoreError::io(action, path)(source),
    }
}

/// Bytes that this user may still write to the disk at `dir`.
pub(super) fn free_bytes(dir: &Path) -> Result<u64, StoreError> {
    statvfs(dir).map(|stat| free_of(&stat))
}

fn statvfs(dir: &Path) -> Result<rustix::fs::StatVfs, StoreError> {
    rustix::fs::statvfs(dir).map_err(|e| StoreError::io("measure the free space of", dir)(e.into()))
}

fn free_of(stat: &rustix::fs::StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

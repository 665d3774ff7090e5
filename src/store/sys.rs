use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

/// One call to the operating system. Tests let any of them fail, and lose what was not synced.
#[derive(Debug)]
#[allow(dead_code, reason = "only tests look into it")]
pub(super) enum Call<'a> {
    MakeDirs(&'a Path),
    Create(&'a Path),
    Open(&'a Path),
    Read(&'a Path),
    Write(&'a Path, &'a [u8]),
    SetLen(&'a Path, u64),
    SetMode(&'a Path),
    SyncFile(&'a Path),
    SyncDir(&'a Path),
    Rename(&'a Path, &'a Path),
    Link(&'a Path, &'a Path),
    Remove(&'a Path),
}

/// Every call goes through here; outside tests that is nothing but the call.
#[inline(always)]
fn call<T>(call: Call<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    #[cfg(test)]
    super::faults::before(&call)?;
    let done = work()?;
    #[cfg(test)]
    super::faults::after(&call);
    let _ = call;
    Ok(done)
}

/// Makes a directory and those above it, for this user alone; one that is there stays.
pub(super) fn make_dirs(path: &Path) -> io::Result<()> {
    call(Call::MakeDirs(path), || DirBuilder::new().recursive(true).mode(0o700).create(path))
}

/// Creates a file that did not exist, for writing; a link in its place is an error.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    call(Call::Create(path), || {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    })
}

/// Opens a file for reading; a link or anything else in its place is an error, not a wait.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    call(Call::Open(path), || {
        let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(file)
    })
}

pub(super) fn read(path: &Path, file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    call(Call::Read(path), || {
        loop {
            match file.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    })
}

pub(super) fn read_to_end(
    path: &Path,
    mut source: impl io::Read,
    bytes: &mut Vec<u8>,
) -> io::Result<usize> {
    call(Call::Read(path), || source.read_to_end(bytes))
}

pub(super) fn write_all(path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
    call(Call::Write(path, bytes), || file.write_all(bytes))
}

pub(super) fn set_len(path: &Path, file: &File, bytes: u64) -> io::Result<()> {
    call(Call::SetLen(path, bytes), || file.set_len(bytes))
}

pub(super) fn set_mode(path: &Path, file: &File, mode: u32) -> io::Result<()> {
    let permissions = std::fs::Permissions::from_mode(mode);
    call(Call::SetMode(path), || file.set_permissions(permissions))
}

/// The bytes and their number; when the file was changed matters to nobody.
pub(super) fn sync_file(path: &Path, file: &File) -> io::Result<()> {
    call(Call::SyncFile(path), || file.sync_data())
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    call(Call::SyncDir(path), || File::open(path).and_then(|dir| dir.sync_all()))
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    call(Call::Rename(from, to), || std::fs::rename(from, to))
}

/// Fails with `AlreadyExists` rather than replace anything.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    call(Call::Rename(from, to), || {
        Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
    })
}

pub(super) fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    call(Call::Link(from, to), || std::fs::hard_link(from, to))
}

pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    call(Call::Remove(path), || std::fs::remove_file(path))
}

/// A file, a link, or a directory with all that is in it.
pub(super) fn remove_any(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => call(Call::Remove(path), || std::fs::remove_dir_all(path)),
        false => remove_file(path),
    }
}

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, UnixStream};

use super::DaemonError;
use crate::config::settings;

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
pub(super) const BACKLOG: u32 = 4096;

/// Makes the socket's directory if it is missing, with mode 0700, or 0750 where a group may pass, and
/// refuses one where somebody else could exchange files.
pub(super) fn prepare_directory(socket: &Path, group: Option<u32>) -> Result<(), DaemonError> {
    let Some(dir) = socket.parent() else {
        return Err(DaemonError::SocketTaken {
            path: socket.to_owned(),
            problem: "is no place for a socket".to_owned(),
        });
    };
    let is_new = !dir.exists();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| DaemonError::io(format!("create {}", dir.display()), e))?;
    if let (true, Some(group)) = (is_new, group) {
        open_to(dir, group, 0o750)?;
    }
    let meta = std::fs::metadata(dir)
        .map_err(|e| DaemonError::io(format!("look at {}", dir.display()), e))?;
    let uid = rustix::process::geteuid().as_raw();
    let (problem, advice) = if meta.uid() != uid {
        let problem = format!("belongs to uid {}, not to us (uid {uid})", meta.uid());
        (problem, "choose one of your own with --socket".to_owned())
    } else if meta.mode() & 0o022 != 0 {
        let shown = dir.display();
        let advice = match meta.mode() & 0o1000 {
            // Everybody is meant to write there.
            0 => format!("chmod go-w {shown}, or choose another one with --socket"),
            _ => format!("choose one in it, such as --socket {shown}/modeld-{uid}/modeld.sock"),
        };
        (format!("is writable for others (mode {:04o})", meta.mode() & 0o7777), advice)
    } else {
        return group.map_or(Ok(()), |group| can_pass(dir, group));
    };
    Err(DaemonError::UnsafeDirectory { path: dir.to_owned(), problem, advice })
}

/// Refuses a place that the group's members cannot reach, with what opens it. Where access lists may
/// let them through, which show in the group's bits, it is only said.
fn can_pass(dir: &Path, group: u32) -> Result<(), DaemonError> {
    for dir in dir.ancestors() {
        let Ok(meta) = std::fs::metadata(dir) else { continue };
        let bit = if meta.gid() == group { 0o010 } else { 0o001 };
        if meta.mode() & bit != 0 {
            continue;
        }
        let problem = format!(
            "{}: members of group {group} cannot reach the socket, because {} is closed to them \
             (mode {:04o}, group {}); chgrp {group} {1} && chmod g+x {1} opens it, or choose \
             another place with --socket, such as /run/modeld/modeld.sock",
            settings::SOCKET_GROUP.flag,
            dir.display(),
            meta.mode() & 0o7777,
            meta.gid()
        );
        if meta.mode() & 0o011 == 0 {
            return Err(DaemonError::SocketGroup { problem });
        }
        tracing::warn!("{problem}");
    }
    Ok(())
}

/// Gives a file or directory to a group, and then its mode: never the other way round.
fn open_to(path: &Path, group: u32, mode: u32) -> Result<(), DaemonError> {
    let doing = |e| DaemonError::io(format!("give {} to group {group}", path.display()), e);
    std::os::unix::fs::chown(path, None, Some(group)).map_err(doing)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(doing)
}

/// Brings a socket of ours that is there already to the group that may use it now.
pub(super) fn admit(path: &Path, group: Option<u32>) -> Result<(), DaemonError> {
    if let Some(group) = group {
        return open_to(path, group, 0o660);
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| DaemonError::io(format!("close {} to others", path.display()), e))
}

/// The socket's file; removed at the end if it is still the one that we made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    stays: bool,
}

impl SocketFile {
    fn of(path: &Path) -> std::io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: meta.dev(), inode: meta.ino(), stays: false })
    }

    /// Whether a socket that an earlier daemon bound can still be found.
    pub(super) fn is_there(path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
    }

    /// The socket goes on listening when this process has ended.
    pub(super) fn leave(&mut self) {
        self.stays = true;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        let still_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|m| m.dev() == self.device && m.ino() == self.inode);
        if still_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

/// Binds the socket with mode 0600, or 0660 for a group; the lock must be held. A file that a dead daemon left is
/// replaced, a living listener never.
pub(super) async fn bind(
    path: &Path,
    group: Option<u32>,
) -> Result<(UnixListener, SocketFile), DaemonError> {
    remove_stale(path).await?;
    let doing = |e: std::io::Error| DaemonError::io(format!("listen on {}", path.display()), e);
    let socket = UnixSocket::new_stream().map_err(doing)?;
    // Linux gives the file the mode of the descriptor. Elsewhere the mode is set below, which is
    // soon enough: nobody can connect before `listen`.
    #[cfg(target_os = "linux")]
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .map_err(|e| doing(e.into()))?;
    socket.bind(path).map_err(doing)?;
    let file = SocketFile::of(path).map_err(doing)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(doing)?;
    if let Some(group) = group {
        open_to(path, group, 0o660)?;
    }
    let listener = socket.listen(BACKLOG).map_err(doing)?;
    Ok((listener, file))
}

/// Binds a TCP socket; `early` before anything of this machine has the address.
pub(super) fn bind_tcp(address: SocketAddr, early: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port of a daemon that just ended can be taken again; a living listener still refuses.
    socket.set_reuseaddr(true)?;
    if early {
        let_bind_early(&socket)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The bridge may come later: Docker makes it when it starts, and a user's daemon is often first.
#[cfg(target_os = "linux")]
fn let_bind_early(socket: &TcpSocket) -> std::io::Result<()> {
    Ok(rustix::net::sockopt::set_ip_freebind(socket, true)?)
}

/// Elsewhere containers live in a virtual machine, and its bridge is there or is not.
#[cfg(not(target_os = "linux"))]
fn let_bind_early(_: &TcpSocket) -> std::io::Result<()> {
    Ok(())
}

async fn remove_stale(path: &Path) -> Result<(), DaemonError> {
    let taken = |problem: String| DaemonError::SocketTaken { path: path.to_owned(), problem };
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DaemonError::io(format!("look at {}", path.display()), e)),
    };
    if !meta.file_type().is_socket() {
        return Err(taken("is there already and is not a socket".to_owned()));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(taken(format!("belongs to uid {}", meta.uid())));
    }
    match UnixStream::connect(path).await {
        Ok(stream) => Err(DaemonError::AlreadyRunning {
            socket: path.to_owned(),
            pid: stream.peer_cred().ok().and_then(|c| c.pid()).and_then(|p| p.try_into().ok()),
        }),
        // Its backlog is full: somebody listens.
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            Err(DaemonError::AlreadyRunning { socket: path.to_owned(), pid: None })
        }
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|e| DaemonError::io(format!("remove the stale {}", path.display()), e)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(taken(format!("cannot be probed: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/modeld/modeld.sock");
        prepare_directory(&socket, None).unwrap();
        (dir, socket)
    }

    #[tokio::test]
    async fn socket_0600_in_a_directory_0700() {
        let (_dir, path) = place();
        let _bound = bind(&path, None).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[tokio::test]
    async fn socket_0660_in_a_directory_0750_for_a_group() {
        let dir = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let path = dir.path().join("run/m.sock");
        // Everybody may give what is theirs to a group of their own.
        let group = rustix::process::getegid().as_raw();
        prepare_directory(&path, Some(group)).unwrap();
        let _bound = bind(&path, Some(group)).await.unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o750));
        assert_eq!(std::fs::metadata(&path).unwrap().gid(), group);
    }

    #[test]
    fn a_place_that_the_group_cannot_reach_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (below, group) = (dir.path().join("run"), rustix::process::getegid().as_raw());
        std::fs::create_dir(&below).unwrap();
        let bits = |path: &Path, bits: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
        };
        for (above, own, closed) in [
            (0o700, 0o755, Some(dir.path())),
            (0o711, 0o700, Some(below.as_path())),
            (0o711, 0o711, None),
            (0o710, 0o710, None),
        ] {
            bits(dir.path(), above);
            bits(&below, own);
            let done = prepare_directory(&below.join("m.sock"), Some(group));
            match (done, closed) {
                (Ok(()), None) => {}
                (Err(error @ DaemonError::SocketGroup { .. }), Some(closed)) => {
                    let fix = format!("chmod g+x {} opens it", closed.display());
                    assert!(error.to_string().contains(&fix), "{error}");
                }
                (done, closed) => panic!("{above:o} {own:o}: {done:?}, not {closed:?}"),
            }
        }
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (bits, fine) in [(0o700, true), (0o755, true), (0o770, false), (0o1777, false)] {
            let permissions = std::fs::Permissions::from_mode(bits);
            std::fs::set_permissions(dir.path(), permissions).unwrap();
            let result = prepare_directory(&dir.path().join("m.sock"), None);
            assert_eq!(result.is_ok(), fine, "{bits:o}: {result:?}");
        }
    }

    #[test]
    fn the_advice_for_a_directory_that_others_write_to_does_not_break_it() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().display().to_string();
        for (mode, advice) in
            [(0o1777, format!("--socket {own}/modeld-")), (0o775, format!("chmod go-w {own}, or"))]
        {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let said = prepare_directory(&dir.path().join("m.sock"), None).unwrap_err().to_string();
            assert!(said.contains(&advice) && said.contains(&format!("{mode:04o}")), "{said}");
        }
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let stranger = if rustix::process::geteuid().is_root() {
            let dir = tempfile::tempdir().unwrap();
            std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
            Some(dir)
        } else {
            None
        };
        let path = stranger.as_ref().map_or(Path::new("/"), |d| d.path()).join("m.sock");
        let error = prepare_directory(&path, None).unwrap_err();
        assert!(matches!(error, DaemonError::UnsafeDirectory { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let (_dir, path) = place();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_listener, _file) = bind(&path, None).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_living_listener_is_never_displaced() {
        let (_dir, path) = place();
        let living = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = bind(&path, None).await.unwrap_err();
        let me = std::process::id();
        match error {
            DaemonError::AlreadyRunning { pid, .. } => assert_eq!(pid, Some(me)),
            other => panic!("{other}"),
        }
        assert_eq!(living.local_addr().unwrap().as_pathname(), Some(path.as_path()));
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let (dir, path) = place();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path, None).await, Err(DaemonError::SocketTaken { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
        let target = dir.path().join("target");
        symlink(&target, &path).unwrap();
        assert!(matches!(bind(&path, None).await, Err(DaemonError::SocketTaken { .. })));
        assert!(!target.exists());
    }

    #[tokio::test]
    async fn only_our_own_file_is_removed_at_the_end() {
        let (_dir, path) = place();
        let (listener, file) = bind(&path, None).await.unwrap();
        drop((listener, file));
        assert!(!path.exists());
        let (listener, file) = bind(&path, None).await.unwrap();
        let aside = path.with_file_name("aside");
        std::fs::rename(&path, &aside).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop((listener, file));
        assert!(path.exists());
    }
}

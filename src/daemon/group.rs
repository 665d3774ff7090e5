//! The group that may use a system-wide socket: whose number it is, and who belongs to it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::DaemonError;
use crate::config::settings;

/// The number of a group by its name or number, as `/etc/group` has it.
///
/// # Errors
/// [`DaemonError::SocketGroup`] where nobody knows it.
pub(super) fn number(name: &str) -> Result<u32, DaemonError> {
    // The last one means "leave it" to the kernel.
    if let Ok(number) = name.parse::<u32>()
        && number != u32::MAX
    {
        return Ok(number);
    }
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    number_in(&text, name).ok_or_else(|| DaemonError::SocketGroup {
        problem: format!(
            "{}: /etc/group has no group {name}; make it (groupadd {name}), or write its number",
            settings::SOCKET_GROUP.flag
        ),
    })
}

fn number_in(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

/// The group that may use the socket at a path: its own, if the mode lets the group write.
pub(super) fn of_socket(path: Option<&Path>) -> Option<u32> {
    let meta = std::fs::metadata(path?).ok()?;
    (meta.mode() & 0o020 != 0).then_some(meta.gid())
}

/// Whether a process belongs to a group, as its first one or as any other. The kernel has asked the
/// same when it connected, unless somebody has opened the socket to the whole world since.
pub(super) fn has_member(group: u32, gid: u32, pid: Option<i32>) -> bool {
    gid == group || pid.is_some_and(|pid| is_among_others(group, pid))
}

#[cfg(target_os = "linux")]
fn is_among_others(group: u32, pid: i32) -> bool {
    let status = procfs::process::Process::new(pid).and_then(|process| process.status());
    status.is_ok_and(|status| status.fgid == group || status.groups.contains(&group))
}

/// Elsewhere only the first group is known.
#[cfg(not(target_os = "linux"))]
fn is_among_others(_: u32, _: i32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_group_is_found_by_name_and_by_number() {
        let groups = "root:x:0:\nmodeld:x:998:a,b\nshort:x\nmodeld2:x:7:\n";
        assert_eq!(number_in(groups, "modeld"), Some(998));
        assert_eq!(number_in(groups, "root"), Some(0));
        for unknown in ["model", "x", "short", "", "998"] {
            assert_eq!(number_in(groups, unknown), None, "{unknown}");
        }
        assert_eq!(number("4711").unwrap(), 4711);
        assert!(number("no-such-group-here").unwrap_err().to_string().contains("--socket-group"));
    }

    #[test]
    fn a_socket_has_a_group_if_the_group_may_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let gid = std::fs::metadata(&path).unwrap().gid();
        for (mode, group) in
            [(0o600, None), (0o660, Some(gid)), (0o666, Some(gid)), (0o640, None), (0o606, None)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(of_socket(Some(&path)), group, "{mode:o}");
        }
        assert_eq!(of_socket(None), None);
    }

    #[test]
    fn members_are_known_by_any_of_their_groups() {
        assert!(has_member(5, 5, None) && !has_member(5, 6, None));
        assert!(!has_member(u32::MAX - 7, 6, Some(std::process::id().cast_signed())));
        #[cfg(target_os = "linux")]
        {
            let own = rustix::process::getegid().as_raw();
            let stranger = own.wrapping_add(1);
            assert!(has_member(own, stranger, Some(std::process::id().cast_signed())));
        }
    }
}

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statfs, statvfs};

use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "disk";
const GIB: u64 = 1 << 30;

/// What matters of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    free: u64,
    total: u64,
    free_files: u64,
    /// 0 where files are not counted.
    files: u64,
    read_only: bool,
    kind: &'static str,
    /// Whether others may have it, too.
    shared: bool,
}

/// The file system of the models.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let Some(store) = patient.store() else { return Vec::new() };
    let Some(dir) = store.ancestors().find(|dir| dir.exists()) else { return Vec::new() };
    match look(dir) {
        Ok(space) => judge(store, space),
        Err(error) => vec![Finding::warn(
            CHECK,
            format!("{}: its file system does not say what is free: {error}", dir.display()),
            "look with df",
        )],
    }
}

fn look(dir: &Path) -> rustix::io::Result<Space> {
    let vfs = statvfs(dir)?;
    let (kind, shared) = kind(dir);
    Ok(Space {
        free: vfs.f_bavail.saturating_mul(vfs.f_frsize),
        total: vfs.f_blocks.saturating_mul(vfs.f_frsize),
        free_files: vfs.f_favail,
        files: vfs.f_files,
        read_only: vfs.f_flag.contains(StatVfsMountFlags::RDONLY),
        kind,
        shared,
    })
}

/// The name of a file system by its magic number (statfs(2)), and whether it comes over a network.
#[cfg(target_os = "linux")]
fn kind(dir: &Path) -> (&'static str, bool) {
    // Its type differs between architectures.
    let magic = statfs(dir).map_or(0, |fs| i128::from(fs.f_type) & 0xFFFF_FFFF);
    match magic {
        0xEF53 => ("ext", false),
        0x9123_683E => ("btrfs", false),
        0x5846_5342 => ("xfs", false),
        0x2FC1_2FC1 => ("zfs", false),
        0x0102_1994 => ("tmpfs", false),
        0x794C_7630 => ("overlay", false),
        0x4D44 | 0x2011_BAB0 => ("FAT", false),
        0x6969 => ("NFS", true),
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => ("SMB", true),
        0x0102_1997 => ("9p", true),
        0x00C3_6400 => ("Ceph", true),
        0x0BD0_0BD0 => ("Lustre", true),
        0x4750_4653 => ("GPFS", true),
        0x6573_5546 => ("FUSE", false),
        _ => ("another one", false),
    }
}

#[cfg(not(target_os = "linux"))]
fn kind(dir: &Path) -> (&'static str, bool) {
    // Whether it can be asked at all is what counts.
    let _ = statfs(dir);
    ("local", false)
}

fn judge(store: &Path, space: Space) -> Vec<Finding> {
    let shown = store.display();
    let Space { free, total, free_files, files, read_only, kind, shared } = space;
    let mut found = Vec::new();
    if read_only {
        let fix = "mount it for writing, or choose another place with MODELS_PATH";
        found.push(Finding::fail(CHECK, format!("{shown} is on a read-only file system"), fix));
    }
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / GIB as f64);
    let text = format!("{shown} has {} free of {} ({kind})", gib(free), gib(total));
    let room = "make room: modeld prune, modeld rm, or another place with MODELS_PATH";
    found.push(match free {
        0..GIB => Finding::fail(CHECK, text, room),
        _ if free < 8 * GIB => Finding::warn(CHECK, text, room),
        _ => Finding::ok(CHECK, text),
    });
    if files > 0 && free_files < 1000 {
        let text = format!("{shown} has room for {free_files} more files (inodes)");
        found.push(Finding::fail(CHECK, text, "remove small files from that file system"));
    }
    if shared {
        let text = format!(
            "{shown} is on {kind}: a pause of the network is a pause of every model, and locks may \
             not keep a second machine's daemon away"
        );
        let fix = "choose a disk of this machine with MODELS_PATH, and use it from here alone";
        found.push(Finding::warn(CHECK, text, fix));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Verdict, worst};
    use super::*;

    #[test]
    fn space_is_judged() {
        let roomy = Space {
            free: 100 * GIB,
            total: 200 * GIB,
            free_files: 1 << 20,
            files: 1 << 21,
            read_only: false,
            kind: "ext",
            shared: false,
        };
        for (space, verdict) in [
            (roomy, Verdict::Ok),
            (Space { files: 0, free_files: 0, ..roomy }, Verdict::Ok),
            (Space { free: 2 * GIB, ..roomy }, Verdict::Warn),
            (Space { free: GIB - 1, ..roomy }, Verdict::Fail),
            (Space { free: 0, ..roomy }, Verdict::Fail),
            (Space { free_files: 3, ..roomy }, Verdict::Fail),
            (Space { shared: true, ..roomy }, Verdict::Warn),
            (Space { read_only: true, ..roomy }, Verdict::Fail),
        ] {
            assert_eq!(worst(&judge(Path::new("/m"), space)), verdict, "{space:?}");
        }
    }

    #[test]
    fn this_machines_disk_can_be_asked() {
        let dir = tempfile::tempdir().unwrap();
        let space = look(dir.path()).unwrap();
        assert!(space.total > 0 && space.free <= space.total, "{space:?}");
    }
}

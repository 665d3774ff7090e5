use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "leftovers";
/// An interrupted download that nobody went on with for so long is hardly wanted.
const OLD: Duration = Duration::from_secs(7 * 24 * 3600);

/// What was left behind: interrupted downloads, and locks of processes that serve nobody.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(store) = patient.store() {
        let (count, bytes) = partials(&store.join("ingest"));
        if count > 0 {
            let mib = bytes / (1 << 20);
            let text = format!(
                "{count} interrupted downloads of more than a week ago take {mib} MiB in {}",
                store.display()
            );
            found.push(Finding::warn(CHECK, text, "modeld prune --partials"));
        }
        // The directory is a daemon's as long as it lives; the file whoever's who changes the index.
        let locks = patient.text("proc/locks");
        let places = [store.to_owned(), store.join("modeld.lock")];
        let mut inodes = places.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.ino()));
        let pid = inodes.find_map(|inode| holder(&locks, inode));
        if let Some(pid) = pid
            && patient.socket().is_none_or(|s| UnixStream::connect(s).is_err())
        {
            let name = patient.text(&format!("proc/{pid}/comm"));
            let name = if name.trim().is_empty() { "a program" } else { name.trim() };
            let text = format!(
                "{name} (pid {pid}) uses the models in {}, and nobody answers at the socket: it \
                 serves another one, or hangs",
                store.display()
            );
            let fix = format!("look: ps -o pid,lstart,args -p {pid}; end it if it is no use");
            found.push(Finding::warn(CHECK, text, fix));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, "nothing was left behind"));
    }
    found
}

/// Old interrupted downloads: how many, and what they take on the disk.
fn partials(ingest: &Path) -> (usize, u64) {
    let old = std::fs::read_dir(ingest).into_iter().flatten().flatten().filter_map(|entry| {
        let meta = entry.metadata().ok()?;
        let is_partial = entry.path().extension().is_some_and(|extension| extension == "part");
        let age = meta.modified().ok()?.elapsed().unwrap_or_default();
        (is_partial && meta.is_file() && age > OLD).then(|| meta.blocks().saturating_mul(512))
    });
    old.fold((0_usize, 0_u64), |(count, bytes), size| {
        (count.saturating_add(1), bytes.saturating_add(size))
    })
}

/// Who holds a lock on the file with this inode, as `/proc/locks` (proc_locks(5)) has it:
/// `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END`.
fn holder(locks: &str, inode: u64) -> Option<i32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else { return None };
        let own: u64 = file.rsplit(':').next()?.parse().ok()?;
        // Processes of other namespaces show as 0 or less.
        pid.parse().ok().filter(|pid: &i32| own == inode && *pid > 0)
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::finding::Verdict;
    use super::super::patient::testing::{file, patient};
    use super::*;

    #[test]
    fn old_downloads_are_counted_and_new_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient(dir.path());
        let ingest = "home/.local/share/modeld/models/ingest";
        let part = file(dir.path(), &format!("{ingest}/sha256-a.part"), &"x".repeat(5000));
        assert_eq!(check(&patient)[0].verdict, Verdict::Ok);
        let old = SystemTime::now() - OLD - Duration::from_secs(60);
        std::fs::File::options().write(true).open(&part).unwrap().set_modified(old).unwrap();
        let found = check(&patient);
        assert!(found[0].message.starts_with("1 interrupted"), "{found:?}");
        assert_eq!(found[0].fix.as_deref(), Some("modeld prune --partials"));
    }

    #[test]
    fn who_holds_a_lock_is_read() {
        let locks = "1: POSIX  ADVISORY  WRITE 5 08:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 6 00:2a:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE -1 00:2a:78 0 EOF\nx\n";
        assert_eq!(holder(locks, 77), Some(6));
        assert_eq!(holder(locks, 78), None);
        assert_eq!(holder(locks, 1), None);
    }
}

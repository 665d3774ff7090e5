use std::path::Path;

use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "cgroup";
const GIB: u64 = 1 << 30;

/// What a control group allows; `None`: as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Limits {
    memory: Option<u64>,
    processors: Option<f64>,
    processes: Option<u64>,
}

/// The limits of the control groups that this process is in, of both versions (cgroups(7)). A
/// service may have others; `systemctl --user show modeld.service` says.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    vec![judge(limits(&patient.text("proc/self/cgroup"), &patient.system("sys/fs/cgroup")))]
}

fn limits(membership: &str, mount: &Path) -> Limits {
    let mut limits = Limits::default();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        let has = |name: &str| names.split(',').any(|n| n == name);
        // A group has no more than those around it.
        let up = |mount: &Path, look: &mut dyn FnMut(&Path)| {
            path.ancestors().for_each(|group| look(&mount.join(group)));
        };
        if id == "0" && names.is_empty() {
            up(mount, &mut |dir| {
                least(&mut limits.memory, number(dir, "memory.max"));
                least(&mut limits.processes, number(dir, "pids.max"));
                least_of(&mut limits.processors, quota(&read(dir, "cpu.max")));
            });
        }
        if has("memory") {
            up(&mount.join("memory"), &mut |dir| {
                // No limit is the largest number of whole pages.
                let limit = number(dir, "memory.limit_in_bytes").filter(|n| *n < 1 << 60);
                least(&mut limits.memory, limit);
            });
        }
        if has("pids") {
            up(&mount.join("pids"), &mut |dir| {
                least(&mut limits.processes, number(dir, "pids.max"));
            });
        }
        if has("cpu") {
            // Mounted under both names, or under the first with a link.
            let dir =
                if mount.join("cpu").is_dir() { mount.join("cpu") } else { mount.join(names) };
            up(&dir, &mut |dir| {
                let both = format!(
                    "{} {}",
                    read(dir, "cpu.cfs_quota_us").trim(),
                    read(dir, "cpu.cfs_period_us").trim()
                );
                least_of(&mut limits.processors, quota(&both));
            });
        }
    }
    limits
}

fn judge(limits: Limits) -> Finding {
    let Limits { memory, processors, processes } = limits;
    let mut parts = Vec::new();
    parts.extend(memory.map(|n| format!("{:.1} GiB of memory", n as f64 / GIB as f64)));
    parts.extend(processors.map(|n| format!("{n:.1} processors")));
    parts.extend(processes.map(|n| format!("{n} processes and threads")));
    if parts.is_empty() {
        return Finding::ok(CHECK, "no limits");
    }
    let text = format!("limited to {}", parts.join(", "));
    let tight = memory.is_some_and(|n| n < 2 * GIB)
        || processors.is_some_and(|n| n < 1.0)
        || processes.is_some_and(|n| n < 128);
    if tight {
        let fix = "raise MemoryMax=, CPUQuota= or TasksMax= of the unit, or the container's limits";
        return Finding::warn(CHECK, text, fix);
    }
    Finding::ok(CHECK, text)
}

/// `QUOTA PERIOD` in microseconds, as processors; `max` and -1 are no limit.
fn quota(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn number(dir: &Path, name: &str) -> Option<u64> {
    read(dir, name).trim().parse().ok()
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap_or_default()
}

fn least(so_far: &mut Option<u64>, other: Option<u64>) {
    *so_far = match (*so_far, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

fn least_of(so_far: &mut Option<f64>, other: Option<f64>) {
    *so_far = match (*so_far, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::super::patient::testing::file;
    use super::*;

    #[test]
    fn the_second_version_counts_every_group_above() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "user.slice/memory.max", "8589934592\n");
        file(dir.path(), "user.slice/a.service/memory.max", "max\n");
        file(dir.path(), "user.slice/a.service/cpu.max", "150000 100000\n");
        file(dir.path(), "user.slice/pids.max", "64\n");
        let found = limits("0::/user.slice/a.service\n", dir.path());
        let expected = Limits { memory: Some(8 * GIB), processors: Some(1.5), processes: Some(64) };
        assert_eq!(found, expected);
        assert_eq!(judge(found).verdict, Verdict::Warn);
        assert_eq!(judge(Limits { processes: None, ..found }).verdict, Verdict::Ok);
    }

    #[test]
    fn the_first_version_has_a_tree_for_each() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "memory/x/memory.limit_in_bytes", "1073741824\n");
        file(dir.path(), "memory/memory.limit_in_bytes", "9223372036854771712\n");
        file(dir.path(), "cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
        file(dir.path(), "cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
        let membership = "4:memory:/x\n3:cpu,cpuacct:/x\n1:name=systemd:/y\nbad\n";
        let found = limits(membership, dir.path());
        assert_eq!(found, Limits { memory: Some(GIB), ..Limits::default() });
        assert_eq!(judge(found).verdict, Verdict::Warn);
    }

    #[test]
    fn nothing_said_is_no_limit() {
        assert_eq!(limits("", Path::new("/nonexistent")), Limits::default());
        assert_eq!(judge(Limits::default()).verdict, Verdict::Ok);
        assert_eq!(quota("max 100000"), None);
    }
}

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "descriptors";
/// A connection takes one, a loaded model some: below this, a handful of clients is too many.
const FEW: u64 = 1024;

/// How many files and connections a daemon started here may have open.
pub(super) fn check(_: &Patient) -> Vec<Finding> {
    let limit = getrlimit(Resource::Nofile);
    vec![judge(limit.current, limit.maximum)]
}

fn judge(soft: Option<u64>, hard: Option<u64>) -> Finding {
    let shown = |limit: Option<u64>| limit.map_or("no limit".to_owned(), |n| n.to_string());
    let text = format!("open files: {}, which the daemon raises to {}", shown(soft), shown(hard));
    if hard.is_some_and(|most| most < FEW) {
        let fix = "raise the hard limit: LimitNOFILE= of the unit, or limits.conf(5)";
        return Finding::warn(CHECK, text, fix);
    }
    Finding::ok(CHECK, text)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn the_hard_limit_counts() {
        assert_eq!(judge(Some(256), Some(65536)).verdict, Verdict::Ok);
        assert_eq!(judge(Some(256), Some(256)).verdict, Verdict::Warn);
        assert_eq!(judge(None, None).verdict, Verdict::Ok);
    }
}

use super::finding::Finding;
use super::patient::Patient;
use crate::worker::check_features;

const CHECK: &str = "cpu";

/// Whether the processor has what this build computes with.
pub(super) fn check(_: &Patient) -> Vec<Finding> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    vec![judge(check_features(), cores)]
}

fn judge(features: Result<(), String>, threads: usize) -> Finding {
    match features {
        Ok(()) => Finding::ok(
            CHECK,
            format!("{}, {threads} threads; has what this build needs", std::env::consts::ARCH),
        ),
        Err(problem) => Finding::fail(
            CHECK,
            problem,
            "build modeld on this machine, or get a build for its processor",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn what_is_missing_is_a_failure() {
        assert_eq!(judge(Ok(()), 4).verdict, Verdict::Ok);
        let finding = judge(Err("this processor lacks AVX2".into()), 4);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(finding.message.contains("AVX2"));
    }
}

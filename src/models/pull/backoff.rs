use std::time::Duration;

use crate::registry::Retry;

/// Failures in a row, without one byte in between, after which a layer is given up.
pub(super) const MAX_FAILURES: u32 = 8;

/// With more than this an answer that breaks the protocol is the last one.
pub(super) const MAX_BREACHES: u32 = 3;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// Nobody watches a pull wait for longer than this; the error says when to come back.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// How long to wait after the `failures`-th failure in a row; `None`: it makes no sense any more.
pub(super) fn pause(failures: u32, retry: Retry) -> Option<Duration> {
    if failures >= MAX_FAILURES {
        return None;
    }
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    // Clients that failed together must not come back together.
    let own = doubled.min(LONGEST).mul_f64(0.5 + fastrand::f64() / 2.0);
    match retry {
        Retry::Never => None,
        Retry::Soon => Some(own),
        Retry::After(asked) => {
            (asked <= LONGEST_ASKED).then(|| asked + FIRST.mul_f64(fastrand::f64()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_end() {
        let mut before = Duration::ZERO;
        for failures in 1..MAX_FAILURES {
            let most = FIRST * 2u32.pow(failures - 1);
            let pause = pause(failures, Retry::Soon).unwrap();
            assert!(pause >= before.min(LONGEST / 2) && pause <= most.min(LONGEST), "{pause:?}");
            before = most / 2;
        }
        assert_eq!(pause(MAX_FAILURES, Retry::Soon), None);
        assert_eq!(pause(1, Retry::Never), None);
    }

    #[test]
    fn what_the_server_asks_for_is_honoured_within_reason() {
        let asked = Duration::from_secs(60);
        let pause_of = |asked| pause(1, Retry::After(asked));
        assert!(pause_of(asked).is_some_and(|pause| pause >= asked && pause <= asked + FIRST));
        assert_eq!(pause_of(Duration::from_secs(3600)), None);
        assert_eq!(pause_of(Duration::MAX), None);
    }
}

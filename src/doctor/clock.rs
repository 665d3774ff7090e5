use std::time::{SystemTime, UNIX_EPOCH};

use super::finding::Finding;

const CHECK: &str = "clock";
/// Before this, no version of this program existed: 2025-01-01.
const TOO_EARLY: i64 = 1_735_689_600;
/// Certificates and tokens allow a few minutes.
const LITTLE: i64 = 5 * 60;
const DAY: i64 = 24 * 3600;

/// Unix seconds by this machine's clock.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The date of an HTTP answer (RFC 9110 5.6.7) in Unix seconds.
pub(super) fn date(header: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::parse(header).ok()?;
    Some(parsed.timestamp().as_second())
}

/// Compares the clock with what somebody else said at the same moment.
pub(super) fn judge(own: i64, other: Option<i64>) -> Finding {
    let fix = "set the clock: timedatectl set-ntp true";
    if own < TOO_EARLY {
        let text = format!("the clock is wrong: it says {own} seconds since 1970");
        return Finding::fail(CHECK, text, fix);
    }
    let Some(other) = other else {
        return Finding::ok(CHECK, "the date is plausible; nobody was there to compare it with");
    };
    let off = own.saturating_sub(other);
    let text = format!(
        "{} s {} a registry's",
        off.unsigned_abs(),
        if off < 0 { "behind" } else { "before" }
    );
    match off.abs() {
        0..LITTLE => Finding::ok(CHECK, text),
        LITTLE..DAY => Finding::warn(CHECK, text, fix),
        _ => Finding::fail(CHECK, text, fix),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn the_clock_is_compared() {
        let then = TOO_EARLY + 1000;
        for (own, other, verdict) in [
            (then, None, Verdict::Ok),
            (then, Some(then - 10), Verdict::Ok),
            (then, Some(then + 600), Verdict::Warn),
            (then, Some(then - 90_000), Verdict::Fail),
            (0, None, Verdict::Fail),
            (then, Some(i64::MIN), Verdict::Fail),
        ] {
            assert_eq!(judge(own, other).verdict, verdict, "{own} {other:?}");
        }
    }

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("yesterday"), None);
    }
}

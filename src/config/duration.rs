use std::time::Duration;

use jiff::SignedDuration;

/// Reads how long an idle model stays loaded: `5m`, `1h30m`, `1.5h`, `300ms`, or a bare number of
/// seconds. Anything negative (`-1`) means for ever: `None`.
///
/// # Errors
/// What is wrong, as a fragment that fits behind a colon.
pub fn parse_keep_alive(text: &str) -> Result<Option<Duration>, String> {
    let signed = parse_signed(text)?;
    if signed.is_negative() {
        return Ok(None);
    }
    Ok(Some(signed.unsigned_abs()))
}

/// Reads a duration of zero or more, written as for [`parse_keep_alive`].
///
/// # Errors
/// What is wrong, as a fragment that fits behind a colon.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let signed = parse_signed(text)?;
    if signed.is_negative() {
        return Err("it must not be negative".to_owned());
    }
    Ok(signed.unsigned_abs())
}

/// Reads a duration over zero; `off`, and what is negative as for [`parse_keep_alive`], is `None`.
///
/// # Errors
/// What is wrong, as a fragment that fits behind a colon.
pub fn parse_limit(text: &str) -> Result<Option<Duration>, String> {
    if text.trim().eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    match parse_keep_alive(text)? {
        Some(Duration::ZERO) => Err("it must be more than zero; off says never".to_owned()),
        limit => Ok(limit),
    }
}

/// Reads an age: as [`parse_duration`], or in whole days (`7d`) or weeks (`2w`).
///
/// # Errors
/// What is wrong, as a fragment that fits behind a colon.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 3600;
    let text = text.trim();
    for (unit, seconds) in [("d", DAY), ("w", 7 * DAY)] {
        let count = text.strip_suffix(unit).and_then(|count| count.parse::<u32>().ok());
        if let Some(count) = count {
            return Ok(Duration::from_secs(u64::from(count).saturating_mul(seconds)));
        }
    }
    parse_duration(text).map_err(|_| "write an age such as 30m, 12h, 7d or 2w".to_owned())
}

fn parse_signed(text: &str) -> Result<SignedDuration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(SignedDuration::from_secs(seconds));
    }
    text.parse::<SignedDuration>()
        .map_err(|_| "write a duration such as 30s, 5m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, millis) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h30m15s", 5_415_000),
            ("1.5h", 5_400_000),
            ("300ms", 300),
            ("90", 90_000),
            ("0", 0),
            ("0s", 0),
            (" 10s ", 10_000),
            ("5m0s", 300_000),
            ("24h0m0s", 86_400_000),
        ] {
            assert_eq!(parse_keep_alive(text), Ok(Some(Duration::from_millis(millis))), "{text}");
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn negative_means_for_ever_and_only_there() {
        for text in ["-1", "-1s", "-5m", "-1h30m", "-9223372036854775808"] {
            assert_eq!(parse_keep_alive(text), Ok(None), "{text}");
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_have_days_and_weeks_as_well() {
        for (text, hours) in [("7d", 168), ("2w", 336), ("0d", 0), ("12h", 12), ("0", 0)] {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(hours * 3600)), "{text}");
        }
        for text in ["-1d", "d", "1.5d", "-1h", "99999999999d", "7 d ays", "1d12h"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_over_zero_or_off() {
        for (text, limit) in
            [("off", None), ("OFF", None), ("-1", None), ("-5m", None), ("1h", Some(3600))]
        {
            assert_eq!(parse_limit(text), Ok(limit.map(Duration::from_secs)), "{text}");
        }
        for text in ["0", "0s", "-0", "never", ""] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "m", "5 apples", "5mm", "1e3s", "NaN", "99999999999999999999"] {
            assert!(parse_keep_alive(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = parse_keep_alive(&text);
        }

        #[test]
        fn whole_seconds_survive(seconds in 0u32..) {
            prop_assert_eq!(parse_duration(&format!("{seconds}s")), Ok(Duration::from_secs(seconds.into())));
        }
    }
}

//! Durations as Go's `time.ParseDuration` reads and `time.Duration.String` writes them, for the
//! dialects of programs that are written in Go: `5m`, `1h30m`, `300ms`, `-1m`, `0`.

use std::time::Duration;

use crate::domain::KeepAlive;

/// Nanoseconds of each unit; `ms` before `m`, which it begins with.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    // The micro sign and the Greek letter.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Digits of a fraction that count; Go reads no more precisely.
const FRACTION_DIGITS: usize = 18;

/// Reads how long a model stays: a duration, or anything negative (`-1` alone, too) for ever.
///
/// # Errors
/// What is wrong, to be read behind the name of the field.
pub(super) fn parse_keep_alive(text: &str) -> Result<KeepAlive, String> {
    if text == "-1" {
        return Ok(KeepAlive::Forever);
    }
    match parse(text)? {
        Signed::Negative => Ok(KeepAlive::Forever),
        Signed::Positive(time) => Ok(KeepAlive::For(time)),
    }
}

/// Writes what [`parse_keep_alive`] reads.
pub(super) fn format_keep_alive(keep_alive: KeepAlive) -> String {
    match keep_alive {
        KeepAlive::For(time) => format(time),
        KeepAlive::Forever => "-1".to_owned(),
    }
}

/// Writes a duration: `5m0s`, `1.5s`, `250ms`, `0s`.
pub(super) fn format(time: Duration) -> String {
    let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
    if seconds == 0 {
        return match nanos {
            0 => "0s".to_owned(),
            1..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => format!("{}\u{b5}s", decimal(0, nanos.into(), 3)),
            _ => format!("{}ms", decimal(0, nanos.into(), 6)),
        };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal(seconds % 60, nanos.into(), 9);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `whole` units and a fraction of `part` / 10^`places`, without zeros at its end.
fn decimal(whole: u64, part: u64, places: u32) -> String {
    let scale = 10u64.saturating_pow(places).max(1);
    let (whole, part) = (whole.saturating_add(part / scale), part % scale);
    let fraction = format!("{part:0width$}", width = places as usize);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

enum Signed {
    Negative,
    Positive(Duration),
}

fn parse(text: &str) -> Result<Signed, String> {
    let wrong = || "must be a duration such as \"5m\", \"1h30m\" or \"300ms\"".to_owned();
    let too_long = || "is longer than 292 years".to_owned();
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Signed::Positive(Duration::ZERO));
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, behind) = digits(rest);
        let (fraction, behind) = match behind.strip_prefix('.') {
            Some(behind) => digits(behind),
            None => ("", behind),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(wrong());
        }
        let unit =
            UNITS.iter().find_map(|(name, nanos)| Some((*nanos, behind.strip_prefix(name)?)));

        let (unit, behind) = unit.ok_or_else(wrong)?;
        let whole = if whole.is_empty() { Some(0) } else { whole.parse::<u64>().ok() };
        let whole = whole.and_then(|whole| whole.checked_mul(unit)).ok_or_else(too_long)?;
        let part = whole.checked_add(part_of(fraction, unit)).ok_or_else(too_long)?;
        total = total.checked_add(part).ok_or_else(too_long)?;
        rest = behind;
    }
    if i64::try_from(total).is_err() {
        return Err(too_long());
    }
    match negative && total > 0 {
        true => Ok(Signed::Negative),
        false => Ok(Signed::Positive(Duration::from_nanos(total))),
    }
}

/// The digits that a text begins with, and what comes behind them.
fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `0.fraction` of a unit, rounded down.
fn part_of(fraction: &str, unit: u64) -> u64 {
    let counted = fraction.bytes().take(FRACTION_DIGITS);
    let (value, scale) = counted.fold((0u128, 1u128), |(value, scale), digit| {
        let digit = u128::from(digit.saturating_sub(b'0'));
        (value.saturating_mul(10).saturating_add(digit), scale.saturating_mul(10))
    });
    u64::try_from(value.saturating_mul(unit.into()) / scale.max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(n: u64) -> KeepAlive {
        KeepAlive::For(Duration::from_millis(n))
    }

    #[test]
    fn what_go_reads_is_read() {
        for (text, read) in [
            ("5m", millis(300_000)),
            ("1h30m", millis(5_400_000)),
            ("300ms", millis(300)),
            ("1.5h", millis(5_400_000)),
            (".5s", millis(500)),
            ("1.s", millis(1_000)),
            ("+2s", millis(2_000)),
            ("1m1m", millis(120_000)),
            ("0", millis(0)),
            ("-0", millis(0)),
            ("0s", millis(0)),
            ("-0s", millis(0)),
            ("2000\u{b5}s", millis(2)),
            ("2000\u{3bc}s", millis(2)),
            ("1000000ns", millis(1)),
            ("-1", KeepAlive::Forever),
            ("-1m", KeepAlive::Forever),
            ("-1ns", KeepAlive::Forever),
            ("9223372036854775807ns", KeepAlive::For(Duration::from_nanos(i64::MAX as u64))),
        ] {
            assert_eq!(parse_keep_alive(text), Ok(read), "{text}");
        }
    }

    #[test]
    fn what_go_does_not_read_is_refused() {
        for text in [
            "",
            " ",
            "5",
            "-5",
            "300",
            "m",
            ".",
            ".s",
            "5 m",
            " 5m",
            "5m ",
            "5M",
            "1d",
            "1e3s",
            "--1s",
            "+-1s",
            "+",
            "-",
            "NaN",
            "inf",
            "5mm",
            "9223372036854775808ns",
            "3000000h",
            "99999999999999999999h",
            "0x1s",
            "1,5s",
        ] {
            assert!(parse_keep_alive(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (2_200_000, "2.2ms"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (300_000_000_000, "5m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (28_805_000_000_001, "8h0m5.000000001s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
        assert_eq!(format_keep_alive(KeepAlive::Forever), "-1");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(nanos in 0..=i64::MAX) {
            let time = KeepAlive::For(Duration::from_nanos(nanos.cast_unsigned()));
            prop_assert_eq!(parse_keep_alive(&format_keep_alive(time)), Ok(time));
        }

        #[test]
        fn no_text_panics(text in "[-+]?[0-9.]{0,24}([a-zµ]{0,2}[0-9.]{0,24}){0,3}|\\PC{0,16}") {
            let _ = parse_keep_alive(&text);
        }

        #[test]
        fn no_duration_panics(seconds: u64, nanos in 0u32..1_000_000_000) {
            let _ = format(Duration::new(seconds, nanos));
        }
    }
}

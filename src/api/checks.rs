//! Checks of request fields that the dialects share: ranges, presence, NUL characters.

use crate::domain::{Error, ErrorKind, Result};

/// The error of a required field that is not there; `advice` says what to send.
pub(super) fn missing(param: impl Into<String>, advice: &str) -> Error {
    let param = param.into();
    let message = format!("`{param}` is missing; {advice}");
    Error::new(ErrorKind::MissingField, message).with_param(param)
}

/// llama.cpp takes text as C strings.
///
/// # Errors
/// `InvalidValue` with the place of the first NUL character.
pub(super) fn no_nul(text: &str, param: impl FnOnce() -> String) -> Result<()> {
    match text.find('\0') {
        None => Ok(()),
        Some(at) => {
            let param = param();
            let message = format!("`{param}` has a NUL character at byte {at}; remove it");
            Err(Error::invalid(param, message))
        }
    }
}

/// A number within its range, both ends included.
///
/// # Errors
/// `InvalidValue` with the range.
pub(super) fn number(name: &str, value: Option<f64>, min: f64, max: f64) -> Result<Option<f32>> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            let message = format!("`{name}` is {value}; it must be between {min} and {max}");
            Err(Error::invalid(name, message))
        }
        // In range, so only precision is lost.
        Some(value) => Ok(Some(value as f32)),
        None => Ok(None),
    }
}

/// An integer within its range, both ends included.
///
/// # Errors
/// `InvalidValue` with the range.
pub(super) fn integer(name: &str, value: Option<i64>, min: i64, max: i64) -> Result<Option<i64>> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            let message = format!("`{name}` is {value}; it must be between {min} and {max}");
            Err(Error::invalid(name, message))
        }
        other => Ok(other),
    }
}

/// The same for numbers of things, which are never below zero.
///
/// # Errors
/// `InvalidValue` with the range.
pub(super) fn count(name: &str, value: Option<i64>, min: u32, max: u32) -> Result<Option<u32>> {
    let value = integer(name, value, min.into(), max.into())?;
    Ok(value.and_then(|value| u32::try_from(value).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends_and_name_the_field() {
        assert_eq!(count("n", None, 1, 5), Ok(None));
        for (value, good) in [(1, true), (5, true), (0, false), (6, false), (-1, false)] {
            assert_eq!(count("n", Some(value), 1, 5).is_ok(), good, "{value}");
        }
        assert!(count("n", Some(i64::MAX), 0, u32::MAX).is_err());
        for (value, good) in [(0.0, true), (1.0, true), (1.1, false), (f64::NAN, false)] {
            assert_eq!(number("p", Some(value), 0.0, 1.0).is_ok(), good, "{value}");
        }
        let error = number("p", Some(2.0), 0.0, 1.0).expect_err("refused");
        assert_eq!(error.param.as_deref(), Some("p"));
        assert_eq!(error.message, "`p` is 2; it must be between 0 and 1");
    }

    #[test]
    fn a_nul_is_found() {
        assert!(no_nul("text", || unreachable!()).is_ok());
        let error = no_nul("a\0", || "messages[0]".into()).expect_err("refused");
        assert_eq!(error.message, "`messages[0]` has a NUL character at byte 1; remove it");
    }
}

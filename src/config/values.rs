use super::resolved::LogFormat;
use crate::logbook::parse_filter;

/// Origins, several with commas, in small letters.
pub(super) fn origin_list(text: &str) -> Result<Vec<String>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| match item.split_once("://") {
            _ if item == "*" => Ok(item.to_owned()),
            Some((scheme, host)) if !scheme.is_empty() && !host.is_empty() => {
                // A browser sends no path and no slash at the end.
                Ok(item.trim_end_matches('/').to_ascii_lowercase())
            }
            _ => Err("write origins such as https://example.com, app://* or *".to_owned()),
        })
        .collect()
}

/// A group, by name or number; nothing at all is none.
pub(super) fn group_name(text: &str) -> Result<Option<String>, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'$');
    match text {
        "" => Ok(None),
        name if name.len() <= 64 && name.bytes().all(plain) => Ok(Some(name.to_owned())),
        _ => Err("write a group's name or number".to_owned()),
    }
}

/// A whole number within bounds.
pub(super) fn number<T>(text: &str, least: u64, most: u64) -> Result<T, String>
where
    T: TryFrom<u64>,
{
    let problem = || format!("write a whole number from {least} to {most}");
    let value: u64 = text.parse().map_err(|_| problem())?;
    if !(least..=most).contains(&value) {
        return Err(problem());
    }
    T::try_from(value).map_err(|_| problem())
}

/// On or off.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

/// Which log lines there are.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    parse_filter(text)?;
    Ok(text.to_owned())
}

/// How log lines look.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write text or json".to_owned()),
    }
}

/// Whether a listener is said to be off. No number is: 0 is the port that is free.
pub(super) fn is_off(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "off" | "false" | "no")
}

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::ConfigError;
use super::resolved::LogFormat;
use super::said::invalid;
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

/// An address of this machine that no other one reaches.
pub(super) fn loopback(
    text: &str,
    from: &'static str,
    default_port: u16,
) -> Result<SocketAddr, ConfigError> {
    let address = address(text, from, default_port)?;
    if address.ip().to_canonical().is_loopback() {
        return Ok(address);
    }
    Err(ConfigError::NotLoopback { from, host: address.ip().to_string() })
}

/// `[HOST:]PORT`; nothing at all is the loopback interface and the port that is expected there.
pub(super) fn address(
    text: &str,
    from: &'static str,
    default_port: u16,
) -> Result<SocketAddr, ConfigError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), default_port));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port
        .parse::<u16>()
        .map_err(|_| invalid(from, text, "write PORT or HOST:PORT, the port from 0 to 65535"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ip = match bare {
        "" | "localhost" => IpAddr::from(Ipv4Addr::LOCALHOST),
        address => IpAddr::from_str(address)
            .map_err(|_| invalid(from, text, "write an IP address or localhost before the port"))?,
    };
    Ok(SocketAddr::new(ip, port))
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

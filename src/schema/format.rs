/// What `format` says about a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Texts of this pattern.
    Pattern(&'static str),
    /// One that llguidance knows by name and enforces.
    Native,
    /// How the value is stored or shown, not how it looks.
    Stored,
    /// Not known.
    Unknown,
}

// Written by ourselves because their readers are strict: the years of most date types begin at 1,
// and few know a second 60 or a leap day in an ordinary year. RFC 3339, with an offset.
const DATE: &str = concat!(
    "^(?:",
    "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-",
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)",
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))",
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])",
    "|(?:0[48]|[2468][048]|[13579][26])00)-02-29",
    ")$"
);
const TIME: &str = "^(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?\
    (?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$";
const DATE_TIME: &str = concat!(
    "^(?:",
    "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-",
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)",
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))",
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])",
    "|(?:0[48]|[2468][048]|[13579][26])00)-02-29",
    ")T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?",
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
);
// A dot-atom and a domain of several labels: what every reader takes for an address.
const EMAIL: &str = "^[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){0,2}\
    @[A-Za-z0-9](?:[A-Za-z0-9-]{0,40}[A-Za-z0-9])?\
    (?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,20}[A-Za-z0-9])?){0,3}\\.[A-Za-z]{2,18}$";
const HOSTNAME: &str = "^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\
    (?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,45}[A-Za-z0-9])?){0,3}$";

/// What the format named `name` says.
pub(super) fn format(name: &str) -> Format {
    match name {
        "date" => Format::Pattern(DATE),
        "time" => Format::Pattern(TIME),
        "date-time" => Format::Pattern(DATE_TIME),
        "email" | "idn-email" => Format::Pattern(EMAIL),
        "hostname" | "idn-hostname" => Format::Pattern(HOSTNAME),
        "duration" | "ipv4" | "ipv6" | "uri" | "uuid" => Format::Native,
        "base64" | "base64url" | "binary" | "byte" | "char" | "color" | "decimal"
        | "directory-path" | "double" | "file-path" | "float" | "html" | "int" | "int16"
        | "int32" | "int64" | "int8" | "json-string" | "markdown" | "multiline" | "password"
        | "path" | "text" | "textarea" | "uint" | "uint16" | "uint32" | "uint64" | "uint8" => {
            Format::Stored
        }
        _ => Format::Unknown,
    }
}

/// The formats that are enforced, for messages.
pub(super) const ENFORCED: &str =
    "date, time, date-time, duration, email, hostname, ipv4, ipv6, uri, uuid";

use percent_encoding::percent_decode_str;

/// A path that is never routed: it has a `.` or `..` segment, or does not start with a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RefusedPath;

/// The one form of a path that is routed and authorised: repeated slashes merged once, and the
/// prefix `/exp/vDD<major>.<minor>`, under which Docker Desktop serves its models, taken off.
///
/// Percent-encoding stays as it is; what it hides is looked at all the same, so no `..` gets past
/// here however it is spelled.
pub(super) fn normalise(path: &str) -> Result<String, RefusedPath> {
    if !path.starts_with('/') || path.split('/').any(has_dot_segment) {
        return Err(RefusedPath);
    }
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    Ok(match without_prefix(&merged) {
        Some("") => "/".to_owned(),
        Some(rest) => rest.to_owned(),
        None => merged,
    })
}

/// Whether a raw segment is, or decodes to something with, a `.` or `..` segment.
fn has_dot_segment(segment: &str) -> bool {
    let decoded: Vec<u8> = percent_decode_str(segment).collect();
    decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| part == b"." || part == b"..")
}

/// What follows `/exp/vDD<major>.<minor>`: empty, or starting with a slash.
fn without_prefix(path: &str) -> Option<&str> {
    let version = path.strip_prefix("/exp/vDD")?;
    let end = version.find('/').unwrap_or(version.len());
    let (number, rest) = version.split_at_checked(end)?;
    let (major, minor) = number.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(major) && digits(minor)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_prefix_comes_off_and_slashes_merge() {
        for (given, routed) in [
            ("/", "/"),
            ("/exp/vDD4.40", "/"),
            ("/exp/vDD4.40/", "/"),
            ("/exp/vDD12.345/models", "/models"),
            ("//exp///vDD4.40//engines//v1/models", "/engines/v1/models"),
            ("/models/ai/x", "/models/ai/x"),
            ("/models/ai%2Fx%3Alatest", "/models/ai%2Fx%3Alatest"),
            ("/models/", "/models/"),
            // None of these is the prefix.
            ("/exp", "/exp"),
            ("/exp/vDD4", "/exp/vDD4"),
            ("/exp/vDD.40/x", "/exp/vDD.40/x"),
            ("/exp/vDD4.4x/x", "/exp/vDD4.4x/x"),
            ("/exp/vDD4.40x", "/exp/vDD4.40x"),
            // It comes off once.
            ("/exp/vDD4.40/exp/vDD4.40/x", "/exp/vDD4.40/x"),
        ] {
            assert_eq!(normalise(given).as_deref(), Ok(routed), "{given}");
        }
    }

    #[test]
    fn dot_segments_are_refused_however_they_are_spelled() {
        for path in [
            "",
            "*",
            "models",
            "/.",
            "/..",
            "/exp/vDD4.40/../models",
            "/models/./x",
            "/models/%2e%2e/x",
            "/models/%2E/x",
            "/models/.%2e",
            "/models/a%2f..%2fb",
            "/models/a%5c..%5cb",
        ] {
            assert_eq!(normalise(path), Err(RefusedPath), "{path:?}");
        }
        for path in ["/models/a..b", "/models/...", "/models/.hidden", "/models/%252e%252e/x"] {
            assert_eq!(normalise(path).as_deref(), Ok(path));
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_has_no_double_slash_and_no_dot_segment(path in "/(exp|vDD1.2|[./%25ef]|models){0,12}") {
            if let Ok(routed) = normalise(&path) {
                prop_assert!(routed.starts_with('/') && !routed.contains("//"));
                prop_assert!(routed.split('/').all(|s| s != "." && s != ".."));
            }
        }
    }
}

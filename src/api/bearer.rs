use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;

use crate::tokens::{Known, Standing, Tokens};

/// Where Anthropic's clients put their key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request over TCP shows for itself; among its extensions, in the place of the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bearer {
    /// A token of ours.
    Valid(Standing),
    /// One whose time is over.
    Expired,
    /// What has the form of one and is none, or none any more.
    Unknown,
    /// None. Clients send all sorts of things because their libraries want a key.
    Absent,
}

/// Takes the secrets out of the headers, whoever they are for: nothing further in needs to see them.
pub(super) fn take(headers: &mut HeaderMap) -> Vec<String> {
    let mut found = Vec::new();
    for value in headers.get_all(header::AUTHORIZATION) {
        let words = value.to_str().ok().and_then(|text| text.trim().split_once(' '));
        if let Some((scheme, token)) = words
            && scheme.eq_ignore_ascii_case("bearer")
        {
            found.push(token.trim().to_owned());
        }
    }
    let keys = headers.get_all(API_KEY).iter().filter_map(|value| value.to_str().ok());
    found.extend(keys.map(|key| key.trim().to_owned()));
    headers.remove(header::AUTHORIZATION);
    headers.remove(API_KEY);
    found
}

/// The first of these texts that is a token, by what is known of them now.
pub(super) fn recognise(texts: &[String], tokens: &Tokens) -> Bearer {
    let mut best = Bearer::Absent;
    for text in texts {
        match tokens.look_up(text, Timestamp::now()) {
            Known::Valid(standing) => return Bearer::Valid(standing),
            Known::Expired => best = Bearer::Expired,
            Known::Unknown if best == Bearer::Absent => best = Bearer::Unknown,
            Known::Unknown | Known::Foreign => {}
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn secrets_leave_the_headers_wherever_they_are() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer one"),
            ("authorization", "bearer  two "),
            ("authorization", "Basic dXNlcjpwYXNz"),
            ("authorization", "Bearer"),
            ("x-api-key", "three"),
            ("x-request-id", "kept"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-api-key", HeaderValue::from_bytes(b"\xff").expect("a value"));
        assert_eq!(take(&mut headers), ["one", "two", "three"]);
        assert_eq!(headers.len(), 1);
        assert!(take(&mut headers).is_empty());
    }
}

use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use super::EgressError;

/// Headers that belong to one origin and to no other.
const CREDENTIALS: [header::HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// Where an answer sends its request; `None` where it is the answer.
///
/// `body` says whether the request has one. Whether that can be sent again is for the caller.
///
/// # Errors
/// [`EgressError::Invalid`] for a redirect that cannot be followed.
pub(super) fn target(
    url: &Url,
    method: &Method,
    body: bool,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Url>, EgressError> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let host = url.host_str().unwrap_or_default();
    let invalid = |text: String| Err(EgressError::Invalid(text));
    let code = status.as_u16();
    let mut locations = headers.get_all(header::LOCATION).iter();
    let (location, more) = (locations.next(), locations.next());
    let Some(location) = location else {
        return invalid(format!("{host} redirects ({code}) without saying where to"));
    };
    if more.is_some_and(|other| other != location) {
        return invalid(format!("{host} redirects ({code}) to several places at once"));
    }
    // 301 to 303 turn other methods into GET in some clients and not in others.
    let reads = matches!(*method, Method::GET | Method::HEAD) && !body;
    if !reads && !matches!(code, 307 | 308) {
        return invalid(format!(
            "{host} redirects a {method} with {code}; only 307 and 308 say that it is to be sent \
             again"
        ));
    }
    match std::str::from_utf8(location.as_bytes()).ok().and_then(|to| url.join(to).ok()) {
        Some(next) => Ok(Some(next)),
        None => invalid(format!("{host} redirects ({code}) to something that is not a URL")),
    }
}

/// Takes out of `headers` what `from` was trusted with and `to` is not. Answers whether it is
/// another origin.
pub(super) fn strip(from: &Url, to: &Url, headers: &mut HeaderMap) -> bool {
    let other = from.origin() != to.origin();
    if other {
        for name in CREDENTIALS {
            headers.remove(name);
        }
    }
    other
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ask(
        method: &Method,
        body: bool,
        code: u16,
        location: &[&[u8]],
    ) -> Result<Option<String>, String> {
        let url = Url::parse("https://a.example/v2/x?signature=secret").unwrap();
        let mut headers = HeaderMap::new();
        for value in location {
            headers.append(header::LOCATION, HeaderValue::from_bytes(value).unwrap());
        }
        let status = StatusCode::from_u16(code).unwrap();
        target(&url, method, body, status, &headers)
            .map(|found| found.map(String::from))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn reads_follow_every_redirect_and_writes_only_those_that_mean_it() {
        let to: &[&[u8]] = &[b"https://b.example/y"];
        for code in [301, 302, 303, 307, 308] {
            for method in [Method::GET, Method::HEAD] {
                let found = ask(&method, false, code, to);
                assert_eq!(found, Ok(Some("https://b.example/y".into())), "{method} {code}");
            }
            for (method, body) in [(Method::PUT, true), (Method::POST, false), (Method::GET, true)]
            {
                assert_eq!(ask(&method, body, code, to).is_ok(), code > 303, "{method} {code}");
            }
        }
        for code in [200, 201, 202, 300, 304, 305, 400] {
            assert_eq!(ask(&Method::GET, false, code, to), Ok(None), "{code}");
        }
    }

    #[test]
    fn a_location_is_relative_to_what_was_asked() {
        for (location, expected) in [
            ("/y", "https://a.example/y"),
            ("y", "https://a.example/v2/y"),
            ("//b.example/y", "https://b.example/y"),
            ("?z", "https://a.example/v2/x?z"),
            ("http://①②⑦.0.0.1/", "http://127.0.0.1/"),
        ] {
            let found = ask(&Method::GET, false, 302, &[location.as_bytes()]);
            assert_eq!(found, Ok(Some(expected.into())), "{location}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_said_without_the_query() {
        for locations in
            [&[][..], &[&b"/a"[..], b"/b"], &[b"https://"], &[b"https://[::1"], &[b"/\xff"]]
        {
            let error = ask(&Method::GET, false, 302, locations).unwrap_err();
            assert!(
                error.starts_with("a.example redirects") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(ask(&Method::GET, false, 302, &[b"/a", b"/a"]).is_ok());
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let from = Url::parse("https://a.example/x").unwrap();
        for (to, other) in [
            ("https://a.example/y", false),
            ("https://a.example:443/y", false),
            ("http://a.example/y", true),
            ("https://a.example:444/y", true),
            ("https://b.example/y", true),
            ("https://x.a.example/y", true),
        ] {
            let mut headers: HeaderMap = [
                (header::AUTHORIZATION, "secret"),
                (header::COOKIE, "secret"),
                (header::RANGE, "bytes=1-"),
                (header::ACCEPT, "text/plain"),
            ]
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .into_iter()
            .collect();
            assert_eq!(strip(&from, &Url::parse(to).unwrap(), &mut headers), other, "{to}");
            assert_eq!(headers.len(), if other { 2 } else { 4 }, "{to}");
        }
    }
}

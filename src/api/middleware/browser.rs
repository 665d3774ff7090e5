use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::config::Live;
use crate::domain::{Error, ErrorKind, Result};

use super::super::ListenerClass;
use super::super::refusal::Refusal;

/// Names under which containers reach the host's TCP port.
const NAMES: [&str; 3] = ["localhost", "host.docker.internal", "model-runner.docker.internal"];

/// Keeps web pages out. On TCP the Host must be a name of ours (a rebound DNS name is not), and
/// only pages of this machine may ask; on the Unix socket, which no browser reaches, no page may.
pub(in crate::api) async fn guard_browser(
    State(origins): State<Live<Arc<[String]>>>,
    request: Request,
    next: Next,
) -> Response {
    let class = request.extensions().get::<ListenerClass>().copied();
    let origin = match check(class, &origins.get(), request.uri(), request.headers()) {
        // No page reaches a Unix socket, and no cache stands before one.
        Ok(None) if class.is_some_and(ListenerClass::is_unix) => return next.run(request).await,
        Ok(None) => return varies(next.run(request).await),
        Ok(Some(origin)) => origin,
        Err(error) => return varies(Refusal(error).into_response()),
    };
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight {
        preflight_answer(request.headers())
    } else {
        let mut response = next.run(request).await;
        let exposed = HeaderValue::from_static(EXPOSED);
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        response
    };
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    varies(response)
}

/// What pages may read of an answer besides its content: what the libraries look at.
const EXPOSED: &str = "x-request-id, request-id, x-queue-position, x-queue-wait-ms, \
                       x-truncated-tokens, openai-processing-ms, retry-after, x-should-retry, \
                       www-authenticate";

/// Asked by browsers before a page of another network may reach this one.
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// Says yes to what a browser asks in the name of an allowed page. It sends no credentials of its
/// own and is not told that it may. Whichever headers it asks for are fine: libraries send dozens
/// (`authorization`, `x-stainless-…`), and none of them gives a page more rights than it has.
fn preflight_answer(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    // Each line of them; a browser sends one.
    for names in asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.append(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    if asked.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    let varies = HeaderValue::from_static(
        "Access-Control-Request-Method, Access-Control-Request-Headers, \
         Access-Control-Request-Private-Network",
    );
    headers.append(header::VARY, varies);
    response
}

/// Keeps caches from giving one page what another one was answered.
fn varies(mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// The origin that must be told it is allowed; `None` where no page asks.
fn check(
    class: Option<ListenerClass>,
    origins: &[String],
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>> {
    let Some(class) = class else {
        return Err(Error::new(ErrorKind::Forbidden, "this connection has no known listener"));
    };
    match class {
        ListenerClass::Unix | ListenerClass::Group => {}
        // It has whatever name its machine has; what a rebound name lacks here is a token.
        ListenerClass::Public { .. } => {
            the_host(headers)?;
        }
        ListenerClass::Tcp { local }
        | ListenerClass::Containers { local }
        | ListenerClass::Ollama { local } => {
            // Ollama's clients come through tunnels, too, whose port on this side is another.
            let any_port = matches!(class, ListenerClass::Ollama { .. });
            check_host(local, any_port, uri, headers)?;
        }
    }
    let may = |origin: &HeaderValue| match class {
        ListenerClass::Unix | ListenerClass::Group => false,
        ListenerClass::Tcp { .. }
        | ListenerClass::Public { .. }
        | ListenerClass::Containers { .. } => is_loopback(origin) || is_listed(origin, origins),
        ListenerClass::Ollama { .. } => {
            is_loopback(origin) || is_app(origin) || is_listed(origin, origins)
        }
    };
    let mut given = headers.get_all(header::ORIGIN).iter();
    match (given.next(), given.next()) {
        (None, _) if from_other_site(headers) => Err(refused_origin("a page of another site")),
        (None, _) => Ok(None),
        (Some(origin), None) if may(origin) => Ok(Some(origin.clone())),
        _ => Err(refused_origin("a page of this origin")),
    }
}

fn refused_origin(who: &str) -> Error {
    let message = format!(
        "{who} may not use modeld; on TCP pages of http://localhost may, and those that --origin \
         lists, on the Unix socket none"
    );
    Error::new(ErrorKind::OriginRefused, message)
}

/// Requests without an Origin that a page makes all the same (images, frames, navigation).
fn from_other_site(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.any(|site| site != "none" && site != "same-origin")
}

/// An origin of this machine, whatever its port. `null` (files, sandboxed frames) is nobody's.
fn is_loopback(origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some((host, port)) = rest.and_then(split_authority) else { return false };
    let known =
        ["localhost", "127.0.0.1", "[::1]"].iter().any(|ours| host.eq_ignore_ascii_case(ours));
    known && port != Some(0)
}

/// Programs on this machine that show pages of their own, and extensions of its browsers: no page of the web has such an origin.
fn is_app(origin: &HeaderValue) -> bool {
    const SCHEMES: [&str; 8] = [
        "app",
        "chrome-extension",
        "file",
        "moz-extension",
        "safari-web-extension",
        "tauri",
        "vscode-file",
        "vscode-webview",
    ];
    let scheme = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    scheme.is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}

fn is_listed(origin: &HeaderValue, listed: &[String]) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let origin = origin.to_ascii_lowercase();
    // Of a page of the web there is a host and at most a port, whatever a pattern would let pass.
    let web = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let odd = |rest: &str| rest.starts_with('.') || split_authority(rest).is_none();
    if web.is_some_and(odd) {
        return false;
    }
    listed.iter().any(|pattern| matches(pattern, &origin))
}

/// Whether a text is like a pattern in which `*` stands for any text; behind the beginning of an
/// address it stands for digits and dots alone, or names could look like one.
fn matches(pattern: &str, text: &str) -> bool {
    let host = |text: &str| text.split_once("://").map(|(_, host)| host.to_owned());
    let is_address = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b"*.:".contains(&b))
    };
    if let (Some(pattern), Some(text)) = (host(pattern), host(text))
        && pattern.starts_with(|c: char| c.is_ascii_digit())
        && is_address(&pattern)
        && !is_address(&text)
    {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|begin| text.strip_prefix(begin)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

/// The one Host that a request names.
fn the_host(headers: &HeaderMap) -> Result<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let one = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().filter(|host| split_authority(host).is_some()),
        _ => None,
    };
    one.ok_or_else(|| Error::new(ErrorKind::HostRefused, "a request has to name one Host"))
}

fn check_host(local: SocketAddr, any_port: bool, uri: &Uri, headers: &HeaderMap) -> Result<()> {
    let refused = || {
        let message = format!(
            "this Host is not one that modeld answers to; use localhost:{0} or 127.0.0.1:{0}",
            local.port()
        );
        Error::new(ErrorKind::HostRefused, message)
    };
    let host = the_host(headers).map_err(|_| refused())?;
    // An absolute target names a host of its own, which must be ours as well.
    let target = uri.authority().map_or(host, http::uri::Authority::as_str);
    if is_ours(host, local, any_port) && is_ours(target, local, any_port) {
        Ok(())
    } else {
        Err(refused())
    }
}

fn is_ours(authority: &str, local: SocketAddr, any_port: bool) -> bool {
    let Some((host, port)) = split_authority(authority) else { return false };
    if !any_port && port.is_some_and(|port| port != local.port()) {
        return false;
    }
    if NAMES.iter().any(|name| host.eq_ignore_ascii_case(name)) {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match bare {
        Some(v6) => v6.parse().map(IpAddr::V6),
        None => host.parse().map(IpAddr::V4),
    };
    // Only loopback's canonical addresses: 127.0.0.2 is what a rebinding page would try next.
    ip.is_ok_and(|ip: IpAddr| {
        let ip = ip.to_canonical();
        ip == local.ip().to_canonical()
            || ip == IpAddr::from([127, 0, 0, 1])
            || ip == IpAddr::from(std::net::Ipv6Addr::LOCALHOST)
    })
}

/// Host and port of `host[:port]`; an IPv6 host keeps its brackets. `None` for anything else.
fn split_authority(text: &str) -> Option<(&str, Option<u16>)> {
    let end = if text.starts_with('[') {
        text.find(']')?.checked_add(1)?
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at_checked(end)?;
    let clean = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'[' | b']' | b':');
    if host.is_empty() || !host.bytes().all(clean) {
        return None;
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        None => None,
        Some(port) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp() -> SocketAddr {
        "127.0.0.1:12434".parse().expect("an address")
    }

    fn with(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a header value"));
        }
        headers
    }

    fn host_ok(hosts: &[&str], target: &str) -> bool {
        let pairs: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        check_host(tcp(), false, &target.parse().expect("a target"), &with(&pairs)).is_ok()
    }

    #[test]
    fn hosts_that_are_ours() {
        for host in [
            "localhost",
            "localhost:12434",
            "LOCALHOST:12434",
            "127.0.0.1",
            "127.0.0.1:12434",
            "[::1]",
            "[::1]:12434",
            "host.docker.internal:12434",
            "model-runner.docker.internal",
        ] {
            assert!(host_ok(&[host], "/models"), "{host}");
        }
        assert!(host_ok(&["localhost"], "http://localhost:12434/models"));
    }

    #[test]
    fn hosts_that_are_not() {
        for host in [
            "",
            ":12434",
            "localhost:",
            "localhost:80",
            "localhost:012434x",
            "localhost:99999",
            "localhost:12434:12434",
            "localhost.",
            "localhost.evil.com",
            "evil.com",
            "evil.local",
            "model-runner.docker.internal.evil.com",
            "127.0.0.1.nip.io",
            "127.0.0.1.",
            "127.1",
            "127.0.0.2",
            "2130706433",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::1",
            "::1",
            "[::1]x",
            "[127.0.0.1]",
            "192.168.1.2",
            "user@localhost",
            "localhost/x",
            "localhost,evil.com",
            "localhost evil.com",
        ] {
            assert!(!host_ok(&[host], "/models"), "{host}");
        }
        assert!(!host_ok(&[], "/models"));
        assert!(!host_ok(&["localhost", "localhost"], "/models"));
        assert!(!host_ok(&["localhost"], "http://evil.com/models"));
        assert!(!host_ok(&["evil.com"], "http://localhost/models"));
    }

    #[test]
    fn a_bound_address_is_ours() {
        let bridge = "172.17.0.1:12434".parse().expect("an address");
        assert!(
            is_ours("172.17.0.1:12434", bridge, false)
                && !is_ours("172.17.0.2:12434", bridge, false)
        );
    }

    fn origin(class: ListenerClass, pairs: &[(&'static str, &str)]) -> Option<bool> {
        let mut headers = with(pairs);
        headers.insert("host", HeaderValue::from_static("localhost"));
        let uri = Uri::from_static("/models");
        check(Some(class), &[], &uri, &headers).ok().map(|echoed| echoed.is_some())
    }

    #[test]
    fn pages_of_this_machine_may_ask_on_tcp_and_no_others() {
        let tcp = ListenerClass::Tcp { local: tcp() };
        for allowed in
            ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080", "http://LOCALHOST"]
        {
            assert_eq!(origin(tcp, &[("origin", allowed)]), Some(true), "{allowed}");
            assert_eq!(origin(ListenerClass::Unix, &[("origin", allowed)]), None, "{allowed}");
        }
        for refused in [
            "",
            "null",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://evil.example:80/http://localhost",
            "http://localhost:3000/",
            "http://localhost:0",
            "http://0.0.0.0:3000",
            "ftp://localhost",
            "localhost",
            "http://user@localhost",
            "http://localhost http://localhost",
            "chrome-extension://abcdef",
        ] {
            assert_eq!(origin(tcp, &[("origin", refused)]), None, "{refused}");
            assert_eq!(origin(ListenerClass::Unix, &[("origin", refused)]), None, "{refused}");
        }
        let two = [("origin", "http://localhost"), ("origin", "http://localhost")];
        assert_eq!(origin(tcp, &two), None);
    }

    #[test]
    fn requests_that_browsers_mark_need_an_allowed_origin() {
        for class in [ListenerClass::Unix, ListenerClass::Tcp { local: tcp() }] {
            assert_eq!(origin(class, &[]), Some(false));
            for fine in ["none", "same-origin"] {
                assert_eq!(origin(class, &[("sec-fetch-site", fine)]), Some(false), "{fine}");
            }
            for other in ["cross-site", "same-site", "", "whatever"] {
                assert_eq!(origin(class, &[("sec-fetch-site", other)]), None, "{other}");
            }
        }
        let local = [("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")];
        assert_eq!(origin(ListenerClass::Tcp { local: tcp() }, &local), Some(true));
    }

    #[test]
    fn pages_of_programs_may_ask_where_ollamas_clients_do() {
        let (tcp, ollama) =
            (ListenerClass::Tcp { local: tcp() }, ListenerClass::Ollama { local: tcp() });
        for program in ["app://obsidian.md", "tauri://localhost", "vscode-webview://1", "file://"] {
            assert_eq!(origin(ollama, &[("origin", program)]), Some(true), "{program}");
            assert_eq!(origin(tcp, &[("origin", program)]), None, "{program}");
        }
        assert_eq!(origin(ollama, &[("origin", "http://localhost:3000")]), Some(true));
        for foreign in ["https://evil.example", "null", "application://x", "http://app://"] {
            assert_eq!(origin(ollama, &[("origin", foreign)]), None, "{foreign}");
        }
        let mut headers = with(&[("host", "evil.example")]);
        assert!(check(Some(ollama), &[], &Uri::from_static("/"), &headers).is_err());
        headers.clear();
        assert!(check(Some(ollama), &[], &Uri::from_static("/"), &headers).is_err());
    }

    #[test]
    fn pages_that_are_listed_may_ask_over_tcp() {
        let listed = ["https://chat.example".to_owned(), "http://192.168.1.*:3000".to_owned()];
        let may = |class, origin: &str| {
            let headers = with(&[("host", "localhost"), ("origin", origin)]);
            check(Some(class), &listed, &Uri::from_static("/"), &headers).is_ok()
        };
        let tcp = ListenerClass::Tcp { local: tcp() };
        for (origin, allowed) in [
            ("https://chat.example", true),
            ("https://CHAT.example", true),
            ("http://192.168.1.7:3000", true),
            ("https://chat.example.evil", false),
            ("http://192.168.1.7:30000", false),
            ("http://chat.example", false),
        ] {
            assert_eq!(may(tcp, origin), allowed, "{origin}");
            assert!(!may(ListenerClass::Unix, origin), "{origin}");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, like) in [
            ("*", "https://a", true),
            ("app://*", "app://x.y", true),
            ("https://*.a.b", "https://x.a.b", true),
            ("https://*.a.b", "https://x.a.b.c", false),
            ("https://*.a.*:1", "https://x.a.b:1", true),
            ("https://*.a.*:1", "https://x.b:1", false),
            ("https://a", "https://a", true),
            ("https://a", "https://ab", false),
            ("a*a", "a", false),
            ("http://192.168.1.*:3000", "http://192.168.1.7:3000", true),
            ("http://192.168.1.*:3000", "http://192.168.1.evil.com:3000", false),
        ] {
            assert_eq!(matches(pattern, text), like, "{pattern} {text}");
        }
    }

    #[test]
    fn a_connection_of_unknown_origin_may_nothing() {
        let refused = check(None, &[], &Uri::from_static("/"), &HeaderMap::new());
        assert_eq!(refused.map_err(|error| error.kind), Err(ErrorKind::Forbidden));
    }
}

//! Who may write from a browser, and under which names the admin listener answers.
//!
//! Invariant: a page of a foreign origin changes nothing here, and a name that any page can point at us does not open
//! the admin listener (DNS rebinding). Programs, which send no `Origin`, pass.
//! Not here: who somebody is.

use super::problem::{Kind, Problem};
use axum::http::{
    HeaderMap, Method, Uri, header,
    uri::{Authority, Scheme},
};
use std::net::IpAddr;

/// Whether a page may connect: it has no origin, is of our own, or is allow-listed. For handshakes too.
pub fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let (Ok(origin), None) = (origin.to_str(), origins.next()) else { return false };
    allowed.iter().any(|one| one.trim_end_matches('/').eq_ignore_ascii_case(origin)) || own(origin, headers)
}

/// Whether the origin is the host that was asked. The scheme is not compared: TLS may end before us.
fn own(origin: &str, headers: &HeaderMap) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let (Some(scheme), Some(theirs), Some(ours)) = (uri.scheme(), uri.authority(), host(headers)) else {
        return false;
    };
    let port = |authority: &Authority| authority.port_u16().or_else(|| default_port(scheme));
    theirs.host().eq_ignore_ascii_case(ours.host()) && port(theirs) == port(&ours)
}

fn default_port(scheme: &Scheme) -> Option<u16> {
    match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    headers.get(header::HOST)?.to_str().ok()?.parse().ok()
}

/// Refuses a request that would change something on behalf of a foreign page.
pub fn check_origin(method: &Method, headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    if is_reading(method) || origin_allowed(headers, allowed) {
        return Ok(());
    }
    let detail = "the page's origin is neither this host nor allow-listed";
    Err(Problem::new(Kind::ForeignOrigin, detail).field("origin", detail, Kind::ForeignOrigin.remedy()))
}

fn is_reading(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Refuses what a plain HTML form can send: such a request needs nobody's leave to be made.
pub fn check_form(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    const FORMS: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if is_reading(method) || !FORMS.iter().any(|form| form.eq_ignore_ascii_case(kind)) {
        return Ok(());
    }
    let remedy = "send no body, or JSON with Content-Type: application/json";
    let detail = "a form may not give orders here";
    Err(Problem::new(Kind::UnsupportedMediaType, detail).field("content-type", detail, remedy))
}

/// Refuses a request to the admin listener under a name that anybody could have pointed at it.
pub fn check_host(headers: &HeaderMap, names: &[String]) -> Result<(), Problem> {
    let Some(given) = headers.get(header::HOST) else { return Ok(()) };
    let authority = given.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    if authority.is_some_and(|authority| safe(authority.host(), names)) {
        return Ok(());
    }
    let detail = "the Host header names neither an address nor a name of this listener";
    Err(Problem::new(Kind::ForeignHost, detail).field("host", detail, Kind::ForeignHost.remedy()))
}

/// An address needs no name service, and a name without a dot cannot be registered; others have to be listed.
fn safe(host: &str, names: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok()
        || !(host.contains('.') || host.is_empty())
        || host.to_ascii_lowercase().ends_with(".localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect()
    }

    #[test]
    fn own_and_listed_origins_and_programs_pass() {
        let listed = ["https://shop.example/".to_owned()];
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("Example.org", "https://example.org"),
            ("example.org:443", "https://example.org"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("127.0.0.1:8080", "https://shop.example"),
        ] {
            assert!(origin_allowed(&headers(&[("host", host), ("origin", origin)]), &listed), "{origin}");
        }
        assert!(origin_allowed(&headers(&[("host", "a")]), &listed));
    }

    #[test]
    fn foreign_origins_do_not_pass() {
        for (host, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:9999"),
            ("127.0.0.1:8080", "http://evil.example"),
            ("example.org", "http://example.org.evil.example"),
            ("example.org", "null"),
            ("example.org", "https://example.org@evil.example"),
            ("example.org", ""),
        ] {
            let given = headers(&[("host", host), ("origin", origin)]);
            assert!(!origin_allowed(&given, &[]), "{origin}");
            assert!(check_origin(&Method::DELETE, &given, &[]).is_err());
            assert!(check_origin(&Method::GET, &given, &[]).is_ok());
        }
        let twice = headers(&[("host", "a.example"), ("origin", "http://a.example")]);
        let mut twice = twice;
        twice.append("origin", "http://evil.example".parse().expect("value"));
        assert!(!origin_allowed(&twice, &[]));
    }

    #[test]
    fn the_admin_listener_answers_only_under_names_nobody_else_can_point_at_it() {
        let names = ["ops.example".to_owned()];
        for host in ["127.0.0.1:9090", "[::1]:9090", "localhost", "statecast:9090", "Ops.example:9090"] {
            assert!(check_host(&headers(&[("host", host)]), &names).is_ok(), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:9090", "localhost.evil.example", "a b"] {
            assert!(check_host(&headers(&[("host", host)]), &names).is_err(), "{host}");
        }
    }

    #[test]
    fn a_form_gives_no_orders() {
        for kind in ["text/plain;charset=utf-8", "multipart/form-data; boundary=x"] {
            assert!(check_form(&Method::POST, &headers(&[("content-type", kind)])).is_err());
        }
        assert!(check_form(&Method::POST, &headers(&[])).is_ok());
        assert!(check_form(&Method::POST, &headers(&[("content-type", "application/json")])).is_ok());
    }
}

//! `ETag`, `If-Match`, `If-None-Match`: what they say about versions.
//!
//! Invariant: a condition on a write is one version (0: absent) and travels in the record, so that the step decides, not
//! this process; one that cannot be understood is refused, never dropped.
//! Not here: deciding.

use super::problem::{Kind, Problem};
use crate::document::Shown;
use axum::http::{HeaderMap, HeaderName, header};

/// The header of a record that holds its condition.
pub const IF_VERSION: &str = "statecast-if-version";

/// The tag of an entity, quotes included: its version, or its positions where versions have no order.
pub fn etag(shown: &Shown, partials: bool) -> String {
    if partials { format!("\"{}\"", shown.positions) } else { format!("\"{}\"", shown.version) }
}

/// Whether the caller already holds this tag, so that 304 says it all. Weak comparison, as RFC 9110 wants for reading.
pub fn held(headers: &HeaderMap, etag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .any(|line| line.trim() == "*" || tags(line).any(|t| t == etag))
}

/// The quoted tags of a list; commas inside quotes belong to the tag.
fn tags(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let from = rest.find('"')?;
        let len = rest.get(from + 1..)?.find('"')? + 2;
        let tag = rest.get(from..from + len)?;
        rest = rest.get(from + len..)?;
        Some(tag)
    })
}

/// The version a write is bound to; 0: only if the key is not there.
pub fn of_write(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    const IF_MATCH: &str = "one version in quotes as the ETag of a GET gave it, like \"7\"";
    let if_match = single(headers, header::IF_MATCH, IF_MATCH)?;
    let if_none_match = single(headers, header::IF_NONE_MATCH, "*")?;
    match (if_match, if_none_match) {
        (Some(_), Some(_)) => {
            Err(malformed("if-none-match", "stands beside If-Match", "one of the two, not both"))
        }
        (Some(text), None) => match version(text) {
            Some(version) => Ok(Some(version)),
            None => Err(malformed("if-match", "is no version", IF_MATCH)),
        },
        (None, Some("*")) => Ok(Some(0)),
        (None, Some(_)) => Err(malformed("if-none-match", "is not *", "*, or If-Match with a version")),
        (None, None) => Ok(None),
    }
}

fn version(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('"')?.strip_suffix('"')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if plain { digits.parse().ok() } else { None }
}

fn single<'h>(
    headers: &'h HeaderMap,
    name: HeaderName,
    remedy: &'static str,
) -> Result<Option<&'h str>, Problem> {
    let mut lines = headers.get_all(&name).iter();
    let Some(first) = lines.next() else { return Ok(None) };
    match (first.to_str(), lines.next()) {
        (Ok(text), None) => Ok(Some(text.trim())),
        (Err(_), _) => Err(malformed(name.as_str(), "is not plain text", remedy)),
        (_, Some(_)) => Err(malformed(name.as_str(), "is given more than once", remedy)),
    }
}

fn malformed(name: &str, detail: &str, remedy: &str) -> Problem {
    Problem::new(Kind::InvalidHeader, format!("{name} {detail}")).field(name, detail, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_write_is_bound_to_one_version_or_to_absence() {
        assert_eq!(of_write(&headers(&[])).expect("none"), None);
        assert_eq!(of_write(&headers(&[("if-match", "\"7\"")])).expect("version"), Some(7));
        assert_eq!(of_write(&headers(&[("if-none-match", "*")])).expect("absent"), Some(0));
    }

    #[test]
    fn a_condition_that_is_not_understood_is_refused() {
        for bad in ["7", "W/\"7\"", "\"7\", \"8\"", "*", "\"\"", "\"0\"", "\"07\"", "\"-1\"", "\"x\""] {
            assert!(of_write(&headers(&[("if-match", bad)])).is_err(), "{bad}");
        }
        assert!(of_write(&headers(&[("if-none-match", "\"7\"")])).is_err());
        assert!(of_write(&headers(&[("if-match", "\"7\""), ("if-none-match", "*")])).is_err());
        assert!(of_write(&headers(&[("if-match", "\"7\""), ("if-match", "\"8\"")])).is_err());
    }

    #[test]
    fn a_held_tag_is_found_in_a_list_whatever_its_strength() {
        for given in ["\"7\"", "W/\"7\"", "\"1\", W/\"7\"", "*"] {
            assert!(held(&headers(&[("if-none-match", given)]), "\"7\""), "{given}");
        }
        for given in ["\"8\"", "7", "\"1,7\"", ""] {
            assert!(!held(&headers(&[("if-none-match", given)]), "\"7\""), "{given}");
        }
        assert!(held(&headers(&[("if-none-match", "\"0.0.5,0.1.9\"")]), "\"0.0.5,0.1.9\""));
    }
}

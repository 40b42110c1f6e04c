//! `Idempotency-Key`: the name that a caller gives what it sends, so that it may be sent again until it is answered.
//!
//! Invariant: the same key of the same owner is the same id, of two owners never; a UUID is the id itself.
//! Not here: that what has an id counts once (the engine's rows).

use super::problem::{Kind, Problem};
use axum::http::{HeaderMap, HeaderName};
use utoipa::IntoParams;
use uuid::Uuid;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const BYTES_MAX: usize = 255;
/// Ids made from keys are of this namespace, and of no other's.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_52b4_9d0e_4a53_8f3b_51a7_c2de_90f1);

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)] // the shape, for the description
pub struct IdempotencyParams {
    /// The same key of the same user names the same event, counted once however often it is sent. A UUID is taken as the
    /// event's id itself.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

/// The key that a request has, if any.
pub fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    const REMEDY: &str = "1 to 255 visible ASCII characters, or none";
    let wrong = |detail: &str| {
        let problem = Problem::new(Kind::InvalidHeader, format!("{HEADER} {detail}"));
        Err(problem.field(HEADER.as_str(), detail, REMEDY))
    };
    let mut given = headers.get_all(HEADER).iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return wrong("is given more than once");
    }
    match key.to_str() {
        Ok("") => wrong("is empty"),
        Ok(key) if key.len() > BYTES_MAX => wrong("is too long"),
        Ok(key) => Ok(Some(key)),
        Err(_) => wrong("is not plain text"),
    }
}

/// The id that a key names: itself, if it is a UUID, else one made from it and its owner, so that owners need not know of
/// each other's keys. Without a key a new one.
pub fn id(key: Option<&str>, owner: &str) -> Uuid {
    let Some(key) = key else { return Uuid::new_v4() };
    Uuid::try_parse(key).unwrap_or_else(|_| Uuid::new_v5(&NAMESPACE, format!("{owner}\0{key}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_key_names_one_event_of_one_user() {
        let id = |key: &str, owner: &str| id(Some(key), owner);
        assert_eq!(id("order-7", "ann"), id("order-7", "ann"));
        assert_ne!(id("order-7", "ann"), id("order-8", "ann"));
        assert_ne!(id("order-7", "ann"), id("order-7", "bob"));
        let uuid = "0190f3a2-7c1e-7b6a-9c3f-3d2b1a0f9e8d";
        assert_eq!(id(&uuid.to_uppercase(), "ann").to_string(), uuid);
        assert_ne!(super::id(None, "ann"), super::id(None, "ann"));
    }

    #[test]
    fn a_key_that_cannot_be_one_is_refused() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, HeaderValue::from_bytes(value).expect("header"));
            }
            key(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.json())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[b"a b"]), Ok(Some("a b".into())));
        let long = [b'x'; 256];
        let bad: [&[&[u8]]; 4] = [&[b""], &[b"a", b"b"], &[b"\xff"], &[&long]];
        for bad in bad {
            assert!(of(bad).expect_err("refused").contains("idempotency-key"), "{bad:?}");
        }
    }
}

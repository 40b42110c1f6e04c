//! How what JSON has no kind for is written in what is stored: a time as ISO 8601, whatever has a text as that.
//!
//! Invariant: what is written is read back the same. For `#[serde(with = "...")]`.
//! Not here: documents and entities as they are shown outside (`document`).

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::{fmt::Display, str::FromStr};

/// Milliseconds since 1970 UTC.
pub mod time {
    use super::{Deserialize, Deserializer, Error, Serializer};
    use crate::clock;

    pub fn serialize<S: Serializer>(time_ms: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&clock::iso(*time_ms))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = String::deserialize(from)?;
        clock::parse(&text).ok_or_else(|| D::Error::custom("a time cannot be read"))
    }
}

/// A position, a UUID.
pub mod text {
    use super::{Deserialize, Deserializer, Display, Error, FromStr, Serializer};

    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// For counts that are left out where there are none.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
pub fn is_zero(count: &u64) -> bool {
    *count == 0
}

//! The `id` of an event: where its reader stands in every room.
//!
//! Invariant: opaque outside; inside a JSON object of rooms and positions in base64url, so that it fits into a header and
//! into an address. A room whose pages are not all read is not in it: it begins anew.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    positions: BTreeMap<String, String>,
}

impl Cursor {
    pub fn parse(text: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Cursor { positions: serde_json::from_slice(&json).ok()? })
    }

    pub fn set(&mut self, room: &str, position: &str) {
        match self.positions.get_mut(room) {
            Some(held) => position.clone_into(held),
            None => drop(self.positions.insert(room.to_owned(), position.to_owned())),
        }
    }

    pub fn remove(&mut self, room: &str) {
        self.positions.remove(room);
    }

    pub fn text(&self) -> String {
        // A map of strings is always JSON.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&self.positions).unwrap_or_default())
    }

    pub fn into_since(self) -> FxHashMap<String, String> {
        self.positions.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let mut cursor = Cursor::default();
        cursor.set("kv/user \"1\"", "0.3.1041");
        cursor.set("kv", "0.0.1,0.3.1041");
        cursor.set("kv", "0.0.2,0.3.1041");
        assert_eq!(Cursor::parse(&cursor.text()), Some(cursor.clone()));
        assert!(cursor.text().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        cursor.remove("kv");
        assert_eq!(cursor.into_since().len(), 1);
    }

    #[test]
    fn what_is_no_cursor_is_none() {
        for bad in ["", "!", "e30=", "W10", "eyJhIjoxfQ"] {
            assert_eq!(Cursor::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Cursor::parse("e30"), Some(Cursor::default()));
    }
}

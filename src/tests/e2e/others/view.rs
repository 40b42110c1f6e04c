//! What a right client holds of one room, minding every promise made to it.
//!
//! Invariant: a version never goes down nor comes twice, what `skipped` says adds up, and a page goes on where the last one
//! ended and shows no key a second time.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Version and value of a key; null: removed.
pub type Held = (u64, Value);

#[derive(Debug, Default, Clone)]
pub struct View {
    pub keys: BTreeMap<String, Held>,
    /// Where the room stands, as Socket.IO tells it.
    pub position: Option<String>,
    /// Where the next page begins; `None`: there are no more.
    pub next: Option<String>,
    /// Between the answer that begins it and the end of the connection, or of the room.
    pub live: bool,
    /// Keys of a stream's room that were held when it was resumed: its position moves once all that waited is given, so a
    /// change that came before the cut may come once more.
    again: BTreeSet<String>,
}

impl View {
    /// What a snapshot, or a resync, says the room is.
    pub fn of(snapshot: &Value) -> View {
        let items = snapshot["items"].as_array().into_iter().flatten();
        let entity = Some(&snapshot["entity"]).filter(|entity| entity.is_object());
        let keys = items.chain(entity).map(|item| (key(item), held(item))).collect();
        View {
            keys,
            position: text(&snapshot["position"]),
            next: text(&snapshot["next"]),
            live: true,
            again: BTreeSet::new(),
        }
    }

    /// Goes on from what is held, with nothing but what was missed.
    pub fn resume(&mut self, room: &str, answer: &Value) {
        assert!(answer["entity"].is_null(), "what is resumed comes as changes: {answer}");
        assert!(answer["items"].as_array().is_none_or(Vec::is_empty), "{answer}");
        assert!(self.next.is_none(), "{room} was still in its pages: it has no position to resume from");
        self.live = true;
        self.again = self.keys.keys().filter(|_| !room.contains('/')).cloned().collect();
    }

    pub fn page(&mut self, page: &Value) {
        for item in page["items"].as_array().expect("items") {
            let key = key(item);
            assert!(self.next.as_ref() < Some(&key), "a page goes on where the last one ended: {key}");
            let before = self.keys.insert(key.clone(), held(item));
            assert!(before.is_none(), "{key} was shown before its page: {before:?}");
        }
        self.next = text(&page["next"]);
    }

    pub fn change(&mut self, room: &str, item: &Value) {
        let (key, (version, value)) = (key(item), held(item));
        assert!(self.live, "{room} changed and nobody is in it: {item}");
        assert!(
            self.next.as_ref().is_none_or(|next| key <= *next),
            "{room}: {key} lies beyond the pages that were read"
        );
        let skipped = item["skipped"].as_u64().expect("skipped");
        let before = self.keys.get(&key).map_or(0, |held| held.0);
        if version <= before && self.again.contains(&key) {
            return;
        }
        self.again.remove(&key);
        assert!(version > before, "{room}: {key} at version {version} after {before}");
        if room.contains('/') && before > 0 {
            assert_eq!(
                before + 1 + skipped,
                version,
                "{room}: after {before} all are told or skipped: {item}"
            );
        }
        if room.contains('/') {
            self.position = text(&item["position"]);
        }
        assert_eq!(value.is_null(), item["deleted"] == true, "a removal says so: {item}");
        self.keys.insert(key, (version, value));
    }

    pub fn moves_to(&mut self, position: &Value) {
        self.position = text(position);
    }

    pub fn version(&self, key: &str) -> u64 {
        self.keys.get(key).map_or(0, |held| held.0)
    }

    /// Keys that are there, with version and value.
    pub fn present(&self) -> BTreeMap<String, Held> {
        let there = self.keys.iter().filter(|(_, held)| !held.1.is_null());
        there.map(|(key, held)| (key.clone(), held.clone())).collect()
    }
}

fn key(item: &Value) -> String {
    item["key"].as_str().expect("key").to_owned()
}

fn held(item: &Value) -> Held {
    (item["version"].as_u64().expect("version"), item["value"].clone())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

//! What is known of a stream whose partitions are consumed elsewhere, so that reading it key by key finds what changed.
//!
//! Invariant: a key's version here is the highest that anyone in the room was shown, by a page or a change; a round over
//! all keys finds whatever is newer, and whatever is gone. Bounded in keys: a larger stream cannot be followed.
//! Not here: reading, telling.

use crate::{document::Shown, record::Key};
use std::{collections::BTreeMap, ops::Bound};

#[derive(Debug)]
pub struct Follow {
    keys_max: usize,
    versions: BTreeMap<Key, u64>,
    /// How far the round has come.
    after: Option<Key>,
    too_many: bool,
    under_way: bool,
}

/// Part of a stream as it was read: the keys after `after`, in order, and whether there are more behind them.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub after: Option<&'a Key>,
    pub items: &'a [Shown],
    pub more: bool,
}

impl Part<'_> {
    /// Whether a key lies in what was read.
    fn bounds(&self) -> (Bound<Key>, Bound<Key>) {
        let from = self.after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let last = self.items.last().filter(|_| self.more);
        (from, last.map_or(Bound::Unbounded, |last| Bound::Included(last.key.clone())))
    }
}

impl Follow {
    pub fn new(keys_max: usize) -> Self {
        Follow { keys_max, versions: BTreeMap::new(), after: None, too_many: false, under_way: false }
    }

    /// There are more keys than may be known.
    pub fn is_too_large(&self) -> bool {
        self.too_many
    }

    /// A part is about to be read. `false`: one is being read already.
    pub fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.under_way, true)
    }

    pub fn ended(&mut self) {
        self.under_way = false;
    }

    /// Somebody was shown this. `true`: it is newer than anything shown before.
    pub fn show(&mut self, key: &Key, version: u64) -> bool {
        if let Some(held) = self.versions.get_mut(key) {
            let newer = *held < version;
            *held = version.max(*held);
            return newer;
        }
        self.too_many |= self.versions.len() >= self.keys_max;
        if !self.too_many {
            self.versions.insert(key.clone(), version);
        }
        !self.too_many
    }

    /// A change was told. A removed key needs no watching: should it come back, it is a new one.
    pub fn told(&mut self, key: &Key, version: u64, removed: bool) {
        match removed {
            true => self.forget(key),
            false => drop(self.show(key, version)),
        }
    }

    pub fn forget(&mut self, key: &Key) {
        self.versions.remove(key);
    }

    /// Where the round goes on.
    pub fn next(&self) -> Option<Key> {
        self.after.clone()
    }

    /// Takes in the next part of the round; returns the places of items that are newer than shown, and keys that are no
    /// longer there.
    pub fn take_in(&mut self, part: Part<'_>) -> (Vec<usize>, Vec<Key>) {
        let range = self.versions.range(part.bounds()).map(|(key, _)| key);
        let is_there = |key: &&Key| part.items.binary_search_by(|item| item.key.cmp(key)).is_ok();
        let gone = range.filter(|key| !is_there(key)).cloned().collect();
        let newer = part.items.iter().enumerate().filter(|(_, item)| self.show(&item.key, item.version));
        let newer = newer.map(|(place, _)| place).collect();
        self.after = part.items.last().filter(|_| part.more).map(|item| item.key.clone());
        (newer, gone)
    }

    /// Whether the round has just come to its end.
    pub fn is_round(&self) -> bool {
        self.after.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Json;

    fn shown(key: &str, version: u64) -> Shown {
        let positions = format!("0.0.{version}").parse().expect("position");
        let value = Some(Json::from_checked("1"));
        Shown { key: key.into(), version, created_ms: 0, updated_ms: 0, positions, value }
    }

    fn follow(keys: &[(&str, u64)]) -> Follow {
        let mut follow = Follow::new(4);
        for (key, version) in keys {
            follow.show(&(*key).into(), *version);
        }
        follow
    }

    #[test]
    fn a_round_finds_what_is_newer_and_what_is_gone() {
        let mut follow = follow(&[("a", 1), ("b", 1), ("c", 1)]);
        let items = [shown("a", 1), shown("aa", 1)];
        let (newer, gone) = follow.take_in(Part { after: None, items: &items, more: true });
        assert_eq!(
            (newer, gone, follow.next(), follow.is_round()),
            (vec![1], vec![], Some("aa".into()), false)
        );
        let items = [shown("c", 3)];
        let (newer, gone) = follow.take_in(Part { after: Some(&"aa".into()), items: &items, more: false });
        assert_eq!((newer, gone, follow.is_round()), (vec![0], vec!["b".into()], true));
        follow.forget(&"b".into());
        let items = [shown("a", 1), shown("aa", 1), shown("c", 3)];
        assert_eq!(follow.take_in(Part { after: None, items: &items, more: false }), (vec![], vec![]));
    }

    #[test]
    fn a_stream_with_more_keys_than_may_be_known_is_too_large() {
        let mut follow = follow(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
        assert!(!follow.is_too_large() && follow.show(&"a".into(), 2));
        assert!(!follow.show(&"e".into(), 1) && follow.is_too_large());
    }
}

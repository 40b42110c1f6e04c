//! Which rooms are open, as the writers see it, so that nobody makes news that nobody would hear.
//!
//! Invariant: a room is wanted from before its first read of the view or the store until it is closed. A writer asks only
//! after the view holds the change; so a change is either told, or seen by the read that opens the room.
//! Not here: who is in a room, and what it holds (`rooms`).

use super::{Of, Room};
use crate::{engine::api::StreamName, record::Key};
use dashmap::DashMap;
use rustc_hash::{FxBuildHasher, FxHashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, Default)]
pub struct Interest {
    /// Open rooms of any kind: while there are none, nobody looks further.
    open: AtomicUsize,
    /// Open rooms of apps: what one that shows a part of its stream holds may come from any of its keys.
    apps: AtomicUsize,
    streams: DashMap<StreamName, InStream, FxBuildHasher>,
}

#[derive(Debug, Default)]
struct InStream {
    whole: bool,
    keys: FxHashSet<Key>,
}

impl Interest {
    /// Whether some room hears of this key. `has_part_rooms`: the stream has rooms that show parts of it.
    pub fn wants(&self, stream: &str, key: &str, has_part_rooms: bool) -> bool {
        if self.open.load(Ordering::SeqCst) == 0 {
            return false;
        }
        (has_part_rooms && self.apps.load(Ordering::SeqCst) > 0)
            || self.streams.get(stream).is_some_and(|within| within.whole || within.keys.contains(key))
    }

    pub(super) fn opened(&self, room: &Room) {
        match &room.of {
            Of::App(_) => drop(self.apps.fetch_add(1, Ordering::SeqCst)),
            Of::Stream => self.streams.entry(room.stream.clone()).or_default().whole = true,
            Of::Key(key) => {
                self.streams.entry(room.stream.clone()).or_default().keys.insert(key.clone());
            }
        }
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn closed(&self, room: &Room) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        if matches!(room.of, Of::App(_)) {
            self.apps.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let Some(mut within) = self.streams.get_mut(&room.stream) else { return };
        match &room.of {
            Of::Key(key) => drop(within.keys.remove(key)),
            Of::Stream => within.whole = false,
            Of::App(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        document::Positions,
        engine::{live::ClientId, rooms::Rooms, rooms::name},
    };

    fn opened(rooms: &mut Rooms, name: &str) -> u64 {
        let target = name::parse(name, 100).expect("a name");
        let id = rooms.open(name, &target, Positions::default);
        rooms.join(id, ClientId(1));
        id
    }

    #[test]
    fn a_key_is_wanted_while_a_room_would_hear_of_it() {
        // No bytes to remember anything by: who leaves last closes the room.
        let mut rooms = Rooms::new(4, 0);
        let interest = rooms.interest();
        let wants = |stream: &str, key: &str| interest.wants(stream, key, false);
        assert!(!wants("kv", "a") && !interest.wants("tasks", "a", true));
        let (key, app) = (opened(&mut rooms, "kv/a"), opened(&mut rooms, "agents:summary"));
        assert!(interest.wants("tasks", "b", true), "a room of a part hears of any key");
        assert!(
            wants("kv", "a") && !wants("kv", "b") && !wants("tasks", "b"),
            "but a stream without such is spared"
        );
        rooms.leave(app, ClientId(1));
        assert!(wants("kv", "a") && !wants("kv", "b") && !interest.wants("tasks", "b", true));
        let whole = opened(&mut rooms, "kv");
        assert!(wants("kv", "b") && !wants("other", "a"));
        rooms.leave(whole, ClientId(1));
        rooms.leave(key, ClientId(1));
        assert!(!wants("kv", "a") && !wants("kv", "b"));
    }
}

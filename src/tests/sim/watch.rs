//! Somebody who watches rooms through all of it, on whichever instance is there.
//!
//! Invariant: beside what `Viewer` minds on one connection, nothing older is ever shown across instances, what a room gives
//! as its position is the place of a change, and who has walked through all pages holds everything.
//! Not here: when to look closely (`attend`).

use super::{
    model::{Fate, Model},
    produce::keys,
    world::{Inner, STREAM},
};
use crate::{
    document::Positions,
    tests::live::{
        stage::Stage,
        viewer::{RoomView, Viewer},
    },
};
use std::collections::BTreeMap;

/// Rounds in which whoever reads all that comes has it, page by page.
const CATCH_UP: usize = 7;

pub struct Watcher {
    viewer: Viewer,
    /// The incarnation it is connected to.
    pub home: u64,
    /// Cut off.
    away: bool,
    newest: BTreeMap<(String, String), u64>,
    /// What values of `kv` say they are, in the order of the log.
    furthest: BTreeMap<(String, String), u64>,
    forgets: bool,
    walk: Option<Walk>,
}

/// A walk through the pages of a stream's room.
struct Walk {
    /// Live keys of the store as it began.
    live: BTreeMap<String, u64>,
    pages: usize,
}

impl Watcher {
    pub fn new(stage: &mut Stage, home: u64, rooms: &[&str], forgets: bool) -> Self {
        let mut viewer = Viewer::new(stage);
        viewer.begins_again = forgets;
        viewer.ask(stage, rooms);
        let (newest, furthest) = (BTreeMap::new(), BTreeMap::new());
        Watcher { viewer, home, away: false, newest, furthest, forgets, walk: None }
    }

    pub fn move_to(&mut self, stage: &mut Stage, home: u64) {
        self.look();
        self.viewer.come_back(stage);
        (self.home, self.away) = (home, false);
    }

    pub fn go_away(&mut self, stage: &mut Stage) {
        self.look();
        self.viewer.cut(stage);
        self.away = true;
    }

    /// Comes back if it was away.
    pub fn be_there(&mut self, stage: &mut Stage) {
        if std::mem::take(&mut self.away) {
            self.viewer.come_back(stage);
        }
    }

    pub fn ask_again(&mut self, stage: &mut Stage) {
        self.look();
        self.viewer.reconnect(stage);
    }

    /// Begins with nothing, while the store has these keys.
    pub fn begin_walk(&mut self, stage: &mut Stage, live: BTreeMap<String, u64>) {
        self.look();
        self.viewer.begin_anew(stage);
        self.walk = Some(Walk { live, pages: self.viewer.pages });
    }

    /// Something that it or its instance does.
    pub fn step(&mut self, stage: &mut Stage, dice: u32) {
        match dice {
            0 if self.away => self.be_there(stage),
            0 => self.ask_again(stage),
            1 => self.viewer.line.shut(),
            2 | 3 => self.viewer.line.open(),
            4 => stage.beat(1_000),
            5 => stage.tick(20),
            6 if !self.away => self.viewer.page(stage),
            7 | 8 => drop(stage.begin_reads()),
            9 => stage.look(0),
            10 => stage.end_read(0),
            _ => self.look(),
        }
    }

    /// Time has passed at its instance: what pages showed it may be forgotten there.
    pub fn grow_old(&mut self) {
        self.look();
        self.viewer.grow_old();
    }

    /// Reads all that came, and lets whatever it asked for be read.
    pub fn catch_up(&mut self, stage: &mut Stage) {
        self.viewer.line.set_full(false);
        for _ in 0..CATCH_UP {
            self.read_on(stage);
        }
        stage.run_reads();
        stage.tick(20);
        self.look();
    }

    /// Reads what came, and asks for the next page.
    pub fn read_on(&mut self, stage: &mut Stage) {
        stage.run_reads();
        self.viewer.line.open();
        stage.tick(20);
        self.look();
        self.viewer.page(stage);
    }

    /// The version of each key that it holds, by room and key.
    pub fn held(&self) -> BTreeMap<(String, String), u64> {
        let of_room = |(room, view): (&String, &RoomView)| {
            let held = view.keys.iter().map(|(key, held)| ((room.clone(), key.clone()), held.0));
            held.collect::<Vec<_>>()
        };
        self.viewer.rooms.iter().flat_map(of_room).collect()
    }

    pub fn resumed(&self) -> usize {
        self.viewer.resumed
    }

    /// Of each key that it watches by itself it holds at least this version.
    pub fn assert_keys(&self, model: &Model, least: impl Fn(&str) -> u64, what: &str) {
        for (room, view) in &self.viewer.rooms {
            if let Some((_, key)) = room.split_once('/') {
                assert_holds(room, view, key, least(key), model, what);
            }
        }
    }

    /// Of each key of a stream it holds at least this version.
    pub fn assert_streams(&self, model: &Model, least: impl Fn(&str) -> u64, what: &str) {
        for (room, view) in self.viewer.rooms.iter().filter(|(room, _)| !room.contains('/')) {
            assert!(view.next.is_none(), "{room}: {what}, and there are further pages: {view:?}");
            for key in keys() {
                assert_holds(room, view, &key, least(&key), model, what);
            }
        }
    }

    /// Of each room the answer said whether it comes from the store. `true`: one does.
    pub fn assert_feeds(&self, is_local: impl Fn(Option<&str>) -> bool) -> bool {
        for (room, view) in &self.viewer.rooms {
            let key = room.split_once('/').map(|(_, key)| key);
            assert!(view.live, "{room} was answered");
            assert_eq!(view.from_store, !is_local(key), "whether {room} comes from the store");
        }
        self.viewer.rooms.values().any(|view| view.from_store)
    }

    /// What a room gives as its position is where something changed: never a record that changed nothing.
    pub fn assert_positions(&self, model: &Model) {
        for (room, view) in &self.viewer.rooms {
            let Some(position) = &view.position else { continue };
            let positions: Positions = position.parse().expect("a position");
            let key = room.split_once('/').map(|(_, key)| key);
            for at in &positions.0 {
                let is_change = match model.fates.get(&(at.partition, at.offset)) {
                    Some(Fate::Stored(document)) => key.is_none_or(|key| key == &*document.key),
                    _ => false,
                };
                assert!(is_change, "{room} is at {position}, and nothing changed at {at}");
            }
        }
    }

    /// A walk that has come to its end: whatever happened meanwhile, everything is there that was when it began.
    pub fn end_walk(&mut self, inner: &mut Inner, stored: impl Fn(&str) -> u64) {
        let Some((room, view)) = self.viewer.rooms.iter().find(|(room, _)| !room.contains('/')) else {
            return;
        };
        if !view.live || view.next.is_some() {
            return;
        }
        let Some(walk) = self.walk.take() else { return };
        for (key, version) in &walk.live {
            assert_holds(room, view, key, *version, &inner.model, "all pages were shown");
        }
        let changed = walk.live.iter().any(|(key, version)| stored(key) > *version);
        inner.seen.walks += u64::from(self.viewer.pages > walk.pages);
        inner.seen.walks_changed += u64::from(self.viewer.pages > walk.pages + 1 && changed);
    }

    fn look(&mut self) {
        if self.away {
            return;
        }
        self.viewer.hear();
        for (room, view) in &self.viewer.rooms {
            for (key, (version, value)) in &view.keys {
                let newest = self.newest.entry((room.clone(), key.clone())).or_default();
                assert!(self.forgets || *newest <= *version, "{room}: {key} at {version} after {newest}");
                *newest = *version;
                if let Some(n) = value["n"].as_u64() {
                    let furthest = self.furthest.entry((room.clone(), key.clone())).or_default();
                    assert!(*furthest <= n, "{room}: {key} is {n} after {furthest}");
                    *furthest = n;
                }
            }
        }
    }

    /// How often it was told that a key was forgotten.
    pub fn told_forgotten(&self) -> u64 {
        self.viewer.forgotten
    }

    /// At rest everybody holds what the store holds.
    pub fn at_rest(here: &mut [Watcher], stage: &mut Stage) {
        for watcher in here.iter_mut() {
            watcher.be_there(stage);
            watcher.viewer.line.set_full(false);
        }
        let mut viewers: Vec<Viewer> = Vec::with_capacity(here.len());
        for watcher in here.iter_mut() {
            watcher.look();
            viewers.push(std::mem::replace(&mut watcher.viewer, Viewer::new(stage)));
        }
        stage.settle(&mut viewers);
        for (watcher, viewer) in here.iter_mut().zip(viewers) {
            watcher.viewer = viewer;
            watcher.look();
            assert!(!watcher.viewer.rooms.is_empty(), "it watches nothing of {STREAM}");
            watcher.viewer.assert_holds(&stage.engine);
        }
    }
}

/// This version of the key is held or a later one; or nothing, where it has been removed.
fn assert_holds(room: &str, view: &RoomView, key: &str, least: u64, model: &Model, what: &str) {
    // Removed twice with nobody looking in between is removed.
    let held = view.keys.get(key).filter(|held| held.0 >= least || !held.1.is_null()).map(|held| held.0);
    let holds = held.map_or(least == 0 || model.is_removed_since(key, least), |held| held >= least);
    assert!(view.live && holds, "{room}: {what}: {key} is held at {held:?}, not at {least}: {view:?}");
}

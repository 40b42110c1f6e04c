//! Somebody who watches rooms through all of it, on whichever instance is there.
//!
//! Invariant: beside what `Viewer` minds on one connection, nothing older is ever shown across instances.

use super::{model::Model, produce::keys, world::STREAM};
use crate::tests::live::{
    stage::Stage,
    viewer::{RoomView, Viewer},
};
use std::collections::BTreeMap;

/// Rounds in which whoever reads all that comes has it, page by page.
const CATCH_UP: usize = 6;

pub struct Watcher {
    viewer: Viewer,
    /// The incarnation it is connected to.
    pub home: u64,
    newest: BTreeMap<(String, String), u64>,
}

impl Watcher {
    pub fn new(stage: &mut Stage, home: u64, rooms: &[&str]) -> Self {
        let mut viewer = Viewer::new(stage);
        viewer.ask(stage, rooms);
        Watcher { viewer, home, newest: BTreeMap::new() }
    }

    pub fn move_to(&mut self, stage: &mut Stage, home: u64) {
        self.look();
        self.viewer.come_back(stage);
        self.home = home;
    }

    /// Something that it or its instance does.
    pub fn step(&mut self, stage: &mut Stage, dice: u32) {
        match dice {
            0 => {
                self.look();
                self.viewer.reconnect(stage);
            }
            1 => self.viewer.line.shut(),
            2 | 3 => self.viewer.line.open(),
            4 => stage.beat(1_000),
            5 => stage.tick(20),
            6 => self.viewer.page(stage),
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
            stage.run_reads();
            self.viewer.line.open();
            stage.tick(20);
            self.look();
            self.viewer.page(stage);
        }
        stage.run_reads();
        stage.tick(20);
        self.look();
    }

    /// The version of each key that it holds, by room and key.
    pub fn held(&self) -> BTreeMap<(String, String), u64> {
        let of_room = |(room, view): (&String, &RoomView)| {
            let held = view.keys.iter().map(|(key, held)| ((room.clone(), key.clone()), held.0));
            held.collect::<Vec<_>>()
        };
        self.viewer.rooms.iter().flat_map(of_room).collect()
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

    fn look(&mut self) {
        self.viewer.hear();
        for (room, view) in &self.viewer.rooms {
            for (key, (version, _)) in &view.keys {
                let newest = self.newest.entry((room.clone(), key.clone())).or_default();
                assert!(*newest <= *version, "{room}: {key} at {version} after {newest}");
                *newest = *version;
            }
        }
    }

    /// At rest everybody holds what the store holds.
    pub fn at_rest(here: &mut [Watcher], stage: &mut Stage) {
        for watcher in here.iter_mut() {
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
    let held = view.keys.get(key).map(|held| held.0);
    let holds = held.map_or(least == 0 || model.is_removed_since(key, least), |held| held >= least);
    assert!(view.live && holds, "{room}: {what}: {key} is held at {held:?}, not at {least}: {view:?}");
}

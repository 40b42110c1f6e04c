//! Somebody who watches rooms through all of it, on whichever instance is there.
//!
//! Invariant: beside what `Viewer` minds on one connection, nothing older is ever shown across instances.

use super::world::STREAM;
use crate::tests::live::{stage::Stage, viewer::Viewer};
use std::collections::BTreeMap;

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

//! One client in one room: what it has been shown, and what of it waits.
//!
//! Invariant: a client is never given a version it already has or a lower one, but by a resync; of a room in pages it is
//! given only what lies before the last page it got (semantics 16).
//! Not here: the order between rooms, bytes (`clients`).

use super::waiting::Waiting;
use crate::{
    engine::{
        packet::Reason,
        rooms::{change::Change, page::Page},
    },
    record::Key,
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Items of pages that are remembered so that news already shown there are not told again.
const SHOWN_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub struct Member {
    pub phase: Phase,
    /// The room stands in the client's queue.
    pub queued: bool,
    /// A room of one entity is to be sent anew.
    pub resync: Option<Reason>,
    /// A room of one entity: what the client has.
    seen: Seen,
    /// A room of one entity: versions that the head stands for beyond what the client has.
    covers: u64,
    /// A stream's room.
    waiting: Waiting,
    shown: Option<Box<Shown>>,
}

/// Where a client is in a room.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The snapshot is being read: what is told meanwhile will be in it.
    #[default]
    Joining,
    Live,
    /// A stream's room in pages: shown up to this key.
    Paging {
        upto: Key,
    },
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    version: u64,
    /// Whether a difference of versions is a number of records (not so for partials, and after a move).
    dense: bool,
    partition: u32,
}

/// Versions of items of pages just sent. News of them may still be on their way here.
#[derive(Debug, Default)]
struct Shown {
    fresh: FxHashMap<Key, u64>,
    old: FxHashMap<Key, u64>,
}

impl Member {
    /// From now on what the head changes to is told; the client has `seen` (nothing: a key never seen).
    pub fn go_live(&mut self, seen: Option<&Change>) {
        *self = Member { phase: Phase::Live, queued: self.queued, ..Member::default() };
        self.has_seen(seen);
    }

    /// As `go_live`, for who resumes at an older version of the same partition: the head waits.
    pub fn resume(&mut self, version: u64, head: &Change) {
        self.go_live(Some(head));
        self.seen.version = version;
        self.covers = head.version.saturating_sub(version).max(1);
    }

    fn has_seen(&mut self, seen: Option<&Change>) {
        self.covers = 0;
        self.seen = match seen {
            None => Seen { dense: true, ..Seen::default() },
            Some(change) => Seen {
                version: change.version,
                dense: change.positions.0.len() == 1,
                partition: partition_of(change),
            },
        };
    }

    /// The head moved on. `true`: something waits now.
    pub fn note_head(&mut self, covers: u64) -> bool {
        if self.phase == Phase::Joining {
            return false;
        }
        self.covers += covers.max(1);
        true
    }

    /// Whether the head waits, and how many versions are left out by giving it.
    pub fn take_head(&mut self, head: &Change) -> Option<u64> {
        if self.covers == 0 {
            return None;
        }
        let comparable = self.seen.dense
            && head.positions.0.len() == 1
            && (self.seen.version == 0 || self.seen.partition == partition_of(head));
        let skipped = match comparable {
            true => head.version.saturating_sub(self.seen.version).saturating_sub(1),
            false => self.covers - 1,
        };
        self.has_seen(Some(head));
        Some(skipped)
    }

    /// Whether something of a room of one entity waits.
    pub fn head_waits(&self) -> bool {
        self.covers > 0
    }

    /// What waits is void: the room is sent anew.
    pub fn void(&mut self, reason: Reason) {
        self.covers = 0;
        self.resync = Some(reason);
    }

    /// The resync was given; the client has this now.
    pub fn resynced(&mut self, seen: Option<&Change>) {
        self.resync = None;
        self.has_seen(seen);
    }

    /// A change of a stream's room. `true`: it waits now.
    pub fn note_change(&mut self, change: &Arc<Change>, covers: u64) -> bool {
        let withheld = match &self.phase {
            Phase::Joining => true,
            Phase::Live => false,
            Phase::Paging { upto } => change.key > *upto,
        };
        if withheld || self.shown.as_ref().is_some_and(|shown| shown.has(change)) {
            return false;
        }
        self.waiting.put(change.clone(), covers);
        true
    }

    pub fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    pub fn waits(&self) -> bool {
        self.covers > 0 || self.resync.is_some() || !self.waiting.is_empty()
    }

    /// The first page: whatever waited or was shown before is void.
    pub fn begin_pages(&mut self, page: &Page) {
        *self = Member { queued: self.queued, ..Member::default() };
        self.reach(page);
    }

    /// A further page was given, of the keys after `after`. One that does not go on where
    /// the last one ended is of an earlier walk, and leads nowhere.
    pub fn show_page(&mut self, after: Option<&Key>, page: &Page) {
        match &self.phase {
            Phase::Joining => {}
            Phase::Live => self.shown.get_or_insert_default().add(page),
            Phase::Paging { upto } if after == Some(upto) => self.reach(page),
            Phase::Paging { .. } => {}
        }
    }

    fn reach(&mut self, page: &Page) {
        self.phase = match &page.upto {
            None => Phase::Live,
            Some(upto) => Phase::Paging { upto: upto.clone() },
        };
        self.shown.get_or_insert_default().add(page);
    }

    /// Forgets the older half of what pages showed; called on a beat longer than news are ever on their way.
    pub fn turn_shown(&mut self) {
        if let Some(shown) = &mut self.shown {
            shown.turn();
            if shown.old.is_empty() {
                self.shown = None;
            }
        }
    }
}

impl Shown {
    fn add(&mut self, page: &Page) {
        if self.fresh.len() + page.items.len() > SHOWN_MAX {
            self.turn();
        }
        self.fresh.extend(page.items.iter().map(|item| (item.key.clone(), item.version)));
    }

    fn turn(&mut self) {
        self.old = std::mem::take(&mut self.fresh);
    }

    fn has(&self, change: &Change) -> bool {
        let shown = self.fresh.get(&change.key).or_else(|| self.old.get(&change.key));
        shown.is_some_and(|version| change.version <= *version)
    }
}

fn partition_of(change: &Change) -> u32 {
    change.positions.0.first().map_or(0, |position| position.partition)
}

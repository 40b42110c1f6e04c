//! Which reads are wanted, in what order they begin, and who waits for which.
//!
//! Invariant: at most `reads_max` reads are under way, each bounded in keys; a read that a client waits for began after
//! the client had joined (join first, read second). Wanting twice is wanting once.
//! Not here: reading, and what a read means.

use crate::{
    engine::{
        api::StreamName,
        live::ClientId,
        news::News,
        rooms::{RoomId, page::Found},
    },
    record::Key,
};
use rustc_hash::FxHashMap;
use std::{collections::VecDeque, sync::Arc};

/// A read to be made.
#[derive(Debug, Clone)]
pub enum Job {
    Keys(KeysJob),
    Merges(MergesJob),
    Room(RoomJob),
    Page(PageJob),
    Part(PartJob),
    Gone(GoneJob),
}

/// The next part of a stream that is followed.
#[derive(Debug, Clone)]
pub struct PartJob {
    pub stream: StreamName,
    pub room: RoomId,
    pub after: Option<Key>,
    pub items_max: usize,
}

/// Keys that a followed stream no longer lists: what became of them.
#[derive(Debug, Clone)]
pub struct GoneJob {
    pub stream: StreamName,
    pub room: RoomId,
    pub keys: Vec<Key>,
}

/// Keys of rooms of one entity.
#[derive(Debug, Clone)]
pub struct KeysJob {
    pub number: u64,
    pub stream: StreamName,
    pub rooms: Vec<RoomId>,
    pub keys: Vec<Key>,
    /// What each room's head had been when the read began.
    pub turns: Vec<u64>,
    /// From the store itself, not from the view.
    pub stored: bool,
}

/// Keys of which a partial moved: the merges are told.
#[derive(Debug, Clone)]
pub struct MergesJob {
    pub stream: StreamName,
    pub merges: Vec<Merge>,
}

/// One key whose merge is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    pub key: Key,
    /// The partition that moved last.
    pub partition: u32,
    /// Versions that the merge stands for.
    pub covers: u64,
}

/// The entity of an app's room.
#[derive(Debug, Clone)]
pub struct RoomJob {
    pub number: u64,
    pub stream: StreamName,
    pub name: Arc<str>,
    pub room: RoomId,
    pub turn: u64,
}

/// A page of a stream's room, for one call.
#[derive(Debug, Clone)]
pub struct PageJob {
    pub stream: StreamName,
    pub room: RoomId,
    pub ticket: Ticket,
    pub after: Option<Key>,
    pub items_max: usize,
    /// The room's next number when the read began; set as it begins.
    pub began: u64,
    /// The room's position then.
    pub position: Option<String>,
}

impl PageJob {
    pub fn found(&self, items: Vec<crate::document::Shown>, more: bool) -> Found {
        Found { after: self.after.clone(), items, more, began: self.began }
    }
}

/// Which part of which call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub client: ClientId,
    /// The call's number; a call that is over waits for nothing.
    pub call: u64,
    /// The room's place in the call.
    pub index: usize,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    /// The first read that will do.
    from: u64,
    stored: bool,
}

#[derive(Debug, Default)]
struct OfStream {
    view: VecDeque<(Key, RoomId)>,
    stored: VecDeque<(Key, RoomId)>,
}

#[derive(Debug, Default)]
struct Merges {
    merges: Vec<Merge>,
    at: FxHashMap<Key, usize>,
}

/// Wanted reads.
#[derive(Debug)]
pub struct Reads {
    reads_max: usize,
    keys_max: usize,
    next_number: u64,
    under_way: usize,
    streams: FxHashMap<StreamName, OfStream>,
    /// Rooms that stand in a queue of `streams`: (view, stored).
    queued: FxHashMap<RoomId, (bool, bool)>,
    rooms: VecDeque<(RoomId, StreamName, Arc<str>)>,
    merges: FxHashMap<StreamName, Merges>,
    merges_max: usize,
    pages: VecDeque<PageJob>,
    /// What follows streams, one part or one look at a time for each.
    following: VecDeque<Job>,
    waiters: FxHashMap<RoomId, Vec<Waiter>>,
    pages_next: bool,
}

impl Reads {
    pub fn new(reads_max: usize, keys_max: usize, merges_max: usize) -> Self {
        Reads {
            reads_max,
            keys_max,
            next_number: 0,
            under_way: 0,
            streams: FxHashMap::default(),
            queued: FxHashMap::default(),
            rooms: VecDeque::new(),
            merges: FxHashMap::default(),
            merges_max,
            pages: VecDeque::new(),
            following: VecDeque::new(),
            waiters: FxHashMap::default(),
            pages_next: false,
        }
    }

    /// Wants the key of a room read.
    pub fn want_key(&mut self, stream: &StreamName, key: &Key, room: RoomId, stored: bool) {
        let queued = self.queued.entry(room).or_default();
        let flag = if stored { &mut queued.1 } else { &mut queued.0 };
        if std::mem::replace(flag, true) {
            return;
        }
        let place = self.streams.entry(stream.clone()).or_default();
        let queue = if stored { &mut place.stored } else { &mut place.view };
        queue.push_back((key.clone(), room));
    }

    /// Wants the entity of an app's room read.
    pub fn want_room(&mut self, stream: &StreamName, name: &Arc<str>, room: RoomId) {
        if !self.rooms.iter().any(|(wanted, ..)| *wanted == room) {
            self.rooms.push_back((room, stream.clone(), name.clone()));
        }
    }

    /// Wants the merge of a key read, for what these news say. `false`: more wait than may.
    pub fn want_merge(&mut self, news: &News) -> bool {
        let waiting = self.merges.entry(news.stream.clone()).or_default();
        let (key, partition) = (&news.shown.key, news.partition);
        let at = waiting.at.get(key).copied();
        if let Some(merge) = at.and_then(|at| waiting.merges.get_mut(at)) {
            merge.covers += news.covers;
            merge.partition = partition;
            return true;
        }
        let may = waiting.merges.len() < self.merges_max;
        if may {
            waiting.at.insert(key.clone(), waiting.merges.len());
            waiting.merges.push(Merge { key: key.clone(), partition, covers: news.covers });
        }
        may
    }

    pub fn want_page(&mut self, job: PageJob) {
        self.pages.push_back(job);
    }

    pub fn want_part(&mut self, job: PartJob) {
        self.following.push_back(Job::Part(job));
    }

    pub fn want_gone(&mut self, job: GoneJob) {
        self.following.push_back(Job::Gone(job));
    }

    /// The ticket waits for the next read of this room that begins.
    pub fn wait(&mut self, room: RoomId, ticket: Ticket, stored: bool) {
        let from = self.next_number;
        self.waiters.entry(room).or_default().push(Waiter { ticket, from, stored });
    }

    /// Who is served by this read of the room.
    pub fn served(&mut self, room: RoomId, number: u64, stored: bool) -> Vec<Ticket> {
        let Some(waiters) = self.waiters.get_mut(&room) else { return Vec::new() };
        let is_served = |waiter: &Waiter| waiter.from <= number && (stored || !waiter.stored);
        let served = waiters.iter().filter(|w| is_served(w)).map(|w| w.ticket).collect();
        waiters.retain(|waiter| !is_served(waiter));
        if waiters.is_empty() {
            self.waiters.remove(&room);
        }
        served
    }

    pub fn ended(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The next read to begin, if there may be one. Pages take turns with keys, so that neither starves.
    pub fn begin(&mut self) -> Option<Job> {
        if self.under_way >= self.reads_max {
            return None;
        }
        self.pages_next = !self.pages_next;
        let job = match self.pages_next {
            true => self.begin_page().or_else(|| self.begin_keys()),
            false => self.begin_keys().or_else(|| self.begin_page()),
        }?;
        self.under_way += 1;
        Some(job)
    }

    fn begin_page(&mut self) -> Option<Job> {
        self.pages.pop_front().map(Job::Page)
    }

    /// Clients wait for the view, so it comes before what is read on a beat.
    fn begin_keys(&mut self) -> Option<Job> {
        let number = self.next_number;
        let job = self
            .take_keys(number, false)
            .or_else(|| self.take_merges())
            .or_else(|| self.take_room(number))
            .or_else(|| self.take_keys(number, true))
            .or_else(|| self.following.pop_front())?;
        self.next_number += 1;
        Some(job)
    }

    fn take_merges(&mut self) -> Option<Job> {
        let stream = self.merges.keys().next()?.clone();
        let mut waiting = self.merges.remove(&stream)?;
        if waiting.merges.len() > self.keys_max {
            let rest = waiting.merges.split_off(self.keys_max);
            let at = rest.iter().enumerate().map(|(at, merge)| (merge.key.clone(), at)).collect();
            self.merges.insert(stream.clone(), Merges { merges: rest, at });
        }
        Some(Job::Merges(MergesJob { stream, merges: waiting.merges }))
    }

    fn take_room(&mut self, number: u64) -> Option<Job> {
        let (room, stream, name) = self.rooms.pop_front()?;
        Some(Job::Room(RoomJob { number, stream, name, room, turn: 0 }))
    }

    fn take_keys(&mut self, number: u64, stored: bool) -> Option<Job> {
        let waits = |place: &OfStream| !if stored { &place.stored } else { &place.view }.is_empty();
        let stream = self.streams.iter().find(|(_, place)| waits(place)).map(|(stream, _)| stream.clone())?;
        let place = self.streams.get_mut(&stream)?;
        let queue = if stored { &mut place.stored } else { &mut place.view };
        let taken = queue.len().min(self.keys_max);
        let (keys, rooms): (Vec<Key>, Vec<RoomId>) = queue.drain(..taken).unzip();
        if place.view.is_empty() && place.stored.is_empty() {
            self.streams.remove(&stream);
        }
        for room in &rooms {
            self.unqueue(*room, stored);
        }
        Some(Job::Keys(KeysJob { number, stream, rooms, keys, turns: Vec::new(), stored }))
    }

    fn unqueue(&mut self, room: RoomId, stored: bool) {
        let Some(queued) = self.queued.get_mut(&room) else { return };
        *(if stored { &mut queued.1 } else { &mut queued.0 }) = false;
        if *queued == (false, false) {
            self.queued.remove(&room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(job: Option<Job>) -> Option<(u64, Vec<String>, bool)> {
        let Some(Job::Keys(job)) = job else { return None };
        Some((job.number, job.keys.iter().map(|key| key.to_string()).collect(), job.stored))
    }

    fn want(reads: &mut Reads, room: RoomId, stored: bool) {
        reads.want_key(&"kv".into(), &format!("k{room}").into(), room, stored);
    }

    fn ticket(index: usize) -> Ticket {
        Ticket { client: ClientId(1), call: 1, index }
    }

    #[test]
    fn keys_are_read_in_bounded_batches_and_wanted_once() {
        let mut reads = Reads::new(2, 2, 10);
        for room in [1, 2, 1, 3] {
            want(&mut reads, room, false);
        }
        assert_eq!(keys(reads.begin()), Some((0, vec!["k1".into(), "k2".into()], false)));
        assert_eq!(keys(reads.begin()), Some((1, vec!["k3".into()], false)));
        want(&mut reads, 4, false);
        assert!(reads.begin().is_none(), "two are under way");
        reads.ended();
        assert_eq!(keys(reads.begin()), Some((2, vec!["k4".into()], false)));
    }

    #[test]
    fn who_joins_during_a_read_waits_for_the_next_one() {
        let mut reads = Reads::new(4, 10, 10);
        want(&mut reads, 1, false);
        reads.wait(1, ticket(0), false);
        let (first, ..) = keys(reads.begin()).expect("a job");
        want(&mut reads, 1, false);
        reads.wait(1, ticket(1), false);
        assert_eq!(reads.served(1, first, false), [ticket(0)]);
        let (second, ..) = keys(reads.begin()).expect("a job");
        assert_eq!(reads.served(1, second, false), [ticket(1)]);
    }

    #[test]
    fn who_waits_for_the_store_is_not_served_by_the_view() {
        let mut reads = Reads::new(4, 10, 10);
        reads.wait(1, ticket(0), true);
        assert_eq!(reads.served(1, 5, false), []);
        assert_eq!(reads.served(1, 6, true), [ticket(0)]);
    }
}

//! Following a stream whose partitions are consumed elsewhere: the store is read key by key, round after round.
//!
//! Invariant: whoever is in such a room is told of a change within a round, or the room is sent anew; a stream with more
//! keys than may be known is sent anew on the beat of `sync_interval_ms`, since nobody can say what changed.
//! Not here: what is known (`rooms::follow`). With Redis the owner's news arrive instead.

use super::{
    hub::Hub,
    reads::{GoneJob, PartJob},
};
use crate::{
    document::Shown,
    engine::{
        api::{ListPage, ReadError},
        packet::Reason,
        rooms::{
            Feed, RoomId, State,
            change::Change,
            follow::{Follow, Part},
        },
    },
};

/// Bytes of entities in one part, roughly.
const PART_BYTES: usize = 1 << 20;

impl Hub {
    /// How a room hears of changes from now on.
    pub(super) fn set_feed(&mut self, id: RoomId, feed: Feed) {
        let keys_max = self.settings.live.news_keys_max;
        let Some(room) = self.rooms.get_mut(id) else { return };
        room.feed = feed;
        match (feed, &room.state) {
            (Feed::Store, State::Many(_)) => {
                room.follow.get_or_insert_with(|| Box::new(Follow::new(keys_max)));
            }
            (Feed::Local, _) | (_, State::One(_)) => room.follow = None,
        }
    }

    /// Goes on with every round. Called on a beat, while somebody is in the room.
    pub(super) fn follow_streams(&mut self) {
        let followed =
            self.rooms.iter().filter(|(_, room)| room.follow.is_some() && !room.members().is_empty());
        let ids: Vec<RoomId> = followed.map(|(id, _)| id).collect();
        for id in ids {
            self.want_part(id);
        }
    }

    /// Streams that cannot be followed are sent anew.
    pub(super) fn send_unfollowed_anew(&mut self) {
        let too_large = |follow: &Follow| follow.is_too_large();
        let rooms = self.rooms.iter().filter(|(_, room)| room.follow.as_deref().is_some_and(too_large));
        let ids: Vec<RoomId> = rooms.map(|(id, _)| id).collect();
        for id in ids {
            if let Some(room) = self.rooms.get_mut(id) {
                room.follow = Some(Box::new(Follow::new(self.settings.live.news_keys_max)));
            }
            self.send_all_anew(id, Reason::Unfollowed);
        }
    }

    fn want_part(&mut self, id: RoomId) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let Some(follow) = room.follow.as_mut() else { return };
        if !follow.begin() {
            return;
        }
        let (stream, after) = (room.stream.clone(), follow.next());
        let bytes = self.item_bytes.get(&stream).copied().unwrap_or(4_096).max(64);
        let items_max = (PART_BYTES / bytes).clamp(8, self.settings.page_items_max.max(8));
        self.reads.want_part(PartJob { stream, room: id, after, items_max });
    }

    /// The next part of a round was read. What went before any change is told; what is gone is looked for.
    pub(super) fn part_read(&mut self, job: &PartJob, found: Result<ListPage, ReadError>) {
        self.reads.ended();
        let Some(follow) = self.rooms.get_mut(job.room).and_then(|room| room.follow.as_mut()) else { return };
        follow.ended();
        let page = match found {
            Ok(page) => page,
            // Away: the round goes on where it is on the next beat.
            Err(error) => return tracing::debug!(%error, stream = &*job.stream, "stream not followed now"),
        };
        let part = Part { after: job.after.as_ref(), items: &page.items, more: page.next.is_some() };
        let (newer, keys) = follow.take_in(part);
        let goes_on = !follow.is_round();
        for shown in newer.iter().filter_map(|place| page.items.get(*place)) {
            self.tell_stored(job.room, shown);
        }
        if !keys.is_empty() {
            self.reads.want_gone(GoneJob { stream: job.stream.clone(), room: job.room, keys });
        }
        if goes_on {
            self.want_part(job.room);
        }
    }

    /// Keys that were no longer listed: removed, there after all, or forgotten altogether.
    pub(super) fn gone_read(&mut self, job: &GoneJob, found: Result<Vec<Shown>, ReadError>) {
        self.reads.ended();
        let Ok(found) = found else { return };
        let Some(room) = self.rooms.get_mut(job.room) else { return };
        let Some(follow) = room.follow.as_mut() else { return };
        let removed = found.iter().filter(|shown| shown.value.is_none());
        removed.for_each(|shown| follow.forget(&shown.key));
        let forgotten = job.keys.iter().filter(|key| !found.iter().any(|shown| shown.key == **key));
        let mut any_forgotten = false;
        for key in forgotten {
            follow.forget(key);
            any_forgotten = true;
        }
        for shown in found.iter().filter(|shown| shown.value.is_none()) {
            self.tell_stored(job.room, shown);
        }
        if any_forgotten {
            self.send_all_anew(job.room, Reason::Forgotten);
        }
    }

    /// A page was read for somebody: what it shows first is told, since others saw less.
    pub(super) fn note_shown(&mut self, id: RoomId, items: &[Shown]) {
        let Some(follow) = self.rooms.get_mut(id).and_then(|room| room.follow.as_mut()) else { return };
        let first: Vec<&Shown> =
            items.iter().filter(|shown| follow.show(&shown.key, shown.version)).collect();
        first.into_iter().for_each(|shown| self.tell_stored(id, shown));
    }

    fn tell_stored(&mut self, id: RoomId, shown: &Shown) {
        let Some(room) = self.rooms.get(id) else { return };
        let change = Change::of(&room.stream, shown);
        let partition = shown.positions.0.first().map_or(0, |position| position.partition);
        if self.rooms.tell(id, &change, partition, 1, false) {
            self.each_member(id, |client| client.note_change(id, &change, 1));
        }
    }
}

//! Telling: what the writers left becomes what waits for clients.
//!
//! Invariant: whatever was stored is told in every open room it belongs to, or the room is marked and read, or sent anew;
//! there is no third way. Not here: handing over (`flush`), reading (`brought`).

use super::{
    hub::{Hub, Own, Seat, make_ready},
    reads::MergesJob,
};
use crate::{
    document::Positions,
    engine::{
        api::{Read, ReadError},
        clients::{Client, Noted, member::Phase},
        news::{News, NewsKind, Taken},
        packet::Reason,
        rooms::{Feed, Of, Room, RoomId, State, change::Change, one::Offer},
    },
    metrics,
};
use std::sync::Arc;
use tokio::time::Instant;

impl Hub {
    /// Takes in what the writers left.
    pub fn news(&mut self, taken: Taken, now: Instant) {
        for news in &taken.news {
            self.tell(news, now);
        }
        if taken.gapped {
            metrics::NEWS_GAPPED.add(&[], 1);
            self.beats.gapped(now);
            self.gapped();
        }
    }

    fn tell(&mut self, news: &News, now: Instant) {
        match news.kind {
            NewsKind::Partial => return self.tell_partial(news),
            NewsKind::Room => return self.tell_room(news),
            NewsKind::Change | NewsKind::Read | NewsKind::Forgotten => {}
        }
        let mut encoded = None;
        if let Some(room) = self.rooms.key(&news.stream, &news.shown.key) {
            match news.kind {
                NewsKind::Forgotten => self.forgotten(room, &news.shown.positions),
                _ => self.tell_one(room, news, &mut encoded),
            }
        }
        if news.kind == NewsKind::Forgotten {
            return;
        }
        if let Some(room) = self.rooms.stream(&news.stream) {
            self.tell_many(room, news, &mut encoded, now);
        }
        self.want_rooms(news);
    }

    /// Rooms that show a part of the stream, this key in it, are read.
    fn want_rooms(&mut self, news: &News) {
        for name in &news.rooms {
            if let Some(id) = self.rooms.app(&news.stream, name)
                && let Some(Room { of: Of::App(name), stream, .. }) = self.rooms.get(id)
            {
                self.reads.want_room(stream, name, id);
            }
        }
    }

    /// A partial is never told: where somebody looks at the key, the merge is read, as often as reads come round.
    fn tell_partial(&mut self, news: &News) {
        let key = self.rooms.key(&news.stream, &news.shown.key);
        if (key.is_some() || self.rooms.stream(&news.stream).is_some()) && !self.reads.want_merge(news) {
            self.gapped();
        }
        self.want_rooms(news);
    }

    /// Merges were read: they are told as the changes they stand for. One that could not be read is found on the beat.
    pub(super) fn merges_read(
        &mut self,
        job: &MergesJob,
        found: Vec<Result<Option<Read>, ReadError>>,
        now: Instant,
    ) {
        self.reads.ended();
        for (merge, found) in job.merges.iter().zip(found) {
            let Ok(Some(Read { shown, .. })) = found else { continue };
            let (stream, kind) = (job.stream.clone(), NewsKind::Change);
            let (partition, covers, rooms) = (merge.partition, merge.covers, Vec::new());
            self.tell(&News { stream, partition, shown, covers, rooms, kind }, now);
        }
    }

    fn tell_room(&mut self, news: &News) {
        let Some(id) = self.rooms.app(&news.stream, &news.shown.key) else { return };
        let offer = self.rooms.offer(id, &news.shown, true, || Change::of(&news.stream, &news.shown));
        self.note_offer(id, offer, news.covers);
    }

    fn tell_one(&mut self, id: RoomId, news: &News, encoded: &mut Option<Arc<Change>>) {
        let encode = || encoded.get_or_insert_with(|| Change::of(&news.stream, &news.shown)).clone();
        let slid = news.kind == NewsKind::Change && self.known.get(&news.stream).is_some_and(|k| k.partials);
        let offer = self.rooms.offer(id, &news.shown, slid, encode);
        self.note_offer(id, offer, news.covers);
    }

    /// Tells the members of a room of one entity what became of its head.
    pub(super) fn note_offer(&mut self, id: RoomId, offer: Offer, covers: u64) {
        match offer {
            Offer::Old => {}
            Offer::Newer { .. } => self.each_member(id, |client| client.note_head(id, covers)),
            Offer::Anew => self.void(id, Reason::Replaced),
        }
    }

    pub(super) fn void(&mut self, id: RoomId, reason: Reason) {
        self.each_member(id, |client| client.void(id, reason));
    }

    fn forgotten(&mut self, id: RoomId, positions: &Positions) {
        let Some(one) = self.rooms.get(id).and_then(Room::one) else { return };
        if one.head().is_none_or(|head| positions.cover(&head.positions)) && self.rooms.absent(id) {
            self.void(id, Reason::Forgotten);
        }
    }

    fn tell_many(&mut self, id: RoomId, news: &News, encoded: &mut Option<Arc<Change>>, now: Instant) {
        let change = encoded.get_or_insert_with(|| Change::of(&news.stream, &news.shown));
        let read = news.kind == NewsKind::Read;
        if self.rooms.tell(id, change, news.partition, news.covers, read) {
            let change = change.clone();
            self.each_member(id, |client| client.note_change(id, &change, news.covers));
            if let Some(follow) = self.rooms.get_mut(id).and_then(|room| room.follow.as_mut()) {
                follow.told(&change.key, change.version, change.removed);
            }
        } else if read && self.is_in_doubt(id, &news.shown.key) {
            self.beats.gapped(now);
            self.mark_gapped(id);
        }
    }

    /// Whether nobody can say if a state that was only read was told: who stored it may have ended before, and what others
    /// stored since stands beyond it.
    fn is_in_doubt(&self, id: RoomId, key: &str) -> bool {
        let room = self.rooms.get(id).filter(|room| room.whole && room.feed == Feed::Local);
        room.and_then(Room::many).is_some_and(|many| !many.remembers(key))
    }

    pub(super) fn each_member(&mut self, id: RoomId, mut note: impl FnMut(&mut Client) -> Noted) {
        let Some(room) = self.rooms.get(id) else { return };
        for member in room.members() {
            let Some(seat) = self.seats.get_mut(member) else { continue };
            match note(&mut seat.client) {
                Noted::Nothing => {}
                Noted::Waits => make_ready(seat, *member, &mut self.ready),
                Noted::Overflow => {
                    send_anew(seat, id, Reason::Overflow);
                    make_ready(seat, *member, &mut self.ready);
                }
            }
        }
    }

    /// News were left out: every open room is read; rooms of streams are sent anew when it has ceased.
    fn gapped(&mut self) {
        let open: Vec<RoomId> =
            self.rooms.iter().filter(|(_, room)| !room.members().is_empty()).map(|(id, _)| id).collect();
        for id in open {
            self.want(id, false);
            self.mark_gapped(id);
        }
        let left: Vec<RoomId> =
            self.rooms.iter().filter(|(_, room)| room.members().is_empty()).map(|(id, _)| id).collect();
        for id in left {
            self.mark_gapped(id);
        }
    }

    fn mark_gapped(&mut self, id: RoomId) {
        if let Some(room) = self.rooms.get_mut(id)
            && matches!(room.state, State::Many(_))
        {
            room.whole = false;
            self.rooms.begin_anew(id, Positions::default());
        }
    }

    /// Sends a stream's room anew to everyone in it.
    pub(super) fn send_all_anew(&mut self, id: RoomId, reason: Reason) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        room.whole = true;
        let members = room.members().to_vec();
        let positions = self.engine.stream_positions(&room.stream);
        self.rooms.begin_anew(id, positions);
        for member in members {
            if let Some(seat) = self.seats.get_mut(&member) {
                send_anew(seat, id, reason);
                make_ready(seat, member, &mut self.ready);
            }
        }
    }
}

/// Whatever waits of this stream's room is void, and nothing more is told until it was sent anew. Not so while its first
/// page is being read: that is anew already.
pub(super) fn send_anew(seat: &mut Seat, room: RoomId, reason: Reason) {
    let Some(member) = seat.client.rooms.get_mut(&room) else { return };
    if member.phase == Phase::Joining {
        return;
    }
    member.phase = Phase::Joining;
    member.waiting().clear();
    seat.own.retain(|own| !matches!(own, Own::Resync(id, _) | Own::NextPage(id) if *id == room));
    seat.own.push_back(Own::Resync(room, reason));
}

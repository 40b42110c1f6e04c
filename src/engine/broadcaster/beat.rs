//! What is done on a beat: rooms compared with the store, heartbeats, and clients that are gone.
//!
//! Invariant: whatever news were lost on their way here is found within `sync_interval_ms`, and a client that takes
//! nothing is gone within `stalled_after_ms` and a beat; nothing here waits for either.
//! Not here: reading.

use super::{
    hub::{Hub, Own, make_ready},
    summary,
};
use crate::{
    config,
    engine::{
        api::StreamName,
        live::ClientId,
        packet::{Packet, Reason},
        rooms::{Feed, Of, RoomId, State, change::Change},
    },
    metrics,
};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::Instant;

/// News are on their way here for less than this.
const SHOWN_TURN: Duration = Duration::from_secs(5);
/// After the last gap, so long until rooms of streams are sent anew.
const GAP_REST: Duration = Duration::from_millis(500);
const SUMMARY_MS: u64 = 1_000;
/// A window slides without a record: what is merged is read so often while somebody looks.
const SLIDE_MS: u64 = 1_000;
/// Times within which clients come back after a goodbye.
const RETRY_MS: u64 = 250;
const RETRY_SPREAD_MS: u64 = 2_000;

/// When what was done last.
pub struct Beats {
    /// Half of the time between two beats: so early is on time, or else every second one would be late.
    slack: Duration,
    feed: Instant,
    sync: Instant,
    turn: Instant,
    slide: Instant,
    summary: Instant,
    gap: Option<Instant>,
    postponed: Vec<(ClientId, Own)>,
}

impl Beats {
    pub fn new(now: Instant, interval: Duration) -> Self {
        Beats {
            slack: interval / 2,
            feed: now,
            sync: now,
            turn: now,
            slide: now,
            summary: now,
            gap: None,
            postponed: Vec::new(),
        }
    }

    /// Does on the next beat what could not be done now.
    pub(super) fn postpone(&mut self, client: ClientId, own: Own) {
        self.postponed.push((client, own));
    }

    pub(super) fn gapped(&mut self, now: Instant) {
        self.gap = Some(now);
    }
}

/// Whether it is time; if so, it begins anew.
fn is_due(last: &mut Instant, now: Instant, after: Duration) -> bool {
    let due = now.saturating_duration_since(*last) >= after;
    if due {
        *last = now;
    }
    due
}

/// How often the hub's beat is to come.
pub(super) fn interval(live: &config::Live) -> Duration {
    let least = [live.feed_interval_ms, live.sync_interval_ms, live.heartbeat_ms, live.stalled_after_ms / 4]
        .into_iter()
        .fold(1_000, u64::min);
    Duration::from_millis(least.max(10))
}

impl Hub {
    /// How often `beat` is to be called.
    pub fn beat_interval(&self) -> Duration {
        interval(&self.settings.live)
    }

    pub fn beat(&mut self, now: Instant) {
        for (client, own) in std::mem::take(&mut self.beats.postponed) {
            if let Some(seat) = self.seats.get_mut(&client) {
                seat.own.push_back(own);
            }
            self.start_calls(client, now);
        }
        self.look_at_clients(now);
        let live = &self.settings.live;
        let early = |ms| Duration::from_millis(ms).saturating_sub(self.beats.slack);
        let (feed, sync, summary, slide) =
            (early(live.feed_interval_ms), early(live.sync_interval_ms), early(SUMMARY_MS), early(SLIDE_MS));
        if is_due(&mut self.beats.feed, now, feed) {
            self.look_at_streams();
            self.read_rooms(Feed::Store);
            self.follow_streams();
        }
        if is_due(&mut self.beats.slide, now, slide) {
            self.slide();
        }
        if is_due(&mut self.beats.sync, now, sync) {
            self.read_rooms(Feed::Local);
            self.send_unfollowed_anew();
        }
        if self.beats.gap.is_some_and(|gap| now.saturating_duration_since(gap) >= GAP_REST) {
            self.beats.gap = None;
            self.mend();
        }
        if is_due(&mut self.beats.summary, now, summary) {
            self.summarize(now);
        }
        self.report();
    }

    /// Clients that are closed or take nothing go; the others have their heartbeat.
    fn look_at_clients(&mut self, now: Instant) {
        let live = &self.settings.live;
        let stalled_after = Duration::from_millis(live.stalled_after_ms);
        let connect_timeout = Duration::from_millis(live.connect_timeout_ms);
        let heartbeat = Duration::from_millis(live.heartbeat_ms);
        let turn = is_due(&mut self.beats.turn, now, SHOWN_TURN);
        if turn {
            self.meters.latencies.turn();
        }
        let mut gone = Vec::new();
        for (id, seat) in &mut self.seats {
            let client = &mut seat.client;
            let unsent = client.listener.unsent_bytes();
            client.pace.observe(now, unsent);
            if !client.listener.is_open() && now.saturating_duration_since(client.since) > connect_timeout {
                gone.push((*id, "closed"));
            } else if client.pace.is_stalled(now, unsent, stalled_after) {
                gone.push((*id, "stalled"));
            } else if client.next_heartbeat <= now {
                client.next_heartbeat = now + heartbeat;
                client.heartbeat_due = !client.rooms.is_empty();
                make_ready(seat, *id, &mut self.ready);
            }
            if turn {
                seat.client.rooms.values_mut().for_each(|member| member.turn_shown());
            }
        }
        for (id, why) in gone {
            self.evict(id, why);
        }
    }

    fn evict(&mut self, id: ClientId, why: &'static str) {
        let Some(seat) = self.seats.get(&id) else { return };
        seat.client.listener.close();
        if why == "closed" {
            self.left(id);
        } else {
            self.removed(id, why);
        }
    }

    /// A client is gone, by itself or because the system gave its connection up before we did.
    pub(super) fn left(&mut self, id: ClientId) {
        match self.seats.get(&id) {
            Some(seat) if seat.client.listener.is_given_up() => self.removed(id, "unacknowledged"),
            _ => self.remove(id),
        }
    }

    fn removed(&mut self, id: ClientId, why: &'static str) {
        self.stats.removed.fetch_add(1, Ordering::Relaxed);
        metrics::CLIENTS_REMOVED.add(&[("why", why.into())], 1);
        tracing::info!(client = id.0, why, "client removed");
        self.remove(id);
    }

    /// Partitions may have come or gone.
    fn look_at_streams(&mut self) {
        let streams: Vec<StreamName> = self.known.keys().cloned().collect();
        for stream in streams {
            let Some(known) = self.look_up(&stream) else { continue };
            let changed =
                self.known.insert(stream.clone(), known.clone()).is_some_and(|before| before != known);
            if changed {
                self.rebalanced(&stream);
            }
        }
        let feeds: Vec<(RoomId, Feed)> =
            self.rooms.iter().map(|(id, room)| (id, self.feed_of(room))).collect();
        for (id, feed) in feeds {
            self.set_feed(id, feed);
        }
    }

    /// Who consumed a partition before may have stored what was never told here.
    fn rebalanced(&mut self, stream: &str) {
        let of_stream =
            self.rooms.iter().filter(|(_, room)| &*room.stream == stream && !room.members().is_empty());
        let open: Vec<RoomId> = of_stream.map(|(id, _)| id).collect();
        open.into_iter().for_each(|id| self.want(id, true));
        if let Some(room) = self.rooms.stream(stream) {
            self.send_all_anew(room, Reason::Rebalanced);
        }
    }

    /// Merges of open rooms are read from the view; rooms that show a whole stream look by themselves while they are asked.
    fn slide(&mut self) {
        let open = self.rooms.iter().filter(|(id, room)| !room.members().is_empty() && self.slides(*id));
        let ids: Vec<RoomId> = open.map(|(id, _)| id).collect();
        for id in ids {
            self.want(id, false);
        }
    }

    /// Whether what this room shows changes with the time alone.
    pub(super) fn slides(&self, id: RoomId) -> bool {
        let Some(room) = self.rooms.get(id) else { return false };
        match room.of {
            Of::Key(_) | Of::App(_) => self.known.get(&room.stream).is_some_and(|known| known.partials),
            Of::Stream => false,
        }
    }

    /// Reads the store for every open room that is fed this way.
    fn read_rooms(&mut self, feed: Feed) {
        let open = self.rooms.iter().filter(|(_, room)| room.feed == feed && !room.members().is_empty());
        let ids: Vec<RoomId> = open.map(|(id, _)| id).collect();
        for id in ids {
            self.want(id, true);
        }
    }

    /// The gaps have ceased: rooms of streams are whole again.
    fn mend(&mut self) {
        let torn: Vec<RoomId> = self.rooms.iter().filter(|(_, room)| !room.whole).map(|(id, _)| id).collect();
        for id in torn {
            self.send_all_anew(id, Reason::Gapped);
        }
    }

    /// Makes the next state of `streams:summary`, if anyone looks at it.
    pub(super) fn summarize(&mut self, now: Instant) {
        let Some(id) = self.rooms.app(summary::STREAM, summary::NAME) else { return };
        let Some(room) = self.rooms.get(id).filter(|room| !room.members().is_empty()) else { return };
        debug_assert!(matches!((&room.of, &room.state), (Of::App(_), State::One(_))));
        let mut streams = self.engine.streams();
        for status in &mut streams {
            if let Some((median, p99)) = self.meters.latencies.quantiles(&status.stream) {
                status.latency_ms.socket_p50.get_or_insert(median);
                status.latency_ms.socket_p99.get_or_insert(p99);
            }
        }
        match self.summary.next(&streams, now) {
            Ok(shown) => {
                let offer = self.rooms.offer(id, &shown, false, || Change::of(summary::STREAM, &shown));
                self.note_offer(id, offer, 1);
            }
            Err(error) => tracing::error!(%error, "summary of streams not made"),
        }
    }

    fn report(&self) {
        let stats = &self.stats;
        stats.rooms.store(self.rooms.occupied(), Ordering::Relaxed);
        stats.remembered_bytes.store(self.rooms.remembered_bytes(), Ordering::Relaxed);
        metrics::ROOMS.set(&[], self.rooms.occupied() as f64);
        for transport in ["websocket", "polling", "sse"] {
            let clients = self.seats.values().filter(|seat| seat.client.listener.transport() == transport);
            metrics::CLIENTS.set(&[("transport", transport.into())], clients.count() as f64);
        }
    }

    /// Tells everyone that the service stops. Their ways back are spread over time by their numbers.
    pub(super) fn goodbye(&mut self, reason: &str) {
        for (id, seat) in &self.seats {
            let retry_ms = RETRY_MS + id.0.wrapping_mul(7_919) % RETRY_SPREAD_MS;
            if let Err(error) = seat.client.listener.send(Packet::Goodbye { reason, retry_ms }) {
                tracing::debug!(client = id.0, ?error, "goodbye not taken");
            }
        }
    }

    pub(super) fn close(&mut self) {
        for id in self.seats.keys().copied().collect::<Vec<_>>() {
            self.evict(id, "closed");
        }
    }
}

//! Everything live as one plain value: news and calls go in, packets and reads come out.
//!
//! Invariant: nothing here waits, and nothing here asks the time; the actor around it (`broadcaster`) moves orders, news,
//! reads and ticks. A client is told of a room only after its answer was handed over.
//! Parts: telling (`telling`), calls (`calls`), what reads bring (`brought`) and what is answered (`answers`), handing over
//! (`flush`), what is done on a beat (`beat`, `following`).

use super::{
    calls::Active,
    reads::{Job, Reads},
    summary::{self, Summary},
};
use crate::{
    config,
    engine::{
        api::{Engine, StreamInfo, StreamName},
        clients::{Bounds, Client},
        live::{Call, ClientId, Listener, Order, Refusal, Stats},
        packet::{Changes, Reason},
        rooms::{Feed, Of, Room, RoomId, Rooms, interest::Interest},
    },
};
use rustc_hash::FxHashMap;
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Settings the hub needs.
#[derive(Debug, Clone)]
pub struct Settings {
    pub live: config::Live,
    pub key_bytes_max: usize,
    pub page_items_max: usize,
}

impl From<&config::Config> for Settings {
    fn from(config: &config::Config) -> Self {
        Settings {
            live: config.live.clone(),
            key_bytes_max: config.engine.key_bytes_max,
            page_items_max: config.limits.page_items_max,
        }
    }
}

impl Settings {
    pub(super) fn tick(&self) -> Duration {
        Duration::from_millis(self.live.tick_ms)
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            waiting_keys_max: self.live.waiting_keys_max,
            waiting_bytes_max: self.live.waiting_bytes_max,
            calls_max: self.live.calls_per_client_max,
        }
    }
}

/// Where a client stands with what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Place {
    #[default]
    Idle,
    /// Is handed over at the end of this turn.
    Ready,
    /// Is handed over at the next tick.
    Later,
    /// Takes nothing now.
    Blocked,
}

/// A client with what the hub knows of it.
pub(super) struct Seat {
    pub client: Client,
    pub place: Place,
    /// Calls of our own: rooms of streams to be sent anew or further.
    pub own: VecDeque<Own>,
    pub active: Option<Active>,
    pub held: Option<super::flush::Parcel>,
}

/// A call that nobody made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Resync(RoomId, Reason),
    NextPage(RoomId),
}

/// What is known of a stream that has rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub partials: bool,
    /// By partition, under which assignment it is ours; `None`: it is consumed elsewhere.
    pub assignments: Vec<Option<u64>>,
}

impl Known {
    pub fn all_owned(&self) -> bool {
        self.assignments.iter().all(Option::is_some)
    }

    pub fn owns(&self, partition: u32) -> bool {
        self.assignments.get(partition as usize).is_some_and(Option::is_some)
    }
}

pub struct Hub {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) settings: Settings,
    pub(super) rooms: Rooms,
    pub(super) seats: FxHashMap<ClientId, Seat>,
    pub(super) reads: Reads,
    pub(super) known: FxHashMap<StreamName, Known>,
    pub(super) ready: Vec<ClientId>,
    pub(super) later: Vec<ClientId>,
    pub(super) blocked: Vec<ClientId>,
    pub(super) stats: Arc<Stats>,
    pub(super) summary: Summary,
    pub(super) next_call: u64,
    /// The last packet of changes that was made: the next client's may be the same.
    pub(super) last: Option<Arc<Changes>>,
    /// Bytes of a stream's entities, on average, so that a page is read in one go.
    pub(super) item_bytes: FxHashMap<StreamName, usize>,
    pub(super) beats: super::beat::Beats,
    pub(super) meters: super::flush::Meters,
}

impl Hub {
    pub fn new(engine: Arc<dyn Engine>, settings: Settings, stats: Arc<Stats>, now: Instant) -> Self {
        let live = &settings.live;
        Hub {
            rooms: Rooms::new(live.history_changes_max, live.history_bytes_max),
            reads: Reads::new(live.reads_max, live.read_keys_max, live.news_keys_max),
            seats: FxHashMap::default(),
            known: FxHashMap::default(),
            ready: Vec::new(),
            later: Vec::new(),
            blocked: Vec::new(),
            stats,
            summary: Summary::default(),
            next_call: 0,
            last: None,
            item_bytes: FxHashMap::default(),
            beats: super::beat::Beats::new(now, super::beat::interval(&settings.live)),
            meters: super::flush::Meters::default(),
            engine,
            settings,
        }
    }

    /// See `Rooms::tell_interest`.
    pub fn tell_interest(&mut self, interest: Arc<Interest>) {
        self.rooms.tell_interest(interest);
    }

    /// Carries out an order. `flush` hands over what came of it.
    pub fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Connect { client, listener } => self.connect(client, listener, now),
            Order::Disconnect { client } => self.left(client),
            Order::Call { client, call } => self.call(client, call, now),
            Order::Goodbye { reason, done } => {
                self.goodbye(&reason);
                // An error says that nobody waits for it any more.
                done.send(()).ok();
            }
            Order::Close { done } => {
                self.close();
                done.send(()).ok();
            }
        }
    }

    fn connect(&mut self, id: ClientId, listener: Arc<dyn Listener>, now: Instant) {
        let heartbeat = now + Duration::from_millis(self.settings.live.heartbeat_ms);
        let client = Client::new(listener, self.settings.bounds(), now, heartbeat);
        let seat = Seat { client, place: Place::Idle, own: VecDeque::new(), active: None, held: None };
        self.seats.insert(id, seat);
    }

    /// Forgets a client; what it waited for comes to nobody.
    pub(super) fn remove(&mut self, id: ClientId) {
        let Some(seat) = self.seats.remove(&id) else { return };
        for room in seat.client.rooms.keys() {
            self.rooms.leave(*room, id);
        }
        self.stats.clients.fetch_sub(1, Ordering::AcqRel);
    }

    fn call(&mut self, id: ClientId, call: Call, now: Instant) {
        let Some(seat) = self.seats.get_mut(&id) else {
            call.refuse(Refusal::Stopping);
            return;
        };
        if let Err(call) = seat.client.put_call(call) {
            let bytes = call.refuse(Refusal::Busy);
            seat.client.pace.handed(now, bytes);
            return;
        }
        self.start_calls(id, now);
    }

    pub(super) fn make_ready(&mut self, id: ClientId) {
        if let Some(seat) = self.seats.get_mut(&id) {
            make_ready(seat, id, &mut self.ready);
        }
    }

    /// What is known of a stream, asked once and then on each beat; `None`: there is no such stream.
    pub(super) fn known(&mut self, stream: &str) -> Option<&Known> {
        if !self.known.contains_key(stream) {
            let known = self.look_up(stream)?;
            self.known.insert(stream.into(), known);
        }
        self.known.get(stream)
    }

    pub(super) fn look_up(&self, stream: &str) -> Option<Known> {
        if stream == summary::STREAM {
            return Some(Known::default());
        }
        if let Some(info) = self.engine.stream(stream) {
            let assignments = self.assignments(&info);
            return Some(Known { partials: info.partials, assignments });
        }
        // A prefix that several streams share: their rooms are all there is under it.
        let streams = self.engine.rooms_under(stream)?.streams;
        let infos = streams.iter().filter_map(|stream| self.engine.stream(stream));
        let assignments = infos.flat_map(|info| self.assignments(&info)).collect();
        Some(Known { partials: true, assignments })
    }

    fn assignments(&self, info: &StreamInfo) -> Vec<Option<u64>> {
        (0..info.partitions).map(|partition| self.engine.assignment(&info.name, partition)).collect()
    }

    /// How a room hears of changes now. Where nothing says which partition a key belongs to, all of them count.
    pub(super) fn feed_of(&self, room: &Room) -> Feed {
        let Some(known) = self.known.get(&room.stream) else { return Feed::Local };
        let local = match room.one().and_then(|one| one.head()) {
            Some(head) if matches!(room.of, Of::Key(_)) => {
                head.positions.0.iter().all(|position| known.owns(position.partition))
            }
            _ => known.all_owned(),
        };
        if local { Feed::Local } else { Feed::Store }
    }

    /// Wants the room's entity read again.
    pub(super) fn want(&mut self, id: RoomId, stored: bool) {
        let Some(room) = self.rooms.get(id) else { return };
        match &room.of {
            Of::Key(key) => self.reads.want_key(&room.stream, key, id, stored),
            Of::App(name) if &*room.stream != summary::STREAM => {
                self.reads.want_room(&room.stream, name, id);
            }
            Of::App(_) | Of::Stream => {}
        }
    }

    /// How many rooms a client is in; `None`: there is no such client.
    pub fn rooms_of(&self, client: ClientId) -> Option<usize> {
        self.seats.get(&client).map(|seat| seat.client.rooms.len())
    }

    pub fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    /// The next read to begin, with what its rooms are at this moment.
    pub fn begin_read(&mut self) -> Option<Job> {
        let mut job = self.reads.begin()?;
        let turns = |room: &RoomId| self.rooms.get(*room).and_then(Room::one).map_or(0, |one| one.turns());
        match &mut job {
            Job::Keys(job) => job.turns = job.rooms.iter().map(turns).collect(),
            Job::Room(job) => job.turn = turns(&job.room),
            Job::Merges(_) | Job::Part(_) | Job::Gone(_) => {}
            Job::Page(job) => {
                let room = self.rooms.get(job.room);
                job.began = room.and_then(Room::many).map_or(0, |many| many.next_number());
                job.position = room.and_then(Room::position);
            }
        }
        Some(job)
    }
}

pub(super) fn make_ready(seat: &mut Seat, id: ClientId, ready: &mut Vec<ClientId>) {
    if seat.place == Place::Idle {
        seat.place = Place::Ready;
        ready.push(id);
    }
}

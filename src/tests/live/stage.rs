//! A hub with its clients in one place, driven step by step: every interleaving is the test's own choice.

use super::{fake::FakeEngine, viewer::Viewer};
use crate::{
    config::Config,
    engine::{
        broadcaster::{
            hub::{Hub, Settings},
            reading::{Brought, bring},
            reads::Job,
        },
        live::{Call, ClientId, Listener, Order, Refusal, Reply, Stats, Undelivered, Wanted},
        news::{News, NewsBox},
        packet::{Packet, Paged, Subscribed},
    },
};
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

/// What a client got, as the JSON of the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    Ack(Value),
    Page(Value),
    Left(Value),
    Changes(Value, Value),
    Resync(Value),
    Heartbeat(Value),
    Goodbye(Value),
}

/// A client's line: what was handed to it, and how much of that it has taken.
#[derive(Debug, Default)]
pub struct Line {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    got: Vec<Got>,
    unsent: usize,
    /// Takes nothing.
    shut: bool,
    full: bool,
    closed: bool,
    given_up: bool,
    largest: usize,
    most_unsent: usize,
    by_itself: bool,
}

impl Line {
    fn put(&self, got: Got, bytes: usize) -> usize {
        let mut state = self.state.lock().expect("line");
        state.got.push(got);
        state.largest = state.largest.max(bytes);
        state.unsent += bytes;
        state.most_unsent = state.most_unsent.max(state.unsent);
        if !state.shut {
            state.unsent = 0;
        }
        bytes
    }

    pub fn shut(&self) {
        self.state.lock().expect("line").shut = true;
    }

    pub fn open(&self) {
        let mut state = self.state.lock().expect("line");
        (state.shut, state.unsent) = (false, 0);
    }

    /// The system ends the connection.
    pub fn give_up(&self) {
        let mut state = self.state.lock().expect("line");
        (state.closed, state.given_up) = (true, true);
    }

    /// The socket layer's own buffer is full.
    pub fn set_full(&self, full: bool) {
        self.state.lock().expect("line").full = full;
    }

    pub fn most_unsent(&self) -> usize {
        self.state.lock().expect("line").most_unsent
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().expect("line").closed
    }

    pub fn take(&self) -> Vec<Got> {
        std::mem::take(&mut self.state.lock().expect("line").got)
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

pub fn refused(refusal: &Refusal) -> Value {
    json!({"ok": false, "refusal": format!("{refusal:?}")})
}

/// The listener of a line.
#[derive(Debug)]
pub struct Ear(pub Arc<Line>);

impl Listener for Ear {
    fn send(&self, packet: Packet<'_>) -> Result<usize, Undelivered> {
        if self.0.state.lock().expect("line").full {
            return Err(Undelivered::Full);
        }
        let (got, bytes) = match packet {
            Packet::Changes(changes) => {
                let (items, positions) = changes.arguments().expect("JSON");
                let positions = positions.map_or(Value::Null, |p| value(p.get()));
                (Got::Changes(value(items.get()), positions), items.get().len())
            }
            Packet::Resync(snapshot, reason) => {
                let text = snapshot.resync_json(reason);
                (Got::Resync(value(&text)), text.len())
            }
            Packet::Heartbeat(heartbeat) => {
                let text = heartbeat.rooms_json();
                (Got::Heartbeat(value(&text)), text.len())
            }
            Packet::Goodbye { reason, retry_ms } => {
                (Got::Goodbye(json!({"reason": reason, "retry_ms": retry_ms})), 64)
            }
        };
        Ok(self.0.put(got, bytes))
    }

    fn unsent_bytes(&self) -> usize {
        self.0.state.lock().expect("line").unsent
    }

    fn is_open(&self) -> bool {
        !self.is_closed()
    }

    fn is_given_up(&self) -> bool {
        self.0.state.lock().expect("line").given_up
    }

    fn close(&self) {
        self.0.state.lock().expect("line").closed = true;
    }

    fn transport(&self) -> &'static str {
        "websocket"
    }

    fn pages(&self) -> Option<Reply<Paged>> {
        let by_itself = self.0.state.lock().expect("line").by_itself;
        by_itself.then(|| page_reply(self.0.clone()))
    }
}

impl Ear {
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

fn page_reply(line: Arc<Line>) -> Reply<Paged> {
    Box::new(move |answer| match answer {
        Ok(paged) => {
            let text = paged.json();
            line.put(Got::Page(value(&text)), text.len())
        }
        Err(refusal) => line.put(Got::Page(refused(&refusal)), 64),
    })
}

/// The stage.
pub struct Stage {
    pub engine: Arc<FakeEngine>,
    pub hub: Hub,
    pub now: Instant,
    pub stats: Arc<Stats>,
    pub news_box: NewsBox,
    jobs: Vec<(Job, Option<Brought>)>,
    next: u64,
}

impl Stage {
    pub fn new(streams: &[(&str, u32)], configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let (engine, stats, now) = (FakeEngine::new(streams), Arc::<Stats>::default(), Instant::now());
        let hub = Hub::new(engine.clone(), Settings::from(&config), stats.clone(), now);
        let news_box = NewsBox::new(config.live.news_keys_max);
        Stage { engine, hub, now, stats, news_box, jobs: Vec::new(), next: 0 }
    }

    pub fn kv() -> Self {
        Stage::new(&[("kv", 2)], |_| {})
    }

    pub fn connect(&mut self) -> (ClientId, Arc<Line>) {
        self.connect_as(false)
    }

    /// A client that is sent pages without asking.
    pub fn connect_sse(&mut self) -> (ClientId, Arc<Line>) {
        self.connect_as(true)
    }

    fn connect_as(&mut self, by_itself: bool) -> (ClientId, Arc<Line>) {
        self.next += 1;
        let (client, line) = (ClientId(self.next), Arc::<Line>::default());
        line.state.lock().expect("line").by_itself = by_itself;
        self.stats.clients.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        let listener = Arc::new(Ear(line.clone()));
        self.order(Order::Connect { client, listener });
        (client, line)
    }

    pub fn order(&mut self, order: Order) {
        self.hub.order(order, self.now);
        self.hub.flush(self.now);
    }

    /// Calls `subscribe`, and leaves its reads to the test.
    pub fn ask(&mut self, client: ClientId, line: &Arc<Line>, rooms: &[&str], since: &[(&str, &str)]) {
        let wanted = Wanted {
            rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
            since: since.iter().map(|(room, at)| ((*room).to_owned(), (*at).to_owned())).collect(),
        };
        let line = line.clone();
        let reply: Reply<Subscribed> = Box::new(move |answer| {
            let text = answer.map(|answer| answer.json());
            let ack = text.as_deref().map_or_else(refused, value);
            line.put(Got::Ack(ack), text.map_or(64, |text| text.len()))
        });
        self.order(Order::Call { client, call: Call::Subscribe { wanted, reply } });
    }

    /// Calls `subscribe`, reads, and gives the ack.
    pub fn subscribe(
        &mut self,
        client: ClientId,
        line: &Arc<Line>,
        rooms: &[&str],
        since: &[(&str, &str)],
    ) -> Value {
        line.take();
        self.ask(client, line, rooms, since);
        self.run_reads();
        let got = line.take();
        match got.first() {
            Some(Got::Ack(ack)) => {
                let ack = ack.clone();
                line.state.lock().expect("line").got.extend(got.into_iter().skip(1));
                ack
            }
            other => panic!("no ack first, but {other:?}"),
        }
    }

    pub fn ask_page(&mut self, client: ClientId, line: &Arc<Line>, room: &str, after: Option<&str>) {
        let call = Call::Page {
            room: room.to_owned(),
            after: after.map(str::to_owned),
            reply: page_reply(line.clone()),
        };
        self.order(Order::Call { client, call });
    }

    pub fn unsubscribe(&mut self, client: ClientId, line: &Arc<Line>, rooms: &[&str]) {
        let line = line.clone();
        let reply: Reply<()> = Box::new(move |answer| {
            line.put(Got::Left(answer.map_or_else(|r| refused(&r), |()| json!({"ok": true}))), 16)
        });
        let rooms = rooms.iter().map(|room| (*room).to_owned()).collect();
        self.order(Order::Call { client, call: Call::Unsubscribe { rooms, reply } });
    }

    /// Tells news, as one take of the box.
    pub fn tell(&mut self, news: impl IntoIterator<Item = News>) {
        self.news_box.offer(news);
        self.hub.news(self.news_box.take(), self.now);
        self.hub.flush(self.now);
    }

    pub fn tick(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.hub.tick(self.now);
    }

    pub fn beat(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.hub.beat(self.now);
        self.hub.flush(self.now);
    }

    /// Begins every read that may begin; none of them has looked yet. Returns how many are under way.
    pub fn begin_reads(&mut self) -> usize {
        while let Some(job) = self.hub.begin_read() {
            self.jobs.push((job, None));
        }
        self.jobs.len()
    }

    /// A read that is under way looks at the store now.
    pub fn look(&mut self, index: usize) {
        let engine = self.engine.clone();
        if let Some((job, brought)) = self.jobs.get_mut(index)
            && brought.is_none()
        {
            *brought = bring(engine, job.clone()).now_or_never();
        }
    }

    /// A read that is under way comes back.
    pub fn end_read(&mut self, index: usize) {
        if index < self.jobs.len() {
            self.look(index);
            let (job, brought) = self.jobs.remove(index);
            self.hub.take_in_read(job, brought.expect("the fake answers at once"), self.now);
            self.hub.flush(self.now);
        }
    }

    pub fn run_reads(&mut self) {
        while self.begin_reads() > 0 {
            self.end_read(0);
        }
    }

    /// Lets everything come to rest: reads, ticks and beats, with every page that viewers still want. At rest is who heard
    /// nothing while every beat came round.
    pub fn settle(&mut self, viewers: &mut [Viewer]) {
        let mut calm = 0;
        for _ in 0..2_000 {
            self.run_reads();
            self.tick(20);
            self.beat(1_000);
            self.run_reads();
            let mut quiet = true;
            for viewer in viewers.iter_mut() {
                quiet &= viewer.catch_up(self);
            }
            calm = if quiet { calm + 1 } else { 0 };
            if calm > 15 {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

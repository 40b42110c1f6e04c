//! Viewers, over server-sent events or Socket.IO by websocket and by polling, that come back whenever they are cut: some
//! fast, some slow, some that cut themselves.
//!
//! Invariant: none of them is ever shown a version below one it was shown before.

use super::socket::{self, Carrier};
use crate::tests::e2e::sse::Parser;
use futures_util::StreamExt;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};

/// Where the instance is that viewers connect to; it changes with each start.
pub type Base = Arc<Mutex<String>>;

#[derive(Debug, Default)]
pub struct Shown {
    /// Version and value of each key.
    pub keys: BTreeMap<String, (u64, Value)>,
    /// Every version of a key it was ever shown, with its value.
    pub versions: BTreeMap<(String, u64), Value>,
    pub faults: Vec<String>,
    pub connections: u64,
    /// While pages come that take the place of what is held: keys of it that none has named yet.
    unnamed: Option<BTreeSet<String>>,
    /// The room's position at the first of them.
    begun_at: Option<String>,
    /// Of each room the newest position it was told, as Socket.IO resumes.
    pub since: BTreeMap<String, String>,
    cursor: Option<String>,
}

pub struct Watcher {
    pub shown: Arc<Mutex<Shown>>,
    /// For whoever looks at a finding.
    pub kind: (Habit, Transport),
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Sse,
    SocketIo(Carrier),
}

impl Transport {
    pub const ALL: [Transport; 3] =
        [Transport::Sse, Transport::SocketIo(Carrier::WebSocket), Transport::SocketIo(Carrier::Polling)];
}

#[derive(Debug, Clone, Copy)]
pub enum Habit {
    Fast,
    /// Reads for a moment, then not for a while.
    Slow,
    /// Goes away without a word and comes back, again and again.
    Cut,
}

impl Habit {
    pub const ALL: [Habit; 3] = [Habit::Fast, Habit::Slow, Habit::Cut];

    /// How long a connection is kept; `share`: of what is usual.
    fn stay(self, transport: Transport, share: f64) -> Duration {
        let usual = match (self, transport) {
            (Habit::Fast | Habit::Slow, _) => return Duration::MAX,
            // Of polls that do not come any more the server knows after two pings: until then it holds the session.
            (Habit::Cut, Transport::SocketIo(Carrier::Polling)) => Duration::from_secs(6),
            (Habit::Cut, _) => Duration::from_secs(2),
        };
        usual.mul_f64(share)
    }
}

impl Watcher {
    /// `spread`: it comes within so long, and comes back within so long: a crowd of stock clients is not one moment's either.
    pub fn start(
        base: &Base,
        rooms: Vec<String>,
        habit: Habit,
        transport: Transport,
        spread: Duration,
    ) -> Watcher {
        let shown = Arc::<Mutex<Shown>>::default();
        let (base, told) = (base.clone(), shown.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(spread.mul_f64(rand::random())).await;
                let watching = async {
                    match transport {
                        Transport::Sse => watch(&base, &rooms, habit, &told).await,
                        Transport::SocketIo(carrier) => {
                            socket::watch(carrier, &base, &rooms, habit, &told).await;
                        }
                    }
                };
                let stay = habit.stay(transport, rand::random_range(0.5..1.5));
                // Who stays to the end of its connection, and who leaves it.
                let _ = timeout(stay, watching).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Watcher { shown, kind: (habit, transport), task }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, to its end.
async fn watch(base: &Base, rooms: &[String], habit: Habit, shown: &Mutex<Shown>) {
    let url = format!("{}/live", base.lock().expect("base"));
    let rooms: Vec<_> = rooms.iter().map(|room| ("room", room.as_str())).collect();
    let mut request = reqwest::Client::new().get(url).query(&rooms);
    let cursor = shown.lock().expect("shown").cursor.clone();
    if let Some(cursor) = cursor {
        request = request.header("Last-Event-ID", cursor);
    }
    let Ok(Ok(answer)) = timeout(Duration::from_secs(5), request.send()).await else { return };
    if answer.status() != 200 {
        return;
    }
    shown.lock().expect("shown").connections += 1;
    let (mut body, mut parser, mut chunks) = (answer.bytes_stream(), Parser::default(), 0_u32);
    // An instance that died without a word says nothing any more; a living one has a comment every 15 s.
    while let Ok(Some(Ok(bytes))) = timeout(Duration::from_secs(20), body.next()).await {
        for event in parser.take(&bytes) {
            shown.lock().expect("shown").take(&event.name, event.id, &event.data);
        }
        chunks += 1;
        if chunks.is_multiple_of(20) && matches!(habit, Habit::Slow) {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
}

impl Shown {
    pub fn take(&mut self, name: &str, id: Option<String>, data: &Value) {
        if id.is_some() {
            self.cursor = id;
        }
        let each = data.as_array().map_or(std::slice::from_ref(data), Vec::as_slice);
        match name {
            "change" => {
                for change in each {
                    // Of a stream's room it is the room's that counts, which comes beside.
                    if let Some(room) = change["room"].as_str().filter(|room| room.contains('/')) {
                        self.stands_at(room, &change["position"]);
                    }
                    self.show(change, true);
                }
            }
            "snapshot" | "resync" => each.iter().for_each(|snapshot| self.snapshot(name, snapshot)),
            _ => {}
        }
    }

    /// Where a room stands, as Socket.IO resumes.
    pub fn stands_at(&mut self, room: &str, position: &Value) {
        if let Some(position) = position.as_str() {
            self.since.insert(room.to_owned(), position.to_owned());
        }
    }

    fn snapshot(&mut self, name: &str, snapshot: &Value) {
        let room = snapshot["room"].as_str().unwrap_or_default();
        // Resumed: what it holds is right, and what it missed follows as changes.
        let goes_on = snapshot["resumed"] == true || snapshot["follows"] == true;
        self.stands_at(room, &snapshot["position"]);
        if let Some(items) = snapshot["items"].as_array() {
            // Of further pages nobody says whether the first one was resumed.
            let is_first = name == "resync" || snapshot["resumed"].is_boolean();
            return self.page(room, items, &snapshot["next"], is_first, goes_on);
        }
        self.show(&snapshot["entity"], false);
        let is_absent = snapshot["entity"].is_null() && !goes_on;
        let key = room.strip_prefix("kv/").filter(|_| is_absent);
        if let Some(held) = key.and_then(|key| self.keys.get_mut(key)) {
            held.1 = Value::Null;
        }
    }

    /// Takes the place of all that is held, once the last page is there: what none of them names is gone.
    fn page(&mut self, room: &str, items: &[Value], next: &Value, is_first: bool, goes_on: bool) {
        if is_first {
            self.unnamed = (!goes_on).then(|| self.keys.keys().cloned().collect());
        }
        items.iter().for_each(|entity| self.show(entity, false));
        if next.is_string() {
            // Who goes now has not seen what it could go on from.
            self.begun_at = self.since.remove(room).or(self.begun_at.take());
            return;
        }
        if let Some(at) = self.begun_at.take().filter(|_| !self.since.contains_key(room)) {
            self.since.insert(room.to_owned(), at);
        }
        for key in self.unnamed.take().unwrap_or_default() {
            if let Some(held) = self.keys.get_mut(&key) {
                held.1 = Value::Null;
            }
        }
    }

    fn show(&mut self, entity: &Value, is_change: bool) {
        let (Some(key), Some(version)) = (entity["key"].as_str(), entity["version"].as_u64()) else { return };
        let before = self.keys.get(key).map_or(0, |held| held.0);
        let is_older = version < before;
        if is_older {
            let how = if is_change { "a change" } else { "a snapshot" };
            self.faults.push(format!("{how} showed {key} at {version} after {before}: {entity}"));
        }
        let value = &entity["value"];
        let was = self.versions.insert((key.to_owned(), version), value.clone());
        if let Some(was) = was.filter(|was| was != value) {
            self.faults.push(format!("{key} was shown at version {version} as {was} and as {value}"));
        }
        self.keys.insert(key.to_owned(), (version, value.clone()));
        if let Some(unnamed) = &mut self.unnamed {
            unnamed.remove(key);
        }
    }
}

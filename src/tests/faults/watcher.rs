//! Viewers, over server-sent events or Socket.IO by websocket and by polling, that come back whenever they are cut: some
//! fast, some slow, some that cut themselves.
//!
//! Invariant: none of them is ever shown a version below one it was shown before.

use super::socket::{self, Carrier};
use crate::tests::e2e::sse::Parser;
use futures_util::StreamExt;
use serde_json::Value;
use std::{
    collections::BTreeMap,
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
    /// It watches the stream, not single keys.
    pub in_pages: bool,
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
        let each = |data: &Value| data.as_array().cloned().unwrap_or_else(|| vec![data.clone()]);
        for told in each(data) {
            if let (Some(room), Some(position)) = (told["room"].as_str(), told["position"].as_str()) {
                self.since.insert(room.to_owned(), position.to_owned());
            }
        }
        match name {
            "change" => each(data).iter().for_each(|change| self.show(change, true)),
            "snapshot" | "resync" => {
                for snapshot in each(data) {
                    let items = snapshot["items"].as_array().cloned().unwrap_or_default();
                    items.iter().chain([&snapshot["entity"]]).for_each(|entity| self.show(entity, false));
                    self.in_pages |= snapshot["items"].is_array();
                    // Resumed: what it holds is right, and what it missed follows as changes.
                    let goes_on = snapshot["resumed"] == true || snapshot["follows"] == true;
                    let is_absent = snapshot["entity"].is_null() && !goes_on;
                    let key = snapshot["room"].as_str().and_then(|room| room.strip_prefix("kv/"));
                    if let Some(held) = key.filter(|_| is_absent).and_then(|key| self.keys.get_mut(key)) {
                        held.1 = Value::Null;
                    }
                }
            }
            _ => {}
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
    }
}

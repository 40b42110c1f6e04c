//! The stock Socket.IO client, a Node process of its own.
//!
//! Invariant: what a client must never see (a version that goes down or comes twice, a change of a room before its ack)
//! is looked for in every packet of every test, and told when the client is dropped or asked.

use super::{eventually, node, same};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    process::Stdio,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

pub struct Viewer {
    child: Child,
    input: ChildStdin,
    heard: Arc<Mutex<Heard>>,
    calls: u64,
}

/// Everything the server said, by room where it belongs to one.
#[derive(Debug, Default)]
pub struct Heard {
    pub transport: Option<String>,
    /// What is known of each room: of a stream's room, of each key as `STREAM/KEY`.
    pub rooms: BTreeMap<String, Value>,
    pub changes: Vec<Value>,
    /// The second arguments of `changes`, newest per room.
    pub positions: BTreeMap<String, String>,
    pub resyncs: Vec<Value>,
    pub goodbye: Option<Value>,
    pub ended: Option<String>,
    acks: HashMap<u64, Value>,
    /// The version each room last told of each key.
    told: HashMap<(String, String), u64>,
    faults: Vec<String>,
}

/// The client's process, with what it is told and what it tells, a line of JSON each.
pub fn spawn(base: &str, transport: &str) -> (Child, ChildStdin, ChildStdout) {
    let mut child = Command::new("node")
        .arg(node::folder("clients").join("socketio.mjs"))
        .args([base, transport])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node");
    let (input, output) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
    (child, input, output)
}

impl Viewer {
    pub async fn connect(base: &str, transport: &str) -> Viewer {
        let (child, input, output) = spawn(base, transport);
        let heard = Arc::default();
        tokio::spawn(listen(output, Arc::clone(&heard)));
        let viewer = Viewer { child, input, heard, calls: 0 };
        let wanted = Some(transport.to_owned());
        eventually("connected", async || {
            viewer.heard(|heard| same(heard.transport.clone(), &wanted).map_err(|_| heard.ended.clone()))
        })
        .await;
        viewer
    }

    pub fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().expect("heard"))
    }

    /// Calls with an acknowledgement.
    pub async fn call(&mut self, event: &str, data: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let line = format!("{}\n", json!({"id": id, "emit": event, "data": data}));
        self.input.write_all(line.as_bytes()).await.expect("the client runs");
        eventually("acknowledged", async || {
            self.heard(|heard| {
                heard.acks.get(&id).cloned().ok_or_else(|| format!("{event}: {:?}", heard.ended))
            })
        })
        .await
    }

    /// Subscribes; the rooms of the ack, which must be good.
    pub async fn subscribe(&mut self, rooms: &[&str], since: &[(&str, &str)]) -> Vec<Value> {
        let since: BTreeMap<_, _> = since.iter().copied().collect();
        let ack = self.call("subscribe", json!({"rooms": rooms, "since": since})).await;
        assert_eq!(ack["ok"], json!(true), "{ack}");
        ack["rooms"].as_array().expect("rooms").clone()
    }

    pub fn version(&self, room: &str) -> u64 {
        self.heard(|heard| heard.rooms.get(room).and_then(|entity| entity["version"].as_u64()).unwrap_or(0))
    }

    pub fn last(&self, room: &str) -> Value {
        self.heard(|heard| heard.rooms.get(room).cloned().unwrap_or_default())
    }

    /// Waits until a room has come to this version; the entity it shows then.
    pub async fn sees(&self, room: &str, version: u64) -> Value {
        eventually(&format!("{room} is seen at version {version}"), async || {
            let seen = self.version(room);
            if seen >= version { Ok(()) } else { Err((seen, self.heard(|heard| heard.ended.clone()))) }
        })
        .await;
        self.check();
        self.last(room)
    }

    /// Whether everything so far was in order.
    pub fn check(&self) {
        self.heard(|heard| assert_eq!(heard.faults, Vec::<String>::new()));
    }

    /// Goes without a word, as a machine that lost its power does.
    pub async fn cut(mut self) {
        self.check();
        self.child.kill().await.expect("killed");
    }
}

async fn listen(output: ChildStdout, heard: Arc<Mutex<Heard>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line: Value = serde_json::from_str(&line).expect("a line of JSON");
        heard.lock().expect("heard").take(&line);
    }
    heard.lock().expect("heard").ended.get_or_insert("the client's process ended".into());
}

impl Heard {
    fn take(&mut self, line: &Value) {
        if let Some(id) = line["ack"].as_u64() {
            line["data"]["rooms"].as_array().into_iter().flatten().for_each(|room| self.take_ack(room));
            self.acks.insert(id, line["data"].clone());
            return;
        }
        let args = &line["args"];
        match line["event"].as_str().expect("event") {
            "connect" => self.transport = args[0].as_str().map(str::to_owned),
            "connect_error" | "disconnect" => self.ended = args[0].as_str().map(str::to_owned),
            "changes" => self.take_changes(&args[0], &args[1]),
            "resync" => self.take_resync(&args[0]),
            "goodbye" => self.goodbye = Some(args[0].clone()),
            "heartbeat" => {}
            other => self.faults.push(format!("an event nobody knows: {other}")),
        }
    }

    /// What an ack or a resync says of a room is the truth from then on, whatever was told before.
    fn take_ack(&mut self, room: &Value) {
        let Some(name) = room["room"].as_str() else { return };
        self.told.retain(|(told, _), _| told != name);
        self.rooms.insert(name.to_owned(), room["entity"].clone());
        let items = room["items"].as_array().into_iter().flatten();
        for entity in items.chain([&room["entity"]]).filter(|entity| entity.is_object()) {
            self.hold(name, entity);
        }
    }

    fn hold(&mut self, room: &str, entity: &Value) {
        let text = |name: &str| entity[name].as_str().expect(name).to_owned();
        self.rooms.insert(format!("{}/{}", text("stream"), text("key")), entity.clone());
        let version = entity["version"].as_u64().expect("version");
        let before = self.told.insert((room.to_owned(), text("key")), version);
        if before.is_some_and(|before| before >= version) {
            self.faults.push(format!("{room} went from version {before:?} to {version} of {}", text("key")));
        }
    }

    fn take_changes(&mut self, changes: &Value, positions: &Value) {
        for change in changes.as_array().expect("a list of changes") {
            let room = change["room"].as_str().expect("room");
            if !self.rooms.contains_key(room) {
                self.faults.push(format!("a change of {room} before its ack"));
            }
            change["skipped"].as_u64().expect("skipped");
            self.hold(room, change);
            self.changes.push(change.clone());
        }
        for (room, position) in positions.as_object().into_iter().flatten() {
            self.positions.insert(room.clone(), position.as_str().expect("position").to_owned());
        }
    }

    fn take_resync(&mut self, resync: &Value) {
        self.take_ack(resync);
        self.resyncs.push(resync.clone());
    }
}

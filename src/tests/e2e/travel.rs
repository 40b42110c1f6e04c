//! One record on its whole way: from a plain Kafka client to MongoDB, GET, Socket.IO on both transports, and SSE.

use super::{client::Viewer, eventually, ground::Ground, load::send, sse::Sse};
use bson::{Bson, Document, doc};
use serde_json::{Value, json};

const KEY: &str = "user-1";
const ROOM: &str = "kv/user-1";

/// Everybody who can see a key.
struct Watch {
    websocket: Viewer,
    polling: Viewer,
    sse: Sse,
}

impl Watch {
    async fn open(base: &str) -> Watch {
        let mut viewers = [Viewer::connect(base, "websocket").await, Viewer::connect(base, "polling").await];
        for viewer in &mut viewers {
            let rooms = viewer.subscribe(&[ROOM], &[]).await;
            let never_seen = json!([{"room": ROOM, "resumed": false, "entity": null, "position": null}]);
            assert_eq!(json!(rooms), never_seen);
        }
        let [websocket, polling] = viewers;
        let sse = Sse::open(base, &[ROOM], None).await;
        let first = sse.sees("the snapshot", |event| event.name == "snapshot").await;
        assert_eq!((&first.data["room"], &first.data["entity"]), (&json!(ROOM), &Value::Null));
        Watch { websocket, polling, sse }
    }

    /// All of them are told of this entity, and in the same words.
    async fn sees(&self, entity: &Value) {
        let version = entity["version"].as_u64().expect("version");
        let mut told = entity.clone();
        told["room"] = json!(ROOM);
        told["skipped"] = json!(0);
        assert_eq!(self.websocket.sees(ROOM, version).await, told);
        assert_eq!(self.polling.sees(ROOM, version).await, told);
        let seen = |event: &super::sse::Event| {
            event.name == "change" && changes(&event.data).any(|one| *one == told)
        };
        let event = self.sse.sees(&format!("the change {told}"), seen).await;
        assert!(event.id.is_some(), "a change has a cursor: {event:?}");
    }
}

/// A `change` of SSE holds one change, or several of one packet.
fn changes(data: &Value) -> impl Iterator<Item = &Value> {
    data.as_array().map_or(std::slice::from_ref(data), Vec::as_slice).iter()
}

/// A document's time as the outside shows it.
fn iso(document: &Document, field: &str) -> Value {
    json!(crate::clock::iso(document.get_datetime(field).expect(field).timestamp_millis()))
}

fn fields(document: &Document) -> Vec<&str> {
    let mut names: Vec<_> = document.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_in_mongodb_and_seen_by_get_socketio_and_sse() {
    let Some(ground) = Ground::new("travel").await else { return };
    let statecast = ground.start().await;
    let watch = Watch::open(&statecast.base).await;
    let value = json!({"name": "Ada", "n": -7, "f": 1.5, "$a.b": [null, true, {}]});

    let producer = ground.producer();
    let (partition, offset) = send(&producer, &ground.name, KEY, Some(&value.to_string())).await;
    let document = ground.reaches(KEY, 1).await;
    assert_eq!(
        fields(&document),
        ["_id", "created", "position", "schema", "time", "updated", "value", "version"]
    );
    assert_eq!(document.get("_id"), Some(&Bson::from(KEY)));
    assert_eq!(document.get("version"), Some(&Bson::Int64(1)));
    assert_eq!(document.get("schema"), Some(&Bson::Int32(1)));
    let at = document.get_document("position").expect("position");
    assert_eq!(*at, doc! {"epoch": 0_i64, "partition": i64::from(partition), "offset": offset});
    let stored = document.get_document("value").expect("value");
    let wanted = doc! {"name": "Ada", "n": -7_i64, "f": 1.5, "$a.b": [Bson::Null, true, {}]};
    assert_eq!(*stored, wanted);

    // MongoDB shows a document a moment before it has confirmed it to the writer.
    let entity =
        eventually("GET has it", async || statecast.entity(KEY).await.ok_or("there is no such key")).await;
    let position = format!("0.{partition}.{offset}");
    let shown = json!({
        "stream": "kv", "key": KEY, "value": value, "version": 1, "position": position,
        "created": iso(&document, "created"), "updated": iso(&document, "updated"),
    });
    assert_eq!(entity, shown);
    watch.sees(&entity).await;

    let (_, offset) = send(&producer, &ground.name, KEY, None).await;
    removed(&ground, &statecast, &watch, &shown, format!("0.{partition}.{offset}")).await;
}

/// A tombstone: the document keeps its place without a value, GET says 404, and whoever watches is told.
async fn removed(
    ground: &Ground,
    statecast: &super::binary::Statecast,
    watch: &Watch,
    was: &Value,
    position: String,
) {
    let document = ground.reaches(KEY, 2).await;
    assert_eq!(
        fields(&document),
        ["_id", "created", "deleted", "expires", "position", "schema", "time", "updated", "version"]
    );
    assert_eq!(document.get("deleted"), Some(&Bson::Boolean(true)));
    let answer = eventually("GET says that it is gone", async || {
        let answer = statecast.get(&format!("/api/streams/kv/{KEY}")).await;
        if answer.status() == 404 { Ok(answer) } else { Err(answer) }
    })
    .await;
    assert_eq!(answer.headers()["statecast-position"], position.as_str());
    let told = json!({
        "stream": "kv", "key": KEY, "value": null, "deleted": true, "version": 2, "position": position,
        "created": was["created"], "updated": iso(&document, "updated"),
    });
    watch.sees(&told).await;
}

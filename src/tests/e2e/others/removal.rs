//! B5: an older put that comes late, after a removal.
//!
//! Each store under one and the same log, Kafka, since what comes late has to be put there: in a partition and at a time of
//! our choice, and once more from where the group has committed. All transports look on at once: a program is killed once.

use super::{
    super::{binary::Statecast, eventually, ground::Ground, load::send},
    line::Transport,
    place::Store,
    watcher::Watcher,
};
use crate::{metrics, partitioner::partition_of};
use futures_util::future::join;
use rdkafka::{
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

const PARTITIONS: u32 = 4;
const MOVED: &str = "moved";
const AGAIN: &str = "again";
const ROOMS: [&str; 3] = ["kv", "kv/again", "kv/moved"];

struct Scene {
    store: Store,
    ground: Ground,
    settings: Vec<String>,
    producer: FutureProducer,
    watchers: Vec<Watcher>,
    sent: u64,
    _data: TempDir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_removal_stands_against_older_puts_that_come_late() {
    join(on(Store::Embedded), on(Store::MongoDb)).await;
}

async fn on(store: Store) {
    let Some(mut scene) = Scene::new(store).await else { return };
    let statecast = scene.start().await;
    for transport in Transport::ALL {
        let mut watcher = Watcher::connect(&statecast.base, transport).await;
        watcher.join(&ROOMS).await;
        scene.watchers.push(watcher);
    }
    scene.older_from_elsewhere(&statecast).await;
    scene.send(AGAIN, Some("1")).await;
    scene.send(AGAIN, None).await;
    scene.all_see(AGAIN, 2).await;
    assert_eq!(scene.ground.committed().await, [0; PARTITIONS as usize], "all of it comes again");
    statecast.kill().await;
    let statecast = scene.start().await;
    scene.once_more(&statecast).await;
    assert_eq!(statecast.total(metrics::CLIENTS_REMOVED).await, 0);
}

impl Scene {
    async fn new(store: Store) -> Option<Scene> {
        let (ground, data) = (Ground::new("b5").await?, TempDir::new().expect("folder"));
        let mut settings = ground.settings_and(&["engine.commit_interval_ms=3600000"]);
        if store == Store::Embedded {
            settings.push("store.kind=embedded".into());
            settings.push(format!("embedded.data_dir={}", data.path().display()));
        }
        let producer = ground.producer();
        Some(Scene { store, ground, settings, producer, watchers: Vec::new(), sent: 0, _data: data })
    }

    async fn start(&self) -> Statecast {
        let statecast = Statecast::start(&self.settings).await;
        statecast.has_partitions(PARTITIONS as usize).await;
        statecast
    }

    async fn send(&mut self, key: &str, value: Option<&str>) -> (i32, i64) {
        self.sent += 1;
        send(&self.producer, &self.ground.name, key, value).await
    }

    /// To a partition and at a time of our choice; where it came to stand.
    async fn send_at(&mut self, partition: u32, at_ms: i64, value: Option<&str>) -> String {
        self.sent += 1;
        let mut record: FutureRecord<'_, str, str> = FutureRecord::to(&self.ground.name).key(MOVED);
        record = record.partition(partition as i32).timestamp(at_ms);
        record.payload = value;
        let sent = self.producer.send(record, Timeout::Never).await.map_err(|(error, _)| error);
        format!("0.{partition}.{}", sent.expect("acknowledged").offset)
    }

    async fn all_see(&mut self, key: &str, version: u64) {
        for watcher in &mut self.watchers {
            watcher.sees("kv", key, version).await;
            if ROOMS.contains(&format!("kv/{key}").as_str()) {
                watcher.sees(&format!("kv/{key}"), key, version).await;
            }
        }
    }

    /// Everybody has heard all that there was to hear of the key, and was shown nothing there.
    async fn all_miss(&mut self, key: &str, fence: &str) {
        self.send(fence, Some("1")).await;
        self.all_see(fence, 1).await;
        if self.store == Store::MongoDb {
            let document = self.ground.document(key).await.expect("what is left of it");
            assert!(document.get_bool("deleted").is_ok_and(|deleted| deleted), "{document}");
        }
        for watcher in &self.watchers {
            for room in ["kv", &format!("kv/{key}")] {
                assert_eq!(watcher.rooms[room].present().get(key), None, "{room}");
            }
        }
    }

    /// A put that is older by its time, found in another partition than the removal.
    async fn older_from_elsewhere(&mut self, statecast: &Statecast) {
        let own = partition_of(MOVED.as_bytes(), PARTITIONS);
        let other = (own + 1) % PARTITIONS;
        let start = crate::clock::now_ms() - 60_000;
        self.send_at(own, start, Some("1")).await;
        self.all_see(MOVED, 1).await;
        self.send_at(own, start + 20_000, None).await;
        self.all_see(MOVED, 2).await;
        let late = self.send_at(other, start + 10_000, Some("2")).await;
        assert_eq!(
            status(statecast, MOVED, &late).await,
            StatusCode::NOT_FOUND,
            "it was taken in, and is older"
        );
        self.all_miss(MOVED, "fence-moved").await;
        assert!(statecast.metric(metrics::KEYS_MOVED).await > 0);

        // One that is newer does come through, by the same way.
        let newer = self.send_at(other, start + 30_000, Some("3")).await;
        assert_eq!(status(statecast, MOVED, &newer).await, StatusCode::OK);
        for watcher in &mut self.watchers {
            for room in ["kv", "kv/moved"] {
                let is_there =
                    |w: &Watcher| w.rooms[room].keys.get(MOVED).is_some_and(|held| held.1 == json!(3));
                watcher.until("the newer one", is_there).await;
            }
        }
    }

    /// Puts and removals come again from the log, the puts first, to a store that holds the removals.
    async fn once_more(&mut self, statecast: &Statecast) {
        for watcher in &mut self.watchers {
            watcher.told.clear();
            watcher.back_to(&statecast.base).await;
        }
        eventually("every record comes again", async || {
            let received = statecast.metric(metrics::RECORDS_RECEIVED).await;
            if received >= self.sent { Ok(()) } else { Err((received, self.sent)) }
        })
        .await;
        let position = self.send(AGAIN, None).await;
        let position = format!("0.{}.{}", position.0, position.1);
        assert_eq!(status(statecast, AGAIN, &position).await, StatusCode::NOT_FOUND);
        assert!(statecast.metric(metrics::RECORDS_SEEN).await > 0, "what came again was known");
        self.all_miss(AGAIN, "fence-again").await;
        for watcher in &self.watchers {
            let put = watcher.told.iter().find(|(key, _, removed)| key == AGAIN && !removed);
            assert_eq!(put, None, "it was shown as if it were there");
        }
        // Three records before this one, none of them counted twice.
        self.send(AGAIN, Some("4")).await;
        self.all_see(AGAIN, 4).await;
        for watcher in &self.watchers {
            assert_eq!(watcher.rooms["kv/again"].keys[AGAIN], (4, json!(4)));
            assert_ne!(watcher.rooms["kv"].keys[MOVED].1, Value::Null);
        }
    }
}

/// Of a key, once the record at this position has been taken in.
async fn status(statecast: &Statecast, key: &str, position: &str) -> StatusCode {
    statecast.get(&format!("/api/streams/kv/{key}?min_position={position}")).await.status()
}

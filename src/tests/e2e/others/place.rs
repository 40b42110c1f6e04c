//! Where a case is run: one program on one store, a stream for each transport, and what was written into them.
//!
//! Invariant: what was written is known from the writes alone, never from what the program says.

use super::{
    super::{binary::Statecast, eventually, ground::Ground, same},
    line::Transport,
    view::Held,
};
use bson::Bson;
use futures_util::TryStreamExt;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;

/// Two, so that the position of a stream's room has parts.
const PARTITIONS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// With the embedded log.
    Embedded,
    /// With Kafka.
    MongoDb,
}

pub struct Place {
    pub statecast: Statecast,
    http: Client,
    ground: Option<Ground>,
    /// Of each stream what every key has come to; null: removed.
    written: Mutex<BTreeMap<String, BTreeMap<String, Held>>>,
    _data: TempDir,
}

impl Place {
    /// `None`: there are no services to run it on.
    pub async fn start(case: &str, store: Store, settings: &[&str]) -> Option<Arc<Place>> {
        let data = TempDir::new().expect("folder");
        let ground = match store {
            Store::Embedded => None,
            Store::MongoDb => Some(Ground::new(case).await?),
        };
        let mut all = match &ground {
            Some(ground) => ground.settings(),
            None => embedded(&data),
        };
        all.push("streams.kv.enabled=false".into());
        // Nobody is killed here, and a busy machine must not make rooms be sent anew.
        all.push("kafka.session_timeout_ms=15000".into());
        let topic = ground.as_ref().map_or(String::new(), |ground| format!("{}-", ground.name));
        for stream in Transport::ALL.map(Transport::name) {
            all.push(format!("streams.{stream}.projection=latest"));
            all.push(format!("streams.{stream}.partitions={PARTITIONS}"));
            all.push(format!("streams.{stream}.topic={topic}{stream}"));
        }
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let statecast = Statecast::start(&all).await;
        // Shorter than the server keeps a silent connection.
        let http = Client::builder().pool_idle_timeout(Duration::from_secs(5)).build().expect("client");
        let place = Place { statecast, http, ground, written: Mutex::default(), _data: data };
        place.has_partitions().await;
        Some(Arc::new(place))
    }

    /// Until then rooms are fed from the store, and sent anew once.
    async fn has_partitions(&self) {
        let wanted = [PARTITIONS; Transport::ALL.len()];
        eventually("each stream has its partitions", async || {
            let pipeline = self.statecast.pipeline().await;
            let streams = pipeline["streams"].as_array().cloned().unwrap_or_default();
            let counts: Vec<usize> =
                streams.iter().map(|one| one["partitions"].as_array().map_or(0, Vec::len)).collect();
            same(counts, &wanted.to_vec())
        })
        .await;
    }

    fn url(&self, stream: &str, key: &str) -> String {
        format!("{}/api/streams/{stream}/{key}", self.statecast.base)
    }

    /// Writes, and returns when the log has it. Of one key the caller writes one after the other.
    pub async fn put(&self, stream: &str, key: &str, value: &Value) {
        let answer = self.http.put(self.url(stream, key)).json(value).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{:?}", answer.text().await);
        self.note(stream, key, value.clone());
    }

    pub async fn remove(&self, stream: &str, key: &str) {
        let answer = self.http.delete(self.url(stream, key)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{:?}", answer.text().await);
        self.note(stream, key, Value::Null);
    }

    /// Writes, and returns what is then stored.
    pub async fn put_stored(&self, stream: &str, key: &str, value: &Value) -> Value {
        let url = format!("{}?wait=stored", self.url(stream, key));
        let answer = self.http.put(url).json(value).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        self.note(stream, key, value.clone());
        answer.json().await.expect("JSON")
    }

    fn note(&self, stream: &str, key: &str, value: Value) {
        let mut written = self.written.lock().expect("written");
        let held = written.entry(stream.to_owned()).or_default().entry(key.to_owned());
        let held = held.or_insert((0, Value::Null));
        *held = (held.0 + 1, value);
    }

    /// Keys that must be there, with version and value.
    pub fn written(&self, stream: &str) -> BTreeMap<String, Held> {
        let written = self.written.lock().expect("written");
        let all = written.get(stream).into_iter().flatten();
        all.filter(|(_, held)| !held.1.is_null()).map(|(key, held)| (key.clone(), held.clone())).collect()
    }

    /// What is stored is what was written: every key, version and value, by the list and by MongoDB's own client.
    pub async fn settles(&self, stream: &str) {
        let wanted = self.written(stream);
        eventually("the list is what was written", async || same(self.listed(stream).await, &wanted)).await;
        if let Some(ground) = &self.ground {
            let there = async || {
                let documents = ground.collection(stream).find(bson::doc! {}).await.expect("find");
                let documents: Vec<bson::Document> = documents.try_collect().await.expect("documents");
                let there = documents.iter().filter(|one| one.get_bool("deleted").is_err());
                let held = |one: &bson::Document| {
                    let value = serde_json::to_value(one.get("value").unwrap_or(&Bson::Null)).expect("JSON");
                    (one.get_i64("version").expect("version") as u64, value)
                };
                there.map(|one| (one.get_str("_id").expect("key").to_owned(), held(one))).collect()
            };
            eventually("the documents are what was written", async || same(there().await, &wanted)).await;
        }
    }

    async fn listed(&self, stream: &str) -> BTreeMap<String, Held> {
        let (mut all, mut after) = (BTreeMap::new(), String::new());
        loop {
            let url = format!("{}/api/streams/{stream}", self.statecast.base);
            let request = self.http.get(url).query(&[("limit", "1000")]);
            let request = if after.is_empty() { request } else { request.query(&[("after", &after)]) };
            let page: Value = request.send().await.expect("an answer").json().await.expect("JSON");
            for item in page["items"].as_array().expect("items") {
                let held = (item["version"].as_u64().expect("version"), item["value"].clone());
                all.insert(item["key"].as_str().expect("key").to_owned(), held);
            }
            let Some(next) = page["next"].as_str() else { return all };
            next.clone_into(&mut after);
        }
    }
}

/// The built-in streams are not there, so that what a case makes small is small for its own streams alone.
fn embedded(data: &TempDir) -> Vec<String> {
    let others = crate::tests::only(&[]).into_keys().map(|name| format!("streams.{name}.enabled=false"));
    let folder = format!("embedded.data_dir={}", data.path().display());
    ["log.kind=embedded".to_owned(), "store.kind=embedded".into(), folder].into_iter().chain(others).collect()
}

/// A value of about this many bytes.
pub fn value(n: u64, bytes: usize) -> Value {
    json!({"n": n, "filler": "x".repeat(bytes)})
}

//! What is MongoDB's own: errors inside a success, sizes, races on one id, a server that stands still.
//!
//! Invariant: each test has a stream, and where it changes a collection's rules a collection, of its own.

use super::{
    contract::{
        store::{at, id, upsert},
        unique,
    },
    services,
};
use crate::{
    adapters::mongo::MongoStore,
    app::Reason,
    config::{Mongodb, Secret},
    document::{Document, Json},
    ports::{EntityId, RowScan, Scan, Store, StoreError, StoredRow, Upsert},
};
use bson::{Document as Bson, doc};
use mongodb::{Client, Database, options::ClientOptions};
use std::{collections::HashSet, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};

const DATABASE: &str = "statecast_test";

fn config(uri: String) -> Mongodb {
    Mongodb { uri: Secret(uri), database: DATABASE.into(), ..Mongodb::default() }
}

/// A store, a stream nobody used before, and the database behind both.
async fn prepared() -> Option<(MongoStore, String, Database)> {
    let uri = services::mongodb()?;
    let database = Client::with_uri_str(&uri).await.expect("client").database(DATABASE);
    let store = MongoStore::connect(&config(uri)).await.expect("connect");
    let stream = unique("mongo");
    store.prepare(&stream, &[]).await.expect("prepare");
    Some((store, stream, database))
}

async fn load(store: &MongoStore, stream: &str, key: &str) -> Option<Document> {
    store.load(stream, &[id(key)]).await.expect("load").pop()
}

fn refused_for(written: Result<usize, StoreError>) -> Vec<Reason> {
    let Err(StoreError::RefusedDocuments(refused)) = written else { panic!("{written:?}") };
    refused.iter().map(|one| one.poison.reason).collect()
}

fn text_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes))
}

/// What a writer does: load, fold, write, and again while the store moves on underneath.
async fn bring(store: MongoStore, stream: String, key: String, offset: u64) {
    let mut held: Option<Document> = None;
    loop {
        let version = held.as_ref().map_or(0, |document| document.version);
        let new = upsert(&key, version + 1, offset, &offset.to_string());
        if store.write(&stream, vec![new.clone()]).await.expect("write") == 1 {
            return;
        }
        held = load(&store, &stream, &key).await;
        if held.as_ref().is_some_and(|document| document.position.covers(&new.document.position)) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_on_a_new_key_the_newest_wins_a_thousand_times() {
    let Some((store, stream, _)) = prepared().await else { return };
    for round in 0..1_000 {
        let key = format!("key-{round}");
        let one = tokio::spawn(bring(store.clone(), stream.clone(), key.clone(), 1));
        let two = tokio::spawn(bring(store.clone(), stream.clone(), key.clone(), 2));
        one.await.expect("no error");
        two.await.expect("no error");
        let held = load(&store, &stream, &key).await.expect("stored");
        assert_eq!((held.position.offset, held.value), (2, Json::parse("2").ok()), "{key}");
        assert!(held.version <= 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_index_of_the_user_is_no_stale_write() {
    let Some((store, stream, database)) = prepared().await else { return };
    let index = doc! { "key": { "value.mail": 1 }, "name": "mail", "unique": true, "sparse": true };
    database.run_command(doc! { "createIndexes": &stream, "indexes": [index] }).await.expect("index");
    let mail = |key: &str, version| upsert(key, version, version, "{\"mail\":\"a\"}");
    assert_eq!(store.write(&stream, vec![mail("a", 1)]).await.expect("write"), 1);
    assert_eq!(store.write(&stream, vec![upsert("b", 1, 1, "{}")]).await.expect("write"), 1);
    for forbidden in [mail("c", 1), mail("b", 2)] {
        let refused = store.write(&stream, vec![upsert("d", 1, 1, "1"), forbidden]).await;
        assert_eq!(refused_for(refused), [Reason::StoreRefused]);
    }
    assert_eq!(store.write(&stream, vec![mail("a", 1)]).await.expect("the same again"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_validator_forbids_is_refused() {
    let Some((store, stream, database)) = prepared().await else { return };
    let rule = doc! { "value": { "$type": "object" } };
    database.run_command(doc! { "collMod": &stream, "validator": rule }).await.expect("validator");
    assert_eq!(store.write(&stream, vec![upsert("a", 1, 1, "{}")]).await.expect("write"), 1);
    for forbidden in [upsert("b", 1, 1, "1"), upsert("a", 2, 2, "1")] {
        let refused = store.write(&stream, vec![forbidden]).await;
        assert!(matches!(&refused, Err(error) if error.to_string().contains("121")), "{refused:?}");
        assert_eq!(refused_for(refused), [Reason::StoreRefused]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_just_below_16_mb_is_stored_and_one_beyond_is_refused() {
    let Some((store, stream, _)) = prepared().await else { return };
    for version in [1, 2] {
        let most = upsert("a", version, version, &text_of((16 << 20) - 2_048));
        assert_eq!(store.write(&stream, vec![most.clone()]).await.expect("write"), 1);
        assert_eq!(load(&store, &stream, "a").await, Some(most.document));
        let beyond = upsert("b", version, version, &text_of(16 << 20));
        let small = upsert("c", version, version, "1");
        assert_eq!(refused_for(store.write(&stream, vec![beyond, small]).await), [Reason::TooLarge]);
        assert_eq!(load(&store, &stream, "c").await.expect("stored").version, version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_outgrows_a_document_as_bson_is_kept_as_text() {
    let Some((store, stream, database)) = prepared().await else { return };
    let numbers = format!("[{}0]", "0,".repeat(3 << 20));
    for version in [1, 2] {
        let wanted = upsert("a", version, version, &numbers);
        assert_eq!(store.write(&stream, vec![wanted.clone()]).await.expect("write"), 1);
        assert!(load(&store, &stream, "a").await == Some(wanted.document), "it comes back whole");
    }
    let held = database.collection::<Bson>(&stream).find_one(doc! { "_id": "a" }).await.expect("find");
    let held = held.expect("document");
    assert_eq!((held.get_str("json").ok(), held.get("value")), (Some(&*numbers), None));
    store.write(&stream, vec![upsert("a", 3, 3, "[0]")]).await.expect("write");
    assert_eq!(load(&store, &stream, "a").await, Some(upsert("a", 3, 3, "[0]").document));
    let json = Json::from_checked(&numbers);
    let (id, key) = ("r".into(), "k".into());
    let row = StoredRow { id, key, label: None, first: at(0, 1), time_ms: 1, json };
    store.insert_rows(&stream, "events", vec![row.clone()]).await.expect("insert");
    assert!(store.scan_rows(&stream, "events", RowScan::all(1)).await.expect("rows") == [row], "a row too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_beyond_one_command_and_replies_beyond_one_batch_are_whole() {
    let Some((store, stream, _)) = prepared().await else { return };
    for version in [1, 2] {
        let large = (0..30).map(|i| upsert(&format!("large-{i}"), version, version, &text_of(1 << 20)));
        let small = (0..5_000).map(|i| upsert(&format!("small-{i}"), version, version, &i.to_string()));
        let batch: Vec<Upsert> = large.chain(small).collect();
        assert_eq!(store.write(&stream, batch.clone()).await.expect("write"), batch.len());
        let ids: Vec<EntityId> = batch.iter().map(|upsert| id(&upsert.document.key)).collect();
        let loaded = store.load(&stream, &ids).await.expect("load");
        let keys: HashSet<_> = loaded.iter().map(|document| document.key.clone()).collect();
        assert_eq!((loaded.len(), keys.len()), (batch.len(), batch.len()));
        assert!(loaded.iter().all(|document| document.version == version));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_mean_something_to_mongodb_are_only_names() {
    let Some((store, stream, _)) = prepared().await else { return };
    for (i, json) in [
        r#"{"$ref":1}"#,
        r#"{"$id":1,"$ref":2}"#,
        r#"{"$db":{},"$id":null}"#,
        r#"{"a":{"$ref":"x","b":1}}"#,
        r#"{"$date":"x"}"#,
        r#"{"a.b":{".":1,"$":2,"..":3,"$$ROOT":4}}"#,
        r#"[{"$literal":1},{"$cond":[1,2,3]}]"#,
        r#"{"0":1,"1":2}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{i}");
        for version in [1, 2] {
            let wanted = upsert(&key, version, version, json);
            assert_eq!(store.write(&stream, vec![wanted.clone()]).await.expect("write"), 1, "{json}");
            assert_eq!(load(&store, &stream, &key).await, Some(wanted.document));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_meet_a_new_log_agree_on_its_epoch() {
    let Some((store, stream, _)) = prepared().await else { return };
    for (identity, epoch, changed) in [("one", 0, 0), ("two", 1, 1), ("three", 2, 1)] {
        let asked = (0..8).map(|_| {
            let (store, stream) = (store.clone(), stream.clone());
            tokio::spawn(async move { crate::tests::contract::store::epoch(&store, &stream, identity).await })
        });
        let answers = futures_util::future::try_join_all(asked).await.expect("join");
        assert!(answers.iter().all(|answer| answer.0 == epoch), "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| answer.1).count(), changed, "{answers:?}");
    }
}

/// The stages of the plan the server chose.
fn stages(plan: &Bson, found: &mut Vec<String>) {
    found.extend(plan.get_str("stage").map(str::to_owned));
    for inner in plan.values() {
        match inner {
            bson::Bson::Document(inner) => stages(inner, found),
            bson::Bson::Array(list) => {
                list.iter().filter_map(bson::Bson::as_document).for_each(|d| stages(d, found))
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_goes_by_an_index_and_sorts_nothing() {
    let Some(uri) = services::mongodb() else { return };
    // The server's profile of what a store asks in a database of its own, so that no other test is in it.
    let config = Mongodb { database: unique("profile"), ..config(uri) };
    let profiled = Client::with_uri_str(&config.uri.0).await.expect("client").database(&config.database);
    profiled.run_command(doc! { "profile": 2 }).await.expect("profile");
    let store = MongoStore::connect(&config).await.expect("connect");
    store.prepare("kv", &["events".into()]).await.expect("prepare");
    store.write("kv", vec![upsert("a", 1, 1, "1")]).await.expect("insert");
    store.write("kv", vec![upsert("a", 2, 2, "1")]).await.expect("update");
    let within = Scan { prefix: Some("a".into()), after: Some("a".into()), limit: 5, ..Scan::default() };
    for scan in [within, Scan { limit: 5, ..Scan::default() }] {
        store.scan("kv", scan).await.expect("scan");
    }
    store.load("kv", &[id("a"), id("b")]).await.expect("load");
    store.load_partials("kv", "a").await.expect("partials");
    store.expired("kv", 5, 5).await.expect("expired");
    store.count("kv").await.expect("count");
    store.forget("kv", vec![(id("a"), at(0, 9))]).await.expect("forget");
    for n in 0..16 {
        let some = |bit: usize, text: &str| (n >> bit & 1 == 1).then(|| text.to_owned());
        let (key, label, after) = (some(0, "k"), some(1, "l"), some(2, "x").map(|id| (5, id)));
        let scan = RowScan { key, label, after, newest_first: n >= 8, ..RowScan::all(5) };
        store.scan_rows("kv", "events", scan).await.expect("rows");
    }
    let within = RowScan { from_ms: Some(1), until_ms: Some(9), ..RowScan::all(5) };
    store.scan_rows("kv", "events", within).await.expect("rows");
    store.load_row("kv", "events", "x").await.expect("row");
    store.row_firsts("kv", "events", &["x".into()]).await.expect("firsts");
    store.marks("dlq/").await.expect("marks");
    profiled.run_command(doc! { "profile": 0 }).await.expect("profile");
    let query = doc! { "find": "system.profile", "filter": { "planSummary": { "$exists": true } } };
    let seen = profiled.run_command(query).await.expect("profile");
    let seen = seen.get_document("cursor").expect("cursor").get_array("firstBatch").expect("batch");
    profiled.drop().await.expect("drop");
    let plans: Vec<&Bson> = seen.iter().filter_map(bson::Bson::as_document).collect();
    assert!(plans.len() >= 28, "{plans:#?}");
    for plan in plans {
        let mut found = Vec::new();
        stages(plan.get_document("execStats").unwrap_or(&doc! {}), &mut found);
        let summary = plan.get_str("planSummary").expect("summary");
        let slow = summary.contains("COLLSCAN") || found.iter().any(|stage| stage == "SORT");
        assert!(!slow, "{summary} {found:?} {plan:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_fatal_and_not_shown() {
    let Some(uri) = services::mongodb() else { return };
    let wrong = uri.replacen("mongodb://", "mongodb://nobody:s3cret@", 1);
    let fatal = MongoStore::connect(&config(wrong)).await.expect_err("fatal");
    assert!(matches!(fatal, StoreError::Fatal(_)), "{fatal}");
    let text = fatal.to_string();
    assert!(!text.contains("s3cret") && !text.contains('\n'), "{text}");
    let store = MongoStore::connect(&config(uri)).await.expect("connect");
    for reserved in ["streams", "marks", "timers", "", "system.users", "a$b"] {
        assert!(matches!(store.prepare(reserved, &[]).await, Err(StoreError::Fatal(_))), "{reserved}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let uri = format!("mongodb://{address}/?serverSelectionTimeoutMS=200");
    let away = MongoStore::connect(&config(uri)).await.expect_err("away");
    assert!(matches!(away, StoreError::Unavailable(_)), "{away}");
    assert!(!away.to_string().contains('\n'), "{away}");
}

/// A way to a server that can be stopped: connections stay open, no byte passes. As a server under SIGSTOP, but of this
/// test alone.
struct Gate {
    address: String,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let (open, gate) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (client, server) = (client.into_split(), server.into_split());
                tokio::spawn(pass(client.0, server.1, gate.clone()));
                tokio::spawn(pass(server.0, client.1, gate.clone()));
            }
        });
        Gate { address, open }
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut gate: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if gate.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_unavailable_in_time_and_taken_up_again() {
    let Some(uri) = services::mongodb() else { return };
    let server = ClientOptions::parse(&uri).await.expect("options").hosts[0].to_string();
    let gate = Gate::before(server).await;
    let uri = format!("mongodb://{}/?directConnection=true", gate.address);
    let store = MongoStore::connect(&Mongodb { call_timeout_ms: 500, ..config(uri) }).await.expect("connect");
    let stream = unique("mongo");
    store.prepare(&stream, &[]).await.expect("prepare");
    store.write(&stream, vec![upsert("a", 1, 1, "1")]).await.expect("write");

    gate.open.send_replace(false);
    let second = vec![upsert("a", 2, 2, "2")];
    for _ in 0..2 {
        let started = Instant::now();
        let unknown = store.write(&stream, second.clone()).await;
        assert!(matches!(unknown, Err(StoreError::Unavailable(_))), "{unknown:?}");
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }

    gate.open.send_replace(true);
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.write(&stream, second.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "the store is never taken up again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(load(&store, &stream, "a").await, second.into_iter().next().map(|upsert| upsert.document));
    store.ping().await.expect("ping");
}

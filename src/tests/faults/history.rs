//! Every write that MongoDB carried out, in its order, as its change stream tells it at the end.
//!
//! Invariant: no write is passed over, whatever was killed meanwhile, so that no key can have gone back between two looks.
//! Not here: what the values have to be (`audit`), and what is seen while it happens (`sampler`).

use super::oracle::{Finding, Kind};
use bson::{Document, Timestamp, doc};
use futures_util::StreamExt;
use mongodb::{Database, change_stream::event::ChangeStreamEvent};
use std::{collections::BTreeMap, time::Duration};

/// A last write, into a collection of its own: whoever has read it has read all before.
const MARK: &str = "history-mark";
const NEXT_WITHIN: Duration = Duration::from_secs(60);

pub struct History {
    database: Database,
    from: Timestamp,
}

impl History {
    /// From here on.
    pub async fn begin(database: Database) -> History {
        let hello = database.run_command(doc! { "hello": 1 }).await.expect("MongoDB");
        let from = hello.get_timestamp("operationTime").expect("a replica set");
        History { database, from }
    }

    /// The version that the last write of each key left, and where versions did not rise.
    pub async fn read(&self, collection: &str) -> (BTreeMap<String, i64>, Vec<Finding>) {
        self.database.collection(MARK).insert_one(doc! {}).await.expect("written");
        let mut events =
            self.database.watch().start_at_operation_time(self.from).await.expect("a change stream");
        let (mut versions, mut findings) = (BTreeMap::<String, i64>::new(), Vec::new());
        loop {
            let event =
                tokio::time::timeout(NEXT_WITHIN, events.next()).await.expect("a write before time is up");
            let event = event.expect("no end").expect("a write");
            match event.ns.as_ref().and_then(|ns| ns.coll.as_deref()) {
                Some(MARK) => return (versions, findings),
                Some(name) if name == collection => {}
                _ => continue,
            }
            let Some(key) = event.document_key.as_ref() else { continue };
            let key = key.get_str("_id").expect("a key").to_owned();
            let (now, was) = (version(&event), versions.get(&key).copied().unwrap_or(0));
            if now <= was {
                let what = format!("{key} was written at version {now} over {was}: {event:?}");
                findings.push(Finding::new(Kind::Reordered, what));
            }
            versions.insert(key, now);
        }
    }
}

/// The version that a write left; 0: none, as where a document was taken away.
fn version(event: &ChangeStreamEvent<Document>) -> i64 {
    let changed = event.update_description.as_ref().map(|update| &update.updated_fields);
    let left = event.full_document.as_ref().or(changed);
    left.and_then(|left| left.get_i64("version").ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_version_that_goes_back_for_a_moment_is_in_the_history() {
    let Some(uri) = crate::tests::services::mongodb() else { return };
    let client = mongodb::Client::with_uri_str(uri).await.expect("client");
    let database = client.database(&crate::tests::contract::unique("history"));
    let history = History::begin(database.clone()).await;
    let documents = database.collection::<Document>("kv");
    for (key, version) in [("a", 1_i64), ("a", 2), ("b", 1), ("a", 1), ("a", 3)] {
        let set = doc! { "$set": { "version": version } };
        documents.update_one(doc! { "_id": key }, set).upsert(true).await.expect("written");
    }
    let (versions, findings) = history.read("kv").await;
    assert_eq!(versions, BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)]));
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert!(finding.what.starts_with("a was written at version 1 over 2"), "{finding:?}");
    database.drop().await.expect("dropped");
}

//! What every store does, in the words of `ports::Store`.

use super::{scans::row, unique};
use crate::{
    document::{Document, Json},
    origin::Origins,
    ports::{EntityId, RowScan, Scan, Store, Upsert},
    record::Position,
};
use futures_util::future::{BoxFuture, FutureExt, ready};
use std::sync::Arc;

/// Gives handles to one store.
pub trait StoreFactory: Send + Sync {
    fn store(&self) -> Arc<dyn Store>;

    /// Closes everything that is open and opens the store anew; `None`: it does not outlive its handles.
    fn reopened(&self, store: Arc<dyn Store>) -> BoxFuture<'_, Option<Arc<dyn Store>>>;

    /// Makes the store refuse the documents of this stream whose value is `"bad"`; `false`: it can refuse nothing.
    fn refuse_bad<'a>(&'a self, _stream: &'a str) -> BoxFuture<'a, bool> {
        ready(false).boxed()
    }
}

/// Runs every function of this suite: `store_suite!(path::to::factory)`, an `async fn() -> Option<impl StoreFactory>`.
macro_rules! store_suite {
    ($factory:path) => {
        $crate::tests::contract::suite!(store, $factory,
            the_store_answers
            what_was_never_written_is_absent
            a_write_is_loaded_as_it_was
            the_newer_position_from_the_right_version_applies
            the_same_position_again_is_a_no_op
            an_older_position_is_a_no_op
            another_version_is_a_no_op
            absent_with_a_version_is_a_no_op
            a_higher_epoch_is_newer_than_any_offset
            across_partitions_the_newer_record_time_wins
            a_batch_counts_what_took_effect
            writers_at_once_lose_nothing
            a_removed_key_is_a_tombstone_and_can_return
            names_with_dollar_and_dot_survive
            rule_22_json_of_every_kind_survives
            what_is_remembered_of_emitted_records_is_kept
            streams_do_not_see_each_other
            the_same_identity_keeps_its_epoch
            marks_are_kept_by_name
            what_was_confirmed_is_there_after_reopening
        );
        $crate::tests::contract::suite!(refusals, $factory,
            what_is_refused_is_named_and_its_neighbours_are_written
            what_was_refused_may_be_written_otherwise
        );
        $crate::tests::contract::suite!(scans, $factory,
            a_scan_goes_page_by_page_in_key_order
            a_scan_keeps_to_prefix_from_and_after
            a_scan_leaves_out_tombstones_unless_asked
            only_expired_tombstones_are_named
            a_document_with_a_time_to_live_expires_alive
            forget_is_guarded_by_position
            a_row_keeps_who_was_first
            rows_come_in_the_order_of_time_and_id
            rows_are_found_by_key_label_and_time
            partials_of_a_key_stand_apart
            the_count_is_of_keys_that_are_there
        );
    };
}
pub(crate) use store_suite;

/// A stream that nobody used before.
pub async fn prepared(store: &Arc<dyn Store>) -> String {
    let stream = unique("contract");
    store.prepare(&stream, &["events".to_owned()]).await.expect("prepare");
    store.prepare(&stream, &["events".to_owned()]).await.expect("prepare again");
    stream
}

pub fn at(partition: u32, offset: u64) -> Position {
    Position { epoch: 0, partition, offset }
}

pub fn upsert(key: &str, version: u64, offset: u64, json: &str) -> Upsert {
    let document = Document {
        key: key.into(),
        partial: None,
        version,
        created_ms: 1_000,
        updated_ms: 1_000 + offset as i64,
        position: at(0, offset),
        value: Some(Json::parse(json).expect("json")),
        origins: Origins::default(),
    };
    Upsert { document, from_version: version - 1, expires_ms: None }
}

pub fn removal(key: &str, version: u64, offset: u64, expires_ms: i64) -> Upsert {
    let mut upsert = upsert(key, version, offset, "0");
    upsert.document.value = None;
    upsert.expires_ms = Some(expires_ms);
    upsert
}

pub fn id(key: &str) -> EntityId {
    EntityId { key: key.into(), partial: None }
}

pub async fn write(store: &Arc<dyn Store>, stream: &str, upserts: &[Upsert]) -> usize {
    store.write(stream, upserts.to_vec()).await.expect("write")
}

pub async fn load(store: &Arc<dyn Store>, stream: &str, key: &str) -> Option<Document> {
    let mut documents = store.load(stream, &[id(key)]).await.expect("load");
    assert!(documents.len() <= 1);
    documents.pop()
}

fn parsed(document: &Document) -> serde_json::Value {
    serde_json::from_str(document.value.as_ref().expect("value").text()).expect("JSON")
}

pub async fn the_store_answers(factory: &impl StoreFactory) {
    factory.store().ping().await.expect("ping");
}

pub async fn what_was_never_written_is_absent(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    assert_eq!(store.load(&stream, &[id("a"), id("b")]).await.expect("load"), []);
    assert_eq!(store.load(&stream, &[]).await.expect("load nothing"), []);
    assert_eq!(store.load_partials(&stream, "a").await.expect("load"), []);
    assert_eq!(store.count(&stream).await.expect("count"), 0);
    assert_eq!(write(&store, &stream, &[]).await, 0);
}

pub async fn a_write_is_loaded_as_it_was(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let mut first = upsert("user-1", 1, 5, r#"{"a":[1,2,{"b":null}]}"#);
    first.document.created_ms = -1;
    first.document.updated_ms = i64::MAX / 1_000;
    first.document.position = Position { epoch: 3, partition: 200, offset: 1 << 52 };
    assert_eq!(write(&store, &stream, std::slice::from_ref(&first)).await, 1);
    let ids = [id("absent"), id("user-1")];
    assert_eq!(store.load(&stream, &ids).await.expect("load"), [first.document]);
}

pub async fn the_newer_position_from_the_right_version_applies(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    assert_eq!(write(&store, &stream, &[upsert("a", 1, 0, "1")]).await, 1);
    // Versions may jump: one batch folds many records into one write.
    let mut next = upsert("a", 9, 20, "2");
    next.from_version = 1;
    assert_eq!(write(&store, &stream, std::slice::from_ref(&next)).await, 1);
    assert_eq!(load(&store, &stream, "a").await, Some(next.document));
}

async fn second_changes_nothing(factory: &impl StoreFactory, first: Upsert, second: Upsert) {
    let store = factory.store();
    let stream = prepared(&store).await;
    assert_eq!(write(&store, &stream, std::slice::from_ref(&first)).await, 1);
    assert_eq!(write(&store, &stream, &[second]).await, 0);
    assert_eq!(load(&store, &stream, &first.document.key).await.as_ref(), Some(&first.document));
}

pub async fn the_same_position_again_is_a_no_op(factory: &impl StoreFactory) {
    let first = upsert("a", 1, 5, "1");
    second_changes_nothing(factory, first.clone(), first.clone()).await;
    let mut second = upsert("a", 2, 5, "2");
    second.from_version = 1;
    second_changes_nothing(factory, first, second).await;
}

pub async fn an_older_position_is_a_no_op(factory: &impl StoreFactory) {
    let mut late = upsert("a", 2, 4, "2");
    late.document.updated_ms = 99_999; // its time does not matter within one partition
    second_changes_nothing(factory, upsert("a", 1, 5, "1"), late).await;
}

pub async fn another_version_is_a_no_op(factory: &impl StoreFactory) {
    for from_version in [0, 1, 3] {
        let (mut first, mut second) = (upsert("a", 2, 5, "1"), upsert("a", 4, 9, "2"));
        first.from_version = 0;
        second.from_version = from_version;
        second_changes_nothing(factory, first, second).await;
    }
}

pub async fn absent_with_a_version_is_a_no_op(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    assert_eq!(write(&store, &stream, &[upsert("a", 2, 5, "1")]).await, 0);
    assert_eq!(load(&store, &stream, "a").await, None);
    assert_eq!(store.count(&stream).await.expect("count"), 0);
}

pub async fn a_higher_epoch_is_newer_than_any_offset(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    assert_eq!(write(&store, &stream, &[upsert("a", 1, 500, "1")]).await, 1);
    let mut recreated = upsert("a", 2, 0, "2");
    recreated.document.position.epoch = 1;
    assert_eq!(write(&store, &stream, std::slice::from_ref(&recreated)).await, 1);
    assert_eq!(write(&store, &stream, &[upsert("a", 3, 501, "3")]).await, 0);
    assert_eq!(load(&store, &stream, "a").await, Some(recreated.document));
}

pub async fn across_partitions_the_newer_record_time_wins(factory: &impl StoreFactory) {
    let moved = |version, time_ms| {
        let mut upsert = upsert("a", version, 0, "\"moved\"");
        (upsert.document.position, upsert.document.updated_ms) = (at(7, 0), time_ms);
        upsert
    };
    let first = upsert("a", 1, 500, "1");
    second_changes_nothing(factory, first.clone(), moved(2, first.document.updated_ms - 1)).await;
    second_changes_nothing(factory, first.clone(), moved(2, first.document.updated_ms)).await;
    second_changes_nothing(factory, first.clone(), moved(3, first.document.updated_ms + 1)).await;
    let store = factory.store();
    let stream = prepared(&store).await;
    let newer = moved(2, first.document.updated_ms + 1);
    assert_eq!(write(&store, &stream, &[first]).await, 1);
    assert_eq!(write(&store, &stream, std::slice::from_ref(&newer)).await, 1);
    assert_eq!(load(&store, &stream, "a").await, Some(newer.document));
}

pub async fn a_batch_counts_what_took_effect(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let batch: Vec<_> = (0..2_500u64).map(|i| upsert(&format!("key-{i}"), 1, i, "1")).collect();
    assert_eq!(write(&store, &stream, &batch).await, 2_500);
    assert_eq!(write(&store, &stream, &batch).await, 0);
    let mixed: Vec<_> =
        (0..1_000u64).map(|i| upsert(&format!("key-{i}"), 1 + i % 2, 9_000 + i, "2")).collect();
    assert_eq!(write(&store, &stream, &mixed).await, 500);
    let ids: Vec<_> = (0..2_600).map(|i| id(&format!("key-{i}"))).collect();
    let loaded = store.load(&stream, &ids).await.expect("load");
    assert_eq!(loaded.len(), 2_500);
    assert_eq!(loaded.iter().filter(|document| document.version == 2).count(), 500);
    assert_eq!(store.count(&stream).await.expect("count"), 2_500);
}

/// Four writers race over the same keys, each folding from what it last saw: every accepted write counts once.
pub async fn writers_at_once_lose_nothing(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let writers = (0..4u64).map(|writer| {
        let (store, stream) = (store.clone(), stream.clone());
        tokio::spawn(async move {
            let mut accepted = 0;
            for round in 0..25u64 {
                let from = load(&store, &stream, "a").await.map_or(0, |document| document.version);
                let offset = from * 1_000 + writer * 100 + round;
                let beside = upsert(&format!("own-{writer}-{round}"), 1, offset, "0");
                accepted += write(&store, &stream, &[upsert("a", from + 1, offset, "1"), beside]).await - 1;
            }
            accepted
        })
    });
    let mut accepted = 0;
    for writer in writers.collect::<Vec<_>>() {
        accepted += writer.await.expect("writer");
    }
    assert_eq!(load(&store, &stream, "a").await.expect("a").version, accepted as u64);
    assert_eq!(store.count(&stream).await.expect("count"), 101);
}

pub async fn a_removed_key_is_a_tombstone_and_can_return(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    write(&store, &stream, &[upsert("a", 1, 0, "1"), upsert("b", 1, 1, "1")]).await;
    let removal = removal("a", 2, 2, 500);
    assert_eq!(write(&store, &stream, std::slice::from_ref(&removal)).await, 1);
    assert_eq!(load(&store, &stream, "a").await, Some(removal.document));
    assert_eq!(store.count(&stream).await.expect("count"), 1);
    let mut again = upsert("a", 3, 3, "null");
    assert_eq!(write(&store, &stream, std::slice::from_ref(&again)).await, 1);
    assert_eq!(load(&store, &stream, "a").await.as_ref(), Some(&again.document));
    assert_eq!(store.count(&stream).await.expect("count"), 2);
    assert_eq!(store.expired(&stream, i64::MAX, 10).await.expect("expired"), [], "it is no tombstone now");
    again = upsert("a", 4, 1, "1");
    assert_eq!(write(&store, &stream, &[again]).await, 0, "late and older than the removal");
}

pub async fn names_with_dollar_and_dot_survive(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let json =
        r#"{"$set":{"a.b":1},"a.b.c":{"$literal":"$a"},"$$ROOT":"$$ROOT","":{"":0},"_id":5,"position":"p"}"#;
    let written = [upsert("$key.with/strange:names", 1, 0, json), upsert("text", 1, 1, "\"$position\"")];
    assert_eq!(write(&store, &stream, &written).await, 2);
    for upsert in written {
        let loaded = load(&store, &stream, &upsert.document.key).await.expect("document");
        assert_eq!(parsed(&loaded), parsed(&upsert.document));
    }
}

pub async fn rule_22_json_of_every_kind_survives(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let nested = format!("{}{}", "[".repeat(63), "]".repeat(63));
    let nested = format!("{{\"deep\":{nested}}}");
    let kinds = [
        "null",
        "true",
        "\"\"",
        "\"plain\"",
        "[]",
        "{}",
        "0",
        "-9223372036854775808",
        "9223372036854775807",
        "2147483648",
        "1.5",
        "-0.1",
        "1.0",
        "1e300",
        "5e-324",
        "9007199254740993",
        "\"\\u0001\\\"\\\\\\u20ac \u{1F980} e\u{301}\"",
        "[null,[true,{\"a\":[]}],\"x\",1,2.5]",
        "{\"b\":1,\"a\":{\"ü\":\"ß\"},\"z\":[{\"y\":null}]}",
        &nested,
    ];
    let upserts: Vec<_> =
        kinds.iter().enumerate().map(|(i, json)| upsert(&format!("kind-{i}"), 1, i as u64, json)).collect();
    assert_eq!(write(&store, &stream, &upserts).await, kinds.len());
    for upsert in &upserts {
        let loaded = load(&store, &stream, &upsert.document.key).await.expect("document");
        assert_eq!(parsed(&loaded), parsed(&upsert.document));
    }
}

pub async fn streams_do_not_see_each_other(factory: &impl StoreFactory) {
    let store = factory.store();
    let (one, two) = (prepared(&store).await, prepared(&store).await);
    write(&store, &one, &[upsert("a", 1, 0, "1")]).await;
    assert_eq!(load(&store, &two, "a").await, None);
    assert_eq!(store.scan(&two, Scan { limit: 10, ..Scan::default() }).await.expect("scan"), []);
    assert_eq!((store.count(&one).await.expect("count"), store.count(&two).await.expect("count")), (1, 0));
}

/// As a generation asks.
pub async fn epoch(store: &(impl Store + ?Sized), stream: &str, identity: &str) -> (u32, bool) {
    loop {
        let last = store.last_epoch(stream).await.expect("epoch");
        if let Some(found) = store.epoch(stream, identity, last).await.expect("epoch") {
            return found;
        }
    }
}

pub async fn the_same_identity_keeps_its_epoch(factory: &impl StoreFactory) {
    let store = factory.store();
    let (stream, other) = (unique("contract"), unique("contract"));
    assert_eq!(store.last_epoch(&stream).await.expect("epoch"), None);
    for (identity, expected) in [("x", (0, false)), ("x", (0, false)), ("y", (1, true)), ("y", (1, false))] {
        assert_eq!(epoch(&*store, &stream, identity).await, expected, "{identity}");
    }
    assert_eq!(epoch(&*store, &other, "y").await, (0, false));
    assert_eq!(epoch(&*store, &stream, "x").await, (2, true), "a log that comes back");
    assert_eq!(store.last_epoch(&stream).await.expect("epoch"), Some(2));
    // Who asked before the topic was made anew, and comes late, raises nothing; who has what is there needs nothing.
    for last in [None, Some(0), Some(1), Some(3)] {
        assert_eq!(store.epoch(&stream, "y", last).await.expect("epoch"), None, "{last:?}");
        assert_eq!(store.epoch(&stream, "x", last).await.expect("epoch"), Some((2, false)), "{last:?}");
    }
    assert_eq!(store.epoch(&stream, "y", Some(2)).await.expect("epoch"), Some((3, true)));
}

pub async fn what_is_remembered_of_emitted_records_is_kept(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let origins = |texts: &[&str]| Origins::parse(texts.iter().copied()).expect("origins");
    let (mut first, mut next) = (upsert("a", 1, 0, "1"), upsert("a", 2, 1, "{\"b\":2}"));
    first.document.origins = origins(&["orders/0.3.1041/63/2"]);
    next.document.origins = origins(&["orders/0.3.1041/63/2", "agents-routing/4.0.18446744073709551615/0/0"]);
    let mut gone = removal("b", 1, 2, 100);
    gone.document.origins = origins(&["orders/0.0.0/0/0"]);
    let plain = upsert("c", 1, 3, "3");
    write(&store, &stream, &[first.clone(), gone.clone(), plain.clone()]).await;
    assert_eq!(load(&store, &stream, "a").await, Some(first.document));
    assert_eq!(write(&store, &stream, std::slice::from_ref(&next)).await, 1);
    let scan = Scan { limit: 9, with_removed: true, ..Scan::default() };
    let all = [next.document.clone(), gone.document, plain.document];
    assert_eq!(store.scan(&stream, scan).await.expect("scan"), all);
    let mut without = upsert("a", 3, 4, "4");
    without.document.origins = Origins::default();
    assert_eq!(write(&store, &stream, std::slice::from_ref(&without)).await, 1);
    assert_eq!(load(&store, &stream, "a").await, Some(without.document));
}

pub async fn marks_are_kept_by_name(factory: &impl StoreFactory) {
    let store = factory.store();
    let prefix = unique("mark");
    let json = |text: &str| Json::parse(text).expect("json");
    for (name, text) in [("b", "1"), ("a.x/y", "{\"$a\":null}"), ("b", "2"), ("ü", "3")] {
        store.put_mark(&format!("{prefix}/{name}"), json(text)).await.expect("put");
    }
    store.put_mark(&format!("{prefix}0"), json("0")).await.expect("put");
    let marks = store.marks(&format!("{prefix}/")).await.expect("marks");
    let expected = [("a.x/y", "{\"$a\":null}"), ("b", "2"), ("ü", "3")];
    assert_eq!(marks, expected.map(|(name, text)| (format!("{prefix}/{name}"), json(text))));
}

pub async fn what_was_confirmed_is_there_after_reopening(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let (kept, removed) = (upsert("a", 1, 0, "{\"a\":1}"), removal("b", 1, 1, 100));
    write(&store, &stream, &[kept.clone(), removed.clone(), upsert("c", 1, 2, "1")]).await;
    store.insert_rows(&stream, "events", vec![row("e", 5, 6, "7")]).await.expect("insert");
    epoch(&*store, &stream, "x").await;
    epoch(&*store, &stream, "y").await;
    store.put_mark(&stream, Json::parse("1").expect("json")).await.expect("put");
    let Some(store) = factory.reopened(store).await else { return };
    assert_eq!(load(&store, &stream, "a").await, Some(kept.document));
    assert_eq!(store.expired(&stream, 100, 9).await.expect("expired"), [removed.document]);
    assert_eq!(store.count(&stream).await.expect("count"), 2);
    assert_eq!(
        store.scan_rows(&stream, "events", RowScan::all(9)).await.expect("rows"),
        [row("e", 5, 6, "7")]
    );
    assert_eq!(epoch(&*store, &stream, "y").await, (1, false));
    assert_eq!(store.marks(&stream).await.expect("marks").len(), 1);
    assert_eq!(write(&store, &stream, &[upsert("a", 2, 1, "2")]).await, 1);
}

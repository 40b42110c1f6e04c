//! What waits for a room, and how old what it shows says to be.

use super::*;
use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    apps,
    config::Config,
    document::Json,
    engine::{
        news::NewsBox,
        stream::{Bounds, LogHealth, Shared},
        waiters::Waiters,
    },
    ports::{Store, StoreError, Upsert},
    record::Position,
    tests::only,
};
use tokio::sync::Semaphore;

const BYTES_MAX: usize = 100_000;

fn document(key: &str, bytes: usize, offset: u64) -> Document {
    Document {
        key: key.into(),
        partial: Some(0),
        version: offset + 1,
        created_ms: 0,
        updated_ms: offset as i64,
        position: Position { epoch: 0, partition: 0, offset },
        value: Some(Json::from_checked(&format!("\"{}\"", "x".repeat(bytes)))),
        origins: Default::default(),
    }
}

#[test]
fn what_waits_is_bounded_in_bytes_and_beyond_it_the_store_is_to_be_read() {
    let mut waiting = Waiting::default();
    for offset in 0..500 {
        waiting.take(&document(&format!("k{}", offset % 4), 10_000, offset), BYTES_MAX);
    }
    assert!(!waiting.gapped, "the newest of four keys have room");
    assert!(waiting.documents.values().all(|document| document.position.offset >= 496));
    for offset in 0..50 {
        waiting.take(&document(&format!("more{offset}"), 10_000, offset), BYTES_MAX);
    }
    let bytes: usize = waiting.documents.values().map(board::size).sum();
    assert!(waiting.gapped && bytes == waiting.bytes && bytes <= BYTES_MAX, "{bytes}");
    assert!(waiting.documents.len() >= 9, "{}", waiting.documents.len());
}

#[test]
fn what_is_on_its_way_to_the_board_counts_toward_the_bound() {
    let rooms = AppRooms::new(1 << 20, BYTES_MAX);
    rooms.asked_ms.store(clock::now_ms(), Ordering::Relaxed);
    let held: Vec<_> = (0..9).map(|n| document(&format!("k{n}"), 10_000, n)).collect();
    let held: Vec<&Document> = held.iter().collect();
    rooms.lay(&held, false);
    let leaving = lock(&rooms.waiting).leave();
    assert!(!leaving.gapped && leaving.documents.len() == 9);
    rooms.lay(&held, false);
    let mut waiting = lock(&rooms.waiting);
    assert!(waiting.gapped && waiting.bytes + leaving.bytes <= BYTES_MAX, "{}", waiting.bytes);
    (waiting.leaving_bytes, waiting.gapped) = (0, false);
    drop(waiting);
    rooms.lay(&held, false);
    assert!(!lock(&rooms.waiting).gapped, "there is room again once it is there");
}

#[test]
fn nothing_is_kept_for_a_room_that_nobody_asks_for() {
    let rooms = AppRooms::new(1 << 20, 1 << 20);
    rooms.lay(&[&document("k", 10, 0)], false);
    let unasked = std::mem::take(&mut *lock(&rooms.waiting));
    assert!(unasked.documents.is_empty() && unasked.gapped);
    rooms.asked_ms.store(clock::now_ms(), Ordering::Relaxed);
    rooms.lay(&[&document("k", 10, 1)], false);
    let asked = std::mem::take(&mut *lock(&rooms.waiting));
    assert!(asked.documents.len() == 1 && !asked.gapped);
    rooms.lay(&[], true);
    assert!(lock(&rooms.waiting).gapped, "what could not be laid down is to be read");
}

/// A stream of agents that owns no partition: all its rooms show is read from the store.
fn elsewhere(store: &Arc<MemoryStore>) -> Arc<Stream> {
    let config = Config { streams: only(&["agents-routing"]), ..Config::default() };
    let shared = Shared {
        log: Arc::new(MemoryLog::default()),
        store: store.clone(),
        readers: store.clone(),
        gate: Arc::default(),
        news: Arc::new(NewsBox::new(1_000)),
        waiters: Arc::new(Waiters::new("test".into(), 8)),
        budget: Arc::new(Semaphore::new(1 << 20)),
        outside: tokio::runtime::Handle::current(),
        prefetch_bytes_max: 1 << 20,
        log_health: Arc::new(LogHealth::default()),
        feed_interval_ms: 100,
        settings: Arc::new(config.engine.clone()),
    };
    let bounds = Bounds {
        cache_bytes_max: 1 << 20,
        view_bytes_max: 1 << 20,
        board_bytes_max: 1 << 20,
        board_waiting_bytes_max: 1 << 20,
    };
    let spec = apps::register(&config).pop().expect("the stream");
    Arc::new(Stream::new(spec, shared, bounds))
}

/// Reads the room until its age is as wanted.
async fn until(rooms: &AppRooms, what: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    let deadline = clock::instant() + Duration::from_secs(30);
    loop {
        let read = rooms.read("summary").await.expect("read").expect("a room");
        if wanted(read.age_ms) {
            return read.age_ms;
        }
        assert!(clock::instant() < deadline, "{what}: its age is {} ms", read.age_ms);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_a_room_that_is_fed_from_it_grows_old() {
    let store = Arc::new(MemoryStore::default());
    let stream = elsewhere(&store);
    let stored = Document { value: None, ..document("agent", 0, 0) };
    let upsert = Upsert { document: stored, from_version: 0, expires_ms: None };
    assert_eq!(store.write(stream.collection(), vec![upsert]).await.expect("stored"), 1);
    let looking = tokio::spawn(run(stream.clone()));
    let rooms = stream.rooms.clone().expect("rooms");
    until(&rooms, "fed", |age_ms| age_ms < 1_000).await;

    let gone = async { Err::<(), _>(StoreError::Unavailable("away".into())) };
    stream.shared.gate.try_call(gone).await.expect_err("away");
    // Longer than it may be between two looks.
    until(&rooms, "away", |age_ms| age_ms > 2_500).await;

    stream.shared.gate.call(|| async { Ok(()) }).await.expect("back");
    until(&rooms, "back", |age_ms| age_ms < 1_000).await;
    looking.abort();
}

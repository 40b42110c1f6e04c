//! The store stands still while records pile up: memory is bounded, the group keeps its member, and all of it is stored
//! once the store is back.
//!
//! Invariant: the MongoDB that is frozen here is the test's own.

use super::{binary::Statecast, eventually, ground::Ground, load::send_many, within};
use crate::metrics;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// What is promised of the program as it ships; unoptimised it has larger code and slower writers with fuller hands.
const MEMORY_MAX_MIB: u64 = if cfg!(debug_assertions) { 250 } else { 150 };
const RECORDS: u64 = 300_000;
const RECORDS_LARGE: u64 = 5_000_000;
const FILLER_BYTES: usize = 200;
/// Five million on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);
/// Twice the session of the member, so that a member that is not heard of would be gone.
const HOLD: Duration = Duration::from_secs(8);

/// A MongoDB that is there as long as this is.
struct OwnMongo {
    run: Child,
    folder: String,
    uri: String,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services")
}

impl OwnMongo {
    async fn start() -> OwnMongo {
        const TELL: &str = "echo $STATECAST_TEST_SERVICES_DIR; echo $STATECAST_TEST_MONGODB; exec cat";
        let mut run = Command::new(script())
            .args(["run", "mongodb", "--", "sh", "-c", TELL])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the services script");
        let mut told = BufReader::new(run.stdout.take().expect("stdout")).lines();
        let mut line =
            async || told.next_line().await.expect("read").expect("the services script tells where");
        let (folder, uri) = (line().await, line().await);
        OwnMongo { run, folder, uri }
    }

    async fn signal(&self, verb: &str) {
        let sent = Command::new(script()).args([verb, "mongodb", "--dir", &self.folder]).output().await;
        let sent = sent.expect("the services script");
        assert!(sent.status.success(), "{sent:?}");
    }

    async fn end(mut self) {
        drop(self.run.stdin.take());
        self.run.wait().await.expect("status");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_store_holds_the_consumer_and_nothing_grows() {
    frozen(RECORDS).await;
}

/// Minutes long: `cargo test --release -- --ignored frozen`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes long"]
async fn a_frozen_store_holds_the_consumer_at_five_million_records() {
    frozen(RECORDS_LARGE).await;
}

async fn frozen(records: u64) {
    if crate::tests::services::kafka().is_none() {
        return;
    }
    let mongo = OwnMongo::start().await;
    let ground = Ground::on("pressure", mongo.uri.clone()).await.expect("Kafka");
    let statecast = ground.start().await;
    let mut sent = send_many(&ground, 1_000, 1_000, FILLER_BYTES).await;
    ground.settles_at(&sent).await;
    let (members, received) = (ground.members().await, received(&statecast).await);
    assert_eq!((members.len(), received), (1, 1_000));

    mongo.signal("stop").await;
    add(&mut sent, send_many(&ground, records, records / 3, FILLER_BYTES).await);
    held(&statecast).await;
    let committed = ground.committed().await;
    tokio::time::sleep(HOLD).await;
    assert_eq!(ground.committed().await, committed, "nothing is stored, so nothing is committed");
    let (_, held_mib) = statecast.memory_mib();
    assert!(held_mib < MEMORY_MAX_MIB, "{held_mib} MiB at most while the store stood still");
    let unread = records + 1_000 - self::received(&statecast).await;
    assert!(unread > 0, "it read everything though nothing could be stored");
    assert_eq!(ground.members().await, members, "the member is the same, with the same partitions");

    mongo.signal("cont").await;
    // Committed is cheap to ask for; what is stored is then read once, not over and over beside the writers.
    within(SETTLED_WITHIN, "all of it is committed", async || {
        let committed: u64 = ground.committed().await.iter().sum();
        if committed == records + 1_000 { Ok(()) } else { Err(committed) }
    })
    .await;
    ground.settles_at(&sent).await;
    assert_eq!(ground.members().await, members, "the member is the same after all of it");
    let pipeline = statecast.pipeline().await;
    assert_eq!(pipeline["streams"][0]["generation"], 1, "{pipeline}");
    assert_eq!(self::received(&statecast).await, records + 1_000, "no record was read twice");
    let (_, peak_mib) = statecast.memory_mib();
    eprintln!(
        "{records} records: {held_mib} MiB at most while held with {unread} left in the log, {peak_mib} afterwards"
    );
    mongo.end().await;
}

fn add(to: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>) {
    for (key, records) in more {
        *to.entry(key).or_default() += records;
    }
}

async fn received(statecast: &Statecast) -> u64 {
    statecast.metric(metrics::RECORDS_RECEIVED).await
}

/// Says that it is held, and why.
async fn held(statecast: &Statecast) {
    eventually("readiness tells that the store is away", async || {
        let answer = statecast.get("/health/ready").await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("text"));
        if status == 503 && text.contains("store is down") { Ok(()) } else { Err((status, text)) }
    })
    .await;
}

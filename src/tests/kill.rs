//! kill -9 at any moment: what the embedded pair has confirmed is there afterwards, without repair.
//!
//! A child of this very binary writes and says what was confirmed; its parent kills it, opens the folder and compares.
//! `STATECAST_TEST_KILL_ROUNDS` and `STATECAST_TEST_KILL_SEED` ask for more rounds, or for the same moments again.

use super::contract::{
    member::{Member, PATIENCE, PLENTY},
    scans::row,
    store::{at, epoch, id, upsert},
};
use crate::{
    adapters::embedded::Embedded,
    config,
    ports::{Log, PartitionReader, RowScan, Scan, Store, TopicSpec, Upsert},
    record::NewRecord,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

const FOLDER: &str = "STATECAST_TEST_KILL_FOLDER";
const TASKS: u64 = 3;
/// Keys that one task moves together, in one write.
const KEYS: u64 = 20;

/// Everything the child said before it died, over all rounds.
#[derive(Debug, Default)]
struct Said {
    /// Partition and offset of a record, and its value.
    appended: BTreeMap<(u32, u64), String>,
    /// The version that all keys of a task have at least.
    written: BTreeMap<u64, u64>,
    rows: BTreeSet<String>,
    /// The next offset that the group has committed at least.
    committed: u64,
    /// The epoch of the last identity.
    epoch: u32,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u64>().expect("number");
        match words[0] {
            "appended" => {
                self.appended.insert((number(1) as u32, number(2)), words[3].to_owned());
            }
            "written" => drop(self.written.insert(number(1), number(2))),
            "row" => drop(self.rows.insert(words[1].to_owned())),
            "committed" => self.committed = self.committed.max(number(1)),
            "epoch" => self.epoch = self.epoch.max(number(1) as u32),
            other => panic!("the child said {other}"),
        }
    }
}

fn open(folder: &Path) -> Embedded {
    let config = config::Embedded { data_dir: folder.to_path_buf(), ..config::Embedded::default() };
    Embedded::open(&config).expect("the folder opens without repair")
}

fn child(folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "tests::kill::the_child_writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("spawn")
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_confirmed_is_lost_by_a_kill() {
    let rounds = from_env("STATECAST_TEST_KILL_ROUNDS").unwrap_or(8);
    let seed = from_env("STATECAST_TEST_KILL_SEED").unwrap_or_else(rand::random);
    eprintln!("STATECAST_TEST_KILL_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().expect("folder");
    let mut said = Said::default();
    for round in 0..rounds {
        // Early in the first rounds, so that the making of the folder is cut too.
        let wait_ms = random.random_range(0..if round < 3 { 60 } else { 700 });
        let mut child = child(dir.path());
        let out = BufReader::new(child.stdout.take().expect("pipe"));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(wait_ms));
            child.kill().expect("kill");
            child.wait().expect("wait")
        });
        for line in out.split(b'\n') {
            let line = String::from_utf8(line.expect("read")).expect("text");
            // A line that was cut has no end mark.
            if let Some(told) = line.strip_prefix("@ ").and_then(|told| told.strip_suffix(" .")) {
                said.hear(told);
            }
        }
        assert!(!killer.join().expect("killed").success(), "the child ended by itself");
        compare(&open(dir.path()), &mut said);
        wait_until_closed(dir.path());
    }
    assert!(!said.appended.is_empty(), "the child never got to write");
}

/// The group's thread may hold the folder for a moment longer.
fn wait_until_closed(folder: &Path) {
    let since = Instant::now();
    while File::create(folder.join("lock")).expect("lock").try_lock().is_err() {
        assert!(since.elapsed() < PATIENCE, "the folder stays open");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn compare(embedded: &Embedded, said: &mut Said) {
    let (log, store): (Arc<dyn Log>, Arc<dyn Store>) = (Arc::new(embedded.log()), Arc::new(embedded.store()));
    if log.identity("t").await.expect("identity").is_none() {
        assert!(said.appended.is_empty());
        return;
    }
    for partition in 0..2 {
        compare_partition(&log, partition, said).await;
    }
    let (member, membership) = Member::join(&log, "t", "g", |_| {});
    let committed = membership.committed().await.expect("committed");
    assert!(committed.iter().all(|(partition, _)| *partition == 0));
    assert!(committed.first().map_or(0, |(_, next)| *next) >= said.committed);
    drop((member, membership));
    let mut alive = 0;
    for task in 0..TASKS {
        alive += compare_keys(&store, task, said).await;
    }
    assert_eq!(store.count("s").await.expect("count"), alive);
    let rows = store.scan_rows("s", "events", RowScan::all(usize::MAX)).await.expect("rows");
    let rows: BTreeSet<String> = rows.into_iter().map(|row| row.id).collect();
    assert!(rows.is_superset(&said.rows));
    if said.epoch > 0 {
        assert!(epoch(&*store, "s", "another").await.0 > said.epoch);
    }
}

async fn compare_partition(log: &Arc<dyn Log>, partition: u32, said: &Said) {
    let (first, end) = log.bounds("t", partition).await.expect("bounds");
    let mut reader: Box<dyn PartitionReader> = log.read("t", 0, partition, first).expect("read");
    let (mut next, mut values) = (first, BTreeSet::new());
    while next < end {
        for record in reader.pull(PLENTY).await.expect("pull").iter() {
            assert_eq!(record.position.offset, next, "offsets are dense");
            let value = String::from_utf8_lossy(record.value.expect("value")).into_owned();
            if let Some(told) = said.appended.get(&(partition, next)) {
                assert_eq!(&value, told);
            }
            assert!(values.insert(value), "a record is there once");
            next += 1;
        }
    }
    let last = said.appended.range((partition, 0)..=(partition, u64::MAX)).next_back();
    assert!(last.is_none_or(|((_, offset), _)| *offset < end), "{last:?} is beyond {end}");
}

/// How many keys of a task are there.
async fn compare_keys(store: &Arc<dyn Store>, task: u64, said: &mut Said) -> u64 {
    let prefix = Some(format!("{task}-"));
    let scan = Scan { prefix, limit: usize::MAX, with_removed: true, ..Scan::default() };
    let documents = store.scan("s", scan).await.expect("scan");
    let version = documents.first().map_or(0, |document| document.version);
    assert!(documents.iter().all(|document| document.version == version), "a write is whole or not at all");
    assert!(version == 0 || documents.len() as u64 == KEYS);
    // The child adds one at a time and goes on from what it finds, which may be one more than it said.
    let told = said.written.insert(task, version).unwrap_or(0);
    assert!((told..=told + 1).contains(&version), "task {task} is at {version}, was told {told}");
    for document in &documents {
        let Upsert { document: expected, .. } = one_of(task, key_number(&document.key), version);
        assert_eq!(document, &expected);
    }
    let tombstones = store.expired("s", i64::MAX, usize::MAX).await.expect("expired");
    let removed = documents.iter().filter(|document| document.value.is_none()).count();
    let ours = tombstones.iter().filter(|document| document.key.starts_with(&format!("{task}-"))).count();
    assert_eq!(ours, removed, "the index of expiry holds what is removed");
    (documents.len() - removed) as u64
}

fn key_number(key: &str) -> u64 {
    key.split('-').nth(1).and_then(|number| number.parse().ok()).expect("key")
}

/// What key `number` of a task is at a version: every fifth a tombstone.
fn one_of(task: u64, number: u64, version: u64) -> Upsert {
    let pad = "x".repeat((version % 7 * 100) as usize);
    let mut upsert = upsert(&format!("{task}-{number}"), version, version, &format!("\"{pad}\""));
    upsert.document.position = at(task as u32, version);
    if (version + number).is_multiple_of(5) {
        upsert.document.value = None;
        upsert.expires_ms = Some(version as i64);
    }
    upsert
}

#[test]
#[ignore = "run by the test above in a process of its own"]
fn the_child_writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    write_for_ever(Path::new(&folder));
}

#[tokio::main]
async fn write_for_ever(folder: &Path) {
    let embedded = open(folder);
    let (log, store): (Arc<dyn Log>, Arc<dyn Store>) = (Arc::new(embedded.log()), Arc::new(embedded.store()));
    let spec = TopicSpec { name: "t".into(), partitions: 2, retention: None, replication: 1 };
    log.create_topics(&[spec]).await.expect("create");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(append(log.clone(), task));
        tasks.spawn(write(store.clone(), task));
    }
    tasks.spawn(insert_rows(store.clone()));
    tasks.spawn(commit(log.clone()));
    tasks.spawn(raise_epochs(store.clone()));
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task ends");
    }
}

async fn append(log: Arc<dyn Log>, task: u64) {
    let run: u64 = rand::random();
    for number in 0u64.. {
        let value = format!("{run}/{task}/{number}/{}", "x".repeat((number % 11 * 300) as usize));
        let record = NewRecord {
            value: Some(value.clone().into()),
            partition: Some((number % 2) as u32),
            ..NewRecord::default()
        };
        let (partition, offset) = log.append("t", record).await.expect("append");
        println!("@ appended {partition} {offset} {value} .");
    }
}

async fn write(store: Arc<dyn Store>, task: u64) {
    let held = store.load("s", &[id(&format!("{task}-0"))]).await.expect("load");
    for version in held.first().map_or(0, |document| document.version) + 1.. {
        let batch: Vec<_> = (0..KEYS).map(|number| one_of(task, number, version)).collect();
        assert_eq!(store.write("s", batch).await.expect("write"), KEYS as usize);
        println!("@ written {task} {version} .");
    }
}

async fn insert_rows(store: Arc<dyn Store>) {
    loop {
        let id = uuid::Uuid::new_v4().to_string();
        store.insert_rows("s", "events", vec![row(&id, 1, 1, "{}")]).await.expect("insert");
        println!("@ row {id} .");
    }
}

async fn commit(log: Arc<dyn Log>) {
    for next in 1u64.. {
        let (member, membership) = Member::join(&log, "t", "g", |_| {});
        member.holds(2).await;
        let before = membership.committed().await.expect("committed").first().map_or(0, |(_, next)| *next);
        member.next_is(&[(0, before.max(next))]);
        membership.leave().await;
        println!("@ committed {} .", before.max(next));
    }
}

async fn raise_epochs(store: Arc<dyn Store>) {
    loop {
        let identity = uuid::Uuid::new_v4().to_string();
        let (epoch, _) = epoch(&*store, "s", &identity).await;
        println!("@ epoch {epoch} .");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

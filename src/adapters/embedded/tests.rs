//! What only a folder has: its lock, its making, retention on disk, group commit, and the end after a failed write.

use super::{
    Embedded, EmbeddedLog, OpenError,
    commit::{Act, Committer, Failure, Group, Outcome, Staged},
    folder,
};
use crate::{
    clock, config,
    ports::{Log, LogError, PullLimit, Store, StoreError, TopicSpec},
    record::NewRecord,
    tests::contract::store::{id, upsert},
};
use std::{path::Path, sync::mpsc, time::Duration};
use tempfile::tempdir;

fn settings(folder: &Path) -> config::Embedded {
    config::Embedded {
        data_dir: folder.join("data"),
        retention_interval_ms: 20,
        ..config::Embedded::default()
    }
}

fn open(folder: &Path) -> Embedded {
    Embedded::open(&settings(folder)).expect("open")
}

#[test]
fn a_folder_in_use_is_not_opened_again() {
    let dir = tempdir().expect("folder");
    let held = open(dir.path());
    let error = Embedded::open(&settings(dir.path())).err().expect("refused");
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().starts_with("the folder is in use by another process: "), "{error}");
    drop(held);
    open(dir.path());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempdir().expect("folder");
    std::fs::write(dir.path().join("data"), "a file").expect("file");
    let error = Embedded::open(&settings(dir.path())).err().expect("refused");
    assert!(matches!(&error, OpenError::Unusable { .. }) && error.to_string().contains("data"), "{error}");
}

#[test]
fn a_making_that_was_cut_is_made_anew() {
    let dir = tempdir().expect("folder");
    let part = dir.path().join("data/db.part");
    std::fs::create_dir_all(part.join("keyspaces")).expect("folder");
    std::fs::write(part.join("0.jnl"), "cut").expect("journal");
    open(dir.path());
    assert!(!part.exists());
}

fn old(age_s: i64) -> NewRecord {
    let time_ms = Some(clock::now_ms() - age_s * 1_000);
    NewRecord { value: Some(vec![1; 10]), time_ms, partition: Some(0), ..NewRecord::default() }
}

async fn kept_for_a_minute(log: &EmbeddedLog, ages_s: &[i64]) {
    let retention = Some(Duration::from_secs(60));
    let spec = TopicSpec { name: "t".into(), partitions: 2, retention, replication: 1 };
    log.create_topics(&[spec]).await.expect("create");
    for age_s in ages_s {
        log.append("t", old(*age_s)).await.expect("append");
    }
}

async fn bounds_become(log: &EmbeddedLog, expected: (u64, u64)) {
    let in_time = tokio::time::timeout(Duration::from_secs(60), async {
        while log.bounds("t", 0).await.expect("bounds") != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    in_time.await.expect("retention in time");
}

#[tokio::test]
async fn retention_drops_old_records_from_the_front_for_good() {
    let dir = tempdir().expect("folder");
    let embedded = open(dir.path());
    let log = embedded.log();
    kept_for_a_minute(&log, &[100, 90, 80, 1, 70]).await;
    let mut slow = log.read("t", 0, 0, 1).expect("reader");
    bounds_become(&log, (3, 5)).await;
    let all = PullLimit { records_max: 9, bytes_max: 9_000 };
    let first = slow.pull(all).await.expect("pull").get(0).expect("record").position.offset;
    assert_eq!(first, 3, "a reader that was overtaken goes on with the earliest");
    drop((slow, log, embedded));
    let log = open(dir.path()).log();
    assert_eq!(log.bounds("t", 0).await.expect("bounds"), (3, 5));
}

#[tokio::test]
async fn the_newest_record_stays_so_that_offsets_go_on() {
    let dir = tempdir().expect("folder");
    let log = open(dir.path()).log();
    kept_for_a_minute(&log, &[100, 90]).await;
    bounds_become(&log, (1, 2)).await;
    drop(log);
    let log = open(dir.path()).log();
    assert_eq!(log.append("t", old(0)).await.expect("append"), (0, 2));
}

#[tokio::test]
async fn records_of_a_deleted_topic_go_even_across_a_restart() {
    let dir = tempdir().expect("folder");
    let log = open(dir.path()).log();
    kept_for_a_minute(&log, &[0; 20]).await;
    log.delete_topic("t").await.expect("delete");
    log.delete_topic("t").await.expect("delete again");
    assert!(matches!(log.append("t", old(0)).await, Err(LogError::Fatal(_))));
    drop(log);
    let embedded = open(dir.path());
    let spaces = &embedded.root.folder.spaces;
    let in_time = tokio::time::timeout(Duration::from_secs(60), async {
        while !spaces.records.is_empty().expect("look") || spaces.meta.prefix("doomed/").next().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    in_time.await.expect("buried in time");
}

#[tokio::test]
async fn a_reader_of_a_deleted_topic_fails() {
    let dir = tempdir().expect("folder");
    let log = open(dir.path()).log();
    kept_for_a_minute(&log, &[]).await;
    let mut reader = log.read("t", 0, 0, 0).expect("reader");
    let pulling = tokio::spawn(async move {
        let all = PullLimit { records_max: 9, bytes_max: 9_000 };
        reader.pull(all).await
    });
    tokio::task::yield_now().await;
    log.delete_topic("t").await.expect("delete");
    assert!(matches!(pulling.await.expect("pull"), Err(LogError::Fatal(_))));
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_written_and_reads_go_on() {
    let dir = tempdir().expect("folder");
    let embedded = open(dir.path());
    let (log, store) = (embedded.log(), embedded.store());
    kept_for_a_minute(&log, &[0]).await;
    store.write("s", vec![upsert("a", 1, 1, "1")]).await.expect("write");
    let (told, outcome) = tokio::sync::oneshot::channel();
    let fail = |_: &mut Group| Err(fjall::Error::Poisoned);
    let finish = move |outcome: &Outcome| told.send(outcome.clone()).expect("told");
    embedded.root.committer.submit(Box::new(Act(fail, finish)));
    assert!(matches!(outcome.await.expect("outcome"), Err(Failure::Unknown(_))));
    assert!(matches!(log.append("t", old(0)).await, Err(LogError::Fatal(_))));
    assert!(matches!(log.append("t", old(0)).await, Err(LogError::Fatal(_))), "and so it stays");
    assert!(matches!(store.write("s", vec![upsert("a", 2, 2, "2")]).await, Err(StoreError::Fatal(_))));
    assert!(log.ping().await.is_err() && store.ping().await.is_err());
    assert_eq!(store.load("s", &[id("a")]).await.expect("load").len(), 1);
}

/// Runs operations against a committer that is held in the middle of its first group until all are submitted.
fn in_one_group(submit: impl FnOnce(&Committer)) {
    let dir = tempdir().expect("folder");
    let folder = folder::open(&settings(dir.path())).expect("open");
    let committer =
        Committer::start(folder.db.clone(), folder.spaces.clone(), 1 << 20, 1 << 20).expect("start");
    let (hold, held) = mpsc::channel::<()>();
    let wait = move |group: &mut Group| {
        let _ = held.recv();
        group.touch(7);
        group.put_meta("first".into(), vec![1]);
        Ok(Staged::Yes)
    };
    committer.submit(Box::new(Act(wait, |_: &Outcome| ())));
    submit(&committer);
    drop(hold);
    drop(committer);
}

#[test]
fn what_waits_is_written_with_one_sync() {
    let (done, result) = mpsc::channel();
    in_one_group(move |committer| {
        let stage = move |group: &mut Group| {
            done.send((group.touches(7), group.spaces.meta.get("first")?.is_some())).expect("said");
            Ok(Staged::Yes)
        };
        committer.submit(Box::new(Act(stage, |_: &Outcome| ())));
    });
    assert_eq!(result.recv().expect("staged"), (true, false), "in the group of the first, before its commit");
}

#[test]
fn what_depends_on_the_group_opens_the_next() {
    let (done, result) = mpsc::channel();
    in_one_group(move |committer| {
        let stage = move |group: &mut Group| {
            if group.touches(7) {
                return Ok(Staged::Later);
            }
            done.send(group.spaces.meta.get("first")?.is_some()).expect("said");
            Ok(Staged::Yes)
        };
        committer.submit(Box::new(Act(stage, |_: &Outcome| ())));
    });
    assert!(result.recv().expect("staged"), "it sees what it waited for");
}

//! Members in processes of their own, which can be killed and stopped: what a clean end never shows.
//!
//! The other process is this test binary, running the one ignored test at the end of this file.

use super::{log_with, topic};
use crate::{
    ports::Log,
    tests::{
        contract::{
            log::{fill, record},
            member::{Member, PLENTY, Told},
            unique,
        },
        services,
    },
};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

const SESSION_MS: u64 = 6_000;

fn short_sessions(brokers: &str) -> Arc<dyn Log> {
    log_with(brokers, |kafka| kafka.session_timeout_ms = SESSION_MS)
}

/// A member in a process of its own; killed when dropped.
struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(topic: &str, group: &str, mode: &str) -> Other {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--ignored", "--exact", "--nocapture", "tests::kafka::process::other_process"])
            .envs([("OTHER_TOPIC", topic), ("OTHER_GROUP", group), ("OTHER_MODE", mode)])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawn");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        Other { child, lines }
    }

    /// Reads on until it says this; what follows on that line.
    fn says(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.next().expect("it ended").expect("line");
            // The test harness begins a line that ours then goes on with.
            if let Some((_, rest)) = line.split_once(&format!("other: {what}")) {
                return rest.trim().to_owned();
            }
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_member_is_replaced_from_what_it_committed() {
    let Some(brokers) = services::kafka() else { return };
    let log = short_sessions(&brokers);
    let (topic, group) = (topic(&log, 4).await, unique("group"));
    for partition in 0..4 {
        fill(&log, &topic, partition, 10).await;
    }
    let mut other = Other::start(&topic, &group, "commit-3");
    other.says("committed");
    let (member, membership) = Member::join(&log, &topic, &group, |_| {});
    member.holds(2).await;
    let since = Instant::now();
    other.signal("-KILL");
    member.holds(4).await;
    assert!(since.elapsed() < Duration::from_millis(SESSION_MS * 4), "{:?}", since.elapsed());
    // Two came by a clean revoke, with all that was read; two by the kill, with what was committed.
    let starts = member.starts();
    let killed: BTreeSet<_> =
        starts.iter().filter(|(_, start)| **start == Some(3)).map(|(p, _)| *p).collect();
    let moved = starts.values().filter(|start| **start == Some(10)).count();
    assert_eq!((killed.len(), moved), (2, 2), "{starts:?}");
    let taken: BTreeSet<_> = member.take(14).await.into_iter().map(|(p, o, _)| (p, o)).collect();
    assert_eq!(taken, killed.into_iter().flat_map(|p| (3..10).map(move |o| (p, o))).collect());
    membership.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_loses_its_partitions_and_commits_nothing() {
    let Some(brokers) = services::kafka() else { return };
    let log = short_sessions(&brokers);
    let (topic, group) = (topic(&log, 2).await, unique("group"));
    for partition in 0..2 {
        fill(&log, &topic, partition, 10).await;
    }
    let mut other = Other::start(&topic, &group, "commit-3");
    other.says("committed");
    other.signal("-STOP");
    let (member, membership) = Member::join(&log, &topic, &group, |_| {});
    member.holds(2).await;
    member.take(14).await;
    membership.commit(&[(0, 10), (1, 10)]);
    other.signal("-CONT");
    // Its member had read to the end before it was stopped, and would commit that when it is asked to give back.
    other.says("lost");
    other.says("back");
    let mut committed = membership.committed().await.expect("committed");
    committed.sort_unstable();
    assert_eq!(committed, [(0, 10), (1, 10)]);
    drop(other);
    member.holds(2).await;
    membership.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_does_not_pull_holds_little_and_stays() {
    const RECORDS: usize = 128;
    let Some(brokers) = services::kafka() else { return };
    let log = short_sessions(&brokers);
    let (topic, group) = (topic(&log, 4).await, unique("group"));
    // 96 MB that do not compress: 24 times the prefetch.
    let noise: Vec<u8> = (0..750_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for i in 0..RECORDS as u32 {
        let new = crate::record::NewRecord { value: Some(noise.clone()), ..record(i % 4, "") };
        log.append(&topic, new).await.expect("append");
    }
    let mut other = Other::start(&topic, &group, "idle");
    let grown_kb: u64 = other.says("grown").parse().expect("a number");
    assert!(grown_kb < 24 << 10, "{grown_kb} kB for a prefetch of 4 MiB");
    let assignments = other.says("told");
    assert_eq!(assignments, "1", "it was assigned once and nothing else: longer than a session it stayed");
}

/// The other process: a member that says on standard output what it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests above"]
async fn other_process() {
    let of = |name: &str| std::env::var(name).expect("run by another test");
    let (topic, group, mode) = (of("OTHER_TOPIC"), of("OTHER_GROUP"), of("OTHER_MODE"));
    let log = short_sessions(&services::kafka().expect("brokers"));
    let before_kb = resident_kb();
    let (member, membership) = Member::join(&log, &topic, &group, |_| {});
    match mode.as_str() {
        "commit-3" => {
            let partitions = log.identity(&topic).await.expect("identity").expect("topic").partitions;
            member.holds(partitions as usize).await;
            member.take(10 * partitions as usize).await;
            membership.commit(&(0..partitions).map(|p| (p, 3)).collect::<Vec<_>>());
            while membership.committed().await.expect("committed").len() < partitions as usize {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            println!("other: committed");
            while !member.told().iter().any(|told| matches!(told, Told::Lost(_))) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            println!("other: lost");
            // Its group has room for it again.
            while !matches!(member.told().last(), Some(Told::Assigned(_))) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            println!("other: back");
        }
        _ => {
            member.holds(4).await;
            tokio::time::sleep(Duration::from_millis(SESSION_MS + 1_000)).await;
            println!("other: grown {}", resident_kb().saturating_sub(before_kb));
            println!("other: told {}", member.told().len());
            member.look(0, PLENTY).await.expect("what was fetched is there");
        }
    }
    tokio::time::sleep(Duration::from_secs(3_600)).await;
}

/// Without pages of files: how much of the program itself lies in memory is no business of ours.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

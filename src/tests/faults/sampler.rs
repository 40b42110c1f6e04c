//! Looks at commits, lag and memory all the time, and minds that nothing is committed before it is stored, and that no key
//! goes back in the store.
//!
//! Invariant: a look that a broken service does not answer is no look; what was committed is read first, the store second.

use super::{
    feed::{Sent, is_bad, is_forbidden},
    oracle::{Finding, Kind},
};
use crate::tests::e2e::ground::Ground;
use bson::doc;
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::JoinHandle;

const LOOK_EVERY: Duration = Duration::from_millis(200);
const ASK: Duration = Duration::from_secs(2);

#[derive(Debug, Default, Clone)]
pub struct Sampled {
    pub looks: u64,
    pub lag_max: u64,
    pub lag: Option<u64>,
    pub committed: Vec<u64>,
    pub ends: Vec<u64>,
    pub findings: Vec<Finding>,
    pub memory_max_mib: u64,
}

pub struct Sampler {
    pub sampled: Arc<Mutex<Sampled>>,
    pub pids: Arc<Mutex<Vec<u32>>>,
    task: JoinHandle<()>,
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sampler {
    pub async fn start(ground: &Ground, sent: Arc<Mutex<Sent>>) -> Sampler {
        let (sampled, pids) = (Arc::<Mutex<Sampled>>::default(), Arc::<Mutex<Vec<u32>>>::default());
        let (config, topic) =
            (ground.client_config().set("group.id", ground.group()).clone(), ground.name.clone());
        let mut client: Option<BaseConsumer> = None;
        let documents = ground.impatient_documents().await;
        let (told, known) = (sampled.clone(), pids.clone());
        let task = tokio::spawn(async move {
            let mut before = BTreeMap::<String, (i32, i64)>::new();
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let peak = known.lock().expect("pids").iter().filter_map(|pid| peak_mib(*pid)).max();
                {
                    let mut told = told.lock().expect("sampled");
                    told.memory_max_mib = told.memory_max_mib.max(peak.unwrap_or(0));
                }
                let (consumer, topic) =
                    (client.take().unwrap_or_else(|| config.create().expect("consumer")), topic.clone());
                let asked = tokio::task::spawn_blocking(move || Some((ask(&consumer, &topic)?, consumer)));
                // One that got no answer is not asked again: of a leader that moved away from a broker that is gone, a client
                // that only asks for offsets never learns.
                let Some(((committed, ends), consumer)) = asked.await.expect("no panic") else { continue };
                client = Some(consumer);
                // What is known to have been sent before the store is read is all that is judged.
                let sent = newest_below(&sent.lock().expect("sent"), &committed);
                let Some(stored) = stored(&documents).await else { continue };
                let mut told = told.lock().expect("sampled");
                for (key, (partition, offset)) in sent {
                    if stored.get(&key).is_none_or(|at| *at < (partition, offset)) {
                        let at = stored.get(&key);
                        let what = format!("{key}: {partition}.{offset} is committed, stored is {at:?}");
                        told.findings.push(Finding::new(Kind::CommittedEarly, what));
                    }
                }
                for (key, was) in &before {
                    if stored.get(key).is_none_or(|at| at < was) {
                        let what = format!("{key} was stored at {was:?} and is at {:?}", stored.get(key));
                        told.findings.push(Finding::new(Kind::Reordered, what));
                    }
                }
                before = stored;
                let lag = ends.iter().zip(&committed).map(|(end, next)| end.saturating_sub(*next)).sum();
                told.looks += 1;
                told.lag_max = told.lag_max.max(lag);
                (told.lag, told.committed, told.ends) = (Some(lag), committed, ends);
            }
        });
        Sampler { sampled, pids, task }
    }

    pub fn now(&self) -> Sampled {
        self.sampled.lock().expect("sampled").clone()
    }
}

fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib >> 10)
}

/// Committed and end offsets by partition.
fn ask(consumer: &BaseConsumer, topic: &str) -> Option<(Vec<u64>, Vec<u64>)> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_range(topic, 0, crate::tests::e2e::ground::PARTITIONS - 1);
    let found = consumer.committed_offsets(wanted, ASK).ok()?;
    let offset = |offset| if let Offset::Offset(next) = offset { next as u64 } else { 0 };
    let committed: Vec<u64> = found.elements().into_iter().map(|one| offset(one.offset())).collect();
    let end = |partition| consumer.fetch_watermarks(topic, partition, ASK).ok().map(|bounds| bounds.1 as u64);
    let ends: Option<Vec<u64>> = (0..committed.len() as i32).map(end).collect();
    Some((committed, ends?))
}

/// The last good record of each key below what is committed.
fn newest_below(sent: &Sent, committed: &[u64]) -> BTreeMap<String, (i32, i64)> {
    let mut newest = BTreeMap::new();
    for (&(partition, offset), (key, value)) in sent {
        let may_be_letter = is_bad(key, value.as_deref()) || is_forbidden(value.as_deref());
        if (offset as u64) < committed[partition as usize] && !may_be_letter {
            newest.insert(String::from_utf8_lossy(key).into_owned(), (partition, offset));
        }
    }
    newest
}

async fn stored(documents: &mongodb::Collection<bson::Document>) -> Option<BTreeMap<String, (i32, i64)>> {
    let found = documents.find(doc! {}).projection(doc! { "position": 1 });
    // What a primary shows before it is durable may go back without a fault of ours.
    let found = found.read_concern(ReadConcern::majority());
    let read = async { found.await.ok()?.try_collect::<Vec<_>>().await.ok() };
    let found = tokio::time::timeout(ASK, read).await.ok()??;
    let position = |document: bson::Document| {
        let position = document.get_document("position").ok()?;
        let number = |name: &str| position.get_i64(name).ok();
        Some((document.get_str("_id").ok()?.to_owned(), (number("partition")? as i32, number("offset")?)))
    };
    found.into_iter().map(position).collect()
}

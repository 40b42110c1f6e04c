//! What the folder holds: its topics with their bounds, and the numbers and counts of streams and of collections of rows.
//!
//! Invariant: it is made from what is on disk when the folder is opened, and changed by the writing thread alone; a
//! number is never given twice.
//! Not here: making and deleting (`changes`).

use super::{chunk, folder::Spaces, keys};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

pub struct Registry {
    /// Random, made with the folder: what a broker's cluster id is.
    pub cluster: String,
    topics: RwLock<HashMap<String, Arc<Topic>>>,
    collections: RwLock<HashMap<String, Arc<Collection>>>,
    next_number: AtomicU32,
}

/// A topic as it stands in the folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopicEntry {
    pub number: u32,
    pub id: String,
    pub partitions: u32,
    pub retention_ms: Option<u64>,
}

#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub entry: TopicEntry,
    pub partitions: Vec<Partition>,
}

#[derive(Debug)]
pub struct Partition {
    pub bounds: watch::Sender<Bounds>,
    /// The end with what the group in the making adds. The writing thread's own.
    pub staged_end: AtomicU64,
}

/// What is confirmed of a partition: offsets `[first, end)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    pub first: u64,
    pub end: u64,
    pub deleted: bool,
}

/// A stream's documents, or one collection of rows.
#[derive(Debug)]
pub struct Collection {
    pub number: u32,
    /// Documents that are no tombstones.
    pub count: AtomicI64,
}

const TOPIC: &str = "topic/";
const COLLECTION: &str = "collection/";
const DOOMED: &str = "doomed/";
const NEXT_NUMBER: &str = "next_number";
pub const CLUSTER: &str = "cluster";

/// Small named values of the engine's own begin with this.
pub const MARK: &str = "mark/";

pub fn epoch_name(stream: &str) -> String {
    format!("epoch/{stream}")
}

pub fn topic_name(topic: &str) -> String {
    format!("{TOPIC}{topic}")
}

pub fn collection_name(collection: &str) -> String {
    format!("{COLLECTION}{collection}")
}

pub fn doomed_name(number: u32) -> String {
    format!("{DOOMED}{number:08x}")
}

pub fn next_number_name() -> String {
    NEXT_NUMBER.into()
}

pub fn count_name(number: u32) -> String {
    format!("count/{number:08x}")
}

pub fn first_name(number: u32, partition: u32) -> String {
    format!("first/{number:08x}/{partition:08x}")
}

/// What a group has committed of a topic begins with this; the partition follows.
pub fn offsets_prefix(number: u32, group: &str) -> String {
    format!("offset/{number:08x}/{group}/")
}

pub fn offset_name(number: u32, group: &str, partition: u32) -> String {
    format!("{}{partition:08x}", offsets_prefix(number, group))
}

/// The names under which a topic keeps small values beside its own.
pub fn topic_leftovers(number: u32) -> [String; 2] {
    [format!("offset/{number:08x}/"), format!("first/{number:08x}/")]
}

/// The partition out of what follows a prefix of offsets; `None` where a longer group's name follows.
pub fn partition_of_name(rest: &str) -> Option<u32> {
    (rest.len() == 8).then(|| u32::from_str_radix(rest, 16).ok()).flatten()
}

/// A small number as it stands in `meta`: decimal, so that a person can read it.
pub fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Names and values of `meta` that begin with `prefix`, in order, the prefix taken off.
pub fn small_values<'a>(
    spaces: &'a Spaces,
    prefix: &'a str,
) -> impl Iterator<Item = fjall::Result<(String, fjall::Slice)>> + 'a {
    spaces.meta.prefix(prefix).map(move |entry| {
        let (name, value) = entry.into_inner()?;
        let rest = name.get(prefix.len()..).unwrap_or_default();
        Ok((String::from_utf8_lossy(rest).into_owned(), value))
    })
}

/// Numbers of deleted topics whose records are not all gone.
pub fn doomed(spaces: &Spaces) -> fjall::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in small_values(spaces, DOOMED) {
        numbers.extend(u32::from_str_radix(&entry?.0, 16).ok());
    }
    Ok(numbers)
}

impl Registry {
    pub fn load(spaces: &Spaces) -> Result<Self, String> {
        let cluster = cluster(spaces)?;
        let next: Option<u32> = number_of(spaces, NEXT_NUMBER)?;
        let mut topics = HashMap::new();
        for entry in small_values(spaces, TOPIC) {
            let (name, value) = entry.map_err(|error| error.to_string())?;
            let entry: TopicEntry =
                serde_json::from_slice(&value).map_err(|error| format!("topic {name}: {error}"))?;
            let bounds = (0..entry.partitions).map(|partition| load_bounds(spaces, entry.number, partition));
            let bounds = bounds.collect::<Result<Vec<_>, _>>()?;
            topics.insert(name.clone(), Arc::new(Topic::new(name, entry, bounds)));
        }
        let mut collections = HashMap::new();
        for entry in small_values(spaces, COLLECTION) {
            let (name, value) = entry.map_err(|error| error.to_string())?;
            let number: u32 = number(&value).ok_or_else(|| format!("collection {name} has no number"))?;
            let count: Option<i64> = number_of(spaces, &count_name(number))?;
            collections
                .insert(name, Arc::new(Collection { number, count: AtomicI64::new(count.unwrap_or(0)) }));
        }
        Ok(Registry {
            cluster,
            topics: RwLock::new(topics),
            collections: RwLock::new(collections),
            next_number: AtomicU32::new(next.unwrap_or(1)),
        })
    }

    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn add_topic(&self, topic: Arc<Topic>) {
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(topic.name.clone(), topic);
    }

    /// Takes a topic out and wakes its readers, which then fail.
    pub fn remove_topic(&self, topic: &Topic) {
        self.topics.write().unwrap_or_else(PoisonError::into_inner).remove(&topic.name);
        for partition in &topic.partitions {
            partition.bounds.send_modify(|bounds| bounds.deleted = true);
        }
    }

    pub fn collection(&self, name: &str) -> Option<Arc<Collection>> {
        self.collections.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub fn add_collection(&self, name: String, collection: Arc<Collection>) {
        self.collections.write().unwrap_or_else(PoisonError::into_inner).insert(name, collection);
    }

    /// A number nobody had; the caller writes `next_number` with it.
    pub fn take_number(&self) -> u32 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub fn next_number(&self) -> u32 {
        self.next_number.load(Ordering::Relaxed)
    }
}

impl Topic {
    pub fn new(name: String, entry: TopicEntry, bounds: Vec<Bounds>) -> Self {
        let partition = |bounds: Bounds| Partition {
            staged_end: AtomicU64::new(bounds.end),
            bounds: watch::Sender::new(bounds),
        };
        Topic { name, entry, partitions: bounds.into_iter().map(partition).collect() }
    }

    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.get(number as usize)
    }
}

/// The folder's own id, made with it: identities of topics are built from it.
fn cluster(spaces: &Spaces) -> Result<String, String> {
    let id = spaces.meta.get(CLUSTER).map_err(|error| error.to_string())?;
    let id = id.ok_or("the folder has no id")?;
    String::from_utf8(id.to_vec()).map_err(|error| error.to_string())
}

fn number_of<T: std::str::FromStr>(spaces: &Spaces, name: &str) -> Result<Option<T>, String> {
    let value = spaces.meta.get(name).map_err(|error| error.to_string())?;
    let parsed = value.map(|value| number(&value).ok_or_else(|| format!("{name} is no number")));
    parsed.transpose()
}

/// The bounds out of what is there. The newest chunk is never dropped, so the end is known from it.
fn load_bounds(spaces: &Spaces, topic: u32, partition: u32) -> Result<Bounds, String> {
    let first = number_of(spaces, &first_name(topic, partition))?.unwrap_or(0);
    let range = keys::chunk(topic, partition, 0)..=keys::chunk(topic, partition, u64::MAX);
    let Some(last) = spaces.records.range(range).next_back() else {
        return Ok(Bounds { first, end: first, deleted: false });
    };
    let (name, value) = last.into_inner().map_err(|error| error.to_string())?;
    let broken = || format!("the newest chunk of partition {partition} of topic {topic} is broken");
    let offset = keys::chunk_offset(&name).ok_or_else(broken)?;
    let (count, _) = chunk::head(&value).ok_or_else(broken)?;
    Ok(Bounds { first, end: offset + u64::from(count), deleted: false })
}

//! The yardstick: a loop that takes the same topic to the same database with the same guard and nothing else.
//!
//! No actors, cache, dead letters, watermark, view or live part: four tasks, a partition each, a thousand records a batch.

use crate::{Fault, produce::PARTITIONS};
use rustc_hash::FxHashMap;
use statecast::{
    adapters::{kafka::KafkaLog, mongo::MongoStore},
    config,
    document::{Document, Json},
    ports::{Log, PullLimit, Store, Upsert},
    record::Slice,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

const BATCH: PullLimit = PullLimit { records_max: 1_000, bytes_max: 4 << 20 };

/// Arguments: brokers, topic, uri, database, records.
pub async fn run(arguments: &[&str]) -> Result<(), Fault> {
    let [brokers, topic, uri, database, records] = arguments else {
        return Err("bare: brokers topic uri database records".into());
    };
    let kafka = config::Kafka { brokers: (*brokers).into(), ..config::Kafka::default() };
    let log = Arc::new(KafkaLog::new(&kafka)?);
    let mongodb = config::Mongodb {
        uri: config::Secret((*uri).into()),
        database: (*database).into(),
        ..config::Mongodb::default()
    };
    let store = Arc::new(MongoStore::connect(&mongodb).await?);
    store.prepare("kv", &[]).await?;
    let (records, done) = (records.parse::<u64>()?, Arc::new(AtomicU64::new(0)));
    let started = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for partition in 0..PARTITIONS {
        let (log, store, done, topic) = (log.clone(), store.clone(), done.clone(), (*topic).to_owned());
        tasks.spawn(async move {
            let (from, end) = log.bounds(&topic, partition).await?;
            let mut reader = log.read(&topic, 0, partition, from)?;
            let mut next = from;
            while next < end {
                let slice = reader.pull(BATCH).await?;
                next = slice.last_offset().map_or(next, |last| last + 1);
                store.write("kv", upserts(&slice)).await?;
                done.fetch_add(slice.len() as u64, Ordering::Relaxed);
            }
            Ok::<(), Fault>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    if done.load(Ordering::Relaxed) != records {
        return Err(format!("bare: {} of {records} records", done.load(Ordering::Relaxed)).into());
    }
    println!("{}", started.elapsed().as_secs_f64());
    // The parent reads what this process cost; it ends when the pipe closes.
    std::io::read_to_string(std::io::stdin())?;
    Ok(())
}

/// The newest record of each key, as if each key were new.
fn upserts(slice: &Slice) -> Vec<Upsert> {
    let mut newest: FxHashMap<&[u8], Upsert> = FxHashMap::default();
    for record in slice.iter() {
        let (Some(key), Some(value)) = (record.key, record.value) else { continue };
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let document = Document {
            key: text(key).into(),
            partial: None,
            version: 1,
            created_ms: record.time_ms,
            updated_ms: record.time_ms,
            position: record.position,
            value: Some(Json::from_checked(text(value))),
            origins: Default::default(),
        };
        newest.insert(key, Upsert { document, from_version: 0, expires_ms: None });
    }
    newest.into_values().collect()
}

/// Upserts of the same size into fjall, 1000 a batch, an fsync each; how many a second.
pub async fn fjall(folder: &std::path::Path, records: u64) -> Result<f64, Fault> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        let db = fjall::Database::builder(&folder).open()?;
        let space = db.keyspace("kv", fjall::KeyspaceCreateOptions::default)?;
        let started = std::time::Instant::now();
        for first in (0..records).step_by(BATCH.records_max) {
            let mut batch = db.batch();
            for number in first..(first + BATCH.records_max as u64).min(records) {
                let key = format!("key-{number}");
                batch.insert(&space, key.as_str(), crate::produce::value(number, 0).as_str());
            }
            batch.durability(Some(fjall::PersistMode::SyncData)).commit()?;
        }
        Ok(records as f64 / started.elapsed().as_secs_f64())
    })
    .await?
}

/// Fills the embedded log of a folder, as the door would.
pub async fn fill_embedded(data_dir: &std::path::Path, records: u64) -> Result<(), Fault> {
    use futures_util::{StreamExt, stream};
    use statecast::{adapters::embedded::Embedded, record::NewRecord};
    const APPENDS: usize = 2_000;
    let settings = config::Embedded { data_dir: data_dir.to_owned(), ..config::Embedded::default() };
    let embedded = Embedded::open(&settings)?;
    let log = embedded.log();
    log.create_topics(&statecast::config::streams::topics(&config::Config::default())).await?;
    let appends = stream::iter(0..records).map(|number| {
        let key = Some(format!("key-{number}").into_bytes());
        let value = Some(crate::produce::value(number, 0).into_bytes());
        log.append("kv", NewRecord { key, value, ..NewRecord::default() })
    });
    let mut appends = appends.buffer_unordered(APPENDS);
    while let Some(appended) = appends.next().await {
        appended?;
    }
    Ok(())
}

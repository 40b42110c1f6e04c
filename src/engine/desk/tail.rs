//! Follows the dead-letter topics, so that the desk knows what lies there.
//!
//! Invariant: starts at the earliest letter; a log that is away is asked again on a beat, nothing is listed twice, and
//! nothing by a stream that did not refuse it.

use super::{
    Drawer,
    index::{self, Mark},
};
use crate::{engine::progress::lock, ports::PullLimit};
use futures_util::{FutureExt, future::join_all};
use std::{sync::Arc, time::Duration};

const LOOK_AGAIN: Duration = Duration::from_secs(2);
const PULL_MAX: Duration = Duration::from_secs(5);
const PULL: PullLimit = PullLimit { records_max: 500, bytes_max: 1 << 20 };

/// Runs for ever; ends with the runtime.
pub async fn follow(drawer: Arc<Drawer>) {
    load_marks(&drawer).await;
    let partitions = loop {
        match drawer.stream.shared.log.identity(&drawer.topic()).await {
            Ok(Some(identity)) => break identity.partitions,
            Ok(None) | Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    };
    join_all((0..partitions).map(|partition| follow_partition(&drawer, partition))).await;
}

async fn load_marks(drawer: &Drawer) {
    let prefix = drawer.mark_name("");
    loop {
        let (store, wanted) = (drawer.stream.shared.readers.clone(), prefix.clone());
        let asked = drawer.stream.try_store(async move { store.marks(&wanted).await }.boxed());
        let Ok(marks) = asked.await else {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        };
        let mut index = lock(&drawer.index);
        for (name, json) in marks {
            let position = name.strip_prefix(&prefix).and_then(|text| text.parse().ok());
            let mark = serde_json::from_str::<Mark>(json.text()).ok();
            if let Some((position, mark)) = position.zip(mark) {
                index.mark(position, mark);
            }
        }
        return;
    }
}

async fn follow_partition(drawer: &Drawer, partition: u32) {
    let mut next = 0;
    loop {
        // A reader of Kafka is a whole client: one is opened only while there is something to read.
        let bounds = drawer.stream.shared.log.bounds(&drawer.topic(), partition).await;
        if let Ok((from, end)) = bounds {
            next = read(drawer, partition, next.max(from), end).await;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Takes in what lies before `end`; returns where to go on.
async fn read(drawer: &Drawer, partition: u32, mut next: u64, end: u64) -> u64 {
    if next >= end {
        return next;
    }
    let reader = drawer.stream.shared.log.read(&drawer.topic(), 0, partition, next);
    let Ok(mut reader) = reader else { return next };
    while next < end {
        // Transactions leave holes at the end: a pull that brings nothing is not waited for.
        let Ok(Ok(slice)) = tokio::time::timeout(PULL_MAX, reader.pull(PULL)).await else { return next };
        let mut index = lock(&drawer.index);
        let ours = slice.iter().filter_map(|record| index::entry(&record, drawer.stream.name()));
        ours.for_each(|entry| index.take(entry));
        next = slice.last_offset().map_or(next, |last| last + 1);
    }
    next
}

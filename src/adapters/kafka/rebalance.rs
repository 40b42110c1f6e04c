//! A rebalance, answered: where each partition begins, and the order in which queues are split, partitions assigned,
//! and given back.
//!
//! Invariant: a partition's queue is split BEFORE the partition is assigned, so that none of its records comes by the
//! main queue, out of order; and closed before it is unassigned. Runs on the member's own thread, inside its poll:
//! librdkafka's other threads keep the session alive meanwhile, however long a drain takes.
//! Not here: what is held and committed (`group`).

use super::{
    errors::{self, Class},
    group::Group,
    offsets,
    reader::{Lane, Reader},
};
use crate::ports::{LogError, PartitionReader};
use futures_util::task::AtomicWaker;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
    types::RDKafkaRespErr,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub type Client = BaseConsumer<Context>;

/// A question that failed in passing is asked again after so long.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The context of a member's client: librdkafka calls it from the member's thread.
pub struct Context {
    pub group: Arc<Group>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.group.faults.log(level, facility, line);
    }

    fn stats_raw(&self, json: &[u8]) {
        self.group.faults.statistics(json);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.group.faults.event(&error, reason);
    }
}

impl ConsumerContext for Context {
    /// Answers a rebalance. Both calls are deltas (cooperative-sticky), and an assignment may be empty; each must be
    /// answered, or the group waits for us.
    fn rebalance(&self, client: &Client, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let answered = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(client, list),
            _ => self.revoke(client, list),
        };
        if let Err(error) = answered {
            self.group.fail(LogError::Unavailable(format!("a rebalance was not answered: {error}")));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.group.commit_answered(result, offsets);
    }
}

impl Context {
    fn assign(&self, client: &Client, list: &TopicPartitionList) -> KafkaResult<()> {
        let readers = if self.group.ended() { Vec::new() } else { self.split(client, list) };
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(list)?,
            _ => client.assign(list)?,
        }
        if !readers.is_empty() {
            let partitions: Vec<_> = readers.iter().map(|r| (r.partition(), r.start())).collect();
            tracing::info!(group = %self.group.subscription.group, ?partitions, "partitions assigned");
            self.group.events.assigned(readers);
        }
        Ok(())
    }

    /// Finds where each partition begins, writes it into the list, and splits its queue.
    fn split(&self, client: &Client, list: &TopicPartitionList) -> Vec<Box<dyn PartitionReader>> {
        let group = &self.group;
        let Some(shared) = group.client() else { return Vec::new() };
        let Some(committed) = self.committed(client, list) else { return Vec::new() };
        let mut readers: Vec<Box<dyn PartitionReader>> = Vec::new();
        for mut element in list.elements() {
            let Ok(partition) = u32::try_from(element.partition()) else { continue };
            let anew = group.begins_anew(partition);
            let start = committed.get(&partition).copied().filter(|_| !anew);
            if element.set_offset(offsets::begin_at(start)).is_err() {
                continue;
            }
            let waker = Arc::new(AtomicWaker::new());
            let Some(lane) = Lane::split(&shared, &group.subscription.topic, partition, waker) else {
                group.fail(LogError::Unavailable(format!("partition {partition} has no queue")));
                continue;
            };
            group.hold(lane.clone(), start);
            let (faults, epoch) = (group.faults.clone(), group.subscription.epoch);
            readers.push(Box::new(Reader::new(lane, faults, epoch, start, 0)));
        }
        readers
    }

    /// What the group has committed of these partitions for this epoch. Asks until it is known, because beginning
    /// without knowing could begin behind records that nobody took in; the brokers keep hearing from us meanwhile.
    /// `None`: the membership ends.
    fn committed(&self, client: &Client, list: &TopicPartitionList) -> Option<BTreeMap<u32, u64>> {
        let group = &self.group;
        if list.count() == 0 {
            return Some(BTreeMap::new());
        }
        loop {
            match offsets::committed(client, list.clone(), group.subscription.epoch, group.call_timeout()) {
                Ok(committed) => return Some(committed),
                Err(error) => {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                    group.faults.note("committed offsets", code, &error.to_string());
                    if errors::class(code) == Class::Fatal {
                        group.fail(LogError::Fatal(error.to_string()));
                    }
                }
            }
            if group.ended() {
                return None;
            }
            std::thread::sleep(AGAIN_AFTER);
        }
    }

    fn revoke(&self, client: &Client, list: &TopicPartitionList) -> KafkaResult<()> {
        let elements = list.elements();
        let held = self.group.held(elements.iter().filter_map(|e| u32::try_from(e.partition()).ok()));
        if !held.is_empty() {
            tracing::info!(group = %self.group.subscription.group, partitions = ?held, "partitions go");
        }
        let last = self.group.let_go(client, &held);
        self.group.commit_now(client, &last);
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(list),
            _ => client.unassign(),
        }
    }
}

//! A place in a consumer group, and the thread that keeps it.
//!
//! Invariant: one thread of our own polls the client from its making to its closing, and nothing else does: rebalances,
//! commits' outcomes and errors are all handled there, and a slow reader never keeps the brokers waiting. Closing the
//! client happens there too, because it takes its time.
//! Not here: what a rebalance does (`group`).

use super::{
    admin,
    errors::{self, Class},
    group::Group,
    offsets,
    producer::Producer,
    rebalance::{Client, Context},
    settings::{Prefetch, Settings},
};
use crate::ports::{Assignments, LogError, Membership, Subscription};
use futures_util::future::BoxFuture;
use rdkafka::{
    TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The longest the thread waits for an event before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);
/// Failed commits are made again on this beat.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// A member that finds no broker, or no topic, looks again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// A question to the brokers before joining: short, because a stop waits for it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// A client that others still hold (a question about committed offsets) is looked at again after so long.
const CLOSE_AGAIN: Duration = Duration::from_millis(5);

/// How far a member has come on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    In,
    /// The holder gave back everything.
    GivenBack,
    Out,
}

/// What a member and its thread need.
#[derive(Clone)]
pub struct Parts {
    pub settings: Arc<Settings>,
    pub producer: Arc<Producer>,
}

pub struct KafkaMembership {
    parts: Parts,
    group: Arc<Group>,
    phase: watch::Receiver<Phase>,
}

/// Starts a member; it joins in the background, as soon as there are brokers and the topic.
pub fn join(
    parts: Parts,
    subscription: Subscription,
    events: Arc<dyn Assignments>,
) -> Result<Arc<dyn Membership>, LogError> {
    let call_timeout = Duration::from_millis(parts.settings.kafka().call_timeout_ms);
    let group = Arc::new(Group::new(subscription, events, call_timeout));
    let (entered, phase) = watch::channel(Phase::In);
    let driver = Driver { parts: parts.clone(), group: group.clone(), phase: entered };
    std::thread::Builder::new()
        .name("kafka-member".into())
        .spawn(move || driver.run())
        .map_err(|error| LogError::Unavailable(format!("no thread for a group member: {error}")))?;
    Ok(Arc::new(KafkaMembership { parts, group, phase }))
}

impl Membership for KafkaMembership {
    fn commit(&self, next: &[(u32, u64)]) {
        self.group.commit(next);
    }

    fn committed(&self) -> BoxFuture<'_, Result<Vec<(u32, u64)>, LogError>> {
        let (parts, group) = (self.parts.clone(), self.group.clone());
        Box::pin(async move {
            tokio::task::spawn_blocking(move || committed(&parts, &group))
                .await
                .unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())))
        })
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        self.group.stop();
        let mut phase = self.phase.clone();
        let timeout = Duration::from_millis(self.parts.settings.kafka().leave_timeout_ms);
        Box::pin(async move {
            // An error: the thread ended, which is as far as it goes. Giving back has the holder's own deadline.
            let _ = phase.wait_for(|phase| *phase >= Phase::GivenBack).await;
            let out = tokio::time::timeout(timeout, phase.wait_for(|phase| *phase == Phase::Out)).await;
            if out.is_err() {
                let group = self.group.subscription.group.as_str();
                tracing::warn!(
                    group,
                    "the group did not let go in time, the brokers will notice by themselves"
                );
            }
        })
    }
}

impl Drop for KafkaMembership {
    /// Leaves in the background where nobody left before.
    fn drop(&mut self) {
        self.group.stop();
    }
}

/// What the group has committed. Blocks.
fn committed(parts: &Parts, group: &Group) -> Result<Vec<(u32, u64)>, LogError> {
    let (subscription, timeout) = (&group.subscription, group.call_timeout());
    let topic = subscription.topic.as_str();
    let partitions = admin::partitions(&parts.producer, topic, timeout)?.unwrap_or(0);
    if partitions == 0 {
        return Ok(Vec::new());
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, i32::try_from(partitions).unwrap_or(i32::MAX).saturating_sub(1));
    let found = match group.client() {
        Some(client) => offsets::committed(&*client, list, subscription.epoch, timeout),
        None => {
            // Before it has joined, and after it has left: a client that only asks.
            let config = parts.settings.member(&subscription.group, Prefetch::new(0, 1));
            let client: BaseConsumer = config.create().map_err(|error| errors::creation(&error))?;
            offsets::committed(&client, list, subscription.epoch, timeout)
        }
    };
    Ok(found.map_err(|error| errors::question(&error))?.into_iter().collect())
}

/// The member's thread.
struct Driver {
    parts: Parts,
    group: Arc<Group>,
    phase: watch::Sender<Phase>,
}

impl Driver {
    fn run(self) {
        match self.enter() {
            Ok(Some(client)) => {
                self.serve(&client);
                let last = self.group.let_go(&client, &self.group.all_held());
                // From here on only the brokers are waited for, and who leaves waits no longer than it wants to.
                let _ = self.phase.send(Phase::GivenBack);
                self.group.commit_now(&client, &last);
                self.exit(client);
            }
            Ok(None) => {}
            Err(error) => self.group.fail(error),
        }
        let _ = self.phase.send(Phase::Out);
    }

    /// Makes the client and subscribes. `None`: it was told to leave before.
    fn enter(&self) -> Result<Option<Arc<Client>>, LogError> {
        let subscription = &self.group.subscription;
        let Some(partitions) = self.partitions()? else { return Ok(None) };
        let prefetch = Prefetch::new(subscription.prefetch_bytes_max, partitions);
        let config = self.parts.settings.member(&subscription.group, prefetch);
        let context = Context { group: self.group.clone() };
        let client = BaseConsumer::from_config_and_context(&config, context)
            .map_err(|error| errors::creation(&error))?;
        let client = Arc::new(client);
        self.group.set_client(&client);
        client.subscribe(&[&subscription.topic]).map_err(|error| errors::question(&error))?;
        Ok(Some(client))
    }

    /// How many partitions the topic has: the prefetch is shared among them, and that is set once. Waits for brokers
    /// and topic.
    fn partitions(&self) -> Result<Option<u32>, LogError> {
        let topic = self.group.subscription.topic.as_str();
        while !self.group.stopping() {
            match admin::partitions(&self.parts.producer, topic, LOOK_TIMEOUT) {
                Ok(Some(partitions)) => return Ok(Some(partitions)),
                Ok(None) => self.group.faults.note("join", Code::UnknownTopicOrPartition, topic),
                Err(error @ LogError::Fatal(_)) => return Err(error),
                Err(error) => self.group.faults.note("join", Code::AllBrokersDown, &error.to_string()),
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(None)
    }

    /// Polls until it is told to leave.
    fn serve(&self, client: &Client) {
        let mut committed_at = Instant::now();
        while !self.group.stopping() {
            self.poll(client, POLL);
            if committed_at.elapsed() >= COMMIT_AGAIN {
                committed_at = Instant::now();
                self.group.commit_again();
            }
        }
    }

    fn poll(&self, client: &Client, timeout: Duration) {
        match client.poll(timeout) {
            None => {}
            // It would be out of order with its partition's queue.
            Some(Ok(_)) if !self.group.ended() => {
                self.group.fail(LogError::Fatal("a record came beside its partition's queue".into()));
            }
            Some(Ok(_)) => {}
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                self.group.fail(LogError::Fatal(code.to_string()));
            }
            Some(Err(error)) if error.rdkafka_error_code().map(errors::class) == Some(Class::Fatal) => {
                self.group.fail(LogError::Fatal(error.to_string()));
            }
            // It was told to the client's context already; librdkafka mends what passes.
            Some(Err(_)) => {}
        }
    }

    /// Leaves the group and closes the client. Subscribing ends first and is served here, while the client can still be
    /// asked: closing a client that is still subscribed loses its last events, and crashes this librdkafka when the
    /// coordinator is away. In the middle of a rebalance librdkafka (2.12.1) puts the end of the subscription off until
    /// that is over, and a client that is closed meanwhile never says that it leaves: the group would wait for it, and
    /// nobody read its partitions, for a whole session.
    fn exit(&self, client: Arc<Client>) {
        let timeout = Duration::from_millis(self.parts.settings.kafka().leave_timeout_ms);
        let until = Instant::now() + timeout;
        client.unsubscribe();
        let holds_some = || client.assignment().is_ok_and(|list| list.count() > 0);
        while Instant::now() < until && (holds_some() || kafka_native::is_member(&client)) {
            self.poll(&client, CLOSE_AGAIN);
        }
        let mut shared = client;
        while Instant::now() < until {
            match Arc::try_unwrap(shared) {
                Ok(client) => return drop(client),
                Err(client) => shared = client,
            }
            std::thread::sleep(CLOSE_AGAIN);
        }
    }
}

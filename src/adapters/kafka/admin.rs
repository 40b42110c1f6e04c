//! Questions and orders about topics: create, describe, bounds, ping.
//!
//! Invariant: everything here that blocks runs on a blocking thread, under a deadline.
//! Not here: reading and appending records.

use super::{
    errors,
    producer::{Context, Producer},
    settings::{RECORD_BYTES_MAX, Settings},
};
use crate::ports::{LogError, TopicIdentity, TopicSpec};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::{Client, DefaultClientContext},
    error::RDKafkaErrorCode as Code,
};
use std::{sync::Arc, time::Duration};

/// A look whether a created topic has reached the brokers.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A broker that answers at all answers a ping in this time.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs a question on a blocking thread.
async fn ask<T: Send + 'static>(
    producer: &Arc<Producer>,
    question: impl FnOnce(&Client<Context>) -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let (producer, asked) = (producer.clone(), producer.clone());
    let answer = tokio::task::spawn_blocking(move || producer.ask(question)).await;
    let answer = answer.unwrap_or_else(|error| Err(LogError::Unavailable(error.to_string())));
    match answer {
        Ok(answer) => {
            asked.well();
            Ok(answer)
        }
        Err(error) => Err(explained(error, asked.trouble())),
    }
}

/// A question that timed out says why, where the client knows: wrong credentials look like silence.
fn explained(error: LogError, trouble: Option<(Code, String)>) -> LogError {
    match (error, trouble) {
        (LogError::Unavailable(text), Some((code, why))) => {
            let text = format!("{text}: {why}");
            if errors::class(code) == errors::Class::Fatal {
                LogError::Fatal(text)
            } else {
                LogError::Unavailable(text)
            }
        }
        (error, _) => error,
    }
}

pub async fn ping(producer: &Arc<Producer>) -> Result<(), LogError> {
    ask(producer, |client| kafka_native::cluster_id(client, PING_TIMEOUT).map_err(|e| errors::native(&e)))
        .await?;
    Ok(())
}

/// A topic's identity: cluster and topic id. Brokers before 2.8 have no topic ids; there the name stands for it, and a
/// topic that is deleted and made again cannot be told from the old one.
pub async fn identity(
    producer: &Arc<Producer>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<TopicIdentity>, LogError> {
    let topic = topic.to_owned();
    ask(producer, move |client| {
        let Some(described) = describe(client, &topic, timeout)? else { return Ok(None) };
        let cluster = kafka_native::cluster_id(client, timeout).map_err(|e| errors::native(&e))?;
        let topic_id = described.id.unwrap_or_else(|| format!("name:{topic}"));
        Ok(Some(TopicIdentity { id: format!("{cluster}/{topic_id}"), partitions: described.partitions }))
    })
    .await
}

/// How many partitions a topic has. Blocks; `None`: there is no such topic.
pub fn partitions(producer: &Producer, topic: &str, timeout: Duration) -> Result<Option<u32>, LogError> {
    producer.ask(|client| Ok(describe(client, topic, timeout)?.map(|described| described.partitions)))
}

fn describe(
    client: &Client<Context>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<kafka_native::Topic>, LogError> {
    kafka_native::describe_topic(client, topic, timeout).map_err(|error| errors::native(&error))
}

/// First and next offset of a partition.
pub async fn bounds(
    producer: &Arc<Producer>,
    topic: &str,
    partition: u32,
    timeout: Duration,
) -> Result<(u64, u64), LogError> {
    let topic = topic.to_owned();
    let no_partition = || LogError::Refused(format!("there is no partition {partition}"));
    let wanted = i32::try_from(partition).map_err(|_| no_partition())?;
    ask(producer, move |client| {
        // librdkafka would wait for a partition that never comes.
        let partitions = describe(client, &topic, timeout)?.map_or(0, |described| described.partitions);
        if partition >= partitions {
            return Err(LogError::Refused(format!("{topic} has {partitions} partitions, not {partition}")));
        }
        let (first, next) =
            client.fetch_watermarks(&topic, wanted, timeout).map_err(|error| errors::question(&error))?;
        Ok((u64::try_from(first).unwrap_or(0), u64::try_from(next).unwrap_or(0)))
    })
    .await
}

/// Creates what is missing, and waits until the brokers show it.
pub async fn create_topics(
    settings: &Settings,
    producer: &Arc<Producer>,
    topics: &[TopicSpec],
) -> Result<(), LogError> {
    let timeout = Duration::from_millis(settings.kafka().call_timeout_ms);
    let mut missing = Vec::new();
    for topic in topics {
        if identity(producer, &topic.name, timeout).await?.is_none() {
            missing.push(topic);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<DefaultClientContext> =
        settings.admin().create().map_err(|error| errors::creation(&error))?;
    for topic in missing {
        create_topic(&admin, topic, timeout).await?;
        shown(producer, topic, timeout).await?;
    }
    Ok(())
}

async fn create_topic(
    admin: &AdminClient<DefaultClientContext>,
    topic: &TopicSpec,
    timeout: Duration,
) -> Result<(), LogError> {
    match try_create(admin, topic, timeout, Some(RECORD_BYTES_MAX)).await? {
        Ok(()) => Ok(()),
        // Some hosted clusters do not let a topic choose its largest record: theirs is to do.
        Err(Code::PolicyViolation | Code::InvalidConfig) => {
            tracing::warn!(topic = %topic.name, "the brokers set the largest record of this topic");
            try_create(admin, topic, timeout, None).await?.map_err(|code| not_created(topic, code))
        }
        Err(code) => Err(not_created(topic, code)),
    }
}

fn not_created(topic: &TopicSpec, code: Code) -> LogError {
    let text = format!("topic {} was not created: {code}", topic.name);
    if errors::class(code) == errors::Class::Fatal {
        LogError::Fatal(text)
    } else {
        LogError::Unavailable(text)
    }
}

/// The outer error: the brokers could not be asked. The inner: what they said; "already exists" is success.
async fn try_create(
    admin: &AdminClient<DefaultClientContext>,
    topic: &TopicSpec,
    timeout: Duration,
    record_bytes_max: Option<usize>,
) -> Result<Result<(), Code>, LogError> {
    let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
    let retention_ms = topic.retention.map_or("-1".to_owned(), |time| time.as_millis().to_string());
    let record_bytes_max = record_bytes_max.map(|bytes| bytes.to_string());
    let mut new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(topic.replication))
        .set("retention.ms", &retention_ms);
    if let Some(bytes) = &record_bytes_max {
        new = new.set("max.message.bytes", bytes);
    }
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let results = admin.create_topics([&new], &options).await.map_err(|error| errors::question(&error))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != Code::TopicAlreadyExists => Ok(Err(code)),
        _ => Ok(Ok(())),
    }
}

/// Waits until the brokers show a topic: its creation reaches them one after the other.
async fn shown(producer: &Arc<Producer>, topic: &TopicSpec, timeout: Duration) -> Result<(), LogError> {
    let until = crate::clock::instant() + timeout;
    while identity(producer, &topic.name, timeout).await?.is_none() {
        if crate::clock::instant() > until {
            return Err(LogError::Unavailable(format!("topic {} was created and does not show", topic.name)));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

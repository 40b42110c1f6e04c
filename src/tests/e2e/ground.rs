//! What one test has for itself on the shared services, and a look at it by the services' own clients.
//!
//! Invariant: nothing here goes through Statecast: what is read is what anybody would find.

use super::{binary, binary::Statecast, eventually, within};
use crate::tests::{contract::unique, services};
use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection, Cursor};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    groups::GroupInfo,
    message::{BorrowedMessage, Headers},
    producer::FutureProducer,
};
use std::{collections::BTreeMap, time::Duration};

pub const PARTITIONS: i32 = 4;
const ASK: Duration = Duration::from_secs(30);

pub struct Ground {
    /// Names the topic, the group's prefix and the database.
    pub name: String,
    brokers: String,
    mongodb: String,
    documents: Collection<Document>,
}

/// A record as Kafka gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Ground {
    /// `None`: skip this test.
    pub async fn new(test: &str) -> Option<Ground> {
        let mongodb = services::mongodb()?;
        Ground::on(test, mongodb).await
    }

    /// With a MongoDB of the test's own.
    pub async fn on(test: &str, mongodb: String) -> Option<Ground> {
        let (name, brokers) = (unique(test), services::kafka()?);
        let client = Client::with_uri_str(&mongodb).await.expect("client");
        let documents = client.database(&name).collection("kv");
        Some(Ground { name, brokers, mongodb, documents })
    }

    /// A whole deployment on this ground. Sessions are short, so that a killed member is soon given up.
    pub fn settings(&self) -> Vec<String> {
        let Ground { name, brokers, mongodb, .. } = self;
        // Streams whose topic and group are not this test's own would be shared with every other test.
        let others =
            crate::tests::only(&["kv"]).into_keys().map(|other| format!("streams.{other}.enabled=false"));
        let own = vec![
            "log.kind=kafka".into(),
            format!("kafka.brokers={brokers}"),
            format!("kafka.group_prefix={name}"),
            "kafka.session_timeout_ms=4000".into(),
            "engine.drain_deadline_ms=1900".into(),
            "store.kind=mongodb".into(),
            format!("mongodb.uri={mongodb}"),
            format!("mongodb.database={name}"),
            format!("streams.kv.topic={name}"),
        ];
        own.into_iter().chain(others).collect()
    }

    /// Host and port of its MongoDB.
    pub fn mongodb_host(&self) -> String {
        let host = self.mongodb.trim_start_matches("mongodb://").split(['/', '?']).next();
        host.expect("a host").to_owned()
    }

    pub fn group(&self) -> String {
        format!("{}-kv", self.name)
    }

    pub fn dead_letters(&self) -> String {
        format!("{}.dlq", self.name)
    }

    /// Started, with every partition of `kv`.
    pub async fn start(&self) -> Statecast {
        self.start_with(&[]).await
    }

    pub async fn start_with(&self, settings: &[&str]) -> Statecast {
        let statecast = self.start_beside(settings).await;
        statecast.has_partitions(PARTITIONS as usize).await;
        statecast
    }

    /// Started; which partitions it gets depends on who else is in the group.
    pub async fn start_beside(&self, settings: &[&str]) -> Statecast {
        Statecast::start(&self.settings_and(settings)).await
    }

    pub fn settings_and(&self, settings: &[&str]) -> Vec<String> {
        let mut all = self.settings();
        all.extend(settings.iter().map(|&setting| setting.to_owned()));
        all
    }

    /// Topics as `serve` would make them.
    pub async fn create_topics(&self) {
        let ended = binary::run(&["topics", "apply"], &self.settings()).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }

    fn kafka(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    pub fn client_config(&self) -> ClientConfig {
        self.kafka()
    }

    /// A plain producer, set as a Java client is.
    pub fn producer(&self) -> FutureProducer {
        let mut config = self.kafka();
        config.set("partitioner", "murmur2_random").set("acks", "all").set("enable.idempotence", "true");
        config.set("linger.ms", "2").set("message.max.bytes", "20000000");
        config.set("queue.buffering.max.messages", "20000").set("delivery.timeout.ms", "60000");
        config.create().expect("producer")
    }

    /// One that goes on trying while Kafka is away.
    pub fn patient_producer(&self) -> FutureProducer {
        let mut config = self.kafka();
        config.set("partitioner", "murmur2_random").set("acks", "all").set("enable.idempotence", "true");
        config.set("linger.ms", "2").set("delivery.timeout.ms", "600000");
        config.set("message.max.bytes", "20000000");
        config.create().expect("producer")
    }

    /// The documents, over a client that soon gives up.
    pub async fn impatient_documents(&self) -> Collection<Document> {
        let mut options = mongodb::options::ClientOptions::parse(&self.mongodb).await.expect("URI");
        options.server_selection_timeout = Some(Duration::from_secs(2));
        let client = Client::with_options(options).expect("client");
        client.database(&self.name).collection("kv")
    }

    /// What the group has committed, per partition; a partition without a commit stands at 0, where reading begins.
    pub async fn committed(&self) -> Vec<u64> {
        let (config, topic) = (self.kafka().set("group.id", self.group()).clone(), self.name.clone());
        blocking(move || {
            let consumer: BaseConsumer = config.create().expect("consumer");
            let mut wanted = TopicPartitionList::new();
            wanted.add_partition_range(&topic, 0, PARTITIONS - 1);
            let found = consumer.committed_offsets(wanted, ASK).expect("committed");
            let offsets = found.elements().into_iter().map(|one| match one.offset() {
                Offset::Offset(next) => next as u64,
                _ => 0,
            });
            offsets.collect()
        })
        .await
    }

    pub fn database(&self) -> mongodb::Database {
        self.documents.client().database(&self.name)
    }

    /// Where another stream than `kv` is kept.
    pub fn collection(&self, stream: &str) -> Collection<Document> {
        self.documents.client().database(&self.name).collection(stream)
    }

    /// The members of the group and what each is assigned, as the broker sees them.
    pub async fn members(&self) -> Vec<(String, Vec<u8>)> {
        let (config, group) = (self.kafka(), self.group());
        blocking(move || {
            let consumer: BaseConsumer = config.create().expect("consumer");
            let groups = consumer.fetch_group_list(Some(&group), ASK).expect("groups");
            let members = groups.groups().iter().flat_map(GroupInfo::members);
            let mut members: Vec<_> =
                members.map(|m| (m.id().to_owned(), m.assignment().unwrap_or_default().to_vec())).collect();
            members.sort();
            members
        })
        .await
    }

    /// Which broker leads each partition, as the brokers that are there see it.
    pub async fn leaders(&self) -> Vec<i32> {
        let (config, topic) = (self.kafka(), self.name.clone());
        blocking(move || {
            let consumer: BaseConsumer = config.create().expect("consumer");
            let found = consumer.fetch_metadata(Some(&topic), ASK).expect("metadata");
            found.topics().iter().flat_map(|topic| topic.partitions()).map(|one| one.leader()).collect()
        })
        .await
    }

    /// Every record of a topic, in the order of each partition.
    pub async fn read_topic(&self, topic: &str) -> Vec<Letter> {
        self.read_places(topic).await.into_iter().map(|(_, _, letter)| letter).collect()
    }

    /// The same with partition and offset.
    pub async fn read_places(&self, topic: &str) -> Vec<(i64, i64, Letter)> {
        let mut config = self.kafka();
        config.set("group.id", "e2e-reader").set("enable.auto.commit", "false");
        config.set("fetch.message.max.bytes", "20000000").set("auto.offset.reset", "earliest");
        let topic = topic.to_owned();
        blocking(move || {
            let consumer: BaseConsumer = config.create().expect("consumer");
            let found = consumer.fetch_metadata(Some(&topic), ASK).expect("metadata");
            let partitions = found.topics().iter().flat_map(|topic| topic.partitions());
            partitions.flat_map(|partition| read_partition(&consumer, &topic, partition.id())).collect()
        })
        .await
    }

    pub async fn document(&self, key: &str) -> Option<Document> {
        self.documents.find_one(doc! { "_id": key }).await.expect("find")
    }

    pub async fn all(&self) -> Cursor<Document> {
        self.documents.find(doc! {}).await.expect("find")
    }

    /// All that a collection holds.
    pub async fn documents_of(&self, collection: &str) -> Vec<Document> {
        let client = Client::with_uri_str(&self.mongodb).await.expect("client");
        let found = client.database(&self.name).collection::<Document>(collection).find(doc! {}).await;
        found.expect("find").try_collect().await.expect("documents")
    }

    /// `version` of every key that MongoDB holds.
    pub async fn versions(&self) -> BTreeMap<String, u64> {
        let found = self.documents.find(doc! {}).projection(doc! { "version": 1 }).batch_size(20_000).await;
        let found: Vec<Document> = found.expect("find").try_collect().await.expect("documents");
        let version = |document: &Document| document.get_i64("version").expect("version") as u64;
        found.iter().map(|one| (one.get_str("_id").expect("key").to_owned(), version(one))).collect()
    }

    /// Waits until every key has exactly the version it must have, and fails at once where one is beyond it.
    pub async fn settles_at(&self, wanted: &BTreeMap<String, u64>) {
        within(Duration::from_secs(180), "every version is the number of its records", async || {
            let found = self.versions().await;
            let beyond: Vec<_> =
                found.iter().filter(|(key, version)| wanted.get(*key).is_none_or(|w| w < version)).collect();
            assert!(beyond.is_empty(), "records were taken in twice, or nobody sent them: {beyond:?}");
            let missing = wanted.iter().filter(|(key, version)| found.get(*key) != Some(version));
            let missing: Vec<_> =
                missing.map(|(key, version)| (key, *version, found.get(key).copied())).collect();
            if missing.is_empty() { Ok(()) } else { Err((missing.len(), missing[0])) }.map_err(
                |(count, (key, wanted, found))| format!("{count} keys, first {key}: {found:?} of {wanted}"),
            )
        })
        .await;
        assert_eq!(self.versions().await, *wanted);
    }

    /// Waits until MongoDB holds this version of a key.
    pub async fn reaches(&self, key: &str, version: u64) -> Document {
        eventually(&format!("{key} is stored at version {version}"), async || {
            let document = self.document(key).await;
            let found =
                document.as_ref().map_or(0, |found| found.get_i64("version").expect("version") as u64);
            document.filter(|_| found >= version).ok_or(found)
        })
        .await
    }
}

fn read_partition(consumer: &BaseConsumer, topic: &str, partition: i32) -> Vec<(i64, i64, Letter)> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, ASK).expect("watermarks");
    if low == high {
        return Vec::new();
    }
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, partition, Offset::Offset(low)).expect("offset");
    consumer.assign(&from).expect("assign");
    let mut letters = Vec::new();
    loop {
        let message = consumer.poll(ASK).expect("a record before time is up").expect("a record");
        letters.push((partition.into(), message.offset(), letter(&message)));
        if message.offset() + 1 >= high {
            return letters;
        }
    }
}

fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Letter {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|one| (one.key.to_owned(), one.value.map(<[u8]>::to_vec))).collect(),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

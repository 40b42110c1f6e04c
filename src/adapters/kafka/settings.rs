//! The settings of librdkafka: what each client of ours is made with, and why.
//!
//! Invariant: a setting that a promise stands on (who commits, how much is acknowledged) is set after
//! `kafka.properties`, so that nothing there can take it away (`config::validate` refuses the attempt). Secrets go to
//! librdkafka and nowhere else. Not here: making clients.

use crate::config;
use rdkafka::ClientConfig;

/// A record and its headers, as large as we send and as the topics made here take: dead letters carry records of
/// 10 MB with headers of their own, and a value of `value_bytes_max` is over the brokers' default of 1 MB.
pub const RECORD_BYTES_MAX: usize = 20_000_000;

/// How often a metadata refresh looks for added partitions.
const METADATA_REFRESH_MS: u64 = 10_000;
/// How often a consumer reports its brokers, by which a recovery is noticed on an idle topic.
const STATISTICS_MS: u64 = 10_000;
/// The wait after the prefetch was full. At librdkafka's default of 1000 a busy partition reads in bursts with second
/// long holes; measured here between 5 and 20 there is no difference in rate or CPU.
const FETCH_QUEUE_BACKOFF_MS: u64 = 10;
/// How long a broker may keep a fetch that finds nothing. A client has one fetch under way with a broker, for the
/// partitions that had room in their queues when it was sent: if just those are at their end, all others wait as long.
/// At librdkafka's default of 500 a topic of four was read at a fifth of the rate; at 50, six idle streams cost half a
/// hundredth of a core more.
const FETCH_WAIT_MS: u64 = 50;
/// What a queued record costs librdkafka beside its bytes, which is all that `queued.max.messages.kbytes` counts.
const QUEUED_RECORD_OVERHEAD_BYTES: usize = 512;

/// The Kafka part of the configuration.
pub struct Settings {
    kafka: config::Kafka,
}

/// How one member's prefetch is cut: limits count per partition once each has a queue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefetch {
    kbytes: usize,
    records: usize,
    partition_fetch_bytes: usize,
    fetch_bytes: usize,
}

impl Prefetch {
    /// Shares `bytes_max` among all partitions of a topic: one member may come to own them all. A fetch lands on top
    /// of a queue that was just below its limit, so half of a share is queue and a quarter is the next fetch.
    pub fn new(bytes_max: usize, partitions: u32) -> Self {
        let share = bytes_max / partitions.max(1) as usize;
        Prefetch {
            kbytes: (share / 2 / 1024).clamp(16, 1 << 20),
            records: (share / 2 / QUEUED_RECORD_OVERHEAD_BYTES).clamp(64, 100_000),
            partition_fetch_bytes: (share / 4).clamp(16 << 10, 1 << 20),
            fetch_bytes: (bytes_max / 4).clamp(64 << 10, 16 << 20),
        }
    }
}

impl Settings {
    pub fn new(kafka: &config::Kafka) -> Self {
        Settings { kafka: kafka.clone() }
    }

    pub fn kafka(&self) -> &config::Kafka {
        &self.kafka
    }

    /// What every client has: where, who, how safe, how patient.
    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        let kafka = &self.kafka;
        config
            .set("bootstrap.servers", &kafka.brokers)
            .set("client.id", "statecast")
            .set("security.protocol", &kafka.security_protocol)
            .set("socket.keepalive.enable", "true")
            // A frozen broker is given up after this, not after a minute.
            .set("socket.timeout.ms", "20000")
            .set("socket.connection.setup.timeout.ms", "10000")
            .set("reconnect.backoff.max.ms", "2000")
            // Idle connections are closed by brokers all the time; a lost one is told as an error.
            .set("log.connection.close", "false")
            .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS.to_string());
        let optional = [
            ("sasl.mechanism", &kafka.sasl_mechanism),
            ("sasl.username", &kafka.sasl_username),
            ("sasl.password", &kafka.sasl_password.0),
            ("ssl.ca.location", &kafka.ssl_ca_location),
        ];
        if kafka.security_protocol.ends_with("ssl") {
            // The OpenSSL we carry knows no system's paths; librdkafka looks in the usual ones.
            config.set("ssl.ca.location", "probe");
        }
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            config.set(name, value);
        }
        config
    }

    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.kafka.properties {
            config.set(name, value);
        }
        config
    }

    /// Creating topics.
    pub fn admin(&self) -> ClientConfig {
        self.with_properties(self.base())
    }

    /// Appending, and asking about topics.
    pub fn producer(&self) -> ClientConfig {
        let kafka = &self.kafka;
        let mut config = self.base();
        config
            .set("linger.ms", kafka.linger_ms.to_string())
            .set("partitioner", &kafka.partitioner)
            .set("compression.type", "lz4")
            .set("delivery.timeout.ms", kafka.delivery_timeout_ms.to_string())
            .set("message.max.bytes", RECORD_BYTES_MAX.to_string())
            .set("queue.buffering.max.kbytes", (kafka.produce_bytes_max / 1024).max(1).to_string());
        let mut config = self.with_properties(config);
        // Acknowledged means on all in-sync replicas, once, in order.
        config.set("acks", "all").set("enable.idempotence", "true");
        config
    }

    /// Reading in a group.
    pub fn member(&self, group: &str, prefetch: Prefetch) -> ClientConfig {
        let session_ms = self.kafka.session_timeout_ms;
        let mut config = self.consumer(prefetch);
        config
            .set("session.timeout.ms", session_ms.to_string())
            // A member hears of a rebalance with its heartbeat, twice for each partition that moves.
            .set("heartbeat.interval.ms", (session_ms / 6).clamp(1, 1_000).to_string())
            .set("max.poll.interval.ms", (session_ms * 2).max(300_000).to_string());
        let mut config = self.with_properties(config);
        config
            .set("group.id", group)
            // The newer protocol ends in a fatal error after a missed poll in this librdkafka.
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky");
        self.never_commit(config)
    }

    /// Reading without a group. librdkafka wants a name for one all the same; nothing joins it, nothing is committed.
    pub fn reader(&self, prefetch: Prefetch) -> ClientConfig {
        let mut config = self.with_properties(self.consumer(prefetch));
        config.set("group.id", format!("{}-reader", self.kafka.group_prefix));
        self.never_commit(config)
    }

    fn consumer(&self, prefetch: Prefetch) -> ClientConfig {
        let mut config = self.base();
        config
            // Records of aborted transactions were never said by their producer.
            .set("isolation.level", "read_committed")
            // A damaged batch is an error to us, not records with other bytes.
            .set("check.crcs", "true")
            .set("statistics.interval.ms", STATISTICS_MS.to_string())
            .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
            .set("fetch.queue.backoff.ms", FETCH_QUEUE_BACKOFF_MS.to_string())
            .set("fetch.error.backoff.ms", "250")
            .set("queued.max.messages.kbytes", prefetch.kbytes.to_string())
            .set("queued.min.messages", prefetch.records.to_string())
            .set("max.partition.fetch.bytes", prefetch.partition_fetch_bytes.to_string())
            .set("fetch.max.bytes", prefetch.fetch_bytes.to_string())
            // Means nothing to a consumer, but librdkafka wants it below `fetch.max.bytes`. Larger records come all
            // the same: a broker always gives the first batch whole.
            .set("message.max.bytes", "16384");
        config
    }

    fn never_commit(&self, mut config: ClientConfig) -> ClientConfig {
        // Only what the store has confirmed is committed, by us; and a group without a committed offset, or with one
        // that retention has removed, begins at the earliest record: it may take in too much, never too little.
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "false");
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::{consumer::BaseConsumer, producer::BaseProducer};

    fn settings(change: impl FnOnce(&mut config::Kafka)) -> Settings {
        let mut kafka = config::Kafka { brokers: "127.0.0.1:1".into(), ..config::Kafka::default() };
        change(&mut kafka);
        Settings::new(&kafka)
    }

    #[test]
    fn librdkafka_takes_the_settings_of_every_client() {
        let settings = settings(|_| {});
        for (bytes_max, partitions) in [(0, 1), (1, 1_000), (16 << 20, 4), (1 << 30, 1), (4 << 20, 100)] {
            let prefetch = Prefetch::new(bytes_max, partitions);
            let _: BaseConsumer = settings.member("group", prefetch).create().expect("member");
            let _: BaseConsumer = settings.reader(prefetch).create().expect("reader");
        }
        let _: BaseProducer = settings.producer().create().expect("producer");
        let _: BaseProducer = settings.admin().create().expect("admin");
    }

    #[test]
    fn properties_reach_librdkafka_but_not_what_promises_stand_on() {
        let settings = settings(|kafka| {
            for (name, value) in [
                ("isolation.level", "read_uncommitted"),
                ("acks", "1"),
                ("enable.auto.commit", "true"),
                ("enable.auto.offset.store", "true"),
                ("auto.offset.reset", "latest"),
                ("group.id", "other"),
            ] {
                kafka.properties.insert(name.into(), value.into());
            }
        });
        let member = settings.member("g", Prefetch::new(1 << 20, 1));
        assert_eq!(member.get("isolation.level"), Some("read_uncommitted"));
        assert_eq!(member.get("enable.auto.commit"), Some("false"));
        assert_eq!(member.get("enable.auto.offset.store"), Some("false"));
        assert_eq!(member.get("auto.offset.reset"), Some("earliest"));
        assert_eq!(member.get("group.id"), Some("g"));
        assert_eq!(settings.producer().get("acks"), Some("all"));
    }

    #[test]
    fn the_prefetch_of_all_partitions_stays_in_the_budget() {
        for (bytes_max, partitions) in [(16 << 20, 4), (16 << 20, 64), (64 << 20, 1)] {
            let prefetch = Prefetch::new(bytes_max, partitions);
            let queued = prefetch.kbytes * 1024 + prefetch.partition_fetch_bytes;
            assert!(queued * partitions as usize <= bytes_max, "{prefetch:?}");
        }
    }

    #[test]
    fn secrets_are_not_in_what_can_be_printed() {
        let settings = settings(|kafka| {
            kafka.sasl_mechanism = "PLAIN".into();
            kafka.sasl_password = config::Secret("hunter2".into());
        });
        assert_eq!(settings.producer().get("sasl.password"), Some("hunter2"));
        assert!(!format!("{:?}", settings.kafka()).contains("hunter2"));
        assert!(!format!("{:?}", settings.producer()).contains("hunter2"));
    }
}

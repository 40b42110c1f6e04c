//! Settings: what each is for, its default, and its bound.
//!
//! Invariant: every queue, cache and loop of the project takes its bound from a field here; a field's doc is its manual
//! (`default-config` prints it). Not here: reading files and environment (`load`), and relations between fields
//! (`validate`).

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub server: Server,
    pub log: Log,
    pub kafka: Kafka,
    pub store: Store,
    pub mongodb: Mongodb,
    pub redis: Redis,
    pub embedded: Embedded,
    pub engine: Engine,
    pub live: Live,
    pub limits: Limits,
    pub security: Security,
    pub telemetry: Telemetry,
    /// Streams by name: settings of the built-in ones, and declared ones.
    pub streams: BTreeMap<String, Stream>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The public listener. Port 0 takes a free one.
    pub listen: String,
    /// Metrics, pipeline and dead letters: its own address, loopback by default.
    pub admin_listen: String,
    /// Where browsers find the admin listener, if public pages are to link to it; empty: no links.
    pub admin_url: String,
    /// A stop drains for so long, then ends.
    pub stop_deadline_ms: u64,
    /// A connection that sends no complete header in this time is closed.
    pub header_timeout_ms: u64,
    /// A request whose body does not arrive in this time is answered 408.
    pub body_timeout_ms: u64,
    /// Connections held at once on the public listener; beyond it a new one is closed at once.
    pub connections_max: usize,
    /// The same on the admin listener.
    pub admin_connections_max: usize,
    /// The head of a request, line and headers; beyond it 431.
    pub header_bytes_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    Embedded,
    Kafka,
    /// Holds everything in this process and loses it with it: simulation and benchmarks.
    Memory,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub kind: LogKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// host:port, comma separated.
    pub brokers: String,
    /// Consumer groups are named PREFIX-STREAM.
    pub group_prefix: String,
    /// Create missing topics at start; false: exit 69 naming them.
    pub create_topics: bool,
    /// Replication of topics created here; -1: the broker's default.
    pub replication: i32,
    /// The partitioner of our own door; Java clients use murmur2_random.
    pub partitioner: String,
    /// A member that is silent for so long loses its partitions.
    pub session_timeout_ms: u64,
    /// Bytes librdkafka may hold ahead of us, over all partitions of all streams.
    pub prefetch_bytes_max: usize,
    /// A produce that is not acknowledged in this time is answered as outcome-unknown.
    pub delivery_timeout_ms: u64,
    /// Linger of our own producer.
    pub linger_ms: u64,
    /// Start waits so long for brokers before it gives up (exit 69).
    pub start_timeout_ms: u64,
    /// plaintext, ssl, sasl_plaintext, sasl_ssl.
    pub security_protocol: String,
    /// PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; empty: none.
    pub sasl_mechanism: String,
    pub sasl_username: String,
    /// Never printed.
    pub sasl_password: Secret,
    /// PEM file of the authority that signed the brokers' certificates; empty: the system's.
    pub ssl_ca_location: String,
    /// Further librdkafka settings, as they are.
    pub properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    Embedded,
    Mongodb,
    /// Holds everything in this process and loses it with it: simulation and benchmarks.
    Memory,
    /// Confirms everything and keeps nothing: benchmarks of the engine alone.
    Null,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    pub kind: StoreKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mongodb {
    pub uri: Secret,
    pub database: String,
    /// Connections for writers and readers together.
    pub pool_max: u32,
    /// A call that has not answered in this time has an unknown outcome and is made again under the guard.
    pub call_timeout_ms: u64,
    /// Start waits so long for a primary before it gives up (exit 69).
    pub start_timeout_ms: u64,
    /// Statements in one update command.
    pub statements_max: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Empty: instances share nothing but log and store.
    pub url: Secret,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Embedded {
    /// One process at a time owns this folder.
    pub data_dir: PathBuf,
    /// Block cache of log and store together.
    pub cache_bytes_max: u64,
}

/// The pipeline. Nothing here has to be tuned: batches adapt to the load between these bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Threads that run the pipeline's actors; 0: one per core, at most 8.
    pub threads: usize,
    /// Writers per stream; keys are hashed over them.
    pub shards: usize,
    /// Slices a writer's mailbox holds.
    pub mailbox_slices_max: usize,
    /// Records in one slice.
    pub slice_records_max: usize,
    /// Bytes in one slice (one larger record still comes alone).
    pub slice_bytes_max: usize,
    /// Bytes of records in flight between log and store, over all streams.
    pub in_flight_bytes_max: usize,
    /// Records in one batch of a writer.
    pub batch_records_max: usize,
    /// Keys in one batch of a writer.
    pub batch_keys_max: usize,
    /// Bytes of records in one batch of a writer; one command of the store holds 16 MB.
    pub batch_bytes_max: usize,
    /// Bytes of entities the writers keep between batches, over all streams.
    pub cache_bytes_max: usize,
    /// Bytes of entities kept for readers, over all streams.
    pub view_bytes_max: usize,
    /// Confirmed offsets are committed on this beat.
    pub commit_interval_ms: u64,
    /// A removed key is remembered for so long.
    pub tombstone_keep_s: u64,
    /// An entity after a step.
    pub entity_bytes_max: usize,
    /// A record's value.
    pub value_bytes_max: usize,
    /// Nesting of a value.
    pub depth_max: usize,
    /// A key.
    pub key_bytes_max: usize,
    /// A revoked partition may drain for so long.
    pub drain_deadline_ms: u64,
    /// A writer or consumer that makes no progress though it could for so long is wedged: the generation ends.
    pub wedge_after_ms: u64,
    /// Generations that may fail one after the other before the process exits 70.
    pub failures_max: u32,
    /// First wait before the next generation; doubles up to `restart_wait_max_ms`.
    pub restart_wait_ms: u64,
    pub restart_wait_max_ms: u64,
    /// Waits for outcomes (`?wait=stored`) held at once.
    pub waiters_max: usize,
    /// How long `?wait=stored` waits before it answers outcome-unknown.
    pub wait_timeout_ms: u64,
    /// Poison in a row that holds a partition.
    pub poison_run_max: u32,
    /// Poison among the last 1000 records that holds a partition.
    pub poison_share_max: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Live {
    /// Bytes a client may have unread before changes wait for it, newest per key.
    pub unsent_bytes_max: usize,
    /// A client that takes nothing for so long is removed.
    pub stalled_after_ms: u64,
    pub heartbeat_ms: u64,
    /// Open rooms are compared with the store on this beat.
    pub sync_interval_ms: u64,
    /// Rooms fed from the store (their key is owned elsewhere) are read on this beat.
    pub feed_interval_ms: u64,
    /// Clients at once.
    pub clients_max: usize,
    /// Rooms of one client.
    pub rooms_per_client_max: usize,
    /// Calls of one client (subscribe, page, unsubscribe) under way at once.
    pub calls_per_client_max: usize,
    /// Calls of all clients that may wait for the broadcaster; beyond it they are answered 503.
    pub calls_waiting_max: usize,
    /// Keys of a stream's room that may wait for one client; beyond it the room is sent anew when the client reads again.
    pub waiting_keys_max: usize,
    /// The same in bytes.
    pub waiting_bytes_max: usize,
    /// Positions the room of one key remembers for `since`.
    pub history_changes_max: usize,
    /// Bytes of all rooms' history together: positions of keys, changes of streams, and rooms just left.
    pub history_bytes_max: usize,
    /// Reads of view and store under way at once for rooms.
    pub reads_max: usize,
    /// Keys in one such read.
    pub read_keys_max: usize,
    /// Bytes in one page of a stream room.
    pub page_bytes_max: usize,
    /// Keys of news that may wait for the broadcaster; beyond it rooms are marked gapped and read the store.
    pub news_keys_max: usize,
    /// The least time between two packets to one client while it is busy; an idle client hears at once.
    pub tick_ms: u64,
    /// A message from a client.
    pub message_bytes_max: usize,
    /// What the kernel may hold of one connection for a peer that does not read.
    pub send_buffer_bytes: usize,
    /// A connection that joins no namespace in this time is closed.
    pub connect_timeout_ms: u64,
    pub ping_interval_ms: u64,
    pub ping_timeout_ms: u64,
    /// SSE comment on a silent line.
    pub sse_comment_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A request body; beyond it 413.
    pub body_bytes_max: usize,
    /// Of a body that is refused for its size, so much is still read, or else its sender would not see the answer.
    pub drain_bytes_max: usize,
    /// Long polls wait at most so long.
    pub poll_wait_max_ms: u64,
    /// Entities in one page of a list.
    pub page_items_max: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Origins of pages that may connect, beside our own; `*` is refused.
    pub allowed_origins: Vec<String>,
    /// Names under which the admin listener may be asked, beside IP addresses, names without a dot and that of
    /// `server.admin_url`; others are refused, since any page can point a name of its own at us.
    pub admin_hosts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// error, warn, info, debug, trace, or directives of the same per module.
    pub log_level: String,
    /// text or json.
    pub log_format: String,
}

/// Settings of one stream. A name that is not built in declares one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    pub enabled: bool,
    /// Empty: the stream's name.
    pub topic: String,
    /// Empty: PREFIX-STREAM.
    pub group: String,
    /// Partitions of the topic where it is created here.
    pub partitions: u32,
    /// Retention of the topic where it is created here; 0: for ever.
    pub retention_s: u64,
}

/// Text that is never printed or logged.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"***\"" })
    }
}

const MIB: usize = 1 << 20;

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: "127.0.0.1:8080".into(),
            admin_listen: "127.0.0.1:9090".into(),
            admin_url: String::new(),
            stop_deadline_ms: 8_000,
            header_timeout_ms: 10_000,
            body_timeout_ms: 10_000,
            connections_max: 20_000,
            admin_connections_max: 256,
            header_bytes_max: 32 << 10,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { kind: LogKind::Embedded }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka {
            brokers: String::new(),
            group_prefix: "statecast".into(),
            create_topics: true,
            replication: -1,
            partitioner: "murmur2_random".into(),
            session_timeout_ms: 15_000,
            prefetch_bytes_max: 16 * MIB,
            delivery_timeout_ms: 10_000,
            linger_ms: 1,
            start_timeout_ms: 25_000,
            security_protocol: "plaintext".into(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password: Secret::default(),
            ssl_ca_location: String::new(),
            properties: BTreeMap::new(),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Store { kind: StoreKind::Embedded }
    }
}

impl Default for Mongodb {
    fn default() -> Self {
        Mongodb {
            uri: Secret::default(),
            database: "statecast".into(),
            pool_max: 16,
            call_timeout_ms: 20_000,
            start_timeout_ms: 25_000,
            statements_max: 4_000,
        }
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Embedded { data_dir: "data".into(), cache_bytes_max: 8 << 20 }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Engine {
            threads: 0,
            shards: 4,
            mailbox_slices_max: 8,
            slice_records_max: 4_096,
            slice_bytes_max: MIB,
            in_flight_bytes_max: 16 * MIB,
            batch_records_max: 32_768,
            batch_keys_max: 4_096,
            batch_bytes_max: 4 * MIB,
            cache_bytes_max: 12 * MIB,
            view_bytes_max: 12 * MIB,
            commit_interval_ms: 500,
            tombstone_keep_s: 7 * 24 * 3600,
            entity_bytes_max: 8 * MIB,
            value_bytes_max: MIB,
            depth_max: 64,
            key_bytes_max: 512,
            drain_deadline_ms: 5_000,
            wedge_after_ms: 4_000,
            failures_max: 8,
            restart_wait_ms: 200,
            restart_wait_max_ms: 10_000,
            waiters_max: 10_000,
            wait_timeout_ms: 10_000,
            poison_run_max: 100,
            poison_share_max: 500,
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Live {
            unsent_bytes_max: 256 << 10,
            stalled_after_ms: 20_000,
            heartbeat_ms: 25_000,
            sync_interval_ms: 10_000,
            feed_interval_ms: 1_000,
            clients_max: 20_000,
            rooms_per_client_max: 1_000,
            calls_per_client_max: 16,
            calls_waiting_max: 8_192,
            waiting_keys_max: 4_096,
            waiting_bytes_max: MIB,
            history_changes_max: 64,
            history_bytes_max: 8 * MIB,
            reads_max: 4,
            read_keys_max: 500,
            page_bytes_max: 64 << 10,
            news_keys_max: 50_000,
            tick_ms: 5,
            message_bytes_max: 64 << 10,
            send_buffer_bytes: 64 << 10,
            connect_timeout_ms: 10_000,
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            sse_comment_ms: 15_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes_max: MIB + (64 << 10),
            drain_bytes_max: 16 * MIB,
            poll_wait_max_ms: 60_000,
            page_items_max: 1_000,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { log_level: "info".into(), log_format: "text".into() }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Stream { enabled: true, topic: String::new(), group: String::new(), partitions: 4, retention_s: 0 }
    }
}

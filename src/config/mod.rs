//! Settings: what each is for, its default, and its bound.
//!
//! Invariant: every queue, cache and loop of the project takes its bound from a field here; a field's doc is its manual
//! (`default-config` prints it, `docs/configuration.md` is it), so it is written for who runs Statecast.
//! Not here: reading files and environment (`load`), and relations between fields (`validate`).

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};
use utoipa::ToSchema;

pub mod declaration;
mod defaults;
mod fault;
mod layers;
pub mod load;
pub mod names;
pub mod print;
pub mod redact;
pub mod setting;
mod stream;
pub mod streams;
pub mod summary;
pub mod validate;
mod value;

pub use value::nearest;

pub use fault::{Fault, Faults, Source};
pub use stream::{Format, Projection, Stream, Window};

/// Everything that can be set. `Config::default()` serves on the embedded log and store without any service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
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
    pub produce: Produce,
    pub activity: Activity,
    /// Streams by name; those that are not here have their defaults.
    pub streams: BTreeMap<String, Stream>,
}

/// The listeners, and how a stop ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The public listener. Port 0 takes a free one.
    pub listen: String,
    /// Metrics, pipeline and dead letters: its own address, loopback by default.
    pub admin_listen: String,
    /// Where browsers find the admin listener, if public pages are to link to it; empty: no links.
    pub admin_url: String,
    /// Where browsers find the public listener, if admin pages are to link back to it; empty: no links.
    pub public_url: String,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    Embedded,
    Kafka,
    /// Holds everything in this process and loses it with it: simulation and benchmarks.
    Memory,
}

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// embedded: a folder of this process; kafka; memory: lost with the process, for simulation and benchmarks.
    pub kind: LogKind,
}

/// Used where log.kind is kafka.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// HOST:PORT, comma separated.
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
    /// Bytes of records our own producer may hold that are not acknowledged; beyond it appends are refused for now.
    pub produce_bytes_max: usize,
    /// Questions to the brokers (topics, offsets) that have not answered in this time have failed.
    pub call_timeout_ms: u64,
    /// Leaving a group, once its partitions are given back, takes at most so long.
    pub leave_timeout_ms: u64,
    /// Start waits so long for brokers before it gives up (exit 69).
    pub start_timeout_ms: u64,
    /// plaintext, ssl, sasl_plaintext, sasl_ssl.
    pub security_protocol: String,
    /// PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; empty: none.
    pub sasl_mechanism: String,
    /// The user of `sasl_mechanism`.
    pub sasl_username: String,
    /// The password of `sasl_mechanism`. Never printed.
    pub sasl_password: Secret,
    /// PEM file of the authority that signed the brokers' certificates; empty: the system's.
    pub ssl_ca_location: String,
    /// Further librdkafka settings, as they are.
    pub properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    Embedded,
    Mongodb,
    /// Holds everything in this process and loses it with it: simulation and benchmarks.
    Memory,
    /// Confirms everything and keeps nothing: benchmarks of the engine alone.
    Null,
}

/// Where the current state of each key is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// embedded: a folder of this process; mongodb; memory: lost with the process; null: confirms everything and keeps
    /// nothing, for benchmarks.
    pub kind: StoreKind,
}

/// Used where store.kind is mongodb.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mongodb {
    /// mongodb://[USER:PASSWORD@]HOST[:PORT][,HOST...]/[?OPTIONS], or mongodb+srv://... Never printed.
    pub uri: Secret,
    /// One collection per stream is kept here, named as the stream.
    pub database: String,
    /// Connections for writers and readers together.
    pub pool_max: u32,
    /// A call that has not answered in this time has an unknown outcome and is made again under the guard.
    pub call_timeout_ms: u64,
    /// Start waits so long for a primary before it gives up (exit 69).
    pub start_timeout_ms: u64,
    /// Documents in one command that writes.
    pub statements_max: usize,
}

/// What several instances share beside log and store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// redis://[USER:PASSWORD@]HOST[:PORT]; empty: instances share nothing but log and store. Never printed.
    pub url: Secret,
}

/// The log and store that need no service; used where log.kind or store.kind is embedded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Embedded {
    /// One process at a time owns this folder.
    #[schema(value_type = String)]
    pub data_dir: PathBuf,
    /// Block cache of log and store together.
    pub cache_bytes_max: u64,
    /// Bytes of records and documents that may wait for the disk; beyond it writers wait.
    pub queue_bytes_max: usize,
    /// Bytes written with one sync; what waits beyond it makes the next.
    pub group_bytes_max: usize,
    /// Journals on disk; more makes write buffers be flushed. At least 64 MiB.
    pub journal_bytes_max: u64,
    /// Records beyond their topic's retention are dropped on this beat.
    pub retention_interval_ms: u64,
}

/// The pipeline. Nothing here has to be tuned: batches adapt to the load between these bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Threads that run the pipeline's actors; 0: one per core, at most 8.
    pub threads: usize,
    /// Writers per stream; keys are hashed over them. More than 64 have nothing to do.
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
    /// Bytes of entities kept decoded for rooms that show a whole stream, over all streams; those that changed longest ago
    /// are left out of such a room beyond it.
    pub board_bytes_max: usize,
    /// Bytes of changed entities that wait to be taken into such rooms, over all streams; beyond it the store is read once
    /// a second instead.
    pub board_waiting_bytes_max: usize,
    /// Confirmed offsets are committed on this beat.
    pub commit_interval_ms: u64,
    /// A removed key is remembered for so long after it was stored.
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
    /// A writer or consumer that makes no progress though it could for so long is wedged: the generation ends. A thread of
    /// the pipeline, the supervisor or (a second later) the broadcaster that stands still so long ends the process.
    pub wedge_after_ms: u64,
    /// Generations that may fail one after the other before the process exits 70.
    pub failures_max: u32,
    /// First wait before the next generation; doubles up to `restart_wait_max_ms`.
    pub restart_wait_ms: u64,
    /// The longest wait before the next generation.
    pub restart_wait_max_ms: u64,
    /// Waits for outcomes (`?wait=stored`) held at once.
    pub waiters_max: usize,
    /// How long `?wait=stored` waits before it answers outcome-unknown.
    pub wait_timeout_ms: u64,
    /// Poison in a row that holds a partition.
    pub poison_run_max: u32,
    /// Dead letters known to the pages, newest first, for each stream; older ones stay in their topic.
    pub dead_letters_max: usize,
    /// Poison among the last 1000 records that holds a partition.
    pub poison_share_max: u32,
}

/// Socket.IO and SSE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Live {
    /// Bytes a client may have unread before changes wait for it, newest per key.
    pub unsent_bytes_max: usize,
    /// A client that takes nothing for so long is removed.
    pub stalled_after_ms: u64,
    /// Each client with rooms hears on this beat at which position its rooms stand.
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
    /// Socket.IO's own ping.
    pub ping_interval_ms: u64,
    /// A client that does not answer a ping in this time is gone.
    pub ping_timeout_ms: u64,
    /// SSE comment on a silent line.
    pub sse_comment_ms: u64,
}

/// What a request may ask for, and what memory all bounds together may promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// What the byte bounds in use may come to together: of the engine what is in flight and both caches, the rooms' history,
    /// and the buffers of log and store. Beyond it Statecast does not start, so that no bound is raised without a look at
    /// the sum. What each client may have unread is beside it.
    pub memory_bytes_max: usize,
}

/// Who may connect.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Origins of pages that may connect, beside our own; `*` is refused.
    pub allowed_origins: Vec<String>,
    /// Names under which the admin listener may be asked, beside IP addresses, names without a dot and that of
    /// `server.admin_url`; others are refused, since any page can point a name of its own at us.
    pub admin_hosts: Vec<String>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// off, error, warn, info, debug or trace; per module after a comma: info,statecast::engine=debug. Libraries tell no
    /// more than warnings unless they are named: info,rdkafka=debug.
    pub log_level: String,
    /// text or json.
    pub log_format: String,
    /// Log lines that may wait for a slow reader of standard error; beyond it lines are dropped and counted.
    pub log_lines_max: usize,
}

/// How the apps' own doors append. What the log did not take, or did not confirm, is appended again under the same id of
/// its event, so that it counts once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Produce {
    /// Attempts in all; 1: none is made again.
    pub attempts_max: usize,
    /// The wait before the second attempt; it doubles up to `wait_max_ms`, each with some jitter.
    pub wait_ms: u64,
    /// The longest wait between two attempts.
    pub wait_max_ms: u64,
    /// No attempt begins later than this after the first.
    pub deadline_ms: u64,
}

/// The events of users, stream `activity`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Activity {
    /// Types of events that are counted each by itself, for each user and partition; those beyond are counted together.
    pub types_max: usize,
    /// The type of an event.
    pub type_bytes_max: usize,
}

/// Text that is never printed or logged.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(format = Password)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"***\"" })
    }
}

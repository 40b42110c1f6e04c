//! The default of every setting.
//!
//! Invariant: `Config::default()` passes `validate`, and serves without any service.

use super::{
    Activity, Embedded, Engine, Format, Kafka, Limits, Live, Log, LogKind, Mongodb, Produce, Projection,
    Secret, Server, Store, StoreKind, Stream, Telemetry, Window,
};
use std::collections::BTreeMap;

const MIB: usize = 1 << 20;

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: "127.0.0.1:8080".into(),
            admin_listen: "127.0.0.1:9090".into(),
            admin_url: String::new(),
            public_url: String::new(),
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
            prefetch_bytes_max: 24 * MIB,
            delivery_timeout_ms: 10_000,
            linger_ms: 1,
            produce_bytes_max: 28 * MIB,
            call_timeout_ms: 10_000,
            leave_timeout_ms: 2_000,
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
        Embedded {
            data_dir: "data".into(),
            cache_bytes_max: 8 << 20,
            queue_bytes_max: 16 * MIB,
            group_bytes_max: 4 * MIB,
            journal_bytes_max: 128 << 20,
            retention_interval_ms: 10_000,
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Engine {
            threads: 0,
            shards: 2,
            mailbox_slices_max: 8,
            slice_records_max: 4_096,
            slice_bytes_max: MIB,
            in_flight_bytes_max: 8 * MIB,
            batch_records_max: 32_768,
            batch_keys_max: 1_024,
            batch_bytes_max: 4 * MIB,
            cache_bytes_max: 12 * MIB,
            view_bytes_max: 12 * MIB,
            board_bytes_max: 8 * MIB,
            board_waiting_bytes_max: 4 * MIB,
            commit_interval_ms: 500,
            tombstone_keep_s: 7 * 24 * 3600,
            entity_bytes_max: 8 * MIB,
            value_bytes_max: MIB,
            depth_max: 64,
            key_bytes_max: 512,
            drain_deadline_ms: 5_000,
            wedge_after_ms: 3_000,
            failures_max: 8,
            restart_wait_ms: 200,
            restart_wait_max_ms: 10_000,
            waiters_max: 10_000,
            wait_timeout_ms: 10_000,
            poison_run_max: 100,
            dead_letters_max: 10_000,
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
            memory_bytes_max: 128 * MIB,
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry { log_level: "info".into(), log_format: "text".into(), log_lines_max: 4_096 }
    }
}

impl Default for Produce {
    fn default() -> Self {
        Produce { attempts_max: 6, wait_ms: 100, wait_max_ms: 2_000, deadline_ms: 15_000 }
    }
}

impl Default for Activity {
    fn default() -> Self {
        Activity { types_max: 256, type_bytes_max: 128 }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            enabled: true,
            topic: String::new(),
            group: String::new(),
            partitions: 4,
            retention_s: 0,
            projection: Projection::Own,
            format: Format::Json,
            key: String::new(),
            group_by: Vec::new(),
            id: String::new(),
            time: String::new(),
            schema: String::new(),
            recent_max: 100,
            recent_bytes_max: MIB,
            window: Window::None,
            window_s: 3_600,
            slide_s: 60,
            windows_max: 2,
            ttl_s: 0,
            collection: String::new(),
            aggregates: BTreeMap::new(),
            rooms: BTreeMap::new(),
        }
    }
}

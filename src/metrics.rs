//! Every metric, once: its name, kind, labels and help.
//!
//! Invariant: a metric exists in this file and nowhere else, each has a panel in `grafana/`, and labels come from closed
//! sets (streams, reasons, shards), never from keys.
//! Not here: the exporter's endpoint (`http::ops`).

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// A metric with its kind and help.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Seconds.
    Seconds,
    /// Plain numbers.
    Sizes,
}

macro_rules! metrics {
    ($($id:ident $name:literal $kind:ident $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Metric = Metric { name: $name, kind: Kind::$kind, help: $help };)*
        /// Every metric there is.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    RECORDS_RECEIVED "statecast_records_received_total" Counter "Records pulled from the log, by stream";
    RECORDS_STORED "statecast_records_stored_total" Counter "Records finished by a confirmed write, by stream";
    RECORDS_SEEN "statecast_records_seen_total" Counter "Records skipped because the entity had already taken them in, by stream";
    RECORDS_REFUSED "statecast_records_refused_total" Counter "Commands refused by a condition or a rule, by stream and kind";
    DEAD_LETTERS "statecast_dead_letters_total" Counter "Records sent to the dead letters, by stream and reason";
    KEYS_MOVED "statecast_keys_moved_total" Counter "Records of a key that was stored from another partition, by stream";
    CONFLICTS "statecast_write_conflicts_total" Counter "Upserts that found the store moved on and were folded again, by stream";
    STALE_WRITES "statecast_stale_writes_total" Counter "Upserts the store was already at or beyond, by stream";
    BATCHES "statecast_batches_total" Counter "Batches written, by stream and why they were cut";
    BATCH_RECORDS "statecast_batch_records" Sizes "Records in a batch, by stream";
    BATCH_KEYS "statecast_batch_keys" Sizes "Keys in a batch, by stream";
    BATCH_SECONDS "statecast_batch_seconds" Seconds "From cut to confirmation of a batch, by stream";
    LOADED "statecast_entities_loaded_total" Counter "Entities asked of the store because no writer held them, by stream";
    EVICTED "statecast_entities_evicted_total" Counter "Entities dropped from a bounded cache, by stream and cache";
    CACHE_BYTES "statecast_cache_bytes" Gauge "Bytes of entities held in memory, as their bounds count them, by stream and cache";
    BACKPRESSURE_MS "statecast_backpressure_ms_total" Counter "Milliseconds consumers held a slice because a writer or the budget was full, by stream";
    MAILBOX_SLICES "statecast_mailbox_slices" Gauge "Slices waiting in a writer's mailbox, by stream and shard";
    LAG "statecast_lag_records" Gauge "Records in the log that are not confirmed yet, by stream and partition";
    OLDEST_SECONDS "statecast_oldest_unconfirmed_seconds" Gauge "Age of the oldest received record that is not confirmed, by stream and partition";
    PARTITIONS_HELD "statecast_partitions_held" Gauge "Partitions that are held, by stream";
    STORE_SECONDS "statecast_produce_to_store_seconds" Seconds "From a record's time to its confirmed write, of 64 changes a batch at most, by stream";
    SOCKET_SECONDS "statecast_produce_to_socket_seconds" Seconds "From a record's time to its hand-over to a client, by stream";
    GENERATIONS "statecast_generations_total" Counter "Generations started, by stream";
    COMMITS_FAILED "statecast_commits_failed_total" Counter "Offset commits that failed and were covered by a later one";
    STORE_RETRIES "statecast_store_retries_total" Counter "Calls of the store made again";
    STORE_OPEN "statecast_store_breaker_open" Gauge "1 while the store is away and consuming holds";
    EPOCHS "statecast_epoch_changes_total" Counter "Topics found recreated, by stream";
    WAITERS "statecast_waiters" Gauge "Writes that wait for their outcome";
    CLIENTS "statecast_clients" Gauge "Live clients, by transport";
    ROOMS "statecast_rooms" Gauge "Rooms with at least one client";
    PACKETS "statecast_packets_total" Counter "Packets handed to clients, by transport";
    CHANGES_SENT "statecast_changes_sent_total" Counter "Changes handed to clients";
    CONFLATED "statecast_changes_conflated_total" Counter "Versions coalesced away before a client could read them";
    RESYNCS "statecast_resyncs_total" Counter "Rooms that had to be sent anew, by reason";
    CLIENTS_REMOVED "statecast_clients_removed_total" Counter "Clients removed because they stopped reading or broke a limit, by why";
    NEWS_GAPPED "statecast_news_gapped_total" Counter "Times the broadcaster's box was full and rooms were read again";
    HTTP_SECONDS "statecast_http_request_seconds" Seconds "HTTP requests, by route, method and status";
    HTTP_CONNECTIONS "statecast_http_connections" Gauge "Open connections, upgraded ones too, by listener";
    HTTP_REFUSED "statecast_http_connections_refused_total" Counter "Connections closed at once because as many as allowed were open, by listener";
    LOG_DROPPED "statecast_log_lines_dropped_total" Counter "Log lines dropped because nobody read them";
}

const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const SIZES: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4];

/// Installs the recorder for this process; the handle renders `/metrics` and needs `run_upkeep` now and then.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in ALL {
        builder = match metric.kind {
            Kind::Seconds => builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), SECONDS)?,
            Kind::Sizes => builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), SIZES)?,
            Kind::Counter | Kind::Gauge => builder,
        };
    }
    let handle = builder.install_recorder()?;
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Seconds => describe_histogram!(metric.name, Unit::Seconds, metric.help),
            Kind::Sizes => describe_histogram!(metric.name, metric.help),
        }
    }
    Ok(handle)
}

impl Metric {
    pub fn add(&self, labels: &[(&'static str, String)], n: u64) {
        counter!(self.name, labels).increment(n);
    }

    pub fn set(&self, labels: &[(&'static str, String)], value: f64) {
        gauge!(self.name, labels).set(value);
    }

    pub fn observe(&self, labels: &[(&'static str, String)], value: f64) {
        histogram!(self.name, labels).record(value);
    }

    /// A handle for a hot path, resolved once.
    pub fn counter(&self, labels: &[(&'static str, String)]) -> metrics::Counter {
        counter!(self.name, labels)
    }

    pub fn gauge(&self, labels: &[(&'static str, String)]) -> metrics::Gauge {
        gauge!(self.name, labels)
    }

    pub fn histogram(&self, labels: &[(&'static str, String)]) -> metrics::Histogram {
        histogram!(self.name, labels)
    }
}

//! The few calls of librdkafka that rdkafka has no safe form of: the id of a topic, the id of a cluster, many messages of a
//! partition with one call, headers whose names are any bytes, whether a failed record ever left, and whether a consumer is
//! in its group.
//!
//! Invariant: this is the one place of the workspace with `unsafe`; every pointer that librdkafka hands out is read
//! while its owner (an event, a message) is alive, and copied or borrowed from that owner.
//! Not here: retrying, and what an error means for the caller.

mod admin;
mod member;
mod message;
mod queue;

pub use admin::{Error, Topic, cluster_id, describe_topic};
pub use member::is_member;
pub use message::{HeaderIter, never_sent};
pub use queue::{BATCH_MAX, Message, PartitionQueue};

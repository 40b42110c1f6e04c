//! The few calls of librdkafka that rdkafka has no safe form of: the id of a topic, the id of a cluster, headers whose
//! names are any bytes, and whether a failed record ever left.
//!
//! Invariant: this is the one place of the workspace with `unsafe`; every pointer that librdkafka hands out is read
//! while its owner (an event, a message) is alive, and copied or borrowed from that owner.
//! Not here: retrying, and what an error means for the caller.

mod admin;
mod message;

pub use admin::{Error, Topic, cluster_id, describe_topic};
pub use message::{headers, never_sent};

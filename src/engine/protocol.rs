//! Every message between the actors of a stream's generation.
//!
//! Invariant: records travel as parts of slices, never alone; everything else is control, and bounded by nature.

use super::{fold::Flight, watermark::SliceId};
use crate::ports::{LogError, Membership, PartitionReader};
use actix::{Message, Recipient};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The records of one slice that go to one writer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Part {
    pub flight: Arc<Flight>,
    pub indices: Vec<u32>,
    pub consumer: Recipient<Finished>,
}

/// So many records of a slice are finished: stored, refused, dead letters, or seen before.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Finished {
    pub slice: SliceId,
    pub records: u32,
    /// Indices of the poisoned ones within the slice.
    pub poison: Vec<u32>,
}

/// Stop intake, finish what is under way, and say how far it came: the next offset to commit.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain {
    pub reply: oneshot::Sender<Option<u64>>,
}

/// Let a held partition go on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Release;

/// The generation is sick: fence every partition now, commit what is confirmed, and drain nothing.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Abandon;

/// The generation has left its group: nothing is asked of it any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Left;

/// The generation is a member of its group.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Joined {
    pub membership: Arc<dyn Membership>,
}

/// The group gave us these partitions.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Assigned {
    pub readers: Vec<Box<dyn PartitionReader>>,
}

/// The group takes these partitions; `lost`: it already has, nothing may be committed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Revoked {
    pub partitions: Vec<u32>,
    pub lost: bool,
    pub reply: std::sync::mpsc::SyncSender<Vec<(u32, u64)>>,
}

/// The membership cannot go on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GroupFailed {
    pub error: LogError,
}

/// Ask the assignment to release a held partition. The answer: it was held.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReleasePartition {
    pub partition: u32,
}

/// Something of a generation is sick: it ends, and the next starts from what is committed.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct Sick {
    pub stream: super::api::StreamName,
    pub generation: u64,
    pub why: String,
}

/// Leave every group: intake ends, writers drain, offsets are committed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopAll {
    pub deadline: std::time::Duration,
    /// `true`: every stream left its group in time.
    pub reply: oneshot::Sender<bool>,
}

/// Somebody lets a held partition of a stream go on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReleaseHeld {
    pub stream: super::api::StreamName,
    pub partition: u32,
}

//! Offsets as they are committed and found again.
//!
//! Invariant: what is committed is the NEXT offset, exactly as given (`commit` adds nothing, unlike librdkafka's
//! `store_offset`), and carries the epoch it belongs to; offsets of another epoch are of another log and count for
//! nothing. So a topic that was made again is read from its start by every member, also by those that join later and
//! were not told `from_earliest`, and a late commit of a member of the old log can do no harm.
//! Not here: when to commit.

use crate::ports::Subscription;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};
use std::{collections::BTreeMap, time::Duration};

/// The list to commit: every list that is committed is made here.
pub fn next_offsets(subscription: &Subscription, next: &[(u32, u64)]) -> KafkaResult<TopicPartitionList> {
    let beyond = || KafkaError::SetPartitionOffset(Code::InvalidArgument);
    let mut list = TopicPartitionList::with_capacity(next.len());
    for (partition, offset) in next {
        let partition = i32::try_from(*partition).map_err(|_| beyond())?;
        let offset = i64::try_from(*offset).map_err(|_| beyond())?;
        let mut element = list.add_partition(&subscription.topic, partition);
        element.set_offset(Offset::Offset(offset))?;
        element.set_metadata(metadata(subscription.epoch));
    }
    Ok(list)
}

fn metadata(epoch: u32) -> String {
    format!("epoch={epoch}")
}

/// Whether an offset with this metadata is of this epoch. One without any was set by hand, by a tool: it is meant.
fn is_of(epoch: u32, text: &str) -> bool {
    text.strip_prefix("epoch=").is_none_or(|committed| committed.parse() == Ok(epoch))
}

/// What a group has committed of these partitions for this epoch. Blocks up to `timeout`.
pub fn committed<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    list: TopicPartitionList,
    epoch: u32,
    timeout: Duration,
) -> KafkaResult<BTreeMap<u32, u64>> {
    let list = client.committed_offsets(list, timeout)?;
    let mut committed = BTreeMap::new();
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset()
            && let (Ok(partition), Ok(offset)) = (u32::try_from(element.partition()), u64::try_from(offset))
            && is_of(epoch, element.metadata())
        {
            committed.insert(partition, offset);
        }
    }
    Ok(committed)
}

/// Where a partition begins: at what is committed, else at its earliest record. Said outright, and not left to
/// librdkafka, which knows nothing of epochs.
pub fn begin_at(committed: Option<u64>) -> Offset {
    match committed.map(i64::try_from) {
        Some(Ok(offset)) => Offset::Offset(offset),
        Some(Err(_)) | None => Offset::Beginning,
    }
}

/// Whether the same commit may succeed a moment later, as long as the assignment is not lost. An illegal generation is
/// an old one: the commit waited behind a join of this member, and the next is sent with the generation joined.
pub fn commit_may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::RebalanceInProgress
            | Code::IllegalGeneration
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::RequestTimedOut
            | Code::OperationTimedOut
            | Code::BrokerTransportFailure
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(epoch: u32) -> Subscription {
        let (topic, group) = ("t".to_owned(), "g".to_owned());
        Subscription { topic, group, epoch, from_earliest: false, prefetch_bytes_max: 0 }
    }

    #[test]
    fn the_next_offset_is_committed_as_it_is() {
        let list = next_offsets(&subscription(3), &[(0, 7), (5, 0)]).expect("list");
        let found: Vec<_> =
            list.elements().iter().map(|e| (e.partition(), e.offset(), e.metadata().to_owned())).collect();
        let epoch = "epoch=3".to_owned();
        assert_eq!(found, [(0, Offset::Offset(7), epoch.clone()), (5, Offset::Offset(0), epoch)]);
        assert!(next_offsets(&subscription(0), &[(0, u64::MAX)]).is_err());
    }

    #[test]
    fn an_offset_of_another_epoch_counts_for_nothing() {
        assert!(is_of(3, &metadata(3)));
        assert!(!is_of(4, &metadata(3)));
        assert!(!is_of(4, "epoch=x"));
        assert!(is_of(4, ""), "set by hand");
        assert!(is_of(4, "note of an operator"));
    }

    #[test]
    fn a_partition_without_a_commit_begins_at_its_earliest_record() {
        assert_eq!(begin_at(None), Offset::Beginning);
        assert_eq!(begin_at(Some(4)), Offset::Offset(4));
    }
}

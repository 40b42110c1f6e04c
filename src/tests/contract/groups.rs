//! What consumer groups of every log do, in the words of `ports::Membership` and `ports::Assignments`.

use super::{
    log::{LogFactory, fill, pull, topic},
    member::{Member, PATIENCE, PLENTY, Told},
    unique,
};
use crate::ports::Membership;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Waits until the group's committed offsets are these.
async fn committed_is(membership: &Arc<dyn Membership>, expected: &[(u32, u64)]) {
    let since = std::time::Instant::now();
    loop {
        let mut committed = membership.committed().await.expect("committed");
        committed.sort_unstable();
        if committed == expected {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "committed {committed:?}, expected {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn a_member_gets_every_partition_from_its_start(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 3).await;
    for partition in 0..3 {
        fill(&log, &name, partition, 4).await;
    }
    let (member, membership) = Member::join(&log, &name, &unique("group"), |_| {});
    assert_eq!(member.holds(3).await, BTreeSet::from([0, 1, 2]));
    assert!(member.starts().values().all(|start| start.is_none_or(|s| s == 0)));
    let taken: BTreeSet<_> = member.take(12).await.into_iter().map(|(p, o, _)| (p, o)).collect();
    assert_eq!(taken, (0..3).flat_map(|p| (0..4).map(move |o| (p, o))).collect());
    assert_eq!(membership.committed().await.expect("committed"), []);
    membership.leave().await;
}

pub async fn a_committed_offset_is_where_the_next_member_starts(factory: &impl LogFactory) {
    let log = factory.log();
    let (name, group) = (topic(&log, 1).await, unique("group"));
    fill(&log, &name, 0, 10).await;
    let (member, membership) = Member::join(&log, &name, &group, |_| {});
    member.holds(1).await;
    member.take(10).await;
    membership.commit(&[(0, 2)]);
    membership.commit(&[(0, 6)]);
    committed_is(&membership, &[(0, 6)]).await;
    member.next_is(&[(0, 6)]); // so that leaving commits no more than that
    membership.leave().await;

    let (again, membership) = Member::join(&factory.log(), &name, &group, |_| {});
    again.holds(1).await;
    assert!(again.starts()[&0].is_none_or(|start| start == 6));
    assert_eq!(again.take(4).await[0].1, 6);
    membership.leave().await;
}

pub async fn leaving_commits_what_revoke_returns(factory: &impl LogFactory) {
    let log = factory.log();
    let (name, group) = (topic(&log, 2).await, unique("group"));
    fill(&log, &name, 0, 3).await;
    fill(&log, &name, 1, 5).await;
    let (member, membership) = Member::join(&log, &name, &group, |_| {});
    member.holds(2).await;
    member.take(8).await;
    assert!(member.revoked_partitions().is_empty());
    membership.leave().await;
    assert_eq!(member.revoked_partitions(), BTreeSet::from([0, 1]));
    assert!(member.partitions().await.is_empty());

    let (after, membership) = Member::join(&log, &name, &group, |_| {});
    after.holds(2).await;
    let mut committed = membership.committed().await.expect("committed");
    committed.sort_unstable();
    assert_eq!(committed, [(0, 3), (1, 5)]);
    fill(&log, &name, 0, 1).await;
    assert_eq!(after.take(1).await[0].1, 3);
    membership.leave().await;
}

pub async fn members_share_and_move_partitions(factory: &impl LogFactory) {
    let log = factory.log();
    let (name, group) = (topic(&log, 4).await, unique("group"));
    for partition in 0..4 {
        fill(&log, &name, partition, 5).await;
    }
    let (first, first_membership) = Member::join(&log, &name, &group, |_| {});
    first.holds(4).await;
    first.take(20).await;
    let (second, second_membership) = Member::join(&factory.log(), &name, &group, |_| {});
    let (stayed, moved) = (first.holds(2).await, second.holds(2).await);
    assert!(stayed.is_disjoint(&moved), "{stayed:?} and {moved:?}");
    assert_eq!(first.revoked_partitions(), moved, "only what moves is revoked");
    for partition in &moved {
        let start = second.starts()[partition];
        assert!(start.is_none_or(|s| s == 5), "partition {partition} starts at {start:?}");
    }
    for partition in 0..4 {
        fill(&log, &name, partition, 1).await;
    }
    for member in [&first, &second] {
        let taken: Vec<_> = member.take(2).await;
        assert!(taken.iter().all(|(_, offset, _)| *offset == 5), "{taken:?}");
    }
    first_membership.leave().await;
    second.holds(4).await;
    assert!(second.revoked_partitions().is_empty(), "what stays is not revoked");
    for partition in 0..4 {
        fill(&log, &name, partition, 1).await;
    }
    assert!(second.take(4).await.iter().all(|(_, offset, _)| *offset == 6), "nothing twice");
    second_membership.leave().await;
    assert!(!second.told().iter().any(|told| matches!(told, Told::Lost(_))));
}

pub async fn a_member_that_is_dropped_makes_room(factory: &impl LogFactory) {
    let log = factory.log();
    let (name, group) = (topic(&log, 2).await, unique("group"));
    let (first, first_membership) = Member::join(&log, &name, &group, |_| {});
    first.holds(2).await;
    drop(first_membership);
    let (second, second_membership) = Member::join(&log, &name, &group, |_| {});
    second.holds(2).await;
    assert!(first.partitions().await.is_empty());
    second_membership.leave().await;
}

pub async fn from_earliest_ignores_what_is_committed(factory: &impl LogFactory) {
    let log = factory.log();
    let (name, group) = (topic(&log, 1).await, unique("group"));
    fill(&log, &name, 0, 4).await;
    let (member, membership) = Member::join(&log, &name, &group, |_| {});
    member.holds(1).await;
    member.take(4).await;
    membership.leave().await;
    let (again, membership) = Member::join(&log, &name, &group, |s| s.from_earliest = true);
    again.holds(1).await;
    assert!(again.starts()[&0].is_none_or(|start| start == 0));
    assert_eq!(again.take(4).await[0].1, 0);
    membership.leave().await;
}

pub async fn groups_do_not_see_each_other(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 1).await;
    fill(&log, &name, 0, 3).await;
    let (one, one_membership) = Member::join(&log, &name, &unique("group"), |_| {});
    let (two, two_membership) = Member::join(&log, &name, &unique("group"), |_| {});
    one.holds(1).await;
    two.holds(1).await;
    assert_eq!(one.take(3).await.len(), 3);
    one_membership.leave().await;
    assert_eq!(two.take(3).await.len(), 3);
    assert_eq!(two_membership.committed().await.expect("committed"), []);
    two_membership.leave().await;
}

pub async fn a_commit_of_a_partition_of_others_is_dropped(factory: &impl LogFactory) {
    let log = factory.log();
    let (name, group) = (topic(&log, 2).await, unique("group"));
    for partition in 0..2 {
        fill(&log, &name, partition, 3).await;
    }
    let (first, first_membership) = Member::join(&log, &name, &group, |_| {});
    first.holds(2).await;
    let (second, second_membership) = Member::join(&log, &name, &group, |_| {});
    let (stayed, moved) = (first.holds(1).await, second.holds(1).await);
    let (stayed, moved) = (*stayed.first().expect("one"), *moved.first().expect("one"));
    first_membership.commit(&[(moved, 3), (stayed, 2)]);
    committed_is(&second_membership, &[(stayed, 2)]).await;
    first_membership.leave().await;
    second_membership.leave().await;
    let (third, third_membership) = Member::join(&log, &name, &group, |_| {});
    third.holds(2).await;
    committed_is(&third_membership, &[(stayed, 2)]).await;
    third_membership.leave().await;
}

pub async fn the_epoch_is_on_every_slice(factory: &impl LogFactory) {
    let log = factory.log();
    let name = topic(&log, 1).await;
    fill(&log, &name, 0, 1).await;
    let slice = pull(&mut log.read(&name, 9, 0, 0).expect("read"), PLENTY).await;
    assert_eq!((slice.epoch(), slice.get(0).expect("record").position.epoch), (9, 9));
    let (member, membership) = Member::join(&log, &name, &unique("group"), |s| s.epoch = 4);
    member.holds(1).await;
    let slice = loop {
        if let Some(slice) = member.look(0, PLENTY).await {
            break slice;
        }
    };
    assert_eq!(slice.epoch(), 4);
    membership.leave().await;
}

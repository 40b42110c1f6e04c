//! Once, for ever: whatever comes again, wherever, after whatever.

use super::{
    bench::{Bench, PARTITIONS, event},
    crossing::Crossing,
};
use crate::app::Reason;
use futures_util::future::join_all;
use std::{collections::BTreeSet, sync::Arc};

fn counted(counts: &[(&str, u64)]) -> Option<std::collections::BTreeMap<String, u64>> {
    Some(counts.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_again_counts_nothing() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    bench.produce(Some("ann"), Some(&event(1, "ann", "click")), None).await;
    bench.produce(Some("ann"), Some(&event(2, "ann", "view")), None).await;
    going.takes_in(&bench).await;
    // At once, later, under another spelling of its id, by another partition, without a key, of another user.
    bench.produce(Some("ann"), Some(&event(1, "ann", "click")), None).await;
    let shouted = event(2, "ann", "view").replace("eventId", "event_id");
    for partition in 0..PARTITIONS {
        bench.produce(Some("ann"), Some(&event(1, "ann", "click")), Some(partition)).await;
        bench.produce(None, Some(&shouted), Some(partition)).await;
        bench.produce(Some("bob"), Some(&event(1, "bob", "click")), Some(partition)).await;
    }
    bench.produce(Some("ann"), Some(&event(3, "ann", "click")), None).await;
    going.takes_in(&bench).await;
    assert_eq!(going.counts("ann").await, counted(&[("click", 2), ("view", 1)]));
    assert_eq!(going.counts("bob").await, None);
    assert_eq!(bench.stored().await.len(), 3);
    going.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_log_that_begins_anew_count_nothing_twice() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    let events: Vec<_> =
        (0..60).map(|n| (format!("u{}", n % 3), event(n, &format!("u{}", n % 3), "click"))).collect();
    for (user, event) in &events {
        bench.produce(Some(user), Some(event), None).await;
    }
    going.takes_in(&bench).await;
    going.stop().await;

    let going = bench.start().await;
    for (user, event) in &events {
        bench.produce(Some(user), Some(event), None).await;
    }
    going.takes_in(&bench).await;
    going.stop().await;

    // The same records in another order under other positions, as of a topic that was lost and filled again.
    let bench = bench.with_another_log().await;
    for (n, (user, event)) in events.iter().rev().enumerate() {
        bench.produce(Some(user), Some(event), Some(n as u32 % PARTITIONS)).await;
    }
    let going = bench.start().await;
    going.takes_in(&bench).await;
    bench.produce(Some("u0"), Some(&event(99, "u0", "view")), None).await;
    going.takes_in(&bench).await;
    assert_eq!(going.counts("u0").await, counted(&[("click", 20), ("view", 1)]));
    assert_eq!(going.counts("u1").await, counted(&[("click", 20)]));
    assert_eq!(bench.stored().await.len(), 61);
    going.stop().await;
}

/// Each writer has asked who was first before any of them inserts the row: all but one have to find out afterwards, also
/// those whose batch holds events that only they have.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_by_all_partitions_at_once_counts_once() {
    const EVENTS: u128 = 400;
    let bench = Bench::new().await;
    for n in 0..EVENTS {
        let event = event(n, &format!("u{}", n % 7), "click");
        for partition in 0..PARTITIONS {
            bench.produce(None, Some(&event), Some(partition)).await;
        }
        let own = super::bench::event(EVENTS + n, &format!("u{}", n % 7), "view");
        bench.produce(None, Some(&own), Some(n as u32 % PARTITIONS)).await;
    }
    let going = bench.start_on(Arc::new(Crossing::new(bench.store.clone(), PARTITIONS as usize))).await;
    going.takes_in(&bench).await;
    let counts = join_all((0..7).map(|n| going.counts_of(n))).await;
    assert_eq!(counts.iter().sum::<u64>(), 2 * EVENTS as u64, "{counts:?}");
    assert_eq!(bench.stored().await.into_iter().collect::<BTreeSet<_>>().len(), 2 * EVENTS as usize);
    going.stop().await;
}

impl super::bench::Going {
    async fn counts_of(&self, user: u32) -> u64 {
        self.counts(&format!("u{user}")).await.unwrap_or_default().values().sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_goes_to_the_dead_letters_and_stops_nothing() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    let bad = [
        Some("{\"eventId\":"),
        Some("not json"),
        Some("[]"),
        Some("{}"),
        Some("{\"eventId\":\"7\",\"userId\":\"ann\",\"eventType\":\"t\",\"payload\":{}}"),
        None,
    ];
    for value in bad {
        bench.produce(Some("ann"), value, None).await;
        bench.produce(Some("ann"), Some(&event(rand::random(), "ann", "click")), None).await;
    }
    going.takes_in(&bench).await;
    assert_eq!(
        going.counts("ann").await,
        counted(&[("click", bad.len() as u64)]),
        "also what no value could remove"
    );
    super::bench::eventually("dead letters are known", async || {
        let mut found = Vec::new();
        for reason in [Reason::MalformedJson, Reason::SchemaInvalid, Reason::MissingField] {
            found.push(going.letters(reason).await);
        }
        if found == [2, 3, 1] { Ok(()) } else { Err(found) }
    })
    .await;
    going.stop().await;
}

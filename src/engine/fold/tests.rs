//! The thinking of a writer, against a plain map as the store.

use super::*;
use crate::{apps::kv::Kv, ports::EntityId, record::Slice};

pub(super) fn settings() -> FoldSettings {
    FoldSettings {
        stream: "kv".into(),
        topic: "kv".into(),
        by_partition: false,
        has_row_ids: false,
        key_bytes_max: 8,
        value_bytes_max: 64,
        entity_bytes_max: 64,
        depth_max: 4,
        cache_bytes_max: 1 << 20,
        tombstone_keep_ms: 1_000,
        ttl_ms: None,
    }
}

pub(super) fn fold() -> Fold<Kv> {
    Fold::new(Arc::new(Kv), settings())
}

pub(super) type Row<'a> = (u64, i64, &'a str, Option<&'a str>);

pub(super) fn flight(partition: u32, assignment: u64, rows: &[Row<'_>]) -> Arc<Flight> {
    let mut slice = Slice::new(0, partition);
    for (offset, time_ms, key, value) in rows {
        slice.push(*offset, *time_ms, Some(key.as_bytes()), value.map(str::as_bytes), std::iter::empty());
    }
    let assignment = Arc::new(Assignment::new(assignment, partition));
    Arc::new(Flight { slice, id: 0, assignment, permit: None })
}

pub(super) fn gather(fold: &mut Fold<Kv>, flight: Arc<Flight>) {
    let indices = (0..flight.slice.len() as u32).collect();
    fold.gather(flight, indices);
}

pub(super) fn document(key: &str, partition: u32, offset: u64, version: u64, updated_ms: i64) -> Document {
    Document {
        key: key.into(),
        partial: None,
        version,
        created_ms: 1,
        updated_ms,
        position: Position { epoch: 0, partition, offset },
        value: Some(crate::document::Json::from_checked("\"stored\"")),
        origins: Default::default(),
    }
}

pub(super) fn shape(effects: &Effects) -> Vec<(&str, u64, u64, Option<&str>)> {
    let shape = |u: &'_ Upsert| (u.document.version, u.from_version);
    effects
        .upserts
        .iter()
        .map(|u| (&*u.document.key, shape(u).0, shape(u).1, u.document.value.as_ref().map(|v| v.text())))
        .collect()
}

#[test]
fn records_of_a_key_become_one_upsert() {
    let mut fold = fold();
    gather(
        &mut fold,
        flight(0, 1, &[(5, 10, "a", Some("1")), (6, 11, "b", Some("2")), (9, 12, "a", Some("3"))]),
    );
    let ids: Vec<EntityId> = fold.missing();
    assert_eq!(ids.iter().map(|id| &*id.key).collect::<Vec<_>>(), ["a", "b"]);
    fold.admit(vec![document("b", 0, 3, 7, 5)]).expect("admit");
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 2, 0, Some("3")), ("b", 8, 7, Some("2"))]);
    let a = &effects.upserts[0].document;
    assert_eq!((a.created_ms, a.updated_ms, a.position.offset), (10, 12, 9));
    let confirmed = fold.confirm();
    assert_eq!(confirmed.changes.iter().map(|c| c.covers).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((confirmed.counts.records, confirmed.counts.stored), (3, 3));
    gather(&mut fold, flight(0, 1, &[(10, 13, "a", Some("4"))]));
    assert!(fold.missing().is_empty(), "held from the batch before");
}

#[test]
fn a_replay_is_skipped_and_changes_nothing() {
    let mut fold = fold();
    gather(&mut fold, flight(0, 1, &[(3, 5, "a", Some("1")), (4, 6, "a", Some("2"))]));
    fold.admit(vec![document("a", 0, 3, 9, 5)]).expect("admit");
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 10, 9, Some("2"))]);
    assert_eq!(fold.confirm().counts.seen, 1);
}

#[test]
fn what_is_loaded_and_left_is_told_since_who_stored_it_may_not_have() {
    let mut fold = fold();
    gather(&mut fold, flight(0, 1, &[(3, 5, "a", Some("1")), (4, 6, "b", Some("2"))]));
    fold.admit(vec![document("a", 0, 3, 9, 5), document("b", 0, 3, 2, 5)]).expect("admit");
    fold.fold(None).expect("fold");
    let confirmed = fold.confirm();
    let told: Vec<_> =
        confirmed.changes.iter().map(|c| (&*c.document.key, c.document.version, c.covers)).collect();
    assert_eq!(told, [("b", 3, 1), ("a", 9, 0)]);
    gather(&mut fold, flight(0, 1, &[(3, 5, "a", Some("1"))]));
    fold.fold(None).expect("fold");
    assert!(fold.confirm().changes.is_empty(), "once");
}

#[test]
fn a_tombstone_counts_and_a_key_made_again_is_born_again() {
    let mut fold = fold();
    gather(&mut fold, flight(0, 1, &[(1, 5, "a", None), (2, 6, "a", Some("null")), (3, 9, "b", None)]));
    fold.admit(vec![document("a", 0, 0, 4, 2)]).expect("admit");
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 6, 4, Some("null")), ("b", 1, 0, None)]);
    assert_eq!(effects.upserts[0].document.created_ms, 6);
    assert_eq!(effects.upserts[1].expires_ms, Some(1_009));
}

#[test]
fn a_key_whose_time_is_over_is_looked_for_in_the_store_before_it_is_decided_on() {
    let mut fold = Fold::new(Arc::new(Kv), FoldSettings { ttl_ms: Some(60_000), ..settings() });
    let (old, young) = (crate::clock::now_ms() - 61_000, crate::clock::now_ms());
    gather(&mut fold, flight(0, 1, &[(1, old, "a", Some("1")), (2, young, "b", Some("1"))]));
    fold.admit(Vec::new()).expect("admit");
    fold.fold(None).expect("fold");
    fold.confirm();
    gather(&mut fold, flight(0, 1, &[(3, young, "a", Some("2")), (4, young, "b", Some("2"))]));
    assert_eq!(fold.missing().iter().map(|id| &*id.key).collect::<Vec<_>>(), ["a"]);
    fold.admit(Vec::new()).expect("admit");
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 1, 0, Some("2")), ("b", 2, 1, Some("2"))]);
}

#[test]
fn poison_is_decided_record_by_record() {
    let mut fold = fold();
    let large = format!("\"{}\"", "x".repeat(63));
    let bad = [
        (1, 0, "", Some("1")),
        (2, 0, "123456789", Some("1")),
        (3, 0, "a", Some("{")),
        (4, 0, "a", Some(&*large)),
        (5, 0, "a", Some("[[[[[1]]]]]")),
        (6, 0, "a", Some("1")),
    ];
    gather(&mut fold, flight(0, 1, &bad));
    fold.admit(Vec::new()).expect("admit");
    let effects = fold.fold(None).expect("fold");
    let reasons: Vec<_> = effects.letters.iter().map(|l| (l.index, l.poison.reason)).collect();
    let expected = [
        (0, Reason::InvalidKey),
        (1, Reason::InvalidKey),
        (2, Reason::MalformedJson),
        (3, Reason::TooLarge),
        (4, Reason::TooDeep),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(shape(&effects), [("a", 1, 0, Some("1"))]);
    assert_eq!(fold.confirm().finished[0].poison, [0, 1, 2, 3, 4]);
}

#[test]
fn a_condition_is_checked_against_the_version_at_its_turn() {
    let mut slice = Slice::new(0, 0);
    for (offset, wanted, value) in [(1, "0", "1"), (2, "0", "2"), (3, "1", "3"), (4, "nine", "4")] {
        let headers: [(&[u8], Option<&[u8]>); 1] = [(CONDITION_HEADER.as_bytes(), Some(wanted.as_bytes()))];
        slice.push(offset, 0, Some(b"a"), Some(value.as_bytes()), headers.into_iter());
    }
    let assignment = Arc::new(Assignment::new(1, 0));
    let mut fold = fold();
    gather(&mut fold, Arc::new(Flight { slice, id: 0, assignment, permit: None }));
    fold.admit(Vec::new()).expect("admit");
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 2, 0, Some("3"))]);
    assert_eq!(effects.letters.len(), 1, "a condition nobody can read is poison");
    assert_eq!(fold.confirm().counts.refused.get("precondition"), Some(&1));
}

#[test]
fn what_the_store_moved_on_from_is_folded_again() {
    let mut fold = fold();
    gather(
        &mut fold,
        flight(0, 1, &[(7, 5, "a", Some("1")), (8, 6, "a", Some("2")), (9, 6, "b", Some("3"))]),
    );
    fold.admit(Vec::new()).expect("admit");
    fold.fold(None).expect("fold");
    // Another instance stored 0.0.7 of `a` meanwhile, and 0.0.20 of `b`.
    let effects = fold
        .settle(vec![document("a", 0, 7, 1, 5), document("b", 0, 20, 6, 30)], Vec::new())
        .expect("settle");
    assert_eq!(shape(&effects), [("a", 2, 1, Some("2"))]);
    let stored = effects.upserts[0].document.clone();
    assert!(
        fold.settle(vec![stored, document("b", 0, 20, 6, 30)], Vec::new())
            .expect("settle")
            .upserts
            .is_empty()
    );
    let confirmed = fold.confirm();
    let changes: Vec<_> =
        confirmed.changes.iter().map(|c| (&*c.document.key, c.document.version, c.covers)).collect();
    assert_eq!(changes, [("a", 2, 1), ("b", 6, 0)]);
    assert_eq!((confirmed.counts.conflicts, confirmed.counts.stale), (1, 1));
}

#[test]
fn a_further_round_leaves_alone_what_the_rounds_before_settled() {
    let mut fold = fold();
    gather(
        &mut fold,
        flight(0, 1, &[(7, 5, "a", Some("1")), (8, 6, "b", Some("2")), (9, 6, "c", Some("3"))]),
    );
    let stored = [document("a", 0, 3, 4, 1), document("b", 0, 3, 4, 1), document("c", 0, 3, 4, 1)];
    fold.admit(stored.to_vec()).expect("admit");
    fold.fold(None).expect("fold");
    // Ours of `a` took effect; another instance stored the same of `b`, and is one version ahead of us with `c`.
    let ahead = document("c", 0, 4, 5, 2);
    let there = vec![document("a", 0, 7, 5, 5), document("b", 0, 8, 5, 6), ahead];
    assert_eq!(shape(&fold.settle(there, Vec::new()).expect("settle")), [("c", 6, 5, Some("3"))]);
    // Only `c` was sent, so only `c` is loaded.
    let effects = fold.settle(vec![document("c", 0, 5, 6, 3)], Vec::new()).expect("settle");
    assert_eq!(shape(&effects), [("c", 7, 6, Some("3"))]);
    let told: Vec<_> =
        fold.confirm().changes.iter().map(|c| (c.document.key.to_string(), c.document.version)).collect();
    assert_eq!(told, [("a".into(), 5), ("b".into(), 5), ("c".into(), 7)]);
}

#[test]
fn of_two_that_differ_at_one_position_what_is_stored_is_told() {
    let mut fold = fold();
    gather(&mut fold, flight(0, 1, &[(7, 5, "a", Some("1"))]));
    fold.admit(Vec::new()).expect("admit");
    fold.fold(None).expect("fold");
    assert!(fold.settle(vec![document("a", 0, 7, 9, 5)], Vec::new()).expect("settle").upserts.is_empty());
    let confirmed = fold.confirm();
    let told: Vec<_> = confirmed.changes.iter().map(|c| c.document.version).collect();
    assert_eq!(told, [9]);
}

#[test]
fn a_key_from_another_partition_goes_by_record_time() {
    let mut fold = fold();
    gather(&mut fold, flight(1, 1, &[(1, 50, "a", Some("1")), (2, 50, "b", Some("1"))]));
    fold.admit(vec![document("a", 0, 90, 3, 40), document("b", 0, 90, 3, 50)]).expect("admit");
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 4, 3, Some("1"))]);
    assert_eq!(fold.confirm().counts.moved, 2);
}

#[test]
fn a_fenced_slice_is_neither_folded_nor_finished_as_stored() {
    let mut fold = fold();
    let flight = flight(0, 1, &[(1, 0, "a", Some("1"))]);
    flight.assignment.fence();
    gather(&mut fold, flight);
    fold.admit(Vec::new()).expect("admit");
    assert!(fold.fold(None).expect("fold").upserts.is_empty());
    assert_eq!(fold.confirm().counts.stored, 0);
}

#[test]
fn what_outlived_its_assignment_is_told_as_such() {
    let mut fold = fold();
    let (gone, ours) = (flight(0, 1, &[(3, 5, "a", Some("1"))]), flight(1, 2, &[(4, 6, "b", Some("2"))]));
    gather(&mut fold, gone.clone());
    gather(&mut fold, ours);
    fold.admit(vec![document("a", 0, 3, 9, 5)]).expect("admit");
    fold.fold(None).expect("fold");
    gone.assignment.fence();
    let told: Vec<_> =
        fold.confirm().changes.iter().map(|c| (c.document.key.to_string(), c.is_fenced)).collect();
    assert_eq!(told, [("b".into(), false), ("a".into(), true)]);
}

#[test]
fn an_abandoned_batch_is_loaded_anew() {
    let mut fold = fold();
    gather(&mut fold, flight(0, 1, &[(1, 0, "a", Some("1"))]));
    fold.admit(Vec::new()).expect("admit");
    fold.fold(None).expect("fold");
    fold.abandon();
    gather(&mut fold, flight(0, 1, &[(1, 0, "a", Some("1"))]));
    assert_eq!(fold.missing().len(), 1);
}

/// Records of which some were emitted: offset, key, value, origin.
fn emitted(rows: &[(u64, &str, Option<&str>, &str)]) -> Arc<Flight> {
    let mut slice = Slice::new(0, 0);
    for (offset, key, value, origin) in rows {
        let origin = if origin.is_empty() { String::new() } else { format!("{origin}/kv") };
        let header = (crate::origin::ORIGIN_HEADER.as_bytes(), Some(origin.as_bytes()));
        let headers = (!origin.is_empty()).then_some(header).into_iter();
        slice.push(*offset, 5, Some(key.as_bytes()), value.map(str::as_bytes), headers);
    }
    Arc::new(Flight { slice, id: 0, assignment: Arc::new(Assignment::new(1, 0)), permit: None })
}

fn origins(texts: &[&str]) -> crate::origin::Origins {
    crate::origin::Origins::parse(texts.iter().copied()).expect("origins")
}

#[test]
fn what_was_emitted_again_is_skipped_within_a_batch_and_across_them() {
    let mut fold = fold();
    let first = [
        (1, "a", Some("1"), "up/0.0.5/9/0"),
        (2, "a", Some("2"), "up/0.0.6/9/0"),
        (3, "a", Some("1"), "up/0.0.5/9/0"),
        (4, "a", Some("3"), ""),
        (5, "b", Some("4"), "up/0.0.5/9/0"),
    ];
    gather(&mut fold, emitted(&first));
    fold.admit(Vec::new()).expect("admit");
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 3, 0, Some("3")), ("b", 1, 0, Some("4"))]);
    assert_eq!(effects.upserts[0].document.origins, origins(&["up/0.0.6/9/0"]));
    let confirmed = fold.confirm();
    assert_eq!((confirmed.counts.stored, confirmed.counts.seen), (4, 1));
    assert_eq!(confirmed.finished[0].records, 5, "a repeat is finished like any other");
    // Of another step, of another emit of the same, of another partition, of the stream made anew; and a removal.
    let next = [
        (6, "a", Some("2"), "up/0.0.6/9/0"),
        (7, "a", Some("5"), "up/0.0.6/9/1"),
        (8, "a", Some("6"), "up/0.1.1/9/0"),
        (9, "a", None, "up/1.0.0/9/0"),
        (10, "a", Some("7"), "up/1.0.0/9/0"),
    ];
    gather(&mut fold, emitted(&next));
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 6, 3, None)]);
    assert_eq!(effects.upserts[0].document.origins, origins(&["up/0.1.1/9/0", "up/1.0.0/9/0"]));
    assert_eq!(fold.confirm().counts.seen, 2);
}

#[test]
fn what_was_emitted_again_is_known_by_whoever_loads_the_entity() {
    let mut fold = fold();
    let rows = [(20, "a", Some("1"), "up/0.0.5/9/0"), (21, "a", Some("2"), "up/0.0.7/9/0")];
    gather(&mut fold, emitted(&rows));
    let stored = Document { origins: origins(&["up/0.0.6/9/0"]), ..document("a", 0, 3, 9, 5) };
    fold.admit(vec![stored]).expect("admit");
    assert_eq!(shape(&fold.fold(None).expect("fold")), [("a", 10, 9, Some("2"))]);
    // Another instance took in both meanwhile, from what was emitted before.
    let beyond = Document { origins: origins(&["up/0.0.7/9/0"]), ..document("a", 0, 15, 10, 5) };
    assert!(fold.settle(vec![beyond], Vec::new()).expect("settle").upserts.is_empty());
    let confirmed = fold.confirm();
    assert_eq!((confirmed.counts.seen, confirmed.counts.stored), (2, 0));
    assert_eq!(confirmed.changes[0].document.version, 10, "told, since who stored it may not have");
}

#[test]
fn a_replay_that_a_person_asked_for_is_no_repeat() {
    let mut fold = fold();
    let rows = [(1, "a", Some("1"), "dlq/0.0.5"), (2, "a", Some("1"), "dlq/0.0.5"), (3, "a", Some("2"), "?")];
    gather(&mut fold, emitted(&rows));
    fold.admit(Vec::new()).expect("admit");
    let effects = fold.fold(None).expect("fold");
    assert_eq!(shape(&effects), [("a", 3, 0, Some("2"))]);
    assert!(effects.upserts[0].document.origins.is_empty());
}

//! Batches against a plain map that refuses some documents.

use super::super::{tests::*, *};
use crate::{
    apps::kv::Kv,
    ports::{EntityId, RefusedDocument},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A store that refuses a value that says so, guards as every store does, and keeps what it took.
#[derive(Default)]
struct Plain {
    held: BTreeMap<String, Document>,
    taken: Vec<Document>,
    rounds: u32,
    /// No two keys may hold one value.
    is_unique: bool,
}

fn is_bad(document: &Document) -> bool {
    document.value.as_ref().is_some_and(|value| value.text().contains("bad"))
}

impl Plain {
    fn write(&mut self, upserts: &[Upsert]) -> (usize, Vec<RefusedDocument>) {
        self.rounds += 1;
        let (mut taken, mut refused) = (0, Vec::new());
        for upsert in upserts {
            let new = &upsert.document;
            let key = new.key.to_string();
            if !upsert.applies_to(self.held.get(&key)) {
                continue;
            }
            let is_taken = |(other, held): (&String, &Document)| *other != key && held.value == new.value;
            if is_bad(new) || self.is_unique && self.held.iter().any(is_taken) {
                let id = EntityId { key: new.key.clone(), partial: new.partial };
                refused.push(RefusedDocument { id, poison: Poison::new(Reason::StoreRefused, "a rule") });
                continue;
            }
            self.taken.push(new.clone());
            self.held.insert(key, new.clone());
            taken += 1;
        }
        (taken, refused)
    }

    fn load(&self, ids: &[EntityId]) -> Vec<Document> {
        ids.iter().filter_map(|id| self.held.get(&*id.key).cloned()).collect()
    }

    /// A batch, as `write::run` takes it through; returns the letters by their place in the slice.
    fn take_in(&mut self, fold: &mut Fold<Kv>) -> Result<(Confirmed, Vec<(u64, Reason)>), Fault> {
        fold.admit(self.load(&fold.missing()))?;
        let mut effects = fold.fold(None)?;
        let mut letters = Vec::new();
        loop {
            let offset = |letter: &Letter| {
                letter.flight.slice.get(letter.index as usize).expect("a record").position.offset
            };
            letters.extend(effects.letters.iter().map(|letter| (offset(letter), letter.poison.reason)));
            if effects.upserts.is_empty() {
                return Ok((fold.confirm(), letters));
            }
            let ids: Vec<EntityId> = effects
                .upserts
                .iter()
                .map(|u| EntityId { key: u.document.key.clone(), partial: None })
                .collect();
            let (taken, refused) = self.write(&effects.upserts);
            effects = match taken == ids.len() {
                true => fold.go_on()?,
                false => fold.settle(self.load(&ids), refused)?,
            };
        }
    }
}

fn run(plain: &mut Plain, fold: &mut Fold<Kv>, rows: &[Row<'_>]) -> (Confirmed, Vec<(u64, Reason)>) {
    gather(fold, flight(0, 1, rows));
    plain.take_in(fold).expect("no fault")
}

const BAD: Option<&str> = Some("\"bad\"");

fn told(confirmed: &Confirmed) -> Vec<(&str, u64, u64)> {
    confirmed.changes.iter().map(|c| (&*c.document.key, c.document.version, c.covers)).collect()
}

#[test]
fn what_leads_to_a_refused_document_is_a_dead_letter_and_all_else_is_stored_in_order() {
    let (mut plain, mut fold) = (Plain::default(), fold());
    let rows = [
        (1, 1, "a", Some("1")),
        (2, 2, "b", Some("2")),
        (3, 3, "a", BAD),
        (4, 4, "c", BAD),
        (5, 5, "a", Some("{")),
        (6, 6, "b", Some("3")),
        (7, 7, "a", BAD),
    ];
    let (confirmed, mut letters) = run(&mut plain, &mut fold, &rows);
    letters.sort_unstable();
    let refused = Reason::StoreRefused;
    assert_eq!(letters, [(3, refused), (4, refused), (5, Reason::MalformedJson), (7, refused)]);
    assert_eq!(told(&confirmed), [("a", 1, 1), ("b", 2, 2)]);
    assert_eq!(confirmed.finished[0].poison, [2, 3, 4, 6], "they count toward the limit");
    assert_eq!((confirmed.counts.stored, confirmed.counts.conflicts), (3, 0));
    assert!(!plain.held.contains_key("c"));
    // What is held goes on from what is stored.
    let (confirmed, letters) = run(&mut plain, &mut fold, &[(8, 8, "a", Some("4")), (9, 9, "c", Some("5"))]);
    assert_eq!((letters.len(), told(&confirmed)), (0, vec![("a", 2, 1), ("c", 1, 1)]));
}

#[test]
fn one_bad_record_at_the_end_of_a_thousand_takes_few_rounds() {
    let (mut plain, mut fold) = (Plain::default(), fold());
    let mut rows: Vec<Row<'_>> = (1..1_000).map(|offset| (offset, 1, "a", Some("1"))).collect();
    rows.push((1_000, 1, "a", BAD));
    let (confirmed, letters) = run(&mut plain, &mut fold, &rows);
    assert_eq!(letters, [(1_000, Reason::StoreRefused)]);
    assert_eq!(told(&confirmed), [("a", 999, 999)]);
    assert!(plain.rounds < 40, "{}", plain.rounds);
}

#[test]
fn what_is_unique_may_go_from_key_to_key_within_a_batch() {
    let (mut plain, mut fold) = (Plain { is_unique: true, ..Plain::default() }, fold());
    let held =
        [(1, 1, "a", Some("1")), (2, 1, "b", Some("2")), (3, 1, "c", Some("3")), (4, 1, "d", Some("4"))];
    run(&mut plain, &mut fold, &held);
    // Each takes what the next one gives up, and the last one wants what nobody does.
    let rows =
        [(5, 2, "c", Some("2")), (6, 2, "b", Some("1")), (7, 2, "a", Some("0")), (8, 2, "d", Some("0"))];
    let (confirmed, letters) = run(&mut plain, &mut fold, &rows);
    assert_eq!(letters, [(8, Reason::StoreRefused)]);
    assert_eq!(told(&confirmed), [("c", 2, 1), ("b", 2, 1), ("a", 2, 1)]);
}

#[test]
fn a_condition_is_decided_as_if_the_bad_record_had_not_been() {
    let mut slice = Slice::new(0, 0);
    for (offset, wanted, value) in [(1, "0", "\"bad\""), (2, "1", "\"bad\""), (3, "0", "\"bad\"")] {
        let headers: [(&[u8], Option<&[u8]>); 1] = [(CONDITION_HEADER.as_bytes(), Some(wanted.as_bytes()))];
        slice.push(offset, 0, Some(b"a"), Some(value.as_bytes()), headers.into_iter());
    }
    let assignment = Arc::new(Assignment::new(1, 0));
    let (mut plain, mut fold) = (Plain::default(), fold());
    gather(&mut fold, Arc::new(Flight { slice, id: 0, assignment, permit: None }));
    let (confirmed, letters) = plain.take_in(&mut fold).expect("no fault");
    assert_eq!(letters, [(1, Reason::StoreRefused), (3, Reason::StoreRefused)]);
    assert_eq!(confirmed.counts.refused.get("precondition"), Some(&1), "the key was never at version 1");
}

#[test]
fn a_refusal_on_what_another_has_changed_meanwhile_is_decided_again() {
    let (mut plain, mut fold) = (Plain::default(), fold());
    gather(&mut fold, flight(0, 1, &[(7, 5, "a", BAD), (8, 6, "a", Some("1"))]));
    fold.admit(Vec::new()).expect("admit");
    fold.fold(None).expect("fold");
    // Somebody stored up to 0.0.7 of it under another rule: what we meant to insert is refused, and stale.
    plain.held.insert("a".into(), document("a", 0, 7, 4, 5));
    let poison = Poison::new(Reason::StoreRefused, "a rule");
    let refused = RefusedDocument { id: EntityId { key: "a".into(), partial: None }, poison };
    let effects = fold.settle(plain.load(std::slice::from_ref(&refused.id)), vec![refused]).expect("settle");
    assert!(effects.letters.is_empty());
    assert_eq!(shape(&effects), [("a", 5, 4, Some("1"))]);
}

#[test]
fn what_another_stored_is_told_where_only_bad_records_come_behind_it() {
    let (mut plain, mut fold) = (Plain::default(), fold());
    gather(&mut fold, flight(0, 1, &[(7, 5, "a", Some("1")), (8, 6, "a", BAD)]));
    fold.admit(Vec::new()).expect("admit");
    let effects = fold.fold(None).expect("fold");
    plain.held.insert("a".into(), document("a", 0, 7, 1, 5));
    assert_eq!(plain.write(&effects.upserts), (0, Vec::new()), "the guard comes first");
    let ids: Vec<EntityId> = fold.round();
    let mut effects = fold.settle(plain.load(&ids), Vec::new()).expect("settle");
    while !effects.upserts.is_empty() {
        let (_, refused) = plain.write(&effects.upserts);
        effects = fold.settle(plain.load(&ids), refused).expect("settle");
    }
    assert_eq!(effects.letters.len(), 1);
    assert_eq!(told(&fold.confirm()), [("a", 1, 0)]);
}

#[test]
fn a_slice_that_is_fenced_meanwhile_ends_the_rounds_without_letters() {
    let (mut plain, mut fold) = (Plain::default(), fold());
    let flight = flight(0, 1, &[(1, 1, "a", Some("1")), (2, 2, "a", BAD)]);
    gather(&mut fold, flight.clone());
    fold.admit(Vec::new()).expect("admit");
    let effects = fold.fold(None).expect("fold");
    let (_, refused) = plain.write(&effects.upserts);
    flight.assignment.fence();
    let effects = fold.settle(Vec::new(), refused).expect("settle");
    assert!(effects.letters.is_empty() && effects.upserts.is_empty());
    let confirmed = fold.confirm();
    assert_eq!((confirmed.counts.stored, confirmed.changes.len()), (0, 0));
}

/// Keeps a row of each record.
struct Noted;

impl App for Noted {
    type Event = String;
    type Entity = String;

    fn decode(&self, record: &crate::record::Record<'_>) -> Result<String, Poison> {
        Ok(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned())
    }

    fn step(&self, _: Option<String>, event: String, _: &crate::app::At<'_>) -> crate::app::Step<String> {
        let row = crate::app::Row::new("notes", "id", crate::document::Json::from_checked("1"));
        crate::app::Step { rows: vec![row], ..crate::app::Step::keep(event) }
    }
}

#[test]
fn a_record_whose_row_is_out_already_becomes_no_dead_letter() {
    let mut fold = Fold::new(Arc::new(Noted), settings());
    let flight = flight(0, 1, &[(1, 1, "a", BAD)]);
    fold.gather(flight, vec![0]);
    fold.admit(Vec::new()).expect("admit");
    assert_eq!(fold.fold(None).expect("fold").rows.len(), 1);
    let refused = RefusedDocument {
        id: EntityId { key: "a".into(), partial: None },
        poison: Poison::new(Reason::StoreRefused, "a rule"),
    };
    let fault = fold.settle(Vec::new(), vec![refused]).expect_err("a fault").to_string();
    assert!(fault.contains("entity a: ") && fault.contains("a rule"), "{fault}");
}

/// Key, kind of value, and whether a batch ends behind it.
fn records() -> impl Strategy<Value = Vec<(usize, u8, bool)>> {
    prop::collection::vec((0..3_usize, 0..10_u8, prop::bool::weighted(0.15)), 1..60)
}

proptest! {
    #[test]
    fn however_batches_are_cut_each_record_is_stored_or_has_one_letter(records in records()) {
        let (mut plain, mut fold) = (Plain::default(), fold());
        let texts: Vec<String> = (0..records.len()).map(|n| n.to_string()).collect();
        let rows: Vec<(Row<'_>, bool)> = records.iter().zip(&texts).enumerate().map(|(at, ((key, kind, cut), text))| {
            let value = match kind { 0..3 => BAD, 3 => Some("{"), 4 => None, _ => Some(text.as_str()) };
            ((at as u64 + 1, 1, ["a", "b", "c"][*key], value), *cut)
        }).collect();
        let (mut stored, mut covered) = (Vec::new(), BTreeMap::<String, u64>::new());
        for batch in rows.split_inclusive(|(_, cut)| *cut) {
            let batch: Vec<Row<'_>> = batch.iter().map(|(row, _)| *row).collect();
            let (confirmed, letters) = run(&mut plain, &mut fold, &batch);
            let mut by_letter: Vec<u64> = letters.iter().map(|(offset, _)| *offset).collect();
            by_letter.sort_unstable();
            let bad: Vec<u64> =
                confirmed.finished[0].poison.iter().map(|&index| batch[index as usize].0).collect();
            prop_assert_eq!(&by_letter, &bad, "one letter for each");
            for (offset, reason) in letters {
                let value = rows[offset as usize - 1].0.3;
                let wanted = if value == BAD { Reason::StoreRefused } else { Reason::MalformedJson };
                prop_assert_eq!(reason, wanted);
            }
            prop_assert_eq!(confirmed.counts.stored as usize + bad.len(), batch.len());
            let good: Vec<Row<'_>> = batch.iter().copied().filter(|row| !bad.contains(&row.0)).collect();
            // A bad value may stand between two of one batch, never at the end of one.
            for key in ["a", "b", "c"] {
                let last = good.iter().rev().find(|row| row.2 == key);
                prop_assert!(last.is_none_or(|row| row.3 != BAD));
            }
            for change in &confirmed.changes {
                *covered.entry(change.document.key.to_string()).or_default() += change.covers;
            }
            stored.extend(good);
        }
        prop_assert!(plain.taken.iter().all(|document| !is_bad(document)));
        for key in ["a", "b", "c"] {
            let of_key: Vec<_> = stored.iter().filter(|row| row.2 == key).collect();
            let held = plain.held.get(key);
            prop_assert_eq!(held.map_or(0, |held| held.version), of_key.len() as u64);
            prop_assert_eq!(covered.get(key).copied().unwrap_or(0), of_key.len() as u64);
            let value = held.and_then(|held| held.value.as_ref().map(|value| value.text()));
            prop_assert_eq!(value, of_key.last().and_then(|row| row.3));
            let versions: Vec<_> = plain.taken.iter().filter(|d| &*d.key == key).map(|d| d.version).collect();
            prop_assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        }
    }
}

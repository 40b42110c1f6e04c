//! The judgement at rest: everything is as a plain fold of the log has it, wherever one looks.

use super::{downstream, epochs, run::Run, strays, watch::Watcher, world::STREAM};
use crate::document::Document;
use std::collections::BTreeMap;

impl Run<'_> {
    pub(super) fn is_at_rest(&self) -> bool {
        let inner = self.world.inner();
        let ends: Vec<u64> = inner.log.iter().map(|partition| partition.len() as u64).collect();
        let idle = self.instances.iter().flatten().all(|instance| {
            instance.forgetting.is_none()
                && instance.registering.is_none()
                && instance.finished.is_empty()
                && instance.writers.iter().all(|writer| writer.task.is_none())
        });
        assert_eq!(inner.committed, ends, "what is committed is the end of the log");
        idle && self.producer.is_done()
    }

    pub(super) fn at_rest(&mut self) {
        let inner = self.world.inner();
        let expected = inner.model.at_rest();
        let poison = inner.model.fates.iter().filter(|(_, fate)| **fate == super::model::Fate::Poison);
        let poison: std::collections::BTreeSet<_> = poison.map(|(at, _)| *at).collect();
        let mut letters = BTreeMap::new();
        for letter in &inner.letters {
            let (partition, offset) = super::world::letter_at(letter);
            let at = (partition.parse::<u32>().expect("number"), offset.parse::<u64>().expect("number"));
            let rec = &inner.log[at.0 as usize][at.1 as usize];
            assert_eq!(
                (&letter.key, &letter.value),
                (&rec.key, &rec.value),
                "the bytes of a letter are the record's"
            );
            *letters.entry(at).or_insert(0) += 1;
        }
        assert_eq!(
            letters.keys().copied().collect::<std::collections::BTreeSet<_>>(),
            poison,
            "dead letters"
        );
        self.check_children(&inner);
        let (emitted, counted) = (inner.emitted.clone(), inner.model.counted.clone());
        drop(inner);
        let (again, late) = downstream::judge(&mut self.rng, &emitted, &counted);
        let mut inner = self.world.inner();
        (inner.seen.emitted_again, inner.seen.emitted_late) = (again, late);
        drop(inner);
        for (key, document) in &expected {
            let held = self.world.document(key);
            if epochs::is_lost(document, self.world.inner().identity) {
                continue; // it went with its topic, taken in or not
            }
            let document = &strays::at_rest(!self.world.is_exact(), document, held.as_ref());
            assert_eq!(&held, document, "{key} at rest");
        }
        for instance in self.instances.iter_mut().flatten() {
            let budget = instance.stream.shared.budget.available_permits();
            assert_eq!(budget, 4_096, "the budget is given back");
            for (key, document) in &expected {
                let shown = instance.stream.view.documents(key, &instance.stream.progress.owned);
                // A key that goes by another partition now is stored by whoever owns that one; others are not told, and
                // what they answer from memory grows old.
                if let Some(shown) = shown.filter(|_| self.world.is_exact()) {
                    let is_tombstone = |shown: &Document| document.is_none() && shown.value.is_none();
                    let is_right =
                        shown.first() == document.as_ref() || shown.first().is_some_and(is_tombstone);
                    assert!(is_right, "{key} as readers see it: {shown:?}, not {document:?}");
                }
            }
        }
        self.watchers_at_rest();
    }

    /// Rows and what was emitted.
    fn check_children(&self, inner: &super::world::Inner) {
        let ids: Vec<String> = inner.model.firsts.keys().cloned().collect();
        let found = crate::ports::Store::row_firsts(&self.world.memory, STREAM, super::tally::ROWS, &ids);
        let found = futures_util::FutureExt::now_or_never(found).expect("at once").expect("rows");
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), inner.model.firsts, "who was first");
        let mut emitted = BTreeMap::new();
        for record in &inner.emitted {
            let origin = record.headers.iter().find(|(name, _)| name == crate::origin::ORIGIN_HEADER);
            let origin = origin.and_then(|(_, value)| value.clone()).expect("an origin");
            let origin = String::from_utf8(origin).expect("text");
            let value = record.value.clone().expect("a value");
            let before = emitted.insert(origin.clone(), value.clone());
            assert!(before.is_none_or(|before| before == value), "{origin} is emitted with two meanings");
        }
        assert_eq!(emitted, inner.model.emits, "what is emitted");
    }

    fn watchers_at_rest(&mut self) {
        let resumed: usize = self.watchers.iter().map(Watcher::resumed).sum();
        self.world.inner().seen.resumed += resumed as u64;
        let told: u64 = self.watchers.iter().map(Watcher::told_forgotten).sum();
        self.world.inner().seen.told_forgotten = told;
        for at in 0..self.watchers.len() {
            let home = self.watchers[at].home;
            if !self.instances.iter().flatten().any(|instance| instance.id == home) {
                let instance = self.instances.iter_mut().flatten().next().expect("one is alive");
                self.watchers[at].move_to(&mut instance.stage, instance.id);
            }
        }
        let homes: Vec<u64> = self.watchers.iter().map(|watcher| watcher.home).collect();
        self.trace.push_back(format!("at rest: watchers at {homes:?}, partitions at {:?}", self.owner));
        for instance in self.instances.iter_mut().flatten() {
            instance.tell_news();
            let (mut here, others) = std::mem::take(&mut self.watchers)
                .into_iter()
                .partition(|watcher| watcher.home == instance.id);
            self.watchers = others;
            Watcher::at_rest(&mut here, &mut instance.stage);
            self.watchers.extend(here);
        }
    }
}

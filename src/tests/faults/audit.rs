//! The end: the log as it lies in Kafka, folded plainly, against what the store and the dead letters hold.

use super::{
    feed::{Sent, is_bad, is_forbidden},
    oracle::{Finding, Kind},
    watcher::Watcher,
};
use crate::{
    app::Reason,
    tests::e2e::ground::{Ground, Letter},
};
use bson::Document;
use futures_util::TryStreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Partition and offset.
type Place = (i64, i64);
/// Key and value.
type Bytes = (Vec<u8>, Option<Vec<u8>>);

/// What a key has to be: version, value, place of its last record.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    pub version: u64,
    pub value: Option<Value>,
    pub at: Place,
}

#[derive(Debug, Default)]
pub struct Truth {
    pub keys: BTreeMap<String, Entity>,
    /// The value of every version of each key, from the first.
    pub values: BTreeMap<String, Vec<Option<Value>>>,
    /// Bad records, with their bytes.
    pub bad: BTreeMap<Place, Bytes>,
    pub records: u64,
    /// Keys whose newest record so far is forbidden and has no letter.
    hidden: BTreeSet<String>,
}

impl Truth {
    /// Reads the whole topic. What was acknowledged has to lie there.
    pub async fn read(ground: &Ground, sent: &Sent) -> Truth {
        let (mut truth, mut there) = (Truth::default(), BTreeSet::new());
        let refused = refused(ground).await;
        for (partition, offset, letter) in ground.read_places(&ground.name).await {
            there.insert((partition as i32, offset));
            truth.records += 1;
            let (key, value) = (letter.key.unwrap_or_default(), letter.value);
            if is_bad(&key, value.as_deref()) {
                truth.bad.insert((partition, offset), (key, value));
                continue;
            }
            let is_forbidden = is_forbidden(value.as_deref());
            if refused.contains(&(partition, offset)) {
                assert!(is_forbidden, "{partition}.{offset} is refused, and no rule forbids it");
                truth.bad.insert((partition, offset), (key, value));
                continue;
            }
            let key = String::from_utf8(key).expect("text");
            // Of one batch the store sees what comes last of a key: what is forbidden may stand before it unseen.
            match is_forbidden {
                true => truth.hidden.insert(key.clone()),
                false => truth.hidden.remove(&key),
            };
            let version = truth.keys.get(&key).map_or(0, |was| was.version) + 1;
            let value: Option<Value> = value.map(|value| serde_json::from_slice(&value).expect("JSON"));
            truth.values.entry(key.clone()).or_default().push(value.clone());
            truth.keys.insert(key, Entity { version, value, at: (partition, offset) });
        }
        let lost: Vec<_> = sent.keys().filter(|at| !there.contains(at)).collect();
        assert!(lost.is_empty(), "acknowledged, and not in the log: {lost:?}");
        assert!(truth.hidden.is_empty(), "forbidden, newest, and without a letter: {:?}", truth.hidden);
        truth
    }

    /// What differs between the store and the truth.
    pub async fn differences(&self, ground: &Ground) -> Vec<Finding> {
        let found: Vec<Document> = ground.all().await.try_collect().await.expect("documents");
        let mut found: BTreeMap<String, Entity> = found.iter().map(entity).collect();
        let mut differences = Vec::new();
        for (key, right) in &self.keys {
            match found.remove(key) {
                Some(stored) if stored == *right => {}
                stored => {
                    let kind = match stored.as_ref().map_or(0, |stored| stored.version) {
                        version if version < right.version => Kind::Lost,
                        version if version > right.version => Kind::Doubled,
                        _ => Kind::Reordered,
                    };
                    let what = format!("{key} is stored as {stored:?} and has to be {right:?}");
                    differences.push(Finding { kind, what });
                }
            }
        }
        let strange = found.keys().map(|key| Finding::new(Kind::Doubled, format!("{key} was never sent")));
        differences.extend(strange);
        differences
    }

    /// Every bad record has a letter with its bytes, and nothing else has one. Returns how many were written twice, too.
    pub async fn letters(&self, ground: &Ground) -> (u64, Vec<Finding>) {
        let (mut letters, mut again) = (BTreeMap::new(), 0);
        for letter in ground.read_topic(&ground.dead_letters()).await {
            let bytes = (letter.key.clone().unwrap_or_default(), letter.value.clone());
            again += u64::from(letters.insert(place(&letter), bytes).is_some());
        }
        (again, difference(&letters, &self.bad))
    }

    /// Versions that this viewer was ever shown with another value than theirs.
    pub fn wrongly_shown(&self, watcher: &Watcher) -> Vec<Finding> {
        let shown = watcher.shown.lock().expect("shown");
        let right = |key: &str, version: u64| {
            self.values
                .get(key)?
                .get((version as usize).checked_sub(1)?)
                .map(|value| value.clone().unwrap_or_default())
        };
        let each = shown
            .versions
            .iter()
            .filter(|((key, version), value)| right(key, *version).as_ref() != Some(value));
        let told = each.map(|((key, version), value)| {
            format!(
                "a viewer was shown {key} at version {version} as {value}, which is {:?}",
                right(key, *version)
            )
        });
        told.map(|what| Finding::new(Kind::Reordered, what)).collect()
    }

    /// Whether this viewer shows what is true of its keys; of none: of all there are.
    pub fn is_shown(&self, watcher: &Watcher, keys: &[String]) -> Result<(), String> {
        let shown = watcher.shown.lock().expect("shown");
        let invented = shown.keys.keys().find(|key| !self.keys.contains_key(*key));
        if let Some(key) = invented {
            return Err(format!("{key} is shown, and was never stored"));
        }
        let all = keys.is_empty().then(|| self.keys.keys()).into_iter().flatten();
        for key in keys.iter().chain(all) {
            let Some(right) = self.keys.get(key) else { continue };
            let held = shown.keys.get(key);
            let value = held.map(|held| held.1.clone()).filter(|value| !value.is_null());
            // Who comes after a removal is shown that there is nothing.
            let is_right = match &right.value {
                None => value.is_none(),
                there => value == *there && held.is_some_and(|held| held.0 == right.version),
            };
            if !is_right {
                return Err(format!("{key} is shown as {held:?} and is {right:?}"));
            }
        }
        Ok(())
    }
}

fn header(letter: &Letter, name: &str) -> String {
    let found = letter.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.clone());
    String::from_utf8(found.expect("the header")).expect("text")
}

fn place(letter: &Letter) -> Place {
    let number = |name| header(letter, name).parse().expect("number");
    (number("statecast-dlq-partition"), number("statecast-dlq-offset"))
}

/// Places of the records whose documents the store refused, by their letters.
pub async fn refused(ground: &Ground) -> BTreeSet<Place> {
    let letters = ground.read_topic(&ground.dead_letters()).await;
    let is_refused = |letter: &&Letter| header(letter, "statecast-dlq-reason") == Reason::StoreRefused.code();
    letters.iter().filter(is_refused).map(place).collect()
}

/// Letters that are missing or have other bytes, and those that nobody expects.
fn difference(found: &BTreeMap<Place, Bytes>, right: &BTreeMap<Place, Bytes>) -> Vec<Finding> {
    let missing = right.iter().filter(|(at, bytes)| found.get(at) != Some(bytes)).map(|(at, _)| {
        Finding::new(Kind::Lost, format!("the bad record at {at:?} has no dead letter with its bytes"))
    });
    let more = found.keys().filter(|at| !right.contains_key(at));
    let more = more.map(|at| {
        Finding::new(Kind::Doubled, format!("the record at {at:?} has a dead letter, and was not bad"))
    });
    missing.chain(more).collect()
}

fn entity(document: &Document) -> (String, Entity) {
    let position = document.get_document("position").expect("position");
    let number = |name: &str| position.get_i64(name).expect(name);
    let value = document.get("value").filter(|value| value.as_null().is_none());
    let entity = Entity {
        version: document.get_i64("version").expect("version") as u64,
        value: value.map(|value| serde_json::to_value(value).expect("JSON")),
        at: (number("partition"), number("offset")),
    };
    (document.get_str("_id").expect("key").to_owned(), entity)
}

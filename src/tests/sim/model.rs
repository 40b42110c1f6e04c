//! What is right: a plain fold of the log, record by record, by somebody who wrote the records and so knows what each is.
//!
//! Not here: anything of the engine's own thinking.

use super::tally;
use crate::{
    document::{Document, Json},
    engine::fold::{CONDITION_HEADER, WAIT_HEADER},
    origin::lane_of,
    record::Position,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a record is, by who made it.
#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    Value,
    Remove,
    /// Known to be bad, whatever the state.
    Poison,
    /// Its key would hold what the store refuses.
    Forbidden,
}

/// A record as the log holds it.
#[derive(Debug, Clone)]
pub struct Rec {
    pub partition: u32,
    pub offset: u64,
    pub time_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// The version it is conditional on.
    pub condition: Option<u64>,
    /// The event's own id and its number, where the app counts events once.
    pub event: Option<(String, i64)>,
    /// Who waits for its outcome.
    pub waiter: Option<String>,
    pub intent: Intent,
    /// Which log it is of.
    pub epoch: u32,
}

impl Rec {
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, partition: self.partition, offset: self.offset }
    }

    pub fn headers(&self) -> Vec<(&'static [u8], Option<Vec<u8>>)> {
        let condition = self.condition.map(|version| Some(version.to_string().into_bytes()));
        let condition = condition.map(|value| (CONDITION_HEADER.as_bytes(), value));
        let waiter = self.waiter.clone().map(|waiter| (WAIT_HEADER.as_bytes(), Some(waiter.into_bytes())));
        condition.into_iter().chain(waiter).collect()
    }
}

/// What has to become of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Its key is this from here on.
    Stored(Box<Document>),
    Refused,
    Poison,
}

/// One record that a key took in.
#[derive(Debug)]
struct Link {
    position: Position,
    time_ms: i64,
    value: Option<Json>,
}

#[derive(Debug, Default)]
pub struct Model {
    pub entities: BTreeMap<String, Document>,
    /// What each key took in, in order.
    chains: BTreeMap<String, Vec<Link>>,
    /// Where each key stood when its tombstone was forgotten last: what comes after it begins anew.
    forgotten: BTreeMap<String, Position>,
    pub fates: BTreeMap<(u32, u64), Fate>,
    /// Who was first with an event id.
    pub firsts: BTreeMap<String, Position>,
    /// What is emitted, by its origin: always the same.
    pub emits: BTreeMap<String, Vec<u8>>,
    /// Ids of the events that each key counted, in order.
    pub counted: BTreeMap<String, Vec<String>>,
    sums: BTreeMap<String, i64>,
    seen: BTreeSet<String>,
}

impl Model {
    pub fn take(&mut self, rec: &Rec) {
        let fate = self.fate(rec);
        if let Fate::Stored(document) = &fate {
            let Document { position, value, .. } = (**document).clone();
            let chain = self.chains.entry(document.key.to_string()).or_default();
            chain.push(Link { position, time_ms: rec.time_ms, value });
            self.entities.insert(document.key.to_string(), (**document).clone());
        }
        self.fates.insert((rec.partition, rec.offset), fate);
    }

    /// Whether the key was removed at this version or after it.
    pub fn is_removed_since(&self, key: &str, version: u64) -> bool {
        self.fates.values().any(|fate| match fate {
            Fate::Stored(document) => {
                &*document.key == key && document.version >= version && document.value.is_none()
            }
            Fate::Refused | Fate::Poison => false,
        })
    }

    /// What a key is once it has taken in what stands at this position, after whatever was forgotten of it. `None`: nothing
    /// of it may be stored there, since it was forgotten there or further on.
    pub fn document_at(&self, key: &str, position: Position) -> Option<Document> {
        let floor = self.forgotten.get(key);
        let mut document: Option<Document> = None;
        let chain = self.chains.get(key)?.iter();
        for link in chain.skip_while(|link| floor.is_some_and(|floor| link.position.offset <= floor.offset)) {
            let live = document.as_ref().filter(|was| was.value.is_some());
            document = Some(Document {
                key: key.into(),
                partial: None,
                version: document.as_ref().map_or(0, |was| was.version) + 1,
                created_ms: live.map_or(link.time_ms, |was| was.created_ms),
                updated_ms: link.time_ms,
                position: link.position,
                value: link.value.clone(),
                origins: Default::default(),
            });
            if link.position == position {
                return document;
            }
        }
        None
    }

    /// Every key that ever took something in, and what it is in the end. `None`: it was forgotten.
    pub fn at_rest(&self) -> BTreeMap<String, Option<Document>> {
        let ends = self.entities.iter();
        ends.map(|(key, end)| (key.clone(), self.document_at(key, end.position))).collect()
    }

    pub fn forget(&mut self, key: &str, position: Position) {
        self.forgotten.insert(key.to_owned(), position);
    }

    pub fn was_forgotten(&self, key: &str) -> bool {
        self.forgotten.contains_key(key)
    }

    pub fn is_forgotten(&self, key: &str, partition: u32, offset: u64) -> bool {
        let floor = self.forgotten.get(key);
        floor.is_some_and(|floor| floor.partition == partition && floor.offset >= offset)
    }

    fn fate(&mut self, rec: &Rec) -> Fate {
        if rec.intent == Intent::Poison {
            return Fate::Poison;
        }
        let key = String::from_utf8(rec.key.clone().expect("a key")).expect("text");
        let was = self.entities.get(&key).cloned();
        let live = was.as_ref().filter(|was| was.value.is_some());
        if rec.condition.is_some_and(|wanted| wanted != live.map_or(0, |was| was.version)) {
            return Fate::Refused;
        }
        if rec.intent == Intent::Forbidden {
            return Fate::Poison;
        }
        let value = match rec.intent {
            Intent::Remove => {
                self.sums.remove(&key);
                None
            }
            _ => Some(Json::from_checked(&self.value(rec, &key))),
        };
        Fate::Stored(Box::new(Document {
            key: key.as_str().into(),
            partial: None,
            version: was.as_ref().map_or(0, |was| was.version) + 1,
            created_ms: live.map_or(rec.time_ms, |was| was.created_ms),
            updated_ms: rec.time_ms,
            position: rec.position(),
            value,
            origins: Default::default(),
        }))
    }

    fn value(&mut self, rec: &Rec, key: &str) -> String {
        let Some((id, n)) = &rec.event else {
            return String::from_utf8(rec.value.clone().expect("a value")).expect("text");
        };
        let sum = self.sums.entry(key.to_owned()).or_default();
        if self.seen.insert(id.clone()) {
            *sum += n;
            self.firsts.insert(id.clone(), rec.position());
            for index in 0..2 {
                let origin =
                    format!("kv/{}/{}/{index}/{}", rec.position(), lane_of(key.as_bytes()), tally::EMITS);
                self.emits.insert(origin, tally::emitted(id, *sum));
            }
            self.counted.entry(key.to_owned()).or_default().push(id.clone());
        }
        sum.to_string()
    }
}

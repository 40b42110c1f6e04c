//! What a write command did, read from its reply.
//!
//! Invariant: `ok: 1` alone is no confirmation. Errors of statements and of the write concern stand inside a reply that the
//! driver takes for a success; both are read here, and whatever is not counted did not take effect.
//! Not here: what a code means (`errors`).

use super::{errors, pack::Verb};
use crate::{app::Poison, ports::StoreError};
use bson::{Bson, Document};

/// Which document will never be taken, by its place among those asked for, and why.
pub type Refusal = (usize, Poison);

/// What came of the statements of one or more commands.
#[derive(Debug, Default, PartialEq)]
pub struct Taken {
    /// How many took effect and are durable.
    pub count: usize,
    /// No other statement failed.
    pub refused: Vec<Refusal>,
}

impl Taken {
    /// The count, where a document that is refused is a fault of ours.
    pub fn all(self) -> Result<usize, StoreError> {
        match self.refused.into_iter().next() {
            None => Ok(self.count),
            Some((_, poison)) => Err(StoreError::Refused(poison.detail)),
        }
    }
}

/// What a command did. A statement that failed for anything but its own document makes the whole an error: what is known
/// of the others then is not worth telling apart, since all of them are made again.
pub fn taken(verb: Verb, reply: &Document) -> Result<Taken, StoreError> {
    let mut refused = Vec::new();
    for error in list(reply, "writeErrors") {
        if is_duplicate_id(error) {
            continue;
        }
        let (code, name) = code_of(error);
        match (errors::of_document(code, name), count(error, "index")) {
            (Some(poison), Some(at)) => refused.push((at, poison)),
            _ => return Err(errors::of_code(code, name)),
        }
    }
    if let Ok(error) = reply.get_document("writeConcernError") {
        let (code, name) = code_of(error);
        return Err(errors::of_code(code, name));
    }
    let counted = count(reply, verb.counter());
    let count = counted
        .ok_or_else(|| StoreError::Unavailable(format!("MongoDB: its reply holds no {}", verb.counter())))?;
    Ok(Taken { count, refused })
}

fn list<'a>(reply: &'a Document, name: &str) -> impl Iterator<Item = &'a Document> {
    reply.get_array(name).into_iter().flatten().filter_map(Bson::as_document)
}

fn code_of(error: &Document) -> (i32, &str) {
    let code = count(error, "code").and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    (code, error.get_str("codeName").unwrap_or_default())
}

/// Somebody has written this id: our statement did not take effect, which the guard allows for. A unique index of the
/// user's own raises the same code, and would do so for ever; a reply that was cut short for its size leaves out which
/// index it was, and only ours is certain to be there.
fn is_duplicate_id(error: &Document) -> bool {
    let index = error.get_document("keyPattern").ok();
    count(error, "code") == usize::try_from(errors::DUPLICATE_KEY).ok()
        && index.is_none_or(|fields| fields.keys().all(|name| name == "_id"))
}

/// A number the server may write as any of its three kinds.
pub fn count(reply: &Document, name: &str) -> Option<usize> {
    match reply.get(name)? {
        Bson::Int32(n) => usize::try_from(*n).ok(),
        Bson::Int64(n) => usize::try_from(*n).ok(),
        Bson::Double(n) if *n >= 0.0 && n.fract() == 0.0 => Some(*n as usize),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Reason;
    use bson::doc;

    fn count_of(verb: Verb, reply: &Document) -> usize {
        taken(verb, reply).and_then(Taken::all).expect("taken")
    }

    #[test]
    fn inserts_count_n_and_updates_count_what_was_modified() {
        assert_eq!(count_of(Verb::Insert, &doc! { "ok": 1.0, "n": 7 }), 7);
        let reply = doc! { "ok": 1.0, "n": 7, "nModified": 5_i64 };
        assert_eq!(count_of(Verb::Update, &reply), 5);
        assert_eq!(count_of(Verb::Delete, &doc! { "n": 2.0 }), 2);
        assert!(matches!(taken(Verb::Update, &doc! { "ok": 1.0, "n": 7 }), Err(StoreError::Unavailable(_))));
    }

    #[test]
    fn an_id_that_is_there_did_not_take_effect() {
        let there = doc! { "index": 1, "code": 11_000, "keyPattern": { "_id": 1 } };
        let cut_short = doc! { "index": 2, "code": 11_000, "errmsg": "" };
        let reply = doc! { "ok": 1.0, "n": 1, "writeErrors": [there, cut_short] };
        assert_eq!(count_of(Verb::Insert, &reply), 1);
    }

    #[test]
    fn errors_inside_ok_are_errors() {
        let stepped_down = doc! { "index": 0, "code": 189, "codeName": "PrimarySteppedDown" };
        let ours = doc! { "index": 0, "code": 22, "codeName": "InvalidBSON" };
        let reply = |errors: Vec<Document>| doc! { "ok": 1.0, "n": 3, "nModified": 3, "writeErrors": errors };
        assert!(matches!(taken(Verb::Insert, &reply(vec![ours])), Err(StoreError::Refused(_))));
        let ill = reply(vec![doc! { "index": 1, "code": 121 }, stepped_down]);
        assert!(matches!(taken(Verb::Update, &ill), Err(StoreError::Unavailable(_))), "nothing is given up");
        let unplaced = reply(vec![doc! { "code": 121 }]);
        assert!(matches!(taken(Verb::Update, &unplaced), Err(StoreError::Refused(_))));
    }

    #[test]
    fn a_refused_document_is_told_by_its_place_without_its_contents() {
        let other_index = doc! { "index": 2, "code": 11_000, "keyPattern": { "value.email": 1 } };
        let too_large = doc! { "index": 0_i64, "code": 10_334, "errmsg": "user-1" };
        let reply = doc! { "ok": 1.0, "n": 3, "nModified": 1, "writeErrors": [too_large, other_index] };
        let Taken { count, refused } = taken(Verb::Update, &reply).expect("taken");
        let told: Vec<_> = refused.iter().map(|(at, poison)| (*at, poison.reason)).collect();
        assert_eq!((count, told), (1, vec![(0, Reason::TooLarge), (2, Reason::StoreRefused)]));
        assert!(refused.iter().all(|(_, poison)| !poison.detail.contains("user-1")), "{refused:?}");
        assert!(taken(Verb::Update, &reply).and_then(Taken::all).is_err(), "where nobody can take it apart");
    }

    #[test]
    fn a_majority_that_did_not_confirm_is_an_unknown_outcome() {
        let error = doc! { "code": 64, "codeName": "WriteConcernFailed", "errInfo": { "wtimeout": true } };
        let reply = doc! { "ok": 1.0, "n": 3, "nModified": 3, "writeConcernError": error };
        assert!(matches!(taken(Verb::Update, &reply), Err(StoreError::Unavailable(_))));
    }
}

//! What a write command did, read from its reply.
//!
//! Invariant: `ok: 1` alone is no confirmation. Errors of statements and of the write concern stand inside a reply that the
//! driver takes for a success; both are read here, and whatever is not counted did not take effect.
//! Not here: what a code means (`errors`).

use super::{errors, pack::Verb};
use crate::ports::StoreError;
use bson::{Bson, Document};

/// How many statements of a command took effect and are durable.
pub fn taken(verb: Verb, reply: &Document) -> Result<usize, StoreError> {
    for error in list(reply, "writeErrors") {
        if !is_duplicate_id(error) {
            return Err(of(error));
        }
    }
    if let Ok(error) = reply.get_document("writeConcernError") {
        return Err(of(error));
    }
    count(reply, verb.counter())
        .ok_or_else(|| StoreError::Unavailable(format!("MongoDB: its reply holds no {}", verb.counter())))
}

fn list<'a>(reply: &'a Document, name: &str) -> impl Iterator<Item = &'a Document> {
    reply.get_array(name).into_iter().flatten().filter_map(Bson::as_document)
}

fn of(error: &Document) -> StoreError {
    let code = count(error, "code").and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    errors::of_code(code, error.get_str("codeName").unwrap_or_default())
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
    use bson::doc;

    #[test]
    fn inserts_count_n_and_updates_count_what_was_modified() {
        assert_eq!(taken(Verb::Insert, &doc! { "ok": 1.0, "n": 7 }).expect("taken"), 7);
        let reply = doc! { "ok": 1.0, "n": 7, "nModified": 5_i64 };
        assert_eq!(taken(Verb::Update, &reply).expect("taken"), 5);
        assert_eq!(taken(Verb::Delete, &doc! { "n": 2.0 }).expect("taken"), 2);
        assert!(matches!(taken(Verb::Update, &doc! { "ok": 1.0, "n": 7 }), Err(StoreError::Unavailable(_))));
    }

    #[test]
    fn an_id_that_is_there_did_not_take_effect() {
        let there = doc! { "index": 1, "code": 11_000, "keyPattern": { "_id": 1 } };
        let cut_short = doc! { "index": 2, "code": 11_000, "errmsg": "" };
        let reply = doc! { "ok": 1.0, "n": 1, "writeErrors": [there, cut_short] };
        assert_eq!(taken(Verb::Insert, &reply).expect("taken"), 1);
    }

    #[test]
    fn errors_inside_ok_are_errors() {
        let other_index = doc! { "index": 0, "code": 11_000, "keyPattern": { "value.email": 1 } };
        let too_large = doc! { "index": 0, "code": 10_334, "errmsg": "user-1" };
        let stepped_down = doc! { "index": 0, "code": 189, "codeName": "PrimarySteppedDown" };
        let reply = |error: Document| doc! { "ok": 1.0, "n": 3, "nModified": 3, "writeErrors": [error] };
        assert!(matches!(taken(Verb::Insert, &reply(other_index)), Err(StoreError::Refused(_))));
        let refused = taken(Verb::Update, &reply(too_large)).expect_err("refused").to_string();
        assert!(refused.contains("16 MB") && !refused.contains("user-1"), "{refused}");
        assert!(matches!(taken(Verb::Update, &reply(stepped_down)), Err(StoreError::Unavailable(_))));
    }

    #[test]
    fn a_majority_that_did_not_confirm_is_an_unknown_outcome() {
        let error = doc! { "code": 64, "codeName": "WriteConcernFailed", "errInfo": { "wtimeout": true } };
        let reply = doc! { "ok": 1.0, "n": 3, "nModified": 3, "writeConcernError": error };
        assert!(matches!(taken(Verb::Update, &reply), Err(StoreError::Unavailable(_))));
    }
}

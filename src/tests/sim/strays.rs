//! Keys that come by several partitions, as when two producers choose the partition in two ways.
//!
//! Invariant: each partition's records go by their times here, so the newest of a key is known whatever came first; which
//! version that is, and when the key was made, hangs on which records were passed over.

use crate::document::Document;

/// What has to be stored where this is: the same state, with a version and a beginning of its own.
pub fn as_it_came(right: Document, stored: &Document) -> Document {
    assert!(stored.version <= right.version, "{stored:?} took in more than there was");
    Document { version: stored.version, created_ms: stored.created_ms, ..right }
}

/// What has to be there in the end of a key that is to be `document`.
pub fn at_rest(strays: bool, document: &Option<Document>, held: Option<&Document>) -> Option<Document> {
    match (document, held) {
        (Some(right), Some(held)) if strays => Some(as_it_came(right.clone(), held)),
        _ => document.clone(),
    }
}

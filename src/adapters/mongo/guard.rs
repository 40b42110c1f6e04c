//! The one update there is: which documents of a batch take the place of what, and when the server keeps what it holds.
//!
//! Invariant: the pipeline is one and the same for every batch, and decides for each document by itself what
//! `Upsert::applies_to` says, negated. All changes of a command are one statement and its constants, which costs the server
//! a fifth to a third less than a statement each: as much as replacing them without any guard.
//! Not here: what a document holds (`statements`), how many go together (`pack`).

use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use std::sync::LazyLock;

/// Finds the change of a document by its `_id`. Keeps the document if its version is not the one the change was folded
/// from, or if it is at or beyond the change: within one partition by position, across partitions by record time. The
/// server compares positions as whole documents, field by field in their order.
static PIPELINE: LazyLock<RawArrayBuf> = LazyLock::new(|| {
    let seen = rawdoc! { "$cond": [
        { "$eq": ["$position.partition", "$$change.to.position.partition"] },
        { "$gte": ["$position", "$$change.to.position"] },
        { "$gte": ["$time", "$$change.to.time"] },
    ] };
    let keep = rawdoc! { "$or": [{ "$ne": ["$version", "$$change.from"] }, seen] };
    let change = rawdoc! { "$arrayElemAt": ["$$changes", { "$indexOfArray": ["$$ids", "$_id"] }] };
    let decide = rawdoc! { "$let": {
        "vars": { "change": change },
        "in": { "$cond": [keep, "$$ROOT", "$$change.to"] },
    } };
    let mut stages = RawArrayBuf::new();
    stages.push(rawdoc! { "$replaceWith": decide });
    stages
});

/// The statement that makes these changes, each `{from, to}`, of the documents with these ids, in the same order. Constants
/// are taken as they are, whatever names they hold. Nothing is created: an absent document stays absent.
pub fn statement(ids: RawArrayBuf, changes: RawArrayBuf) -> RawDocumentBuf {
    rawdoc! {
        "q": { "_id": { "$in": ids.clone() } },
        "u": PIPELINE.clone(),
        "c": { "ids": ids, "changes": changes },
        "multi": true,
    }
}

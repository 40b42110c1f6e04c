//! One page of a stream's room: what was read, cut to its bytes, made exact by what was told while it was read.
//!
//! Invariant: of every key in the page's range the page shows the newest state told so far, so that whoever gets it needs
//! only what is told afterwards (join first, read second).
//! Not here: reading, and who may see which keys.

use super::{change::Change, many::Many};
use crate::{document::Shown, record::Key};
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// A page as a client gets it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    pub items: Vec<Arc<Change>>,
    /// The last key of its range; `None`: there are no further pages.
    pub upto: Option<Key>,
}

/// The history no longer reaches back to where the read began: the page has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outrun;

/// What was read: keys after `after`, in order, and whether there are more.
#[derive(Debug)]
pub struct Found {
    pub after: Option<Key>,
    pub items: Vec<Shown>,
    pub more: bool,
    /// The room's next number when the read began.
    pub began: u64,
}

/// Makes the page. At least one item comes, however large.
pub fn make(stream: &str, found: Found, room: &Many, bytes_max: usize) -> Result<Page, Outrun> {
    if !room.reaches_back_to(found.began) {
        return Err(Outrun);
    }
    let (mut items, upto) = cut(stream, found.items, found.more, bytes_max);
    let from = found.after.map_or(Bound::Unbounded, Bound::Excluded);
    let to = upto.clone().map_or(Bound::Unbounded, Bound::Included);
    for missed in room.told_from(found.began) {
        let change = missed.change;
        if !in_range(&change.key, &from, &to) {
            continue;
        }
        if items.get(&change.key).is_none_or(|item| is_newer(item, &change)) {
            items.insert(change.key.clone(), change);
        }
    }
    Ok(Page { items: items.into_values().filter(|change| !change.removed).collect(), upto })
}

type Items = BTreeMap<Key, Arc<Change>>;

fn cut(stream: &str, found: Vec<Shown>, more: bool, bytes_max: usize) -> (Items, Option<Key>) {
    let (mut items, mut bytes, mut last, mut whole) = (Items::new(), 0, None, true);
    for shown in found {
        let change = Change::of(stream, &shown);
        bytes += change.members.len();
        if bytes > bytes_max && !items.is_empty() {
            whole = false;
            break;
        }
        last = Some(change.key.clone());
        items.insert(change.key.clone(), change);
    }
    (items, if whole && !more { None } else { last })
}

fn is_newer(item: &Change, change: &Change) -> bool {
    use super::change::Step::{Anew, Newer};
    matches!(item.step(&change.positions, change.version, change.updated_ms), Newer | Anew)
}

fn in_range(key: &Key, from: &Bound<Key>, to: &Bound<Key>) -> bool {
    let after = match from {
        Bound::Excluded(from) => key > from,
        _ => true,
    };
    after
        && match to {
            Bound::Included(to) => key <= to,
            _ => true,
        }
}

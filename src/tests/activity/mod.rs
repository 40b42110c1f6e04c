//! User activity over the in-memory twin, through its HTTP door and through records of any producer.
//!
//! Invariant: what was sent is known here, so what is stored is compared with it and not with itself.

mod bench;
mod crossing;
mod door;
mod listing;
mod once;

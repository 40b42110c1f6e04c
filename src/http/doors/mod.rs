//! Doors: paths of single apps, beside what every stream has.
//!
//! Invariant: a door only reads what is asked for and shows what is there; what an event is and comes to is the app's, what
//! is stored the engine's. So apps know no HTTP.
//! Not here: which of these are open (the register of apps; those of `kv` always are).

pub mod activity;
pub mod agents;
pub mod kv;
pub mod logs;

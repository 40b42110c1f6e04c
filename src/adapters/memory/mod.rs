//! Log and store that live and die with this process: simulation and benchmarks.
//!
//! Invariant: they behave as the durable ones do in all but durability; the same suite says so.

mod log;
mod store;

pub use log::MemoryLog;
pub use store::MemoryStore;

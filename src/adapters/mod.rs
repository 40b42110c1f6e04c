//! Implementations of the ports.
//!
//! Invariant: each passes the behaviour suite of its port (`tests::contract`); the null store alone does not, by intent.

pub mod embedded;
pub mod group;
pub mod kafka;
pub mod memory;
pub mod mongo;
pub mod null;
pub mod socketio;

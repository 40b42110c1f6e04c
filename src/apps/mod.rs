//! The systems that run on the engine, one folder each.

pub mod kv;

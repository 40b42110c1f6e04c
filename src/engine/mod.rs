//! The engine: consumers, writers, broadcaster, and the generations they live in.

pub mod api;
pub mod news;

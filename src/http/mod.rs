//! The HTTP outside.

pub mod counted;
pub mod problem;

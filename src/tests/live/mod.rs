//! Live rooms and clients: the hub step by step, and real clients over real sockets.

mod calls;
mod elsewhere;
pub mod fake;
mod model;
mod pages;
mod resume;
mod said;
mod served;
mod slow;
mod sockets;
mod sse;
pub mod stage;
mod truth;
pub mod viewer;

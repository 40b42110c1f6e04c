//! Live rooms and clients: the hub step by step, and real clients over real sockets.

mod calls;
mod elsewhere;
mod fake;
mod model;
mod resume;
mod served;
mod slow;
mod sockets;
mod sse;
mod stage;
mod viewer;

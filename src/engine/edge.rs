//! The only way to send a message between actors.
//!
//! Invariant: records go by `Edge::offer`, which respects the mailbox's capacity and gives a refused message back, so
//! that the sender holds it and pulls no more. Control goes by `order`: bounded by nature (one per slice, tick or
//! rebalance), never records.
//! Why a file of its own: in actix 0.13 only `try_send` on one long-lived address respects the capacity; `send`,
//! `do_send` and any fresh clone do not. Clippy bans all of them elsewhere.

use actix::{
    Actor, Addr, Handler, Message, Recipient,
    dev::{MessageResponse, ToEnvelope},
    prelude::SendError,
};

/// A lossless edge to one actor. Keep it: a fresh clone has a free slot of its own.
#[derive(Debug)]
pub struct Edge<M: Message + Send>
where
    M::Result: Send,
{
    to: Recipient<M>,
}

/// A message that was not taken, given back.
#[derive(Debug)]
pub enum Refused<M> {
    /// The mailbox is full: hold it, try later.
    Full(M),
    /// The actor is gone: its generation is ending.
    Gone(M),
}

impl<M> Edge<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub fn new(to: Recipient<M>) -> Self {
        Edge { to }
    }

    #[allow(clippy::disallowed_methods)] // the one place
    pub fn offer(&self, message: M) -> Result<(), Refused<M>> {
        self.to.try_send(message).map_err(|error| match error {
            SendError::Full(message) => Refused::Full(message),
            SendError::Closed(message) => Refused::Gone(message),
        })
    }

    pub fn is_connected(&self) -> bool {
        self.to.connected()
    }
}

/// Gives a control message to an actor; one that is gone takes nothing, and its generation's end tells who waits.
#[allow(clippy::disallowed_methods)] // the one place
pub fn order<A, M>(to: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: MessageResponse<A, M> + Send,
{
    to.do_send(message);
}

/// As `order`, to whoever takes this message.
#[allow(clippy::disallowed_methods)] // the one place
pub fn tell<M>(to: &Recipient<M>, message: M)
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    to.do_send(message);
}

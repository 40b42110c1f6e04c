//! One Socket.IO client's outgoing side.
//!
//! Invariant: a packet's JSON is handed on as it is, encoded once for all who get it.
//! Not here: calls (`calls`), measuring (`line`).

use super::line::Line;
use crate::engine::{
    live::{Listener, Undelivered},
    packet::Packet,
};
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::{SendError, SocketError, TransportType, extract::SocketRef};
use std::sync::Arc;

pub struct SocketListener {
    socket: SocketRef,
    line: Arc<Line>,
}

impl SocketListener {
    pub fn new(socket: SocketRef, line: Arc<Line>) -> Self {
        SocketListener { socket, line }
    }

    /// Hands an event on. `bytes`: of its arguments' JSON.
    fn emit(&self, event: &str, arguments: &impl Serialize, bytes: usize) -> Result<usize, Undelivered> {
        match self.socket.emit(event, arguments) {
            Ok(()) => {
                // 42["EVENT",ARGUMENTS]
                Ok(self.line.handed(event.len() + bytes + 7))
            }
            Err(SendError::Socket(SocketError::InternalChannelFull)) => Err(Undelivered::Full),
            Err(SendError::Socket(SocketError::Closed)) => Err(Undelivered::Closed),
            Err(SendError::Serialize(error)) => {
                tracing::error!(event, %error, "packet not encoded");
                Ok(0)
            }
        }
    }

    fn emit_text(&self, event: &str, json: String) -> Result<usize, Undelivered> {
        match RawValue::from_string(json) {
            Ok(raw) => self.emit(event, &(&*raw,), raw.get().len()),
            Err(error) => {
                tracing::error!(event, %error, "packet is no JSON");
                Ok(0)
            }
        }
    }
}

impl Listener for SocketListener {
    fn send(&self, packet: Packet<'_>) -> Result<usize, Undelivered> {
        match packet {
            Packet::Changes(changes) => match changes.arguments() {
                Some((items, None)) => self.emit("changes", &(items,), items.get().len()),
                Some((items, Some(positions))) => {
                    let bytes = items.get().len() + positions.get().len() + 1;
                    self.emit("changes", &(items, positions), bytes)
                }
                None => {
                    tracing::error!("changes are no JSON");
                    Ok(0)
                }
            },
            Packet::Resync(snapshot, reason) => self.emit_text("resync", snapshot.resync_json(reason)),
            Packet::Heartbeat(heartbeat) => self.emit_text("heartbeat", heartbeat.rooms_json()),
            Packet::Goodbye { reason, retry_ms } => {
                self.emit_text("goodbye", crate::engine::packet::goodbye_json(reason, retry_ms))
            }
        }
    }

    fn unsent_bytes(&self) -> usize {
        self.line.unsent_bytes()
    }

    fn is_open(&self) -> bool {
        self.socket.connected() && !self.line.is_ended()
    }

    fn is_given_up(&self) -> bool {
        self.line.is_given_up()
    }

    /// The connection is cut rather than the namespace left, since a stock client comes back only from the former. Where
    /// nobody counts it, nobody can cut it either.
    fn close(&self) {
        self.line.end();
        if self.line.is_uncounted()
            && let Err(error) = self.socket.clone().disconnect()
        {
            tracing::debug!(%error, "client not disconnected");
        }
    }

    fn transport(&self) -> &'static str {
        match self.socket.transport_type() {
            TransportType::Websocket => "websocket",
            TransportType::Polling => "polling",
        }
    }
}

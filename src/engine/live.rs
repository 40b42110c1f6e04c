//! The handle to everything live: whoever speaks to clients holds it, and nothing else of the broadcaster.
//!
//! Invariant: calls of one client are answered in the order they were made, and a call that finds no room is refused at
//! once; nobody ever waits here.
//! Not here: rooms and clients (`broadcaster`), transports (`adapters::socketio`, `http::stream`).

use super::packet::{Packet, Paged, Subscribed};
use crate::clock;
use rustc_hash::FxHashMap;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A live client, by a number that is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(pub u64);

/// One client's outgoing side.
pub trait Listener: Send + Sync + 'static {
    /// Hands one packet to the transport, never waiting; returns the bytes handed.
    fn send(&self, packet: Packet<'_>) -> Result<usize, Undelivered>;

    /// Bytes handed over that the client's side has not taken yet.
    fn unsent_bytes(&self) -> usize;

    fn is_open(&self) -> bool;

    /// The system has given the connection up, since its peer acknowledged nothing.
    fn is_given_up(&self) -> bool {
        false
    }

    /// Ends the connection under the client, so that it comes back; never waits.
    fn close(&self);

    /// The label of its metrics.
    fn transport(&self) -> &'static str;

    /// For a transport on which the client cannot ask for pages: how they are sent by themselves.
    fn pages(&self) -> Option<Reply<Paged>> {
        None
    }
}

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// No place now: it waits.
    Full,
    Closed,
}

/// Answers a call; returns the bytes handed over.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Refusal>) -> usize + Send>;

/// Why a call was not carried out. Nothing of it took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Parts of the call are wrong; each is named.
    Invalid(Vec<Wrong>),
    /// The store is away, and not all of it is held in memory: come back.
    StoreAway,
    /// More calls wait than may, of this client or of all.
    Busy,
    /// As many clients as there may be.
    Full,
    /// The client is in no such room.
    NotIn(String),
    /// The room changed faster than it could be read: ask again.
    Outrun,
    /// The service stops.
    Stopping,
    /// Our own fault.
    Internal,
}

/// A part of a call that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The part: `rooms[1]`, `since.kv/user-1`, `after`.
    pub field: String,
    /// What is wrong with it, and what it is.
    pub detail: String,
    pub kind: WrongKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongKind {
    /// There is no such room.
    Unknown,
    /// It is not what it has to be.
    Malformed,
}

/// Rooms, and where the client stands in them.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub rooms: Vec<String>,
    /// Positions by room; rooms that are not asked for are passed over.
    pub since: FxHashMap<String, String>,
}

/// What a client asks for.
pub enum Call {
    Subscribe { wanted: Wanted, reply: Reply<Subscribed> },
    Page { room: String, after: Option<String>, reply: Reply<Paged> },
    Unsubscribe { rooms: Vec<String>, reply: Reply<()> },
}

impl Call {
    /// Bytes it takes while it waits.
    pub fn bytes(&self) -> usize {
        match self {
            Call::Subscribe { wanted, .. } => {
                let since: usize = wanted.since.iter().map(|(room, at)| room.len() + at.len() + 64).sum();
                wanted.rooms.iter().map(|room| room.len() + 24).sum::<usize>() + since
            }
            Call::Page { room, after, .. } => room.len() + after.as_ref().map_or(0, String::len),
            Call::Unsubscribe { rooms, .. } => rooms.iter().map(|room| room.len() + 24).sum(),
        }
    }

    pub fn refuse(self, refusal: Refusal) -> usize {
        match self {
            Call::Subscribe { reply, .. } => reply(Err(refusal)),
            Call::Page { reply, .. } => reply(Err(refusal)),
            Call::Unsubscribe { reply, .. } => reply(Err(refusal)),
        }
    }
}

/// What reaches the broadcaster.
pub enum Order {
    Connect {
        client: ClientId,
        listener: Arc<dyn Listener>,
    },
    Call {
        client: ClientId,
        call: Call,
    },
    Disconnect {
        client: ClientId,
    },
    /// Every client is told that the service stops.
    Goodbye {
        reason: String,
        done: oneshot::Sender<()>,
    },
    /// Every client is closed.
    Close {
        done: oneshot::Sender<()>,
    },
}

/// Between a goodbye and the close, so that it gets out.
const GOODBYE_GRACE: Duration = Duration::from_millis(250);

/// Counts for the pipeline page; metrics say the rest.
#[derive(Debug, Default)]
pub struct Stats {
    pub clients: AtomicUsize,
    pub rooms: AtomicUsize,
    pub remembered_bytes: AtomicUsize,
    pub packets: AtomicU64,
    pub changes: AtomicU64,
    pub conflated: AtomicU64,
    pub resyncs: AtomicU64,
    pub removed: AtomicU64,
    /// When the broadcaster last showed itself, in ms since 1970: a watchdog looks at it.
    pub seen_ms: AtomicI64,
}

/// The handle.
#[derive(Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

struct Inner {
    orders: mpsc::Sender<Order>,
    stats: Arc<Stats>,
    clients_max: usize,
    next: AtomicU64,
    stopping: AtomicBool,
    /// Every client was told goodbye, or there was no time for it.
    stopped: CancellationToken,
}

impl Live {
    pub(super) fn new(orders: mpsc::Sender<Order>, stats: Arc<Stats>, clients_max: usize) -> Self {
        let (next, stopping) = (AtomicU64::new(1), AtomicBool::new(false));
        let stopped = CancellationToken::new();
        Live { inner: Arc::new(Inner { orders, stats, clients_max, next, stopping, stopped }) }
    }

    /// Takes a client in; from now on its listener is told what its rooms change to.
    pub fn connect(&self, listener: Arc<dyn Listener>) -> Result<ClientId, Refusal> {
        if self.inner.stopping.load(Ordering::Acquire) {
            return Err(Refusal::Stopping);
        }
        let clients = &self.inner.stats.clients;
        if clients.fetch_add(1, Ordering::AcqRel) >= self.inner.clients_max {
            clients.fetch_sub(1, Ordering::AcqRel);
            return Err(Refusal::Full);
        }
        let client = ClientId(self.inner.next.fetch_add(1, Ordering::Relaxed));
        self.inner.orders.try_send(Order::Connect { client, listener }).map_err(|error| {
            clients.fetch_sub(1, Ordering::AcqRel);
            refusal(&error)
        })?;
        Ok(client)
    }

    /// Joins rooms, all or none. The answer comes before the first change of any of them.
    pub fn subscribe(&self, client: ClientId, wanted: Wanted, reply: Reply<Subscribed>) {
        self.call(client, Call::Subscribe { wanted, reply });
    }

    /// The page of a stream's room after `after`.
    pub fn page(&self, client: ClientId, room: String, after: Option<String>, reply: Reply<Paged>) {
        self.call(client, Call::Page { room, after, reply });
    }

    /// Leaves rooms; those it is not in are passed over.
    pub fn unsubscribe(&self, client: ClientId, rooms: Vec<String>, reply: Reply<()>) {
        self.call(client, Call::Unsubscribe { rooms, reply });
    }

    fn call(&self, client: ClientId, call: Call) {
        let Err(error) = self.inner.orders.try_send(Order::Call { client, call }) else { return };
        let refusal = refusal(&error);
        if let Order::Call { call, .. } = error.into_inner() {
            call.refuse(refusal);
        }
    }

    /// Forgets a client. Should this order find no place, the broadcaster sees by itself that the listener is closed.
    pub fn disconnect(&self, client: ClientId) {
        if self.inner.orders.try_send(Order::Disconnect { client }).is_err() {
            tracing::debug!(client = client.0, "disconnect left to the sweep");
        }
    }

    /// Tells every client that the service stops, and closes them; returns when that is done. New clients are refused.
    pub async fn goodbye(&self, reason: &str) {
        self.inner.stopping.store(true, Ordering::Release);
        let _stopped = self.inner.stopped.clone().drop_guard();
        let reason = reason.to_owned();
        self.wait(|done| Order::Goodbye { reason, done }).await;
        tokio::time::sleep(GOODBYE_GRACE).await;
        self.wait(|done| Order::Close { done }).await;
    }

    /// Waits until every client was told goodbye, or there was no time for it: whoever comes now comes for nothing.
    pub async fn stopped(&self) {
        self.inner.stopped.cancelled().await;
    }

    async fn wait(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, carried_out) = oneshot::channel();
        if self.inner.orders.send(order(done)).await.is_ok() {
            // An error says that the broadcaster is gone: then there is nobody left.
            carried_out.await.ok();
        }
    }

    /// Whether the broadcaster is gone: while anybody holds this, only a panic ends it.
    pub fn is_gone(&self) -> bool {
        self.inner.orders.is_closed()
    }

    /// How long the broadcaster has not shown itself: a wedge in it must not go unseen.
    pub fn silent_ms(&self) -> u64 {
        match self.inner.stats.seen_ms.load(Ordering::Relaxed) {
            0 => 0,
            seen => (clock::steady_ms() - seen).max(0) as u64,
        }
    }

    pub fn stats(&self) -> &Stats {
        &self.inner.stats
    }
}

fn refusal<T>(error: &mpsc::error::TrySendError<T>) -> Refusal {
    match error {
        mpsc::error::TrySendError::Full(_) => Refusal::Busy,
        mpsc::error::TrySendError::Closed(_) => Refusal::Stopping,
    }
}

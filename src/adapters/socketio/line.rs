//! What one Socket.IO session has been handed and has taken, whatever carries it.
//!
//! Invariant: unsent bytes are handed minus taken, and both start over when nothing is unsent, so that what is not
//! counted (pings, headers) never adds up. On a websocket taken is what the kernel took; on polling it is what was
//! answered before the client asked again, since it asks only when it has the answer.
//! Not here: what may be handed over (`engine::clients::pace`).

use crate::http::counted::Counter;
use dashmap::DashMap;
use socketioxide::socket::Sid;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// The line of one session.
#[derive(Debug, Default)]
pub struct Line {
    state: Mutex<State>,
    ended: AtomicBool,
    /// Woken when the line ends, for polls that wait.
    end: Notify,
}

#[derive(Debug, Default)]
struct State {
    handed: u64,
    /// Answered to polls.
    answered: u64,
    /// Of that, what a later poll has confirmed.
    confirmed: u64,
    socket: Option<Socket>,
    /// The connection the last poll came by.
    polled: Option<Arc<Counter>>,
    /// Nobody counts what is written.
    uncounted: bool,
}

#[derive(Debug)]
struct Socket {
    counter: Arc<Counter>,
    /// What had been written before the session was on it.
    before: u64,
}

impl State {
    fn taken(&self) -> u64 {
        match &self.socket {
            Some(socket) => self.answered + socket.counter.written().saturating_sub(socket.before),
            None => self.confirmed,
        }
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session is on a websocket now.
    pub fn on_websocket(&self, counter: &Arc<Counter>) {
        let socket = Socket { counter: counter.clone(), before: counter.written() };
        self.state().socket = Some(socket);
    }

    /// The session is on a websocket whose connection nobody counts.
    pub fn on_uncounted_websocket(&self) {
        self.state().uncounted = true;
    }

    pub fn is_on_websocket(&self) -> bool {
        self.state().socket.is_some()
    }

    pub fn is_uncounted(&self) -> bool {
        self.state().uncounted
    }

    /// A poll came: the client has whatever was answered before.
    pub fn poll_began(&self, counter: Option<&Arc<Counter>>) {
        let mut state = self.state();
        state.confirmed = state.answered;
        state.polled = counter.cloned();
    }

    pub fn poll_answered(&self, bytes: u64) {
        self.state().answered += bytes;
    }

    /// A message of so many bytes was handed over; returns what it takes on the line. Never more than that: what is
    /// counted and never taken would add up.
    pub fn handed(&self, bytes: usize) -> usize {
        let mut state = self.state();
        let bytes = if state.socket.is_some() { framed(bytes) } else { bytes };
        state.handed += bytes as u64;
        bytes
    }

    pub fn unsent_bytes(&self) -> usize {
        let mut state = self.state();
        let taken = if state.uncounted { state.handed } else { state.taken() };
        if state.handed <= taken {
            state.handed = taken;
        }
        (state.handed - taken) as usize
    }

    /// The system has ended what carries the session.
    pub fn is_given_up(&self) -> bool {
        let state = self.state();
        let carries = state.socket.as_ref().map(|socket| &socket.counter).or(state.polled.as_ref());
        carries.is_some_and(|counter| counter.is_given_up())
    }

    /// Ends what carries the session, so that its client comes back with a new one.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let state = self.state();
        match (&state.socket, &state.polled) {
            (Some(socket), _) => socket.counter.cut(),
            // A browser has other requests on that connection; only one that takes no answers is cut.
            (None, Some(polled)) if state.answered > state.confirmed => polled.cut(),
            (None, _) => {}
        }
        drop(state);
        self.end.notify_waiters();
    }

    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits until the line ends.
    pub async fn ended(&self) {
        let end = self.end.notified();
        if !self.is_ended() {
            end.await;
        }
    }
}

/// The lines of all sessions.
#[derive(Debug, Default, Clone)]
pub struct Lines {
    by_sid: Arc<DashMap<Sid, Arc<Line>>>,
    /// Websockets of sessions that have no line yet: a client may upgrade before it joins the namespace.
    early: Arc<DashMap<Sid, Weak<Counter>>>,
}

/// So many early websockets are kept before those that are gone are swept out.
const EARLY_SWEEP: usize = 1024;

impl Lines {
    /// The line of a session that joins, on the websocket it has upgraded to, if any.
    pub fn add(&self, sid: Sid) -> Arc<Line> {
        let line = self.by_sid.entry(sid).or_default().clone();
        self.settle_early(sid, &line);
        line
    }

    /// The session is about to be on this websocket, whether it has a line already or not.
    pub fn upgrade(&self, sid: Sid, counter: &Arc<Counter>) {
        if self.early.len() >= EARLY_SWEEP {
            self.early.retain(|_, counter| counter.strong_count() > 0);
        }
        // Laid down before the line is looked for, as `add` makes the line before it looks here: one of both finds it.
        self.early.insert(sid, Arc::downgrade(counter));
        if let Some(line) = self.get(sid) {
            self.settle_early(sid, &line);
        }
    }

    fn settle_early(&self, sid: Sid, line: &Line) {
        if let Some(counter) = self.early.remove(&sid).and_then(|(_, counter)| counter.upgrade()) {
            line.on_websocket(&counter);
        }
    }

    pub fn get(&self, sid: Sid) -> Option<Arc<Line>> {
        self.by_sid.get(&sid).map(|line| line.clone())
    }

    pub fn remove(&self, sid: Sid) {
        self.by_sid.remove(&sid);
    }
}

/// Bytes of a text message in a websocket frame from a server.
fn framed(bytes: usize) -> usize {
    bytes
        + match bytes {
            0..126 => 2,
            126..65_536 => 4,
            _ => 10,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_polling_an_answer_counts_as_taken_when_the_client_asks_again() {
        let line = Line::default();
        line.poll_began(None);
        line.handed(100);
        assert_eq!(line.unsent_bytes(), 100);
        line.poll_answered(102);
        assert_eq!(line.unsent_bytes(), 100, "the answer may never arrive");
        line.poll_began(None);
        assert_eq!(line.unsent_bytes(), 0);
        line.handed(50);
        assert_eq!(line.unsent_bytes(), 50, "what was counted too much does not add up");
    }

    #[test]
    fn whatever_was_written_was_handed_over_byte_by_byte() {
        let (line, counter) = (Line::default(), Arc::<Counter>::default());
        line.on_websocket(&counter);
        assert_eq!(
            [100, 125, 126, 65_535, 65_536].map(|bytes| line.handed(bytes)),
            [102, 127, 130, 65_539, 65_546]
        );
    }

    #[test]
    fn what_waited_for_a_poll_goes_by_the_websocket_after_an_upgrade() {
        let line = Line::default();
        line.poll_began(None);
        line.handed(100);
        line.poll_answered(40);
        line.on_websocket(&Arc::default());
        assert_eq!(line.unsent_bytes(), 60);
    }

    #[test]
    fn a_session_that_upgrades_before_it_joins_is_counted_on_its_websocket() {
        let (lines, sid, socket) = (Lines::default(), Sid::default(), Arc::<Counter>::default());
        lines.upgrade(sid, &socket);
        assert!(lines.add(sid).is_on_websocket());
        assert!(lines.early.is_empty(), "nothing is left behind");
        let (lines, other) = (Lines::default(), Arc::<Counter>::default());
        let line = lines.add(sid);
        assert!(!line.is_on_websocket());
        lines.upgrade(sid, &other);
        assert!(line.is_on_websocket() && lines.early.is_empty());
    }

    #[test]
    fn websockets_that_never_join_do_not_add_up() {
        let lines = Lines::default();
        for _ in 0..3 * EARLY_SWEEP {
            lines.upgrade(Sid::new(), &Arc::default());
        }
        assert!(lines.early.len() <= EARLY_SWEEP);
    }

    #[tokio::test]
    async fn who_waits_hears_of_the_end_before_and_after() {
        let line = Arc::new(Line::default());
        let waiting = tokio::spawn({
            let line = line.clone();
            async move { line.ended().await }
        });
        tokio::task::yield_now().await;
        line.end();
        waiting.await.expect("woken");
        line.ended().await;
    }
}

//! Rooms that show a whole stream, made away from writers and readers: a board, a memo of what each room shows, a beat.
//!
//! Invariant: a writer only lays confirmed documents down (newest per entity, bounded in bytes), and only while somebody
//! asks; a reader takes what was made last and waits only where nobody has looked for a while. What is made anew is told as
//! news. While all partitions are ours the board is as new as the store; what others own is read from the store once a
//! second (semantics 12, 18). The age of what is shown counts from when it was last known to be all the store has (28).
//! Not here: what a room shows (`App::room`), rooms of a part of a stream (`read`).

#[cfg(test)]
mod tests;

use super::{
    api::{Read, ReadError},
    board::{self, KeptBoard},
    news::{News, NewsKind},
    progress::lock,
    stream::Stream,
};
use crate::{
    clock,
    document::{Document, Shown},
    metrics,
    ports::Scan,
    record::Key,
};
use futures_util::FutureExt;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// Between two looks: a change is shown within this, and a busy stream costs so many looks a second.
const LOOK_GAP: Duration = Duration::from_millis(30);
/// A window slides without a record.
const SLIDE: Duration = Duration::from_secs(1);
/// Between two looks at whether somebody asks again; who asks wakes it, so this bounds only what is kept for nobody.
const UNASKED_GAP: Duration = Duration::from_secs(5);
/// Nobody asked for so long: nothing is made until somebody does.
const ASKED_MS: i64 = 60_000;
/// Older than this, what was made last is made anew before it is shown.
const MEMO_MS: i64 = 1_500;
/// How long a reader waits for a look.
const READ_MAX: Duration = Duration::from_secs(5);
/// Documents in one page of a scan.
const SCAN_PAGE: usize = 1_000;

/// What the rooms of one stream show.
pub struct AppRooms {
    waiting: Mutex<Waiting>,
    wake: Notify,
    asked_ms: AtomicI64,
    memo: watch::Sender<Memo>,
    board_bytes: AtomicUsize,
    board_bytes_max: usize,
    waiting_bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    documents: FxHashMap<(Key, Option<u32>), Document>,
    /// Of all of them, counted as on the board.
    bytes: usize,
    /// Of those on their way to the board now: they count toward the bound until they are there.
    leaving_bytes: usize,
    /// Something was not kept: the store has it.
    gapped: bool,
}

impl Waiting {
    fn take(&mut self, document: &Document, bytes_max: usize) {
        let id = (document.key.clone(), document.partial);
        let was = self.documents.get(&id).map_or(0, board::size);
        let bytes = self.bytes - was + board::size(document);
        if bytes + self.leaving_bytes > bytes_max {
            self.gapped = true;
            return;
        }
        self.bytes = bytes;
        self.documents.insert(id, document.clone());
    }

    /// Everything that waits, to be taken in now.
    fn leave(&mut self) -> Waiting {
        let waiting = std::mem::take(self);
        self.leaving_bytes = waiting.bytes;
        waiting
    }
}

/// What was made last.
#[derive(Clone, Default)]
struct Memo {
    rooms: FxHashMap<Key, Shown>,
    /// 0: never.
    made_ms: i64,
    /// When it was last known that the store has nothing newer.
    known_ms: i64,
    /// Why nothing newer could be made.
    failed: Option<String>,
}

impl AppRooms {
    /// Bytes of the entities on the board, and of those that wait for it.
    pub fn new(board_bytes_max: usize, waiting_bytes_max: usize) -> Self {
        let (memo, _) = watch::channel(Memo::default());
        AppRooms {
            waiting: Mutex::default(),
            wake: Notify::new(),
            asked_ms: AtomicI64::new(0),
            memo,
            board_bytes: AtomicUsize::new(0),
            board_bytes_max,
            waiting_bytes_max,
        }
    }

    /// Lays down documents that the store has confirmed, a batch at once; never waits. While nobody asks they are left to
    /// the store, and so is what was stored beside them where `is_gapped`.
    pub fn lay(&self, documents: &[&Document], is_gapped: bool) {
        if documents.is_empty() && !is_gapped {
            return;
        }
        let mut waiting = lock(&self.waiting);
        waiting.gapped |= is_gapped;
        // Asked under the lock: who has asked before a look finds either the document or the gap.
        if !self.is_asked() {
            waiting.gapped = true;
            return;
        }
        for document in documents {
            waiting.take(document, self.waiting_bytes_max);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// What a room shows: what was made last, unless that is too long ago.
    pub async fn read(&self, name: &str) -> Result<Option<Read>, ReadError> {
        let mut made = self.memo.subscribe();
        let now = clock::now_ms();
        let was_asked = self.is_asked();
        self.asked_ms.store(now, Ordering::Relaxed);
        let fresh = |memo: &Memo| was_asked && memo.made_ms > 0 && now - memo.made_ms < MEMO_MS;
        if !fresh(&made.borrow_and_update()) {
            self.wake.notify_one();
            let looked = tokio::time::timeout(READ_MAX, made.changed()).await;
            if !matches!(looked, Ok(Ok(()))) && made.borrow().made_ms == 0 {
                return Err(ReadError::Unavailable("the store has not been read yet".into()));
            }
        }
        let memo = made.borrow();
        if let (0, Some(why)) = (memo.made_ms, &memo.failed) {
            return Err(ReadError::Unavailable(why.clone()));
        }
        let age_ms = (clock::now_ms() - memo.known_ms).max(0) as u64;
        Ok(memo.rooms.get(name).map(|shown| Read { shown: shown.clone(), age_ms }))
    }

    /// What the board holds, as its bound counts it.
    pub fn board_bytes(&self) -> usize {
        self.board_bytes.load(Ordering::Relaxed)
    }

    fn is_asked(&self) -> bool {
        clock::now_ms() - self.asked_ms.load(Ordering::Relaxed) < ASKED_MS
    }
}

/// The one that looks.
struct Look {
    stream: Arc<Stream>,
    board: Box<dyn KeptBoard>,
    /// Under which assignments the board was read from the store; empty: never.
    read_under: Vec<(u32, u64)>,
    read_at: Option<Instant>,
    gapped: bool,
    /// When the board last had all that the store has.
    known_ms: i64,
}

/// Keeps the rooms of a stream until the runtime ends. Does nothing for a stream that has none.
pub async fn run(stream: Arc<Stream>) {
    let Some(rooms) = stream.rooms.clone() else { return };
    let board = stream.spec.shows.board(rooms.board_bytes_max);
    let mut look = Look { stream, board, read_under: Vec::new(), read_at: None, gapped: true, known_ms: 0 };
    loop {
        // A wake that came while it looked is kept: nothing laid down is ever passed over.
        let slide = if rooms.is_asked() { SLIDE } else { UNASKED_GAP };
        let _ = tokio::time::timeout(slide, rooms.wake.notified()).await; // either way it looks
        let (is_asked, began_ms) = (rooms.is_asked(), clock::now_ms());
        look.take_in(&rooms);
        if is_asked || look.read_at.is_none() {
            look.look(&rooms, began_ms).await;
        }
        tokio::time::sleep(LOOK_GAP).await;
    }
}

impl Look {
    fn take_in(&mut self, rooms: &AppRooms) {
        let waiting = lock(&rooms.waiting).leave();
        self.gapped |= waiting.gapped;
        for (_, document) in waiting.documents {
            self.board.take_in(document);
        }
        lock(&rooms.waiting).leaving_bytes = 0;
        let dropped = self.board.dropped();
        if dropped > 0 {
            let labels = [("stream", self.stream.name().to_string()), ("cache", "board".to_owned())];
            metrics::EVICTED.add(&labels, dropped);
        }
    }

    /// `began_ms`: when it took in what had been laid down.
    async fn look(&mut self, rooms: &AppRooms, began_ms: i64) {
        let kept_up = self.keep_up().await;
        if kept_up == Ok(true) {
            self.known_ms = began_ms;
        }
        let failed = kept_up.err();
        // Of a board that was never whole nothing is shown.
        if self.read_at.is_none() {
            rooms.memo.send_modify(|memo| memo.failed = failed);
            return;
        }
        rooms.board_bytes.store(self.board.bytes(), Ordering::Relaxed);
        let now_ms = clock::now_ms();
        let shown = self.board.rooms(&self.stream.spec.rooms, now_ms);
        let made: FxHashMap<Key, Shown> = shown.into_iter().map(|s| (s.key.clone(), s)).collect();
        let memo = Memo { rooms: made.clone(), made_ms: now_ms, known_ms: self.known_ms, failed };
        let before = rooms.memo.send_replace(memo);
        let prefix = self.stream.room_prefix();
        let changed = made.into_values().filter(|shown| before.rooms.get(&shown.key) != Some(shown));
        let news: Vec<News> = changed.map(|shown| News::of_room(prefix.clone(), shown)).collect();
        if !news.is_empty() {
            self.stream.shared.news.offer(news);
        }
    }

    /// Reads the store where the board may lack something of it. `true`: it lacks nothing now.
    async fn keep_up(&mut self) -> Result<bool, String> {
        let owned = self.stream.progress.owned.assignments();
        let all_ours = self.stream.owns_all();
        let interval = Duration::from_millis(self.stream.shared.feed_interval_ms);
        let is_due = self.read_at.is_none_or(|at| clock::instant() - at >= interval);
        let lacks = self.gapped || self.read_under != owned || !all_ours;
        if !is_due || !lacks {
            return Ok(!lacks);
        }
        let mut after = None;
        let mut keys = FxHashSet::default();
        loop {
            let scan = Scan { after: after.take(), limit: SCAN_PAGE, with_removed: true, ..Scan::default() };
            let (store, name) = (self.stream.shared.readers.clone(), self.stream.collection().clone());
            let call = async move { store.scan(&name, scan).await }.boxed();
            let page = self.stream.try_store(call).await.map_err(|error| error.to_string())?;
            let is_last = page.len() < SCAN_PAGE;
            after = page.last().map(|document| document.key.to_string());
            for document in page {
                keys.insert(document.key.clone());
                self.board.take_in(document);
            }
            if is_last {
                break;
            }
        }
        self.board.keep_only(&keys);
        (self.read_under, self.gapped, self.read_at) = (owned, false, Some(clock::instant()));
        Ok(true)
    }
}

impl News {
    /// News of a room that shows a whole stream: the room's own entity under the room's name.
    fn of_room(prefix: super::api::StreamName, shown: Shown) -> News {
        let partition = shown.positions.0.first().map_or(0, |position| position.partition);
        News { stream: prefix, partition, shown, covers: 1, rooms: Vec::new(), kind: NewsKind::Room }
    }
}

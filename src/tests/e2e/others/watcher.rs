//! A right client as wire.md tells one to be, over any transport: it keeps what it holds when it is cut, comes back with its
//! position, and asks for its pages.
//!
//! Invariant: every word is folded in the order it came, and a promise that is broken fails the test there and then; what
//! comes of a room between the answer to `unsubscribe` and the next to `subscribe` is such a break.
//! Not here: what one room is (`view`), how words come (`line`).

mod calls;
mod words;

use super::{
    line::{Live, Node, Transport, Word},
    view::View,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// How long a whole walk through pages, or all of a load, may take on a busy machine.
const ALL_WITHIN: Duration = Duration::from_secs(120);

pub struct Watcher {
    transport: Transport,
    base: String,
    line: Line,
    pub rooms: BTreeMap<String, View>,
    /// The newest cursor, which is what SSE resumes from.
    cursor: Option<String>,
    /// Events of a packet have been heard, and the one with its cursor has not.
    is_amid: bool,
    calls: u64,
    asked: BTreeMap<u64, Call>,
    /// Answers to `subscribe`, as they came.
    pub answers: Vec<Vec<Value>>,
    pub resyncs: Vec<Value>,
    /// Pages that were told to be asked for again, since the room changed too fast.
    pub outrun: u64,
    throws: u64,
    pub threw: u64,
    pub packets: u64,
    /// Of every change that was told: key, version, and whether it removes.
    pub told: Vec<(String, u64, bool)>,
    /// Items of each page, and their bytes, in the order they came.
    pub pages: Vec<(usize, usize)>,
}

enum Line {
    Node(Box<Node>),
    /// Opened with its rooms.
    Live(Option<Live>),
}

impl Line {
    fn to(base: &str, transport: Transport) -> Line {
        match transport {
            Transport::Sse => Line::Live(None),
            _ => Line::Node(Box::new(Node::start(base, transport))),
        }
    }
}

#[derive(Debug)]
enum Call {
    Subscribe,
    Unsubscribe(Vec<String>),
    Page,
}

impl Watcher {
    pub async fn connect(base: &str, transport: Transport) -> Watcher {
        let mut watcher = Watcher {
            transport,
            base: base.to_owned(),
            line: Line::to(base, transport),
            rooms: BTreeMap::new(),
            cursor: None,
            is_amid: false,
            calls: 0,
            asked: BTreeMap::new(),
            answers: Vec::new(),
            resyncs: Vec::new(),
            outrun: 0,
            throws: 0,
            threw: 0,
            packets: 0,
            told: Vec::new(),
            pages: Vec::new(),
        };
        watcher.connected().await;
        watcher
    }

    async fn connected(&mut self) {
        if let Line::Node(node) = &mut self.line {
            let word = node.hear().await;
            assert!(matches!(word, Word::Connected), "{word:?}");
        }
    }

    /// Enters rooms, from where it stands in those that it holds; the answer of each.
    pub async fn join(&mut self, rooms: &[&str]) -> Vec<Value> {
        let answers = self.answers.len();
        match &mut self.line {
            Line::Live(line) => {
                assert!(line.is_none(), "a reader of /live names its rooms once");
                let rooms: Vec<String> = rooms.iter().map(|room| (*room).to_owned()).collect();
                *line = Some(Live::open(&self.base, &rooms, self.cursor.as_deref()).await);
                self.answers.push(Vec::new());
                let wanted = rooms.len();
                self.until("every room begins", |w| w.answers[answers].len() == wanted).await;
            }
            Line::Node(_) => {
                self.ask_join(rooms).await;
                self.until("subscribed", |w| w.answers.len() > answers).await;
            }
        }
        self.answers[answers].clone()
    }

    /// Holds an entity that was read elsewhere, as whoever reads a document and then subscribes.
    pub fn knew(&mut self, room: &str, entity: &Value) {
        let snapshot = json!({"entity": entity, "position": entity["position"]});
        let mut view = View::of(&snapshot);
        view.live = false;
        self.rooms.insert(room.to_owned(), view);
    }

    /// The connection is cut, between two packets; what it holds it keeps.
    pub async fn cut(&mut self) {
        while self.is_amid {
            self.hear().await;
        }
        match &mut self.line {
            Line::Live(line) => *line = None,
            Line::Node(node) => {
                node.tell(json!({"do": "cut"})).await;
                while !matches!(node.hear().await, Word::Ended) {}
            }
        }
    }

    /// Connects again and enters every room it was in, from where it stood.
    pub async fn back(&mut self) -> Vec<Value> {
        if let Line::Node(node) = &mut self.line {
            node.tell(json!({"do": "connect"})).await;
        }
        self.enter_again().await
    }

    /// To the instance that stands in the place of the one it knew.
    pub async fn back_to(&mut self, base: &str) -> Vec<Value> {
        self.base = base.to_owned();
        self.line = Line::to(base, self.transport);
        self.enter_again().await
    }

    async fn enter_again(&mut self) -> Vec<Value> {
        self.asked.clear();
        self.rooms.values_mut().for_each(|view| view.live = false);
        self.connected().await;
        let rooms: Vec<String> = self.rooms.keys().cloned().collect();
        self.join(&rooms.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    pub fn is_paging(&self) -> bool {
        self.rooms.values().any(|view| view.next.is_some())
    }

    /// Goes through the pages of its rooms to their end, asking for each where the transport does not send them by itself.
    pub async fn whole(&mut self) {
        self.whole_at(async || {}).await;
    }

    /// The same, with something done after each page.
    pub async fn whole_at(&mut self, pace: impl AsyncFn()) {
        let mut pages = usize::MAX;
        while self.is_paging() {
            if pages != self.pages.len() {
                pages = self.pages.len();
                pace().await;
            }
            let idle = !self.asked.values().any(|call| matches!(call, Call::Page));
            if idle && self.transport != Transport::Sse {
                let next = self.rooms.iter().find(|(_, view)| view.next.is_some());
                let room = next.map(|(room, _)| room.clone()).expect("it is paging");
                self.ask_page(&room).await;
            }
            self.hear().await;
        }
    }

    /// Hears until it is so.
    pub async fn until(&mut self, what: &str, is_so: impl Fn(&Watcher) -> bool) {
        let heard = tokio::time::timeout(ALL_WITHIN, async {
            while !is_so(self) {
                self.hear().await;
            }
        });
        let heard = heard.await;
        assert!(heard.is_ok(), "{:?}: {what}: not in time: {:?}", self.transport, self.rooms);
    }

    pub async fn sees(&mut self, room: &str, key: &str, version: u64) {
        self.until(&format!("{key} at {version}"), |w| w.rooms[room].version(key) >= version).await;
    }

    /// Hears one word.
    pub async fn hear(&mut self) {
        let word = match &mut self.line {
            Line::Node(node) => node.hear().await,
            Line::Live(live) => {
                let (word, cursor) = live.as_mut().expect("it reads").hear().await;
                self.is_amid = cursor.is_none() && !matches!(word, Word::Heartbeat);
                self.cursor = cursor.or(self.cursor.take());
                word
            }
        };
        self.fold(word);
    }

    /// Where it would resume: all rooms of SSE in one cursor, else of each room its position.
    pub fn stands(&self) -> Value {
        match self.transport {
            Transport::Sse => json!(self.cursor),
            _ => self.rooms.iter().map(|(room, view)| (room.clone(), json!(view.position))).collect(),
        }
    }

    /// Waits until it holds exactly this of a room.
    pub async fn holds(&mut self, room: &str, wanted: &BTreeMap<String, (u64, Value)>) {
        self.whole().await;
        self.until(&format!("{room} is as it was written"), |w| w.rooms[room].present() == *wanted).await;
    }
}

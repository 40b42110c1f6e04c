//! What one client hears, word by word, in the order it came: the stock Socket.IO client, or a reader of `/live`.
//!
//! Invariant: nothing is read ahead of who asks, so that whoever does not ask reads slowly.
//! Not here: what the words mean (`watcher`).

use super::super::{SOON, client, sse::Parser};
use futures_util::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    time::timeout,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Polling,
    Sse,
}

impl Transport {
    pub const ALL: [Transport; 3] = [Transport::WebSocket, Transport::Polling, Transport::Sse];
    pub const SOCKETIO: [Transport; 2] = [Transport::WebSocket, Transport::Polling];

    /// Also the name of the stream that the cases of this transport have for themselves.
    pub fn name(self) -> &'static str {
        match self {
            Transport::WebSocket => "websocket",
            Transport::Polling => "polling",
            Transport::Sse => "sse",
        }
    }
}

/// One thing that was heard.
#[derive(Debug)]
pub enum Word {
    Connected,
    /// The answer to the call of this number.
    Ack(u64, Value),
    /// A room as SSE begins it; what an element of the ack's `rooms` is by Socket.IO.
    Joined(Value),
    /// A further page, by SSE.
    Page(Value),
    Changes(Value, Value),
    Resync(Value),
    /// The next handler throws.
    Throws,
    Threw,
    Ended,
    Heartbeat,
}

pub struct Node {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    pub fn start(base: &str, transport: Transport) -> Node {
        let (child, input, output) = client::spawn(base, transport.name());
        Node { _child: child, input, lines: BufReader::new(output).lines() }
    }

    pub async fn tell(&mut self, line: Value) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.expect("the client runs");
    }

    pub async fn hear(&mut self) -> Word {
        let line = timeout(SOON, self.lines.next_line()).await.expect("a word in time").expect("stdout");
        let mut line: Value = serde_json::from_str(&line.expect("the client runs")).expect("JSON");
        if let Some(id) = line["ack"].as_u64() {
            return Word::Ack(id, line["data"].take());
        }
        let args = line["args"].take();
        match line["event"].as_str().expect("event") {
            "connect" => Word::Connected,
            "changes" => Word::Changes(args[0].clone(), args[1].clone()),
            "resync" => Word::Resync(args[0].clone()),
            "heartbeat" => Word::Heartbeat,
            "throws" => Word::Throws,
            "threw" => Word::Threw,
            "disconnect" | "connect_error" => Word::Ended,
            other => panic!("an event nobody knows: {other}"),
        }
    }
}

/// One answer to `GET /live`.
pub struct Live {
    body: BoxStream<'static, Vec<u8>>,
    parser: Parser,
    words: VecDeque<(Word, Option<String>)>,
}

impl Live {
    pub async fn open(base: &str, rooms: &[String], cursor: Option<&str>) -> Live {
        let rooms: Vec<_> = rooms.iter().map(|room| ("room", room)).collect();
        let request = reqwest::Client::new().get(format!("{base}/live")).query(&rooms);
        // A browser sends none where it has heard none.
        let request = cursor.into_iter().fold(request, |request, id| request.header("Last-Event-ID", id));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        let body = answer.bytes_stream().map(|bytes| bytes.expect("the answer goes on").to_vec()).boxed();
        Live { body, parser: Parser::default(), words: VecDeque::new() }
    }

    /// With the `id`, where the event has one.
    pub async fn hear(&mut self) -> (Word, Option<String>) {
        loop {
            if let Some(word) = self.words.pop_front() {
                return word;
            }
            let bytes = timeout(SOON, self.body.next()).await.expect("a word in time");
            let Some(bytes) = bytes else { return (Word::Ended, None) };
            for event in self.parser.take(&bytes) {
                let word = match event.name.as_str() {
                    "snapshot" if event.data["resumed"].is_boolean() => Word::Joined(event.data),
                    "snapshot" => Word::Page(event.data),
                    "change" => Word::Changes(json!([event.data]), json!({})),
                    "resync" => Word::Resync(event.data),
                    "heartbeat" => Word::Heartbeat,
                    other => panic!("an event nobody knows: {other}"),
                };
                self.words.push_back((word, event.id));
            }
        }
    }
}

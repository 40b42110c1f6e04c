//! A reader of `/live`, by the rules of the EventSource standard.

use super::eventually;
use futures_util::StreamExt;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

pub struct Sse {
    events: Arc<Mutex<Vec<Event>>>,
    reader: JoinHandle<()>,
}

impl Sse {
    /// Opens the rooms, from a cursor where one is given.
    pub async fn open(base: &str, rooms: &[&str], cursor: Option<&str>) -> Sse {
        let rooms: Vec<_> = rooms.iter().map(|room| ("room", *room)).collect();
        let mut request = reqwest::Client::new().get(format!("{base}/live")).query(&rooms);
        if let Some(cursor) = cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let told = events.clone();
        let reader = tokio::spawn(async move {
            let (mut body, mut parser) = (answer.bytes_stream(), Parser::default());
            while let Some(Ok(bytes)) = body.next().await {
                told.lock().expect("events").extend(parser.take(&bytes));
            }
        });
        Sse { events, reader }
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.lock().expect("events").clone()
    }

    /// Waits for an event.
    pub async fn sees(&self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        eventually(what, async || {
            let events = self.events();
            events.iter().find(|event| is_it(event)).cloned().ok_or(events)
        })
        .await
    }

    /// The newest cursor.
    pub fn cursor(&self) -> String {
        self.events().into_iter().rev().find_map(|event| event.id).expect("an event with an id")
    }
}

impl Drop for Sse {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Default)]
pub struct Parser {
    rest: Vec<u8>,
    next: Event,
    data: Vec<String>,
}

impl Parser {
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(bytes);
        let mut whole = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8(line).expect("UTF-8");
            whole.extend(self.line(line.trim_end_matches(['\r', '\n'])));
        }
        whole
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let (mut event, data) = (std::mem::take(&mut self.next), std::mem::take(&mut self.data));
            event.data = serde_json::from_str(&data.join("\n")).ok()?;
            return Some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.next.name = value.into(),
            "id" => self.next.id = Some(value.into()),
            "data" => self.data.push(value.into()),
            _ => {}
        }
        None
    }
}

#[test]
fn events_are_read_as_the_standard_says() {
    let mut parser = Parser::default();
    let mut events = parser.take(b": hello\n\nid: 7\nevent: change\ndata: [1,\nda");
    events.extend(parser.take(b"ta: 2]\r\n\r\nretry: 5\n\n"));
    let wanted = Event { name: "change".into(), id: Some("7".into()), data: serde_json::json!([1, 2]) };
    assert_eq!(events, [wanted]);
}

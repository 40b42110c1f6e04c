//! What each word does to what a watcher holds.
//!
//! Invariant: an answer is to something that was asked, and every change is of a room it is in, each key once in a packet.
//! Not here: what one room is (`view`).

use super::{
    super::{line::Word, view::View},
    Call, Watcher,
};
use serde_json::Value;
use std::collections::BTreeSet;

impl Watcher {
    pub(super) fn fold(&mut self, word: Word) {
        match word {
            Word::Ack(id, answer) => {
                let call = self.asked.remove(&id).expect("what was asked is answered once");
                self.answered(call, &answer);
            }
            Word::Joined(answer) => {
                self.joined(&answer);
                self.answers.last_mut().expect("asked").push(answer);
            }
            Word::Page(page) => self.paged(&page),
            Word::Changes(items, positions) => self.changed(&items, &positions),
            Word::Resync(message) => {
                let room = name(&message);
                assert!(self.rooms[&room].live, "{room} is sent anew and nobody is in it");
                self.rooms.insert(room, View::of(&message));
                self.resyncs.push(message);
            }
            Word::Throws => self.throws += 1,
            Word::Threw => self.threw += 1,
            Word::Heartbeat => {}
            Word::Connected | Word::Ended => panic!("{:?}: nobody cut it: {word:?}", self.transport),
        }
    }

    fn answered(&mut self, call: Call, answer: &Value) {
        match call {
            Call::Page if answer["ok"] != true => {
                assert_eq!(answer["problem"]["status"], 503, "a page can be had later: {answer}");
                self.outrun += 1;
            }
            Call::Page => self.paged(answer),
            Call::Subscribe => {
                assert_eq!(answer["ok"], true, "{answer}");
                let rooms = answer["rooms"].as_array().expect("rooms");
                rooms.iter().for_each(|room| self.joined(room));
                self.answers.push(rooms.clone());
            }
            Call::Unsubscribe(rooms) => {
                assert_eq!(answer["ok"], true, "{answer}");
                rooms.iter().for_each(|room| drop(self.rooms.remove(room)));
            }
        }
    }

    fn joined(&mut self, answer: &Value) {
        let room = name(answer);
        if answer["resumed"] == true {
            self.rooms.get_mut(&room).expect("nobody resumes what is not held").resume(&room, answer);
        } else {
            self.note_page(answer);
            self.rooms.insert(room, View::of(answer));
        }
    }

    fn paged(&mut self, page: &Value) {
        self.note_page(page);
        self.rooms.get_mut(&name(page)).expect("a room in its pages").page(page);
    }

    fn note_page(&mut self, page: &Value) {
        if let Some(items) = page["items"].as_array() {
            self.pages.push((items.len(), page["items"].to_string().len()));
        }
    }

    fn changed(&mut self, items: &Value, positions: &Value) {
        self.packets += 1;
        let mut once = BTreeSet::new();
        for item in items.as_array().expect("items") {
            let (room, key) = (name(item), item["key"].as_str().expect("key").to_owned());
            assert!(once.insert((room.clone(), key.clone())), "once in a packet: {item}");
            self.told.push((key, item["version"].as_u64().expect("version"), item["value"].is_null()));
            let view = self.rooms.get_mut(&room);
            view.unwrap_or_else(|| panic!("{room} changed and nobody is in it: {item}")).change(&room, item);
        }
        for (room, position) in positions.as_object().into_iter().flatten() {
            self.rooms.get_mut(room).expect("a room it is in").moves_to(position);
        }
    }
}

fn name(message: &Value) -> String {
    message["room"].as_str().expect("room").to_owned()
}

//! A client as wire.md tells one to be, which minds every promise made to it.
//!
//! Per room: nothing before the ack, no version twice or lower but by a resync, `skipped` and versions add up, and at rest
//! it holds exactly what the store holds.

use super::{
    fake::FakeEngine,
    stage::{Got, Line, Stage},
};
use crate::engine::live::{ClientId, Order};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

pub struct Viewer {
    pub client: ClientId,
    pub line: Arc<Line>,
    pub rooms: BTreeMap<String, RoomView>,
    /// Left in the middle of something: what is still on its way of them is passed over.
    asked: BTreeSet<String>,
    /// What it held of the rooms of each call when it made it: an answer that resumes goes on from there.
    calls: VecDeque<BTreeMap<String, RoomView>>,
    /// Rooms it left, and the answer has not come: they may still change.
    leaving: VecDeque<String>,
    /// The page that was asked for: one of an earlier walk is passed over.
    paging: Option<(String, String)>,
    /// Pages behind the first.
    pub pages: usize,
    pub resyncs: usize,
    pub resumed: usize,
    pub acks: usize,
    /// Resyncs since a key was forgotten.
    pub forgotten: u64,
    /// Keys are forgotten and made again: in a room of a whole stream, which says nothing of what is forgotten of keys that
    /// were removed, their versions begin anew.
    pub begins_again: bool,
}

#[derive(Debug, Default, Clone)]
pub struct RoomView {
    pub keys: BTreeMap<String, (u64, Value)>,
    pub position: Option<String>,
    pub next: Option<String>,
    pub live: bool,
    /// The answer said that it is fed from the store.
    pub from_store: bool,
    /// Keys of a stream's room held when it was resumed. Its position moves once all that waited is given, and a page
    /// may show a change before it is told: who comes back may hear of such a one once more.
    again: BTreeSet<String>,
    /// Keys held for so long that nobody remembers any more that a page showed them: such a state may be told once more.
    old: BTreeSet<String>,
}

impl Viewer {
    pub fn new(stage: &mut Stage) -> Self {
        let (client, line) = stage.connect();
        Viewer {
            client,
            line,
            rooms: BTreeMap::new(),
            asked: BTreeSet::new(),
            calls: VecDeque::new(),
            leaving: VecDeque::new(),
            paging: None,
            pages: 0,
            resyncs: 0,
            resumed: 0,
            acks: 0,
            forgotten: 0,
            begins_again: false,
        }
    }

    /// Asks for rooms, with what it holds of them as `since`.
    pub fn ask(&mut self, stage: &mut Stage, rooms: &[&str]) {
        let since: Vec<(String, String)> = rooms
            .iter()
            .filter_map(|room| {
                let view = self.rooms.get(*room)?;
                // A walk through pages that was cut begins anew.
                (view.next.is_none()).then(|| Some(((*room).to_owned(), view.position.clone()?)))?
            })
            .collect();
        let since: Vec<(&str, &str)> = since.iter().map(|(room, at)| (&**room, &**at)).collect();
        let held = |room: &&str| Some(((*room).to_owned(), self.rooms.get(*room)?.clone()));
        self.calls.push_back(rooms.iter().filter_map(held).collect());
        self.asked.extend(rooms.iter().map(|room| (*room).to_owned()));
        let line = self.line.clone();
        stage.ask(self.client, &line, rooms, &since);
    }

    /// The connection is cut, and made again; what it holds it keeps.
    pub fn reconnect(&mut self, stage: &mut Stage) {
        self.cut(stage);
        self.come_back(stage);
    }

    /// The connection is cut; what it holds it keeps.
    pub fn cut(&mut self, stage: &mut Stage) {
        self.hear();
        stage.order(Order::Disconnect { client: self.client });
    }

    /// It comes back as somebody who holds nothing, and is shown everything, page by page.
    pub fn begin_anew(&mut self, stage: &mut Stage) {
        self.cut(stage);
        self.rooms.clear();
        self.come_back(stage);
    }

    /// Connects anew, perhaps to another instance, with what it holds.
    pub fn come_back(&mut self, stage: &mut Stage) {
        self.line.take();
        (self.client, self.line) = stage.connect();
        let rooms: Vec<String> = self.rooms.keys().chain(self.asked.iter()).cloned().collect();
        let names: BTreeSet<&str> = rooms.iter().map(String::as_str).collect();
        (self.paging, self.calls) = (None, VecDeque::new());
        self.leaving.clear();
        for view in self.rooms.values_mut() {
            view.live = false;
        }
        self.ask(stage, &names.into_iter().collect::<Vec<_>>());
    }

    pub fn leave(&mut self, stage: &mut Stage, room: &str) {
        self.hear();
        self.rooms.remove(room);
        self.asked.remove(room);
        self.leaving.push_back(room.to_owned());
        let line = self.line.clone();
        stage.unsubscribe(self.client, &line, &[room]);
    }

    /// Takes in what came, asks for the next page. `true`: nothing came and nothing is missing.
    pub fn catch_up(&mut self, stage: &mut Stage) -> bool {
        self.line.open();
        let heard = self.hear();
        self.page(stage);
        !heard && self.paging.is_none()
    }

    /// Longer than pages are remembered has passed.
    pub fn grow_old(&mut self) {
        for (_, view) in self.rooms.iter_mut().filter(|(room, _)| !room.contains('/')) {
            view.old = view.keys.keys().cloned().collect();
        }
    }

    pub fn page(&mut self, stage: &mut Stage) {
        if self.paging.is_some() {
            return;
        }
        let walk = |(room, view): (&String, &RoomView)| {
            Some((room.clone(), view.next.clone().filter(|_| view.live)?))
        };
        if let Some((room, next)) = self.rooms.iter().find_map(walk) {
            let line = self.line.clone();
            stage.ask_page(self.client, &line, &room, Some(&next));
            self.paging = Some((room, next));
        }
    }

    /// Takes in what came. `true`: something did, other than heartbeats.
    pub fn hear(&mut self) -> bool {
        let mut heard = false;
        for got in self.line.take() {
            heard |= !matches!(got, Got::Heartbeat(_));
            match got {
                Got::Ack(ack) => self.acked(&ack),
                Got::Page(page) => self.paged(&page),
                Got::Changes(items, positions) => self.changed(&items, &positions),
                Got::Resync(message) => self.resynced(&message),
                Got::Heartbeat(beats) => self.beaten(&beats),
                Got::Left(answer) => {
                    assert_eq!(answer["ok"], true);
                    self.leaving.pop_front();
                }
                Got::Goodbye(_) => {}
            }
        }
        heard
    }

    fn acked(&mut self, ack: &Value) {
        assert_eq!(ack["ok"], true, "{ack}");
        self.acks += 1;
        let mut held = self.calls.pop_front().expect("a call");
        for joined in ack["rooms"].as_array().expect("rooms") {
            let name = joined["room"].as_str().expect("room");
            if !self.asked.contains(name) {
                continue;
            }
            let view = self.rooms.entry(name.to_owned()).or_default();
            view.live = true;
            let resumed = joined["resumed"] == true;
            self.resumed += usize::from(resumed);
            if resumed {
                *view = RoomView { live: true, ..held.remove(name).expect("asked with since") };
                view.again = view.keys.keys().filter(|_| !name.contains('/')).cloned().collect();
            } else {
                *view = RoomView { live: true, ..RoomView::default() };
                view.hold(joined);
            }
            view.next = text(&joined["next"]);
            view.position = text(&joined["position"]);
            view.from_store = joined["feed"] == "store";
        }
    }

    fn paged(&mut self, page: &Value) {
        let asked = self.paging.take();
        if page["ok"] != true {
            return;
        }
        let name = page["room"].as_str().expect("room");
        let Some(view) = self.rooms.get_mut(name).filter(|view| view.next == asked.map(|a| a.1)) else {
            return;
        };
        for item in page["items"].as_array().expect("items") {
            let (key, version) =
                (item["key"].as_str().expect("key"), item["version"].as_u64().expect("version"));
            assert!(view.next.as_deref() < Some(key), "a page goes on where the last one ended");
            let held = view.keys.insert(key.to_owned(), (version, item["value"].clone()));
            assert!(held.is_none(), "no change of {key} was told before its page: {held:?}");
        }
        view.next = text(&page["next"]);
        self.pages += 1;
    }

    fn changed(&mut self, items: &Value, positions: &Value) {
        for item in items.as_array().expect("items") {
            let name = item["room"].as_str().expect("room");
            let Some(view) = self.rooms.get_mut(name) else {
                let old = self.leaving.iter().any(|left| left == name);
                assert!(old || !self.asked.contains(name), "{name} changed before its ack");
                continue;
            };
            assert!(view.live, "{name} changed before its ack");
            view.change(name, item, self.begins_again);
        }
        for (room, position) in positions.as_object().into_iter().flatten() {
            if let Some(view) = self.rooms.get_mut(room) {
                view.position = position.as_str().map(str::to_owned);
            }
        }
    }

    fn resynced(&mut self, message: &Value) {
        let name = message["room"].as_str().expect("room");
        let Some(view) = self.rooms.get_mut(name) else { return };
        self.resyncs += 1;
        self.forgotten += u64::from(message["reason"] == "forgotten");
        *view = RoomView { live: true, ..RoomView::default() };
        view.hold(message);
        view.next = text(&message["next"]);
        view.position = text(&message["position"]);
    }

    fn beaten(&mut self, beats: &Value) {
        for beat in beats.as_array().expect("beats") {
            let Some(view) = self.rooms.get_mut(beat["room"].as_str().expect("room")) else { continue };
            assert!(view.next.is_none(), "a room in pages has no heartbeat");
            if beat["room"].as_str().is_some_and(|room| room.contains('/')) {
                assert_eq!(
                    text(&beat["position"]),
                    view.position,
                    "a heartbeat comes behind all that waited"
                );
            }
            view.position = text(&beat["position"]);
        }
    }

    /// At rest it holds what the store holds.
    pub fn assert_holds(&self, engine: &FakeEngine) {
        for (room, view) in &self.rooms {
            assert!(view.live && view.next.is_none(), "{room} is not whole: {view:?}");
            let (stream, key) = room.split_once('/').map_or((room.as_str(), None), |(s, k)| (s, Some(k)));
            let stored =
                engine.all(stream).into_iter().filter(|shown| key.is_none_or(|key| *key == *shown.key));
            let stored: BTreeMap<String, (u64, Value)> = stored
                .filter(|shown| shown.value.is_some())
                .map(|shown| {
                    let value = shown.value.as_ref().expect("value").text();
                    (shown.key.to_string(), (shown.version, serde_json::from_str(value).expect("JSON")))
                })
                .collect();
            let held: BTreeMap<String, (u64, Value)> = view
                .keys
                .iter()
                .filter(|(_, held)| !held.1.is_null())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            assert_eq!(held, stored, "room {room}");
        }
    }
}

impl RoomView {
    /// A snapshot's entity or items.
    fn hold(&mut self, snapshot: &Value) {
        let items = snapshot["items"].as_array().cloned().unwrap_or_default();
        let entity = Some(&snapshot["entity"]).filter(|entity| entity.is_object());
        for item in items.iter().chain(entity) {
            let (key, version) =
                (item["key"].as_str().expect("key"), item["version"].as_u64().expect("version"));
            self.keys.insert(key.to_owned(), (version, item["value"].clone()));
        }
    }

    fn change(&mut self, room: &str, item: &Value, begins_again: bool) {
        let (key, version) = (item["key"].as_str().expect("key"), item["version"].as_u64().expect("version"));
        if let Some(next) = &self.next {
            assert!(key <= next.as_str(), "{room}: {key} lies beyond the pages read");
        }
        let skipped = item["skipped"].as_u64().expect("skipped");
        let held = self.keys.get(key).map_or(0, |held| held.0);
        if version <= held && self.again.contains(key) {
            return;
        }
        if version == held && self.old.remove(key) {
            return;
        }
        self.again.remove(key);
        self.old.remove(key);
        let keyed = room.contains('/');
        let is_begun_again = begins_again && !keyed;
        assert!(version > held || is_begun_again, "{room}: version {version} of {key} after {held}");
        // Where a key came by another partition before, its versions are not dense.
        let partition = |position: Option<String>| position?.split('.').nth(1).map(str::to_owned);
        let is_moved = partition(self.position.clone()) != partition(text(&item["position"]));
        if keyed && held > 0 && !is_moved {
            assert_eq!(held + 1 + skipped, version, "{room}: skipped adds up");
        }
        self.keys.insert(key.to_owned(), (version, item["value"].clone()));
        if keyed {
            self.position = text(&item["position"]);
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

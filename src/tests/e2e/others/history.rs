//! B1, B2, B3, B6: what a room remembers, and who comes back to it.

use super::{
    everywhere,
    line::Transport,
    load::Load,
    place::{Place, value},
    watcher::Watcher,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Resumes in the midst of writes, on each store and transport.
const RESUMES: usize = 25;

fn resumed(answers: &[Value]) -> Vec<bool> {
    answers.iter().map(|answer| answer["resumed"].as_bool().expect("resumed")).collect()
}

/// A client in the room of a key and in that of its whole stream.
async fn watch(place: &Place, transport: Transport, key: &str) -> Watcher {
    let mut watcher = Watcher::connect(&place.statecast.base, transport).await;
    let stream = transport.name();
    watcher.join(&[stream, &format!("{stream}/{key}")]).await;
    watcher
}

/// Both rooms show what was written.
async fn holds(watcher: &mut Watcher, place: &Place, stream: &str, key: &str) {
    let all = place.written(stream);
    watcher.holds(stream, &all).await;
    let only = all.into_iter().filter(|(one, _)| one == key).collect();
    watcher.holds(&format!("{stream}/{key}"), &only).await;
}

/// Nothing here has an age: what is remembered is bounded, and the oldest goes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_what_was_forgotten_meanwhile_is_never_resumed() {
    let settings = ["live.history_changes_max=4", "live.history_bytes_max=65536"];
    everywhere("b1", &settings, &Transport::ALL, async |place, transport| {
        let stream = transport.name();
        let room = format!("{stream}/a");
        let mut stays = watch(&place, transport, "a").await;
        let mut away = watch(&place, transport, "a").await;
        place.put(stream, "a", &value(1, 10)).await;
        holds(&mut away, &place, stream, "a").await;
        away.cut().await;
        place.put(stream, "a", &value(2, 10)).await;
        holds(&mut stays, &place, stream, "a").await;
        assert_eq!(resumed(&away.back().await), [true, true], "it is remembered while it is short");
        holds(&mut away, &place, stream, "a").await;

        away.cut().await;
        // More positions than a key's room remembers, and more bytes than all rooms together do.
        for n in 3..11 {
            place.put(stream, "a", &value(n, 10)).await;
            place.put(stream, &format!("k{n}"), &value(n, 16 << 10)).await;
            holds(&mut stays, &place, stream, "a").await;
        }
        let answers = away.back().await;
        assert_eq!(resumed(&answers), [false, false], "{answers:?}");
        let entity = &answers.iter().find(|answer| answer["room"] == room).expect("its room")["entity"];
        assert_eq!((&entity["version"], &entity["value"]["n"]), (&json!(10), &json!(10)));
        holds(&mut away, &place, stream, "a").await;

        // One change larger than all that is remembered: nothing is, and the head has moved on.
        away.cut().await;
        place.put(stream, "large", &value(11, 80 << 10)).await;
        holds(&mut stays, &place, stream, "a").await;
        assert_eq!(resumed(&away.back().await), [false, true], "the key itself has not changed");
        holds(&mut away, &place, stream, "a").await;
        place.put(stream, "a", &value(12, 10)).await;
        holds(&mut away, &place, stream, "a").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_a_position_from_an_empty_room_gets_what_came_since() {
    everywhere("b2", &[], &Transport::ALL, async |place, transport| {
        let stream = transport.name();
        // Nothing was ever written: neither the stream nor the key has anything to show.
        let mut away = watch(&place, transport, "never").await;
        assert!(away.rooms.values().all(|view| view.keys.is_empty()), "{:?}", away.rooms);
        away.cut().await;
        place.put(stream, "never", &value(1, 10)).await;
        place.put(stream, "b", &value(1, 10)).await;
        place.settles(stream).await;
        let answers = away.back().await;
        assert!(answers.len() == 2 && away.rooms.values().all(|view| view.live), "{answers:?}");
        holds(&mut away, &place, stream, "never").await;

        // Nobody is in the room when its position is taken, nor when it moves on.
        let taken = place.put_stored(stream, "alone", &value(1, 10)).await;
        place.put_stored(stream, "alone", &value(2, 10)).await;
        let mut late = Watcher::connect(&place.statecast.base, transport).await;
        let room = format!("{stream}/alone");
        // What SSE resumes from comes from events alone, so from nobody who was not there.
        if transport != Transport::Sse {
            late.knew(&room, &taken);
        }
        late.join(&[&room]).await;
        late.sees(&room, "alone", 2).await;
        place.put(stream, "alone", &value(3, 10)).await;
        late.sees(&room, "alone", 3).await;
        assert_eq!(late.rooms[&room].keys["alone"], (3, value(3, 10)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_replay_ends_where_the_room_stands() {
    // However long a busy machine takes to come back, it is remembered.
    everywhere("b3", &["live.history_changes_max=100000"], &Transport::ALL, async |place, transport| {
        let stream = transport.name();
        let mut stays = watch(&place, transport, "k0").await;
        let mut comes = watch(&place, transport, "k0").await;
        let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
        let load = Load::start(&place, stream, &keys, 4, 20);
        // Of the stream's room and the key's.
        let mut replayed = [0; 2];
        let count = |replayed: &mut [usize; 2], resumed: Vec<bool>| {
            replayed.iter_mut().zip(resumed).for_each(|(count, resumed)| *count += usize::from(resumed));
        };
        for _ in 0..RESUMES {
            let packets = comes.packets;
            comes.until("it is told", |w| w.packets > packets).await;
            comes.cut().await;
            load.goes_on(12).await;
            count(&mut replayed, resumed(&comes.back().await));
        }
        comes.cut().await;
        load.goes_on(12).await;
        load.end().await;
        place.settles(stream).await;
        holds(&mut stays, &place, stream, "k0").await;
        // Nothing is written any more: what a replay does not bring now never comes.
        count(&mut replayed, resumed(&comes.back().await));
        holds(&mut comes, &place, stream, "k0").await;
        assert_eq!(comes.stands(), stays.stands(), "both are at the head");
        assert!(replayed[0] > 0 && replayed[1] > RESUMES / 2, "{replayed:?} of {RESUMES} were resumed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_a_removal_while_away_is_shown_and_what_follows_it() {
    everywhere("b6", &[], &Transport::ALL, async |place: Arc<Place>, transport| {
        let stream = transport.name();
        let rooms = [stream.to_owned(), format!("{stream}/a")];
        let mut stays = watch(&place, transport, "a").await;
        let mut away = watch(&place, transport, "a").await;
        // One after the other: where writers confirm two in another order, their position names no one place.
        for key in ["b", "a"] {
            place.put(stream, key, &value(1, 10)).await;
            holds(&mut away, &place, stream, "a").await;
        }
        away.cut().await;
        place.remove(stream, "a").await;
        holds(&mut stays, &place, stream, "a").await;
        assert_eq!(resumed(&away.back().await), [true, true]);
        for room in &rooms {
            away.sees(room, "a", 2).await;
            assert_eq!(away.rooms[room].keys["a"], (2, Value::Null), "{room}: it is shown as removed");
        }
        place.put(stream, "a", &value(3, 10)).await;
        holds(&mut away, &place, stream, "a").await;

        // Removed and put again while away, and a removal that is the last there was.
        away.cut().await;
        place.remove(stream, "a").await;
        place.put(stream, "a", &value(5, 10)).await;
        place.remove(stream, "b").await;
        holds(&mut stays, &place, stream, "a").await;
        assert_eq!(resumed(&away.back().await), [true, true]);
        holds(&mut away, &place, stream, "a").await;
        assert_eq!(away.rooms[stream].keys["b"], (2, Value::Null));
        place.put(stream, "b", &value(3, 10)).await;
        holds(&mut away, &place, stream, "a").await;
        assert_eq!(away.rooms[stream].version("b"), 3);
    })
    .await;
}

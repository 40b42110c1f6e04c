//! What Socket.IO clients send: read or refused, and a room's name has one meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use statecast::{
    adapters::socketio::calls::{Page, Subscribe, Unsubscribe},
    document::Positions,
    engine::rooms::name::{self, Target},
};

const KEY_BYTES_MAX: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(call) = serde_json::from_slice::<Subscribe>(bytes) {
        call.rooms.iter().for_each(|room| one_meaning(room));
        let since = call.since.unwrap_or_default();
        for position in since.into_values().flatten() {
            if let Ok(positions) = position.parse::<Positions>() {
                assert_eq!(positions.to_string(), position);
            }
        }
    }
    if let Ok(call) = serde_json::from_slice::<Page>(bytes) {
        one_meaning(&call.room);
    }
    if let Ok(call) = serde_json::from_slice::<Unsubscribe>(bytes) {
        call.rooms.iter().for_each(|room| one_meaning(room));
    }
});

fn one_meaning(room: &str) {
    let Ok(target) = name::parse(room, KEY_BYTES_MAX) else { return };
    let again = match target {
        Target::Stream { stream } => stream.to_owned(),
        Target::Key { stream, key } => format!("{stream}/{key}"),
        Target::App { stream, name } => format!("{stream}:{name}"),
    };
    assert_eq!(again, room);
}

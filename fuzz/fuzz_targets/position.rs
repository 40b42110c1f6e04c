//! Positions and cursors: a text that is taken for one has one spelling, and comes back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use statecast::{document::Positions, engine::list, http::stream::cursor::Cursor, record::Position};

fuzz_target!(|text: &str| {
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text);
    }
    if let Ok(positions) = text.parse::<Positions>() {
        assert_eq!(positions.to_string(), text);
        assert!(positions.cover(&positions));
    }
    if let Ok(cursor) = list::Cursor::decode(text) {
        let again = list::Cursor::decode(&cursor.encode()).expect("its own text");
        assert_eq!(again.encode(), cursor.encode());
    }
    if let Some(cursor) = Cursor::parse(text) {
        assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
    }
});

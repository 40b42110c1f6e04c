//! Names that go outside: streams, topics, groups, databases.
//!
//! Invariant: a name that passes here is legal in the log, in the store, in a room and in a URL, unescaped.

/// Names of streams that collections and rooms of the engine's own have.
const RESERVED: [&str; 5] = ["marks", "statecast", "streams", "system", "timers"];
/// Kafka's own bound.
const TOPIC_BYTES_MAX: usize = 249;
/// What dead letters' topics end with.
pub const DEAD_LETTER_SUFFIX: &str = ".dlq";

/// Whether a stream may be called so; `Err` ends a sentence that begins with the name.
pub fn stream(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err("may hold only a-z, 0-9 and -: it names a collection, a room and a part of URLs");
    }
    if name.len() > 100 {
        return Err("is longer than 100 bytes");
    }
    if RESERVED.contains(&name) { Err("is taken by Statecast itself") } else { Ok(()) }
}

/// Whether Kafka takes a topic of this name, and of the dead letters beside it.
pub fn topic(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || matches!(name, "." | "..") || !name.chars().all(plain) {
        return Err("may hold only letters, digits, '.', '_' and '-'");
    }
    if name.len() + DEAD_LETTER_SUFFIX.len() > TOPIC_BYTES_MAX {
        return Err("is longer than 245 bytes, which leaves no room for its dead letters' name");
    }
    Ok(())
}

/// Whether a consumer group may be called so.
pub fn group(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > TOPIC_BYTES_MAX || !name.chars().all(plain) {
        return Err("must be 1 to 249 letters, digits, '.', '_' and '-'");
    }
    Ok(())
}

/// Whether a stream's state may be kept in a collection of this name; `Err` ends a sentence that begins with it.
pub fn collection(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        return Err("must be 1 to 100 letters, digits, '_' and '-'");
    }
    if RESERVED.contains(&name) { Err("is taken by Statecast itself") } else { Ok(()) }
}

/// Whether MongoDB takes a database of this name.
pub fn database(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 63 || name.contains(|c: char| "/\\. \"$*<>:|?\0".contains(c)) {
        return Err("must be 1 to 63 bytes without any of / \\ . \" $ * < > : | ? and blanks");
    }
    if matches!(name, "admin" | "local" | "config") { Err("is one of MongoDB's own") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_streams_have_no_room_grammar_in_them() {
        for good in ["kv", "agents-routing", "a1", "-"] {
            assert_eq!(stream(good), Ok(()), "{good}");
        }
        for bad in ["", "a/b", "a:b", "A", "a_b", "ä", "a b", "streams", "timers", &"a".repeat(101)] {
            assert!(stream(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topics_leave_room_for_their_dead_letters() {
        for good in ["kv", "User_Activity.events-1", &"t".repeat(245)] {
            assert_eq!(topic(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ü", &"t".repeat(246)] {
            assert!(topic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn databases_are_named_as_mongodb_takes_them() {
        assert_eq!(database("statecast"), Ok(()));
        for bad in ["", "a.b", "a b", "$x", "admin", &"d".repeat(64)] {
            assert!(database(bad).is_err(), "{bad}");
        }
    }
}

//! What a room's name means (semantics 25).
//!
//! Invariant: every name has one meaning, and a meaning one name: a `:` before any `/` makes an app's room, else it is
//! `STREAM`, or `STREAM/KEY` where KEY is all after the first `/`.
//! Not here: whether the stream exists.

/// A room as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// Every key of a stream.
    Stream {
        stream: &'a str,
    },
    Key {
        stream: &'a str,
        key: &'a str,
    },
    /// What an app declares; `streams:summary` is the engine's own.
    App {
        stream: &'a str,
        name: &'a str,
    },
}

/// A name that is no room's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("a room is named STREAM, STREAM/KEY or STREAM:NAME")]
    Grammar,
    #[error("a key has 1 to {0} bytes")]
    Key(usize),
}

/// Reads a room's name.
pub fn parse(room: &str, key_bytes_max: usize) -> Result<Target<'_>, NoRoom> {
    let Some(at) = room.find([':', '/']) else {
        return if room.is_empty() { Err(NoRoom::Grammar) } else { Ok(Target::Stream { stream: room }) };
    };
    let (stream, rest) = room.split_at(at);
    let (mark, rest) = rest.split_at(1);
    match (stream, mark, rest) {
        ("", _, _) | (_, ":", "") => Err(NoRoom::Grammar),
        (_, ":", name) => Ok(Target::App { stream, name }),
        (_, _, key) if key.is_empty() || key.len() > key_bytes_max => Err(NoRoom::Key(key_bytes_max)),
        (_, _, key) => Ok(Target::Key { stream, key }),
    }
}

impl<'a> Target<'a> {
    pub fn stream(&self) -> &'a str {
        match self {
            Target::Stream { stream } | Target::Key { stream, .. } | Target::App { stream, .. } => stream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mark_decides() {
        let key = |stream, key| Ok(Target::Key { stream, key });
        assert_eq!(parse("kv", 512), Ok(Target::Stream { stream: "kv" }));
        assert_eq!(parse("kv/a", 512), key("kv", "a"));
        assert_eq!(parse("kv/a/b", 512), key("kv", "a/b"));
        assert_eq!(parse("kv/a:b", 512), key("kv", "a:b"));
        assert_eq!(parse("kv//", 512), key("kv", "/"));
        assert_eq!(
            parse("products:seller/42", 512),
            Ok(Target::App { stream: "products", name: "seller/42" })
        );
    }

    #[test]
    fn rule_25_what_is_no_name_is_refused() {
        for bad in ["", "/", ":", "/a", ":a", "kv:"] {
            assert_eq!(parse(bad, 512), Err(NoRoom::Grammar), "{bad:?}");
        }
        assert_eq!(parse("kv/", 512), Err(NoRoom::Key(512)));
        assert_eq!(parse("kv/abcd", 3), Err(NoRoom::Key(3)));
    }
}

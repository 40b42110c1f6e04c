//! Every write as it was sent to MongoDB, read off the wire between.
//!
//! Invariant: whoever sends, in whatever generation and however often: a version of a key is always the same position and
//! value, the one the log gives it, and no write goes out that does not say what it takes the place of.
//! Not here: what MongoDB made of it (`history`), and what holds up or cuts the wire (`proxy`).

use super::{
    audit::Truth,
    oracle::{Finding, Kind},
};
use bson::{Bson, Document};
use serde_json::Value;
use std::collections::BTreeMap;

/// One version of one key, as somebody sent it.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    position: Document,
    value: Option<Value>,
}

#[derive(Debug, Default, Clone)]
pub struct Wire {
    sent: BTreeMap<(String, i64), Sent>,
    pub writes: u64,
    unguarded: Vec<String>,
    /// What was sent at a version that had been sent as something else.
    differing: Vec<String>,
}

impl Wire {
    /// A command on its way to the server.
    pub fn command(&mut self, command: &Document) {
        for created in list(command, "insert", "documents") {
            self.document(created);
        }
        for statement in list(command, "update", "updates") {
            let constants = statement.get_document("c").ok();
            let changes = constants.and_then(|constants| constants.get_array("changes").ok());
            let changes: Vec<_> = changes.into_iter().flatten().filter_map(Bson::as_document).collect();
            if changes.is_empty() {
                self.unguarded.push(format!("a change of what may be anything: {statement}"));
            }
            changes.into_iter().for_each(|change| self.change(change));
        }
        for removal in list(command, "delete", "deletes") {
            if !removal.get_document("q").is_ok_and(|q| q.contains_key("position")) {
                self.unguarded.push(format!("a removal of what may be anything: {removal}"));
            }
        }
    }

    fn change(&mut self, change: &Document) {
        match (change.get_i64("from"), change.get_document("to")) {
            (Ok(from), Ok(to)) if to.get_i64("version").is_ok_and(|version| version > from) => {
                self.document(to);
            }
            _ => self.unguarded.push(format!("a change that goes back or nowhere: {change}")),
        }
    }

    fn document(&mut self, document: &Document) {
        let (Ok(key), Ok(version), Ok(position)) =
            (document.get_str("_id"), document.get_i64("version"), document.get_document("position"))
        else {
            return self.unguarded.push(format!("an entity without its place: {document}"));
        };
        self.writes += 1;
        let value = document.get("value").filter(|value| value.as_null().is_none());
        let value = value.map(|value| serde_json::to_value(value).expect("JSON"));
        let sent = Sent { position: position.clone(), value };
        let before = self.sent.entry((key.to_owned(), version)).or_insert_with(|| sent.clone());
        if *before != sent {
            self.differing.push(format!("{key} at version {version} as {before:?} and as {sent:?}"));
        }
    }

    /// What should not have been sent. Where the store refused records, versions were counted with them before they were
    /// counted without.
    pub fn findings(&self, truth: &Truth, some_are_refused: bool) -> Vec<Finding> {
        let differing = self.differing.iter().filter(|_| !some_are_refused);
        let differing = differing.map(|what| format!("two things were sent for one version: {what}"));
        let wrong = self.sent.iter().filter(|_| !some_are_refused).filter_map(|((key, version), sent)| {
            let values = truth.values.get(key).map(Vec::as_slice).unwrap_or_default();
            let right = usize::try_from(version - 1).ok().and_then(|at| values.get(at));
            let what = || format!("{key} was sent at version {version} as {sent:?}, which is {right:?}");
            (right != Some(&sent.value)).then(what)
        });
        let unsent = truth.keys.iter().filter_map(|(key, entity)| {
            let is_sent = self.sent.contains_key(&(key.clone(), entity.version as i64));
            (!is_sent).then(|| format!("nobody sent {key} at version {}", entity.version))
        });
        let all = self.unguarded.iter().cloned().chain(differing).chain(wrong);
        let wrong = all.map(|what| Finding::new(Kind::Reordered, what));
        wrong.chain(unsent.map(|what| Finding::new(Kind::Lost, what))).collect()
    }
}

/// The documents that such a command lists, if they are about the store's entities.
fn list<'a>(command: &'a Document, verb: &str, list: &str) -> impl Iterator<Item = &'a Document> + use<'a> {
    let is_of_entities = command.get_str(verb).is_ok_and(|of| of == "kv");
    let list = command.get_array(list).ok().filter(|_| is_of_entities);
    list.into_iter().flatten().filter_map(Bson::as_document)
}

/// What a client of MongoDB sends, put together again: each message is its length, two numbers that pair it with its
/// reply, its kind, and what that has.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
}

impl Messages {
    const HEAD: usize = 16;
    /// The one kind that commands come as; its flags come first, then sections.
    const OP_MSG: [u8; 4] = 2013_i32.to_le_bytes();
    const FLAGS: usize = 4;
    /// The section that is a whole command, which is all that our own writes have.
    const BODY: u8 = 0;

    /// The commands that these bytes complete.
    pub fn commands(&mut self, bytes: &[u8]) -> Vec<Document> {
        self.bytes.extend_from_slice(bytes);
        let (mut commands, mut at) = (Vec::new(), 0);
        while let Some(length) = self.bytes.get(at..at + 4) {
            let length = u32::from_le_bytes(length.try_into().expect("four")) as usize;
            let Some(message) = self.bytes.get(at..at + length.max(Self::HEAD)) else { break };
            at += message.len();
            let sections = message.get(Self::HEAD + Self::FLAGS..).unwrap_or_default();
            if let (Some(kind), [Self::BODY, body @ ..]) = (message.get(12..16), sections)
                && kind == Self::OP_MSG
            {
                commands.extend(Document::from_reader(body));
            }
        }
        self.bytes.drain(..at);
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    fn message(command: &Document) -> Vec<u8> {
        let body = command.to_vec().expect("bytes");
        let length = (Messages::HEAD + Messages::FLAGS + 1 + body.len()) as u32;
        let head = [length.to_le_bytes(), [7; 4], [0; 4], Messages::OP_MSG, [0; 4]].concat();
        [head, vec![Messages::BODY], body].concat()
    }

    fn entity(version: i64, offset: i64, value: i32) -> Document {
        let position = doc! { "epoch": 0_i64, "partition": 1_i64, "offset": offset };
        doc! { "_id": "a", "version": version, "position": position, "value": value }
    }

    fn change(from: i64, to: Document) -> Document {
        doc! { "update": "kv", "updates": [{ "c": { "changes": [{ "from": from, "to": to }] } }] }
    }

    fn found(commands: &[Document]) -> Vec<String> {
        let mut wire = Wire::default();
        commands.iter().for_each(|command| wire.command(command));
        let mut truth = Truth::default();
        truth.values.insert("a".into(), vec![Some(1.into()), Some(2.into())]);
        wire.findings(&truth, false).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn commands_are_seen_however_they_are_cut() {
        let commands = [doc! { "hello": 1 }, doc! { "insert": "kv", "documents": [{ "_id": "a" }] }];
        let bytes: Vec<u8> = commands.iter().flat_map(message).collect();
        for size in 1..bytes.len() {
            let mut messages = Messages::default();
            let seen: Vec<_> = bytes.chunks(size).flat_map(|chunk| messages.commands(chunk)).collect();
            assert_eq!(seen, commands, "in pieces of {size}");
        }
    }

    #[test]
    fn the_same_again_is_no_finding_and_another_thing_is() {
        let first = doc! { "insert": "kv", "documents": [entity(1, 5, 1)] };
        let second = change(1, entity(2, 6, 2));
        assert_eq!(found(&[first.clone(), second.clone(), first.clone(), second.clone()]), [""; 0]);
        let moved = found(&[first.clone(), second, change(1, entity(2, 7, 2))]);
        assert!(
            moved.len() == 1 && moved[0].starts_with("two things were sent for one version"),
            "{moved:?}"
        );
        let swapped = found(&[first, change(1, entity(2, 6, 1))]);
        assert!(swapped.len() == 1 && swapped[0].starts_with("a was sent at version 2 as"), "{swapped:?}");
    }

    #[test]
    fn what_says_not_what_it_replaces_is_found() {
        let set =
            doc! { "update": "kv", "updates": [{ "q": { "_id": "a" }, "u": { "$set": { "value": 1 } } }] };
        let removal = doc! { "delete": "kv", "deletes": [{ "q": { "_id": "a" }, "limit": 1 }] };
        for command in [set, removal, change(2, entity(2, 6, 2)), change(2, entity(1, 6, 1))] {
            assert_eq!(found(std::slice::from_ref(&command)).len(), 1, "{command}");
        }
        let elsewhere = doc! { "delete": "other", "deletes": [{ "q": { "_id": "a" }, "limit": 1 }] };
        assert_eq!(found(&[elsewhere]), [""; 0]);
    }
}

//! Packs documents and statements into raw commands, as many as the limits of one command ask for.
//!
//! Invariant: a command repeats what it needs to be durable (the driver adds nothing to it), and no statement goes out that
//! the server would refuse for its size.
//! Not here: what a statement says (`statements`).

use super::{guard, statements::Id};
use crate::ports::StoreError;
use bson::{
    RawArrayBuf, RawDocument, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};
use serde::Serialize;

/// MongoDB takes no larger document.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// One command holds 16 MB; the rest is room for what stands around the statements.
const COMMAND_BYTES_MAX: usize = 12 << 20;
/// How often a command of changes says an id, beside the document itself.
const TIMES_NAMED: usize = 2;

/// What all commands of a store have in common.
#[derive(Debug, Clone)]
pub struct Terms {
    pub write_concern: RawDocumentBuf,
    pub statements_max: usize,
    /// The server gives up after so long, so that work nobody waits for does not pile up there.
    pub time_max_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Update,
    Delete,
}

impl Verb {
    fn name(self) -> &'static CStr {
        match self {
            Verb::Insert => cstr!("insert"),
            Verb::Update => cstr!("update"),
            Verb::Delete => cstr!("delete"),
        }
    }

    fn list(self) -> &'static CStr {
        match self {
            Verb::Insert => cstr!("documents"),
            Verb::Update => cstr!("updates"),
            Verb::Delete => cstr!("deletes"),
        }
    }

    /// The field of the reply that counts what took effect.
    pub fn counter(self) -> &'static str {
        match self {
            Verb::Insert | Verb::Delete => "n",
            Verb::Update => "nModified",
        }
    }
}

/// How JSON stands in a document. BSON names every element of an array, so a list of small numbers takes eight times the
/// bytes its text does: what the engine's bounds allow may be more than MongoDB takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a value in `value`.
    Value,
    /// As text in `json`.
    Text,
}

/// One command, ready to be sent.
#[derive(Debug)]
pub struct Command {
    pub verb: Verb,
    pub body: RawDocumentBuf,
}

/// What one verb is to do, cut into commands where one would hold too much.
pub struct Pack<'a> {
    terms: &'a Terms,
    verb: Verb,
    collection: &'a str,
    /// Documents to insert, changes, or statements that delete.
    statements: RawArrayBuf,
    /// Of changes: the documents they are of.
    ids: RawArrayBuf,
    statements_len: usize,
    bytes_len: usize,
    scratch: Vec<u8>,
    commands: Vec<Command>,
}

impl<'a> Pack<'a> {
    pub fn new(terms: &'a Terms, verb: Verb, collection: &'a str) -> Self {
        Pack {
            terms,
            verb,
            collection,
            statements: RawArrayBuf::new(),
            ids: RawArrayBuf::new(),
            statements_len: 0,
            bytes_len: 0,
            scratch: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Adds a change of the document of this id.
    pub fn change<T: Serialize>(&mut self, id: Id<'_>, to: impl Fn(Form) -> T) -> Result<(), StoreError> {
        self.push(to)?;
        match id {
            Id::Key(key) => self.ids.push(key),
            Id::Partial { key, partition } => {
                self.ids.push(rawdoc! { "key": key, "partition": i64::from(partition) })
            }
        }
        self.bytes_len += TIMES_NAMED * id.bytes_len();
        Ok(())
    }

    /// Adds what `statement` makes: its JSON as a value, or as text where the value would be too large.
    pub fn push<T: Serialize>(&mut self, statement: impl Fn(Form) -> T) -> Result<(), StoreError> {
        self.write(&statement(Form::Value))?;
        if self.scratch.len() > DOCUMENT_BYTES_MAX {
            self.write(&statement(Form::Text))?;
        }
        let bytes = self.scratch.len();
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(StoreError::Refused(format!(
                "a document of {bytes} bytes is larger than the {DOCUMENT_BYTES_MAX} that MongoDB takes"
            )));
        }
        let full = self.statements_len >= self.terms.statements_max;
        if full || self.bytes_len + bytes > COMMAND_BYTES_MAX {
            self.cut();
        }
        let statement = RawDocument::from_bytes(&self.scratch)
            .map_err(|_| StoreError::Refused("a document cannot be read back as BSON".into()))?;
        self.statements.push(statement);
        self.statements_len += 1;
        self.bytes_len += bytes;
        Ok(())
    }

    fn write(&mut self, statement: &impl Serialize) -> Result<(), StoreError> {
        self.scratch.clear();
        bson::serialize_to_buffer(statement, &mut self.scratch)
            .map_err(|_| StoreError::Refused("a document cannot be written as BSON".into()))
    }

    fn cut(&mut self) {
        if self.statements_len == 0 {
            return;
        }
        let mut body = RawDocumentBuf::new();
        body.append(self.verb.name(), self.collection);
        body.append(cstr!("ordered"), false);
        body.append(cstr!("writeConcern"), self.terms.write_concern.clone());
        body.append(cstr!("maxTimeMS"), self.terms.time_max_ms);
        let mut list = std::mem::replace(&mut self.statements, RawArrayBuf::new());
        if self.verb == Verb::Update {
            let ids = std::mem::replace(&mut self.ids, RawArrayBuf::new());
            let statement = guard::statement(ids, std::mem::replace(&mut list, RawArrayBuf::new()));
            list.push(statement);
        }
        body.append(self.verb.list(), list);
        self.commands.push(Command { verb: self.verb, body });
        (self.statements_len, self.bytes_len) = (0, 0);
    }

    pub fn finish(mut self) -> Vec<Command> {
        self.cut();
        self.commands
    }
}

/// One update that is not of a stream's documents (epochs, marks).
pub fn update(terms: &Terms, collection: &str, statement: RawDocumentBuf) -> Command {
    let mut body = rawdoc! { "update": collection, "updates": [statement] };
    body.append(cstr!("writeConcern"), terms.write_concern.clone());
    body.append(cstr!("maxTimeMS"), terms.time_max_ms);
    Command { verb: Verb::Update, body }
}

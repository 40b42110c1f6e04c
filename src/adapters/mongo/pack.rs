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
/// What stands around the changes of a statement.
const STATEMENT_BYTES: usize = 1 << 10;

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

/// How the changes of documents are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All of a command in one statement, which costs the server least. It ends at the first document that is refused, and
    /// does not say which that was.
    Together,
    /// A statement each.
    Apart,
}

/// One command, ready to be sent.
#[derive(Debug)]
pub struct Command {
    pub verb: Verb,
    pub body: RawDocumentBuf,
    /// The caller's documents in the order of what is said of them; of changes together it is the first that stands for
    /// them all. Empty where nobody asks.
    pub of: Vec<usize>,
}

/// Why a statement cannot be sent.
#[derive(Debug)]
pub enum Unfit {
    /// Of so many bytes, which is more than MongoDB takes.
    TooLarge(usize),
    /// It cannot be made, which is a fault of ours.
    Unmade(StoreError),
}

impl Unfit {
    pub fn too_large(bytes: usize) -> String {
        format!("a document of {bytes} bytes is larger than the {DOCUMENT_BYTES_MAX} that MongoDB takes")
    }
}

impl From<Unfit> for StoreError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::TooLarge(bytes) => StoreError::Refused(Unfit::too_large(bytes)),
            Unfit::Unmade(error) => error,
        }
    }
}

/// What one verb is to do, cut into commands where one would hold too much.
pub struct Pack<'a> {
    terms: &'a Terms,
    verb: Verb,
    collection: &'a str,
    /// Documents to insert, changes, or statements that delete.
    statements: RawArrayBuf,
    /// Changes that are to be one statement, and the documents they are of.
    changes: RawArrayBuf,
    ids: RawArrayBuf,
    shape: Shape,
    of: Vec<usize>,
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
            changes: RawArrayBuf::new(),
            ids: RawArrayBuf::new(),
            shape: Shape::Together,
            of: Vec::new(),
            bytes_len: 0,
            scratch: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// For changes of documents.
    pub fn of_changes(terms: &'a Terms, collection: &'a str, shape: Shape) -> Self {
        Pack { shape, ..Pack::new(terms, Verb::Update, collection) }
    }

    /// Adds a change, of the caller's document `of` with this id.
    pub fn change<T: Serialize>(
        &mut self,
        of: usize,
        id: Id<'_>,
        change: impl Fn(Form) -> T,
    ) -> Result<(), Unfit> {
        self.fit(TIMES_NAMED * id.bytes_len(), change)?;
        self.changes.push(made(&self.scratch)?);
        match id {
            Id::Key(key) => self.ids.push(key),
            Id::Partial { key, partition } => {
                self.ids.push(rawdoc! { "key": key, "partition": i64::from(partition) });
            }
        }
        self.of.push(of);
        if self.shape == Shape::Apart {
            self.bytes_len += STATEMENT_BYTES;
            self.gather();
        }
        Ok(())
    }

    /// Adds what `statement` makes of the caller's document `of`.
    pub fn push<T: Serialize>(&mut self, of: usize, statement: impl Fn(Form) -> T) -> Result<(), Unfit> {
        self.fit(0, statement)?;
        self.statements.push(made(&self.scratch)?);
        self.of.push(of);
        Ok(())
    }

    /// Makes something in `scratch`, its JSON as a value, or as text where the value would be too large; and room for it
    /// and so many bytes `more`.
    fn fit<T: Serialize>(&mut self, more: usize, make: impl Fn(Form) -> T) -> Result<(), Unfit> {
        self.write(&make(Form::Value))?;
        if self.scratch.len() > DOCUMENT_BYTES_MAX {
            self.write(&make(Form::Text))?;
        }
        let bytes = self.scratch.len();
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(Unfit::TooLarge(bytes));
        }
        let full = self.of.len() >= self.terms.statements_max;
        if full || self.bytes_len + bytes + more > COMMAND_BYTES_MAX {
            self.cut();
        }
        self.bytes_len += bytes + more;
        Ok(())
    }

    fn write(&mut self, statement: &impl Serialize) -> Result<(), Unfit> {
        self.scratch.clear();
        bson::serialize_to_buffer(statement, &mut self.scratch)
            .map_err(|_| unmade("a document cannot be written as BSON"))
    }

    fn cut(&mut self) {
        if self.of.is_empty() {
            return;
        }
        self.gather();
        let mut body = RawDocumentBuf::new();
        body.append(self.verb.name(), self.collection);
        body.append(cstr!("ordered"), false);
        body.append(cstr!("writeConcern"), self.terms.write_concern.clone());
        body.append(cstr!("maxTimeMS"), self.terms.time_max_ms);
        body.append(self.verb.list(), take(&mut self.statements));
        self.commands.push(Command { verb: self.verb, body, of: std::mem::take(&mut self.of) });
        self.bytes_len = 0;
    }

    /// Makes one statement of the changes that wait for it.
    fn gather(&mut self) {
        if !self.ids.is_empty() {
            self.statements.push(guard::statement(take(&mut self.ids), take(&mut self.changes)));
        }
    }

    pub fn finish(mut self) -> Vec<Command> {
        self.cut();
        self.commands
    }
}

fn take(list: &mut RawArrayBuf) -> RawArrayBuf {
    std::mem::replace(list, RawArrayBuf::new())
}

fn made(bytes: &[u8]) -> Result<&RawDocument, Unfit> {
    RawDocument::from_bytes(bytes).map_err(|_| unmade("a document cannot be read back as BSON"))
}

fn unmade(why: &str) -> Unfit {
    Unfit::Unmade(StoreError::Refused(why.into()))
}

/// One update that is not of a stream's documents (epochs, marks).
pub fn update(terms: &Terms, collection: &str, statement: RawDocumentBuf) -> Command {
    let mut body = rawdoc! { "update": collection, "updates": [statement] };
    body.append(cstr!("writeConcern"), terms.write_concern.clone());
    body.append(cstr!("maxTimeMS"), terms.time_max_ms);
    Command { verb: Verb::Update, body, of: Vec::new() }
}

//! What an error of MongoDB means for us: one table of codes, one of the driver's kinds.
//!
//! Invariant: a text made here shows neither a secret nor a document. The server's own messages hold keys, and even whole
//! commands, so only its code and the code's name are passed on.
//! Not here: errors of single statements that only say "did not take effect" (`reply`).

use crate::{
    app::{Poison, Reason},
    ports::StoreError,
};
use mongodb::error::{Error, ErrorKind, WriteFailure};

/// What is to be done about an error; `StoreError` says the same with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Ask again, under the guard, until it answers.
    Unavailable,
    /// It will never be taken.
    Refused,
    /// It is this document that will never be taken, whatever else is written: of a statement of its own, its records become
    /// dead letters with this reason.
    Document(Reason),
    /// Somebody must act.
    Fatal,
}

use Consequence::{Document, Fatal, Refused, Unavailable};
use Reason::{StoreRefused, TooDeep, TooLarge};

/// A unique index other than the one on `_id` may raise it too (`reply` tells them apart).
pub const DUPLICATE_KEY: i32 = 11_000;
/// A collection that is to be created is there.
pub const NAMESPACE_EXISTS: i32 = 48;

/// Codes of the server whose consequence is known. Any other is `Unavailable`: asking again under the guard harms nothing,
/// giving up on a record would.
pub const CODES: &[(i32, Consequence, &str)] = &[
    (2, Refused, "it does not accept a value of ours"),
    (6, Unavailable, "a node cannot be reached"),
    (7, Unavailable, "a node cannot be found"),
    (9, Refused, "it cannot read a command of ours"),
    (11, Fatal, "the user of mongodb.uri is not known"),
    (13, Fatal, "the user of mongodb.uri lacks rights; it needs readWrite on mongodb.database"),
    (14, Refused, "a field has a type it does not take"),
    (15, Document(TooDeep), "a document is nested too deeply or holds a number that is too large"),
    (18, Fatal, "user and password of mongodb.uri do not match, or authSource names another database"),
    (20, Fatal, "this kind of deployment does not allow the operation"),
    (22, Refused, "a document is no valid BSON"),
    (24, Unavailable, "a lock was not free in time"),
    (43, Unavailable, "a cursor was lost; the query is made again"),
    (46, Unavailable, "a lock was not free in time"),
    (50, Unavailable, "it did not finish in time; part of it may have taken effect"),
    (52, Document(StoreRefused), "a field name starts with a dollar where it may not"),
    (55, Document(StoreRefused), "a field looks like a database reference and is none"),
    (56, Document(StoreRefused), "a field name is empty where it may not be"),
    (57, Document(StoreRefused), "a field name holds a dot where it may not"),
    (59, Fatal, "it does not know a command we need; MongoDB 5.0 or newer is needed"),
    (64, Unavailable, "a majority did not confirm in time; the write may have taken effect"),
    (66, Refused, "a field that must not change would change"),
    (67, Fatal, "an index cannot be created"),
    (72, Fatal, "it does not accept an option of ours"),
    (73, Fatal, "mongodb.database or a stream's name cannot name a collection"),
    (79, Fatal, "its replica set does not know the write concern"),
    (85, Fatal, "an index of ours exists with other options"),
    (86, Fatal, "an index of ours exists with other keys"),
    (89, Unavailable, "the network between its nodes timed out"),
    (91, Unavailable, "it is shutting down"),
    (100, Unavailable, "too few nodes bear data for the write concern"),
    (112, Unavailable, "two writes met; this one is made again"),
    (115, Fatal, "this kind of deployment does not support the command"),
    (117, Unavailable, "another operation is in the way"),
    (121, Document(StoreRefused), "a validation rule of the collection does not allow the document"),
    (133, Unavailable, "there is no primary"),
    (134, Unavailable, "what a majority holds cannot be read yet"),
    (146, Refused, "the operation needs more memory than it may have"),
    (166, Fatal, "a stream's name names a view, not a collection"),
    (175, Unavailable, "the query was ended from outside"),
    (189, Unavailable, "the primary stepped down"),
    (202, Unavailable, "the network between its nodes timed out"),
    (211, Unavailable, "a key of its own is not there yet"),
    (246, Unavailable, "the snapshot to be read is gone"),
    (262, Unavailable, "it did not finish in time; part of it may have taken effect"),
    (323, Fatal, "the API version that mongodb.uri asks for does not hold a command we need"),
    (391, Unavailable, "the connection has to authenticate anew"),
    (462, Unavailable, "it takes fewer requests than we make"),
    (8_000, Fatal, "the hosted service does not allow it"),
    (9_001, Unavailable, "a connection broke"),
    (10_058, Unavailable, "the node is not primary"),
    (10_107, Unavailable, "the node is not primary"),
    (10_334, Document(TooLarge), "a document is larger than 16 MB"),
    (DUPLICATE_KEY, Document(StoreRefused), "a unique index beside that on _id forbids the document"),
    (11_600, Unavailable, "it is shutting down"),
    (11_601, Unavailable, "the operation was ended from outside"),
    (11_602, Unavailable, "its replica set chooses a new primary"),
    (13_435, Unavailable, "the node is not primary"),
    (13_436, Unavailable, "the node is starting or recovering"),
    (14_031, Unavailable, "its disk is full"),
    (17_280, Document(TooLarge), "a key is too long for an index"),
    (17_419, Document(TooLarge), "a document is larger than 16 MB"),
    (17_420, Document(TooLarge), "a document is larger than 16 MB"),
];

impl Consequence {
    pub fn error(self, text: impl Into<String>) -> StoreError {
        match self {
            Unavailable => StoreError::Unavailable(text.into()),
            Refused | Document(_) => StoreError::Refused(text.into()),
            Fatal => StoreError::Fatal(text.into()),
        }
    }
}

/// The error of a code the server answered with; `name` is the server's name for it, where it gave one.
pub fn of_code(code: i32, name: &str) -> StoreError {
    let (consequence, text) = told(code, name);
    consequence.error(text)
}

/// Why the document of a statement that failed with this code will never be taken; `None`: it is not the document's fault,
/// and nothing may be given up over it.
pub fn of_document(code: i32, name: &str) -> Option<Poison> {
    match told(code, name) {
        (Document(reason), text) => Some(Poison::new(reason, text)),
        _ => None,
    }
}

fn told(code: i32, name: &str) -> (Consequence, String) {
    let known = CODES.iter().find(|(known, ..)| *known == code);
    let (consequence, reason) = known
        .map_or((Unavailable, "it failed in a way we do not know"), |(_, consequence, reason)| {
            (*consequence, *reason)
        });
    let space = if name.is_empty() { "" } else { " " };
    (consequence, format!("MongoDB: {reason} (error {code}{space}{name})"))
}

/// The error of a call of the driver.
pub fn of_driver(error: &Error) -> StoreError {
    match &*error.kind {
        ErrorKind::Command(command) => of_code(command.code, &command.code_name),
        ErrorKind::Write(WriteFailure::WriteError(one)) => {
            of_code(one.code, one.code_name.as_deref().unwrap_or_default())
        }
        ErrorKind::Write(WriteFailure::WriteConcernError(one)) => of_code(one.code, &one.code_name),
        kind => {
            let (consequence, reason) = of_kind(kind);
            consequence.error(format!("MongoDB: {reason}{}", detail(kind)))
        }
    }
}

/// The driver's own kinds. The list is open in the driver, so what is not named here is asked again.
fn of_kind(kind: &ErrorKind) -> (Consequence, &'static str) {
    match kind {
        ErrorKind::Authentication { .. } => (Fatal, "the credentials of mongodb.uri are refused"),
        ErrorKind::InvalidTlsConfig { .. } => (Fatal, "the TLS settings of mongodb.uri cannot be used"),
        ErrorKind::IncompatibleServer { .. } => (Fatal, "the driver does not support this server"),
        ErrorKind::SessionsNotSupported => (Fatal, "the deployment does not support sessions"),
        ErrorKind::InvalidArgument { .. } => (Refused, "the driver does not accept an argument of ours"),
        ErrorKind::Bson(_) => (Refused, "a document cannot be written as BSON"),
        ErrorKind::Io(_) => (Unavailable, "the connection failed"),
        ErrorKind::ConnectionPoolCleared { .. } => (Unavailable, "its connections were given up"),
        ErrorKind::ServerSelection { .. } => (Unavailable, "no primary can be reached"),
        ErrorKind::DnsResolve { .. } => (Unavailable, "its host name cannot be resolved"),
        ErrorKind::InvalidResponse { .. } => (Unavailable, "it answered with what is no answer"),
        ErrorKind::Shutdown => (Refused, "the client was closed"),
        _ => (Unavailable, "the driver failed in a way we do not know"),
    }
}

/// What the driver says beyond the reason, for kinds whose text names hosts and causes but no document.
fn detail(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::Authentication { message, .. }
        | ErrorKind::InvalidTlsConfig { message, .. }
        | ErrorKind::IncompatibleServer { message, .. }
        | ErrorKind::DnsResolve { message, .. } => format!(": {}", one_line(message)),
        ErrorKind::ServerSelection { message, .. } => format!(": {}", one_line(&nodes(message))),
        ErrorKind::Io(error) => format!(": {}", one_line(&error.to_string())),
        _ => String::new(),
    }
}

/// Of the driver's picture of the deployment, each node with its own error. A picture we cannot read is told as it is.
fn nodes(message: &str) -> String {
    let error = |text: &str| {
        let (_, error) = text.split_once("Error: Kind: ")?;
        error.split_once(", labels").map(|(error, _)| error.to_owned())
    };
    let node = |text: &str| {
        let (address, rest) = text.split_once(',')?;
        Some(format!("{address}: {}", error(rest).unwrap_or_else(|| "not primary".into())))
    };
    let nodes: Vec<_> = message.split("{ Address: ").skip(1).filter_map(node).collect();
    if nodes.is_empty() { message.to_owned() } else { nodes.join("; ") }
}

/// Keeps a text to one line of bounded length.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, io};

    fn consequence(error: &StoreError) -> Consequence {
        match error {
            StoreError::Unavailable(_) => Unavailable,
            StoreError::Refused(_) | StoreError::RefusedDocuments(_) => Refused,
            StoreError::Fatal(_) => Fatal,
        }
    }

    #[test]
    fn each_code_stands_once_with_a_reason() {
        let codes: BTreeSet<_> = CODES.iter().map(|(code, ..)| code).collect();
        assert_eq!(codes.len(), CODES.len());
        assert!(CODES.iter().all(|(.., reason)| !reason.is_empty() && !reason.ends_with('.')));
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
    }

    #[test]
    fn each_code_has_its_consequence() {
        for (code, expected) in [
            (10_107, Unavailable),
            (189, Unavailable),
            (64, Unavailable),
            (50, Unavailable),
            (10_334, Refused),
            (17_419, Refused),
            (121, Refused),
            (13, Fatal),
            (18, Fatal),
            (999_999, Unavailable),
        ] {
            assert_eq!(consequence(&of_code(code, "Name")), expected, "{code}");
        }
        assert_eq!(
            of_code(13, "Unauthorized").to_string(),
            "the store does not allow this: MongoDB: the user of mongodb.uri lacks rights; it needs readWrite on \
             mongodb.database (error 13 Unauthorized)"
        );
    }

    #[test]
    fn only_what_a_document_itself_is_refused_for_may_become_a_dead_letter() {
        let reason = |code| of_document(code, "Name").map(|poison| poison.reason);
        assert_eq!(reason(121), Some(StoreRefused));
        assert_eq!(reason(DUPLICATE_KEY), Some(StoreRefused));
        assert_eq!(reason(10_334), Some(TooLarge));
        // Not primary, stepped down, full, no majority, out of time, no rights, a fault of our own, unknown.
        for not_its_fault in [10_107, 189, 14_031, 64, 50, 13, 9, 22, 999_999] {
            assert_eq!(reason(not_its_fault), None, "{not_its_fault}");
        }
        let detail = of_document(121, "DocumentValidationFailure").map(|poison| poison.detail);
        let wanted = "MongoDB: a validation rule of the collection does not allow the document \
             (error 121 DocumentValidationFailure)";
        assert_eq!(detail.as_deref(), Some(wanted));
    }

    #[test]
    fn what_the_driver_meets_is_classified_by_kind() {
        let broken = Error::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(consequence(&of_driver(&broken)), Unavailable);
        assert!(of_driver(&broken).to_string().contains("connection reset"));
        assert_eq!(consequence(&of_driver(&Error::custom("secret"))), Unavailable);
        assert!(!of_driver(&Error::custom("secret".to_owned())).to_string().contains("secret"));
    }

    #[test]
    fn a_text_is_one_bounded_line() {
        assert_eq!(one_line("a\nb\r\tc"), "a b  c");
        assert_eq!(one_line(&"ü".repeat(1_000)).chars().count(), 400);
    }

    #[test]
    fn nodes_that_cannot_be_reached_are_told_with_their_errors() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ \
            { Address: db1:27017, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), \
            labels: {}, source: None, server response: None }, { Address: db2:1, Type: RsSecondary } ] }";
        assert_eq!(
            nodes(message),
            "db1:27017: I/O error: Connection refused (os error 111); db2:1: not primary"
        );
        assert_eq!(nodes("anything else"), "anything else");
    }
}

//! The fold of a writer without its app's types: erased around a batch, so an entity is decoded once a batch.

use super::{Confirmed, Effects, Fault, Flight, Fold};
use crate::{
    app::{App, Poison},
    document::Document,
    ports::{EntityId, RefusedDocument},
    record::{Key, Position, Record},
};
use std::sync::Arc;

/// `Fold<A>` for any `A`; the methods are those of `Fold`.
pub trait ShardFold: Send {
    fn replaces(&self, record: &Record<'_>) -> Result<Option<Key>, Poison>;
    fn gather(&mut self, flight: Arc<Flight>, indices: Vec<u32>);
    fn missing(&self) -> Vec<EntityId>;
    fn row_ids(&self) -> Vec<String>;
    fn admit(&mut self, documents: Vec<Document>) -> Result<(), Fault>;
    fn admit_firsts(&mut self, firsts: Vec<(String, Position)>);
    fn fold(&mut self) -> Result<Effects, Fault>;
    fn settle(&mut self, documents: Vec<Document>, refused: Vec<RefusedDocument>) -> Result<Effects, Fault>;
    fn go_on(&mut self) -> Result<Effects, Fault>;
    fn round(&self) -> Vec<EntityId>;
    fn again(&mut self, firsts: Vec<(String, Position)>, documents: Vec<Document>) -> Result<Effects, Fault>;
    fn confirm(&mut self) -> Confirmed;
    fn abandon(&mut self);
    fn records(&self) -> usize;
    fn keys(&self) -> usize;
    fn bytes(&self) -> usize;
}

impl<A: App> ShardFold for Fold<A> {
    fn replaces(&self, record: &Record<'_>) -> Result<Option<Key>, Poison> {
        Fold::replaces(self, record)
    }

    fn gather(&mut self, flight: Arc<Flight>, indices: Vec<u32>) {
        Fold::gather(self, flight, indices);
    }

    fn missing(&self) -> Vec<EntityId> {
        Fold::missing(self)
    }

    fn row_ids(&self) -> Vec<String> {
        Fold::row_ids(self)
    }

    fn admit(&mut self, documents: Vec<Document>) -> Result<(), Fault> {
        Fold::admit(self, documents)
    }

    fn admit_firsts(&mut self, firsts: Vec<(String, Position)>) {
        Fold::admit_firsts(self, firsts);
    }

    fn fold(&mut self) -> Result<Effects, Fault> {
        Fold::fold(self, None)
    }

    fn settle(&mut self, documents: Vec<Document>, refused: Vec<RefusedDocument>) -> Result<Effects, Fault> {
        Fold::settle(self, documents, refused)
    }

    fn go_on(&mut self) -> Result<Effects, Fault> {
        Fold::go_on(self)
    }

    fn round(&self) -> Vec<EntityId> {
        Fold::round(self)
    }

    fn again(&mut self, firsts: Vec<(String, Position)>, documents: Vec<Document>) -> Result<Effects, Fault> {
        Fold::again(self, firsts, documents)
    }

    fn confirm(&mut self) -> Confirmed {
        Fold::confirm(self)
    }

    fn abandon(&mut self) {
        Fold::abandon(self);
    }

    fn records(&self) -> usize {
        Fold::records(self)
    }

    fn keys(&self) -> usize {
        Fold::keys(self)
    }

    fn bytes(&self) -> usize {
        Fold::bytes(self)
    }
}

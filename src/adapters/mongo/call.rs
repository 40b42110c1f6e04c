//! One client of the driver, and the one way to call it.
//!
//! Invariant: a future of the driver is never dropped half way, which could leave a connection in the middle of a reply: it
//! runs as a task of its own on the runtime the client was made on, whoever asked and however long they wait.
//! Not here: building commands, reading documents, retrying.

use super::{
    errors,
    pack::{Command, Terms},
    reply::{self, Taken},
};
use crate::ports::StoreError;
use bson::{Document, RawDocument, RawDocumentBuf, raw::cstr};
use futures_util::{TryStreamExt, future::try_join_all};
use mongodb::{Database, raw_batch_cursor::RawBatch};
use std::{future::Future, time::Duration};
use tokio::runtime::Handle;

#[derive(Debug, Clone)]
pub struct Door {
    pub database: Database,
    pub runtime: Handle,
    /// A call that has not answered in this time is given up by who asked; the call itself ends when the driver's
    /// heartbeat finds the server gone.
    pub call_timeout: Duration,
}

impl Door {
    /// Runs a call to its end, and waits for it so long as `call_timeout` says. Beyond that its outcome is unknown.
    pub async fn call<T, F>(&self, call: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        let task = self.runtime.spawn(call);
        match tokio::time::timeout(self.call_timeout, task).await {
            Ok(Ok(answer)) => answer.map_err(|error| errors::of_driver(&error)),
            Ok(Err(_)) => Err(StoreError::Unavailable("MongoDB: the call ended without an answer".into())),
            Err(_) => {
                let waited_ms = self.call_timeout.as_millis();
                Err(StoreError::Unavailable(format!("MongoDB: no answer in {waited_ms} ms")))
            }
        }
    }

    /// Any command; errors inside an answer of `ok: 1` are for the caller to find.
    pub async fn command(&self, body: RawDocumentBuf) -> Result<Document, StoreError> {
        let database = self.database.clone();
        self.call(async move { database.run_raw_command(body).await }).await
    }

    /// Commands that write, side by side; returns how many of their statements took effect.
    pub async fn write(&self, commands: Vec<Command>) -> Result<usize, StoreError> {
        self.write_each(commands).await?.all()
    }

    /// The same, where it is told which of the caller's documents are refused.
    pub async fn write_each(&self, commands: Vec<Command>) -> Result<Taken, StoreError> {
        let writes = commands.into_iter().map(|Command { verb, body, of }| async move {
            let answer = self.command(body).await?;
            let mut taken = reply::taken(verb, &answer)?;
            for (at, poison) in &mut taken.refused {
                *at = *of.get(*at).ok_or_else(|| StoreError::Refused(poison.detail.clone()))?;
            }
            Ok::<_, StoreError>(taken)
        });
        let mut taken = Taken::default();
        for Taken { count, mut refused } in try_join_all(writes).await? {
            taken.count += count;
            taken.refused.append(&mut refused);
        }
        Ok(taken)
    }

    /// A query with all its batches.
    pub async fn find(&self, body: RawDocumentBuf) -> Result<Vec<RawBatch>, StoreError> {
        let database = self.database.clone();
        self.call(async move { database.run_raw_cursor_command(body).batch().await?.try_collect().await })
            .await
    }
}

/// A limit for queries whose bound lies in their filter.
pub const ALL: usize = i32::MAX as usize - 1;

/// A query of the primary: `limit` documents at most, in one reply where they fit 16 MB.
#[derive(Debug)]
pub struct Find<'a> {
    pub collection: &'a str,
    pub filter: RawDocumentBuf,
    pub sort: Option<RawDocumentBuf>,
    pub limit: usize,
    pub read_concern: &'static str,
}

impl Find<'_> {
    /// Without a batch size the first reply would end at 101 documents. One more than can come tells the server in the
    /// same reply that the query is over.
    pub fn command(self, terms: &Terms) -> RawDocumentBuf {
        let limit = self.limit.min(ALL) as i64;
        let mut body = RawDocumentBuf::new();
        body.append(cstr!("find"), self.collection);
        body.append(cstr!("filter"), self.filter);
        if let Some(sort) = self.sort {
            body.append(cstr!("sort"), sort);
        }
        body.append(cstr!("limit"), limit);
        body.append(cstr!("batchSize"), limit + 1);
        body.append(cstr!("readConcern"), bson::rawdoc! { "level": self.read_concern });
        body.append(cstr!("maxTimeMS"), terms.time_max_ms);
        body
    }
}

/// Every document of these batches, through `read`.
pub fn each<T>(
    batches: &[RawBatch],
    mut read: impl FnMut(&RawDocument) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let malformed = |_| StoreError::Unavailable("MongoDB: a reply is malformed".into());
    let mut out = Vec::new();
    for batch in batches {
        let documents = batch.doc_slices().map_err(|error| errors::of_driver(&error))?;
        for document in documents {
            let document = document.map_err(malformed)?;
            let document = document
                .as_document()
                .ok_or(StoreError::Unavailable("MongoDB: a reply holds what is no document".into()))?;
            out.push(read(document)?);
        }
    }
    Ok(out)
}

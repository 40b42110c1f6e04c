//! A store that confirms everything, keeps nothing and loads nothing: what the engine costs alone.
//!
//! Invariant: every call answers at once. It passes no behaviour suite, by intent.

use crate::{
    document::{Document, Json},
    ports::{EntityId, RowScan, Scan, Store, StoreError, StoredRow, Upsert},
    record::Position,
};
use futures_util::future::{BoxFuture, FutureExt, ready};

#[derive(Debug, Clone, Copy, Default)]
pub struct NullStore;

fn done<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, StoreError>> {
    ready(Ok(value)).boxed()
}

impl Store for NullStore {
    fn prepare<'a>(&'a self, _: &'a str, _: &'a [String]) -> BoxFuture<'a, Result<(), StoreError>> {
        done(())
    }

    fn last_epoch<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<u32>, StoreError>> {
        done(None)
    }

    fn epoch<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Option<u32>,
    ) -> BoxFuture<'a, Result<Option<(u32, bool)>, StoreError>> {
        done(Some((0, false)))
    }

    fn load<'a>(&'a self, _: &'a str, _: &'a [EntityId]) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        done(Vec::new())
    }

    fn load_partials<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        done(Vec::new())
    }

    fn write<'a>(&'a self, _: &'a str, upserts: Vec<Upsert>) -> BoxFuture<'a, Result<usize, StoreError>> {
        done(upserts.len())
    }

    fn insert_rows<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        rows: Vec<StoredRow>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        done(rows.len())
    }

    fn row_firsts<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Position)>, StoreError>> {
        done(Vec::new())
    }

    fn load_row<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRow>, StoreError>> {
        done(None)
    }

    fn scan_rows<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: RowScan,
    ) -> BoxFuture<'a, Result<Vec<StoredRow>, StoreError>> {
        done(Vec::new())
    }

    fn scan<'a>(&'a self, _: &'a str, _: Scan) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        done(Vec::new())
    }

    fn count<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<u64, StoreError>> {
        done(0)
    }

    fn expired<'a>(
        &'a self,
        _: &'a str,
        _: i64,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Document>, StoreError>> {
        done(Vec::new())
    }

    fn forget<'a>(
        &'a self,
        _: &'a str,
        ids: Vec<(EntityId, Position)>,
    ) -> BoxFuture<'a, Result<usize, StoreError>> {
        done(ids.len())
    }

    fn put_mark<'a>(&'a self, _: &'a str, _: Json) -> BoxFuture<'a, Result<(), StoreError>> {
        done(())
    }

    fn marks<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<(String, Json)>, StoreError>> {
        done(Vec::new())
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        done(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_is_confirmed_and_nothing_is_kept() {
        let upsert = crate::tests::contract::store::upsert("a", 2, 7, "1");
        for _ in 0..2 {
            assert_eq!(NullStore.write("kv", vec![upsert.clone()]).await.expect("write"), 1);
        }
        let id = crate::tests::contract::store::id("a");
        assert_eq!(NullStore.load("kv", &[id]).await.expect("load"), []);
        assert_eq!(NullStore.count("kv").await.expect("count"), 0);
    }
}

//! What a store does that refuses some documents, in the words of `StoreError::RefusedDocuments`.

use super::store::{StoreFactory, id, load, prepared, upsert, write};
use crate::{
    app::Reason,
    ports::{Store, StoreError, Upsert},
};
use std::{collections::BTreeSet, sync::Arc};

async fn refused(store: &Arc<dyn Store>, stream: &str, upserts: Vec<Upsert>) -> BTreeSet<String> {
    let written = store.write(stream, upserts).await;
    let Err(StoreError::RefusedDocuments(refused)) = &written else { panic!("{written:?}") };
    for one in refused {
        assert_eq!((one.id.partial, one.poison.reason), (None, Reason::StoreRefused));
        assert!(!one.poison.detail.is_empty());
    }
    refused.iter().map(|one| one.id.key.to_string()).collect()
}

pub async fn what_is_refused_is_named_and_its_neighbours_are_written(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    if !factory.refuse_bad(&stream).await {
        return;
    }
    assert_eq!(write(&store, &stream, &[upsert("a", 1, 1, "1"), upsert("d", 1, 2, "1")]).await, 2);
    // New ones and newer ones, each kind refused and not.
    let batch = vec![
        upsert("b", 1, 3, "\"bad\""),
        upsert("a", 2, 4, "2"),
        upsert("d", 2, 5, "\"bad\""),
        upsert("c", 1, 6, "3"),
        upsert("e", 1, 7, "\"bad\""),
    ];
    let named = refused(&store, &stream, batch).await;
    assert_eq!(named, BTreeSet::from(["b".into(), "d".into(), "e".into()]));
    let ids = ["a", "b", "c", "d", "e"].map(id);
    let held = store.load(&stream, &ids).await.expect("load");
    let mut held: Vec<_> = held.iter().map(|document| (&*document.key, document.version)).collect();
    held.sort_unstable();
    assert_eq!(held, [("a", 2), ("c", 1), ("d", 1)]);
}

pub async fn what_was_refused_may_be_written_otherwise(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    if !factory.refuse_bad(&stream).await {
        return;
    }
    for (version, offset) in [(1, 1), (2, 3)] {
        let bad = upsert("a", version, offset, "\"bad\"");
        assert_eq!(refused(&store, &stream, vec![bad.clone()]).await, BTreeSet::from(["a".into()]));
        assert_eq!(refused(&store, &stream, vec![bad]).await, BTreeSet::from(["a".into()]), "again");
        assert_eq!(write(&store, &stream, &[upsert("a", version, offset + 1, "1")]).await, 1);
        let held = load(&store, &stream, "a").await.expect("stored");
        assert_eq!((held.version, held.position.offset), (version, offset + 1));
    }
}

//! Pages, counts, expiry, rows and partials: what every store does beyond loading and writing one entity.

use super::store::{StoreFactory, at, id, load, prepared, removal, upsert, write};
use crate::{
    document::Json,
    ports::{EntityId, RowScan, Scan, Store, StoredRow},
};
use std::{collections::BTreeSet, sync::Arc};

async fn keys(store: &Arc<dyn Store>, stream: &str, scan: Scan) -> Vec<String> {
    let page = store.scan(stream, scan).await.expect("scan");
    page.into_iter().map(|document| document.key.to_string()).collect()
}

pub async fn a_scan_goes_page_by_page_in_key_order(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let names =
        ["b", "a", "a/1", "a\u{1}", "Z", "ü", "z", "aa", "\u{1F980}", "\u{FFFD}", "é", "e\u{301}", "a.b"];
    let upserts: Vec<_> = names.iter().map(|name| upsert(name, 1, 0, "1")).collect();
    assert_eq!(write(&store, &stream, &upserts).await, names.len());
    let mut paged = Vec::new();
    loop {
        let scan = Scan { after: paged.last().cloned(), limit: 3, ..Scan::default() };
        let page = keys(&store, &stream, scan).await;
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    let mut expected: Vec<_> = names.map(str::to_owned).into();
    expected.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    assert_eq!(paged, expected);
}

pub async fn a_scan_keeps_to_prefix_from_and_after(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let names = ["a", "b", "b/1", "b/2", "b/\u{10FFFF}", "b0", "c", "\u{10FFFF}\u{10FFFF}"];
    write(&store, &stream, &names.map(|name| upsert(name, 1, 0, "1"))).await;
    let scan = |prefix: Option<&str>, from: Option<&str>, after: Option<&str>| Scan {
        prefix: prefix.map(str::to_owned),
        from: from.map(str::to_owned),
        after: after.map(str::to_owned),
        limit: 100,
        with_removed: false,
    };
    let cases = [
        (scan(Some("b/"), None, None), vec!["b/1", "b/2", "b/\u{10FFFF}"]),
        (scan(Some("b/\u{10FFFF}"), None, None), vec!["b/\u{10FFFF}"]),
        (scan(Some("\u{10FFFF}"), None, None), vec!["\u{10FFFF}\u{10FFFF}"]),
        (scan(Some("b"), Some("b/2"), None), vec!["b/2", "b/\u{10FFFF}", "b0"]),
        (scan(Some("b"), None, Some("b/2")), vec!["b/\u{10FFFF}", "b0"]),
        (scan(None, Some("b0"), None), vec!["b0", "c", "\u{10FFFF}\u{10FFFF}"]),
        (scan(None, Some("b1"), Some("a")), vec!["c", "\u{10FFFF}\u{10FFFF}"]),
        (scan(None, Some("a"), Some("c")), vec!["\u{10FFFF}\u{10FFFF}"]),
        (scan(Some("b/"), Some("a"), None), vec!["b/1", "b/2", "b/\u{10FFFF}"]),
        (scan(Some("b/"), Some("c"), None), vec![]),
        (scan(Some("b/"), None, Some("c")), vec![]),
        (scan(Some("x"), None, None), vec![]),
        (scan(Some("b."), None, None), vec![]),
    ];
    for (scan, expected) in cases {
        assert_eq!(keys(&store, &stream, scan.clone()).await, expected, "{scan:?}");
    }
}

pub async fn a_scan_leaves_out_tombstones_unless_asked(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    write(&store, &stream, &["a", "b", "c", "d"].map(|key| upsert(key, 1, 0, "1"))).await;
    assert_eq!(write(&store, &stream, &[removal("a", 2, 1, 10), removal("c", 2, 1, 10)]).await, 2);
    assert_eq!(keys(&store, &stream, Scan { limit: 2, ..Scan::default() }).await, ["b", "d"]);
    let all = Scan { limit: 10, with_removed: true, ..Scan::default() };
    assert_eq!(keys(&store, &stream, all).await, ["a", "b", "c", "d"]);
}

pub async fn only_expired_tombstones_are_named(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let removals: Vec<_> = (1..=5).map(|i| removal(&format!("key-{i}"), 1, i, i as i64 * 100)).collect();
    write(&store, &stream, &removals).await;
    write(&store, &stream, &[upsert("kept", 1, 0, "1")]).await;
    let expired = store.expired(&stream, 300, 10).await.expect("expired");
    let names: BTreeSet<_> = expired.iter().map(|document| document.key.to_string()).collect();
    assert_eq!(names, ["key-1", "key-2", "key-3"].map(str::to_owned).into());
    assert!(expired.iter().all(|document| document.value.is_none() && document.position.offset > 0));
    assert_eq!(store.expired(&stream, 300, 2).await.expect("expired").len(), 2);
    assert_eq!(store.expired(&stream, 99, 10).await.expect("expired"), []);
}

pub async fn a_document_with_a_time_to_live_expires_alive(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let mut alive = upsert("alive", 1, 1, "1");
    alive.expires_ms = Some(200);
    write(&store, &stream, &[alive.clone(), removal("removed", 1, 2, 100), upsert("kept", 1, 3, "1")]).await;
    let expired = store.expired(&stream, 300, 10).await.expect("expired");
    let names: BTreeSet<_> = expired.iter().map(|document| document.key.to_string()).collect();
    assert_eq!(names, ["alive", "removed"].map(str::to_owned).into());
    assert!(expired.contains(&alive.document), "it is there, with its value: {expired:?}");
    assert_eq!(
        store.count(&stream).await.expect("count"),
        2,
        "what expires alive counts until it is forgotten"
    );
    // A newer record puts the time off.
    let mut later = upsert("alive", 2, 5, "2");
    later.expires_ms = Some(900);
    assert_eq!(write(&store, &stream, &[later]).await, 1);
    let expired = store.expired(&stream, 300, 10).await.expect("expired");
    assert_eq!(expired.iter().map(|document| &*document.key).collect::<Vec<_>>(), ["removed"]);
    assert_eq!(store.forget(&stream, vec![(id("alive"), at(0, 1))]).await.expect("forget"), 0, "it moved on");
    assert_eq!(store.forget(&stream, vec![(id("alive"), at(0, 5))]).await.expect("forget"), 1);
    assert_eq!(load(&store, &stream, "alive").await, None);
}

pub async fn forget_is_guarded_by_position(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    write(&store, &stream, &[removal("a", 1, 5, 10), removal("b", 1, 6, 10)]).await;
    let ids = vec![(id("a"), at(0, 4)), (id("b"), at(0, 6)), (id("absent"), at(0, 0)), (id("a"), at(1, 5))];
    assert_eq!(store.forget(&stream, ids).await.expect("forget"), 1);
    assert!(load(&store, &stream, "a").await.is_some());
    assert_eq!(load(&store, &stream, "b").await, None);
    let expired = store.expired(&stream, 1_000, 10).await.expect("expired");
    assert_eq!(expired.len(), 1, "what is forgotten does not expire again");
    assert_eq!(write(&store, &stream, &[upsert("b", 1, 0, "1")]).await, 1, "versions may start at 1 again");
}

pub fn row(id: &str, offset: u64, time_ms: i64, json: &str) -> StoredRow {
    let (first, json) = (at(2, offset), Json::parse(json).expect("json"));
    StoredRow { id: id.into(), key: "user".into(), label: None, first, time_ms, json }
}

pub async fn a_row_keeps_who_was_first(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let insert = |rows: Vec<StoredRow>| store.insert_rows(&stream, "events", rows);
    let first = vec![row("e1", 10, 100, "{\"n\":1}"), row("e2", 11, 101, "2")];
    assert_eq!(insert(first).await.expect("insert"), 2);
    let second = vec![row("e2", 99, 999, "9"), row("e3", 12, 102, "3"), row("e3", 13, 103, "4")];
    assert_eq!(insert(second).await.expect("insert"), 1, "only what is inserted counts");
    assert_eq!(insert(Vec::new()).await.expect("insert nothing"), 0);
    let ids = ["e1", "e2", "e3", "absent"].map(str::to_owned);
    let mut firsts = store.row_firsts(&stream, "events", &ids).await.expect("firsts");
    firsts.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("e1", 10), ("e2", 11), ("e3", 12)].map(|(id, offset)| (id.to_owned(), at(2, offset)));
    assert_eq!(firsts, expected);
    let rows = store.scan_rows(&stream, "events", RowScan::all(10)).await.expect("scan");
    let kept = [row("e1", 10, 100, "{\"n\":1}"), row("e2", 11, 101, "2"), row("e3", 12, 102, "3")];
    assert_eq!(rows, kept);
    let [_, e2, _] = kept;
    assert_eq!(store.load_row(&stream, "events", "e2").await.expect("load"), Some(e2));
    assert_eq!(store.load_row(&stream, "events", "absent").await.expect("load"), None);
    assert_eq!(store.load_row(&stream, "never-prepared", "e2").await.expect("load"), None);
}

pub async fn rows_are_found_by_key_label_and_time(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let keys = ["a", "a\u{0}", "ab", "b"];
    let labels = [None, Some(""), Some("x"), Some("xy")];
    let mut rows = Vec::new();
    for n in 0..64_usize {
        // Every pair of key and label, at times of both signs, some of them the same.
        let (key, label) = (keys[n % 4].into(), labels[n / 4 % 4].map(str::to_owned));
        let time_ms = (n as i64 * 7) % 20 - 6;
        rows.push(StoredRow { key, label, ..row(&format!("{:02}", (n * 37) % 64), n as u64, time_ms, "{}") });
    }
    assert_eq!(store.insert_rows(&stream, "events", rows.clone()).await.expect("insert"), rows.len());
    rows.sort_by(|a, b| (a.time_ms, &a.id).cmp(&(b.time_ms, &b.id)));
    for n in 0..128_usize {
        let pick = |options: &[Option<&str>], n: usize| options[n % options.len()].map(str::to_owned);
        let scan = RowScan {
            key: pick(&[None, Some("a"), Some("a\u{0}"), Some("none")], n),
            label: pick(&[None, Some("x"), Some(""), Some("none")], n / 4),
            from_ms: [None, Some(-2)][n / 16 % 2],
            until_ms: [None, Some(9)][n / 32 % 2],
            newest_first: n / 64 == 1,
            after: None,
            limit: 3,
        };
        let mut wanted: Vec<_> = rows.iter().filter(|row| scan.wants(row)).cloned().collect();
        if scan.newest_first {
            wanted.reverse();
        }
        assert_eq!(paged(&store, &stream, &scan).await, wanted, "{scan:?}");
    }
    let outside = RowScan { from_ms: Some(9), until_ms: Some(9), ..RowScan::all(9) };
    assert_eq!(store.scan_rows(&stream, "events", outside).await.expect("scan"), []);
    let nothing = store.scan_rows(&stream, "events", RowScan::all(0)).await.expect("scan");
    assert_eq!(nothing, []);
}

/// All pages of a scan, one after the other.
async fn paged(store: &Arc<dyn Store>, stream: &str, scan: &RowScan) -> Vec<StoredRow> {
    let (mut scan, mut all) = (scan.clone(), Vec::new());
    loop {
        let page = store.scan_rows(stream, "events", scan.clone()).await.expect("scan");
        assert!(page.len() <= scan.limit);
        let Some(last) = page.last() else { return all };
        scan.after = Some((last.time_ms, last.id.clone()));
        all.extend(page);
    }
}

pub async fn rows_come_in_the_order_of_time_and_id(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let rows = [("c", 5), ("a", 7), ("b", 5), ("d", -3), ("ü", 5), ("z", 5), ("e", 1 << 41)];
    let rows: Vec<_> = rows.iter().map(|(id, time_ms)| row(id, 0, *time_ms, "1")).collect();
    store.insert_rows(&stream, "events", rows).await.expect("insert");
    let ids = |rows: Vec<StoredRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let seen = ids(paged(&store, &stream, &RowScan::all(2)).await);
    assert_eq!(seen, ["d", "b", "c", "z", "ü", "a", "e"]);
    let newest_first = RowScan { newest_first: true, ..RowScan::all(2) };
    let seen = ids(paged(&store, &stream, &newest_first).await);
    assert_eq!(seen, ["e", "a", "ü", "z", "c", "b", "d"]);
    let absent = RowScan { after: Some((5, "m".to_owned())), ..RowScan::all(1) };
    let after_absent = store.scan_rows(&stream, "events", absent).await.expect("scan");
    assert_eq!(after_absent.first().map(|row| row.id.as_str()), Some("z"), "the cursor need not exist");
}

pub async fn partials_of_a_key_stand_apart(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    let partial = |key: &str, partition: u32| {
        let mut upsert = upsert(key, 1, 1, &partition.to_string());
        upsert.document.partial = Some(partition);
        upsert.document.position = at(partition, 1);
        upsert
    };
    let written = [partial("a", 0), partial("a", 3), partial("a", 300), partial("ab", 0)];
    assert_eq!(write(&store, &stream, &written).await, 4);
    assert_eq!(write(&store, &stream, &written).await, 0);
    let mut partials = store.load_partials(&stream, "a").await.expect("partials");
    partials.sort_by_key(|document| document.partial);
    let expected: Vec<_> = written[..3].iter().map(|upsert| upsert.document.clone()).collect();
    assert_eq!(partials, expected);
    let ids =
        [EntityId { key: "a".into(), partial: Some(3) }, EntityId { key: "a".into(), partial: Some(4) }];
    assert_eq!(store.load(&stream, &ids).await.expect("load"), [written[1].document.clone()]);
    let forgotten = vec![(EntityId { key: "a".into(), partial: Some(3) }, at(3, 1))];
    assert_eq!(store.forget(&stream, forgotten).await.expect("forget"), 1);
    assert_eq!(store.load_partials(&stream, "a").await.expect("partials").len(), 2);
    let page = |limit| Scan { limit, ..Scan::default() };
    assert_eq!(keys(&store, &stream, page(10)).await, ["a", "a", "ab"], "one after the other");
    assert_eq!(keys(&store, &stream, page(1)).await, ["a", "a"], "a page does not part them");
    assert_eq!(keys(&store, &stream, Scan { after: Some("a".into()), ..page(1) }).await, ["ab"]);
}

pub async fn the_count_is_of_keys_that_are_there(factory: &impl StoreFactory) {
    let store = factory.store();
    let stream = prepared(&store).await;
    write(&store, &stream, &["a", "b", "c"].map(|key| upsert(key, 1, 0, "1"))).await;
    write(&store, &stream, &[upsert("a", 2, 1, "2"), removal("b", 2, 1, 10), removal("never", 1, 1, 10)])
        .await;
    assert_eq!(store.count(&stream).await.expect("count"), 2);
    let ids = vec![(id("a"), at(0, 1)), (id("b"), at(0, 1)), (id("never"), at(0, 1))];
    assert_eq!(store.forget(&stream, ids).await.expect("forget"), 3);
    assert_eq!(store.count(&stream).await.expect("count"), 1);
}

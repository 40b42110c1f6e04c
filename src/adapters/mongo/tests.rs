//! The exact shape of what is sent, and what is made of what comes back. No server here.

use super::{
    pack::{Command, Shape, Terms, Verb},
    read, statements,
};
use crate::{
    app::Reason,
    document::{Document, Json},
    ports::{EntityId, Scan, StoreError, StoredRow, Upsert},
    record::Position,
};
use bson::{DateTime, Document as Bson, RawDocumentBuf, doc, rawdoc};

fn terms() -> Terms {
    Terms { write_concern: rawdoc! { "w": "majority", "j": true }, statements_max: 3, time_max_ms: 20_000 }
}

fn upsert(key: &str, from_version: u64, value: Option<&str>) -> Upsert {
    let document = Document {
        key: key.into(),
        partial: None,
        version: from_version + 1,
        created_ms: 1,
        updated_ms: 2,
        position: Position { epoch: 4, partition: 3, offset: 1041 },
        value: value.map(|json| Json::parse(json).expect("JSON")),
        origins: Default::default(),
    };
    Upsert { document, from_version, expires_ms: value.is_none().then_some(9) }
}

fn tree(raw: &RawDocumentBuf) -> Bson {
    Bson::try_from(raw).expect("BSON")
}

fn millis(ms: i64) -> DateTime {
    DateTime::from_millis(ms)
}

fn trees(commands: &[Command]) -> Vec<Bson> {
    commands.iter().map(|command| tree(&command.body)).collect()
}

#[test]
fn what_is_new_is_inserted() {
    let mut partial = upsert("a", 0, Some("[1,\"x\"]"));
    partial.document.partial = Some(3);
    let removed = upsert("$gone", 0, None);
    let (commands, _) =
        statements::upserts(&terms(), "kv", &[partial, removed], Shape::Together).expect("commands");
    let position = doc! { "epoch": 4_i64, "partition": 3_i64, "offset": 1041_i64 };
    let expected = doc! {
        "insert": "kv",
        "ordered": false,
        "writeConcern": { "w": "majority", "j": true },
        "maxTimeMS": 20_000_i64,
        "documents": [
            {
                "_id": { "key": "a", "partition": 3_i64 },
                "value": [1_i64, "x"],
                "version": 1_i64,
                "created": millis(1), "updated": millis(2), "time": millis(2),
                "position": position.clone(),
                "schema": 1,
            },
            {
                "_id": "$gone",
                "deleted": true,
                "version": 1_i64,
                "created": millis(1), "updated": millis(2), "time": millis(2),
                "position": position,
                "expires": millis(9),
                "schema": 1,
            },
        ],
    };
    assert_eq!(trees(&commands), [expected]);
}

#[test]
fn what_was_folded_from_a_version_is_a_guarded_update_that_creates_nothing() {
    let replacing = upsert("user-1", 6, Some("{\"$set\":{\"a.b\":\"$x\"}}"));
    let (commands, _) = statements::upserts(&terms(), "kv", &[replacing], Shape::Together).expect("commands");
    let position = doc! { "epoch": 4_i64, "partition": 3_i64, "offset": 1041_i64 };
    let document = doc! {
        "_id": "user-1",
        "value": { "$set": { "a.b": "$x" } },
        "version": 7_i64,
        "created": millis(1), "updated": millis(2), "time": millis(2),
        "position": position.clone(),
        "schema": 1,
    };
    let seen = doc! { "$cond": [
        { "$eq": ["$position.partition", "$$change.to.position.partition"] },
        { "$gte": ["$position", "$$change.to.position"] },
        { "$gte": ["$time", "$$change.to.time"] },
    ] };
    let keep = doc! { "$or": [{ "$ne": ["$version", "$$change.from"] }, seen] };
    let change = doc! { "$arrayElemAt": ["$$changes", { "$indexOfArray": ["$$ids", "$_id"] }] };
    let decide = doc! { "vars": { "change": change }, "in": { "$cond": [keep, "$$ROOT", "$$change.to"] } };
    let expected = doc! {
        "update": "kv",
        "ordered": false,
        "writeConcern": { "w": "majority", "j": true },
        "maxTimeMS": 20_000_i64,
        "updates": [{
            "q": { "_id": { "$in": ["user-1"] } },
            "u": [{ "$replaceWith": { "$let": decide } }],
            "c": { "ids": ["user-1"], "changes": [{ "from": 6_i64, "to": document }] },
            "multi": true,
        }],
    };
    assert_eq!(trees(&commands), [expected]);
}

#[test]
fn a_row_is_inserted_and_a_forgotten_key_deleted_at_its_position() {
    let first = Position { epoch: 0, partition: 1, offset: 2 };
    let json = Json::parse("{\"n\":1}").expect("JSON");
    let row =
        StoredRow { id: "e1".into(), key: "u".into(), label: Some("click".into()), first, time_ms: 7, json };
    let rows = statements::rows(&terms(), "activity.events", &[row]).expect("commands");
    let at = doc! { "epoch": 0_i64, "partition": 1_i64, "offset": 2_i64 };
    let expected = doc! {
        "_id": "e1", "key": "u", "label": "click", "first": at.clone(), "time": millis(7),
        "value": { "n": 1_i64 }, "schema": 1,
    };
    assert_eq!(trees(&rows)[0].get_array("documents").expect("documents"), &[expected.into()]);
    let ids = [(EntityId { key: "a".into(), partial: None }, first)];
    let deletes = statements::deletes(&terms(), "kv", &ids).expect("commands");
    let expected = doc! { "q": { "_id": "a", "position": at }, "limit": 1 };
    assert_eq!(trees(&deletes)[0].get_array("deletes").expect("deletes"), &[expected.into()]);
}

#[test]
fn a_batch_is_cut_by_statements_and_by_bytes() {
    let sizes = |upserts: &[Upsert]| -> Vec<(Verb, usize)> {
        let (commands, _) = statements::upserts(&terms(), "kv", upserts, Shape::Together).expect("commands");
        let len = |command: &Command| {
            let body = tree(&command.body);
            if command.verb == Verb::Insert {
                return body.get_array("documents").expect("documents").len();
            }
            let [statement] = body.get_array("updates").expect("updates").as_slice() else {
                panic!("{body}")
            };
            let constants =
                statement.as_document().and_then(|s| s.get_document("c").ok()).expect("constants");
            let [ids, changes] =
                ["ids", "changes"].map(|name| constants.get_array(name).expect("list").len());
            assert_eq!(ids, changes);
            ids
        };
        commands.iter().map(|command| (command.verb, len(command))).collect()
    };
    assert_eq!(sizes(&[]), []);
    let small: Vec<_> = (0..8).map(|i| upsert("a", i % 2, Some("1"))).collect();
    let expected = [(Verb::Insert, 3), (Verb::Insert, 1), (Verb::Update, 3), (Verb::Update, 1)];
    assert_eq!(sizes(&small), expected);
    let large = format!("\"{}\"", "x".repeat(7 << 20));
    let large: Vec<_> = (0..3).map(|_| upsert("a", 0, Some(&large))).collect();
    assert_eq!(sizes(&large), [(Verb::Insert, 1), (Verb::Insert, 1), (Verb::Insert, 1)]);
}

#[test]
fn a_document_beyond_16_mb_is_refused_before_anything_is_sent() {
    let large = format!("\"{}\"", "x".repeat(16 << 20));
    for from_version in [0, 1] {
        let small = || upsert("a", from_version, Some("1"));
        let batch = [small(), upsert("b", from_version, Some(&large)), small()];
        let (commands, refused) =
            statements::upserts(&terms(), "kv", &batch, Shape::Together).expect("commands");
        let of: Vec<_> = commands.iter().map(|command| command.of.clone()).collect();
        assert_eq!(of, [[0, 2]], "its neighbours are sent");
        assert!(matches!(&*refused, [(1, poison)] if poison.reason == Reason::TooLarge), "{refused:?}");
    }
}

#[test]
fn what_cannot_be_written_as_bson_is_refused() {
    let mut nul = upsert("a", 0, None);
    nul.document.value = Some(Json::from_checked("{\"a\\u0000\":1}"));
    let mut beyond = upsert("a", 0, Some("1"));
    beyond.document.position.offset = u64::MAX;
    for bad in [nul, beyond] {
        assert!(matches!(
            statements::upserts(&terms(), "kv", &[bad], Shape::Together),
            Err(StoreError::Refused(_))
        ));
    }
}

#[test]
fn a_query_says_how_much_one_reply_may_hold() {
    let ids = [EntityId { key: "a".into(), partial: None }, EntityId { key: "b".into(), partial: Some(7) }];
    let find = read::by_ids("kv", &ids, "majority").expect("find");
    let expected = doc! {
        "find": "kv",
        "filter": { "_id": { "$in": ["a", { "key": "b", "partition": 7_i64 }] } },
        "limit": 2_i64,
        "batchSize": 3_i64,
        "readConcern": { "level": "majority" },
        "maxTimeMS": 20_000_i64,
    };
    assert_eq!(tree(&find.command(&terms())), expected);
}

#[test]
fn a_page_asks_for_ranges_of_keys_and_of_partials() {
    let filter = |scan: Scan| tree(&read::page("kv", &Scan { limit: 9, ..scan }, "majority").filter);
    let all = Scan { with_removed: true, ..Scan::default() };
    assert_eq!(filter(all.clone()), doc! {});
    assert_eq!(filter(Scan::default()), doc! { "deleted": { "$ne": true } });
    let within = Scan { prefix: Some("b/".into()), after: Some("b/1".into()), ..all };
    let partials = doc! {
        "$gt": { "key": "b/1", "partition": i64::from(u32::MAX) },
        "$lt": { "key": "b0" },
    };
    let expected = doc! { "$or": [{ "_id": { "$gt": "b/1", "$lt": "b0" } }, { "_id": partials }] };
    assert_eq!(filter(within), expected);
}

#[test]
fn the_end_of_a_prefix_is_the_next_text_in_byte_order() {
    for (prefix, end) in [
        ("", None),
        ("a", Some("b")),
        ("a/", Some("a0")),
        ("\u{7f}", Some("\u{80}")),
        ("\u{D7FF}", Some("\u{E000}")),
        ("a\u{10FFFF}", Some("b")),
        ("\u{10FFFF}\u{10FFFF}", None),
    ] {
        assert_eq!(read::after_prefix(prefix).as_deref(), end, "{prefix:?}");
    }
}

#[test]
fn a_document_is_read_whatever_kind_its_integers_have() {
    let raw = rawdoc! {
        "_id": { "key": "a", "partition": 3 },
        "added by": "another tool",
        "value": { "n": 1_i64 },
        "version": 7.0, "schema": 1.0,
        "created": millis(1), "updated": millis(2),
        "position": { "epoch": 0, "partition": 3.0, "offset": 9_i64 },
    };
    let document = read::document(&raw, &mut Vec::new()).expect("document");
    assert_eq!((&*document.key, document.partial, document.version), ("a", Some(3), 7));
    assert_eq!(document.position, Position { epoch: 0, partition: 3, offset: 9 });
    assert_eq!(document.value.expect("value").text(), "{\"n\":1}");
}

#[test]
fn a_document_that_is_not_ours_is_refused_by_name() {
    let foreign = rawdoc! { "_id": "legacy", "value": "secret" };
    let refused = read::document(&foreign, &mut Vec::new()).expect_err("refused").to_string();
    assert!(refused.contains("legacy") && !refused.contains("secret"), "{refused}");
    let newer = rawdoc! {
        "_id": "a", "value": 1, "version": 1, "schema": 2, "created": millis(1), "updated": millis(2),
        "position": { "epoch": 0, "partition": 0, "offset": 0 },
    };
    assert!(matches!(read::document(&newer, &mut Vec::new()), Err(StoreError::Refused(_))));
}

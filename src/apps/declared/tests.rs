//! Declarations, and what their streams make of records, through the fold of a writer.

use super::*;
use crate::{
    config::{Format, Projection, Stream},
    engine::fold::{Assignment, Flight, Fold, FoldSettings},
    record::Slice,
};
use std::sync::Arc;

type Header<'a> = (&'a str, &'a str);

/// One record: key, value, headers.
type Given<'a> = (Option<&'a str>, Option<&'a str>, &'a [Header<'a>]);

fn stream(change: impl FnOnce(&mut Stream)) -> Stream {
    let mut stream = Stream::default();
    change(&mut stream);
    stream
}

/// What was stored (key, JSON), and why what was poison: the records come in this order, a second apart.
struct Folded {
    stored: Vec<(String, serde_json::Value)>,
    rows: Vec<(String, String)>,
    poison: Vec<(u32, &'static str)>,
    refused: u64,
}

fn fold(stream: &Stream, records: &[Given<'_>]) -> Folded {
    let declaration = Declaration::read(stream).expect("a good declaration");
    let settings = FoldSettings {
        stream: "s".into(),
        topic: "t".into(),
        by_partition: declaration.by_partition(),
        has_row_ids: matches!(declaration.projection, Project::Log { .. }),
        key_bytes_max: 512,
        value_bytes_max: 1 << 20,
        entity_bytes_max: 8 << 20,
        depth_max: 64,
        cache_bytes_max: 1 << 20,
        tombstone_keep_ms: 1_000,
        ttl_ms: None,
    };
    let app = Arc::new(Declared(declaration));
    let mut fold = Fold::new(app.clone(), settings);
    let mut slice = Slice::new(0, 0);
    for (offset, (key, value, headers)) in (1_u64..).zip(records) {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        slice.push(offset, offset as i64 * 1_000, key.map(str::as_bytes), value.map(str::as_bytes), headers);
    }
    let assignment = Arc::new(Assignment::new(1, 0));
    let indices = (0..slice.len() as u32).collect();
    fold.gather(Arc::new(Flight { slice, id: 0, assignment, permit: None }), indices);
    fold.admit(Vec::new()).expect("admit");
    fold.admit_firsts(Vec::new());
    let effects = fold.fold(None).expect("fold");
    let shown = |json: &Json| {
        let entity = app.from_json(json).expect("what was stored is read back");
        let by_partition = app.0.by_partition();
        let shown = if by_partition { app.merge(vec![entity], 10_000).expect("shown") } else { entity };
        serde_json::from_str(app.to_json(&shown).expect("json").text()).expect("json")
    };
    let stored = effects.upserts.iter().map(|upsert| {
        let document = &upsert.document;
        (document.key.to_string(), document.value.as_ref().map_or(serde_json::Value::Null, shown))
    });
    let rows = effects.rows.iter().map(|(_, row)| (row.id.clone(), row.json.text().to_owned()));
    let poison = effects.letters.iter().map(|letter| (letter.index, letter.poison.reason.code()));
    let (stored, rows, poison) = (stored.collect(), rows.collect(), poison.collect());
    Folded { stored, rows, poison, refused: fold.confirm().counts.refused.values().sum() }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("json")
}

#[test]
fn latest_keeps_the_value_as_it_came_and_a_record_without_one_removes() {
    let stream = stream(|s| s.projection = Projection::Latest);
    let records: [Given<'_>; 4] = [
        (Some("a"), Some("{\"n\":1.50}"), &[]),
        (Some("b"), Some("1"), &[]),
        (Some("b"), None, &[]),
        (None, Some("1"), &[]),
    ];
    let folded = fold(&stream, &records);
    assert_eq!(folded.stored, [("a".into(), json("{\"n\":1.5}")), ("b".into(), serde_json::Value::Null)]);
    assert_eq!(folded.poison, [(3, "invalid_key")]);
}

#[test]
fn a_key_comes_from_the_pointer_then_from_the_record_and_else_is_missing() {
    let stream = stream(|s| {
        s.projection = Projection::Latest;
        s.key = "/sensor/id".into();
    });
    let records: [Given<'_>; 6] = [
        (Some("x"), Some(r#"{"sensor":{"id":7},"t":1}"#), &[]),
        (None, Some(r#"{"sensor":{"id":"7"},"t":2}"#), &[]),
        (Some("x"), Some(r#"{"t":3}"#), &[]),
        (None, Some(r#"{"t":4}"#), &[]),
        (None, Some(r#"{"sensor":{"id":{}}}"#), &[]),
        (Some("7"), None, &[]),
    ];
    let folded = fold(&stream, &records);
    let expected = [("7".into(), json(r#"{"sensor":{"id":"7"},"t":2}"#)), ("x".into(), json("{\"t\":3}"))];
    assert_eq!(folded.stored, expected);
    assert_eq!((folded.poison, folded.refused), (vec![(3, "missing_field"), (4, "schema_invalid")], 1));
}

#[test]
fn of_partitions_the_newest_record_is_the_latest() {
    let stream = stream(|s| {
        s.projection = Projection::Latest;
        s.key = "/k".into();
    });
    let app = Declared(Declaration::read(&stream).expect("good"));
    let partial = |text: &str| app.from_json(&Json::from_checked(text)).expect("stored");
    let partials = vec![
        partial(r#"{"time_ms":5,"value":1}"#),
        partial(r#"{"time_ms":9,"value":2}"#),
        partial(r#"{"time_ms":7,"value":3}"#),
    ];
    let shown = app.merge(partials, 0).expect("shown");
    assert_eq!(app.to_json(&shown).expect("json").text(), "2");
}

#[test]
fn cloud_events_are_the_same_in_both_modes() {
    let stream = stream(|s| {
        s.projection = Projection::Latest;
        s.format = Format::CloudEvents;
    });
    let event = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"t","datacontenttype":"application/json","data":{"n":1.50}}"#;
    let binary: &[Header<'_>] = &[
        ("ce_specversion", "1.0"),
        ("ce_id", "1"),
        ("ce_source", "/shop"),
        ("ce_type", "t"),
        ("content-type", "application/json"),
    ];
    let without_type: &[Header<'_>] = &[("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/shop")];
    let twice: &[Header<'_>] = &[("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_id", "2")];
    let records: [Given<'_>; 7] = [
        (Some("structured"), Some(event), &[("content-type", "application/cloudevents+json")]),
        (Some("binary"), Some("{\"n\":1.50}"), binary),
        (Some("x"), Some("{\"n\":1}"), &[]),
        (Some("x"), Some("{\"n\":1}"), without_type),
        (Some("x"), Some(r#"{"specversion":"0.3","id":"1","source":"s","type":"t"}"#), &[]),
        (Some("x"), Some("[]"), &[]),
        (Some("x"), Some("1"), twice),
    ];
    let folded = fold(&stream, &records);
    assert_eq!(folded.stored, [("structured".into(), json(event)), ("binary".into(), json(event))]);
    let expected = [
        (2, "missing_field"),
        (3, "missing_field"),
        (4, "unknown_version"),
        (5, "schema_invalid"),
        (6, "duplicate_name"),
    ];
    assert_eq!(folded.poison, expected);
}

#[test]
fn a_value_that_breaks_the_schema_is_poison_and_of_an_event_its_data_counts() {
    let schema = r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#;
    let plain = stream(|s| {
        s.projection = Projection::Latest;
        s.schema = schema.into();
    });
    let folded =
        fold(&plain, &[(Some("a"), Some("{\"n\":1}"), &[]), (Some("a"), Some("{\"n\":\"1\"}"), &[])]);
    assert_eq!((folded.stored.len(), folded.poison), (1, vec![(1, "schema_invalid")]));
    let events = Stream { format: Format::CloudEvents, ..plain };
    let event = |data: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t"{data}}}"#);
    let (good, bad, none) = (event(r#","data":{"n":1}"#), event(r#","data":{}"#), event(""));
    let folded = fold(
        &events,
        &[(Some("a"), Some(&good), &[]), (Some("a"), Some(&bad), &[]), (Some("a"), Some(&none), &[])],
    );
    assert_eq!((folded.stored.len(), folded.poison), (1, vec![(1, "schema_invalid"), (2, "schema_invalid")]));
}

#[test]
fn a_log_takes_an_event_in_once() {
    let stream = stream(|s| {
        s.projection = Projection::Log;
        s.id = "/id".into();
    });
    let records: [Given<'_>; 5] = [
        (Some("u"), Some(r#"{"id":"e1","n":1}"#), &[]),
        (Some("u"), Some(r#"{"id":"e2","n":2}"#), &[]),
        (Some("u"), Some(r#"{"id":"e1","n":1}"#), &[]),
        (Some("u"), Some(r#"{"n":4}"#), &[]),
        (Some("u"), None, &[]),
    ];
    let folded = fold(&stream, &records);
    let expected =
        r#"{"count":2,"last_id":"e2","last_time":"1970-01-01T00:00:02.000Z","last":{"id":"e2","n":2}}"#;
    assert_eq!(folded.stored, [("u".into(), json(expected))]);
    let row = |id: &str, n: u32| (id.to_owned(), format!(r#"{{"key":"u","value":{{"id":"{id}","n":{n}}}}}"#));
    assert_eq!(folded.rows, [row("e1", 1), row("e2", 2)]);
    assert_eq!((folded.poison, folded.refused), (vec![(3, "missing_field")], 2));
}

#[test]
fn events_of_two_sources_with_one_id_are_two() {
    let stream = stream(|s| {
        s.projection = Projection::Log;
        s.format = Format::CloudEvents;
    });
    let event = |source: &str| format!(r#"{{"specversion":"1.0","id":"1","source":"{source}","type":"t"}}"#);
    let (a, b) = (event("a"), event("b"));
    let folded =
        fold(&stream, &[(Some("u"), Some(&a), &[]), (Some("u"), Some(&b), &[]), (Some("v"), Some(&a), &[])]);
    assert_eq!(folded.rows.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a#1", "b#1"]);
}

/// Records are made a second after one another from 1970 on.
#[test]
fn a_future_that_an_event_claims_is_not_believed() {
    let values = [r#"{"at":4000000000,"n":1}"#, r#"{"at":1.5,"n":2}"#];
    let records: Vec<Given<'_>> = values.iter().map(|value| (None, Some(*value), &[] as &[_])).collect();
    let recent = stream(|s| {
        (s.projection, s.key, s.time) = (Projection::Recent, "*".into(), "/at".into());
    });
    let folded = fold(&recent, &records);
    let newest_first: Vec<_> =
        folded.stored[0].1.as_array().expect("items").iter().map(|i| &i["value"]["n"]).collect();
    assert_eq!(newest_first, [2, 1]);
    let last = stream(|s| {
        (s.projection, s.key, s.time) = (Projection::Aggregate, "*".into(), "/at".into());
        s.aggregates = [("last".to_owned(), "last /n".to_owned())].into();
    });
    assert_eq!(fold(&last, &records).stored, [("all".into(), json(r#"{"last":2}"#))]);
}

#[test]
fn recent_and_aggregates_group_by_what_they_say() {
    let recent = stream(|s| {
        s.projection = Projection::Recent;
        s.key = "*".into();
        s.time = "/at".into();
        s.recent_max = 2;
    });
    let at = |key: &str, at: f64, ms: u32| format!(r#"{{"page":"{key}","shop":"a/b","at":{at},"ms":{ms}}}"#);
    let values = [at("x", 0.3, 10), at("y", 0.1, 20), at("x", 0.2, 60)];
    let records: Vec<Given<'_>> =
        values.iter().map(|value| (None, Some(value.as_str()), &[] as &[_])).collect();
    let folded = fold(&recent, &records);
    let [(key, items)] = folded.stored.as_slice() else { panic!("{:?}", folded.stored) };
    assert_eq!(
        (key.as_str(), items[0]["value"]["at"].clone(), items[1]["value"]["at"].clone()),
        ("all", 0.3.into(), 0.2.into())
    );
    assert_eq!(items.as_array().map(Vec::len), Some(2));

    let views = stream(|s| {
        s.projection = Projection::Aggregate;
        s.group_by = vec!["/shop".into(), "/page".into()];
        s.aggregates = [("views", "count"), ("ms", "mean /ms")].map(|(n, f)| (n.into(), f.into())).into();
    });
    let folded = fold(&views, &records);
    let shown = |page: &str, views: u32, ms: u32| {
        (
            format!("a~1b/{page}"),
            json(&format!(r#"{{"group":{{"shop":"a/b","page":"{page}"}},"views":{views},"ms":{ms}}}"#)),
        )
    };
    assert_eq!(folded.stored, [shown("x", 2, 35), shown("y", 1, 20)]);
}

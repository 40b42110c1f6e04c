//! Query parameters: read within their bounds or refused by name, and whatever is read can be asked of any entity.
#![no_main]

use libfuzzer_sys::fuzz_target;
use statecast::{
    document::{Json, Shown},
    engine::list,
    http::query::{self, Query},
};

const ITEMS_MAX: usize = 1_000;

fuzz_target!(|text: &str| {
    let Some(query) = Query::parse(text) else { return };
    let Ok(asked) = query::list(&query, ITEMS_MAX) else { return };
    assert!((1..=ITEMS_MAX).contains(&asked.limit));
    let shown = Shown {
        key: "lamp".into(),
        version: 3,
        created_ms: 0,
        updated_ms: 1_763_000_000_000,
        positions: "0.0.2".parse().expect("a position"),
        value: Some(Json::from_checked(r#"{"a":[1,null,{"b":"x"}],"n":-1.5,"t":true}"#)),
    };
    list::passes(&shown, &asked.filters);
    if let Some(sort) = asked.sort {
        let after = asked.after.and_then(|after| list::Cursor::decode(&after).ok());
        let mut sorted = list::Sorted::new(sort, after, asked.limit);
        sorted.take(shown);
        let (page, next) = sorted.finish();
        assert!(page.len() <= 1 && next.is_none());
    }
});

//! Rows of a stream over HTTP: what a listing of them may be asked for, how its pages follow each other, and one by its id.
//!
//! Invariant: pages follow each other without a gap whatever is stored meanwhile, since they go by time and id.
//! Not here: whose rows they are, and how one is shown (`logs`, and apps whose rows have paths of their own).

use super::{
    Context,
    entities::json_answer,
    problem::{Kind, Problem},
    query::{self, Reader, Wrong},
};
use crate::{
    clock,
    ports::{RowScan, StoredRow},
};
use axum::{http::StatusCode, response::Response};
use serde_json::json;
use utoipa::IntoParams;

/// What every listing of rows may be asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RowsParams {
    /// The first time wanted, of ISO 8601.
    pub from: Option<String>,
    /// The first time not wanted any more.
    pub until: Option<String>,
    /// desc: the latest first (as without it); asc: the earliest first.
    pub order: Option<String>,
    /// 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub after: Option<String>,
}

/// Reads what every listing of rows may be asked for; `key` is what it calls the key they belong to.
pub fn scan(reader: &mut Reader<'_>, key: &'static str, items_max: usize) -> RowScan {
    RowScan {
        key: reader.one(key, query::text),
        label: None,
        from_ms: reader.one("from", time),
        until_ms: reader.one("until", time),
        newest_first: reader.one("order", newest_first).unwrap_or(true),
        limit: reader.limit(items_max),
        after: reader.one("after", cursor),
    }
}

/// One page: `{"items":[...],"next":CURSOR or null}`, each row as `shown` makes it.
pub async fn page(
    context: &Context,
    stream: &str,
    name: &str,
    scan: RowScan,
    shown: impl Fn(&StoredRow) -> String,
) -> Result<Response, Problem> {
    let limit = scan.limit;
    // One more than asked for tells whether there is a page behind this one.
    let scan = RowScan { limit: limit + 1, ..scan };
    let mut rows = context.engine.rows(stream, name, scan).await?;
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| is_more);
    let next = last.map(|row| query::cursor_out(&format!("{}/{}", row.time_ms, row.id)));
    let items: Vec<_> = rows.iter().map(shown).collect();
    let body = format!("{{\"items\":[{}],\"next\":{}}}", items.join(","), json!(next));
    Ok(json_answer(context, StatusCode::OK, body))
}

/// The event under this id, as `shown` makes it.
pub async fn one(
    context: &Context,
    stream: &str,
    name: &str,
    id: &str,
    shown: impl Fn(&StoredRow) -> String,
) -> Result<Response, Problem> {
    match context.engine.row(stream, name, id).await? {
        Some(row) => Ok(json_answer(context, StatusCode::OK, shown(&row))),
        None => Err(Problem::new(Kind::NotFound, "no event of this id is stored, or not yet")),
    }
}

fn time(text: &str) -> Result<i64, Wrong> {
    let wrong = || Wrong {
        detail: "is no time".into(),
        remedy: "a time of ISO 8601, like 2026-11-21T10:00:00Z".into(),
    };
    clock::parse(text).ok_or_else(wrong)
}

fn newest_first(text: &str) -> Result<bool, Wrong> {
    match text {
        "desc" => Ok(true),
        "asc" => Ok(false),
        _ => Err(Wrong { detail: "is no order".into(), remedy: "desc or asc".into() }),
    }
}

fn cursor(text: &str) -> Result<(i64, String), Wrong> {
    let decoded = query::cursor_in(text)?;
    let parts = decoded.split_once('/').and_then(|(time, id)| Some((time.parse().ok()?, id.to_owned())));
    parts.ok_or_else(|| Wrong {
        detail: "is no cursor of events".into(),
        remedy: "next, exactly as the page before gave it".into(),
    })
}

//! What was stored: events page by page, one by its id, and the totals of users.
//!
//! Invariant: an event is shown as it is kept, with where it was first seen.
//! Not here: how pages follow each other (`http::rows`), and what is in the log and not stored yet.

use crate::{
    app::EVENTS,
    apps::activity::{STREAM, Totals},
    http::{
        Context, entities,
        problem::{Kind, Problem},
        query::{self, Query},
        request::Target,
        rows::{self, RowsParams},
        schema::{ListParams, ProblemBody, ReadParams},
    },
    json::members::Members,
    ports::{RowScan, StoredRow},
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Which events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code)] // the shape, for the description
pub struct EventParams {
    /// Of this user alone.
    pub user_id: Option<String>,
    /// Of this type alone.
    pub event_type: Option<String>,
}

/// A stored event. Further members are those it came with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StoredEvent)]
pub struct StoredEvent {
    /// A UUID.
    pub event_id: String,
    pub user_id: String,
    pub event_type: String,
    /// UTC.
    pub timestamp: String,
    #[schema(value_type = Object)]
    pub payload: serde_json::Map<String, serde_json::Value>,
    /// Of the record that brought it first.
    pub position: String,
}

/// One page of events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EventPage)]
pub struct EventPage {
    pub items: Vec<StoredEvent>,
    #[schema(required)]
    pub next: Option<String>,
}

/// A user's totals as an entity.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserEntity)]
pub struct UserEntity {
    pub stream: String,
    /// The user.
    pub key: String,
    pub value: Totals,
    pub version: u64,
    pub created: String,
    pub updated: String,
    pub position: String,
}

/// Stored events, page by page
///
/// The latest first, or as `order` says; `next` is the `after` of the page that follows, null at the end.
#[utoipa::path(get, path = "/events/processed", operation_id = "list_events", tag = "activity",
    params(EventParams, RowsParams),
    responses(
        (status = 200, description = "A page", body = EventPage),
        (status = 400, description = "A parameter is not understood", body = ProblemBody),
        (status = 503, description = "The store is away", body = ProblemBody)
    ))]
pub async fn processed(State(context): State<Context>, query: Query) -> Result<Response, Problem> {
    let scan = scan(&query, context.config.limits.page_items_max)?;
    rows::page(&context, STREAM, EVENTS, scan, shown).await
}

/// One stored event
#[utoipa::path(get, path = "/events/processed/{eventId}", operation_id = "read_event", tag = "activity",
    params(("eventId" = String, Path, description = "A UUID")),
    responses(
        (status = 200, description = "The event", body = StoredEvent),
        (status = 400, description = "No UUID", body = ProblemBody),
        (status = 404, description = "No event of this id is stored", body = ProblemBody),
        (status = 503, description = "The store is away", body = ProblemBody)
    ))]
pub async fn one(
    State(context): State<Context>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    let Ok(id) = Uuid::try_parse(&id) else {
        let problem = Problem::new(Kind::InvalidParameter, "the id is no UUID");
        return Err(problem.field(
            "eventId",
            "is no UUID",
            "the eventId of an answer of POST /events/generate",
        ));
    };
    rows::one(&context, STREAM, EVENTS, &id.to_string(), shown).await
}

/// Totals of all users, page by page
#[utoipa::path(get, path = "/events/users", operation_id = "list_users", tag = "activity", params(ListParams),
    responses(
        (status = 200, description = "A page", body = crate::http::schema::Page),
        (status = 400, description = "A parameter is not understood", body = ProblemBody),
        (status = 503, description = "The store is away", body = ProblemBody)
    ))]
pub async fn users(State(context): State<Context>, query: Query) -> Result<Response, Problem> {
    entities::list_of(&context, STREAM, &query).await
}

/// How many events of a user there are, in all and by type
#[utoipa::path(get, path = "/events/users/{*key}", operation_id = "read_user", tag = "activity",
    params(crate::http::schema::KeyPath, ReadParams),
    responses(
        (status = 200, description = "The totals", body = UserEntity),
        (status = 304, description = "The caller holds them already, or nothing changed in time"),
        (status = 400, description = "A parameter is not understood", body = ProblemBody),
        (status = 404, description = "No event of this user is stored", body = ProblemBody)
    ))]
pub async fn user(
    State(context): State<Context>,
    target: Target,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    entities::read_of(&context, STREAM, &target.key, &query, &headers).await
}

fn scan(query: &Query, items_max: usize) -> Result<RowScan, Problem> {
    let mut reader = query.reader();
    let scan = rows::scan(&mut reader, "userId", items_max);
    let scan = RowScan { label: reader.one("eventType", query::text), ..scan };
    reader.finish().map(|()| scan)
}

/// The event as it is kept, and where it was first seen unless it has a member of that name itself.
fn shown(row: &StoredRow) -> String {
    let text = row.json.text();
    let has_own =
        Members::read(text).is_ok_and(|members| members.0.iter().any(|(name, _)| name == "position"));
    match text.strip_suffix('}').filter(|_| !has_own) {
        Some(open) => format!("{open},\"position\":\"{}\"}}", row.first),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::Json, record::Position};

    fn asked(raw: &str) -> Result<RowScan, String> {
        scan(&Query::parse(raw).expect("query"), 1_000).map_err(|problem| problem.json())
    }

    #[test]
    fn events_are_asked_for_by_user_type_and_time() {
        let scan = asked(
            "userId=u%2F1&eventType=click&from=1970-01-01T00:00:01Z&until=1970-01-01T00:00:02&order=asc&limit=5",
        );
        let scan = scan.expect("scan");
        assert_eq!((scan.key.as_deref(), scan.label.as_deref()), (Some("u/1"), Some("click")));
        assert_eq!((scan.from_ms, scan.until_ms, scan.limit), (Some(1_000), Some(2_000), 5));
        assert!(!scan.newest_first && asked("").expect("scan").newest_first);
        assert_eq!(asked("").expect("scan").limit, 100);
        let next = query::cursor_out("-5/some-id");
        assert_eq!(asked(&format!("after={next}")).expect("scan").after, Some((-5, "some-id".into())));
    }

    #[test]
    fn every_parameter_that_is_wrong_is_named() {
        let problem = asked("from=monday&until=x&order=up&limit=0&after=%21&user=u").expect_err("refused");
        for field in ["from", "until", "order", "limit", "after", "user"] {
            assert!(problem.contains(&format!("\"field\":\"{field}\"")), "{field} in {problem}");
        }
        assert!(asked(&format!("after={}", query::cursor_out("no"))).is_err());
    }

    #[test]
    fn a_member_of_the_events_own_is_not_hidden() {
        let row = |json: &str| StoredRow {
            id: "i".into(),
            key: "u".into(),
            label: None,
            first: Position { epoch: 0, partition: 3, offset: 9 },
            time_ms: 0,
            json: Json::from_checked(json),
        };
        assert_eq!(
            shown(&row(r#"{"payload":{"position":1}}"#)),
            r#"{"payload":{"position":1},"position":"0.3.9"}"#
        );
        assert_eq!(shown(&row(r#"{"position":"goalkeeper"}"#)), r#"{"position":"goalkeeper"}"#);
    }
}

//! `GET /events/processed` and what is beside it.

use super::bench::{Bench, Going};
use crate::http::doors::activity::listing::{EventPage, UserEntity};
use serde_json::{Value, json};

const EVENTS: u32 = 30;

/// Events of three users and two types, one every minute.
async fn filled() -> (Bench, Going) {
    let bench = Bench::new().await;
    let going = bench.start().await;
    for n in 0..EVENTS {
        let user = format!("u{}", n % 3);
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        let id = uuid::Uuid::from_u128(u128::from(n)).to_string();
        let time = format!("2026-11-21T10:{n:02}:00Z");
        let event =
            json!({"eventId": id, "userId": user, "eventType": kind, "timestamp": time, "payload": {"n": n}});
        bench.produce(Some(&user), Some(&event.to_string()), None).await;
    }
    going.takes_in(&bench).await;
    (bench, going)
}

/// All pages of a question; `n` of each event in their order.
async fn all(going: &Going, question: &str) -> Vec<u64> {
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let answer = going.get(&format!("/events/processed?{question}&limit=4{after}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let page: EventPage = serde_json::from_value(answer.body).expect("a page as it is described");
        assert!(page.items.len() <= 4);
        seen.extend(page.items.iter().map(|event| event.payload["n"].as_u64().expect("n")));
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return seen,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_events_are_listed_by_user_type_and_time() {
    let (_bench, going) = filled().await;
    let newest_first: Vec<u64> = (0..u64::from(EVENTS)).rev().collect();
    assert_eq!(all(&going, "").await, newest_first);
    assert_eq!(all(&going, "order=asc").await, (0..u64::from(EVENTS)).collect::<Vec<_>>());
    assert_eq!(
        all(&going, "userId=u1&order=asc").await,
        (0..30).filter(|n| n % 3 == 1).collect::<Vec<u64>>()
    );
    assert_eq!(
        all(&going, "eventType=odd").await,
        (0..30).rev().filter(|n| n % 2 == 1).collect::<Vec<u64>>()
    );
    assert_eq!(all(&going, "userId=u2&eventType=even&order=asc").await, [2, 8, 14, 20, 26]);
    let within = "from=2026-11-21T10:05:00Z&until=2026-11-21T11:08:00%2B01:00&order=asc";
    assert_eq!(all(&going, within).await, [5, 6, 7]);
    assert_eq!(all(&going, &format!("{within}&userId=u0")).await, [6]);
    assert!(all(&going, "userId=nobody").await.is_empty());
    going.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_read_by_its_id_and_users_have_totals() {
    let (_bench, going) = filled().await;
    let shouted = uuid::Uuid::from_u128(7).to_string().to_uppercase();
    let found = going.get(&format!("/events/processed/{shouted}")).await;
    assert_eq!((found.status, &found.body["payload"]), (200, &json!({"n": 7})));
    assert_eq!(going.get(&format!("/events/processed/{}", uuid::Uuid::from_u128(77))).await.status, 404);
    assert_eq!(going.get("/events/processed/seven").await.status, 400);
    assert_eq!(going.get("/events/processed?user=u1").await.status, 400);

    let user = going.get("/events/users/u1").await;
    let entity: UserEntity = serde_json::from_value(user.body.clone()).expect("as it is described");
    assert_eq!((entity.value.total, entity.key.as_str()), (10, "u1"));
    let by_type = &user.body["value"]["byType"];
    assert_eq!(by_type, &json!({"even": 5, "odd": 5}));
    assert_eq!(user.body["value"]["last"]["timestamp"], "2026-11-21T10:28:00.000Z");
    let users = going.get("/events/users?sort=-/total").await;
    let keys: Vec<&Value> =
        users.body["items"].as_array().expect("items").iter().map(|item| &item["key"]).collect();
    assert_eq!(keys.len(), 3);
    assert_eq!(going.get("/events/users/nobody").await.status, 404);
    going.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_described() {
    let bench = Bench::new().await;
    let going = bench.start().await;
    let document = going.get("/openapi.json").await.body;
    let generate = &document["paths"]["/events/generate"]["post"];
    assert_eq!(
        generate["responses"]["201"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/GeneratedEvent"
    );
    for path in ["/events/processed", "/events/processed/{eventId}", "/events/users", "/events/users/{key}"] {
        assert!(document["paths"][path]["get"].is_object(), "{path}");
    }
    let tags = document["tags"].as_array().expect("tags");
    assert!(tags.iter().any(|tag| tag["name"] == "activity"), "{tags:?}");
    let text = document.to_string();
    let names = document["components"]["schemas"].as_object().expect("schemas");
    for named in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(names.contains_key(named), "{named} is named and not described");
    }
    going.stop().await;
}

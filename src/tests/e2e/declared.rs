//! A declared stream through the real door: its key is not what its topic is partitioned by.

use super::{eventually, ground::Ground, load::send, same};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const PARTITIONS: usize = 8;

async fn body(statecast: &super::binary::Statecast, path: &str) -> (StatusCode, Value) {
    let answer = statecast.get(path).await;
    (answer.status(), answer.json().await.unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_over_eight_partitions_are_right_on_kafka_and_mongodb() {
    let Some(ground) = Ground::new("declared").await else { return };
    let topic = format!("{}-views", ground.name);
    let topic_setting = format!("streams.views.topic={topic}");
    let partitions = format!("streams.views.partitions={PARTITIONS}");
    let settings = [
        topic_setting.as_str(),
        &partitions,
        "streams.views.projection=aggregate",
        "streams.views.key=/page",
        "streams.views.aggregates.views=count",
        "streams.views.aggregates.visitors=distinct /user",
        "streams.views.aggregates.ms=sum /ms",
        "streams.views.aggregates.slowest=max /ms",
    ];
    let statecast = ground.start_with(&settings).await;
    let producer = ground.producer();
    let mut used = std::collections::BTreeSet::new();
    for i in 0..240_u32 {
        let user = format!("user-{}", i % 24);
        let view = json!({"page": format!("p{}", i % 3), "user": user, "ms": i});
        used.insert(send(&producer, &topic, &user, Some(&view.to_string())).await.0);
    }
    assert!(used.len() > 1, "users lie in several partitions: {used:?}");
    send(&producer, &topic, "user-0", Some("{\"page\":\"p0\",\"ms\":\"slow\"}")).await;
    for page in 0..3 {
        let of_page: Vec<u32> = (0..240).filter(|i| i % 3 == page).collect();
        let sum = of_page.iter().sum::<u32>();
        let expected = json!({"views": 80, "visitors": 8, "ms": sum, "slowest": of_page.last()});
        eventually(&format!("p{page} is counted"), async || {
            same(body(&statecast, &format!("/api/streams/views/p{page}")).await.1["value"].clone(), &expected)
        })
        .await;
    }

    let answer = Client::new().put(format!("{}/api/streams/views/p0", statecast.base)).json(&json!(1)).send();
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(answer.text().await.expect("text").contains(&topic), "it says where to write");

    let (_, streams) = body(&statecast, "/api/streams").await;
    let listed = streams.as_array().or(streams["streams"].as_array()).expect("streams");
    let views = listed.iter().find(|stream| stream["stream"] == "views").expect("views");
    assert_eq!((&views["kind"], &views["declared"]), (&json!("aggregate"), &json!(true)));

    let letters = format!("{}/admin/dlq/views", statecast.admin);
    eventually("the record that is none is a dead letter", async || {
        let letters: Value =
            Client::new().get(&letters).send().await.expect("an answer").json().await.expect("JSON");
        let text = letters.to_string();
        if text.contains("schema_invalid") { Ok(()) } else { Err(text) }
    })
    .await;
    let (status, problem) = body(&statecast, "/api/streams/views/nobody").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
}

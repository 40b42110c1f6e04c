//! What cannot start says so in one line, with the exit that tells who has to act, and never a secret.

use super::{
    binary::{Ended, Statecast, run},
    ground::Ground,
};
use std::net::TcpListener;
use tempfile::TempDir;

const SECRET: &str = "hunter2";

/// It ended so, and exactly one line of its own says why, in these words.
fn told(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let own: Vec<_> = ended.stderr.lines().filter(|line| line.starts_with("statecast: ")).collect();
    assert_eq!(own.len(), 1, "{ended:?}");
    for word in words {
        assert!(own[0].contains(word), "{word} in {ended:?}");
    }
    for output in [&ended.stdout, &ended.stderr] {
        assert!(!output.contains(SECRET) && !output.contains("panicked"), "{ended:?}");
        assert!(!output.lines().any(|line| line == "ready"), "{ended:?}");
    }
}

async fn serve(settings: &[&str]) -> Ended {
    let free = ["server.listen=127.0.0.1:0", "server.admin_listen=127.0.0.1:0"];
    let all: Vec<String> = free.iter().chain(settings).map(|&setting| setting.to_owned()).collect();
    run(&["serve"], &all).await
}

#[tokio::test]
async fn brokers_that_are_not_there_are_named() {
    let folder = TempDir::new().expect("folder");
    let data = format!("embedded.data_dir={}", folder.path().display());
    let password = format!("kafka.sasl_password={SECRET}");
    let ended = serve(&[
        "log.kind=kafka",
        "kafka.brokers=127.0.0.1:1",
        "kafka.start_timeout_ms=1500",
        "kafka.security_protocol=sasl_plaintext",
        "kafka.sasl_mechanism=PLAIN",
        "kafka.sasl_username=bob",
        &password,
        &data,
    ])
    .await;
    told(&ended, 69, &["Kafka at 127.0.0.1:1", "1.5 s"]);
}

#[tokio::test]
async fn a_mongodb_that_is_not_there_is_named() {
    let folder = TempDir::new().expect("folder");
    let data = format!("embedded.data_dir={}", folder.path().display());
    let uri = format!("mongodb.uri=mongodb://bob:{SECRET}@127.0.0.1:1/?replicaSet=rs0");
    let ended = serve(&["store.kind=mongodb", &uri, "mongodb.start_timeout_ms=1500", &data]).await;
    told(&ended, 69, &["MongoDB at mongodb://127.0.0.1:1 ", "1.5 s"]);
}

#[tokio::test]
async fn a_password_that_mongodb_refuses_is_a_fault_at_once() {
    let Some(ground) = Ground::new("password").await else { return };
    let mut settings = ground.settings();
    let with_password = |setting: &String| setting.replace("mongodb://", &format!("mongodb://bob:{SECRET}@"));
    settings = settings.iter().map(with_password).collect();
    settings.push("server.listen=127.0.0.1:0".into());
    settings.push("server.admin_listen=127.0.0.1:0".into());
    told(&run(&["serve"], &settings).await, 64, &["MongoDB at", "uthentication failed"]);
}

#[tokio::test]
async fn a_uri_that_is_none_is_a_fault() {
    let uri = format!("mongodb.uri=mongo//bob:{SECRET}@127.0.0.1/");
    let ended = serve(&["store.kind=mongodb", &uri]).await;
    told(&ended, 64, &["the configuration has a fault"]);
    assert!(ended.stderr.contains("mongodb.uri cannot be parsed"), "{ended:?}");
}

#[tokio::test]
async fn every_fault_of_a_configuration_is_told_at_once() {
    let ended = serve(&["kafka.broker=x", "engine.shards=none"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""));
    for words in ["kafka.broker", "kafka.brokers", "engine.shards"] {
        assert!(ended.stderr.contains(words), "{words}: {ended:?}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("address").to_string();
    for setting in ["server.listen", "server.admin_listen"] {
        let ended = serve(&[&format!("{setting}={address}")]).await;
        told(&ended, 64, &[setting, &address, "in use"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_one_folder_is_refused_and_the_first_goes_on() {
    let folder = TempDir::new().expect("folder");
    let data = format!("embedded.data_dir={}", folder.path().display());
    let first = Statecast::start(std::slice::from_ref(&data)).await;
    let ended = serve(&[&data]).await;
    told(&ended, 64, &[&folder.path().display().to_string(), "another process"]);
    let put = reqwest::Client::new().put(format!("{}/api/streams/kv/a?wait=stored", first.base)).json(&1);
    assert_eq!(put.send().await.expect("an answer").status(), 200);
    assert_eq!(first.terminate().await.0.code(), Some(0));
}

//! Events by HTTP while Kafka is away: cut off, then silent. Whoever generates them sends the same idempotency key again
//! until it is acknowledged, as the answers tell them to.
//!
//! Invariant: the log is read by its own door, past the proxy that stands between it and Statecast, so what is found in it
//! is what the brokers have.

use super::{activity, binary::Statecast, eventually, ground::Ground, within};
use crate::tests::faults::{proxy::Proxy, services};
use reqwest::Client;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

const USERS: usize = 4;
const ATTEMPTS: usize = 3;
const WAIT_MS: u64 = 100;
/// How long an attempt may take.
const DELIVERY_MS: u64 = 1_000;

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Acknowledged,
    /// No attempt has left.
    Refused,
    /// One may have.
    Unknown,
}

/// One event, and what was answered each time it was sent.
#[derive(Debug, Clone)]
struct Sent {
    user: String,
    key: String,
    id: String,
    answers: Vec<Answer>,
}

impl Sent {
    fn is_acknowledged(&self) -> bool {
        self.answers.contains(&Answer::Acknowledged)
    }

    fn may_be_in_the_log(&self) -> bool {
        self.answers.iter().any(|answer| *answer != Answer::Refused)
    }
}

type All = Arc<Mutex<BTreeMap<String, Sent>>>;

/// Posts an event, and takes down what was answered; the same key has had the same id before.
async fn post(base: &str, all: &All, user: &str, key: &str) -> Answer {
    let event = json!({"userId": user, "eventType": "click", "payload": {"key": key}});
    let request = Client::new().post(format!("{base}/events/generate")).header("idempotency-key", key);
    let response = request.json(&event).send().await.expect("an answer, whatever Kafka does");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body: Value = response.json().await.expect("JSON");
    let answer = match (status, body["type"].as_str()) {
        (201, _) => Answer::Acknowledged,
        (503, Some("/problems/log-unavailable")) => Answer::Refused,
        (503, Some("/problems/outcome-unknown")) => Answer::Unknown,
        _ => panic!("{status}: {body}"),
    };
    if answer != Answer::Acknowledged {
        assert_eq!(headers["content-type"], "application/problem+json");
        assert!(headers.contains_key("retry-after"), "{body}");
    }
    let id = body["eventId"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    let new = || Sent { user: user.into(), key: key.into(), id: id.clone(), answers: Vec::new() };
    let mut all = all.lock().expect("all");
    let sent = all.entry(key.to_owned()).or_insert_with(new);
    assert_eq!(sent.id, id, "the same key is the same event");
    sent.answers.push(answer.clone());
    answer
}

/// Users who generate one event after the other, each until it is acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    users: Vec<JoinHandle<()>>,
}

impl Load {
    /// First what was not acknowledged before, then new ones.
    fn start(base: &str, all: &All) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let users = (0..USERS).map(|user| {
            let (base, all, stop) = (base.to_owned(), all.clone(), stop.clone());
            tokio::spawn(async move {
                let user = format!("u{user}");
                while !stop.load(Ordering::Relaxed) {
                    let key = next(&all, &user);
                    post(&base, &all, &user, &key).await;
                }
            })
        });
        Load { users: users.collect(), stop }
    }

    /// What is under way is waited for.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for user in self.users {
            user.await.expect("every answer was one that is promised");
        }
    }
}

/// The first of the user's keys that is not acknowledged, or one more.
fn next(all: &All, user: &str) -> String {
    let all = all.lock().expect("all");
    let of_user: Vec<_> = all.values().filter(|sent| sent.user == user).collect();
    let waits = of_user.iter().find(|sent| !sent.is_acknowledged());
    waits.map_or_else(|| format!("{user} {}", of_user.len()), |sent| sent.key.clone())
}

/// What is not acknowledged yet.
fn waiting(all: &All) -> Vec<Sent> {
    let all = all.lock().expect("all");
    all.values().filter(|sent| !sent.is_acknowledged()).cloned().collect()
}

/// Waits until every user has so many more answers that are as wanted.
async fn each_gets(all: &All, more: usize, wanted: impl Fn(&Answer) -> bool) {
    let count = || {
        let all = all.lock().expect("all");
        let of = |user: usize| all.values().filter(move |sent| sent.user == format!("u{user}"));
        let answers = |user| of(user).flat_map(|sent| &sent.answers).filter(|answer| wanted(answer)).count();
        (0..USERS).map(answers).collect::<Vec<_>>()
    };
    let before = count();
    within(Duration::from_secs(90), "everybody is answered", async || {
        let now = count();
        if now.iter().zip(&before).all(|(now, before)| *now >= before + more) { Ok(()) } else { Err(now) }
    })
    .await;
}

/// The ids that HTTP lists.
async fn listed(statecast: &Statecast) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = statecast.get(&format!("/events/processed?limit=100{after}")).await;
        let page: Value = page.json().await.expect("JSON");
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
        ids.extend(items.iter().map(|event| event["eventId"].as_str().expect("id").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    ids.sort();
    ids
}

/// How many events of each user are counted.
async fn counted(statecast: &Statecast) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for user in (0..USERS).map(|user| format!("u{user}")) {
        let totals: Value = statecast.get(&format!("/events/users/{user}")).await.json().await.expect("JSON");
        let total = totals["value"]["total"].as_u64().unwrap_or_default();
        counted.insert(user, total as usize);
    }
    counted
}

fn per_user(all: &[Sent]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for sent in all {
        *count.entry(sent.user.clone()).or_default() += 1;
    }
    count
}

/// Nothing that was refused is anywhere, and nothing is listed or counted beyond what may be in the log.
async fn nothing_is_half_accepted(ground: &Ground, statecast: &Statecast, all: &All) {
    let all: Vec<Sent> = all.lock().expect("all").values().cloned().collect();
    let (may_be, refused): (Vec<Sent>, Vec<Sent>) = all.into_iter().partition(Sent::may_be_in_the_log);
    assert!(!refused.is_empty() && !may_be.is_empty());
    let log = ground.read_topic(&activity::topic(ground)).await;
    let text = |value: &Option<Vec<u8>>| String::from_utf8(value.clone().expect("value")).expect("UTF-8");
    let log: Vec<String> = log.iter().map(|letter| text(&letter.value)).collect();
    for sent in &refused {
        assert!(!log.iter().any(|value| value.contains(&sent.id)), "in the log all the same: {sent:?}");
    }
    let ids: BTreeSet<&str> = may_be.iter().map(|sent| sent.id.as_str()).collect();
    let beyond: Vec<_> = listed(statecast).await.into_iter().filter(|id| !ids.contains(&**id)).collect();
    assert!(beyond.is_empty(), "nobody was told that these are in: {beyond:?}");
    let most = per_user(&may_be);
    for (user, count) in counted(statecast).await {
        assert!(count <= most[&user], "{user} counts {count} of {}", most[&user]);
    }
}

/// Each event is listed once and counted once.
async fn each_counts_once(statecast: &Statecast, all: &All) {
    let all: Vec<Sent> = all.lock().expect("all").values().cloned().collect();
    assert!(all.iter().all(Sent::is_acknowledged), "{all:?}");
    let mut ids: Vec<String> = all.iter().map(|sent| sent.id.clone()).collect();
    ids.sort();
    let wanted = (ids, per_user(&all));
    eventually("each event is listed and counted once", async || {
        let found = (listed(statecast).await, counted(statecast).await);
        let is_more = found.0.len() > wanted.0.len() || found.1.iter().any(|(user, n)| *n > wanted.1[user]);
        assert!(!is_more, "{found:?} of {wanted:?}");
        if found == wanted { Ok(()) } else { Err((found, statecast.said())) }
    })
    .await;
}

/// An event that is sent while no broker is there, alone: all attempts are made, each after a longer wait.
async fn all_attempts_are_made(statecast: &Statecast, all: &All) {
    let waits = || -> Vec<u64> {
        let lines = statecast.lines_with("append is made again");
        let line = |line: &String| serde_json::from_str::<Value>(line).expect("a line of JSON");
        lines.iter().map(|text| line(text)["wait_ms"].as_u64().expect("wait_ms")).collect()
    };
    let before = waits().len();
    assert_eq!(post(&statecast.base, all, "u0", "in the dark").await, Answer::Refused);
    let made = eventually("the attempts are in the log of the program", async || {
        let made = waits().split_off(before);
        if made.len() + 1 >= ATTEMPTS { Ok(made) } else { Err(made) }
    })
    .await;
    assert_eq!(made.len() + 1, ATTEMPTS, "{made:?}");
    for (n, wait) in made.iter().enumerate() {
        let least = WAIT_MS << n;
        assert!((least..=2 * least).contains(wait), "they grow, with jitter: {made:?}");
    }
    let id = all.lock().expect("all")["in the dark"].id.clone();
    assert_eq!(statecast.get(&format!("/events/processed/{id}")).await.status(), 404);
}

async fn start(ground: &Ground, brokers: &str) -> Statecast {
    let mut settings = activity::settings(ground, &format!("{}-g", ground.name));
    settings.extend([
        format!("kafka.brokers={brokers}"),
        format!("kafka.delivery_timeout_ms={DELIVERY_MS}"),
        format!("produce.attempts_max={ATTEMPTS}"),
        format!("produce.wait_ms={WAIT_MS}"),
        "produce.deadline_ms=120000".to_owned(),
        "telemetry.log_level=info,statecast::http=debug".to_owned(),
        "telemetry.log_format=json".to_owned(),
    ]);
    Statecast::start(&settings).await
}

/// The one test that may stand at the brokers' second door.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_half_accepted_while_kafka_is_cut_off_or_silent() {
    let Some(ground) = Ground::new("away").await else { return };
    let (door, behind) = services::kafka_door();
    let proxy = Proxy::on(&door, behind, 0).await;
    let (statecast, all) = (start(&ground, &door).await, All::default());
    let load = Load::start(&statecast.base, &all);
    each_gets(&all, 5, |answer| *answer == Answer::Acknowledged).await;

    // Cut off: what comes now never leaves.
    proxy.mode.shut.store(true, Ordering::Relaxed);
    proxy.cut_all();
    each_gets(&all, 1, |answer| *answer != Answer::Acknowledged).await;
    load.end().await;
    all_attempts_are_made(&statecast, &all).await;
    nothing_is_half_accepted(&ground, &statecast, &all).await;

    // Back: the same keys are sent again, then new ones.
    proxy.mode.shut.store(false, Ordering::Relaxed);
    let load = Load::start(&statecast.base, &all);
    each_gets(&all, 5, |answer| *answer == Answer::Acknowledged).await;

    // Silent: what has left is held, and reaches the brokers when its sender has long given it up.
    proxy.mode.hold.store(true, Ordering::Relaxed);
    each_gets(&all, 1, |answer| *answer != Answer::Acknowledged).await;
    load.end().await;
    let unknown = |sent: &Sent| sent.answers.contains(&Answer::Unknown);
    assert!(waiting(&all).iter().any(unknown), "what has left is stated as unknown: {:?}", waiting(&all));
    proxy.mode.hold.store(false, Ordering::Relaxed);

    let load = Load::start(&statecast.base, &all);
    each_gets(&all, 5, |answer| *answer == Answer::Acknowledged).await;
    load.end().await;
    // Whoever ended has acknowledged its last, or sends it again.
    let open = waiting(&all);
    for Sent { user, key, .. } in open {
        while post(&statecast.base, &all, &user, &key).await != Answer::Acknowledged {}
    }
    each_counts_once(&statecast, &all).await;
    assert!(statecast.terminate().await.0.success());
}

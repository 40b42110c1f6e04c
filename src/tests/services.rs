//! Where the real services of a test run are.
//!
//! Invariant: a test that needs a service fails when nobody said where it is; only `STATECAST_TEST_OFFLINE=1` skips it,
//! so that a run without services cannot pass by mistake.

/// Kafka's brokers (`STATECAST_TEST_KAFKA`); `None`: skip this test.
pub fn kafka() -> Option<String> {
    service("STATECAST_TEST_KAFKA")
}

/// MongoDB's URI (`STATECAST_TEST_MONGODB`); `None`: skip this test.
pub fn mongodb() -> Option<String> {
    service("STATECAST_TEST_MONGODB")
}

fn service(name: &str) -> Option<String> {
    let (address, offline) = (std::env::var(name), std::env::var("STATECAST_TEST_OFFLINE"));
    match choose(address.ok(), offline.ok()) {
        Choice::At(address) => Some(address),
        Choice::Skip => {
            eprintln!("skipped: {name} is not set and STATECAST_TEST_OFFLINE is 1");
            None
        }
        Choice::Missing => {
            panic!("{name} is not set; start the services, or set STATECAST_TEST_OFFLINE=1 to skip")
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    At(String),
    Skip,
    Missing,
}

fn choose(address: Option<String>, offline: Option<String>) -> Choice {
    match (address.filter(|a| !a.is_empty()), offline.as_deref()) {
        (Some(address), _) => Choice::At(address),
        (None, Some("1")) => Choice::Skip,
        (None, _) => Choice::Missing,
    }
}

#[test]
fn a_missing_service_is_skipped_only_when_offline_is_said() {
    let set = |text: &str| Some(text.to_owned());
    assert_eq!(choose(set("host:1"), None), Choice::At("host:1".into()));
    assert_eq!(choose(set("host:1"), set("1")), Choice::At("host:1".into()));
    assert_eq!(choose(None, set("1")), Choice::Skip);
    assert_eq!(choose(set(""), set("1")), Choice::Skip);
    assert_eq!(choose(None, None), Choice::Missing);
    assert_eq!(choose(None, set("0")), Choice::Missing);
}

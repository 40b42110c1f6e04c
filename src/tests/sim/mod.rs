//! The plain parts of the engine under one seed: every crash, refusal, rebalance and reordering that the seed chooses.
//!
//! Invariant: a run is a function of its seed and its profile: one thread, a clock that stands, a log and a store in memory.
//! So `STATECAST_SEED=17` replays run 17 of whatever test is asked for, step by step.
//! `STATECAST_SEEDS=100000` runs more of them.
//! Not here: threads and actors (`tests/engine.rs`), real services (`tests/e2e`, `src/tests/faults`).

mod attend;
mod downstream;
mod epochs;
mod events;
mod forgetting;
mod group;
mod instance;
mod model;
mod produce;
mod profile;
mod rest;
mod run;
mod strays;
mod tally;
mod wait;
mod watch;
mod world;

use attend::Attention;
use profile::{App, CALM, MIXTURE, Profile, Seen, UNATTENDED};
use run::run;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

/// Runs of the great mixture; a build that is not optimised has no time for all of them.
const SEEDS: u64 = if cfg!(debug_assertions) { 400 } else { 10_000 };
/// Runs of a profile that is about one rule.
const SEEDS_OF_A_RULE: u64 = if cfg!(debug_assertions) { 100 } else { 500 };

/// Seeds of the great mixture that once found something. 170: what an instance stored late, and its successor only saw in
/// the store, was told to nobody in a stream's room.
const FOUND: &[u64] = &[170];

/// A bug put in on purpose: the oracle has to see each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    CommitBeforeWrite,
    /// Offset `o` where `o + 1` is next.
    CommitOneShort,
    DropWhenFull,
    SwapUpdates,
    LetterNotAwaited,
    /// The store takes whatever comes last.
    NoGuard,
    /// What is held outlives its assignment.
    CacheKept,
}

/// Runs these seeds; a failure says how to replay it.
fn runs(test: &str, profile: &Profile, seeds: u64) -> Seen {
    if let Some(seed) = std::env::var("STATECAST_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed, profile, None);
    }
    let more = std::env::var("STATECAST_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let seeds = seeds.max(more.unwrap_or(0));
    let next = AtomicU64::new(0);
    // Half of the cores: tests beside this one have deadlines.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let one_thread = || {
        let mut seen = Seen::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return seen;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed, profile, None))) {
                Ok(one) => seen.add(&one),
                Err(_) => {
                    next.store(seeds, Ordering::Relaxed);
                    panic!(
                        "seed {seed} failed, see above; replay it: STATECAST_SEED={seed} make test-rust ARGS='sim::{test} -- --nocapture'"
                    );
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one_thread)).collect();
        let mut seen = Seen::default();
        for thread in threads {
            match thread.join() {
                Ok(one) => seen.add(&one),
                Err(why) => std::panic::resume_unwind(why),
            }
        }
        seen
    })
}

#[test]
fn whatever_happens_the_end_is_a_plain_fold_of_the_log() {
    let seen = runs("whatever_happens", &MIXTURE, SEEDS);
    eprintln!("{SEEDS} seeds: {seen:?}");
    if std::env::var_os("STATECAST_SEED").is_none() {
        let Seen { crashes, sick, moves, lost_sessions, lost_replies, late_writes, .. } = seen;
        let met = [crashes, sick, moves, lost_sessions, lost_replies, late_writes];
        assert!(met.iter().all(|&times| times > SEEDS / 20), "{seen:?}");
        let Seen { refused_writes, refused_commits, conflicts, stale, repeated, fenced, held, .. } = seen;
        let met = [refused_writes, refused_commits, conflicts, stale, repeated, fenced, held, seen.evicted];
        assert!(met.iter().all(|&times| times > 0), "{seen:?}");
    }
}

#[test]
fn seeds_that_once_found_something_find_nothing() {
    for &seed in FOUND {
        run(seed, &MIXTURE, None);
    }
}

/// In how many seeds a bug has to show.
const CAUGHT_WITHIN: u64 = 300;

fn caught(bug: Bug) -> Option<u64> {
    (0..CAUGHT_WITHIN)
        .find(|&seed| catch_unwind(AssertUnwindSafe(|| run(seed, &UNATTENDED, Some(bug)))).is_err())
}

#[test]
fn bugs_put_in_on_purpose_are_seen() {
    for bug in [
        Bug::CommitBeforeWrite,
        Bug::CommitOneShort,
        Bug::DropWhenFull,
        Bug::SwapUpdates,
        Bug::LetterNotAwaited,
        Bug::NoGuard,
        Bug::CacheKept,
    ] {
        let seed = caught(bug);
        assert!(seed.is_some(), "{bug:?} went unseen in {CAUGHT_WITHIN} seeds");
        eprintln!("{bug:?}: seed {seed:?}");
    }
}

/// As many runs as a rule gets, with a count of what they met.
fn rule(test: &str, profile: Profile, met: impl Fn(&Seen) -> u64) {
    let seen = runs(test, &profile, SEEDS_OF_A_RULE);
    eprintln!("{test}: {seen:?}");
    assert!(std::env::var_os("STATECAST_SEED").is_some() || met(&seen) > 0, "it never came up: {seen:?}");
}

#[test]
fn rule_01_a_write_that_comes_late_puts_nothing_older_back() {
    let profile = Profile { late: 25, losses: 3, ..MIXTURE };
    rule("rule_01", profile, |seen| seen.late_writes.min(seen.refused_writes));
}

#[test]
fn rule_02_what_is_held_ends_with_its_assignment() {
    rule("rule_02", Profile { moves: 6, losses: 3, ..CALM }, |seen| seen.moves.min(seen.lost_sessions));
}

#[test]
fn rule_03_an_unknown_outcome_is_made_again_until_it_is_known() {
    let profile = Profile { lost: 25, partly: 15, away: 15, sick: 3, ..MIXTURE };
    rule("rule_03", profile, |seen| seen.lost_replies.min(seen.sick).min(seen.fenced));
}

#[test]
fn rule_04_what_is_refused_does_not_depend_on_how_batches_are_cut() {
    rule("rule_04", Profile { poison: 30, crashes: 2, ..MIXTURE }, |seen| seen.repeated);
}

#[test]
fn rule_04_what_the_store_refuses_is_a_dead_letter_and_nothing_else_is() {
    let profile = Profile { forbidden: 8, crashes: 2, lost: 15, partly: 10, losses: 3, ..MIXTURE };
    rule("rule_04_what_the_store", profile, |seen| {
        seen.refused_documents.min(seen.crashes).min(seen.lost_replies).min(seen.refused_writes)
    });
}

#[test]
fn rule_05_poison_holds_a_partition_and_a_refusal_does_not() {
    rule("rule_05", Profile { poison: 45, ..CALM }, |seen| seen.held);
    // Conditions that fail are many in every run, and hold nothing.
    let seen = runs("rule_05", &Profile { poison: 0, ..CALM }, SEEDS_OF_A_RULE);
    assert_eq!(seen.held, 0);
}

/// Keys are removed, forgotten and made again while their partitions move, writers die, and what is on its way comes late.
#[test]
fn rule_06_what_is_forgotten_neither_comes_back_nor_takes_what_came_after_it() {
    let profile = Profile { forgetting: 10, poison: 3, late: 12, watching: 8, records_max: 70, ..UNATTENDED };
    rule("rule_06", profile, |seen| {
        seen.forgotten.min(seen.not_forgotten).min(seen.told_forgotten).min(seen.begun_again)
    });
}

#[test]
fn rule_07_an_event_counts_once_whatever_is_repeated() {
    let profile = Profile { app: App::Tally, crashes: 2, lost: 15, partly: 10, ..MIXTURE };
    rule("rule_07", profile, |seen| seen.crashes.min(seen.repeated).min(seen.lost_replies));
}

#[test]
fn rule_08_letters_and_emits_are_at_least_once_and_always_the_same() {
    let profile = Profile { app: App::Tally, poison: 20, crashes: 2, late: 15, ..MIXTURE };
    rule("rule_08_letters", profile, |seen| seen.crashes.min(seen.lost_replies));
}

/// An instance dies after what it emitted was appended and before its offset was committed, and its successor emits it again.
#[test]
fn rule_08_who_reads_what_was_emitted_takes_each_in_once_and_in_order() {
    let profile = Profile { app: App::Tally, crashes: 3, sick: 2, losses: 2, late: 15, ..MIXTURE };
    rule("rule_08_who_reads", profile, |seen| seen.crashes.min(seen.emitted_again).min(seen.emitted_late));
}

/// Two producers that choose the partition of a key in two ways: two instances store one key, and none hears of the other.
#[test]
fn rule_09_of_a_key_under_two_partitions_the_newer_record_time_wins() {
    let profile = Profile { strays: 40, poison: 3, crashes: 2, moves: 2, losses: 2, late: 20, ..UNATTENDED };
    rule("rule_09", profile, |seen| {
        let met = [seen.key_moved, seen.stored_from_elsewhere, seen.late_writes, seen.crashes, seen.moves];
        met.into_iter().chain([seen.conflicts, seen.refused_writes]).min().unwrap_or(0)
    });
}

/// Instances meet a new log at the same time, some while they still know the old one, and what is of the old log comes late.
#[test]
fn rule_10_a_topic_made_anew_is_one_epoch_for_all_read_from_its_beginning() {
    let faults = Profile { crashes: 3, sick: 2, moves: 2, losses: 2, late: 25, ..UNATTENDED };
    let profile = Profile { recreations: 4, poison: 0, records_max: 80, ..faults };
    rule("rule_10", profile, |seen| {
        let met = [seen.recreated, seen.met_raised, seen.met_gone, seen.late_of_old, seen.late_writes];
        met.into_iter().chain([seen.crashes, seen.moves]).min().unwrap_or(0)
    });
}

/// An instance ends, or loses a partition, after the store has confirmed and before anybody was told.
#[test]
fn rule_13_what_is_stored_is_told_whoever_stored_it_and_lived() {
    let attends = &[(60, Attention::Told)];
    let profile = Profile {
        crashes: 4,
        losses: 1,
        moves: 0,
        sick: 0,
        lost: 40,
        partly: 0,
        late: 0,
        away: 4,
        watching: 2,
        attends,
        ..MIXTURE
    };
    rule("rule_13_what_is_stored", profile, |seen| {
        seen.died_untold.min(seen.told_for_others).min(seen.fenced)
    });
}

/// Who has lost a partition and does not know it tells nothing of what its successor stores.
#[test]
fn rule_13_the_look_into_the_store_finds_what_nobody_told() {
    let attends = &[(30, Attention::Synced)];
    let profile = Profile { moves: 3, losses: 6, watching: 6, attends, ..MIXTURE };
    rule("rule_13_the_look", profile, |seen| seen.synced.min(seen.lost_sessions));
}

#[test]
fn rule_14_who_watches_is_shown_nothing_older_and_ends_at_the_newest() {
    let profile = Profile { watching: 30, crashes: 2, moves: 3, losses: 2, ..MIXTURE };
    rule("rule_14", profile, |seen| seen.watchers_moved.min(seen.moves));
}

/// A refused record and poison change nothing, and no room stands where they are; who goes on from where its room was misses
/// nothing of what came meanwhile.
#[test]
fn rule_15_a_streams_room_stands_at_its_last_change_and_goes_on_from_there() {
    let attends = &[(30, Attention::Away), (30, Attention::Told)];
    let profile = Profile { poison: 25, watching: 6, attends, ..MIXTURE };
    rule("rule_15", profile, |seen| seen.resumed.min(seen.crashes).min(seen.moves));
}

/// Between the pages of a walk records are stored, partitions move and instances end.
#[test]
fn rule_16_who_walks_through_all_pages_holds_everything_whatever_changes_underneath() {
    let attends = &[(20, Attention::Anew), (400, Attention::Page), (10, Attention::Told)];
    let profile = Profile { page_bytes: 150, watching: 6, moves: 3, attends, ..MIXTURE };
    rule("rule_16", profile, |seen| seen.walks_changed.min(seen.watchers_moved).min(seen.moves));
}

#[test]
fn rule_18_what_is_owned_elsewhere_is_fed_from_the_store_and_its_answer_says_so() {
    let attends = &[(30, Attention::Fed), (20, Attention::Asked)];
    let profile = Profile { moves: 3, losses: 2, attends, ..MIXTURE };
    rule("rule_18", profile, |seen| seen.fed.min(seen.asked_elsewhere).min(seen.moves));
}

/// Of those who name one version several write at once, on both instances, while instances end and partitions move.
#[test]
fn rule_19_who_waits_is_told_what_became_of_his_write_or_that_it_is_unknown() {
    let profile = Profile { writes: 60, sick: 6, moves: 2, losses: 3, lost: 20, ..MIXTURE };
    rule("rule_19", profile, |seen| {
        let told = seen.told_stored.min(seen.told_refused).min(seen.told_poisoned).min(seen.told_unknown);
        told.min(seen.crashes).min(seen.moves)
    });
}

#[test]
fn rule_20_a_position_is_reached_with_the_watermark_whatever_became_of_its_record() {
    let profile = Profile { waits: 60, poison: 25, moves: 2, losses: 2, ..MIXTURE };
    rule("rule_20", profile, |seen| {
        seen.reached.min(seen.reached_unchanged).min(seen.reached_elsewhere).min(seen.crashes)
    });
}

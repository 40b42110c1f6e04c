//! What a run is made of, and what came up in it.
//!
//! Invariant: a profile says how often what may happen, and nothing of what then has to hold.
//! Not here: choosing (`events`), and carrying out (`run`).

use super::attend::Attention;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    Kv,
    /// Counts each event once.
    Tally,
}

/// How often what happens: weights of events, and percent of calls.
#[derive(Debug, Clone)]
pub struct Profile {
    pub(super) app: App,
    pub(super) records_max: usize,
    pub(super) poison: u32,
    /// Percent of records that lead to what the store refuses.
    pub(super) forbidden: u32,
    pub(super) crashes: u32,
    pub(super) sick: u32,
    pub(super) moves: u32,
    pub(super) losses: u32,
    pub(super) away: u32,
    pub(super) lost: u32,
    pub(super) partly: u32,
    pub(super) late: u32,
    pub(super) watching: u32,
    pub(super) page_bytes: usize,
    /// Who waits for a position, and who for the outcome of a write bound to a version.
    pub(super) waits: u32,
    pub(super) writes: u32,
    /// How often somebody who watches pays attention to what.
    pub(super) attends: &'static [(u32, Attention)],
    /// How often the clock goes on and expired tombstones are forgotten; records are removed more often, and some are old.
    pub(super) forgetting: u32,
    /// Percent of records that come by another partition than the key's.
    pub(super) strays: u32,
    /// How often the topic is deleted and made anew.
    pub(super) recreations: u32,
    pub(super) rooms: &'static [&'static [&'static str]],
}

pub(super) const ALL_ROOMS: &[&[&str]] = &[&["kv"], &["kv/k0", "kv/k1"]];

pub(super) const MIXTURE: Profile = Profile {
    app: App::Kv,
    records_max: 50,
    poison: 10,
    forbidden: 0,
    crashes: 1,
    sick: 1,
    moves: 1,
    losses: 1,
    away: 8,
    lost: 8,
    partly: 6,
    late: 8,
    watching: 3,
    page_bytes: 500,
    waits: 1,
    writes: 1,
    attends: &[
        (1, Attention::Told),
        (1, Attention::Synced),
        (1, Attention::Fed),
        (1, Attention::Asked),
        (1, Attention::Away),
        (1, Attention::Anew),
    ],
    forgetting: 0,
    strays: 0,
    recreations: 0,
    rooms: ALL_ROOMS,
};

/// Nobody waits for anything, and who watches only reads.
pub(super) const UNATTENDED: Profile = Profile { attends: &[], waits: 0, writes: 0, ..MIXTURE };

/// Nothing fails.
pub(super) const CALM: Profile =
    Profile { crashes: 0, sick: 0, losses: 0, away: 0, lost: 0, partly: 0, late: 0, ..MIXTURE };

/// Situations that came up, so that a test which says it is about one cannot pass without it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub(super) crashes: u64,
    pub(super) sick: u64,
    pub(super) moves: u64,
    pub(super) lost_sessions: u64,
    pub(super) lost_replies: u64,
    pub(super) late_writes: u64,
    pub(super) refused_writes: u64,
    pub(super) refused_documents: u64,
    pub(super) refused_commits: u64,
    pub(super) conflicts: u64,
    pub(super) stale: u64,
    pub(super) repeated: u64,
    pub(super) fenced: u64,
    pub(super) held: u64,
    pub(super) evicted: u64,
    pub(super) watchers_moved: u64,
    /// Instances that ended between storing and telling, and what was told in their stead.
    pub(super) died_untold: u64,
    pub(super) told_for_others: u64,
    /// Looks into the store that found what nobody had told.
    pub(super) synced: u64,
    /// What somebody was fed of partitions that are owned elsewhere, and answers that said so.
    pub(super) fed: u64,
    pub(super) asked_elsewhere: u64,
    /// Rooms that went on where they were left.
    pub(super) resumed: u64,
    /// Walks through pages that came to their end, and those of them with something stored underneath.
    pub(super) walks: u64,
    pub(super) walks_changed: u64,
    /// Positions that were said to be reached; of records that changed nothing; of partitions that are owned elsewhere.
    pub(super) reached: u64,
    pub(super) reached_unchanged: u64,
    pub(super) reached_elsewhere: u64,
    pub(super) told_stored: u64,
    pub(super) told_refused: u64,
    pub(super) told_poisoned: u64,
    pub(super) told_unknown: u64,
    /// Of what was emitted: again, and behind something newer of the same key.
    pub(super) emitted_again: u64,
    pub(super) emitted_late: u64,
    pub(super) forgotten: u64,
    /// Not forgotten, since it had moved on.
    pub(super) not_forgotten: u64,
    pub(super) told_forgotten: u64,
    pub(super) begun_again: u64,
    pub(super) key_moved: u64,
    pub(super) stored_from_elsewhere: u64,
    pub(super) recreated: u64,
    /// Who raised no epoch, since another had, or since the log it knew was gone.
    pub(super) met_raised: u64,
    pub(super) met_gone: u64,
    pub(super) late_of_old: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Seen) {
        let pairs = [
            (&mut self.crashes, other.crashes),
            (&mut self.sick, other.sick),
            (&mut self.moves, other.moves),
            (&mut self.lost_sessions, other.lost_sessions),
            (&mut self.lost_replies, other.lost_replies),
            (&mut self.late_writes, other.late_writes),
            (&mut self.refused_writes, other.refused_writes),
            (&mut self.refused_documents, other.refused_documents),
            (&mut self.refused_commits, other.refused_commits),
            (&mut self.conflicts, other.conflicts),
            (&mut self.stale, other.stale),
            (&mut self.repeated, other.repeated),
            (&mut self.fenced, other.fenced),
            (&mut self.held, other.held),
            (&mut self.evicted, other.evicted),
            (&mut self.watchers_moved, other.watchers_moved),
            (&mut self.died_untold, other.died_untold),
            (&mut self.told_for_others, other.told_for_others),
            (&mut self.synced, other.synced),
            (&mut self.fed, other.fed),
            (&mut self.asked_elsewhere, other.asked_elsewhere),
            (&mut self.resumed, other.resumed),
            (&mut self.walks, other.walks),
            (&mut self.walks_changed, other.walks_changed),
            (&mut self.reached, other.reached),
            (&mut self.reached_unchanged, other.reached_unchanged),
            (&mut self.reached_elsewhere, other.reached_elsewhere),
            (&mut self.told_stored, other.told_stored),
            (&mut self.told_refused, other.told_refused),
            (&mut self.told_poisoned, other.told_poisoned),
            (&mut self.told_unknown, other.told_unknown),
            (&mut self.emitted_again, other.emitted_again),
            (&mut self.emitted_late, other.emitted_late),
            (&mut self.forgotten, other.forgotten),
            (&mut self.not_forgotten, other.not_forgotten),
            (&mut self.told_forgotten, other.told_forgotten),
            (&mut self.begun_again, other.begun_again),
            (&mut self.key_moved, other.key_moved),
            (&mut self.stored_from_elsewhere, other.stored_from_elsewhere),
            (&mut self.recreated, other.recreated),
            (&mut self.met_raised, other.met_raised),
            (&mut self.met_gone, other.met_gone),
            (&mut self.late_of_old, other.late_of_old),
        ];
        pairs.into_iter().for_each(|(mine, theirs)| *mine += theirs);
    }
}

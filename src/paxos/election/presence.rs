//! What the user is told of the other replicas: whom this one follows, who is silent, who is
//! back.
//!
//! A silence counts when the protocol acts on it: a follower misses its leader when it would
//! campaign (L2), and a leader, or a replica that misses one, names each member that was not
//! heard for as long as a leader may be silent. One line for each change; of a peer that comes
//! and goes, one pair of lines a minute, with a count.
//!
//! **Does not** decide anything or read a clock. [`Presence`] returns the lines, and the election
//! logs them.
//! Heartbeats alone count as signs of life, so that a replica without a vote, which sends none,
//! is silent here.

use super::Election;
use crate::members::Configuration;
use crate::paxos::rows;
use crate::types::{Ballot, ReplicaId, Time};
use seldom::{Seldom, Spell};

/// What was said of one peer.
#[derive(Debug, Clone, Default)]
struct Peer {
    /// When its newest heartbeat came, or this replica began.
    heard_at: Time,
    silence: Spell,
    /// Its heartbeats come, and since then none of them echoes a recent one of this replica.
    deaf_since: Option<Time>,
    deafness: Spell,
}

/// What was said of all peers.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    configuration: Configuration,
    /// With how many replicas the cluster began.
    n: usize,
    /// By replica id.
    peers: Vec<Peer>,
    /// The highest ballot that this replica has said it follows, or has led.
    leader: Option<Ballot>,
    /// No leader is heard.
    missing: Spell,
    stalled: Seldom,
}

/// A time in seconds.
fn seconds(us: u64) -> String {
    format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000)
}

impl Presence {
    /// Nothing said, in a cluster that began with `n` replicas. Each has time to be heard from now on.
    pub(super) fn new(n: usize, configuration: Configuration, now: Time) -> Self {
        let peer = Peer { heard_at: now, ..Peer::default() };
        let peers = vec![peer; rows(n)];
        let (missing, stalled) = (Spell::default(), Seldom::new());
        Presence { configuration, n, peers, leader: None, missing, stalled }
    }

    /// The members have changed.
    pub(super) fn enter(&mut self, next: Configuration) {
        self.configuration = next;
    }

    fn owner(&self, ballot: Ballot) -> ReplicaId {
        self.configuration.likely_owner(ballot, self.n)
    }

    /// This process was paused for so long, and heard nobody.
    pub(super) fn shift(&mut self, us: u64) {
        for peer in &mut self.peers {
            peer.heard_at = peer.heard_at.plus_us(us);
            peer.deaf_since.iter_mut().for_each(|since| *since = since.plus_us(us));
        }
    }

    /// A new heartbeat of a member came.
    pub(super) fn heard(&mut self, now: Time, from: ReplicaId) -> Option<String> {
        let peer = &mut self.peers[from.index()];
        let gap_us = now.since_us(std::mem::replace(&mut peer.heard_at, now));
        peer.silence.ends().then(|| format!("replica {from} is back after {}", seconds(gap_us)))
    }

    /// A heartbeat of the leader of `ballot` came.
    pub(super) fn follows(&mut self, ballot: Ballot) -> Option<String> {
        let was_missed = self.missing.ends();
        let is_new = self.leader < Some(ballot);
        self.leader = self.leader.max(Some(ballot));
        let leader = self.owner(ballot);
        (is_new || was_missed).then(|| format!("follows replica {leader} (ballot {ballot})"))
    }

    /// This replica leads with `ballot`.
    pub(super) fn leads(&mut self, ballot: Ballot) {
        self.missing.ends();
        self.leader = Some(ballot);
    }

    /// This replica would campaign, because it has heard no leader for a while, since that of
    /// `ballot`. One that was not heard for `silent_us` is silent.
    pub(super) fn misses(
        &mut self,
        now: Time,
        ballot: Option<Ballot>,
        silent_us: u64,
    ) -> Option<String> {
        let repeats = self.missing.lasts(now.0)?;
        let Some(ballot) = ballot else {
            return Some(format!("hears no leader{repeats}"));
        };
        let leader = self.owner(ballot);
        let peer = &mut self.peers[leader.index()];
        let gap_us = now.since_us(peer.heard_at);
        if gap_us < silent_us {
            return Some(format!("replica {leader} does not lead any more{repeats}"));
        }
        // That it is silent is said herewith, and that it is back will be.
        peer.silence.lasts(now.0);
        let gap = seconds(gap_us);
        Some(format!("replica {leader}, the leader, has been silent for {gap}{repeats}"))
    }

    /// This replica would campaign, because the leader of `ballot` is heard and nothing gets
    /// applied.
    pub(super) fn stalls(&mut self, now: Time, ballot: Ballot) -> Option<String> {
        let repeats = self.stalled.happened(now.0)?;
        let leader = self.owner(ballot);
        Some(format!("replica {leader}, the leader, gets nothing applied{repeats}"))
    }

    /// Judges a peer, of which this replica wants a vote: it is silent if it was not heard for
    /// `silent_us`. It is deaf if it is heard, and echoes nothing recent for as long.
    pub(super) fn judge(
        &mut self,
        now: Time,
        id: ReplicaId,
        silent_us: u64,
        echoes: bool,
    ) -> Option<String> {
        let peer = &mut self.peers[id.index()];
        let gap_us = now.since_us(peer.heard_at);
        if gap_us >= silent_us {
            peer.deaf_since = None;
            peer.deafness.ends();
            let repeats = peer.silence.lasts(now.0)?;
            return Some(format!("replica {id} has been silent for {}{repeats}", seconds(gap_us)));
        }
        if echoes {
            peer.deaf_since = None;
            return peer.deafness.ends().then(|| format!("replica {id} hears this replica again"));
        }
        let since = *peer.deaf_since.get_or_insert(now);
        if now.since_us(since) < silent_us {
            return None;
        }
        let repeats = peer.deafness.lasts(now.0)?;
        Some(format!("replica {id} is heard, and does not hear this replica{repeats}"))
    }
}

impl Election {
    /// Tells the user something of the others.
    pub(super) fn tell(&self, line: Option<String>) {
        if let Some(line) = line {
            log::info!("replica {}: {line}", self.settings.id);
        }
    }

    /// Tells the user why this replica would campaign.
    pub fn report_suspicion(&mut self, now: Time) {
        let id = self.settings.id;
        // Nobody else leads with an own ballot, which this replica does not any more.
        let line = match self.leader.filter(|ballot| self.owner(*ballot) != id) {
            Some(ballot) if now < self.suspect_at() => self.presence.stalls(now, ballot),
            leader => self.presence.misses(now, leader, self.pace.waits().election_min_us),
        };
        self.tell(line);
    }

    /// Tells the user which members are silent. This replica leads, or would like to.
    pub fn report_silence(&mut self, now: Time) {
        let members = self.configuration.ids();
        for id in self.settings.peers().filter(|id| members.contains(*id)) {
            let echoes = self.is_in_touch(now, id);
            let line = self.presence.judge(now, id, self.touch_us(id), echoes);
            self.tell(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DirectoryId;
    use seldom::AGAIN_US;

    fn three() -> Configuration {
        Configuration::started(&[10, 11, 12].map(DirectoryId))
    }

    const MS: u64 = 1_000;
    const R0: ReplicaId = ReplicaId(0);
    const R2: ReplicaId = ReplicaId(2);

    fn ms(ms: u64) -> Time {
        Time(ms * MS)
    }

    fn said(line: &str) -> Option<String> {
        Some(line.to_owned())
    }

    #[test]
    fn a_follower_says_whom_it_follows_misses_and_follows_then() {
        let mut presence = Presence::new(3, three(), ms(0));
        assert_eq!(presence.misses(ms(300), None, 300 * MS), said("hears no leader"));
        assert_eq!(presence.misses(ms(600), None, 300 * MS), None, "it was said");
        presence.heard(ms(900), R0);
        assert_eq!(presence.follows(Ballot(0)), said("follows replica 0 (ballot 0)"));
        assert_eq!(presence.follows(Ballot(0)), None, "nothing has changed");
        assert_eq!(presence.follows(Ballot(1)), said("follows replica 1 (ballot 1)"));
        assert_eq!(presence.follows(Ballot(4)), said("follows replica 1 (ballot 4)"));
        let mut presence = Presence::new(3, three(), ms(0));
        presence.heard(ms(100), R0);
        assert_eq!(presence.follows(Ballot(3)), said("follows replica 0 (ballot 3)"));
        let missed = presence.misses(ms(550), Some(Ballot(3)), 300 * MS);
        assert_eq!(missed, said("replica 0, the leader, has been silent for 0.4 s"));
        assert_eq!(presence.judge(ms(800), R0, 600 * MS, false), None, "it was said");
        assert_eq!(presence.follows(Ballot(4)), said("follows replica 1 (ballot 4)"));
        assert_eq!(presence.heard(ms(65_300), R0), said("replica 0 is back after 65.2 s"));
        assert_eq!(presence.heard(ms(65_350), R0), None);
    }

    #[test]
    fn a_leader_that_gives_up_or_gets_nothing_applied_is_not_called_silent() {
        let mut presence = Presence::new(3, three(), ms(0));
        presence.heard(ms(500), R0);
        let missed = presence.misses(ms(550), Some(Ballot(0)), 300 * MS);
        assert_eq!(missed, said("replica 0 does not lead any more"));
        assert_eq!(presence.heard(ms(600), R0), None, "it was never away");
        assert_eq!(presence.follows(Ballot(0)), said("follows replica 0 (ballot 0)"));
        let stalled = said("replica 0, the leader, gets nothing applied");
        assert_eq!(presence.stalls(ms(900), Ballot(0)), stalled);
        assert_eq!(presence.stalls(ms(1_500), Ballot(0)), None, "within a minute");
    }

    #[test]
    fn a_leader_says_who_is_silent_and_who_is_back() {
        let mut presence = Presence::new(3, three(), ms(0));
        presence.leads(Ballot(0));
        presence.heard(ms(100), R2);
        let mut judge = |at| presence.judge(ms(at), R2, 600 * MS, false);
        assert_eq!(judge(699), None);
        assert_eq!(judge(700), said("replica 2 has been silent for 0.6 s"));
        assert_eq!(judge(750), None);
        assert_eq!(presence.heard(ms(2_345), R2), said("replica 2 is back after 2.2 s"));
        // A process that was paused knows nothing of others' silence.
        presence.shift(10_000 * MS);
        assert_eq!(presence.judge(ms(12_900), R2, 600 * MS, true), None);
    }

    #[test]
    fn a_peer_that_is_heard_and_hears_nothing_is_named() {
        let mut presence = Presence::new(3, three(), ms(0));
        let mut said_of = Vec::new();
        for at in (0..3_000).step_by(50) {
            said_of.extend(presence.heard(ms(at), R2));
            // Its first echo comes a heartbeat after it began; then none, then one again.
            let echoes = matches!(at, 50..1_000 | 2_000..);
            said_of.extend(
                presence.judge(ms(at), R2, 600 * MS, echoes).map(|line| format!("{at} {line}")),
            );
        }
        let expected = [
            "1600 replica 2 is heard, and does not hear this replica",
            "2000 replica 2 hears this replica again",
        ];
        assert_eq!(said_of, expected);
    }

    #[test]
    fn a_peer_that_comes_and_goes_is_said_once_a_minute_and_in_the_end_the_truth() {
        let mut presence = Presence::new(3, three(), ms(0));
        let mut lines = Vec::new();
        for second in 0..70 {
            let at = ms(second * 1_000);
            // Heard in the first tenth of each second, up to the fiftieth.
            if second < 50 {
                lines.extend(presence.heard(at.plus_us(100 * MS), R2));
            }
            lines.extend(presence.judge(at.plus_us(900 * MS), R2, 600 * MS, true));
        }
        let expected = [
            "replica 2 has been silent for 0.8 s",
            "replica 2 is back after 1.0 s",
            "replica 2 has been silent for 11.8 s (49 times since the last such line)",
        ];
        assert_eq!(lines, expected);
        assert_eq!(AGAIN_US, 60_000 * MS);
    }
}

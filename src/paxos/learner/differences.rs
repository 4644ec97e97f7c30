//! What the others say of their decided logs, and what a replica does when one differs (S11).
//!
//! Each heartbeat says how far its sender has applied the log, and the running hash there. A
//! replica that knows its own hash below that slot compares the two. If it is not that far yet, it
//! keeps what it heard until it is. So of two replicas one always can compare, and mostly both.
//!
//! Logs that differ are beyond repair by the protocol, since somebody has put files back or
//! changed them. Which of them is right nobody can tell but a quorum. A replica that has the same
//! log as a quorum goes on, and names the others. One that does not stops. It waits a moment
//! first, since word of the others may be under way.
//!
//! **Does not** find the slot in which the logs begin to differ: the verdict of `driver --compare`
//! does.

use super::history::History;
use crate::aside::NotState;
use crate::message::LogHash;
use crate::paxos::{Diverged, Settings};
use crate::quorum::ReplicaSet;
use crate::types::{ReplicaId, Slot, Time, replicas};
use seldom::Seldom;

/// How long a replica whose log differs from another one waits for word that a quorum has the
/// same as it, in microseconds. Only time in which it runs counts.
const WORD_US: u64 = 3_000_000;

/// What is known of one peer's log.
#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    /// It is there already. This replica is not.
    ahead: Option<LogHash>,
    /// Below this its log is the same.
    same: Slot,
    /// Below this it differs, if it does. It may already differ further below.
    differs: Option<Slot>,
}

/// What a replica does about logs that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A quorum has the same log as this replica: the others are wrong.
    GoOn,
    /// Nobody knows yet.
    Wait,
    /// No quorum has the same: this replica is wrong, or nobody can tell who is.
    Stop(Diverged),
}

/// What is known of the others' logs.
#[derive(Debug, Clone)]
pub(super) struct Differences {
    id: ReplicaId,
    heartbeat_us: u64,
    /// Whether this replica is one of those that make a quorum.
    is_member: bool,
    /// How many make one.
    quorum: usize,
    /// By replica id.
    peers: Vec<Peer>,
    /// When it was judged last, while logs differ and no quorum was known to have the same.
    judged_at: Option<Time>,
    /// For how long that has been so.
    waited_us: u64,
    said: Seldom,
}

/// It follows from what the others have said of slots that are applied: nothing that is
/// promised, accepted, proposed or applied depends on it.
impl NotState for Differences {}

impl Differences {
    /// None heard of.
    pub(super) fn new(settings: &Settings, is_member: bool, quorum: usize) -> Self {
        let Settings { id, heartbeat_us, .. } = *settings;
        let peers = vec![Peer::default(); settings.rows()];
        let (judged_at, waited_us, said) = (None, 0, Seldom::new());
        Differences { id, heartbeat_us, is_member, quorum, peers, judged_at, waited_us, said }
    }

    /// The members have changed.
    pub(super) fn enter(&mut self, is_member: bool, quorum: usize) {
        (self.is_member, self.quorum) = (is_member, quorum);
    }

    /// A member says what its log is.
    pub(super) fn hear(&mut self, from: ReplicaId, theirs: LogHash, own: &History) {
        let peer = &mut self.peers[from.index()];
        if theirs.slot > own.newest().slot {
            // What came first is compared first. Else this replica, which lags, never would.
            peer.ahead.get_or_insert(theirs);
        } else {
            peer.compare(theirs, own);
        }
    }

    /// More is applied.
    pub(super) fn progressed(&mut self, own: &History) {
        let end = own.newest().slot;
        for peer in &mut self.peers {
            if let Some(theirs) = peer.ahead.take_if(|theirs| theirs.slot <= end) {
                peer.compare(theirs, own);
            }
        }
    }

    /// What to do, if some log differs. Asked at least with every heartbeat.
    pub(super) fn judge(&mut self, now: Time) -> Option<Step> {
        let n = self.peers.len();
        let mut differing = ReplicaSet::EMPTY;
        let mut below = None;
        for (id, peer) in replicas(n).zip(&self.peers) {
            if let Some(slot) = peer.differs {
                differing.insert(id);
                below = Some(below.map_or(slot, |below: Slot| below.min(slot)));
            }
        }
        let Some(below) = below else {
            self.judged_at = None;
            return None;
        };
        // Whoever has the same below that slot has not what the others have there.
        let same = self.peers.iter().filter(|peer| peer.differs.is_none() && peer.same >= below);
        if same.count() + usize::from(self.is_member) >= self.quorum {
            self.judged_at = None;
            return Some(Step::GoOn);
        }
        let since = self.judged_at.replace(now);
        // A process that was paused has mail to read.
        let ran_us = since.map_or(0, |since| now.since_us(since).min(2 * self.heartbeat_us));
        self.waited_us = if since.is_some() { self.waited_us + ran_us } else { 0 };
        match self.waited_us < WORD_US {
            true => Some(Step::Wait),
            false => Some(Step::Stop(Diverged { peers: differing, below })),
        }
    }

    /// Tells the operator.
    pub(super) fn report(&mut self, now: Time, step: Step) {
        let differing = self.peers.iter().zip(replicas(self.peers.len()));
        let differing = differing.filter_map(|(peer, id)| Some((id, peer.differs?)));
        let words: Vec<String> =
            differing.map(|(id, below)| format!("replica {id} below slot {below}")).collect();
        let words = words.join(" and ");
        let what = match step {
            Step::GoOn => {
                "a quorum has the same lines as this replica. Stop the other one, and put its \
                 newest files back or remove them"
            }
            Step::Wait | Step::Stop(_) => "it stops unless a quorum has the same lines as it",
        };
        if let Some(repeats) = self.said.happened(now.0) {
            log::error!(
                "replica {}: other lines are decided here than at {words}: {what}{repeats}",
                self.id
            );
        }
    }
}

impl Peer {
    fn compare(&mut self, theirs: LogHash, own: &History) {
        match own.below(theirs.slot) {
            // It is not known any more; and below slot 0 all are the same.
            None => {}
            Some(_) if theirs.slot == Slot::ZERO => {}
            Some(hash) if hash == theirs.hash => {
                self.same = self.same.max(theirs.slot);
                // Its files were put right.
                self.differs.take_if(|below| *below <= theirs.slot);
            }
            Some(_) => {
                self.differs = Some(self.differs.map_or(theirs.slot, |it| it.min(theirs.slot)));
                self.same = self.same.min(Slot(theirs.slot.0 - 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;
    use crate::paxos::Limits;
    use crate::types::{BootId, Value};
    use crate::values::Values;

    const R1: ReplicaId = ReplicaId(1);
    const R2: ReplicaId = ReplicaId(2);

    fn settings(n: usize) -> Settings {
        Settings {
            id: ReplicaId(0),
            n,
            places: n,
            boot: BootId(1),
            payload_bytes: 1_300,
            heartbeat_us: 50_000,
            election_min_us: 300_000,
            election_max_us: 600_000,
            checkpoint_slots: 100,
            skip_slot: None,
            limits: Limits::DEFAULT,
        }
    }

    /// A log of these lines, one a letter.
    fn log(lines: &str) -> History {
        let mut history = History::new(LogHash::default());
        let line = |text: char| Value::Command(Request::new(7, 1, 0, &text.to_string()).command());
        history.add(&Values::from(lines.chars().map(line).collect::<Vec<Value>>()));
        history
    }

    /// What is done from now on, asked with each heartbeat for `us`.
    fn after(differences: &mut Differences, us: u64) -> Option<Step> {
        let mut now = Time(0);
        let mut step = differences.judge(now);
        while now.0 < us {
            now = now.plus_us(50_000);
            step = differences.judge(now);
        }
        step
    }

    fn stop(peers: &[ReplicaId], below: u64) -> Option<Step> {
        let mut set = ReplicaSet::EMPTY;
        for peer in peers {
            set.insert(*peer);
        }
        Some(Step::Stop(Diverged { peers: set, below: Slot(below) }))
    }

    #[test]
    fn one_that_differs_from_both_others_stops_and_they_go_on() {
        let (own, other) = (log("abc"), log("axc"));
        let mut differences = Differences::new(&settings(3), true, 2);
        assert_eq!(differences.judge(Time(0)), None);
        differences.hear(R1, other.newest(), &own);
        differences.hear(R2, other.newest(), &own);
        assert_eq!(differences.judge(Time(0)), Some(Step::Wait));
        assert_eq!(after(&mut differences, WORD_US), stop(&[R1, R2], 3));
        let mut differences = Differences::new(&settings(3), true, 2);
        differences.hear(R1, own.newest(), &other);
        differences.hear(R2, other.newest(), &other);
        assert_eq!(after(&mut differences, 10 * WORD_US), Some(Step::GoOn));
    }

    #[test]
    fn two_that_differ_both_stop_when_the_third_is_silent() {
        let (own, other) = (log("abc"), log("axc"));
        let mut differences = Differences::new(&settings(3), true, 2);
        differences.hear(R2, other.newest(), &own);
        assert_eq!(after(&mut differences, WORD_US - 50_000), Some(Step::Wait));
        let mut late = differences.clone();
        assert_eq!(after(&mut differences, WORD_US), stop(&[R2], 3));
        // Word of the third comes in time. That it is as far as this replica was before says
        // nothing of the line that differs.
        late.hear(R1, log("a").newest(), &own);
        assert_eq!(late.judge(Time(WORD_US)), stop(&[R2], 3));
        late.hear(R1, own.newest(), &own);
        assert_eq!(late.judge(Time(WORD_US)), Some(Step::GoOn));
        // A replica without a vote makes no quorum with one other.
        let mut differences = Differences::new(&settings(3), false, 2);
        differences.hear(R2, other.newest(), &own);
        differences.hear(R1, own.newest(), &own);
        assert_eq!(after(&mut differences, WORD_US), stop(&[R2], 3));
    }

    #[test]
    fn who_lags_compares_what_it_heard_first_as_soon_as_it_is_there() {
        let other = log("axcdef");
        let mut differences = Differences::new(&settings(3), true, 2);
        differences.hear(R1, log("axcd").newest(), &log("abc"));
        differences.hear(R1, other.newest(), &log("abc"));
        differences.progressed(&log("abc"));
        assert_eq!(differences.judge(Time(0)), None);
        differences.progressed(&log("abcde"));
        assert_eq!(differences.judge(Time(0)), Some(Step::Wait));
        // An empty log is not another one.
        let mut differences = Differences::new(&settings(3), true, 2);
        differences.hear(R1, LogHash::default(), &log("abc"));
        differences.hear(R2, other.newest(), &log(""));
        assert_eq!(differences.judge(Time(0)), None);
    }

    #[test]
    fn a_peer_whose_files_were_put_right_differs_no_more() {
        let own = log("abcdef");
        let mut differences = Differences::new(&settings(3), true, 2);
        differences.hear(R1, log("axcd").newest(), &own);
        differences.hear(R1, log("axcde").newest(), &own);
        assert_eq!(differences.judge(Time(0)), Some(Step::Wait));
        // It fetches all lines anew, and is not as far yet.
        differences.hear(R1, log("abc").newest(), &own);
        assert_eq!(differences.judge(Time(50_000)), Some(Step::Wait));
        differences.hear(R1, log("abcd").newest(), &own);
        assert_eq!(differences.judge(Time(100_000)), None);
        assert_eq!(differences.waited_us, 50_000);
        differences.hear(R1, log("xbcd").newest(), &own);
        assert_eq!(differences.judge(Time(150_000)), Some(Step::Wait));
        assert_eq!(differences.waited_us, 0, "the wait begins anew");
    }

    #[test]
    fn a_pause_is_no_time_to_wait() {
        let own = log("abc");
        let mut differences = Differences::new(&settings(3), true, 2);
        differences.hear(R1, log("axc").newest(), &own);
        assert_eq!(differences.judge(Time(0)), Some(Step::Wait));
        assert_eq!(differences.judge(Time(100 * WORD_US)), Some(Step::Wait));
        differences.hear(R2, own.newest(), &own);
        assert_eq!(differences.judge(Time(100 * WORD_US)), Some(Step::GoOn));
    }
}

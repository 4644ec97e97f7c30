//! Which lives of the other members are heard, and whether two of one member run at once (S12).
//!
//! Somebody may copy a data directory and start a process on the copy, beside the original. The
//! two hold what was promised and accepted up to the copy; afterwards each forgets what the other
//! promises. So neither may count until one of them is gone.
//!
//! A restart looks much the same: a new life is heard, and late datagrams of the former one may
//! still come. The difference is what heartbeats *echo*. A heartbeat names the newest round that
//! its sender has heard of this replica. So a life that echoes a round was alive when that round
//! had left, and a life that is heard was alive before. Two lives ran at once if each was alive
//! after the other had been heard:
//!
//! ```text
//! this replica   -- hears X -- round 7 -- hears Y -- round 8 --
//! X              echoes 8: it runs after Y began
//! Y              echoes 7 or 8: it runs after X began
//! ```
//!
//! No clock is compared, and no late datagram can echo what was said after it. However often a
//! replica restarts, each of its lives ends before the next begins, and no two are proven.
//!
//! The two lives may hear different hosts: each host sends to the address that its configuration
//! names. So a replica tells the others, while it hears two lives of a member, which of their
//! rounds have reached each through itself ([`Seen`]).
//!
//! Of two lives that do not prove each other, the one that echoed last is the living one. The
//! other is a late datagram's, or one that hears nobody; its heartbeats count for nothing.
//!
//! **Does not** tell two processes apart that have one boot id, as those of a copied virtual
//! machine have.

use super::Settings;
use super::standing::Memory;
use crate::aside::NotState;
use crate::message::{Seen, Voter};
use crate::quorum::ReplicaSet;
use crate::types::{Address, BootId, ReplicaId, Time, replicas};
use seldom::{Repeats, Seldom};

/// A life that was not heard for so long is gone, in microseconds. Only time in which this
/// process runs counts.
pub const GONE_US: u64 = 3_000_000;

/// A life is spoken of to others if it was heard within so many heartbeats.
const SPOKEN_OF: u64 = 8;

/// How many lives of one member are remembered.
const LIVES_MAX: usize = 4;

/// For how many heartbeats the other roles are told again what counts, when nothing changes any
/// more. A full inbox may lose what they are told.
const TOLD_AGAIN: u32 = 20;

/// One life of a member.
#[derive(Debug, Clone)]
struct Life {
    boot: BootId,
    /// With how many records its acceptor began, and how many it has written, as far as is known.
    begun: u64,
    written: u64,
    /// Where its datagrams came from, if that is known.
    at: Option<Address>,
    /// The newest own round when it was first heard of.
    since: u64,
    /// The newest own round that has reached it.
    reached: u64,
    /// When it was last heard of: by this replica, or by another one.
    heard_at: Time,
    /// When this replica heard it.
    own_heard_at: Option<Time>,
    /// An own round, and which rounds of all others were known here when it left.
    asked: Option<(u64, Vec<u64>)>,
    /// By replica id, the newest round that has reached this life through this replica.
    passed: Vec<u64>,
}

impl Life {
    fn is_heard(&self, now: Time) -> bool {
        now.since_us(self.heard_at) < GONE_US
    }

    /// Whether the two ran at the same time.
    fn overlaps(&self, other: &Life) -> bool {
        self.runs_after(other) && other.runs_after(self)
    }

    /// Whether this one was alive when the other one had been heard.
    fn runs_after(&self, other: &Life) -> bool {
        self.reached > other.since
    }
}

/// What is known of one member.
#[derive(Debug, Clone, Default)]
struct Member {
    lives: Vec<Life>,
    /// Two of its lives run at once, and have not been reduced to one yet.
    is_beside: bool,
    said: Seldom,
}

impl Member {
    /// Whether this life ran at the same time as another one. One that ended before both began
    /// may still be heard of.
    fn is_rival(&self, life: &Life) -> bool {
        self.lives.iter().any(|other| other.boot != life.boot && other.overlaps(life))
    }

    /// Whether two lives that are heard run at once.
    fn is_proven(&self, now: Time) -> bool {
        let mut heard = self.lives.iter().filter(|life| life.is_heard(now));
        heard.any(|life| {
            let others = self.lives.iter().filter(|other| other.boot != life.boot);
            others.filter(|other| other.is_heard(now)).any(|other| life.overlaps(other))
        })
    }
}

/// A heartbeat, as far as it says which life has sent it, and when.
#[derive(Debug, Clone, Copy)]
pub struct Sign {
    /// The member that has sent it.
    pub from: ReplicaId,
    /// Its directory and life.
    pub voter: Voter,
    /// What its acceptor has written.
    pub written: u64,
    /// The own round that it echoes, if it is one of this process.
    pub echo: Option<u64>,
}

/// One life of two is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The member.
    pub of: ReplicaId,
    /// What is to be remembered of it (S10). If that is more than the life that is left has
    /// written, it lacks what the other one wrote.
    pub memory: Memory,
    /// The life that is left.
    pub boot: BootId,
    /// Whether it holds everything that was said.
    pub is_whole: bool,
}

/// The lives of all other members.
#[derive(Debug, Clone)]
pub struct Lives {
    id: ReplicaId,
    heartbeat_us: u64,
    /// By replica id.
    members: Vec<Member>,
    /// When the lives were looked through last.
    looked_at: Time,
    /// Another replica has said until when two lives of this one run.
    told_until: Option<Time>,
    told_said: Seldom,
    /// How often the other roles are still told.
    telling: u32,
}

/// Whose votes count follows from it, as it does from what is stored of members: in
/// `Standing`, which is state.
impl NotState for Lives {}

impl Lives {
    /// None heard.
    pub fn new(settings: &Settings, now: Time) -> Self {
        Lives {
            id: settings.id,
            heartbeat_us: settings.heartbeat_us,
            members: vec![Member::default(); settings.rows()],
            looked_at: now,
            told_until: None,
            told_said: Seldom::new(),
            telling: 0,
        }
    }

    /// Another directory is the member `of`, or none: what was heard of the one before is void.
    pub fn forget(&mut self, of: ReplicaId) {
        self.members[of.index()] = Member::default();
    }

    /// A heartbeat of a member came. `newest` is the newest own round. Returns whether it proves
    /// that two lives run at once.
    pub fn hear(&mut self, now: Time, sign: Sign, newest: u64) -> bool {
        let Sign { from, voter, written, echo } = sign;
        let life = self.life(now, from, voter.boot, newest);
        life.begun = voter.begun;
        life.written = life.written.max(written).max(voter.begun);
        life.own_heard_at = Some(now);
        let echo = echo.unwrap_or_default();
        life.reached = life.reached.max(echo);
        if let Some((_, rounds)) = life.asked.take_if(|(round, _)| *round <= echo) {
            life.passed = rounds;
        }
        self.judge(now, from)
    }

    /// Another member tells what it knows of a life. `newest` is the newest own round, and
    /// `reached` the one that has reached that life through the teller, if it is one of this
    /// process. Returns whether it proves that two lives run at once.
    pub fn hear_word(&mut self, now: Time, seen: Seen, reached: Option<u64>, newest: u64) -> bool {
        // With nobody else to compare it with, it is no news.
        let Seen { of, boot, at, .. } = seen;
        let is_known = self.members.get(of.index()).is_some_and(|member| !member.lives.is_empty());
        let Some(reached) = reached.filter(|_| is_known && of != self.id) else { return false };
        let life = self.life(now, of, boot, newest);
        life.at = life.at.or(at);
        life.reached = life.reached.max(reached);
        self.judge(now, of)
    }

    /// Datagrams of a life came from this address.
    pub fn note_address(
        &mut self,
        now: Time,
        of: ReplicaId,
        boot: BootId,
        at: Address,
        newest: u64,
    ) {
        if of.index() < self.members.len() && of != self.id {
            self.life(now, of, boot, newest).at = Some(at);
        }
    }

    /// A life of a member is heard of.
    fn life(&mut self, now: Time, of: ReplicaId, boot: BootId, newest: u64) -> &mut Life {
        let n = self.members.len();
        let lives = &mut self.members[of.index()].lives;
        let place = lives.iter().position(|life| life.boot == boot).unwrap_or_else(|| {
            if lives.len() == LIVES_MAX {
                let oldest = (0..LIVES_MAX).min_by_key(|place| lives[*place].heard_at);
                lives.remove(oldest.expect("there are some"));
            }
            lives.push(Life {
                boot,
                begun: 0,
                written: 0,
                at: None,
                since: newest,
                reached: 0,
                heard_at: now,
                own_heard_at: None,
                asked: None,
                passed: vec![0; n],
            });
            lives.len() - 1
        });
        lives[place].heard_at = now;
        &mut lives[place]
    }

    fn judge(&mut self, now: Time, of: ReplicaId) -> bool {
        let member = &mut self.members[of.index()];
        // Most members have one life.
        if member.lives.len() < 2 || member.is_beside || !member.is_proven(now) {
            return false;
        }
        member.is_beside = true;
        self.telling = TOLD_AGAIN;
        true
    }

    /// Whether two lives of this member run at once, and neither counts.
    pub fn is_beside(&self, of: ReplicaId) -> bool {
        self.members.get(of.index()).is_some_and(|member| member.is_beside)
    }

    /// Whether another life of this member was alive after this one, which has not shown to be
    /// alive after that.
    pub fn is_outlived(&self, of: ReplicaId, boot: BootId) -> bool {
        let lives = &self.members[of.index()].lives;
        let Some(life) = lives.iter().find(|life| life.boot == boot) else { return false };
        lives
            .iter()
            .any(|other| other.boot != boot && other.runs_after(life) && !life.runs_after(other))
    }

    /// Whether this life is known to be the last of several that were heard of.
    pub fn is_last(&self, of: ReplicaId, boot: BootId) -> bool {
        let lives = &self.members[of.index()].lives;
        let Some(life) = lives.iter().find(|life| life.boot == boot) else { return false };
        let mut others = lives.iter().filter(|other| other.boot != boot).peekable();
        others.peek().is_some()
            && others.all(|other| life.runs_after(other) && !other.runs_after(life))
    }

    /// The members of which two lives run at once, this replica included if it was told so.
    pub fn beside(&self, now: Time) -> ReplicaSet {
        let mut set = ReplicaSet::EMPTY;
        for (id, member) in replicas(self.members.len()).zip(&self.members) {
            if member.is_beside || id == self.id && self.is_told(now) {
                set.insert(id);
            }
        }
        set
    }

    /// Another member has proven that another life of this replica's directory runs.
    pub fn tell_own(&mut self, now: Time) {
        self.told_until = Some(now.plus_us(GONE_US));
        self.telling = TOLD_AGAIN;
    }

    /// Whether another life of this replica's directory runs, as far as it was told.
    pub fn is_told(&self, now: Time) -> bool {
        self.told_until.is_some_and(|until| now < until)
    }

    /// What counts has changed: the other roles are to be told.
    pub fn tell_again(&mut self) {
        self.telling = TOLD_AGAIN;
    }

    /// Whether the other roles are to be told now what counts.
    pub fn take_telling(&mut self, now: Time) -> bool {
        if !self.beside(now).is_empty() {
            self.telling = TOLD_AGAIN;
        }
        let tells = self.telling > 0;
        self.telling = self.telling.saturating_sub(1);
        tells
    }

    /// A round of heartbeats leaves. `known` are the newest rounds of all others that were heard.
    pub fn begin_round(&mut self, now: Time, round: u64, known: impl Fn(ReplicaId) -> u64) {
        let n = self.members.len();
        for member in self.members.iter_mut().filter(|member| member.lives.len() > 1) {
            for life in member.lives.iter_mut().filter(|life| life.is_heard(now)) {
                life.asked.get_or_insert_with(|| (round, replicas(n).map(&known).collect()));
            }
        }
    }

    /// What a heartbeat to `to` says of lives: one of those that it should know of, in turn.
    pub fn word_to(&self, now: Time, to: ReplicaId, round: u64) -> Option<Seen> {
        if self.members.iter().all(|member| member.lives.len() < 2) {
            return None;
        }
        let spoken_of = |life: &&Life| {
            let lately = |at: Time| now.since_us(at) < SPOKEN_OF * self.heartbeat_us;
            life.own_heard_at.is_some_and(lately)
        };
        let mut words = Vec::new();
        for (of, member) in replicas(self.members.len()).zip(&self.members) {
            let tells = |life: &&Life| match of == to {
                true => member.is_beside && member.is_rival(life),
                false => member.lives.len() > 1,
            };
            let lives = member.lives.iter().filter(tells);
            words.extend(lives.filter(spoken_of).filter_map(|life| {
                let (boot, at, reached) = (life.boot, life.at, life.passed[to.index()]);
                (of == to || reached > 0).then_some(Seen { of, boot, at, reached })
            }));
        }
        let count = words.len();
        (count > 0).then(|| words.swap_remove((round % count as u64) as usize))
    }

    /// Forgets lives that are gone. Returns the members of which one life of two is left.
    pub fn look(&mut self, now: Time) -> Vec<Left> {
        let gap = now.since_us(std::mem::replace(&mut self.looked_at, now));
        // A process that was paused has mail to read.
        let pause = if gap > 8 * self.heartbeat_us { gap } else { 0 };
        let mut left = Vec::new();
        for (of, member) in replicas(self.members.len()).zip(&mut self.members) {
            member.lives.iter_mut().for_each(|life| life.heard_at = life.heard_at.plus_us(pause));
            if member.lives.len() < 2 {
                continue;
            }
            let all = member.lives.clone();
            let is_rival =
                |life: &Life| all.iter().any(|it| it.boot != life.boot && it.overlaps(life));
            member.lives.retain(|life| life.is_heard(now) || is_rival(life));
            if !member.is_beside {
                continue;
            }
            let mut heard = member.lives.iter().filter(|life| life.is_heard(now));
            if let (Some(life), None) = (heard.next(), heard.next()) {
                let life = life.clone();
                left.push(remains(of, &life, &all));
                member.is_beside = false;
                member.lives = vec![life];
                self.telling = TOLD_AGAIN;
            }
        }
        left
    }

    /// Tells the operator that two lives of a member run.
    pub fn report(&mut self, now: Time, of: ReplicaId) {
        let member = &mut self.members[of.index()];
        let Some(repeats) = member.said.happened(now.0) else { return };
        let heard = member.lives.iter().filter(|life| life.is_heard(now) && member.is_rival(life));
        let places: Vec<String> = heard.map(|life| place(life.at)).collect();
        log::error!(
            "replica {}: two processes run as replica {of} on copies of one data directory, at {}: \
             neither counts until one of them is gone. Stop the one that should not run{repeats}",
            self.id,
            places.join(" and at ")
        );
    }

    /// Tells the operator that another life of this replica's directory runs.
    pub fn report_own(&mut self, now: Time, by: ReplicaId, at: Option<Address>) {
        let Some(Repeats(_)) = self.told_said.happened(now.0) else { return };
        log::error!(
            "replica {}: replica {by} hears another process that runs on a copy of this data \
             directory, at {}: neither counts until one of them is gone. Stop the one that should \
             not run, and remove its copy",
            self.id,
            place(at)
        );
    }
}

/// An address, in words.
fn place(at: Option<Address>) -> String {
    at.map_or("an address that is not known".to_owned(), |at| at.0.to_string())
}

/// `life` is left of these. Those that ran at once began with the same records. What one of them
/// has written beyond those the others lack, and a later life lacks what that of the others was.
fn remains(of: ReplicaId, life: &Life, all: &[Life]) -> Left {
    let is_rival = |it: &Life| all.iter().any(|other| other.boot != it.boot && other.overlaps(it));
    let rivals = || all.iter().filter(|it| is_rival(it));
    let common = rivals().map(|rival| rival.begun).max().unwrap_or_default();
    let beyond: u64 = rivals().map(|rival| rival.written.saturating_sub(common)).sum();
    let written = common + beyond;
    let holds = if is_rival(life) { life.written } else { life.begun };
    let is_whole = holds >= written;
    let other = rivals().find(|rival| rival.boot != life.boot).filter(|_| !is_whole);
    let boot = other.map_or(life.boot, |other| other.boot);
    let written = if is_whole { holds } else { written };
    Left { of, memory: Memory { boot, written }, boot: life.boot, is_whole }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::Limits;
    use crate::types::DirectoryId;

    const R0: ReplicaId = ReplicaId(0);
    const R1: ReplicaId = ReplicaId(1);
    const R2: ReplicaId = ReplicaId(2);
    const X: BootId = BootId(71);
    const Y: BootId = BootId(72);
    const Z: BootId = BootId(73);

    /// What replica 1 of three knows, at its own time, which goes on by a heartbeat a round.
    struct Seat {
        lives: Lives,
        now: Time,
        round: u64,
    }

    impl Seat {
        fn new(id: ReplicaId) -> Self {
            let settings = Settings {
                id,
                n: 3,
                places: 3,
                boot: BootId(1),
                payload_bytes: 1_300,
                heartbeat_us: 50_000,
                election_min_us: 300_000,
                election_max_us: 600_000,
                checkpoint_slots: 100,
                skip_slot: None,
                limits: Limits::DEFAULT,
            };
            Seat { lives: Lives::new(&settings, Time(0)), now: Time(0), round: 100 }
        }

        /// The next round leaves. Of the others these rounds are known.
        fn round(&mut self, known: u64) -> Vec<Left> {
            self.now = self.now.plus_us(50_000);
            self.round += 1;
            let left = self.lives.look(self.now);
            self.lives.begin_round(self.now, self.round, |_| known);
            left
        }

        /// A heartbeat of replica 0 in its life `boot` that echoes a round.
        fn hear(&mut self, boot: BootId, echo: u64) -> bool {
            self.hear_written(boot, echo, 5, 5)
        }

        fn hear_written(&mut self, boot: BootId, echo: u64, begun: u64, written: u64) -> bool {
            let voter = Voter { directory: DirectoryId(10), boot, begun };
            let sign = Sign { from: R0, voter, written, echo: Some(echo) };
            self.lives.hear(self.now, sign, self.round)
        }
    }

    #[test]
    fn two_lives_that_each_echo_what_was_said_after_the_other_was_heard_run_at_once() {
        let mut seat = Seat::new(R1);
        assert!(!seat.hear(X, 0));
        seat.round(0);
        assert!(!seat.hear(X, 101) && !seat.hear(Y, 0));
        seat.round(0);
        assert!(!seat.hear(X, 101), "it may be late");
        assert!(!seat.hear(Y, 101), "X may have ended");
        assert!(!seat.lives.is_beside(R0));
        assert!(seat.hear(X, 102), "X runs after Y was heard, and Y after X was");
        assert!(seat.lives.is_beside(R0) && !seat.lives.is_beside(R2));
        assert!(seat.lives.beside(seat.now).contains(R0));
        assert!(!seat.hear(Y, 102), "it is known");
        // Each of the two is told of the other, in turn.
        let words = [0, 1].map(|round| seat.lives.word_to(seat.now, R0, round).map(|it| it.boot));
        assert_eq!(words, [Some(X), Some(Y)]);
    }

    #[test]
    fn the_two_are_told_of_each_other_and_of_no_life_that_ended_before_they_began() {
        let mut seat = Seat::new(R1);
        seat.hear(Z, 0);
        seat.round(0);
        seat.hear(Z, 101);
        for _ in 0..4 {
            seat.round(0);
            for boot in [X, Y] {
                seat.hear(boot, seat.round - 1);
            }
        }
        assert!(seat.lives.is_beside(R0));
        let told: Vec<BootId> = (0..6)
            .filter_map(|round| seat.lives.word_to(seat.now, R0, round))
            .map(|seen| seen.boot)
            .collect();
        assert_eq!(told, [X, Y, X, Y, X, Y]);
    }

    #[test]
    fn a_restart_is_never_called_a_copy_however_late_its_datagrams_come() {
        // Lives follow each other every few rounds; each echoes what had left while it ran, and
        // every heartbeat comes again and again, in any order.
        for stride in 1..40 {
            let mut seat = Seat::new(R1);
            let mut sent = Vec::new();
            for step in 0..200_u64 {
                seat.round(0);
                let boot = BootId(100 + step / 7);
                sent.push((boot, if step % 7 == 0 { 0 } else { seat.round - 1 }));
                let late = sent[(step as usize * stride) % sent.len()];
                for (boot, echo) in [late, sent[sent.len() - 1]] {
                    assert!(!seat.hear(boot, echo), "step {step}, stride {stride}");
                }
                assert!(!seat.lives.is_beside(R0));
            }
        }
    }

    #[test]
    fn a_late_datagram_of_a_life_that_was_never_heard_does_not_displace_the_living_one() {
        let mut seat = Seat::new(R1);
        seat.hear(Y, 0);
        seat.round(0);
        seat.hear(Y, 101);
        assert!(!seat.lives.is_last(R0, Y), "nothing to compare it with");
        seat.hear(X, 0);
        assert!(!seat.lives.is_outlived(R0, Y) && !seat.lives.is_outlived(R0, X));
        seat.round(0);
        // The same is said of one that hears nobody.
        for _ in 0..100 {
            seat.round(0);
            assert!(!seat.hear(Y, seat.round - 1) && !seat.hear(X, 0));
            assert!(seat.lives.is_last(R0, Y) && seat.lives.is_outlived(R0, X));
            assert!(!seat.lives.is_outlived(R0, Y) && !seat.lives.is_last(R0, X));
        }
    }

    #[test]
    fn hosts_that_believe_in_either_prove_it_with_the_words_of_each_other() {
        // Replica 1 sends to X, and replica 2 to Y. Both hear both.
        let (mut one, mut two) = (Seat::new(R1), Seat::new(R2));
        two.round = 5_000;
        let mut heard = (0, 0);
        let mut proven = (None, None);
        for step in 0..10 {
            for seat in [&mut one, &mut two] {
                seat.hear(X, 0);
            }
            heard = (one.round, two.round);
            one.round(heard.1);
            two.round(heard.0);
            let told = (
                one.lives.word_to(one.now, R2, one.round),
                two.lives.word_to(two.now, R1, two.round),
            );
            let own = |echo: u64| Some(echo).filter(|echo| *echo > 0);
            let mut all = (one.hear(X, one.round), two.hear(X, 0));
            all.0 |= one.hear(Y, 0);
            all.1 |= two.hear(Y, two.round);
            if let Some(seen) = told.1 {
                all.0 |= one.lives.hear_word(one.now, seen, own(seen.reached), one.round);
            }
            if let Some(seen) = told.0 {
                all.1 |= two.lives.hear_word(two.now, seen, own(seen.reached), two.round);
            }
            proven.0 = proven.0.or(all.0.then_some(step));
            proven.1 = proven.1.or(all.1.then_some(step));
        }
        assert!(heard.0 > 0 && proven.0.is_some_and(|step| step < 6), "{proven:?}");
        assert!(proven.1.is_some_and(|step| step < 6), "{proven:?}");
    }

    /// X and Y run at once. They began with these records and have written these.
    fn both(x: (u64, u64), y: (u64, u64)) -> Seat {
        let mut seat = Seat::new(R1);
        for _ in 0..4 {
            seat.hear_written(X, seat.round, x.0, x.1);
            seat.hear_written(Y, seat.round, y.0, y.1);
            seat.round(0);
        }
        assert!(seat.lives.is_beside(R0));
        seat
    }

    /// Y is heard no more.
    fn without_y(seat: &mut Seat, written: u64) -> (u64, Left) {
        for rounds in 1..200 {
            seat.hear_written(X, seat.round, 0, written);
            if let [left] = *seat.round(0) {
                return (rounds * 50_000, left);
            }
        }
        panic!("Y is never gone");
    }

    #[test]
    fn the_life_that_is_left_counts_after_three_seconds_if_the_other_wrote_nothing() {
        let mut seat = both((0, 40), (30, 30));
        let (us, left) = without_y(&mut seat, 40);
        assert!((GONE_US - 100_000..=GONE_US + 100_000).contains(&us), "{us}");
        let memory = Memory { boot: X, written: 40 };
        assert_eq!(left, Left { of: R0, memory, boot: X, is_whole: true });
        assert!(!seat.lives.is_beside(R0));
        // The copy comes back.
        for _ in 0..3 {
            seat.hear(X, seat.round);
            seat.hear(Y, seat.round);
            seat.round(0);
        }
        assert!(seat.lives.is_beside(R0));
    }

    #[test]
    fn the_life_that_is_left_lacks_what_the_other_wrote() {
        let mut seat = both((0, 40), (30, 35));
        let (_, left) = without_y(&mut seat, 40);
        let memory = Memory { boot: Y, written: 45 };
        assert_eq!(left, Left { of: R0, memory, boot: X, is_whole: false });
    }

    #[test]
    fn a_pause_is_no_silence_and_while_neither_is_heard_neither_counts() {
        let mut seat = both((5, 5), (5, 5));
        seat.now = seat.now.plus_us(100 * GONE_US);
        assert_eq!(seat.round(0), []);
        seat.hear(X, seat.round);
        seat.hear(Y, seat.round);
        assert!(seat.lives.is_beside(R0));
        for _ in 0..100 {
            assert_eq!(seat.round(0), []);
        }
        assert!(seat.lives.is_beside(R0), "nobody is heard");
        seat.hear(Z, 0);
        let memory = Memory { boot: Z, written: 5 };
        assert_eq!(seat.round(0), [Left { of: R0, memory, boot: Z, is_whole: true }]);
    }

    #[test]
    fn a_later_life_than_both_lacks_what_one_of_them_wrote() {
        let mut seat = both((0, 40), (30, 35));
        for _ in 0..100 {
            assert_eq!(seat.round(0), []);
        }
        // X begins again, with all that it has written.
        seat.hear_written(Z, 0, 40, 40);
        let memory = Memory { boot: X, written: 45 };
        assert_eq!(seat.round(0), [Left { of: R0, memory, boot: Z, is_whole: false }]);
    }

    #[test]
    fn who_is_told_of_its_own_copy_knows_it_for_three_seconds() {
        let mut seat = Seat::new(R1);
        assert!(!seat.lives.is_told(seat.now) && !seat.lives.take_telling(seat.now));
        seat.lives.tell_own(seat.now);
        assert!(seat.lives.is_told(seat.now) && seat.lives.beside(seat.now).contains(R1));
        seat.now = seat.now.plus_us(GONE_US);
        assert!(!seat.lives.is_told(seat.now) && seat.lives.beside(seat.now).is_empty());
        // The other roles are told so many times that it is over.
        for _ in 0..TOLD_AGAIN {
            assert!(seat.lives.take_telling(seat.now));
        }
        assert!(!seat.lives.take_telling(seat.now));
    }
}

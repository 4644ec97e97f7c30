//! Sessions with one peer, and which of its datagrams came before.
//!
//! **Guarantees.** No datagram of a session is taken twice, however many came in between. A
//! session that is forgotten never begins again. Bounded: [`SESSIONS_MAX`] sessions.

use super::key::{Pair, TagKey};
use crate::types::Address;

/// The most sessions with one peer that are remembered: one that each of two has begun, the same
/// of the life before, and as many for a second process in that peer's name. More may begin while
/// one end sleeps: it answers all greetings that it finds when it wakes.
pub(super) const SESSIONS_MAX: usize = 8;

/// The words of the window of a peer: of its last 2,048 datagrams it is known which came. Older
/// ones are dropped.
pub(super) const PEER_WORDS: usize = 32;

/// After how many calls without an answer the session in use may be over at the other end, so
/// that a process greets: from `first` on at each doubling, but at least as often as `every`.
/// Without any session it greets at each doubling from the first call on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    pub(super) first: u32,
    pub(super) every: u32,
}

impl Silence {
    /// Of a replica. It sends often, and whichever of two restarts greets the other.
    pub(super) const PEER: Silence = Silence { first: 8, every: 64 };

    /// Of a client. It sends little, wants an answer to each, and is greeted by nobody: after an
    /// outage of hours its next calls must find that the replica has a new life.
    pub(super) const CLIENT: Silence = Silence { first: 4, every: 4 };
}

/// The most datagrams, and the most bytes of them, that wait for the first session with a peer.
pub(super) const HELD_MAX: usize = 8;
pub(super) const HELD_BYTES_MAX: usize = 16 << 10;

/// Which numbers came: the highest one, and which of the `64 * WORDS` up to it.
#[derive(Debug, Clone)]
pub(super) struct Window<const WORDS: usize> {
    highest: u64,
    seen: [u64; WORDS],
}

impl<const WORDS: usize> Default for Window<WORDS> {
    fn default() -> Self {
        Window { highest: 0, seen: [0; WORDS] }
    }
}

impl<const WORDS: usize> Window<WORDS> {
    const BITS: u64 = 64 * WORDS as u64;

    /// Takes this number, from 1 on: once, and not if it is too far behind.
    pub(super) fn take(&mut self, number: u64) -> bool {
        if number > self.highest {
            let new = (number - self.highest).min(Self::BITS);
            (0..new).for_each(|back| self.set(number - back, false));
            self.highest = number;
        } else if number == 0 || self.highest - number >= Self::BITS || self.has(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    fn has(&self, number: u64) -> bool {
        let bit = number % Self::BITS;
        self.seen[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    fn set(&mut self, number: u64, seen: bool) {
        let bit = number % Self::BITS;
        let word = &mut self.seen[(bit / 64) as usize];
        *word = *word & !(1 << (bit % 64)) | u64::from(seen) << (bit % 64);
    }
}

/// Who began a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// This process, by a greeting.
    Here,
    /// The peer.
    There,
}

/// One session with a peer.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) begun: Begun,
    /// The peer's life.
    pub(super) life: u64,
    pub(super) send: TagKey,
    pub(super) receive: TagKey,
    /// The number of the datagram that was sent last.
    sent: u64,
    window: Window<PEER_WORDS>,
    /// Where the last datagram came from.
    at: Option<Address>,
    /// When that was, or when the session began, counted in datagrams and beginnings of this peer.
    heard: u64,
}

impl Session {
    pub(super) fn new(number: u64, begun: Begun, life: u64, keys: Pair) -> Self {
        let Pair { forth, back } = keys;
        let (send, receive) = match begun {
            Begun::Here => (forth, back),
            Begun::There => (back, forth),
        };
        let (window, at) = (Window::default(), None);
        Session { number, begun, life, send, receive, sent: 0, window, at, heard: 0 }
    }

    /// The number of the first of `count` datagrams that leave now.
    pub(super) fn leave(&mut self, count: u64) -> u64 {
        let first = self.sent + 1;
        self.sent += count;
        first
    }
}

/// The sessions with one peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// The newest last.
    sessions: Vec<Session>,
    /// No session of up to this number begins, of those that the peer begins.
    floor: u64,
    /// The life that has answered the last greeting: it is where this peer is configured.
    life: Option<u64>,
    /// How many datagrams came, and how many sessions began.
    heard: u64,
    /// The number of the last greeting; tickets are taken for those from `open` on.
    greeted: u64,
    open: u64,
    /// How many calls have left since the other end of the session in use was heard.
    unanswered: u32,
    /// The peer has a life that this process has not greeted.
    is_new: bool,
    /// What waits for the first session.
    held: Vec<Vec<u8>>,
}

impl Peer {
    /// The session by which datagrams leave to where this peer is configured: of the life that
    /// was greeted there, the one that was heard last or has just begun. That life has it, while
    /// it may have forgotten others. Who speaks in the peer's name from elsewhere has no part in
    /// that.
    pub(super) fn outward(&mut self) -> Option<&mut Session> {
        let at = self.outward_at()?;
        self.sessions.get_mut(at)
    }

    fn outward_at(&self) -> Option<usize> {
        // Before any greeting was answered, whoever was heard is better than nobody.
        let life = self.life.or_else(|| self.sessions.last().map(|it| it.life));
        let all = (0..self.sessions.len()).filter(|at| Some(self.sessions[*at].life) == life);
        all.max_by_key(|at| self.sessions[*at].heard)
    }

    /// The session of whoever was heard at this address.
    pub(super) fn at(&mut self, address: Address) -> Option<&mut Session> {
        self.sessions.iter_mut().rev().find(|it| it.at == Some(address))
    }

    /// The session of this number.
    pub(super) fn find(&mut self, number: u64, begun: Begun) -> Option<&mut Session> {
        self.sessions.iter_mut().rev().find(|it| it.number == number && it.begun == begun)
    }

    /// Whether the peer may begin a session of this number.
    pub(super) fn may_begin(&self, number: u64) -> bool {
        number > self.floor
    }

    /// Begins a session.
    pub(super) fn begin(&mut self, session: Session) {
        let outward = self.outward_at();
        match session.begun {
            Begun::Here => {
                (self.open, self.is_new) = (self.greeted + 1, false);
                self.life = Some(session.life);
            }
            Begun::There => {
                self.is_new |= outward.is_none_or(|at| self.sessions[at].life != session.life);
            }
        }
        if self.sessions.len() == SESSIONS_MAX {
            let spare = (0..SESSIONS_MAX).filter(|at| outward != Some(*at));
            let oldest = spare.min_by_key(|at| self.sessions[*at].heard).expect("there are some");
            let forgotten = self.sessions.remove(oldest);
            if forgotten.begun == Begun::There {
                self.floor = self.floor.max(forgotten.number);
            }
        }
        self.heard += 1;
        self.sessions.push(Session { heard: self.heard, ..session });
    }

    /// A datagram of a session came, with this number and a good tag. Returns whether it is
    /// taken: it did not come before.
    pub(super) fn take(&mut self, session: (u64, Begun), number: u64, at: Address) -> bool {
        self.heard += 1;
        let heard = self.heard;
        let Some(session) = self.find(session.0, session.1) else { return false };
        if !session.window.take(number) {
            return false;
        }
        (session.at, session.heard) = (Some(at), heard);
        let life = session.life;
        if self.outward().is_some_and(|it| it.life == life) {
            self.unanswered = 0;
        }
        true
    }

    /// Datagrams are to leave in one call. Returns the number of the greeting that leaves as well,
    /// if one should.
    pub(super) fn calls(&mut self, silence: Silence) -> Option<u64> {
        self.unanswered = self.unanswered.saturating_add(1);
        let count = self.unanswered;
        let is_time = count.is_power_of_two() || count.is_multiple_of(silence.every);
        let silent = is_time && (self.life.is_none() || count >= silence.first);
        if !silent && !std::mem::take(&mut self.is_new) {
            return None;
        }
        self.greeted += 1;
        Some(self.greeted)
    }

    /// Whether a ticket for this greeting is taken: one of those since the last ticket.
    pub(super) fn expects(&self, greeting: u64) -> bool {
        (self.open.max(1)..=self.greeted).contains(&greeting)
    }

    /// Keeps datagrams for the first session, as far as there is room.
    pub(super) fn hold<'a>(&mut self, datagrams: impl Iterator<Item = &'a [u8]>) {
        let mut bytes = self.held.iter().map(Vec::len).sum::<usize>();
        for datagram in datagrams {
            bytes += datagram.len();
            if self.held.len() < HELD_MAX && bytes <= HELD_BYTES_MAX {
                self.held.push(datagram.to_vec());
            }
        }
    }

    /// What was kept.
    pub(super) fn held(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{KEY_BYTES, PLACE_BYTES, Prepared, Secret, Terms};
    use super::*;
    use std::collections::BTreeSet;

    fn session(number: u64, begun: Begun, life: u64) -> Session {
        let terms = Terms { parties: [0, 1], lives: [1, life], number, place: [0; PLACE_BYTES] };
        let keys = Prepared::new(&Secret::new([1; KEY_BYTES])).session(&terms);
        Session::new(number, begun, life, keys)
    }

    fn at(port: u16) -> Address {
        Address(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn a_number_is_taken_once_in_whatever_order_they_come() {
        let mut rng = fastrand::Rng::with_seed(591);
        for _ in 0..50 {
            let (mut window, mut taken) = (Window::<2>::default(), BTreeSet::new());
            let mut around = 1_u64;
            for _ in 0..5_000 {
                around += rng.u64(0..3) + if rng.u8(..) == 0 { rng.u64(0..400) } else { 0 };
                let number = around.saturating_sub(rng.u64(0..200));
                let highest = taken.last().copied().unwrap_or(0);
                let is_new = number > 0 && !taken.contains(&number);
                let expected = is_new && (number > highest || highest - number < 128);
                assert_eq!(window.take(number), expected, "{number} after {highest}");
                if expected {
                    taken.insert(number);
                }
            }
        }
    }

    #[test]
    fn a_session_that_was_forgotten_never_begins_again() {
        let mut peer = Peer::default();
        let all: Vec<u64> = (1..=3 * SESSIONS_MAX as u64).collect();
        for number in &all {
            assert!(peer.may_begin(*number));
            peer.begin(session(*number, Begun::There, *number));
            assert!(peer.take((*number, Begun::There), 1, at(1)));
            assert!(!peer.take((*number, Begun::There), 1, at(1)), "a replay");
        }
        let (old, known) = all.split_at(2 * SESSIONS_MAX);
        for number in old {
            assert!(!peer.may_begin(*number) && !peer.take((*number, Begun::There), 2, at(1)));
        }
        assert!(known.iter().all(|number| peer.find(*number, Begun::There).is_some()));
        assert_eq!(peer.sessions.len(), SESSIONS_MAX);
    }

    #[test]
    fn what_leaves_goes_to_the_life_that_was_greeted_if_one_was() {
        let mut peer = Peer::default();
        assert!(peer.outward().is_none());
        assert_eq!(peer.calls(Silence::PEER), Some(1), "it greets");
        peer.begin(session(5, Begun::There, 50));
        assert_eq!(peer.outward().map(|it| it.number), Some(5), "better than nothing");
        assert!(peer.expects(1) && !peer.expects(0) && !peer.expects(2));
        peer.begin(session(9, Begun::Here, 50));
        assert!(!peer.expects(1), "one ticket for a greeting");
        assert_eq!(peer.outward().map(|it| it.number), Some(9), "it has just begun");
        assert!(peer.take((5, Begun::There), 1, at(5)));
        assert_eq!(peer.outward().map(|it| it.number), Some(5), "the peer may have forgotten 9");
        assert!(peer.take((9, Begun::Here), 1, at(5)));
        // Somebody speaks in its name from elsewhere.
        peer.begin(session(6, Begun::There, 60));
        assert!(peer.take((6, Begun::There), 1, at(6)));
        assert_eq!(peer.outward().map(|it| it.number), Some(9));
        assert_eq!(peer.at(at(6)).map(|it| it.number), Some(6));
        assert!(peer.at(at(7)).is_none());
        // It may also be a new life.
        assert_eq!(peer.calls(Silence::PEER), Some(2));
        assert_eq!(peer.calls(Silence::PEER), None);
    }

    #[test]
    fn a_silent_session_is_renewed_and_one_that_is_heard_is_not() {
        let mut peer = Peer::default();
        peer.calls(Silence::PEER);
        peer.begin(session(1, Begun::Here, 50));
        let mut number = 0;
        let mut hear = |peer: &mut Peer| {
            number += 1;
            assert!(peer.take((1, Begun::Here), number, at(1)));
        };
        for _ in 0..100 {
            hear(&mut peer);
            (1..Silence::PEER.first).for_each(|_| assert_eq!(peer.calls(Silence::PEER), None));
        }
        hear(&mut peer);
        let greets: Vec<u32> = (1..=200).filter(|_| peer.calls(Silence::PEER).is_some()).collect();
        assert_eq!(greets, [8, 16, 32, 64, 128, 192]);
    }

    #[test]
    fn a_client_greets_with_one_of_four_calls_however_long_nobody_answers() {
        let mut peer = Peer::default();
        assert!(peer.calls(Silence::CLIENT).is_some());
        peer.begin(session(1, Begun::Here, 50));
        assert!(peer.take((1, Begun::Here), 1, at(1)));
        let greets: Vec<u32> =
            (1..=1_000).filter(|_| peer.calls(Silence::CLIENT).is_some()).collect();
        assert_eq!(greets, (1..=250).map(|it| 4 * it).collect::<Vec<u32>>());
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut peer = Peer::default();
        for bytes in [HELD_BYTES_MAX - 2, 1, 1, 1] {
            peer.hold(std::iter::once(vec![0; bytes].as_slice()));
        }
        assert_eq!(peer.held().iter().map(Vec::len).sum::<usize>(), HELD_BYTES_MAX);
        (0..20).for_each(|_| peer.hold(std::iter::once(&[0][..])));
        assert_eq!(peer.held().len(), HELD_MAX);
        assert!(peer.held().is_empty());
    }
}

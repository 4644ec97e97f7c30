//! How far the log must be read, for a read that misses nothing (E5).
//!
//! A line that is complete was accepted by a quorum before its client was told. So whoever asks a
//! quorum, afterwards, how far each has accepted, hears of its slot from one of them at least. Each
//! replica is asked for its *mark*, one above the highest slot that it has accepted, and the read
//! needs every slot below the highest mark of a quorum.
//!
//! Any quorum does. One of the replicas may hold a slot that will not be decided soon, so the quorum
//! with the lowest marks counts; and since every answer was given after the read began, the lowest
//! mark that a replica has given counts. All are asked again, now and then, until the read is over:
//! the end of the read may fall, and never rises.
//!
//! Silent replicas are asked again when an answer is due by what the answers so far have taken; the
//! others, too, when that has gone on for a while, since the members may have changed meanwhile.
//!
//! **Guarantees.** Every slot that was chosen before the first question left lies below the end. An
//! answer counts only with the number of this read, so one to an earlier read never does.
//!
//! **Does not** say when those slots are applied, or where. **Does not** know who may vote: a replica
//! that may not gives no mark.
//!
//! Which replicas are enough is decided in [`Marks::end`] alone: a quorum of the members of one
//! configuration, all of whose marks are of that one. A replica gives its marks in the newest that it
//! has entered. Of one that the log has ended no quorum gives any: it has accepted the change.

use crate::message::{ClientMessage, Voters};
use crate::quorum::quorum;
use crate::types::{ReplicaId, Slot, Time, replicas};
use round_trip::RoundTrip;

/// How long to wait for an answer before any has come.
const RETRY_FIRST_US: u64 = 100_000;

/// The shortest wait: a replica may do other things first.
const RETRY_MIN_US: u64 = 5_000;

/// The longest wait.
const RETRY_MAX_US: u64 = 1_000_000;

/// Once the end is known, all are asked again so often: it may fall.
const AGAIN_US: u64 = 250_000;

/// The question to one replica.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    /// The lowest mark that it has given in the newest configuration of those that it has named.
    mark: Option<(Voters, Slot)>,
    /// When it was asked first, unless it was asked again before it answered.
    once_at: Option<Time>,
    /// Whether it was asked at all.
    was_asked: bool,
}

/// The marks of one read.
#[derive(Debug)]
pub struct Marks {
    read: u64,
    /// By replica id.
    asked: Vec<Asked>,
    trip: RoundTrip,
    /// When to ask next.
    ask_at: Time,
    /// The lowest end so far.
    end: Option<Slot>,
}

impl Marks {
    /// For a read of a cluster of `n` that begins now. Its number `read` is drawn: no other read of
    /// this client, or of one that had its address before, has the same.
    pub fn new(now: Time, n: usize, read: u64) -> Self {
        let trip = RoundTrip::new(RETRY_FIRST_US, RETRY_MIN_US, RETRY_MAX_US);
        Marks { read, asked: vec![Asked::default(); n], trip, ask_at: now, end: None }
    }

    /// Who is to be asked now.
    pub fn due(&mut self, now: Time) -> Vec<(ReplicaId, ClientMessage)> {
        if now < self.ask_at {
            return Vec::new();
        }
        let is_known = self.end().is_some();
        if !is_known && self.asked.iter().any(|it| it.was_asked) {
            self.trip.missed(RETRY_MAX_US);
        }
        let wait_us = if is_known { AGAIN_US } else { self.trip.wait_us() };
        self.ask_at = now.plus_us(wait_us);
        // Meanwhile the members may change, and those that have answered say so.
        let asks_all = wait_us >= AGAIN_US;
        let read = self.read;
        let ids = replicas(self.asked.len());
        let due = ids.zip(&mut self.asked).filter(|(_, it)| asks_all || it.mark.is_none());
        due.map(|(id, it)| {
            it.once_at = (!it.was_asked).then_some(now);
            it.was_asked = true;
            (id, ClientMessage::Mark { read })
        })
        .collect()
    }

    /// When [`Marks::due`] is to be called again, if nothing comes before.
    pub fn deadline(&self) -> Time {
        self.ask_at
    }

    /// A replica has given its mark, for the read of this number.
    pub fn take(&mut self, now: Time, from: ReplicaId, read: u64, (by, mark): (Voters, Slot)) {
        if read != self.read {
            return;
        }
        let was_known = self.end().is_some();
        let asked = &mut self.asked[from.index()];
        if let Some(at) = asked.once_at.take() {
            self.trip.answered(now.since_us(at));
        }
        asked.mark = Some(match asked.mark {
            Some((before, lowest)) if before.configuration == by.configuration => {
                (by, lowest.min(mark))
            }
            // A late answer says what was true in an earlier one.
            Some(newer) if newer.0.configuration > by.configuration => newer,
            _ => (by, mark),
        });
        self.end = self.end.into_iter().chain(self.end_in(by)).min();
        if !was_known && self.end().is_some() {
            self.ask_at = now.plus_us(AGAIN_US);
        }
    }

    /// Whoever reads the log below this has everything that was complete before the read began;
    /// `None` while too few have answered.
    ///
    /// It is the highest mark of the quorum whose marks are lowest.
    pub fn end(&self) -> Option<Slot> {
        self.end
    }

    /// The same by the marks of one configuration.
    fn end_in(&self, by: Voters) -> Option<Slot> {
        let of_member = |(id, asked): (ReplicaId, &Asked)| {
            let (voters, mark) = asked.mark?;
            let counts = voters.configuration == by.configuration && by.members.contains(id);
            counts.then_some(mark)
        };
        let mut marks: Vec<Slot> =
            replicas(self.asked.len()).zip(&self.asked).filter_map(of_member).collect();
        marks.sort_unstable();
        marks.get(quorum(by.members.len()) - 1).copied()
    }

    /// How many replicas have given a mark.
    pub fn answering(&self) -> usize {
        self.asked.iter().filter(|it| it.mark.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::ReplicaSet;

    const MS: u64 = 1_000;

    fn asked(marks: &mut Marks, at_us: u64) -> Vec<u8> {
        marks.due(Time(at_us)).into_iter().map(|(id, _)| id.0).collect()
    }

    /// The members of this configuration.
    fn voters(configuration: u16, ids: &[u8]) -> Voters {
        let mut members = ReplicaSet::EMPTY;
        ids.iter().for_each(|id| {
            members.insert(ReplicaId(*id));
        });
        Voters { configuration, members }
    }

    /// A mark of one of the members with which the cluster began.
    fn told(marks: &mut Marks, at_us: u64, from: u8, mark: u64) -> Option<u64> {
        let all: Vec<u8> = (0..marks.asked.len() as u8).collect();
        told_by(marks, at_us, from, &voters(0, &all), mark)
    }

    fn told_by(marks: &mut Marks, at_us: u64, from: u8, by: &Voters, mark: u64) -> Option<u64> {
        marks.take(Time(at_us), ReplicaId(from), 7, (*by, Slot(mark)));
        marks.end().map(|end| end.0)
    }

    #[test]
    fn marks_of_different_configurations_are_not_counted_together_and_observers_not_at_all() {
        let (first, next) = (voters(0, &[0, 1, 2]), voters(1, &[1, 2]));
        let mut marks = Marks::new(Time(0), 3, 7);
        asked(&mut marks, 0);
        assert_eq!(told_by(&mut marks, MS, 0, &first, 4), None);
        assert_eq!(told_by(&mut marks, MS, 1, &next, 6), None, "one of three, and one of two");
        assert_eq!(told_by(&mut marks, MS, 1, &first, 3), None, "it is older");
        assert_eq!(told_by(&mut marks, MS, 0, &next, 7), None, "it is no member there");
        assert_eq!(told_by(&mut marks, MS, 2, &next, 9), Some(9), "both of two");
        assert_eq!(told_by(&mut marks, MS, 2, &next, 8), Some(8));
        // Two of five know nothing of the change, and one that has entered what it made lacks a line.
        let (first, next) = (voters(0, &[0, 1, 2, 3, 4]), voters(1, &[0, 1, 2, 3, 4]));
        let mut marks = Marks::new(Time(0), 5, 7);
        asked(&mut marks, 0);
        for (from, by) in [(3, &first), (4, &first), (2, &next)] {
            assert_eq!(told_by(&mut marks, MS, from, by, 4), None, "replica {from}");
        }
    }

    #[test]
    fn a_read_goes_as_far_as_the_highest_mark_of_the_lowest_quorum() {
        let mut marks = Marks::new(Time(0), 5, 7);
        assert_eq!(asked(&mut marks, 0), [0, 1, 2, 3, 4]);
        assert_eq!(told(&mut marks, MS, 3, 4), None);
        assert_eq!(told(&mut marks, MS, 0, 9), None, "two of five");
        assert_eq!(told(&mut marks, MS, 1, 6), Some(9));
        assert_eq!(told(&mut marks, MS, 4, 5), Some(6), "without the stray slot of replica 0");
        assert_eq!(told(&mut marks, MS, 2, 70), Some(6));
    }

    #[test]
    fn a_replica_counts_once_with_its_lowest_mark_and_the_end_never_rises() {
        let mut marks = Marks::new(Time(0), 3, 7);
        asked(&mut marks, 0);
        assert_eq!(told(&mut marks, MS, 0, 5), None);
        assert_eq!(told(&mut marks, MS, 0, 4), None);
        assert_eq!(told(&mut marks, MS, 1, 3), Some(4));
        assert_eq!(told(&mut marks, MS, 1, 8), Some(4));
        assert_eq!(marks.answering(), 2);
        assert_eq!(told(&mut marks, MS, 0, 2), Some(3));
    }

    #[test]
    fn an_answer_to_another_read_does_not_count() {
        let mut marks = Marks::new(Time(0), 1, 7);
        asked(&mut marks, 0);
        marks.take(Time(MS), ReplicaId(0), 6, (voters(0, &[0]), Slot(3)));
        assert_eq!(marks.end(), None);
        assert_eq!(told(&mut marks, MS, 0, 4), Some(4));
    }

    #[test]
    fn the_silent_are_asked_again_at_growing_intervals_until_enough_have_answered() {
        let mut marks = Marks::new(Time(0), 3, 7);
        assert_eq!(asked(&mut marks, 0), [0, 1, 2]);
        assert_eq!(told(&mut marks, 2 * MS, 1, 5), None);
        assert!(asked(&mut marks, 99 * MS).is_empty());
        let (mut at, mut waits) = (100 * MS, Vec::new());
        for _ in 0..12 {
            let due = asked(&mut marks, at);
            let wait_us = marks.deadline().since_us(Time(at));
            let expected = if wait_us < AGAIN_US { &[0, 2][..] } else { &[0, 1, 2] };
            assert_eq!(due, expected, "the one that has answered is asked more rarely");
            waits.push(wait_us);
            at = marks.deadline().0;
        }
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert_eq!(waits.last(), Some(&RETRY_MAX_US));
    }

    #[test]
    fn once_enough_have_answered_all_are_asked_again_now_and_then() {
        let mut marks = Marks::new(Time(0), 3, 7);
        asked(&mut marks, 0);
        told(&mut marks, MS, 1, 5);
        assert_eq!(told(&mut marks, 2 * MS, 2, 9), Some(9));
        assert!(asked(&mut marks, AGAIN_US).is_empty());
        assert_eq!(asked(&mut marks, 2 * MS + AGAIN_US), [0, 1, 2]);
        assert!(asked(&mut marks, 3 * MS + AGAIN_US).is_empty());
        assert_eq!(told(&mut marks, 3 * MS + AGAIN_US, 0, 4), Some(5));
    }
}

//! How a cluster is: what its replicas say of themselves, taken together.
//!
//! A survey has two rounds. In the first every replica is asked how it is. In the second those that
//! have answered are asked what their log is below the slot up to which all of them have applied
//! it: equal hashes are equal logs. (The first question names a slot that no log reaches. So a late
//! answer to it has no hash, and cannot pass for one to the second.) A replica that is silent is asked again every [`RETRY_US`], and
//! a round ends when all have answered or its time is over. No leader is needed, and no session.
//!
//! [`report`] says what the answers mean, and `table` shows them.
//!
//! **Does not** know a socket or a clock: its caller sends what is [`due`](Survey::due), and tells
//! it what comes and when.

pub mod report;
pub mod table;

pub use report::{Health, Report};

use crate::message::{Answer, Status, StatusQuery, Usage};
use crate::types::{NUMBER_MAX, ReplicaId, Slot, Time, replicas};

/// After so long a replica that is silent is asked again.
pub const RETRY_US: u64 = 250_000;

/// Below this slot no replica knows its log.
pub const NOWHERE: Slot = Slot(NUMBER_MAX);

/// What is known of one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// What its roles say, in the first round.
    pub status: Option<Status>,
    /// What its process takes.
    pub usage: Option<Usage>,
    /// Its log below the common slot.
    pub hash: Option<u64>,
    /// The shortest time from a question to its answer, in microseconds. A question that was lost
    /// makes it longer.
    pub round_trip_us: Option<u64>,
    /// It belongs to another cluster than those that answered before.
    pub elsewhere: bool,
    /// Whether it has answered the question of this round.
    has_answered: bool,
    /// When it was asked first and last in this round.
    asked: Option<(Time, Time)>,
}

/// A survey that is under way.
#[derive(Debug)]
pub struct Survey {
    rows: Vec<Row>,
    /// How long a round may take.
    limit_us: u64,
    /// When this round began.
    began: Time,
    /// The slot below which logs are compared, in the second round.
    common: Option<Slot>,
    is_over: bool,
}

impl Survey {
    /// A survey of `n` replicas that begins now. Each round may take `limit_us`.
    pub fn new(now: Time, n: usize, limit_us: u64) -> Self {
        let rows = vec![Row::default(); n];
        Survey { rows, limit_us, began: now, common: None, is_over: false }
    }

    /// Who is to be asked now, and what.
    pub fn due(&mut self, now: Time) -> Vec<(ReplicaId, StatusQuery)> {
        self.go_on(now);
        let query = StatusQuery { below: self.common.unwrap_or(NOWHERE) };
        let open = |row: &Row| {
            let silent = row.asked.is_none_or(|(_, last)| now >= last.plus_us(RETRY_US));
            row.is_open(self.common.is_some()) && silent
        };
        let mut due = Vec::new();
        if self.is_over {
            return due;
        }
        for (id, row) in replicas(self.rows.len()).zip(&mut self.rows) {
            if open(row) {
                row.asked = Some((row.asked.map_or(now, |(first, _)| first), now));
                due.push((id, query));
            }
        }
        due
    }

    /// When [`Survey::due`] is to be asked again, if nothing comes before.
    pub fn deadline(&self) -> Time {
        let second = self.common.is_some();
        let open = self.rows.iter().filter(|row| row.is_open(second));
        let again = open.filter_map(|row| Some(row.asked?.1.plus_us(RETRY_US)));
        again.chain([self.began.plus_us(self.limit_us)]).min().expect("the round ends")
    }

    /// A replica has answered.
    pub fn take(&mut self, now: Time, from: ReplicaId, answer: Answer) {
        let (row, second) = (&mut self.rows[from.index()], self.common.is_some());
        match answer {
            Answer::Status(status) => {
                if second && status.hash.is_none() {
                    return;
                }
                if let Some((first, _)) = row.asked.filter(|_| !row.has_answered) {
                    let took_us = now.since_us(first);
                    row.round_trip_us =
                        Some(row.round_trip_us.map_or(took_us, |us| us.min(took_us)));
                }
                match second {
                    true => row.hash = status.hash,
                    // One that has started since then says more.
                    false if row.status.is_none_or(|it| !it.knows_log()) => {
                        row.status = Some(*status);
                    }
                    false => {}
                }
                row.has_answered = true;
            }
            Answer::Usage(usage) => row.usage = Some(*usage),
            _ => {}
        }
        self.go_on(now);
    }

    /// A replica belongs to another cluster.
    pub fn take_elsewhere(&mut self, now: Time, from: ReplicaId) {
        self.rows[from.index()].elsewhere = true;
        self.go_on(now);
    }

    /// Whether nothing more is to be asked.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What was found.
    pub fn report(self) -> Report {
        let below = self.common.unwrap_or(Slot::ZERO);
        Report::new(self.rows, below)
    }

    /// Ends a round that is over.
    fn go_on(&mut self, now: Time) {
        let (second, rows) = (self.common.is_some(), &mut self.rows);
        let is_due = now >= self.began.plus_us(self.limit_us);
        if self.is_over || !is_due && rows.iter().any(|row| row.is_open(second)) {
            return;
        }
        let logs = rows.iter().filter_map(|row| row.status.filter(Status::knows_log));
        let applied = logs.map(|status| status.applied).min();
        match applied {
            // A log without a slot has nothing to compare.
            Some(applied) if !second && applied > Slot::ZERO => {
                self.common = Some(applied);
                self.began = now;
                for row in rows {
                    (row.has_answered, row.asked) = (false, None);
                }
            }
            _ => self.is_over = true,
        }
    }
}

impl Row {
    /// Whether this replica has still to answer in this round.
    fn is_open(&self, second: bool) -> bool {
        match (self.elsewhere, second) {
            (true, _) => false,
            (false, true) => {
                self.status.is_some_and(|status| status.knows_log()) && !self.has_answered
            }
            (false, false) => self.status.is_none() || self.usage.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Conduct, Leadership};
    use crate::types::Ballot;

    const MS: u64 = 1_000;

    fn status(applied: u64, hash: Option<u64>) -> Answer {
        let leader = Some(Ballot(0));
        let conduct = Conduct::Follows;
        let leadership = Leadership {
            conduct,
            leader,
            ballot: Ballot(0),
            configuration: 0,
            members: crate::quorum::ReplicaSet::EMPTY,
            sync_ms: 1,
        };
        let (applied, decided) = (Slot(applied), Slot(applied));
        Answer::Status(Box::new(Status { leadership, applied, decided, hash }))
    }

    fn usage() -> Answer {
        Answer::Usage(Box::new(Usage { up_s: 1, memory_bytes: 2, disk_bytes: 3, dropped: vec![] }))
    }

    fn asked(survey: &mut Survey, at_us: u64) -> Vec<(u8, u64)> {
        survey.due(Time(at_us)).into_iter().map(|(id, query)| (id.0, query.below.0)).collect()
    }

    #[test]
    fn logs_are_compared_below_the_slot_that_all_who_answer_have_applied() {
        let mut survey = Survey::new(Time(0), 3, 1_000 * MS);
        assert_eq!(asked(&mut survey, 0), [(0, NUMBER_MAX), (1, NUMBER_MAX), (2, NUMBER_MAX)]);
        for (id, applied) in [(0, 12), (1, 10), (2, 11)] {
            survey.take(Time(2 * MS), ReplicaId(id), status(applied, None));
            assert!(!survey.is_over() && survey.common.is_none());
            survey.take(Time(2 * MS), ReplicaId(id), usage());
        }
        assert_eq!(asked(&mut survey, 2 * MS), [(0, 10), (1, 10), (2, 10)]);
        for id in 0..3 {
            assert!(!survey.is_over());
            survey.take(Time(3 * MS), ReplicaId(id), status(20, Some(7)));
        }
        assert!(survey.is_over());
        let rows = survey.report().rows;
        assert!(rows.iter().all(|row| row.hash == Some(7) && row.round_trip_us == Some(MS)));
        let applied: Vec<_> = rows.iter().map(|row| row.status.unwrap().applied.0).collect();
        assert_eq!(applied, [12, 10, 11], "of about one moment");
    }

    #[test]
    fn a_late_answer_to_the_first_question_is_none_to_the_second() {
        let mut survey = Survey::new(Time(0), 2, 1_000 * MS);
        assert_eq!(asked(&mut survey, 0), [(0, NUMBER_MAX), (1, NUMBER_MAX)]);
        assert_eq!(asked(&mut survey, 250 * MS), [(0, NUMBER_MAX), (1, NUMBER_MAX)]);
        for id in 0..2 {
            survey.take(Time(300 * MS), ReplicaId(id), status(5, None));
            survey.take(Time(300 * MS), ReplicaId(id), usage());
        }
        assert_eq!(asked(&mut survey, 300 * MS), [(0, 5), (1, 5)]);
        survey.take(Time(550 * MS), ReplicaId(0), status(5, None));
        survey.take(Time(600 * MS), ReplicaId(0), status(5, Some(7)));
        survey.take(Time(600 * MS), ReplicaId(1), status(5, Some(7)));
        assert!(survey.is_over());
        assert!(survey.report().rows.iter().all(|row| row.hash == Some(7)));
    }

    #[test]
    fn a_silent_replica_is_asked_again_until_the_time_is_over_and_the_rest_is_compared() {
        let mut survey = Survey::new(Time(0), 3, 1_000 * MS);
        asked(&mut survey, 0);
        for id in [0, 2] {
            survey.take(Time(MS), ReplicaId(id), status(5, None));
            survey.take(Time(MS), ReplicaId(id), usage());
        }
        assert_eq!(asked(&mut survey, 100 * MS), []);
        assert_eq!(survey.deadline(), Time(250 * MS));
        assert_eq!(asked(&mut survey, 250 * MS), [(1, NUMBER_MAX)]);
        assert_eq!(asked(&mut survey, 499 * MS), []);
        assert_eq!(asked(&mut survey, 1_000 * MS), [(0, 5), (2, 5)]);
        survey.take(Time(1_001 * MS), ReplicaId(2), status(5, Some(3)));
        assert_eq!(asked(&mut survey, 1_250 * MS), [(0, 5)]);
        assert!(!survey.is_over());
        assert_eq!(asked(&mut survey, 2_000 * MS), []);
        assert!(survey.is_over());
    }

    #[test]
    fn whoever_has_said_only_half_is_asked_again() {
        let mut survey = Survey::new(Time(0), 1, 1_000 * MS);
        asked(&mut survey, 0);
        survey.take(Time(MS), ReplicaId(0), status(5, None));
        assert_eq!(asked(&mut survey, 250 * MS), [(0, NUMBER_MAX)]);
        survey.take(Time(251 * MS), ReplicaId(0), status(5, None));
        survey.take(Time(251 * MS), ReplicaId(0), usage());
        assert_eq!(asked(&mut survey, 251 * MS), [(0, 5)]);
    }

    #[test]
    fn a_cluster_that_has_written_nothing_and_one_that_is_silent_have_nothing_to_compare() {
        let mut survey = Survey::new(Time(0), 1, 1_000 * MS);
        asked(&mut survey, 0);
        survey.take(Time(MS), ReplicaId(0), status(0, Some(0)));
        survey.take(Time(MS), ReplicaId(0), usage());
        assert!(survey.is_over());
        let mut survey = Survey::new(Time(0), 3, 1_000 * MS);
        asked(&mut survey, 0);
        survey.take_elsewhere(Time(MS), ReplicaId(1));
        assert!(!survey.is_over());
        assert_eq!(
            asked(&mut survey, 250 * MS),
            [(0, NUMBER_MAX), (2, NUMBER_MAX)],
            "not the one of another cluster"
        );
        asked(&mut survey, 1_000 * MS);
        assert!(survey.is_over());
    }
}

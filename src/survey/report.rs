//! What the answers of a survey mean.

use super::Row;
use crate::message::{Conduct, Status};
use crate::quorum::{ReplicaSet, quorum};
use crate::types::{Ballot, REPLICAS_MAX, ReplicaId, Slot, replicas};
use std::fmt;

/// A replica that lacks more slots than this is behind, and not just on its way. Below it a
/// replica can also say what its log is where others are.
pub const LAG_SLOTS_MAX: u64 = 4_096;

/// How a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Every replica answers, is a member and has the same log, and one of them leads.
    Well,
    /// A quorum answers, and something is wrong.
    Degraded,
    /// Too few members answer: nothing can be decided.
    NoQuorum,
}

impl Health {
    /// The name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Health::Well => "well",
            Health::Degraded => "degraded",
            Health::NoQuorum => "no_quorum",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not answer.
    Silent(ReplicaId),
    /// It belongs to another cluster.
    Elsewhere(ReplicaId),
    /// It is not a member.
    Observes(ReplicaId),
    /// It warms up, and waits for these replicas.
    WarmsUp(ReplicaId, ReplicaSet),
    /// It lacks this many slots.
    Behind(ReplicaId, u64),
    /// Its log is another one than a quorum's, or than another replica's if no quorum has the same.
    Differs(ReplicaId),
    /// No replica leads that a quorum hears.
    NoLeader,
    /// This many members answer, of so many that are needed.
    TooFew(usize, usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Silent(id) => write!(f, "replica {id} does not answer"),
            Fault::Elsewhere(id) => write!(f, "replica {id} belongs to another cluster"),
            Fault::Observes(id) => write!(f, "replica {id} is not a member and does not vote"),
            Fault::WarmsUp(id, of) => write!(f, "replica {id} is {}", warming_up(*of)),
            Fault::Behind(id, slots) => write!(f, "replica {id} is {slots} slots behind"),
            Fault::Differs(id) => write!(f, "replica {id} has other lines than another replica"),
            Fault::NoLeader => write!(f, "no replica leads"),
            Fault::TooFew(members, needed) => {
                write!(f, "too few members answer: {members}, and a quorum is {needed}")
            }
        }
    }
}

/// `warming up, waits for replica 2`.
pub(super) fn warming_up(waits_for: ReplicaSet) -> String {
    let ids: Vec<String> = replicas(REPLICAS_MAX)
        .filter(|id| waits_for.contains(*id))
        .map(|id| id.to_string())
        .collect();
    let waits_for = match ids.as_slice() {
        [] => "replica 0 to start the cluster".to_owned(),
        [one] => format!("replica {one}"),
        many => format!("replicas {}", many.join(", ")),
    };
    format!("warming up, waits for {waits_for}")
}

/// What a survey has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// By replica id.
    pub rows: Vec<Row>,
    /// The logs were compared below this slot. 0 if there was nothing to compare.
    pub below: Slot,
    /// The ballot of the leader that a quorum hears.
    pub leader: Option<Ballot>,
    /// The number of the newest configuration that any replica has applied, and its members. Before
    /// any has started: all replicas.
    pub configuration: u16,
    /// See `configuration`.
    pub members: ReplicaSet,
    /// What is wrong, the worst first.
    pub faults: Vec<Fault>,
    /// All of it in a word.
    pub health: Health,
}

impl Report {
    pub(super) fn new(rows: Vec<Row>, below: Slot) -> Self {
        let n = rows.len();
        let conduct = |row: &Row| Some(row.status?.leadership.conduct);
        let votes = |it| !matches!(it, Conduct::Observes | Conduct::WarmsUp(_));
        let (configuration, members) = newest(&rows);
        let needed = quorum(members.len());
        let is_there = |id: &ReplicaId| {
            let row = rows.get(id.index());
            row.is_some_and(|row| !row.elsewhere && conduct(row).is_some_and(votes))
        };
        let there = members.iter().filter(is_there).count();
        let leader = leader(&rows, needed);
        let mut faults = Vec::new();
        if there < needed {
            faults.push(Fault::TooFew(there, needed));
        } else if leader.is_none() {
            faults.push(Fault::NoLeader);
        }
        let same = |hash: Option<u64>| rows.iter().filter(|row| row.hash == hash).count();
        let known = rows.iter().filter(|row| row.hash.is_some()).count();
        // One that differs from what a quorum has is wrong; of fewer, nobody can tell which.
        let differs =
            |hash: &Option<u64>| hash.is_some() && same(*hash) < known && same(*hash) < needed;
        let differing: Vec<bool> = rows.iter().map(|row| differs(&row.hash)).collect();
        let health = Health::Well;
        let mut report = Report { rows, below, leader, configuration, members, faults, health };
        for id in replicas(n) {
            let row = &report.rows[id.index()];
            let is_member = members.contains(id);
            let fault = match (row.elsewhere, conduct(row)) {
                (true, _) => Some(Fault::Elsewhere(id)),
                // Whoever is no member may be switched off, or follow.
                (false, None | Some(Conduct::Observes)) if !is_member => None,
                (false, None) => Some(Fault::Silent(id)),
                (false, Some(Conduct::Observes)) => Some(Fault::Observes(id)),
                (false, Some(Conduct::WarmsUp(of))) => Some(Fault::WarmsUp(id, of)),
                (false, Some(_)) => None,
            };
            let lag = report.lag(id).filter(|slots| *slots > LAG_SLOTS_MAX);
            let lag = lag.map(|slots| Fault::Behind(id, slots));
            let all = [differing[id.index()].then_some(Fault::Differs(id)), fault, lag];
            report.faults.extend(all.into_iter().flatten());
        }
        report.health = match report.faults.first() {
            None => Health::Well,
            Some(Fault::TooFew(..)) => Health::NoQuorum,
            Some(_) => Health::Degraded,
        };
        report
    }

    /// How many slots that are known to be decided this replica has not applied.
    pub fn lag(&self, id: ReplicaId) -> Option<u64> {
        let ends = self.rows.iter().filter_map(|row| Some(row.status?.decided));
        let applied = self.rows[id.index()].status.filter(Status::knows_log)?.applied;
        ends.max().map(|end| end.since(applied))
    }

    /// The replica that leads.
    pub fn leads(&self) -> Option<ReplicaId> {
        self.leader.and_then(|ballot| self.owner(ballot))
    }

    /// The replica that may use this ballot, if it is one of the newest configuration.
    pub fn owner(&self, ballot: Ballot) -> Option<ReplicaId> {
        let place = ballot.round() % self.members.len().max(1) as u64;
        let is_of_it = ballot.configuration() == self.configuration;
        self.members.iter().nth(place as usize).filter(|_| is_of_it)
    }
}

/// The newest configuration that any of these has applied. Before any has started all are members.
fn newest(rows: &[Row]) -> (u16, ReplicaSet) {
    let mut all = ReplicaSet::EMPTY;
    replicas(rows.len()).for_each(|id| {
        all.insert(id);
    });
    let known = rows.iter().filter_map(|row| Some(row.status?.leadership));
    let newest = known.filter(|it| !it.members.is_empty()).max_by_key(|it| it.configuration);
    newest.map_or((0, all), |it| (it.configuration, it.members))
}

/// The ballot of the leader, if it says so itself and a quorum hears it.
fn leader(rows: &[Row], quorum: usize) -> Option<Ballot> {
    let heard = |row: &Row| row.status?.leadership.leader;
    let ballot = rows.iter().filter_map(heard).max()?;
    let hear = || rows.iter().filter(|row| heard(row) == Some(ballot));
    let leads = |row: &Row| row.status.is_some_and(|it| it.leadership.conduct == Conduct::Leads);
    (hear().any(leads) && hear().count() >= quorum).then_some(ballot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Leadership;

    fn row(conduct: Conduct, leader: Option<u64>, applied: u64, hash: Option<u64>) -> Row {
        let leader = leader.map(Ballot);
        let leadership = Leadership {
            conduct,
            leader,
            ballot: Ballot(9),
            configuration: 0,
            members: ReplicaSet::EMPTY,
            sync_ms: 1,
        };
        let (applied, decided) = (Slot(applied), Slot(applied));
        let status = Some(Status { leadership, applied, decided, hash });
        Row { status, hash, ..Row::default() }
    }

    fn leads(applied: u64) -> Row {
        row(Conduct::Leads, Some(0), applied, Some(7))
    }

    fn follows(applied: u64) -> Row {
        row(Conduct::Follows, Some(0), applied, Some(7))
    }

    /// The faults, and the health.
    fn found(rows: Vec<Row>) -> (Vec<Fault>, Health) {
        let report = Report::new(rows, Slot(5));
        (report.faults, report.health)
    }

    #[test]
    fn a_cluster_of_which_all_answer_with_one_leader_and_one_log_is_well() {
        let report = Report::new(vec![leads(9), follows(9), follows(8)], Slot(8));
        assert_eq!((report.health, report.faults.as_slice()), (Health::Well, &[][..]));
        assert_eq!(report.leads(), Some(ReplicaId(0)));
        assert_eq!([0, 2].map(|id| report.lag(ReplicaId(id))), [Some(0), Some(1)]);
    }

    #[test]
    fn one_that_is_silent_or_elsewhere_or_no_member_is_named_while_a_quorum_goes_on() {
        let elsewhere = Row { elsewhere: true, ..Row::default() };
        let observes = row(Conduct::Observes, Some(0), 9, Some(7));
        for (third, fault) in [
            (Row::default(), Fault::Silent(ReplicaId(2))),
            (elsewhere, Fault::Elsewhere(ReplicaId(2))),
            (observes, Fault::Observes(ReplicaId(2))),
        ] {
            assert_eq!(found(vec![leads(9), follows(9), third]), (vec![fault], Health::Degraded));
        }
    }

    #[test]
    fn after_a_change_the_members_are_those_of_the_newest_configuration() {
        let mut members = ReplicaSet::EMPTY;
        [1, 2].map(ReplicaId).iter().for_each(|id| {
            members.insert(*id);
        });
        let changed = |conduct| {
            let mut row = row(conduct, Some(Ballot::of(1, 1).0), 9, Some(7));
            let leadership = &mut row.status.as_mut().expect("it answers").leadership;
            (leadership.configuration, leadership.members) = (1, members);
            leadership.ballot = Ballot::of(1, 1);
            row
        };
        // Replica 0 was removed: it follows, or is switched off.
        for first in [changed(Conduct::Observes), Row::default()] {
            let rows = vec![first, changed(Conduct::Follows), changed(Conduct::Leads)];
            let report = Report::new(rows, Slot(5));
            assert_eq!((report.health, &report.faults[..]), (Health::Well, &[][..]));
            assert_eq!((report.leads(), report.configuration), (Some(ReplicaId(2)), 1));
        }
        let rows = vec![changed(Conduct::Observes), Row::default(), changed(Conduct::Leads)];
        let (faults, health) = found(rows);
        assert_eq!((faults[0], health), (Fault::TooFew(1, 2), Health::NoQuorum), "both are needed");
    }

    #[test]
    fn one_that_warms_up_is_no_member_yet_and_says_whom_it_waits_for() {
        let waits = |ids: &[u8]| {
            let mut waits_for = ReplicaSet::EMPTY;
            ids.iter().for_each(|id| {
                waits_for.insert(ReplicaId(*id));
            });
            Row { status: Some(Status::warms_up(waits_for)), ..Row::default() }
        };
        let report = Report::new(vec![waits(&[2]), waits(&[0, 2]), Row::default()], Slot::ZERO);
        assert_eq!(report.health, Health::NoQuorum);
        let said: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "too few members answer: 0, and a quorum is 2",
                "replica 0 is warming up, waits for replica 2",
                "replica 1 is warming up, waits for replicas 0, 2",
                "replica 2 does not answer",
            ]
        );
        // Of one that comes after the others nothing is compared.
        let report = Report::new(vec![leads(9), follows(9), waits(&[])], Slot(9));
        let [fault] = &report.faults[..] else { panic!("{:?}", report.faults) };
        let text = "replica 2 is warming up, waits for replica 0 to start the cluster";
        assert_eq!((fault.to_string().as_str(), report.lag(ReplicaId(2))), (text, None));
    }

    #[test]
    fn without_a_quorum_of_members_nothing_can_be_decided() {
        let observes = || row(Conduct::Observes, Some(0), 9, Some(7));
        let (faults, health) = found(vec![leads(9), observes(), Row::default()]);
        assert_eq!(health, Health::NoQuorum);
        let others = [Fault::Observes(ReplicaId(1)), Fault::Silent(ReplicaId(2))];
        assert_eq!(faults, [&[Fault::TooFew(1, 2)][..], &others].concat());
        assert_eq!(found(vec![Row::default(); 5]).1, Health::NoQuorum);
    }

    #[test]
    fn a_leader_is_one_that_says_so_and_that_a_quorum_hears() {
        let campaigns = || row(Conduct::Campaigns, None, 9, Some(7));
        let no_leader = (vec![Fault::NoLeader], Health::Degraded);
        let waits = || row(Conduct::Follows, None, 9, Some(7));
        assert_eq!(found(vec![campaigns(), waits(), waits()]), no_leader);
        assert_eq!(found(vec![leads(9), waits(), waits()]), no_leader, "nobody hears it");
        assert_eq!(found(vec![follows(9), follows(9), follows(9)]), no_leader, "it does not know");
        assert_eq!(found(vec![leads(9), follows(9), waits()]), (vec![], Health::Well));
    }

    #[test]
    fn logs_that_differ_are_named_all_if_no_quorum_has_the_same() {
        let other = || row(Conduct::Follows, Some(0), 9, Some(8));
        let differs = |id| Fault::Differs(ReplicaId(id));
        let degraded = |faults| (faults, Health::Degraded);
        assert_eq!(found(vec![leads(9), follows(9), other()]), degraded(vec![differs(2)]));
        let silent = Fault::Silent(ReplicaId(2));
        let (two, three) = (vec![differs(0), differs(1), silent], vec![leads(9), other()]);
        assert_eq!(found([three, vec![Row::default()]].concat()), degraded(two));
        let unknown = row(Conduct::Follows, Some(0), 9, None);
        assert_eq!(found(vec![leads(9), follows(9), unknown]), (vec![], Health::Well));
    }

    #[test]
    fn a_replica_that_lacks_thousands_of_slots_is_behind() {
        let far = 9 + LAG_SLOTS_MAX;
        assert_eq!(found(vec![leads(far), follows(far), follows(9)]).1, Health::Well);
        let behind = vec![Fault::Behind(ReplicaId(2), LAG_SLOTS_MAX + 1)];
        let rows = vec![leads(far), follows(far), follows(8)];
        assert_eq!(found(rows), (behind, Health::Degraded));
    }
}

//! What an operator's client does: it asks who the members are, or changes them.
//!
//! All replicas are asked, again and again, since the client does not know who leads. Only a leader's
//! answer counts: what it says holds now. A change has three steps, and each may be repeated.
//!
//! ```text
//! who are the members?      -- the leader of configuration k names them
//! remove 2, as of k         -- the leader of k proposes it, or says what stands in the way
//!                              ... until a leader of a later configuration answers
//! ```
//!
//! That leader's configuration is established (M8): whoever is no member in it may be switched off.
//!
//! **Does not** know a socket or a clock: its caller sends what is [`due`](Admin::due), and tells it
//! what comes and when.

use crate::members::{Configuration, Member};
use crate::message::{
    ClientMessage, MemberChange, MembersAnswer, MembersQuery, Observer, Obstacle, Wish,
};
use crate::quorum::ReplicaSet;
use crate::types::{Address, ReplicaId, Time, replicas};
use std::fmt::Write as _;

/// After so long replicas are asked again, in microseconds.
pub const RETRY_US: u64 = 250_000;

/// What an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// To know who the members are.
    Members,
    /// Others. `forced`: although no quorum of them is heard.
    Change {
        /// What is to change.
        change: MemberChange,
        /// Whether that is done at any risk.
        forced: bool,
    },
}

impl Task {
    /// What these words of a command line mean.
    ///
    /// # Errors
    ///
    /// What is wrong with them, as one line.
    pub fn read(words: &[String], forced: bool) -> Result<Task, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let change = match words[..] {
            ["members"] if forced => return Err("--force: only with a change of members".into()),
            ["members"] => return Ok(Task::Members),
            ["add", id] => MemberChange::Add(read_id(id)?),
            ["replace", id] => MemberChange::Replace(read_id(id)?),
            ["remove", id] => MemberChange::Remove(read_id(id)?),
            ["move", id, to] => MemberChange::Move(read_id(id)?, read_address(to)?),
            _ => {
                return Err(format!(
                    "--admin {}: it takes members, add ID, replace ID, remove ID or move ID \
                     ADDRESS:PORT",
                    words.join(" ")
                ));
            }
        };
        Ok(Task::Change { change, forced })
    }
}

fn read_id(word: &str) -> Result<ReplicaId, String> {
    word.parse().map(ReplicaId).map_err(|_| format!("{word}: not a replica's id"))
}

fn read_address(word: &str) -> Result<Address, String> {
    let address = word.parse().map(Address).map_err(|_| {
        format!("{word}: not an address and a port, as 10.0.0.9:7000 or [fd00::9]:7000")
    })?;
    match address.is_of_a_host() {
        true => Ok(address),
        false => Err(format!("{word}: no replica can be reached there")),
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The members are these.
    Shown(MembersAnswer),
    /// The members were changed, and are these.
    Changed(MembersAnswer),
    /// The leader does not do it.
    Refused(MemberChange, Obstacle),
    /// Somebody else has changed the members meanwhile. It is not known by whom the change was made.
    Overtaken(MembersAnswer),
}

/// A task that is under way.
#[derive(Debug)]
pub struct Admin {
    n: usize,
    task: Task,
    number: u64,
    /// The configuration that is to change.
    base: Option<Configuration>,
    ask_at: Time,
    /// What stands in the way, as the leader said last.
    obstacle: Option<Obstacle>,
    /// Whether that is news.
    is_news: bool,
    /// Whether a leader has answered.
    is_led: bool,
    outcome: Option<Outcome>,
}

impl Admin {
    /// A task that begins now, for `n` replicas. `number` tells its answers from others.
    pub fn new(now: Time, n: usize, task: Task, number: u64) -> Self {
        let (base, obstacle, outcome) = (None, None, None);
        let (is_news, is_led) = (false, false);
        Admin { n, task, number, base, ask_at: now, obstacle, is_news, is_led, outcome }
    }

    /// Who is to be asked now, and what.
    pub fn due(&mut self, now: Time) -> Vec<(ReplicaId, ClientMessage)> {
        if now < self.ask_at || self.outcome.is_some() {
            return Vec::new();
        }
        self.ask_at = now.plus_us(RETRY_US);
        let wish = match (self.task, &self.base) {
            (Task::Change { change, forced }, Some(base)) => {
                Some(Wish { base: base.number(), change, forced })
            }
            _ => None,
        };
        let query = ClientMessage::Members(MembersQuery { number: self.number, wish });
        replicas(self.n).map(|id| (id, query.clone())).collect()
    }

    /// When [`Admin::due`] is to be asked again.
    pub fn deadline(&self) -> Time {
        self.ask_at
    }

    /// A replica has answered.
    pub fn take(&mut self, now: Time, answer: MembersAnswer) {
        if answer.number != self.number || !answer.leads || self.outcome.is_some() {
            return;
        }
        self.is_led = true;
        let Task::Change { change, .. } = self.task else {
            self.outcome = Some(Outcome::Shown(answer));
            return;
        };
        let Some(configuration) = answer.configuration.clone() else {
            self.outcome = Some(Outcome::Refused(change, Obstacle::NoChange));
            return;
        };
        let Some(base) = &self.base else {
            self.base = Some(configuration);
            self.ask_at = now;
            return;
        };
        if configuration.number() > base.number() {
            let is_next = base.is_followed_by(&configuration);
            self.outcome = Some(match is_next && is_made(change, base, &configuration) {
                true => Outcome::Changed(answer),
                false => Outcome::Overtaken(answer),
            });
        } else if configuration.number() == base.number() {
            self.is_news |= answer.obstacle != self.obstacle;
            self.obstacle = answer.obstacle;
            let stays = answer.obstacle.filter(|obstacle| !obstacle.may_pass());
            self.outcome = stays.map(|obstacle| Outcome::Refused(change, obstacle));
        }
    }

    /// How it has ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// What it waits for, in words.
    pub fn waits_for(&self) -> String {
        match (self.task, self.obstacle) {
            (Task::Change { change, .. }, Some(obstacle)) => in_words(change, obstacle),
            _ if self.is_led => "the members decide".into(),
            _ => "no leader answers".into(),
        }
    }

    /// The same, if it has changed since it was asked last.
    pub fn news(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_news).then(|| self.waits_for())
    }
}

/// Whether this change has led from one configuration to the next.
fn is_made(change: MemberChange, from: &Configuration, to: &Configuration) -> bool {
    let directory = |of: &Configuration| of.member(change.replica()).map(|it| it.directory);
    match change {
        MemberChange::Remove(_) => directory(to).is_none(),
        MemberChange::Add(_) => directory(from).is_none() && directory(to).is_some(),
        MemberChange::Replace(_) => directory(to).is_some() && directory(to) != directory(from),
        MemberChange::Move(id, at) => to.member(id).is_some_and(|it| it.address == Some(at)),
    }
}

/// Why a change is not made, in words.
fn in_words(change: MemberChange, obstacle: Obstacle) -> String {
    let id = change.replica();
    match obstacle {
        Obstacle::Unsure => "the leader looks who is there".into(),
        Obstacle::NobodyThere => {
            format!("the leader hears no replica {id} without a vote: start it there")
        }
        Obstacle::Behind { applied, of } => {
            format!("replica {id} catches up: it is at slot {applied} of {of}")
        }
        Obstacle::StillThere => {
            format!("replica {id} is heard: it has not lost its directory, so nothing replaces it")
        }
        Obstacle::NeverVotes => {
            format!("replica {id} runs with --observer: it is never to vote")
        }
        Obstacle::NoChange => match change {
            MemberChange::Add(_) => format!(
                "replica {id} cannot be added: it is a member, or has no place in the \
                 configuration, or there are seven or more"
            ),
            MemberChange::Replace(_) => format!("replica {id} is no member: add it"),
            MemberChange::Move(..) => {
                format!("replica {id} cannot be moved: it is no member, or is there already")
            }
            MemberChange::Remove(_) => {
                format!("replica {id} cannot be removed: it is no member, or the only one")
            }
        },
        Obstacle::NoQuorum { heard } => format!(
            "nothing could be decided then: of the new members {} heard; --force does it all the \
             same",
            listed(heard)
        ),
    }
}

/// `only replicas 0 and 2 are`.
fn listed(heard: ReplicaSet) -> String {
    let all: Vec<String> =
        (0..64).map(ReplicaId).filter(|id| heard.contains(*id)).map(|id| id.to_string()).collect();
    match &all[..] {
        [] => "none is".into(),
        [one] => format!("only replica {one} is"),
        many => format!("only replicas {} are", many.join(", ")),
    }
}

/// What is shown of the members. `places` are the addresses of the replicas, by id.
pub fn shown(answer: &MembersAnswer, places: &[String]) -> String {
    let MembersAnswer { configuration, heard, observers, applied, .. } = answer;
    let Some(configuration) = configuration else {
        return "more members than a change may name: they stay as they are\n".into();
    };
    // M9: whoever has moved is where the members say.
    let mut places = places.to_vec();
    for Member { id, address, .. } in configuration.members() {
        if let Some(Address(at)) = address {
            places.resize(places.len().max(id.index() + 1), String::new());
            places[id.index()] = at.to_string();
        }
    }
    let place = |id: ReplicaId| places.get(id.index()).map_or("", String::as_str);
    let width = places.iter().map(|place| place.chars().count()).max().unwrap_or(0);
    let mut text = format!("{configuration}; {applied} lines are applied\n");
    let mut row = |id: ReplicaId, directory: u64, what: &str| {
        let at = place(id);
        let _ = writeln!(text, "replica {id}  {at:width$}  directory {directory:016x}  {what}");
    };
    for Member { id, directory, .. } in configuration.members() {
        let what = if heard.contains(*id) { "member" } else { "member, not heard" };
        row(*id, directory.0, what);
    }
    for Observer { id, directory, applied } in observers {
        row(*id, directory.0, &format!("no vote, at slot {applied}"));
    }
    text
}

/// What is said of an outcome, and whether it is what was wanted.
pub fn told(outcome: &Outcome, places: &[String]) -> (bool, String) {
    match outcome {
        Outcome::Shown(answer) | Outcome::Changed(answer) => (true, shown(answer, places)),
        Outcome::Refused(change, obstacle) => {
            (false, format!("{change}: refused: {}\n", in_words(*change, *obstacle)))
        }
        Outcome::Overtaken(answer) => (
            false,
            format!(
                "the members were changed by somebody else meanwhile; look, and ask again:\n{}",
                shown(answer, places)
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{DirectoryId, Slot};

    fn started() -> Configuration {
        Configuration::started(&[10, 11, 12].map(DirectoryId))
    }

    fn answer(leads: bool, configuration: &Configuration) -> MembersAnswer {
        MembersAnswer {
            number: 7,
            leads,
            configuration: Some(configuration.clone()),
            heard: ReplicaSet::EMPTY,
            observers: Vec::new(),
            applied: Slot(3),
            obstacle: None,
        }
    }

    fn removal() -> Admin {
        let change = MemberChange::Remove(ReplicaId(2));
        Admin::new(Time(0), 3, Task::Change { change, forced: false }, 7)
    }

    fn wished(admin: &mut Admin, at_us: u64) -> Option<Option<Wish>> {
        let due = admin.due(Time(at_us));
        let (to, message) = due.first()?;
        assert_eq!((*to, due.len()), (ReplicaId(0), 3), "all are asked the same");
        match message {
            ClientMessage::Members(MembersQuery { number: 7, wish }) => Some(*wish),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_is_asked_for_as_of_what_a_leader_has_said_and_until_the_next_leads() {
        let (mut admin, base) = (removal(), started());
        assert_eq!(wished(&mut admin, 0), Some(None), "first it looks");
        assert_eq!(wished(&mut admin, RETRY_US - 1), None);
        admin.take(Time(1), answer(false, &base));
        assert_eq!(wished(&mut admin, RETRY_US), Some(None), "a follower's word says nothing");
        admin.take(Time(RETRY_US + 1), answer(true, &base));
        let change = MemberChange::Remove(ReplicaId(2));
        let wish = Some(Wish { base: 0, change, forced: false });
        assert_eq!(wished(&mut admin, RETRY_US + 1), Some(wish));
        admin.take(Time(0), answer(true, &base));
        assert_eq!(wished(&mut admin, 2 * RETRY_US + 1), Some(wish), "it may have been lost");
        let next = base.without(ReplicaId(2)).expect("two are left");
        admin.take(Time(0), answer(false, &next));
        assert_eq!(admin.outcome(), None, "nobody leads it yet");
        admin.take(Time(0), answer(true, &next));
        assert_eq!(admin.outcome(), Some(&Outcome::Changed(answer(true, &next))));
        assert_eq!(wished(&mut admin, 9 * RETRY_US), None);
    }

    #[test]
    fn who_is_overtaken_by_another_change_says_so() {
        let (mut admin, base) = (removal(), started());
        admin.take(Time(0), answer(true, &base));
        let other = base.without(ReplicaId(1)).expect("two are left");
        admin.take(Time(0), answer(true, &other));
        assert!(matches!(admin.outcome(), Some(Outcome::Overtaken(_))), "{admin:?}");
    }

    #[test]
    fn what_may_pass_is_waited_for_and_told_once_and_what_stays_ends_it() {
        let (mut admin, base) = (removal(), started());
        admin.take(Time(0), answer(true, &base));
        let with = |obstacle| MembersAnswer { obstacle, ..answer(true, &base) };
        for _ in 0..3 {
            admin.take(Time(0), with(Some(Obstacle::Unsure)));
        }
        assert_eq!(admin.news().as_deref(), Some("the leader looks who is there"));
        assert_eq!((admin.news(), admin.outcome()), (None, None));
        admin.take(Time(0), with(Some(Obstacle::StillThere)));
        let (is_done, text) = told(admin.outcome().expect("it ends"), &[]);
        assert!(!is_done && text.starts_with("remove 2: refused: replica 2 is heard"), "{text}");
    }

    #[test]
    fn words_of_a_command_line_are_a_task_or_say_what_is_wrong() {
        let read = |text: &str, forced| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            Task::read(&words, forced)
        };
        let change = MemberChange::Replace(ReplicaId(2));
        assert_eq!(read("replace 2", true), Ok(Task::Change { change, forced: true }));
        assert_eq!(read("members", false), Ok(Task::Members));
        let to = Address("[fd00::9]:7000".parse().expect("an address"));
        let change = MemberChange::Move(ReplicaId(2), to);
        let task = Ok(Task::Change { change, forced: false });
        assert_eq!(read("move 2 [fd00::9]:7000", false), task);
        assert_eq!(change.to_string(), "move 2 [fd00::9]:7000");
        for (text, forced, what) in [
            ("members", true, "--force"),
            ("members 2", false, "it takes members, add ID"),
            ("replace", false, "it takes members"),
            ("replace two", false, "two: not a replica's id"),
            ("remove 300", false, "300: not a replica's id"),
            ("move 2", false, "or move ID ADDRESS:PORT"),
            ("move 2 here", false, "here: not an address and a port"),
            ("move 2 0.0.0.0:7000", false, "no replica can be reached there"),
            ("move 2 [fe80::1%2]:7000", false, "no replica can be reached there"),
            ("move 2 10.0.0.9:0", false, "no replica can be reached there"),
        ] {
            let said = read(text, forced).expect_err(text);
            assert!(said.contains(what), "{text}: {said}");
        }
    }

    #[test]
    fn members_are_shown_with_their_places_and_who_is_not_heard() {
        let mut heard = ReplicaSet::EMPTY;
        heard.insert(ReplicaId(0));
        let observer = Observer { id: ReplicaId(1), directory: DirectoryId(9), applied: Slot(2) };
        let base = started().without(ReplicaId(1)).expect("two are left");
        let all = MembersAnswer { heard, observers: vec![observer], ..answer(true, &base) };
        let places = ["10.0.0.1:7001", "10.0.0.2:7001", "10.0.0.13:7001"].map(str::to_owned);
        assert_eq!(
            shown(&all, &places),
            "configuration 1, of replicas 0, 2; 3 lines are applied\n\
             replica 0  10.0.0.1:7001   directory 000000000000000a  member\n\
             replica 2  10.0.0.13:7001  directory 000000000000000c  member, not heard\n\
             replica 1  10.0.0.2:7001   directory 0000000000000009  no vote, at slot 2\n"
        );
        let to = Some(Address("10.0.0.9:7".parse().expect("an address")));
        let member = Member { address: to, ..*started().member(ReplicaId(0)).expect("one") };
        let moved = started().with(member).expect("it moves");
        let all = MembersAnswer { heard, ..answer(true, &moved) };
        let text = shown(&all, &places);
        assert!(text.contains("\nreplica 0  10.0.0.9:7      directory"), "{text}");
    }
}

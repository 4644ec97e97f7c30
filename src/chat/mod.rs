//! The state that the learner drives: sessions, the numbers of lines, a machine of the user, and
//! who the members are.
//!
//! Commands take effect exactly once, and in each session's order (rule E2): a command
//! takes effect if and only if its number is the session's next. A command that is chosen
//! in two slots takes effect in the lower one; the higher slot changes nothing and is a
//! NOP line. (Paxos Made Moderately Complex, §2; sessions as in Ongaro's dissertation,
//! §6.3.)
//!
//! Decided state alone bounds the number of sessions, so the bound is the same on every
//! replica. A session expires when [`SESSION_WINDOW_SLOTS`] slots have passed since its
//! last applied command. An unknown session is created only by its command 0, and only
//! within that many slots of its birth. So an expired session never comes back to life:
//! its birth lies too far behind.
//!
//! A session may also be born so far behind that it never begins to live. Its client may
//! then send the line by another session, if it is certain that the line was not applied.
//! A log that holds no line of this client at or above the birth says so
//! ([`Status::BornTooEarly`]): a session's lines all lie at or above its birth.
//!
//! A client's lines are numbered for as long as the log, across all its sessions, in the order in
//! which they take effect. Nothing orders the lines of two sessions: a line that an ended process
//! left in flight may come below those of the next process with its client id.
//!
//! A change of members takes effect if it names the configuration after the one that the log has
//! made (M1). Its line is a NOP.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod accounts;
mod hosted;
mod sessions;
mod snapshot;

pub use snapshot::{Part, Snapshot};

use crate::machine::{Host, Response};
use crate::members::Configuration;
use crate::types::Slot;
use crate::values::{ChangeRef, CommandRef, ValueRef, Values};
use hosted::Hosted;
use sessions::{SessionState, SessionTable};

/// How many slots a session outlives its last applied command.
pub const SESSION_WINDOW_SLOTS: u64 = 1 << 22;

/// How many slots lie between two sweeps of expired sessions from memory. The sweep decides
/// nothing: the slots of a session alone decide whether it has expired.
const SWEEP_SLOTS: u64 = 1 << 16;

/// The clients of this many values are looked up together, before the values are applied.
/// With thousands of clients, waiting for memory in these look-ups takes most of the time.
const LOOK_AHEAD: usize = 16;

/// What a command means to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It would take effect.
    Next,
    /// It is the session's last applied command.
    Complete {
        /// The slot in which it took effect.
        slot: Slot,
        /// The number of its line among the client's lines, from 0.
        client_seq: u64,
    },
    /// It took effect, and so did a later command of the session.
    Past,
    /// Its number is above the session's next, or its session is born above the slots that
    /// are applied here.
    Ahead,
    /// Its session no longer exists and can never be created again. Whether it ever existed,
    /// the log cannot tell.
    Expired,
    /// It is in no slot and never will be: its session never existed, and is born too far
    /// below to be created.
    BornTooEarly,
}

/// The number of the command that is next in its session after command `seq`. The log and a
/// leader's guess both count with this (E2). Only a forged command has the highest number,
/// which cannot grow.
pub(crate) fn next_seq(seq: u64) -> u64 {
    seq.saturating_add(1)
}

/// Rule E2: what `command` means in slot `at`, given what the log knows of its session.
/// (A session born too early is called expired here: it changes nothing either.)
fn judge(
    session: Option<SessionState>,
    command: CommandRef<'_>,
    at: Slot,
    window_slots: u64,
) -> Status {
    match session.filter(|session| session.is_alive(at, window_slots)) {
        Some(session) if command.seq == session.next => Status::Next,
        Some(session) if command.seq > session.next => Status::Ahead,
        Some(session) if next_seq(command.seq) == session.next => {
            Status::Complete { slot: session.last_slot, client_seq: session.last_client_seq }
        }
        Some(_) => Status::Past,
        // The session may have existed and expired: nobody can tell any more.
        None if at.since(command.birth) > window_slots => Status::Expired,
        // The session's birth was decided elsewhere: this log is not that far yet.
        None if command.birth > at => Status::Ahead,
        // Within the window of its birth a session cannot have expired, so it is new.
        None if command.seq == 0 => Status::Next,
        None => Status::Expired,
    }
}

/// The state of the chat after every slot below `end`, to judge commands by.
#[derive(Debug, Clone, Copy)]
pub struct Applied<'a> {
    chat: &'a Chat,
    /// The first slot that is not applied.
    pub end: Slot,
}

impl Applied<'_> {
    /// What `command` would mean if it were decided in the next slot.
    pub fn status(self, command: CommandRef<'_>) -> Status {
        self.chat.status(command, self.end)
    }

    /// The answer to the command that took effect in `slot`, the last of its session
    /// ([`Status::Complete`]). None if it is not known any more.
    pub fn response(self, slot: Slot) -> Option<Response> {
        match &self.chat.hosted {
            None => Some(Response::EMPTY),
            Some(hosted) => hosted.response(slot),
        }
    }
}

/// The chat's state: the same on all replicas that have applied the same slots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chat {
    sessions: SessionTable,
    window_slots: u64,
    /// The user's machine, if there is one.
    hosted: Option<Box<Hosted>>,
    /// The newest configuration that the log has made; none before its first change.
    configuration: Option<Configuration>,
}

impl Default for Chat {
    fn default() -> Self {
        Chat::with_session_window(SESSION_WINDOW_SLOTS)
    }
}

impl Chat {
    /// A chat whose sessions expire after this many slots; tests make it small.
    pub fn with_session_window(window_slots: u64) -> Self {
        let sessions = SessionTable::default();
        Chat { sessions, window_slots, hosted: None, configuration: None }
    }

    /// The state before the first command where `host` says what commands change.
    pub fn hosting(host: &Host) -> Self {
        Chat::default().and_hosting(host)
    }

    /// This empty chat, and what `host` says.
    #[must_use]
    pub fn and_hosting(self, host: &Host) -> Self {
        Chat { hosted: Hosted::new(host), ..self }
    }

    /// Applies the value that was decided in `slot`. The caller goes through the slots in
    /// order, without gaps (E1). Returns the number of the line among its client's lines
    /// if the command takes effect, and nothing if the slot changes nothing.
    pub fn apply(&mut self, slot: Slot, value: ValueRef<'_>) -> Option<u64> {
        self.apply_beside(slot, value, None)
    }

    /// The same while a snapshot may be under way.
    #[inline(always)]
    fn apply_beside(
        &mut self,
        slot: Slot,
        value: ValueRef<'_>,
        mut snapshot: Option<&mut Snapshot>,
    ) -> Option<u64> {
        let window_slots = self.window_slots;
        if slot.0.is_multiple_of(SWEEP_SLOTS) {
            self.sessions.sweep(slot, window_slots, snapshot.as_deref_mut());
            if let Some(hosted) = &mut self.hosted {
                hosted.sweep(Slot(slot.0.saturating_sub(window_slots)));
            }
        }
        let Some(command) = value.command() else {
            value.change().into_iter().for_each(|change| self.change(change));
            return None;
        };
        let mut last = None;
        let client_seq = self.sessions.advance(command.session, slot, snapshot, |session| {
            let takes_effect = judge(session, command, slot, window_slots) == Status::Next;
            last = session.map(|session| session.last_slot);
            takes_effect.then(|| next_seq(command.seq))
        })?;
        if let Some(hosted) = &mut self.hosted {
            hosted.apply(slot, last, command.line);
        }
        Some(client_seq)
    }

    /// M1: a change is decided.
    #[cold]
    fn change(&mut self, change: ChangeRef<'_>) {
        let next = change.to_configuration();
        let number = self.configuration.as_ref().map_or(0, Configuration::number);
        if number.checked_add(1) == Some(next.number()) {
            self.configuration = Some(next);
        }
    }

    /// The newest configuration that the log has made; none before its first change.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// The same state, in this configuration: a part of a checkpoint does not say it.
    pub(crate) fn set_configuration(&mut self, configuration: Option<Configuration>) {
        self.configuration = configuration;
    }

    /// Applies `values`, which were decided in consecutive slots from `first` on. As soon as
    /// a command's slot is applied, `each` gets the state, the slot, the command, and what
    /// [`Chat::apply`] returned. Returns the latter for all slots. `snapshot` is the one that is
    /// under way, if any.
    pub fn apply_all(
        &mut self,
        first: Slot,
        values: &Values,
        mut snapshot: Option<&mut Snapshot>,
        mut each: impl FnMut(Applied<'_>, Slot, CommandRef<'_>, Option<u64>),
    ) -> Vec<Option<u64>> {
        let mut client_seqs = Vec::with_capacity(values.len());
        let mut ahead = values.iter();
        for (slot, value) in (first.0..).map(Slot).zip(values.iter()) {
            if client_seqs.len().is_multiple_of(LOOK_AHEAD) {
                self.sessions.look_ahead(ahead.by_ref());
            }
            let client_seq = self.apply_beside(slot, value, snapshot.as_deref_mut());
            client_seqs.push(client_seq);
            if let ValueRef::Command(command) = value {
                each(self.applied(slot.next()), slot, command, client_seq);
            }
        }
        client_seqs
    }

    /// This state, which is the one after every slot below `end`.
    pub fn applied(&self, end: Slot) -> Applied<'_> {
        Applied { chat: self, end }
    }

    /// What `command` would mean if it were decided in slot `at`, the first one that is not
    /// applied.
    pub fn status(&self, command: CommandRef<'_>, at: Slot) -> Status {
        let session = self.sessions.get(command.session);
        match judge(session, command, at, self.window_slots) {
            Status::Expired if session.is_none() && self.is_born_too_early(command, at) => {
                Status::BornTooEarly
            }
            status => status,
        }
    }

    /// Whether the session of `command`, of which nothing is known, never existed before slot
    /// `at` and cannot be created from there on.
    fn is_born_too_early(&self, command: CommandRef<'_>, at: Slot) -> bool {
        let newest = self.sessions.newest_line(command.session.client);
        // A sweep removes sessions, but never the slot of a client's newest line.
        at.since(command.birth) > self.window_slots && newest < Some(command.birth)
    }

    /// How many sessions the chat holds in memory.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Begins a snapshot of this state, which is the one after every slot below `end`.
    pub fn snapshot(&self, end: Slot) -> Snapshot {
        Snapshot::new(end, self.hosted.as_ref().map(|hosted| hosted.image()).unwrap_or_default())
    }

    /// What the user's machine says of its state; nothing of the chat.
    pub fn machine(&self) -> Option<Vec<u8>> {
        self.hosted.as_ref().map(|hosted| hosted.snapshot())
    }

    /// The next part of a snapshot: about `count` sessions are gone through for it. Whether it is
    /// the last part stands beside it.
    pub fn take_part(&self, snapshot: &mut Snapshot, count: usize) -> (Part, bool) {
        let (mut part, is_last) = snapshot.take(&self.sessions, count);
        part.window_slots = self.window_slots;
        (part, is_last)
    }

    /// Takes in a part of a snapshot: all its parts make an empty chat what it was. False if
    /// they contradict each other.
    #[must_use]
    pub fn take_in(&mut self, part: &Part) -> bool {
        self.window_slots = part.window_slots;
        let machine = match &mut self.hosted {
            Some(hosted) => hosted.take_in(&part.image),
            None => part.image.is_empty(),
        };
        self.sessions.take_in(part) && machine
    }

    /// Whether every part of a snapshot that it has taken in was followed by the others, as far as
    /// its machine needs them.
    pub fn is_whole(&self) -> bool {
        self.hosted.as_ref().is_none_or(|hosted| hosted.is_whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::Member;
    use crate::types::{ClientId, Command, DirectoryId, Line, ReplicaId, Session, Value};
    use std::collections::BTreeMap;

    fn command(session: u64, seq: u64, birth: u64) -> Command {
        Command {
            session: Session { client: ClientId(7), id: session },
            seq,
            birth: Slot(birth),
            line: Line::from("x"),
        }
    }

    fn value(session: u64, seq: u64, birth: u64) -> Value {
        Value::Command(command(session, seq, birth))
    }

    #[test]
    fn a_change_takes_effect_if_it_names_the_next_configuration() {
        let mut chat = Chat::default();
        let next = |number: u16, directory: u64| {
            let (id, directory) = (ReplicaId(1), DirectoryId(directory));
            let member = Member { id, directory, address: None };
            Configuration::new(number, &[member]).expect("one member")
        };
        for (slot, (number, directory, expected)) in
            [(2, 10, 0), (1, 11, 11), (1, 12, 11), (3, 13, 11), (2, 14, 14)].into_iter().enumerate()
        {
            let value = Value::Change(next(number, directory).to_change());
            assert_eq!(chat.apply(Slot(slot as u64), (&value).into()), None, "a NOP line");
            let directory = chat.configuration().map_or(0, |it| it.members()[0].directory.0);
            assert_eq!(directory, expected, "after slot {slot}");
        }
    }

    #[test]
    fn a_command_chosen_in_two_slots_is_applied_once() {
        let mut chat = Chat::default();
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.apply(Slot(1), (&value(1, 0, 0)).into()), None);
        assert_eq!(chat.apply(Slot(2), (&value(1, 1, 0)).into()), Some(1));
        assert_eq!(
            chat.status((&command(1, 1, 0)).into(), Slot(3)),
            Status::Complete { slot: Slot(2), client_seq: 1 }
        );
        assert_eq!(chat.status((&command(1, 0, 0)).into(), Slot(3)), Status::Past);
    }

    #[test]
    fn a_command_above_the_next_changes_nothing() {
        let mut chat = Chat::default();
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.apply(Slot(1), (&value(1, 2, 0)).into()), None);
        assert_eq!(chat.apply(Slot(2), (&value(1, 1, 0)).into()), Some(1));
    }

    #[test]
    fn lines_are_numbered_across_a_clients_sessions() {
        let mut chat = Chat::default();
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.apply(Slot(1), (&value(2, 0, 0)).into()), Some(1));
        assert_eq!(chat.apply(Slot(2), (&value(1, 1, 0)).into()), Some(2));
    }

    #[test]
    fn a_session_that_ran_out_is_expired_and_cannot_be_created_again() {
        let mut chat = Chat::with_session_window(10);
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.status((&command(1, 1, 0)).into(), Slot(10)), Status::Next);
        assert_eq!(chat.status((&command(1, 1, 0)).into(), Slot(11)), Status::Expired);
        // Whatever is decided above: the old command 0 and 1 change nothing.
        assert_eq!(chat.apply(Slot(11), (&value(1, 0, 0)).into()), None);
        assert_eq!(chat.apply(Slot(12), (&value(1, 1, 0)).into()), None);
        assert_eq!(chat.apply(Slot(13), (&value(2, 0, 12)).into()), Some(1));
    }

    #[test]
    fn a_session_born_too_early_is_told_from_one_that_has_expired() {
        let mut chat = Chat::with_session_window(10);
        // Of client 7 nothing stands at or above slot 5; session 1 lived, and ended.
        assert_eq!(chat.apply(Slot(4), (&value(1, 0, 0)).into()), Some(0));
        let status = |chat: &Chat, session, birth, at| {
            chat.status((&command(session, 0, birth)).into(), Slot(at))
        };
        assert_eq!(status(&chat, 2, 5, 15), Status::Next);
        assert_eq!(status(&chat, 2, 5, 16), Status::BornTooEarly);
        assert_eq!(status(&chat, 2, 4, 16), Status::Expired, "a line of the client stands there");
        assert_eq!(status(&chat, 1, 5, 16), Status::Expired, "this session has lived");
        assert_eq!(chat.apply(Slot(16), (&value(2, 0, 5)).into()), None, "and never does");
        let unknown = command(2, 1, 5);
        assert_eq!(chat.status((&unknown).into(), Slot(15)), Status::Expired, "0 may still come");
        let mut stranger = command(3, 0, 0);
        stranger.session.client = ClientId(8);
        assert_eq!(chat.status((&stranger).into(), Slot(11)), Status::BornTooEarly);
    }

    #[test]
    fn a_session_born_above_what_is_decided_here_is_ahead_of_this_log() {
        let chat = Chat::default();
        assert_eq!(chat.status((&command(1, 0, 5)).into(), Slot(4)), Status::Ahead);
        assert_eq!(chat.status((&command(1, 0, 5)).into(), Slot(5)), Status::Next);
    }

    #[test]
    fn a_session_may_be_created_within_its_window_of_slots_and_no_later() {
        let chat = Chat::with_session_window(10);
        assert_eq!(chat.status((&command(1, 0, 3)).into(), Slot(13)), Status::Next);
        assert_eq!(chat.status((&command(1, 0, 3)).into(), Slot(14)), Status::BornTooEarly);
    }

    #[test]
    fn the_sweep_changes_nothing_that_can_be_seen() {
        let mut chat = Chat::with_session_window(SWEEP_SLOTS);
        assert_eq!(chat.apply(Slot(4), (&value(1, 0, 0)).into()), Some(0));
        assert_eq!(chat.apply(Slot(5), (&value(2, 0, 0)).into()), Some(1));
        chat.apply(Slot(SWEEP_SLOTS), (&Value::Noop).into());
        assert_eq!(chat.sessions(), 2);
        chat.apply(Slot(2 * SWEEP_SLOTS), (&Value::Noop).into());
        assert_eq!(
            chat.sessions(),
            1,
            "the newest one stays with the number of the client's lines"
        );
        for session in [1, 2] {
            let again = command(session, 1, 0);
            assert_eq!(chat.status((&again).into(), Slot(2 * SWEEP_SLOTS)), Status::Expired);
        }
        assert_eq!(chat.apply(Slot(2 * SWEEP_SLOTS + 1), (&value(3, 0, 131_072)).into()), Some(2));
    }

    /// The chat that a snapshot makes whose parts are of `count` sessions, and how many they were.
    fn copied(chat: &Chat, count: usize) -> (Chat, usize) {
        let mut snapshot = chat.snapshot(Slot(u64::MAX));
        let (mut copy, mut parts) = (Chat::default(), 0);
        loop {
            let (part, is_last) = chat.take_part(&mut snapshot, count);
            let part = postcard::to_stdvec(&part).expect("encodes");
            assert!(copy.take_in(&postcard::from_bytes(&part).expect("decodes")));
            parts += 1;
            if is_last {
                return (copy, parts);
            }
        }
    }

    #[test]
    fn a_snapshot_is_of_one_slot_whatever_changes_between_its_parts() {
        let (mut parts_seen, mut swept, mut returned) = (0, 0, 0);
        for seed in 0..60 {
            let mut rng = seeds::stream(seed, "snapshot");
            let mut chat = Chat::with_session_window(rng.u64(100..3_000));
            let (clients, sessions) = (1 << rng.u32(2..10), rng.u64(1..4));
            let mut slot = Slot(SWEEP_SLOTS - 3_000);
            let mut next: BTreeMap<Session, u64> = BTreeMap::new();
            let mut apply = |chat: &mut Chat,
                             snapshot: Option<&mut Snapshot>,
                             rng: &mut fastrand::Rng| {
                let client = ClientId(rng.u64(..clients));
                // Sessions of a client take turns, and end when others have begun.
                let id = slot.0 / 700 + rng.u64(..sessions);
                let session = Session { client, id };
                let seq = next.entry(session).or_default();
                let command = Command { session, seq: *seq, birth: slot, line: Line::from("x") };
                let before = chat.sessions();
                let applied = chat.apply_beside(slot, (&Value::Command(command)).into(), snapshot);
                *seq += u64::from(applied.is_some());
                swept += u64::from(chat.sessions() < before);
                returned += u64::from(applied.is_some() && *seq > 1);
                slot = slot.next();
                slot
            };
            let mut end = Slot(0);
            for _ in 0..rng.u32(1..3_100) {
                end = apply(&mut chat, None, &mut rng);
            }
            let (before, mut copy) = (chat.clone(), Chat::default());
            let mut snapshot = chat.snapshot(end);
            let (count, slots) = (rng.usize(1..100), rng.u64(..2_000));
            loop {
                let (part, is_last) = chat.take_part(&mut snapshot, count);
                assert!(copy.take_in(&part), "seed {seed}: a session has two states");
                parts_seen += 1;
                if is_last {
                    break;
                }
                for _ in 0..rng.u64(..=slots) {
                    apply(&mut chat, Some(&mut snapshot), &mut rng);
                }
            }
            assert!(copy == before, "seed {seed}");
        }
        assert!(
            parts_seen > 500 && swept > 5 && returned > 10_000,
            "{parts_seen} {swept} {returned}"
        );
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        let mut chat = Chat::default();
        let part = |chat: &Chat| chat.take_part(&mut chat.snapshot(Slot(9)), 9).0;
        assert_eq!(chat.apply(Slot(0), (&value(1, 0, 0)).into()), Some(0));
        let one = part(&chat);
        assert_eq!(chat.apply(Slot(1), (&value(1, 1, 0)).into()), Some(1));
        let two = part(&chat);
        let mut copy = Chat::default();
        assert!(copy.take_in(&one) && copy.take_in(&one), "the same twice");
        assert!(!copy.take_in(&two));
    }

    /// Rule E2 with a map entry for each session, and nothing kept together.
    #[derive(Default)]
    struct Told {
        sessions: BTreeMap<Session, SessionState>,
        lines: BTreeMap<ClientId, u64>,
        newest: BTreeMap<ClientId, Slot>,
    }

    #[test]
    fn clients_with_one_session_and_with_many_are_judged_as_if_each_session_were_kept_alone() {
        let (window, mut rng) = (40, fastrand::Rng::with_seed(7));
        let (mut chat, mut told) = (Chat::with_session_window(window), Told::default());
        let (mut applied, mut came_back, mut too_early) = (0, 0, 0);
        for slot in (0..100_000).map(Slot) {
            let client = ClientId(rng.u64(..4));
            let session = Session { client, id: rng.u64(..1 + client.0 + slot.0 / 400 % 4) };
            let held = told.sessions.get(&session).copied();
            let next = held.map_or(0, |session| session.next);
            let seq = [0, next, next, next + 1, next.saturating_sub(1)][rng.usize(..5)];
            let birth = Slot(slot.0.saturating_sub(rng.u64(..2 * window)));
            let command = Command { session, seq, birth, line: Line::from("x") };
            let expected = judge(held, (&command).into(), slot, window);
            let has_line = told.newest.get(&client).is_some_and(|newest| *newest >= birth);
            let is_late = slot.since(birth) > window && !has_line;
            match chat.status((&command).into(), slot) {
                Status::BornTooEarly => {
                    assert!(is_late && expected == Status::Expired, "slot {slot}");
                    too_early += 1;
                }
                status => {
                    assert_eq!(status, expected, "slot {slot}");
                    assert!(!is_late || held.is_some(), "slot {slot}");
                }
            }
            let client_seq = chat.apply(slot, (&Value::Command(command)).into());
            assert_eq!(client_seq.is_some(), expected == Status::Next, "slot {slot}");
            if let Some(client_seq) = client_seq {
                let lines = told.lines.entry(client).or_default();
                assert_eq!(client_seq, *lines, "slot {slot}");
                *lines += 1;
                told.newest.insert(client, slot);
                came_back +=
                    u64::from(held.is_some_and(|held| held.last_client_seq + 1 < *lines - 1));
                applied += 1;
                let now =
                    SessionState { next: seq + 1, last_slot: slot, last_client_seq: client_seq };
                told.sessions.insert(session, now);
            }
        }
        assert!(too_early > 0, "none was born too early");
        assert!(applied > 10_000 && came_back > 1_000, "{applied} applied, {came_back} came back");
        assert_eq!(copied(&chat, 1_000), (chat, 1));
    }
}

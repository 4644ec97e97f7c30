//! A machine of the user, and the answers that it has given.
//!
//! The log knows of each session which command was its last, and in which slot that took effect
//! ([`super::sessions`]). So answers are kept by slot: the one to a session's last command is that of
//! its slot. A session that goes on needs the one before no more, since its client has it. Answers
//! of sessions that have expired go when sessions are swept, and the oldest go where all together
//! would take more than [`RESPONSES_BYTES_MAX`]. What goes depends on decided slots alone, so it is
//! the same at all replicas. An empty answer takes no room at all.
//!
//! **In a checkpoint** the machine and the answers are one *image*: its length, what is kept of the
//! answers, and the machine's own snapshot. It is made when the checkpoint begins, of the state
//! at its slot, and travels in pieces.

use crate::machine::{
    BadSnapshot, Host, RESPONSE_BYTES_MAX, RESPONSE_COST, RESPONSES_BYTES_MAX, Response,
    StateMachine, bytes_of,
};
use crate::types::Slot;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

/// How many bytes of an image say how long the rest is.
const LENGTH: usize = size_of::<u64>();

/// A machine of the user, in the state after the applied slots.
pub(super) struct Hosted {
    host: Host,
    machine: Box<dyn StateMachine>,
    answers: Answers,
    /// What has come of an image that is taken in.
    image: Vec<u8>,
}

/// Answers by the slots of their commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Answers {
    by_slot: BTreeMap<Slot, Response>,
    /// What they take.
    bytes: usize,
    /// Answers below this are not known any more.
    forgotten: Slot,
}

impl Answers {
    fn insert(&mut self, slot: Slot, response: Response) {
        if response.is_empty() {
            return;
        }
        self.bytes += cost(&response);
        self.by_slot.insert(slot, response);
        while self.bytes > RESPONSES_BYTES_MAX
            && let Some((oldest, response)) = self.by_slot.pop_first()
        {
            self.bytes -= cost(&response);
            self.forgotten = oldest.next();
        }
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(response) = self.by_slot.remove(&slot) {
            self.bytes -= cost(&response);
        }
    }
}

fn cost(response: &Response) -> usize {
    RESPONSE_COST + response.len()
}

impl Hosted {
    /// A machine in its first state, if the host has one.
    pub(super) fn new(host: &Host) -> Option<Box<Hosted>> {
        let machine = host.make()?;
        let (host, answers, image) = (host.clone(), Answers::default(), Vec::new());
        Some(Box::new(Hosted { host, machine, answers, image }))
    }

    /// A command takes effect in `slot`. `last` is the slot of the session's command before.
    pub(super) fn apply(&mut self, slot: Slot, last: Option<Slot>, line: &[u8]) {
        let response = self.machine.apply(&bytes_of(line));
        let bytes = response.len();
        assert!(
            bytes <= RESPONSE_BYTES_MAX,
            "the state machine answers {bytes} bytes in slot {slot}, and {RESPONSE_BYTES_MAX} is \
             the most: answer in parts"
        );
        last.into_iter().for_each(|last| self.answers.remove(last));
        self.answers.insert(slot, response);
    }

    /// The answer to the command that took effect in `slot` and was its session's last. None if
    /// it is not known any more.
    pub(super) fn response(&self, slot: Slot) -> Option<Response> {
        match self.answers.by_slot.get(&slot) {
            Some(response) => Some(response.clone()),
            None if slot < self.answers.forgotten => None,
            None => Some(Response::EMPTY),
        }
    }

    /// Sessions whose last command lies below this have expired.
    pub(super) fn sweep(&mut self, below: Slot) {
        while let Some(oldest) = self.answers.by_slot.first_entry()
            && *oldest.key() < below
        {
            self.answers.bytes -= cost(&oldest.remove());
        }
    }

    /// The machine's state.
    pub(super) fn snapshot(&self) -> Vec<u8> {
        self.machine.snapshot()
    }

    /// The machine and the answers.
    pub(super) fn image(&self) -> Vec<u8> {
        let Answers { by_slot, forgotten, .. } = &self.answers;
        let answers = postcard::to_stdvec(&(forgotten, by_slot)).expect("answers can be encoded");
        let snapshot = self.machine.snapshot();
        let length = (LENGTH + answers.len() + snapshot.len()) as u64;
        let answers_end = (answers.len() as u64).to_le_bytes();
        [&length.to_le_bytes(), &answers_end, &answers[..], &snapshot[..]].concat()
    }

    /// Takes in the next piece of an image. False if it is none.
    pub(super) fn take_in(&mut self, piece: &[u8]) -> bool {
        self.image.extend_from_slice(piece);
        let Some((length, rest)) = self.image.split_first_chunk::<LENGTH>() else { return true };
        let length = u64::from_le_bytes(*length);
        if (rest.len() as u64) < length {
            return true;
        }
        let image = std::mem::take(&mut self.image);
        let rest = &image[LENGTH..];
        let read = if rest.len() as u64 == length { self.read(rest) } else { None };
        match read {
            Some(Ok(())) => true,
            Some(Err(refused)) => {
                log::error!("{refused}: start a build that can");
                false
            }
            None => false,
        }
    }

    /// Takes over an image without its length; none if it is not one.
    fn read(&mut self, image: &[u8]) -> Option<Result<(), BadSnapshot>> {
        let (answers_end, rest) = image.split_first_chunk::<LENGTH>()?;
        let answers_end = usize::try_from(u64::from_le_bytes(*answers_end)).ok()?;
        let (answers, snapshot) = rest.split_at_checked(answers_end)?;
        let (forgotten, by_slot): (Slot, BTreeMap<Slot, Response>) =
            postcard::from_bytes(answers).ok()?;
        let bytes = by_slot.values().map(cost).sum();
        self.answers = Answers { by_slot, bytes, forgotten };
        Some(self.machine.restore(snapshot))
    }

    /// Whether no part of an image is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.image.is_empty()
    }
}

/// Another machine in the same state: a new one that is given the snapshot.
impl Clone for Hosted {
    fn clone(&self) -> Hosted {
        let host = self.host.clone();
        let mut machine = host.make().expect("this one was made in the same way");
        let restored = machine.restore(&self.machine.snapshot());
        restored.expect("a machine reads its own snapshot");
        Hosted { host, machine, answers: self.answers.clone(), image: self.image.clone() }
    }
}

impl PartialEq for Hosted {
    fn eq(&self, other: &Hosted) -> bool {
        self.answers == other.answers
            && self.image == other.image
            && self.machine.snapshot() == other.machine.snapshot()
    }
}

impl Eq for Hosted {}

impl Hash for Hosted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.answers, &self.image, self.machine.snapshot()).hash(state);
    }
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").field("answers", &self.answers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Chat, SESSION_WINDOW_SLOTS, SWEEP_SLOTS, Status};
    use super::*;
    use crate::message::Request;
    use crate::types::{Command, Value};
    use crate::values::ValueRef;

    /// Keeps the bytes of all commands, and answers each with how many there are.
    #[derive(Default)]
    struct Scroll(Vec<u8>);

    impl StateMachine for Scroll {
        fn apply(&mut self, command: &[u8]) -> Response {
            self.0.extend_from_slice(command);
            match command {
                b"quiet" => Response::EMPTY,
                _ => self.0.len().to_string().into(),
            }
        }

        fn snapshot(&self) -> Vec<u8> {
            self.0.clone()
        }

        fn restore(&mut self, snapshot: &[u8]) -> Result<(), BadSnapshot> {
            if snapshot.starts_with(b"bad") {
                return Err(BadSnapshot::new("it begins with bad"));
            }
            self.0 = snapshot.to_vec();
            Ok(())
        }
    }

    fn scroll() -> Host {
        Host::of(Scroll::default)
    }

    /// Applies a command of a session of its own number, and returns the answer to it.
    fn apply(chat: &mut Chat, slot: u64, session: u64, seq: u64, line: &str) -> Option<Response> {
        let command = Request::new(session, session, seq, line).command();
        let value = Value::Command(Command { birth: Slot(slot), ..command });
        let client_seq = chat.apply(Slot(slot), (&value).into());
        assert!(client_seq.is_some(), "slot {slot} takes effect");
        chat.applied(Slot(slot + 1)).response(Slot(slot))
    }

    fn answer(text: &str) -> Option<Response> {
        Some(text.into())
    }

    #[test]
    fn a_command_that_is_asked_again_has_the_answer_of_its_one_application() {
        let mut chat = Chat::hosting(&scroll());
        assert_eq!(apply(&mut chat, 0, 1, 0, "one"), answer("3"));
        assert_eq!(apply(&mut chat, 1, 2, 0, "three"), answer("8"));
        let again = Request::new(1, 1, 0, "one");
        let again = again.commands.get(0);
        assert_eq!(chat.apply(Slot(2), again), None, "it changes nothing");
        let ValueRef::Command(command) = again else { unreachable!("it was put there") };
        let status = chat.status(command, Slot(3));
        assert_eq!(status, Status::Complete { slot: Slot(0), client_seq: 0 });
        assert_eq!(chat.applied(Slot(3)).response(Slot(0)), answer("3"));
        assert_eq!(apply(&mut chat, 3, 2, 1, "quiet"), answer(""), "answers may be empty");
        assert_eq!(chat.machine().as_deref(), Some(&b"onethreequiet"[..]));
    }

    #[test]
    fn a_machine_gets_the_bytes_of_its_commands() {
        let mut chat = Chat::hosting(&scroll());
        let line = crate::machine::line_of(&[0, 0x80, 0xFF, b'x']).expect("short");
        apply(&mut chat, 0, 1, 0, &line);
        assert_eq!(chat.machine(), Some(vec![0, 0x80, 0xFF, b'x']));
    }

    #[test]
    fn the_answer_before_goes_when_its_session_goes_on() {
        let mut chat = Chat::hosting(&scroll());
        for seq in 0..1_000 {
            apply(&mut chat, seq, 1, seq, "x");
        }
        let hosted = chat.hosted.as_ref().expect("it has a machine");
        assert_eq!((hosted.answers.by_slot.len(), hosted.answers.bytes), (1, RESPONSE_COST + 4));
    }

    #[test]
    fn the_oldest_answers_are_forgotten_first_and_that_is_said() {
        let mut answers = Answers::default();
        let long: Response = [1; RESPONSE_BYTES_MAX].as_slice().into();
        let most = RESPONSES_BYTES_MAX / cost(&long);
        for slot in 0..=most as u64 {
            answers.insert(Slot(slot), long.clone());
        }
        assert!(answers.bytes <= RESPONSES_BYTES_MAX && answers.by_slot.len() == most);
        let mut hosted = *Hosted::new(&scroll()).expect("a machine");
        hosted.answers = answers;
        assert_eq!(hosted.response(Slot(0)), None);
        assert_eq!(hosted.response(Slot(1)), Some(long));
    }

    #[test]
    fn answers_of_expired_sessions_go_when_sessions_are_swept() {
        let mut chat = Chat::with_session_window(10).and_hosting(&scroll());
        apply(&mut chat, SWEEP_SLOTS - 11, 1, 0, "gone");
        apply(&mut chat, SWEEP_SLOTS - 10, 2, 0, "alive");
        chat.apply(Slot(SWEEP_SLOTS), ValueRef::Noop);
        let hosted = chat.hosted.as_ref().expect("it has a machine");
        assert!(hosted.answers.by_slot.keys().eq([&Slot(SWEEP_SLOTS - 10)]));
    }

    #[test]
    fn a_snapshot_brings_back_machine_and_answers_whatever_is_applied_between_its_parts() {
        let (host, mut parts_seen) = (scroll(), 0);
        for seed in 0..20 {
            let mut rng = seeds::stream(seed, "hosted");
            let mut chat = Chat::with_session_window(SESSION_WINDOW_SLOTS).and_hosting(&host);
            let mut next = [0; 5];
            let mut slot = 0;
            let mut apply_some = |chat: &mut Chat, snapshot: Option<&mut _>, rng: &mut _| {
                let session = fastrand::Rng::usize(rng, ..5);
                let long = "x".repeat(fastrand::Rng::usize(rng, ..200_000) / 4);
                let request = Request::new(session as u64, 1, next[session], &long);
                let commands = request.commands;
                chat.apply_all(Slot(slot), &commands, snapshot, |_, _, _, _| {});
                next[session] += 1;
                slot += 1;
                Slot(slot)
            };
            let mut end = Slot(0);
            for _ in 0..10 {
                end = apply_some(&mut chat, None, &mut rng);
            }
            let (before, mut copy) = (chat.clone(), Chat::hosting(&host));
            let mut snapshot = chat.snapshot(end);
            loop {
                let (part, is_last) = chat.take_part(&mut snapshot, 3);
                assert!(copy.take_in(&part), "seed {seed}");
                parts_seen += 1;
                if is_last {
                    assert!(copy.is_whole(), "seed {seed}");
                    break;
                }
                apply_some(&mut chat, Some(&mut snapshot), &mut rng);
            }
            assert!(copy == before && copy != chat, "seed {seed}");
        }
        assert!(parts_seen > 60, "{parts_seen} parts");
    }

    #[test]
    fn a_snapshot_that_the_machine_refuses_or_that_is_none_is_not_taken_in() {
        let mut chat = Chat::hosting(&scroll());
        apply(&mut chat, 0, 1, 0, "bad");
        let (part, is_last) = chat.take_part(&mut chat.snapshot(Slot(1)), 9);
        assert!(is_last && !Chat::hosting(&scroll()).take_in(&part), "refused");
        assert!(!Chat::default().take_in(&part), "the chat has no machine");
        for image in [vec![0; 16], vec![9; 24], vec![8, 0, 0, 0, 0, 0, 0, 0, 1]] {
            let mut hosted = *Hosted::new(&scroll()).expect("a machine");
            let taken = hosted.take_in(&image);
            assert!(!taken || !hosted.is_whole(), "{image:?}");
        }
    }

    #[test]
    #[should_panic(expected = "answer in parts")]
    fn an_answer_that_is_too_long_is_a_panic() {
        struct Loud;
        impl StateMachine for Loud {
            fn apply(&mut self, _command: &[u8]) -> Response {
                vec![1; RESPONSE_BYTES_MAX + 1].into()
            }
            fn snapshot(&self) -> Vec<u8> {
                Vec::new()
            }
            fn restore(&mut self, _snapshot: &[u8]) -> Result<(), BadSnapshot> {
                Ok(())
            }
        }
        apply(&mut Chat::hosting(&Host::of(|| Loud)), 0, 1, 0, "x");
    }
}

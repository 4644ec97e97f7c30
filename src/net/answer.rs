//! The form in which an answer travels.
//!
//! Postcard writes a number in as few bytes as the number needs, a byte at a time, and reads
//! it likewise. A burst answers hundreds of lines, each with five numbers, and clients wait
//! while the leader encodes them. So a completion's numbers have a fixed length each, little
//! endian, as in the lists of `values`:
//!
//! ```text
//! client 8  session 8  seq 8  slot 8  client's seq 8
//! ```
//!
//! With the kind and the length that takes 42 bytes where postcard takes about 21, but a
//! quarter of the time to encode and half the time to decode. All other answers are rare. What a
//! state machine has answered stands behind them; the empty answer, which is the chat's, takes
//! nothing.

use crate::machine::{RESPONSE_BYTES_MAX, Response};
use crate::members::Moved;
use crate::message::{Answer, Excerpt, MembersAnswer, Responded, Status, Usage, Voters};
use crate::types::{Attempt, Ballot, ClientId, Session, Slot};
use serde::{Deserialize, Serialize, Serializer};
use serde_bytes::ByteArray;

/// An [`Answer`] as it travels.
#[derive(Serialize, Deserialize)]
pub(super) enum AnswerOnWire {
    Welcome {
        applied: Slot,
        ballot: Ballot,
    },
    /// By the first attempt, as mostly.
    Complete(Completion),
    Expired {
        session: Session,
        seq: u64,
    },
    Leader {
        ballot: Ballot,
    },
    BornTooEarly {
        session: Session,
        seq: u64,
    },
    Held {
        session: Session,
        seq: u64,
        ballot: Ballot,
    },
    CompleteBy(Attempt, Completion),
    Status(Box<Status>),
    Usage(Box<Usage>),
    Log(Box<Excerpt>),
    /// With the answer of a state machine.
    CompleteWith(Attempt, Completion, #[serde(with = "serde_bytes")] Vec<u8>),
    /// The answer of the state machine is not known any more.
    CompleteWithout(Attempt, Completion),
    Mark {
        read: u64,
        mark: Slot,
        by: Voters,
    },
    Members(Box<MembersAnswer>),
    Moved {
        configuration: u16,
        moved: Moved,
    },
}

/// How many numbers a completion has.
const NUMBERS: usize = 5;

/// How many bytes each number takes.
const NUMBER: usize = size_of::<u64>();

/// The numbers of a completion, encoded.
#[derive(Serialize, Deserialize)]
pub(super) struct Completion(ByteArray<{ NUMBERS * NUMBER }>);

impl Completion {
    fn of(numbers: [u64; NUMBERS]) -> Completion {
        let mut bytes = ByteArray::default();
        for (place, number) in bytes.chunks_exact_mut(NUMBER).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        Completion(bytes)
    }

    fn number(&self, index: usize) -> u64 {
        let bytes = self.0[NUMBER * index..].first_chunk().expect("a completion has this number");
        u64::from_le_bytes(*bytes)
    }

    fn answer(&self, attempt: Attempt, response: Option<Response>) -> Result<Answer, &'static str> {
        let [client, id, seq, slot, client_seq] = std::array::from_fn(|index| self.number(index));
        let session = Session { client: ClientId(client), id };
        let slot = Slot::try_from(slot)?;
        Ok(Responded { session, seq, slot, client_seq, attempt, response }.into())
    }
}

/// The form in which the codec writes `answer`.
pub fn on_wire(answer: &Answer) -> impl Serialize {
    OnWire(answer)
}

/// An answer that is written as its [`AnswerOnWire`].
struct OnWire<'a>(&'a Answer);

impl Serialize for OnWire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let on_wire = match *self.0 {
            Answer::Welcome { applied, ballot } => AnswerOnWire::Welcome { applied, ballot },
            Answer::Complete { .. } | Answer::Responded(_) => {
                let completion = self.0.completion().expect("it is one");
                let Responded { session, seq, slot, client_seq, attempt, response } = completion;
                let Session { client, id } = session;
                let numbers = [client.0, id, seq, slot.0, client_seq];
                let completion = Completion::of(numbers);
                match (response, attempt) {
                    (None, attempt) => AnswerOnWire::CompleteWithout(attempt, completion),
                    (Some(response), attempt) if !response.is_empty() => {
                        AnswerOnWire::CompleteWith(attempt, completion, response.to_vec())
                    }
                    (Some(_), Attempt::FIRST) => AnswerOnWire::Complete(completion),
                    (Some(_), other) => AnswerOnWire::CompleteBy(other, completion),
                }
            }
            Answer::Expired { session, seq } => AnswerOnWire::Expired { session, seq },
            Answer::Leader { ballot } => AnswerOnWire::Leader { ballot },
            Answer::BornTooEarly { session, seq } => AnswerOnWire::BornTooEarly { session, seq },
            Answer::Held { session, seq, ballot } => AnswerOnWire::Held { session, seq, ballot },
            Answer::Status(ref status) => AnswerOnWire::Status(status.clone()),
            Answer::Usage(ref usage) => AnswerOnWire::Usage(usage.clone()),
            Answer::Log(ref excerpt) => AnswerOnWire::Log(excerpt.clone()),
            Answer::Mark { read, mark, by } => AnswerOnWire::Mark { read, mark, by },
            Answer::Members(ref members) => AnswerOnWire::Members(members.clone()),
            Answer::Moved { configuration, moved } => AnswerOnWire::Moved { configuration, moved },
        };
        on_wire.serialize(serializer)
    }
}

impl TryFrom<AnswerOnWire> for Answer {
    type Error = &'static str;

    fn try_from(on_wire: AnswerOnWire) -> Result<Answer, Self::Error> {
        Ok(match on_wire {
            AnswerOnWire::Welcome { applied, ballot } => Answer::Welcome { applied, ballot },
            AnswerOnWire::Complete(completion) => {
                completion.answer(Attempt::FIRST, Some(Response::EMPTY))?
            }
            AnswerOnWire::CompleteBy(attempt, completion) => {
                completion.answer(attempt, Some(Response::EMPTY))?
            }
            AnswerOnWire::CompleteWith(attempt, completion, response) => {
                if response.len() > RESPONSE_BYTES_MAX {
                    return Err("a longer response than any state machine gives");
                }
                completion.answer(attempt, Some(response.into()))?
            }
            AnswerOnWire::CompleteWithout(attempt, completion) => {
                completion.answer(attempt, None)?
            }
            AnswerOnWire::Status(status) => Answer::Status(status),
            AnswerOnWire::Log(excerpt) => Answer::Log(excerpt),
            AnswerOnWire::Mark { read, mark, by } => Answer::Mark { read, mark, by },
            AnswerOnWire::Members(members) => Answer::Members(members),
            AnswerOnWire::Moved { configuration, moved } => Answer::Moved { configuration, moved },
            AnswerOnWire::Usage(usage) if usage.is_well_formed() => Answer::Usage(usage),
            AnswerOnWire::Usage(_) => return Err("a cause of drops is no name"),
            AnswerOnWire::Expired { session, seq } => Answer::Expired { session, seq },
            AnswerOnWire::Leader { ballot } => Answer::Leader { ballot },
            AnswerOnWire::BornTooEarly { session, seq } => Answer::BornTooEarly { session, seq },
            AnswerOnWire::Held { session, seq, ballot } => Answer::Held { session, seq, ballot },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NUMBER_MAX;

    fn complete(slot: u64) -> Answer {
        let session = Session { client: ClientId(u64::MAX), id: 1 << 63 };
        let attempt = Attempt::FIRST;
        Answer::Complete { session, seq: 3, slot: Slot(slot), client_seq: 4, attempt }
    }

    fn responding(response: Option<Response>) -> Answer {
        Responded { response, ..complete(9).completion().expect("it is one") }.into()
    }

    fn decoded(bytes: &[u8]) -> Option<Answer> {
        postcard::from_bytes::<AnswerOnWire>(bytes).ok()?.try_into().ok()
    }

    fn encoded(answer: &Answer) -> Vec<u8> {
        postcard::to_stdvec(&on_wire(answer)).expect("encodes")
    }

    #[test]
    fn a_completion_takes_as_much_whatever_its_numbers_are() {
        for slot in [0, 127, 128, NUMBER_MAX] {
            let bytes = encoded(&complete(slot));
            assert_eq!(bytes.len(), 2 + NUMBERS * NUMBER);
            assert_eq!(decoded(&bytes), Some(complete(slot)));
        }
    }

    #[test]
    fn a_completion_by_a_later_attempt_takes_a_byte_more() {
        for attempt in [Attempt::UNKNOWN, Attempt::after(1), Attempt::after(254)] {
            let Answer::Complete { session, seq, slot, client_seq, .. } = complete(9) else {
                unreachable!("that is what `complete` makes")
            };
            let later = Answer::Complete { session, seq, slot, client_seq, attempt };
            let bytes = encoded(&later);
            assert_eq!(bytes.len(), 3 + NUMBERS * NUMBER);
            assert_eq!(decoded(&bytes), Some(later));
        }
    }

    #[test]
    fn a_response_travels_behind_its_completion_and_one_that_is_forgotten_takes_a_byte() {
        for response in [&b"x"[..], &[0xFF; RESPONSE_BYTES_MAX]] {
            let answer = responding(Some(response.into()));
            assert_eq!(decoded(&encoded(&answer)), Some(answer));
        }
        let forgotten = encoded(&responding(None));
        assert_eq!(forgotten.len(), 3 + NUMBERS * NUMBER);
        assert_eq!(decoded(&forgotten), Some(responding(None)));
        let longer = responding(Some([0; RESPONSE_BYTES_MAX + 1].as_slice().into()));
        assert_eq!(decoded(&encoded(&longer)), None);
    }

    #[test]
    fn a_completion_of_another_length_is_refused() {
        let bytes = encoded(&complete(9));
        for length in [0, 1, 39, 41, 127] {
            let mut other = bytes.clone();
            other[1] = length;
            other.resize(2 + usize::from(length), 0);
            assert!(decoded(&other).is_none(), "{length} bytes");
        }
    }

    #[test]
    fn a_completion_in_a_slot_that_no_log_reaches_is_refused() {
        for (slot, good) in [(NUMBER_MAX, true), (NUMBER_MAX + 1, false), (u64::MAX, false)] {
            let bytes = encoded(&complete(slot));
            assert_eq!(decoded(&bytes).is_some(), good, "slot {slot}");
        }
    }
}

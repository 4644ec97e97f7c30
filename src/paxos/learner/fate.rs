//! What became of a command, and what its client is told. (E2)

use crate::chat::{Applied, Status};
use crate::message::{Answer, Responded};
use crate::types::{Attempt, Slot};
use crate::values::CommandRef;

/// What became of a command, as far as this log says.
pub(super) enum Fate {
    /// That, and what its client is told; nothing, if it has seen the answer to a later command.
    Known(Option<Answer>),
    /// It may yet take effect. Whether it is its session's next.
    Open { is_next: bool },
}

pub(super) fn fate(command: CommandRef<'_>, after: Slot, log: Applied<'_>) -> Fate {
    let CommandRef { session, seq, .. } = command;
    match log.status(command) {
        // The client has lost the first answer (E2).
        Status::Complete { slot, client_seq } => {
            Fate::Known(Some(complete(command, slot, client_seq, Attempt::UNKNOWN, log)))
        }
        Status::Past => Fate::Known(None),
        Status::BornTooEarly => Fate::Known(Some(Answer::BornTooEarly { session, seq })),
        // This log has every slot that the client has seen, so the session is gone.
        Status::Expired if log.end >= after => Fate::Known(Some(Answer::Expired { session, seq })),
        Status::Expired | Status::Ahead => Fate::Open { is_next: false },
        Status::Next => Fate::Open { is_next: true },
    }
}

/// The command took effect in `slot`, and was its session's last: its answer is the one that it had
/// then (E3).
pub(super) fn complete(
    command: CommandRef<'_>,
    slot: Slot,
    client_seq: u64,
    attempt: Attempt,
    log: Applied<'_>,
) -> Answer {
    let CommandRef { session, seq, .. } = command;
    let response = log.response(slot);
    Responded { session, seq, slot, client_seq, attempt, response }.into()
}

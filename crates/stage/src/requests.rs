//! Requests made by hand: those of a script or of a person, without a client that waits.
//!
//! A request may name its session and its number. If it gives only its line, it is one that a
//! client could send.

use super::stage::Stage;
use super::targets::replica;
use super::words::{Done, Words, within};
use multipaxos::message::Request;
use multipaxos::types::{Command, LINE_BYTES_MAX, Line, ReplicaId, Slot};
use std::collections::BTreeMap;

/// Clients have smaller ids than this, because a client's port is computed from its id.
pub(crate) const CLIENT_MAX: u64 = 60_000;

/// The requests made by hand. They let a request that gives only its line be one that a
/// client could send.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The next sequence number in each session of each client.
    next_seq: BTreeMap<(u64, u64), u64>,
    /// The session and birth that each client uses for requests that name no session.
    open: BTreeMap<u64, (u64, Slot)>,
}

impl Asked {
    /// A session of `client` without a command in flight, its birth, and the slot below which the
    /// client has seen its lines complete. A client has one line in flight in a session: a client
    /// that does not want to wait opens another session.
    fn open_session(&mut self, stage: &mut Stage, client: u64, to: ReplicaId) -> (u64, Slot, Slot) {
        if let Some((session, birth)) = self.open.get(&client) {
            let next = self.next_seq.get(&(client, *session)).copied().unwrap_or(0);
            let completed = stage.completed(client, *session);
            if completed.lines >= next {
                return (*session, *birth, completed.below);
            }
        }
        let (session, birth) = (stage.new_session(client), stage.applied(to));
        self.open.insert(client, (session, birth));
        (session, birth, birth)
    }
}

/// The line that the command gives in quotes.
pub(crate) fn the_line(words: &Words) -> Result<Line, String> {
    let line = words.quoted.as_deref().ok_or("which line? It stands in quotes")?;
    match line.len() <= LINE_BYTES_MAX {
        true => Ok(line.into()),
        false => Err(format!("the line is longer than {LINE_BYTES_MAX} bytes")),
    }
}

/// `request "hi" client=2`: sends a request to a replica.
pub(crate) fn request(stage: &mut Stage, asked: &mut Asked, words: &Words) -> Done {
    words.only(0, true, &["client", "session", "seq", "to", "birth", "after"])?;
    let line = the_line(words)?;
    let client = within("client", words.number("client")?.unwrap_or(1), 0..=CLIENT_MAX)?;
    let to = replica(stage, words.number("to")?.unwrap_or(0))?;
    let (session, seq) = (words.number("session")?, words.number("seq")?);
    let (session, birth, after) = match (session, seq) {
        (None, None) => asked.open_session(stage, client, to),
        (session, _) => (session.unwrap_or(1), Slot::ZERO, Slot::ZERO),
    };
    let next = asked.next_seq.entry((client, session)).or_default();
    let seq = seq.unwrap_or(*next);
    let request = Request::new(client, session, seq, &line);
    let birth = words.number("birth")?.map_or(birth, Slot);
    let after = words.number("after")?.map_or(after, Slot);
    let request = Request::of(&Command { birth, ..request.command() }, after);
    *next = (*next).max(seq + 1);
    stage.request(to, request);
    Ok(())
}

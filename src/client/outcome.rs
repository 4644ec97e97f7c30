//! What a client is told, and what it tells its user.

use crate::machine::Response;
use crate::message::Answer;
use crate::types::{ClientId, Line, ReplicaId, Slot};
use serde::{Deserialize, Serialize};

/// What becomes of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is in the log.
    Complete {
        /// The client that submitted it.
        client: ClientId,
        /// Its number among the client's lines in the log, from 0.
        seq: u64,
        /// The slot that holds it.
        slot: Slot,
        /// From the submission to the first answer, in microseconds.
        took_us: u64,
        /// What the state machine answered. None if the replica that said so does not know it
        /// any more.
        response: Option<Response>,
    },
    /// Not complete yet; the client keeps trying.
    Waiting {
        /// The time since the submission, in microseconds.
        waited_us: u64,
        /// How many replicas have answered anything when they were asked just now.
        answering: usize,
    },
    /// The time that the user allows is over. Nobody knows whether the line is in the log.
    /// The client is finished.
    GaveUp {
        /// The line.
        line: Line,
    },
    /// Most replicas belong to another cluster now: the client's own was begun anew, or its
    /// addresses are another's. The client is finished.
    OtherCluster {
        /// The line.
        line: Line,
        /// A replica of the other cluster.
        from: ReplicaId,
        /// Whether the line may have been written by the former cluster.
        sent: bool,
    },
    /// The session has expired. Nobody knows whether the line is in the log. The client is
    /// finished.
    Expired {
        /// The line.
        line: Line,
    },
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// To write a line. No other line may be in flight.
    Submit {
        /// The line.
        line: Line,
        /// The id of a new session, in case the client must open one. From the operating
        /// system's entropy.
        session: u64,
    },
    /// No more lines will come.
    End,
    /// A replica answers.
    Answer(ReplicaId, Answer),
    /// A replica says that it belongs to another cluster than the client.
    OtherCluster(ReplicaId),
}

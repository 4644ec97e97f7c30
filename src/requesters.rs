//! Which client asked for which values of a run.
//!
//! A leader proposes what several clients ask for as one run of slots. The run's values
//! are one batch, so the clients are kept beside it: for each stretch of values that
//! came in one request, how many values there are and who asked. Both phase 2, which
//! hands unapplied requests to the next leader, and the learner, which answers, consume
//! a run from its front.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::types::{Address, Attempt, Slot};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The client that asked for a value: a request without its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asker {
    /// Where the client is to be answered.
    pub address: Address,
    /// Its [`Request::after`](crate::message::Request::after).
    pub after: Slot,
    /// Its [`Request::attempt`](crate::message::Request::attempt).
    pub attempt: Attempt,
}

/// Consecutive values that came in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The number of values. (Short, and beside the attempt: a leader holds one of these for each
    /// line of many clients.)
    count: u32,
    attempt: Attempt,
    /// The rest of what is known of who asked for them.
    asked: Option<(Address, Slot)>,
}

impl Origin {
    /// So many values. Nobody is known to have asked for values that an earlier leader proposed.
    pub fn new(count: usize, asked: Option<Asker>) -> Origin {
        let attempt = asked.map_or(Attempt::UNKNOWN, |asker| asker.attempt);
        let count = u32::try_from(count).expect("a run is bounded");
        Origin { count, attempt, asked: asked.map(|asker| (asker.address, asker.after)) }
    }

    /// The number of values.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The client that asked for them, if it is known.
    pub fn asked(&self) -> Option<Asker> {
        let (address, after) = self.asked?;
        Some(Asker { address, after, attempt: self.attempt })
    }
}

/// Who asked for the values of a run, in the order of the values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Requesters(VecDeque<Origin>);

impl Requesters {
    /// Nobody knows who asked for these `count` values.
    pub fn unknown(count: usize) -> Self {
        Requesters(VecDeque::from([Origin::new(count, None)]))
    }

    /// Another `count` values, asked for by `asked`.
    pub(crate) fn push(&mut self, count: usize, asked: Asker) {
        let new = Origin::new(count, Some(asked));
        match self.0.back_mut() {
            Some(last) if last.asked() == Some(asked) => last.count += new.count,
            _ => self.0.push_back(new),
        }
    }

    /// Takes away the first `count` values. Returns who asked for the last of these.
    pub(crate) fn take(&mut self, count: usize) -> Option<Asker> {
        let (mut asked, mut left) = (None, count as u32);
        while let Some(origin) = self.0.front_mut()
            && left > 0
        {
            let taken = left.min(origin.count);
            (origin.count, left) = (origin.count - taken, left - taken);
            asked = origin.asked();
            if origin.count == 0 {
                self.0.pop_front();
            }
        }
        asked
    }

    /// Keeps the first `count` values, and returns the others.
    #[must_use]
    pub(crate) fn split_at(&mut self, count: usize) -> Requesters {
        let mut rest = self.clone();
        rest.take(count);
        let mut left = count as u32;
        self.0.retain_mut(|origin| {
            origin.count = origin.count.min(left);
            left -= origin.count;
            origin.count > 0
        });
        rest
    }

    /// The stretches, in the order of the values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Origin> {
        self.0.iter()
    }
}

impl IntoIterator for Requesters {
    type Item = Origin;
    type IntoIter = std::collections::vec_deque::IntoIter<Origin>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<Origin> for Requesters {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Requesters(origins.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    fn asked(port: u16) -> Asker {
        let address = Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Asker { address, after: Slot(7), attempt: Attempt::FIRST }
    }

    /// Three values of client 1, two of client 2, one that nobody is known to have asked
    /// for.
    fn six() -> Requesters {
        let mut requesters = Requesters::default();
        for (count, port) in [(1, 1), (2, 1), (2, 2)] {
            requesters.push(count, asked(port));
        }
        requesters.into_iter().chain(Requesters::unknown(1)).collect()
    }

    /// Who asked, value by value.
    fn each(requesters: &Requesters) -> Vec<Option<u16>> {
        let port = |origin: &Origin| origin.asked().map(|asker| asker.address.0.port());
        requesters.iter().flat_map(|origin| vec![port(origin); origin.count()]).collect()
    }

    const PORTS: [Option<u16>; 6] = [Some(1), Some(1), Some(1), Some(2), Some(2), None];

    #[test]
    fn values_of_one_client_in_a_row_are_one_stretch() {
        assert_eq!(six().iter().map(Origin::count).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(each(&six()), PORTS);
    }

    #[test]
    fn taking_values_tells_who_asked_for_the_last_of_them() {
        for count in 0..=6 {
            let mut requesters = six();
            let last = requesters.take(count).map(|asker| asker.address.0.port());
            assert_eq!(last, count.checked_sub(1).and_then(|last| PORTS[last]), "{count} values");
            assert_eq!(each(&requesters), PORTS[count..], "{count} values");
        }
    }

    #[test]
    fn both_parts_of_a_split_know_who_asked_for_their_values() {
        for count in 0..=6 {
            let mut requesters = six();
            let rest = requesters.split_at(count);
            assert_eq!(
                (each(&requesters).as_slice(), each(&rest).as_slice()),
                PORTS.split_at(count)
            );
            assert!(requesters.iter().chain(rest.iter()).all(|origin| origin.count() > 0));
        }
    }
}

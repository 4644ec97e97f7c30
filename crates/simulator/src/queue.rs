//! The event queue in virtual time.
//!
//! Events at the same time happen in the order in which they were added, so that a
//! run depends on nothing but its seed.

use multipaxos::types::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events in the order of their time.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Key>>,
    /// The events. Each entry of the heap holds its event's index here; indices are reused.
    events: Vec<Option<E>>,
    free: Vec<u32>,
    added: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Time,
    order: u64,
    place: u32,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), added: 0 }
    }
}

impl<E> Queue<E> {
    /// Adds an event that happens at `at`.
    pub fn add(&mut self, at: Time, event: E) {
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place as usize] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                (self.events.len() - 1) as u32
            }
        };
        self.heap.push(Reverse(Key { at, order: self.added, place }));
        self.added += 1;
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        let Reverse(Key { at, place, .. }) = self.heap.pop()?;
        let event = self.events[place as usize].take();
        self.free.push(place);
        event.map(|event| (at, event))
    }

    /// The time of the next event.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(key)| key.at)
    }

    /// The number of events in the queue.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_in_which_they_were_added() {
        let mut queue = Queue::default();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            queue.add(Time(at), name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }
}

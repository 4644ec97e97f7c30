//! Datagrams to one destination that leave in one system call, and those that came in
//! one.
//!
//! The kernel takes many datagrams to one destination at once and splits them as late as
//! it can (GSO). In the other direction it hands over several datagrams from one sender in
//! one piece (GRO). Both ways it wants *segments*: all have one length, except that the last
//! may be shorter. So a [`Batch`] pads its frames to the longest of them, except for the last; a
//! frame alone is not padded.
//!
//! **Guarantees.** A batch holds no more than the kernel takes at once. Each of its frames
//! is whole and has a check of its own, so the receiver cannot tell whether they came in
//! one call.
//!
//! **Does not** draw losses: every frame has passed the gate before, with a draw of its own.

use crate::DATAGRAM_BYTES_MAX;
use crate::path::queue::BulkQueue;
use crate::path::receipt::Stamp;
use crate::path::shared::Traffic;

/// The most datagrams that the kernel takes at once.
const SEGMENTS_MAX: usize = 64;

/// The most bytes of them.
const BATCH_BYTES_MAX: usize = DATAGRAM_BYTES_MAX;

/// The most batches that one call of an outlet gathers at a time; datagrams to further
/// destinations leave one by one.
const BATCHES_MAX: usize = 8;

/// Datagrams to one destination or from one sender, one behind the other. All are as long as
/// the first, except that the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Segments<'a> {
    /// A datagram alone.
    #[cfg(test)]
    pub(crate) fn one(datagram: &'a [u8]) -> Self {
        Segments::cut(datagram, datagram.len())
    }

    /// Cut every `size` bytes; a size that makes no sense cuts nothing.
    pub fn cut(bytes: &'a [u8], size: usize) -> Self {
        let size = if (1..bytes.len()).contains(&size) { size } else { bytes.len() };
        Segments { bytes, size }
    }

    /// All of them.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of each but the last.
    pub fn size(self) -> usize {
        self.size
    }

    /// How many there are. Nothing at all is one empty datagram.
    pub fn count(self) -> usize {
        self.bytes.len().div_ceil(self.size.max(1)).max(1)
    }

    /// The datagram at `index`.
    pub fn get(self, index: usize) -> &'a [u8] {
        let first = index * self.size;
        &self.bytes[first..(first + self.size).min(self.bytes.len())]
    }

    /// The first `count` of them.
    pub fn first(self, count: usize) -> Self {
        Segments::cut(&self.bytes[..(count * self.size).min(self.bytes.len())], self.size)
    }

    /// Those from `index` on; there must be one.
    pub fn after(self, index: usize) -> Self {
        Segments::cut(&self.bytes[index * self.size..], self.size)
    }
}

/// Frames that are gathered for one destination.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// The bytes of the longest,
    longest: usize,
    /// and of the shortest.
    shortest: usize,
    /// A receiver that has come so far needs none of them.
    until: u64,
}

impl Batch {
    /// Whether another frame of this many bytes pads none by more than `most`, the last one
    /// aside.
    pub fn pads_little(&self, bytes: usize, most: usize) -> bool {
        self.is_empty() || self.longest.max(bytes) - self.shortest <= most
    }

    /// Adds a sealed frame; those to its destination have at most `most` bytes at present. Says
    /// whether another one fits.
    pub fn push(&mut self, frame: &[u8], most: usize) -> bool {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
        let is_first = self.ends.len() == 1;
        self.shortest = if is_first { frame.len() } else { self.shortest.min(frame.len()) };
        self.longest = self.longest.max(frame.len());
        // All are padded to the longest.
        let longest = self.longest.max(most);
        self.ends.len() < SEGMENTS_MAX && (self.ends.len() + 1) * longest <= BATCH_BYTES_MAX
    }

    /// Adds what waits in `queue`, as far as the path has room for it `now`, and stamps it.
    /// `together` says whether another datagram may leave in the same call.
    pub fn fill(
        &mut self,
        now: u64,
        queue: &mut BulkQueue,
        traffic: &mut Traffic,
        mut together: impl FnMut() -> bool,
        stamp: impl Fn(&mut [u8], Stamp),
    ) {
        let (mut size, mut more) = (usize::MAX, true);
        // All have the length of the first, but for a shorter last one: nothing is padded, so
        // that the stamps say how much leaves.
        while more
            && let Some(bytes) = queue.next_bytes()
            && (bytes <= size || self.is_empty())
            && traffic.flow.admits(now, bytes)
            && let Some((mut datagram, digest)) = queue.pop()
        {
            stamp(&mut datagram, traffic.stamp(now, bytes));
            queue.leaves(now, traffic.flow.sent(), digest);
            more =
                self.push(&datagram, bytes) && together() && (size == usize::MAX || bytes == size);
            size = bytes;
        }
    }

    /// A receiver needs one of its frames until it has come so far.
    pub fn keep_until(&mut self, until: u64) {
        self.until = self.until.max(until);
    }

    /// How far a receiver has come that needs none of its frames any more.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Whether it holds no frame.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets its frames.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        (self.longest, self.shortest) = (0, 0);
        self.until = 0;
    }

    /// Pads all frames but the last to the length of the longest, and returns them all, and
    /// that length. `pad` gets a padded frame and the bytes that it had before, and corrects
    /// its header. The caller clears the batch next.
    ///
    /// # Panics
    ///
    /// If it is empty.
    pub fn padded(&mut self, pad: impl Fn(&mut [u8], usize)) -> (&mut [u8], usize) {
        let range = |ends: &[usize], at: usize| match at {
            0 => 0..ends[0],
            _ => ends[at - 1]..ends[at],
        };
        let last = self.ends.len() - 1;
        let size = (0..=last).map(|at| range(&self.ends, at).len()).max().unwrap_or(0);
        self.bytes.resize(last * size + range(&self.ends, last).len(), 0);
        // From the back, so that no frame is overwritten before it has moved.
        for at in (0..=last).rev() {
            let from = range(&self.ends, at);
            let (to, sealed) = (at * size, from.len());
            if from.start != to {
                self.bytes.copy_within(from, to);
            }
            if at < last && sealed < size {
                let frame = &mut self.bytes[to..to + size];
                frame[sealed..].fill(0);
                pad(frame, sealed);
            }
        }
        (&mut self.bytes, size)
    }

    #[cfg(test)]
    fn segments(&mut self, pad: impl Fn(&mut [u8], usize)) -> Segments<'_> {
        let (bytes, size) = self.padded(pad);
        Segments::cut(bytes, size)
    }
}

/// The batches of one call of an outlet, by destination. Buffers are kept for the next.
#[derive(Debug)]
pub struct Batches<E> {
    /// The batches in use come first.
    batches: Vec<(E, Batch)>,
    used: usize,
}

impl<E> Default for Batches<E> {
    fn default() -> Self {
        Batches { batches: Vec::new(), used: 0 }
    }
}

impl<E: Copy + PartialEq> Batches<E> {
    /// The batch for `to` if one has been begun.
    pub fn begun(&mut self, to: E) -> Option<&mut Batch> {
        self.batches[..self.used].iter_mut().find(|(of, _)| *of == to).map(|(_, batch)| batch)
    }

    /// The batch for `to`, begun now if there is room.
    pub fn begin(&mut self, to: E) -> Option<&mut Batch> {
        let known = self.batches[..self.used].iter().position(|(of, _)| *of == to);
        let at = match known {
            Some(at) => at,
            None if self.used == BATCHES_MAX => return None,
            None => {
                if self.used == self.batches.len() {
                    self.batches.push((to, Batch::default()));
                }
                self.batches[self.used].0 = to;
                self.used += 1;
                self.used - 1
            }
        };
        Some(&mut self.batches[at].1)
    }

    /// Hands over all gathered datagrams: their bytes, the length of each but the last, and until
    /// when a receiver needs one of them. No batch is begun afterwards.
    pub fn finish(
        &mut self,
        pad: impl Fn(&mut [u8], usize),
        mut send: impl FnMut(E, &mut [u8], usize, u64),
    ) {
        for (to, batch) in &mut self.batches[..self.used] {
            if !batch.is_empty() {
                let until = batch.until();
                let (bytes, size) = batch.padded(&pad);
                send(*to, bytes, size, until);
                batch.clear();
            }
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{self, pad};
    use crate::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MIN};

    /// A datagram with this many messages.
    fn framed(messages: usize) -> Vec<u8> {
        toy::datagram(&vec![(7, 0); messages])
    }

    fn all(segments: Segments<'_>) -> Vec<Vec<u8>> {
        (0..segments.count()).map(|at| segments.get(at).to_vec()).collect()
    }

    /// How many messages each datagram of `segments` holds.
    fn opened(segments: Segments<'_>) -> Vec<usize> {
        all(segments).iter().map(|datagram| toy::messages(datagram).len()).collect()
    }

    #[test]
    fn what_came_in_one_piece_is_cut_at_its_stride_and_the_last_may_be_short() {
        let bytes: Vec<u8> = (0..10).collect();
        let cut = |stride| all(Segments::cut(&bytes, stride));
        assert_eq!(cut(4), [&bytes[..4], &bytes[4..8], &bytes[8..]]);
        assert_eq!(cut(5), [&bytes[..5], &bytes[5..]]);
        assert_eq!(cut(1).len(), 10);
        assert_eq!(all(Segments::cut(&bytes, 4).after(1)), [&bytes[4..8], &bytes[8..]]);
        assert_eq!(all(Segments::cut(&bytes, 4).after(2)), [&bytes[8..]]);
    }

    #[test]
    fn a_stride_that_makes_no_sense_cuts_nothing() {
        let bytes = [7; 10];
        for stride in [0, 10, 11, 65_536, usize::MAX] {
            assert_eq!(all(Segments::cut(&bytes, stride)), [bytes]);
            assert_eq!(all(Segments::cut(&[], stride)), [[0; 0]], "an empty datagram is one");
        }
    }

    #[test]
    fn what_the_kernel_is_given_is_all_bytes_and_the_size_of_each_datagram() {
        let bytes: Vec<u8> = (0..10).collect();
        for (segments, size, count) in
            [(Segments::one(&bytes), 10, 1), (Segments::cut(&bytes, 4), 4, 3)]
        {
            assert_eq!((segments.bytes(), segments.size()), (&bytes[..], size));
            assert_eq!(segments.count(), count);
        }
    }

    #[test]
    fn a_frame_alone_is_not_padded() {
        let mut batch = Batch::default();
        assert!(batch.push(&framed(3), DATAGRAM_BYTES_DEFAULT));
        assert_eq!(all(batch.segments(pad)), [framed(3)]);
    }

    #[test]
    fn frames_are_padded_to_the_longest_but_for_the_last() {
        for counts in [[5, 9, 2], [9, 1, 4], [1, 2, 3], [3, 1, 3], [4, 4, 4]] {
            let mut batch = Batch::default();
            for count in counts {
                batch.push(&framed(count), DATAGRAM_BYTES_DEFAULT);
            }
            let longest = framed(counts.into_iter().max().expect("some")).len();
            let segments = batch.segments(pad);
            let lengths: Vec<usize> = all(segments).iter().map(Vec::len).collect();
            assert_eq!(lengths, [longest, longest, framed(counts[2]).len()]);
            assert_eq!(opened(segments), counts);
        }
    }

    #[test]
    fn a_batch_knows_what_another_frame_would_pad() {
        let mut batch = Batch::default();
        let (short, long) = (framed(1), framed(30));
        let most = long.len() - short.len();
        assert!(batch.pads_little(long.len(), 0), "nothing is there to be padded");
        batch.push(&long, DATAGRAM_BYTES_DEFAULT);
        assert!(batch.pads_little(short.len(), 0), "the last one is not padded");
        batch.push(&short, DATAGRAM_BYTES_DEFAULT);
        assert!(!batch.pads_little(short.len(), most - 1), "now it would be");
        assert!(batch.pads_little(short.len(), most));
        batch.clear();
        batch.push(&short, DATAGRAM_BYTES_DEFAULT);
        assert!(!batch.pads_little(long.len(), most - 1));
        assert!(batch.pads_little(long.len(), most));
    }

    #[test]
    fn a_batch_is_full_at_what_the_kernel_takes_at_once() {
        for (datagram_max, most) in
            [(DATAGRAM_BYTES_MIN, 64), (DATAGRAM_BYTES_DEFAULT, 46), (9_000, 7), (65_507, 1)]
        {
            let mut batch = Batch::default();
            let mut pushed = 1;
            while batch.push(&framed(1), datagram_max) {
                pushed += 1;
            }
            assert_eq!(pushed, most);
            assert_eq!(batch.segments(pad).count(), most);
        }
    }

    #[test]
    fn batches_are_kept_apart_by_destination_and_bounded_in_number() {
        let mut batches = Batches::default();
        for round in 0..3 {
            assert!(batches.begun(0).is_none());
            for _ in 0..2 {
                for id in 0..BATCHES_MAX as u8 {
                    let batch = batches.begin(id).expect("there is room");
                    batch.push(&framed(1 + usize::from(id)), DATAGRAM_BYTES_DEFAULT);
                }
            }
            assert!(batches.begin(200).is_none());
            batches.begun(1).expect("it was begun").clear();
            let mut handed = Vec::new();
            batches.finish(pad, |to, bytes, size, _| {
                handed.push((to, opened(Segments::cut(bytes, size))));
            });
            let expected: Vec<_> = (0..BATCHES_MAX)
                .filter(|&id| id != 1)
                .map(|id| (id as u8, vec![1 + id; 2]))
                .collect();
            assert_eq!(handed, expected, "round {round}");
        }
    }
}

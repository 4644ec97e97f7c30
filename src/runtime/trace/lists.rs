//! Long lists of bytes in a trace: each is written once, and named by its hash.
//!
//! Such lists are values: the same line is in a client's request, in what its leader proposes, in
//! what each acceptor records, in what a learner applies. The roles of a process share the memory of
//! it, and so they share here what was written ([`Written`]). Three names cost no bytes of the line:
//!
//! - the hash of a list that any role of this process has written, to the same file;
//! - a part of a list that the same record holds as a whole, as a leader cuts what it proposes to
//!   fit datagrams: the parts share its memory;
//! - a list that consists of others, as a leader puts together what it proposes from requests: it is
//!   defined by the hashes of these.
//!
//! **Does not** promise that every name can be resolved: what another role has written may be lost
//! with the end of a process that is killed, or with an old file.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// A list that is at least this long has a name. No number takes as many bytes.
pub const LIST_MIN: usize = 40;

/// How many lists a process knows again.
const WRITTEN: usize = 1 << 13;

/// How many lists of its own a role finds by their first bytes.
const HEADS: usize = 1 << 9;

/// Of so many parts a list may be put together.
const PARTS_MAX: usize = 1 << 10;

const LITERAL: u8 = 0;
const JOINED: u8 = 1;

/// The hashes of lists that the roles of a process have written lately.
#[derive(Debug)]
pub struct Written(Box<[AtomicU64]>);

impl Default for Written {
    fn default() -> Self {
        Written((0..WRITTEN).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Written {
    /// Notes that a list is written. Returns whether it was before.
    fn note(&self, hash: u64) -> bool {
        // Nothing else depends on the order: a reader reads all lists first.
        self.0[hash as usize % WRITTEN].swap(hash, Ordering::Relaxed) == hash
    }

    /// The next file is to have all lists anew.
    pub(super) fn forget(&self) {
        self.0.iter().for_each(|hash| hash.store(0, Ordering::Relaxed));
    }
}

/// A list of bytes: from `start` on, a part of the list with this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) hash: u64,
    pub(super) start: u32,
}

/// A list that stands in this block.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    hash: u64,
    start: u32,
    len: u32,
}

/// A list of the present record: where it is in memory, its length, and its hash.
#[derive(Debug, Clone, Copy)]
struct Present {
    place: usize,
    len: usize,
    hash: u64,
}

/// The lists of a block that is written.
#[derive(Debug)]
pub(super) struct Writing {
    bytes: Vec<u8>,
    written: Arc<Written>,
    /// What was written as it is, by its first bytes. What is out of date names other bytes, and is
    /// seen to.
    heads: Box<[Standing]>,
    present: Vec<Present>,
    parts: Vec<u64>,
}

impl Writing {
    pub(super) fn new(written: Arc<Written>) -> Writing {
        let heads = vec![Standing::default(); HEADS].into();
        let (bytes, present, parts) = (Vec::new(), Vec::new(), Vec::new());
        Writing { bytes, written, heads, present, parts }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes all of them, and leaves this memory, which is empty.
    pub(super) fn take(&mut self, memory: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.bytes, memory)
    }

    /// The lists of the record before may be gone from memory.
    pub(super) fn begin_record(&mut self) {
        self.present.clear();
    }

    /// The name of a list, which is written unless it is known.
    pub(super) fn name(&mut self, list: &[u8]) -> Name {
        let place = list.as_ptr().addr();
        let is_part = |whole: &&Present| {
            whole.place <= place && place + list.len() <= whole.place + whole.len
        };
        // Everything in one record is in memory at the same time.
        if let Some(whole) = self.present.iter().find(is_part) {
            return Name { hash: whole.hash, start: (place - whole.place) as u32 };
        }
        let hash = xxh3_64(list);
        self.present.push(Present { place, len: list.len(), hash });
        if !self.written.note(hash) && !self.join(list, hash) {
            self.write(list, hash);
        }
        Name { hash, start: 0 }
    }

    /// Writes a list as it is.
    fn write(&mut self, list: &[u8], hash: u64) {
        self.bytes.push(LITERAL);
        self.bytes.extend_from_slice(&(list.len() as u32).to_le_bytes());
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(list);
        self.heads[head_of(list)] = Standing { hash, start, len: list.len() as u32 };
    }

    /// Writes of which lists this one consists, if all of them stand in this block.
    fn join(&mut self, list: &[u8], hash: u64) -> bool {
        let Writing { bytes, heads, parts, .. } = self;
        parts.clear();
        let mut rest = list;
        while !rest.is_empty() {
            if rest.len() < LIST_MIN || parts.len() == PARTS_MAX {
                return false;
            }
            let Standing { hash, start, len } = heads[head_of(rest)];
            let stands = bytes.get(start as usize..(start + len) as usize);
            match stands.filter(|it| !it.is_empty() && rest.starts_with(it)) {
                Some(stands) => rest = &rest[stands.len()..],
                None => return false,
            }
            parts.push(hash);
        }
        bytes.push(JOINED);
        bytes.extend_from_slice(&hash.to_le_bytes());
        bytes.extend_from_slice(&(parts.len() as u32).to_le_bytes());
        parts.iter().for_each(|part| bytes.extend_from_slice(&part.to_le_bytes()));
        true
    }
}

fn head_of(list: &[u8]) -> usize {
    xxh3_64(&list[..LIST_MIN]) as usize % HEADS
}

/// The lists of a trace, by their hashes.
#[derive(Debug, Default)]
pub struct Lists(HashMap<u64, Vec<u8>>);

impl Lists {
    /// Adds the lists of a block. What is no list ends them: then its names cannot be resolved.
    pub fn add(&mut self, mut lists: &[u8]) {
        while self.add_first(&mut lists).is_some() {}
    }

    fn add_first(&mut self, rest: &mut &[u8]) -> Option<()> {
        match take(rest, 1)?[0] {
            LITERAL => {
                let len = u32::from_le_bytes(*take(rest, 4)?.first_chunk()?);
                let list = take(rest, len as usize)?;
                self.0.insert(xxh3_64(list), list.to_vec());
            }
            JOINED => {
                let hash = u64::from_le_bytes(*take(rest, 8)?.first_chunk()?);
                let count = u32::from_le_bytes(*take(rest, 4)?.first_chunk()?) as usize;
                let parts = take(rest, count.checked_mul(8)?)?.chunks_exact(8);
                let number = |part: &[u8]| part.first_chunk().map(|it| u64::from_le_bytes(*it));
                let whole: Option<Vec<u8>> = parts
                    .map(|part| self.0.get(&number(part)?).cloned())
                    .collect::<Option<Vec<_>>>()
                    .map(|parts| parts.concat());
                self.0.extend(whole.map(|whole| (hash, whole)));
            }
            _ => return None,
        }
        Some(())
    }

    /// The list with this hash.
    pub(super) fn get(&self, hash: u64) -> Option<&[u8]> {
        self.0.get(&hash).map(Vec::as_slice)
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(from: u8) -> Vec<u8> {
        (0..100).map(|at| from.wrapping_add(at)).collect()
    }

    /// What these names mean to a reader of the block.
    fn read(writing: &mut Writing, names: &[(Name, usize)]) -> Vec<Vec<u8>> {
        let mut lists = Lists::default();
        lists.add(&writing.take(Vec::new()));
        let mean = |(Name { hash, start }, len): &(Name, usize)| {
            let start = *start as usize;
            lists.get(*hash).expect("it is there")[start..start + len].to_vec()
        };
        names.iter().map(mean).collect()
    }

    #[test]
    fn a_list_that_is_known_or_consists_of_others_is_written_once() {
        let mut writing = Writing::new(Arc::default());
        let (one, other) = (list(1), list(7));
        let joined = [&one[..], &other, &one].concat();
        let names = [&one, &other].map(|list| (writing.name(list), list.len()));
        let before = writing.len();
        let again = [&one, &other].map(|list| writing.name(list));
        assert_eq!((again, writing.len()), (names.map(|name| name.0), before));
        writing.begin_record();
        let whole = (writing.name(&joined), joined.len());
        let part = (writing.name(&joined[50..120]), 70);
        assert!(writing.len() < before + 50, "{}", writing.len() - before);
        assert_eq!(part.0, Name { start: 50, ..whole.0 });
        let [first, second] = names;
        let all = read(&mut writing, &[first, second, whole, part]);
        assert_eq!(all, [one, other, joined.clone(), joined[50..120].to_vec()]);
    }

    #[test]
    fn what_looks_alike_is_written_whole() {
        let mut writing = Writing::new(Arc::default());
        let (one, mut other) = (list(1), list(1));
        other[90] = 0;
        let longer = [&one[..90], &other[90..], &one[..50]].concat();
        let all = [one, other, longer];
        let names = all.each_ref().map(|list| (writing.name(list), list.len()));
        assert_eq!(read(&mut writing, &names), all);
    }

    #[test]
    fn memory_that_is_used_again_names_nothing_of_the_record_before() {
        let mut writing = Writing::new(Arc::default());
        let mut memory = list(1);
        let before = (writing.name(&memory), 100);
        memory.copy_from_slice(&list(9));
        writing.begin_record();
        let after = (writing.name(&memory), 100);
        assert_eq!(read(&mut writing, &[before, after]), [list(1), list(9)]);
    }

    #[test]
    fn two_roles_write_a_list_once_until_the_next_file() {
        let written = Arc::new(Written::default());
        let [mut one, mut other] = [(); 2].map(|()| Writing::new(Arc::clone(&written)));
        assert_eq!(one.name(&list(1)), other.name(&list(1)));
        assert!(one.len() > 100 && other.len() == 0);
        written.forget();
        other.begin_record();
        other.name(&list(1));
        assert!(other.len() > 100);
    }
}

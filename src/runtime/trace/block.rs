//! The format of a trace: records of one role in blocks, and blocks in a file.
//!
//! ```text
//! block    magic 4 | stream 1 | number 4 | bytes behind the head 4 | CRC-32 4 |
//!          where its lists begin 4 | records | lists
//! record   kind 1 | microseconds since the record before, zigzag varint | what the kind has
//! list     0 | bytes 4 | these       or 1 | its hash 8 | parts 4 | the hash of each 8
//! ```
//!
//! Numbers are little-endian. Each role is a *stream* of blocks of its own, numbered from 0, so a
//! reader sees that one is missing. The check of a block tells one that is torn or damaged. What a
//! record holds is in postcard, as on the wire, with one difference: in place of a list of bytes of
//! [`LIST_MIN`] or more it has the list's hash (`lists`). A line passes through all roles of a
//! process, mostly several times, and is written once.
//!
//! **Guarantee.** What is read was written, or is an error: no length is believed.

use super::begin::Beginning;
use super::lists::{LIST_MIN, Lists, Name, Writing, Written};
use crate::paxos::{Contents, Envelope, ExcerptRequest, PageRequest};
use crate::types::Time;
use postcard::{de_flavors, ser_flavors};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// What each block begins with: the format and its version.
pub const MAGIC: [u8; 4] = *b"mpT1";

/// The bytes of a block before its records.
pub const HEAD_BYTES: usize = 21;

/// The bytes of it that say how much is behind, and whether it is whole.
const CHECKED_BYTES: usize = 17;

const BEGIN: u8 = 1;
const INPUT: u8 = 2;
const TIMEOUT: u8 = 3;
const TURN: u8 = 4;
const PAGES: u8 = 5;
const DROPPED: u8 = 6;
const FAILED: u8 = 7;

/// What a block belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// The process: what it is, and that it ends.
    Process,
    /// The bootstrap role.
    Bootstrap,
    /// The acceptor.
    Acceptor,
    /// The proposer.
    Proposer,
    /// The learner.
    Learner,
    /// A client.
    Client,
}

impl Stream {
    /// All of them. The place of each is its number in a block.
    pub const ALL: [Stream; 6] = [
        Stream::Process,
        Stream::Bootstrap,
        Stream::Acceptor,
        Stream::Proposer,
        Stream::Learner,
        Stream::Client,
    ];

    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Process => "process",
            Stream::Bootstrap => "bootstrap",
            Stream::Acceptor => "acceptor",
            Stream::Proposer => "proposer",
            Stream::Learner => "learner",
            Stream::Client => "client",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a role did.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<I, R> {
    /// It was built.
    Begin {
        /// When.
        now: Time,
        /// With this draw.
        draw: u64,
        /// From this.
        beginning: Box<Beginning>,
    },
    /// It was given an input.
    Input {
        /// When.
        now: Time,
        /// With this draw.
        draw: u64,
        /// The input.
        input: I,
    },
    /// Its timer fired.
    Timeout {
        /// When.
        now: Time,
        /// With this draw.
        draw: u64,
    },
    /// Its turn ended, and this is what it gave out in it.
    Turn {
        /// When.
        now: Time,
        /// When its timer is due from then on.
        deadline: Option<Time>,
        /// What it wants to survive a crash.
        records: Vec<R>,
        /// What it sends.
        envelopes: Vec<Envelope>,
        /// What it wants to be looked up for peers.
        page_requests: Vec<PageRequest>,
        /// And for followers.
        excerpt_requests: Vec<ExcerptRequest>,
    },
    /// What its storage had for peers, after that turn.
    Pages {
        /// The answers.
        envelopes: Vec<Envelope>,
    },
    /// Its storage has failed, so nothing of that turn has left.
    Failed,
    /// So many records are missing here: the writer did not keep up.
    Dropped {
        /// Their number.
        records: u64,
    },
}

/// A block that is written.
#[derive(Debug)]
pub struct Block {
    /// Its head, without contents before it is sealed, and its records.
    bytes: Vec<u8>,
    lists: Writing,
    /// The time of the last record.
    now: Time,
}

impl Default for Block {
    fn default() -> Self {
        Block::new(Arc::default())
    }
}

impl Block {
    /// An empty block of a process that has written these lists.
    pub fn new(written: Arc<Written>) -> Block {
        Block { bytes: vec![0; HEAD_BYTES], lists: Writing::new(written), now: Time(0) }
    }

    /// Takes all out of it, and leaves it empty, in this memory.
    pub fn take(&mut self, memory: Taken) -> Taken {
        let Taken { mut records, mut lists } = memory;
        records.clear();
        records.resize(HEAD_BYTES, 0);
        lists.clear();
        self.now = Time(0);
        Taken {
            records: std::mem::replace(&mut self.bytes, records),
            lists: self.lists.take(lists),
        }
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEAD_BYTES
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.lists.len()
    }

    /// The block as it goes to the file.
    pub fn sealed(mut self, stream: Stream, number: u32) -> Vec<u8> {
        let mut taken = self.take(Taken::default());
        taken.seal(stream, number);
        taken.bytes().concat()
    }

    /// The role was built.
    pub fn begin(&mut self, now: Time, draw: u64, beginning: &Beginning) {
        self.head(BEGIN, now);
        self.draw(draw);
        self.value(beginning);
    }

    /// The role is given an input.
    pub fn input(&mut self, now: Time, draw: u64, input: &impl Serialize) {
        self.head(INPUT, now);
        self.draw(draw);
        self.value(input);
    }

    /// The role's timer fires.
    pub fn timeout(&mut self, now: Time, draw: u64) {
        self.head(TIMEOUT, now);
        self.draw(draw);
    }

    /// The role's turn ends.
    pub fn turn<R: Serialize>(
        &mut self,
        now: Time,
        deadline: Option<Time>,
        contents: &Contents<'_, R>,
    ) {
        let Contents { records, envelopes, page_requests, excerpt_requests } = contents;
        self.head(TURN, now);
        match deadline {
            Some(deadline) => {
                self.bytes.push(1);
                self.since(deadline, now);
            }
            None => self.bytes.push(0),
        }
        let asks = !page_requests.is_empty() || !excerpt_requests.is_empty();
        if records.is_empty() && envelopes.is_empty() && !asks {
            return self.bytes.push(0);
        }
        self.bytes.push(1);
        self.value(records);
        self.value(envelopes);
        self.value(page_requests);
        self.value(excerpt_requests);
    }

    /// Peers get these pages of the role's storage.
    pub fn pages(&mut self, envelopes: &[Envelope]) {
        self.head(PAGES, self.now);
        self.value(&envelopes);
    }

    /// The role's storage has failed.
    pub fn failed(&mut self) {
        self.head(FAILED, self.now);
    }

    /// So many records are missing here.
    pub fn dropped(&mut self, records: u64) {
        self.head(DROPPED, self.now);
        self.value(&records);
    }

    /// Writes a record that was read.
    pub fn put<I: Serialize, R: Serialize>(&mut self, record: &Record<I, R>) {
        match record {
            Record::Begin { now, draw, beginning } => self.begin(*now, *draw, beginning),
            Record::Input { now, draw, input } => self.input(*now, *draw, input),
            Record::Timeout { now, draw } => self.timeout(*now, *draw),
            Record::Turn { now, deadline, records, envelopes, page_requests, excerpt_requests } => {
                let contents = Contents { records, envelopes, page_requests, excerpt_requests };
                self.turn(*now, *deadline, &contents);
            }
            Record::Pages { envelopes } => self.pages(envelopes),
            Record::Failed => self.failed(),
            Record::Dropped { records } => self.dropped(*records),
        }
    }

    fn head(&mut self, kind: u8, now: Time) {
        self.lists.begin_record();
        self.bytes.push(kind);
        self.since(now, self.now);
        self.now = now;
    }

    /// A time, as what lies between it and another one.
    fn since(&mut self, time: Time, other: Time) {
        let far = time.0.wrapping_sub(other.0) as i64;
        let mut zigzag = ((far << 1) ^ (far >> 63)) as u64;
        while zigzag >= 0x80 {
            self.bytes.push(zigzag as u8 | 0x80);
            zigzag >>= 7;
        }
        self.bytes.push(zigzag as u8);
    }

    fn draw(&mut self, draw: u64) {
        self.bytes.extend_from_slice(&draw.to_le_bytes());
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        let Block { bytes, lists, .. } = self;
        let written = postcard::serialize_with_flavor(value, Naming { bytes, lists });
        written.expect("memory takes everything, and every list knows its length");
    }
}

/// What was taken out of a block.
#[derive(Debug, Default)]
pub struct Taken {
    /// Its head, and the records.
    records: Vec<u8>,
    lists: Vec<u8>,
}

impl Taken {
    /// Writes the head.
    pub fn seal(&mut self, stream: Stream, number: u32) {
        let Taken { records, lists } = self;
        let begin = u32::try_from(records.len()).expect("a block is bounded");
        records[CHECKED_BYTES..HEAD_BYTES].copy_from_slice(&begin.to_le_bytes());
        seal(records, lists, stream, number);
    }

    /// The block, in two pieces.
    pub fn bytes(&self) -> [&[u8]; 2] {
        [&self.records, &self.lists]
    }
}

/// Writes the head of a block, which is in two pieces.
pub(super) fn seal(block: &mut [u8], behind: &[u8], stream: Stream, number: u32) {
    let bytes = block.len() - CHECKED_BYTES + behind.len();
    let bytes = u32::try_from(bytes).expect("a block is bounded");
    block[..4].copy_from_slice(&MAGIC);
    block[4] = stream as u8;
    block[5..9].copy_from_slice(&number.to_le_bytes());
    block[9..13].copy_from_slice(&bytes.to_le_bytes());
    let check = check(block, behind);
    block[13..CHECKED_BYTES].copy_from_slice(&check.to_le_bytes());
}

fn check(block: &[u8], behind: &[u8]) -> u32 {
    let mut check = crc32fast::Hasher::new();
    check.update(&block[..13]);
    check.update(&block[CHECKED_BYTES..]);
    check.update(behind);
    check.finalize()
}

/// A block that was read, of which only the records may be wrong.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// What it belongs to.
    pub stream: Stream,
    /// Its number among the blocks of that.
    pub number: u32,
    /// Its head and records.
    bytes: &'a [u8],
    lists: &'a [u8],
}

/// No block, or no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is torn, damaged, or of another version")
    }
}

impl<'a> Sealed<'a> {
    /// The block with which `bytes` begin, and what is behind it. `None` at the end.
    ///
    /// # Errors
    ///
    /// If they begin with no whole block.
    pub fn first(bytes: &'a [u8]) -> Result<Option<(Sealed<'a>, &'a [u8])>, Malformed> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let head = bytes.get(..HEAD_BYTES).ok_or(Malformed)?;
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| head[at + byte]));
        let stream = Stream::ALL.get(usize::from(head[4])).ok_or(Malformed)?;
        let length = CHECKED_BYTES.saturating_add(number(9) as usize).max(HEAD_BYTES);
        let (block, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
        if head[..4] != MAGIC || number(13) != check(block, &[]) {
            return Err(Malformed);
        }
        let lists = number(CHECKED_BYTES) as usize;
        let (bytes, lists) = block.split_at_checked(lists).ok_or(Malformed)?;
        Ok(Some((Sealed { stream: *stream, number: number(5), bytes, lists }, rest)))
    }

    /// The lists of bytes that stand in it.
    pub fn lists(&self) -> &'a [u8] {
        self.lists
    }

    /// The records of a role, in a trace that has these lists.
    pub fn records<I, R>(&self, lists: &'a Lists) -> Records<'a, I, R> {
        Records { block: self.bytes, lists, at: HEAD_BYTES, now: Time(0), kinds: PhantomData }
    }

    /// What stands in a block that holds one thing, and no records.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn only<T: DeserializeOwned>(&self) -> Result<T, Malformed> {
        let (value, end) = value(self.bytes, &Lists::default(), HEAD_BYTES)?;
        if end == self.bytes.len() { Ok(value) } else { Err(Malformed) }
    }
}

/// A block that holds one thing, and no records.
pub fn only(value: &impl Serialize, stream: Stream, number: u32) -> Vec<u8> {
    let mut block = Block::default();
    block.value(value);
    block.sealed(stream, number)
}

/// The records of a block, in order. The last one is an error if the rest cannot be read.
#[derive(Debug)]
pub struct Records<'a, I, R> {
    block: &'a [u8],
    lists: &'a Lists,
    at: usize,
    now: Time,
    kinds: PhantomData<(I, R)>,
}

impl<I: DeserializeOwned, R: DeserializeOwned> Iterator for Records<'_, I, R> {
    type Item = Result<Record<I, R>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.block.len() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.at = self.block.len();
        }
        Some(read)
    }
}

impl<I: DeserializeOwned, R: DeserializeOwned> Records<'_, I, R> {
    fn read(&mut self) -> Result<Record<I, R>, Malformed> {
        let kind = self.byte()?;
        let now = self.since(self.now)?;
        self.now = now;
        Ok(match kind {
            BEGIN => Record::Begin { now, draw: self.draw()?, beginning: self.value()? },
            INPUT => Record::Input { now, draw: self.draw()?, input: self.value()? },
            TIMEOUT => Record::Timeout { now, draw: self.draw()? },
            TURN => self.turn(now)?,
            PAGES => Record::Pages { envelopes: self.value()? },
            FAILED => Record::Failed,
            DROPPED => Record::Dropped { records: self.value()? },
            _ => return Err(Malformed),
        })
    }

    fn turn(&mut self, now: Time) -> Result<Record<I, R>, Malformed> {
        let deadline = if self.byte()? == 0 { None } else { Some(self.since(now)?) };
        let (mut records, mut envelopes) = Default::default();
        let (mut page_requests, mut excerpt_requests) = Default::default();
        if self.byte()? != 0 {
            (records, envelopes) = (self.value()?, self.value()?);
            (page_requests, excerpt_requests) = (self.value()?, self.value()?);
        }
        Ok(Record::Turn { now, deadline, records, envelopes, page_requests, excerpt_requests })
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = self.block.get(self.at).ok_or(Malformed)?;
        self.at += 1;
        Ok(*byte)
    }

    fn since(&mut self, other: Time) -> Result<Time, Malformed> {
        let (mut zigzag, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte()?;
            zigzag |= u64::from(byte & 0x7f).checked_shl(shift).ok_or(Malformed)?;
            if byte < 0x80 {
                break;
            }
            shift += 7;
        }
        let far = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        Ok(Time(other.0.wrapping_add(far as u64)))
    }

    fn draw(&mut self) -> Result<u64, Malformed> {
        let bytes = self.block[self.at..].first_chunk().ok_or(Malformed)?;
        self.at += bytes.len();
        Ok(u64::from_le_bytes(*bytes))
    }

    fn value<T: DeserializeOwned>(&mut self) -> Result<T, Malformed> {
        let (value, at) = value(self.block, self.lists, self.at)?;
        self.at = at;
        Ok(value)
    }
}

fn value<T: DeserializeOwned>(
    block: &[u8],
    lists: &Lists,
    at: usize,
) -> Result<(T, usize), Malformed> {
    let mut from = postcard::Deserializer::from_flavor(Named { block, lists, at });
    let value = T::deserialize(&mut from).map_err(|_| Malformed)?;
    Ok((value, from.finalize().map_err(|_| Malformed)?))
}

/// Writes into a block, and long lists by their names.
struct Naming<'a> {
    bytes: &'a mut Vec<u8>,
    lists: &'a mut Writing,
}

impl ser_flavors::Flavor for Naming<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.bytes.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, list: &[u8]) -> postcard::Result<()> {
        if list.len() < LIST_MIN {
            self.bytes.extend_from_slice(list);
            return Ok(());
        }
        let Name { hash, start } = self.lists.name(list);
        self.bytes.extend_from_slice(&hash.to_le_bytes());
        self.bytes.extend_from_slice(&start.to_le_bytes());
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Reads what [`Naming`] has written.
struct Named<'a> {
    block: &'a [u8],
    lists: &'a Lists,
    at: usize,
}

impl<'a> Named<'a> {
    fn take(&mut self, count: usize) -> postcard::Result<&'a [u8]> {
        let rest = self.block.get(self.at..).unwrap_or_default();
        let list = rest.get(..count).ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.at += count;
        Ok(list)
    }
}

impl<'a> de_flavors::Flavor<'a> for Named<'a> {
    type Remainder = usize;
    type Source = &'a [u8];

    fn pop(&mut self) -> postcard::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'a [u8]> {
        if count < LIST_MIN {
            return self.take(count);
        }
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, it| all << 8 | u64::from(*it));
        let hash = number(self.take(size_of::<u64>())?);
        let start = number(self.take(size_of::<u32>())?) as usize;
        let list = self.lists.get(hash).and_then(|list| list.get(start..)?.get(..count));
        list.ok_or(postcard::Error::DeserializeUnexpectedEnd)
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.at)
    }
}

/// What a block of [`Stream::Process`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// The file begins.
    Header(super::Header),
    /// The process ends, and all of its roles have said what they had to say.
    End(Time),
}

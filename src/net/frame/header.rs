//! The fields of a frame, and what writes them.
//!
//! [`begin`] leaves room for the header. The caller appends the body, and [`seal`] fills the
//! header in. Where a frame is lengthened after that, [`pad`] corrects its check. The last
//! thing before a frame leaves is its stamp ([`stamp`]), which has a check of its own: the
//! field holds the two, one xored with the other, so that neither is computed over all of it
//! again. Where the process has a key, [`seal`] leaves room for a proof at the end, which is
//! written last of all ([`crate::net::guard`]), and nobody looks at the check.
//!
//! Most frames are short. So the CRC is for the body alone. The few bytes in front of it go
//! into a product each, and the CRC begins with what that yields.

use super::Identity;
use crate::message::{ClientMessage, EXCERPT_AROUND_BYTES, EXCERPT_TEXT_BYTES_MAX, Party};
use crate::net::DATAGRAM_BYTES_MAX;
use crate::types::ClusterId;
use datagrams::codec::BodyKind;
use datagrams::path::receipt::{STAMP_BYTES, Stamp};

/// The first bytes of every datagram of this program.
pub const MAGIC: [u8; 4] = *b"mPxL";

/// The version of the format. A receiver takes no other.
pub const VERSION: u8 = 12;

pub use datagrams::{HEADER_BYTES, OVERHEAD_BYTES};

/// The bytes of a proof, at the end of a frame of whoever has a key ([`crate::net::guard`]).
pub const PROOF_BYTES: usize = OVERHEAD_BYTES - HEADER_BYTES;

/// The least bytes of a client's frame for each message in it, padding included: more than
/// the longest [`Answer`](crate::message::Answer), which a test shows.
pub const CLIENT_MESSAGE_BYTES_MIN: usize = datagrams::CLIENT_BODY_BYTES_MIN;

/// A status query draws two answers, together with their headers no larger than a frame that may
/// ask for so many others, which a test shows.
const STATUS_ANSWERS: usize = 9;

/// The same of the answer that tells of the members, which a test shows.
const MEMBERS_ANSWERS: usize = 9;

// A piece of the chat log fits a datagram to any client.
const _: () = assert!(
    OVERHEAD_BYTES + EXCERPT_AROUND_BYTES + EXCERPT_TEXT_BYTES_MAX
        <= datagrams::path::PATH_BYTES_IPV6
);

/// For how many answers of [`CLIENT_MESSAGE_BYTES_MIN`] a client's message has to pay.
pub fn answers_to(message: &ClientMessage) -> usize {
    match message {
        ClientMessage::Hello | ClientMessage::Inquiry(_) | ClientMessage::Mark { .. } => 1,
        ClientMessage::Request(request) => request.commands.len(),
        ClientMessage::Status(_) => STATUS_ANSWERS,
        ClientMessage::Members(_) => MEMBERS_ANSWERS,
        ClientMessage::Follow(query) => {
            (EXCERPT_AROUND_BYTES + usize::from(query.room)).div_ceil(CLIENT_MESSAGE_BYTES_MIN)
        }
    }
}

/// How much text a follower may ask for in a datagram of at most `datagram_bytes`.
pub fn excerpt_room(datagram_bytes: usize) -> usize {
    let answers = datagram_bytes.saturating_sub(OVERHEAD_BYTES) / CLIENT_MESSAGE_BYTES_MIN;
    (answers * CLIENT_MESSAGE_BYTES_MIN).saturating_sub(EXCERPT_AROUND_BYTES)
}

/// The byte that names a client in a header.
pub(in crate::net) const CLIENT: u8 = 0xFF;

const AT_KIND: usize = 24;
pub(super) const AT_BODY_LENGTH: usize = 25;
pub(super) const AT_CHECK: usize = 27;
pub(super) const AT_STAMP: usize = AT_CHECK + 4;

const _: () = assert!(AT_STAMP + STAMP_BYTES == HEADER_BYTES);

/// In the byte that names the kind: the frame ends with a proof.
const PROVEN: u8 = 0x80;

/// What the frame, of at least [`HEADER_BYTES`], says of its kind: mostly a [`BodyKind`].
pub fn kind_of(frame: &[u8]) -> u8 {
    frame[AT_KIND] & !PROVEN
}

/// Whether the frame, of at least [`HEADER_BYTES`], says that it ends with a proof.
pub(in crate::net) fn is_proven(frame: &[u8]) -> bool {
    frame[AT_KIND] & PROVEN != 0
}

/// The body, padding included, of a frame that is long enough for what it says of its proof.
pub(in crate::net) fn padded_body(frame: &[u8]) -> Option<&[u8]> {
    let proof = if is_proven(frame) { PROOF_BYTES } else { 0 };
    frame.get(HEADER_BYTES..frame.len().checked_sub(proof)?)
}

/// Empties `frame` and leaves room for the header.
pub fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
}

/// The bytes of a frame with `body` bytes, padding included. A client's asks for `answers`.
pub fn sealed_bytes(identity: &Identity, body: usize, answers: usize) -> usize {
    HEADER_BYTES
        + identity.guard.proof_bytes()
        + match identity.me {
            Party::Client => body.max(answers * CLIENT_MESSAGE_BYTES_MIN),
            Party::Replica(_) => body,
        }
}

/// Makes `frame`, begun with [`begin`] and holding a body, ready to be sent.
/// `answers` is for how many answers a client's messages have to pay ([`answers_to`]); 1 for any
/// other kind.
pub fn seal(
    identity: &Identity,
    to: Party,
    cluster: ClusterId,
    kind: BodyKind,
    answers: usize,
    frame: &mut Vec<u8>,
) {
    let body = frame.len() - HEADER_BYTES;
    frame.resize(sealed_bytes(identity, body, answers), 0);
    assert!(frame.len() <= DATAGRAM_BYTES_MAX, "a frame of {} bytes", frame.len());
    frame[..4].copy_from_slice(&MAGIC);
    frame[4] = VERSION;
    frame[5] = identity.n as u8;
    frame[6] = party_byte(identity.me);
    frame[7] = party_byte(to);
    frame[8..16].copy_from_slice(&cluster.0.to_le_bytes());
    frame[16..24].copy_from_slice(&identity.boot.0.to_le_bytes());
    frame[AT_KIND] = kind as u8 | if identity.guard.is_on() { PROVEN } else { 0 };
    frame[AT_BODY_LENGTH..AT_CHECK].copy_from_slice(&(body as u16).to_le_bytes());
    // Where there is a key, a tag stands for the check. But whoever has none must hear of that.
    let is_for_all = body == 0 || matches!(kind, BodyKind::Greeting | BodyKind::Ticket);
    if is_for_all || !identity.guard.is_on() {
        let check = check_of(frame);
        write_check(frame, check);
    }
}

/// Corrects the check of a frame that was sealed with `sealed` bytes and has been
/// lengthened with zeros since.
pub fn pad(frame: &mut [u8], sealed: usize) {
    let stamp = stamp_check(frame);
    let mut longer = crc32fast::Hasher::new_with_initial(read_check(frame) ^ stamp);
    longer.update(&frame[sealed..]);
    write_check(frame, longer.finalize() ^ stamp);
}

/// Writes what a sealed frame says about the path, and corrects its check.
pub fn stamp(frame: &mut [u8], stamp: Stamp) {
    let before = read_check(frame) ^ stamp_check(frame);
    frame[AT_STAMP..HEADER_BYTES].copy_from_slice(&stamp.to_bytes());
    let check = before ^ stamp_check(frame);
    write_check(frame, check);
}

/// What a frame of at least [`HEADER_BYTES`] says about the path.
pub(super) fn stamp_of(frame: &[u8]) -> Stamp {
    let mut bytes = [0; STAMP_BYTES];
    bytes.copy_from_slice(&frame[AT_STAMP..HEADER_BYTES]);
    Stamp::from_bytes(&bytes)
}

/// The check of a frame of at least [`HEADER_BYTES`]. It leaves a proof out.
pub fn check_of(frame: &[u8]) -> u32 {
    let fields = [0, 8, 16, AT_CHECK - 8].map(|at| word(frame, at));
    let mut check = crc32fast::Hasher::new_with_initial(fold(&fields));
    check.update(padded_body(frame).unwrap_or_default());
    check.finalize() ^ stamp_check(frame)
}

/// The check of the stamp.
fn stamp_check(frame: &[u8]) -> u32 {
    fold(&[AT_STAMP, HEADER_BYTES - 8].map(|at| word(frame, at)))
}

/// Odd numbers without a pattern: the primes of xxHash.
const FACTORS: [u128; 4] =
    [0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0x85EB_CA77_C2B2_AE63];

/// A hash of a few words: both halves of each product, one xored with the other.
fn fold(words: &[u64]) -> u32 {
    let products = words.iter().zip(FACTORS).map(|(word, factor)| u128::from(*word) * factor);
    let halves = products.fold(0, |all, product| all ^ product ^ product >> 64);
    (halves ^ halves >> 32) as u32
}

/// The eight bytes at `at`.
fn word(frame: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&frame[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The check that a frame claims.
pub(super) fn read_check(frame: &[u8]) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|byte| frame[AT_CHECK + byte]))
}

fn write_check(frame: &mut [u8], check: u32) {
    frame[AT_CHECK..AT_STAMP].copy_from_slice(&check.to_le_bytes());
}

pub(in crate::net) fn party_byte(party: Party) -> u8 {
    match party {
        Party::Replica(id) => id.0,
        Party::Client => CLIENT,
    }
}

//! The fields of a frame, and what writes them.
//!
//! [`begin`] leaves room for the header. The caller appends the body, and [`seal`] fills the
//! header in. Where a frame is lengthened after that, [`pad`] corrects its check.

use super::Identity;
use crate::message::Party;
use crate::net::DATAGRAM_BYTES_MAX;
use crate::types::ClusterId;
use datagrams::codec::BodyKind;

/// The first bytes of every datagram of this program.
pub const MAGIC: [u8; 4] = *b"mPxL";

/// The version of the format. A receiver takes no other.
pub const VERSION: u8 = 2;

pub use datagrams::HEADER_BYTES;

/// The least bytes of a client's frame for each message in it, padding included: more than
/// the longest [`Answer`](crate::message::Answer), which a test shows.
pub const CLIENT_MESSAGE_BYTES_MIN: usize = datagrams::CLIENT_BODY_BYTES_MIN;

/// The byte that names a client in a header.
pub(super) const CLIENT: u8 = 0xFF;

pub(super) const AT_BODY_LENGTH: usize = 25;
pub(super) const AT_CHECK: usize = 27;

/// Empties `frame` and leaves room for the header.
pub fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
}

/// The bytes of a frame with `body` bytes of `messages` messages, padding included.
pub fn sealed_bytes(me: Party, body: usize, messages: usize) -> usize {
    HEADER_BYTES
        + match me {
            Party::Client => body.max(messages * CLIENT_MESSAGE_BYTES_MIN),
            Party::Replica(_) => body,
        }
}

/// Makes `frame`, begun with [`begin`] and holding a body, ready to be sent.
/// `messages` is how many messages the body holds; 1 for any other kind.
pub fn seal(
    identity: &Identity,
    to: Party,
    cluster: ClusterId,
    kind: BodyKind,
    messages: usize,
    frame: &mut Vec<u8>,
) {
    let body = frame.len() - HEADER_BYTES;
    frame.resize(sealed_bytes(identity.me, body, messages), 0);
    assert!(frame.len() <= DATAGRAM_BYTES_MAX, "a frame of {} bytes", frame.len());
    frame[..4].copy_from_slice(&MAGIC);
    frame[4] = VERSION;
    frame[5] = identity.n as u8;
    frame[6] = party_byte(identity.me);
    frame[7] = party_byte(to);
    frame[8..16].copy_from_slice(&cluster.0.to_le_bytes());
    frame[16..24].copy_from_slice(&identity.boot.0.to_le_bytes());
    frame[24] = kind as u8;
    frame[AT_BODY_LENGTH..AT_CHECK].copy_from_slice(&(body as u16).to_le_bytes());
    let check = check_of(frame);
    frame[AT_CHECK..HEADER_BYTES].copy_from_slice(&check.to_le_bytes());
}

/// Corrects the check of a frame that was sealed with `sealed` bytes and has been
/// lengthened with zeros since.
pub fn pad(frame: &mut [u8], sealed: usize) {
    let check = u32::from_le_bytes([frame[27], frame[28], frame[29], frame[30]]);
    let mut longer = crc32fast::Hasher::new_with_initial(check);
    longer.update(&frame[sealed..]);
    frame[AT_CHECK..HEADER_BYTES].copy_from_slice(&longer.finalize().to_le_bytes());
}

/// The check of a frame of at least [`HEADER_BYTES`].
pub fn check_of(frame: &[u8]) -> u32 {
    let mut check = crc32fast::Hasher::new();
    check.update(&frame[..AT_CHECK]);
    check.update(&frame[HEADER_BYTES..]);
    check.finalize()
}

pub(super) fn party_byte(party: Party) -> u8 {
    match party {
        Party::Replica(id) => id.0,
        Party::Client => CLIENT,
    }
}

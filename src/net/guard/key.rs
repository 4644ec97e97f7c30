//! The secrets of a cluster, and what is derived from them.
//!
//! A cluster has one *key*, and while it is changed two. Each client has a key of its own, which
//! whoever has the cluster's key can make: it is derived from that and from the number of the
//! client's key. So replicas know all clients' keys, and no client knows the cluster's, or
//! another client's.
//!
//! No key tags a datagram itself. From it come, by HMAC-SHA-256 as in HKDF's second step, one
//! key for greetings, and two for each session: one for each direction. Every label and every
//! field has a fixed length, so no two inputs are the same bytes.
//!
//! A *tag* is a SipHash-2-4 of 128 bits, as its authors mean it to be used: a secret function of
//! short messages. Unlike AES-GMAC or Poly1305 it stays one when a number is used twice, as a
//! copied virtual machine would do, and it costs less than a system call by far.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::fmt;
use std::hash::Hasher;
use subtle::ConstantTimeEq;

/// The bytes of a key.
pub const KEY_BYTES: usize = 32;

/// How many keys a cluster may have at once: the one in use, and one that replaces it.
pub const KEYS_MAX: usize = 2;

/// The bytes of a tag.
pub(super) const TAG_BYTES: usize = 16;

/// A secret of [`KEY_BYTES`] bytes. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; KEY_BYTES]);

impl Secret {
    /// A secret of these bytes, which nobody can guess.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Secret(bytes)
    }

    /// As a key file has it.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key of clients with this number.
    pub fn of_client(&self, number: u32) -> Secret {
        Prepared::new(self).of_client(number)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The keys of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// The cluster's: up to [`KEYS_MAX`]. The first is used, all are taken.
    Cluster(Vec<Secret>),
    /// A client's.
    Client {
        /// Its number, never 0.
        number: u32,
        /// The key.
        secret: Secret,
    },
}

impl Keys {
    /// The keys of a client that was given these: a client has none but its own. Out of the
    /// cluster's it makes one of this number.
    pub fn for_client(self, number: u32) -> Keys {
        match self {
            Keys::Cluster(secrets) => {
                let number = number.max(1);
                Keys::Client { number, secret: secrets[0].of_client(number) }
            }
            own @ Keys::Client { .. } => own,
        }
    }
}

/// Tags datagrams.
#[derive(Clone, Copy)]
pub(super) struct TagKey([u8; 16]);

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey")
    }
}

impl TagKey {
    /// The tag of these bytes.
    pub(super) fn tag(&self, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish128().as_bytes()
    }

    /// Whether that is their tag. Takes as long whichever byte is wrong.
    pub(super) fn is_tag(&self, bytes: &[u8], tag: &[u8]) -> bool {
        bool::from(self.tag(bytes).ct_eq(tag))
    }
}

/// The two keys of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    /// For what the process sends that began the session.
    pub(super) forth: TagKey,
    /// For what the other one sends.
    pub(super) back: TagKey,
}

/// Where a client's datagrams come from, as the replica sees it: an address and a port.
pub(super) const PLACE_BYTES: usize = 18;

/// What makes a session one that never was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// The parties, as a header names them: who began the session, and who answered.
    pub(super) parties: [u8; 2],
    /// Their lives, likewise.
    pub(super) lives: [u64; 2],
    /// Its number. The one who answered gives each number once in its life.
    pub(super) number: u64,
    /// Where the client was that began it; zeros for a replica.
    pub(super) place: [u8; PLACE_BYTES],
}

/// A secret, prepared for derivations.
#[derive(Clone)]
pub(super) struct Prepared {
    hmac: Hmac<Sha256>,
    /// Tags greetings and tickets.
    pub(super) greeting: TagKey,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared")
    }
}

impl Prepared {
    pub(super) fn new(secret: &Secret) -> Self {
        let hmac = Hmac::new_from_slice(&secret.0).expect("any length is a key");
        let [greeting, _] = halves(derive(&hmac, b"mPxL greeting", &[]));
        Prepared { hmac, greeting: TagKey(greeting) }
    }

    fn of_client(&self, number: u32) -> Secret {
        Secret(derive(&self.hmac, b"mPxL client  ", &[&number.to_le_bytes()]))
    }

    /// The key of clients with this number, prepared.
    pub(super) fn client(&self, number: u32) -> Prepared {
        Prepared::new(&self.of_client(number))
    }

    /// The keys of a session.
    pub(super) fn session(&self, terms: &Terms) -> Pair {
        let Terms { parties, lives, number, place } = terms;
        let lives = lives.map(u64::to_le_bytes);
        let number = number.to_le_bytes();
        let fields: [&[u8]; 5] = [parties, &lives[0], &lives[1], &number, place];
        let [forth, back] = halves(derive(&self.hmac, b"mPxL session ", &fields));
        Pair { forth: TagKey(forth), back: TagKey(back) }
    }
}

fn derive(hmac: &Hmac<Sha256>, label: &[u8; 13], fields: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mut hmac = hmac.clone();
    hmac.update(label);
    fields.iter().for_each(|field| hmac.update(field));
    hmac.finalize().into_bytes().into()
}

fn halves(bytes: [u8; KEY_BYTES]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    for (half, from) in halves.iter_mut().zip(bytes.chunks(16)) {
        half.copy_from_slice(from);
    }
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_key_and_each_field_of_a_session_has_keys_of_its_own() {
        let secret = Secret::new([7; KEY_BYTES]);
        let terms = Terms { parties: [0, 1], lives: [2, 3], number: 4, place: [0; PLACE_BYTES] };
        let mut place = terms.place;
        place[17] = 1;
        let others = [
            terms,
            Terms { parties: [1, 0], ..terms },
            Terms { lives: [3, 2], ..terms },
            Terms { number: 5, ..terms },
            Terms { place, ..terms },
        ];
        let mut tags = Vec::new();
        for prepared in [Prepared::new(&secret), Prepared::new(&secret).client(1)] {
            tags.push(prepared.greeting.tag(b"datagram"));
            for terms in others {
                let Pair { forth, back } = prepared.session(&terms);
                tags.extend([forth, back].map(|key| key.tag(b"datagram")));
            }
        }
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 2 * (1 + 2 * 5), "no two are the same");
        assert_ne!(secret.of_client(1), secret.of_client(2));
        assert_eq!(format!("{secret:?}"), "Secret", "it is not shown");
    }

    #[test]
    fn a_tag_is_that_of_the_authors_of_siphash() {
        // The first vectors of `vectors_128` in the reference implementation.
        let mut key = [0; 16];
        (0..16).for_each(|byte| key[byte] = byte as u8);
        let key = TagKey(key);
        let empty = [
            0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55,
            0x02, 0x93,
        ];
        assert!(key.is_tag(&[], &empty));
        let one = [
            0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22,
            0xfc, 0x45,
        ];
        assert!(key.is_tag(&[0], &one));
        assert!(!key.is_tag(&[1], &one) && !key.is_tag(&[0], &one[..15]));
    }
}

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
//! A *tag* is made in two steps, each with a key of its own: POLYVAL (RFC 8452) makes 16 bytes of
//! the whole datagram, and a SipHash-2-4 of 128 bits makes the tag of these, of the datagram's
//! number and of its length. (Hash, then PRF: Boneh and Shoup, *A Graduate Course in Applied
//! Cryptography*, §7.3 and 7.4; AES-GCM-SIV makes its tags so.) Two datagrams of L bytes have the
//! same 16 bytes with a chance of L/16 in 2^128, whatever they are, and of the second step nobody
//! sees more than outputs of a secret function. So nothing is given away when a number is used
//! twice, as a copied virtual machine would do; AES-GMAC and Poly1305 would give their keys away
//! then. The first step is the one that costs: a few instructions for 16 bytes where the processor
//! multiplies without carry, which all of the last ten years do.

use hmac::{Hmac, KeyInit, Mac};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use sha2::Sha256;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::fmt;
use std::hash::Hasher;
use subtle::ConstantTimeEq;

/// The bytes of a key.
pub const KEY_BYTES: usize = 32;

/// How many keys a cluster may have at once: the one in use, and one that replaces it.
pub const KEYS_MAX: usize = 2;

/// The number of the client's key that is the operator's. No file has it.
pub const OPERATOR: u32 = u32::MAX;

/// The bytes of a tag.
pub(super) const TAG_BYTES: usize = 16;

/// The bytes of either key of a [`TagKey`].
const HALF_BYTES: usize = KEY_BYTES / 2;

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
#[derive(Clone)]
pub(super) struct TagKey {
    /// Makes a datagram short. Prepared, with nothing hashed yet.
    hash: Polyval,
    /// Makes a tag of that.
    seal: [u8; HALF_BYTES],
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey")
    }
}

impl TagKey {
    fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let [hash, seal] = halves(bytes);
        TagKey { hash: Polyval::new(&hash.into()), seal }
    }

    /// The tag of the datagram with this number, whose bytes these are.
    pub(super) fn tag(&self, number: u64, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let mut hash = self.hash.clone();
        hash.update_padded(bytes);
        let mut seal = SipHasher24::new_with_key(&self.seal);
        seal.write(&hash.finalize());
        seal.write(&number.to_le_bytes());
        // What is hashed is padded with zeros, so the length counts too.
        seal.write(&(bytes.len() as u64).to_le_bytes());
        seal.finish128().as_bytes()
    }

    /// Whether that is their tag. Takes as long whichever byte is wrong.
    pub(super) fn is_tag(&self, number: u64, bytes: &[u8], tag: &[u8]) -> bool {
        bool::from(self.tag(number, bytes).ct_eq(tag))
    }
}

/// The two keys of a session.
#[derive(Debug, Clone)]
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
        let greeting = TagKey::new(&derive(&hmac, b"mPxL greeting", &[]));
        Prepared { hmac, greeting }
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
        let key = |label| TagKey::new(&derive(&self.hmac, label, &fields));
        Pair { forth: key(b"mPxL forth   "), back: key(b"mPxL back    ") }
    }
}

fn derive(hmac: &Hmac<Sha256>, label: &[u8; 13], fields: &[&[u8]]) -> [u8; KEY_BYTES] {
    let mut hmac = hmac.clone();
    hmac.update(label);
    fields.iter().for_each(|field| hmac.update(field));
    hmac.finalize().into_bytes().into()
}

fn halves(bytes: &[u8; KEY_BYTES]) -> [[u8; HALF_BYTES]; 2] {
    let mut halves = [[0; HALF_BYTES]; 2];
    for (half, from) in halves.iter_mut().zip(bytes.chunks(HALF_BYTES)) {
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
            tags.push(prepared.greeting.tag(1, b"datagram"));
            for terms in others {
                let Pair { forth, back } = prepared.session(&terms);
                tags.extend([forth, back].map(|key| key.tag(1, b"datagram")));
            }
        }
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 2 * (1 + 2 * 5), "no two are the same");
        assert_ne!(secret.of_client(1), secret.of_client(2));
        assert_eq!(format!("{secret:?}"), "Secret", "it is not shown");
    }

    /// A key whose hash is that of the example in RFC 8452, appendix A.
    fn key_of_the_rfc() -> TagKey {
        let mut bytes = [0; KEY_BYTES];
        bytes[..16].copy_from_slice(&0x2562_9347_5892_4276_1d31_f826_ba4b_757b_u128.to_be_bytes());
        (0..16).for_each(|byte| bytes[16 + byte] = byte as u8);
        TagKey::new(&bytes)
    }

    #[test]
    fn a_tag_is_a_siphash_of_a_polyval_a_number_and_a_length() {
        let key = key_of_the_rfc();
        let blocks = [
            0x4f4f_9566_8c83_dfb6_4017_62bb_2d01_a262_u128,
            0xd1a2_4ddd_2721_d006_bbe4_5f20_d3c9_f362,
        ];
        let bytes = blocks.map(u128::to_be_bytes).concat();
        let hash = 0xf7a3_b47b_8461_19fa_e5b7_866c_f5e5_b77e_u128.to_be_bytes();
        let mut sealed = SipHasher24::new_with_key(&key.seal);
        [hash.as_slice(), &7_u64.to_le_bytes(), &32_u64.to_le_bytes()]
            .iter()
            .for_each(|part| sealed.write(part));
        assert_eq!(key.tag(7, &bytes), sealed.finish128().as_bytes());
    }

    #[test]
    fn the_second_step_is_that_of_the_authors_of_siphash() {
        // The first vectors of `vectors_128` in the reference implementation.
        let seal = key_of_the_rfc().seal;
        let sip = |bytes: &[u8]| {
            let mut hasher = SipHasher24::new_with_key(&seal);
            hasher.write(bytes);
            hasher.finish128().as_bytes()
        };
        let empty = 0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293_u128;
        let one = 0xda87_c1d8_6b99_af44_3476_5911_9b22_fc45_u128;
        assert_eq!(sip(&[]), empty.to_be_bytes());
        assert_eq!(sip(&[0]), one.to_be_bytes());
    }

    #[test]
    fn each_bit_the_number_and_zeros_at_the_end_make_another_tag() {
        let key = key_of_the_rfc();
        let bytes = [5_u8; 164];
        let tag = key.tag(3, &bytes);
        assert!(key.is_tag(3, &bytes, &tag) && !key.is_tag(3, &bytes, &tag[..15]));
        let mut tags = vec![tag, key.tag(4, &bytes), key.tag(3, &bytes[..163])];
        for bit in 0..8 * bytes.len() {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            tags.push(key.tag(3, &other));
        }
        let mut longer = bytes.to_vec();
        for _ in 0..40 {
            longer.push(0);
            tags.push(key.tag(3, &longer));
        }
        let all = tags.len();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), all, "no two are the same");
    }
}

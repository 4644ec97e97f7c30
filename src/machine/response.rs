//! The answer of a state machine to one command.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// What a machine answers: some bytes, shared and never copied inside a process. The empty
/// answer, which is the chat's, takes no memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Response(Option<Arc<[u8]>>);

impl Response {
    /// No bytes.
    pub const EMPTY: Response = Response(None);
}

impl Deref for Response {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<&[u8]> for Response {
    fn from(bytes: &[u8]) -> Response {
        Response((!bytes.is_empty()).then(|| bytes.into()))
    }
}

impl<const N: usize> From<&[u8; N]> for Response {
    fn from(bytes: &[u8; N]) -> Response {
        bytes.as_slice().into()
    }
}

impl From<&str> for Response {
    fn from(text: &str) -> Response {
        text.as_bytes().into()
    }
}

impl From<Vec<u8>> for Response {
    fn from(bytes: Vec<u8>) -> Response {
        bytes.as_slice().into()
    }
}

impl From<String> for Response {
    fn from(text: String) -> Response {
        text.as_bytes().into()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

/// The empty one adds nothing: a hash over messages of the chat is that of messages without
/// answers.
impl Hash for Response {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if !self.is_empty() {
            (**self).hash(state);
        }
    }
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Response, D::Error> {
        let bytes: Vec<u8> = serde_bytes::deserialize(from)?;
        Ok(bytes.into())
    }
}

//! How lists are decoded: a list grows with the bytes that are really there, never to the
//! length that the message claims, and ends at a bound with a name (L5, W1).

use super::{MESSAGE_SLOTS_MAX, Run};
use crate::types::{DirectoryId, REPLICAS_MAX};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Nothing, or at most one entry for each replica.
pub fn replicas<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<DirectoryId>>, D::Error> {
    struct Bounded(Vec<DirectoryId>);
    impl<'de> Deserialize<'de> for Bounded {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            list(from, REPLICAS_MAX).map(Bounded)
        }
    }
    Ok(Option::<Bounded>::deserialize(from)?.map(|Bounded(list)| list))
}

/// At most [`MESSAGE_SLOTS_MAX`] acceptances.
pub fn accepted<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Run>, D::Error> {
    list(from, MESSAGE_SLOTS_MAX)
}

/// At most `max` items.
pub(super) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
    max: usize,
) -> Result<Vec<T>, D::Error> {
    struct Bounded<T> {
        max: usize,
        item: PhantomData<T>,
    }
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "at most {} items", self.max)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == self.max {
                    return Err(A::Error::custom("too many items"));
                }
                list.push(item);
            }
            Ok(list)
        }
    }
    from.deserialize_seq(Bounded { max, item: PhantomData })
}

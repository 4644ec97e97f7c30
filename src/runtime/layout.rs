//! Where the roles of a replica run. The roles are pure, so it is a choice.

use crate::runtime::post::Here;
use crate::storage::Durability;
use std::fmt;
use std::str::FromStr;

/// On which threads a replica runs its roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Each role on a thread of its own, joined by channels.
    #[default]
    PerRole,
    /// Acceptor, proposer and learner in turn on the network thread. Under
    /// [`Durability::Sync`] the acceptor keeps its own: a disk must not stop the network.
    One,
}

impl Layout {
    /// Which roles share the network thread.
    pub fn on_loop(self, durability: Durability) -> Here {
        match (self, durability) {
            (Layout::PerRole, _) => Here::Nobody,
            (Layout::One, Durability::Sync) => Here::ProposerAndLearner,
            (Layout::One, Durability::Os | Durability::None) => Here::AllThree,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::PerRole => "per-role",
            Layout::One => "one",
        })
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "per-role" => Ok(Layout::PerRole),
            "one" => Ok(Layout::One),
            _ => Err("not one of per-role, one".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_read_as_it_is_written() {
        for layout in [Layout::PerRole, Layout::One] {
            assert_eq!(layout.to_string().parse(), Ok(layout));
        }
        assert!("two".parse::<Layout>().is_err());
    }
}

//! What a replica remembers of the others, and whose vote counts (S6, S10).
//!
//! A directory that is no member of the configuration has no vote (M3). Nor has one that was put back from
//! an older copy: it has forgotten promises and acceptances, and does not know it. The others do.
//! An acceptor counts the records that it has written. The count is durable before it is said,
//! so the next life of that directory begins with at least as many. If a life begins with fewer
//! than anyone remembers, the directory has lost its state.
//!
//! Lives are told apart by their boot ids, and have no order but that of the counts. A message of
//! an earlier life may come late. It looks like one of a directory that was put back, and counts
//! as little; the difference is that nobody is there any more to be told so. A life that has
//! counted before is known to be one of these.
//!
//! While two processes run on copies of one directory, neither counts (S12). [`lives`](super::lives)
//! finds that out, in the proposer, which tells the other roles.
//!
//! **Does not** notice what nobody remembers: what a directory wrote in the last moments before
//! its end may have been said to nobody.

use super::rows;
use crate::aside::NotState;
use crate::members::Configuration;
use crate::message::Voter;
use crate::quorum::ReplicaSet;
use crate::types::{BootId, DirectoryId, ReplicaId};
use serde::{Deserialize, Serialize};

/// What is remembered of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The life that counts.
    pub boot: BootId,
    /// How many records its acceptor has written at least.
    pub written: u64,
}

/// How many records an acceptor has written. It rises with every record, so as state it would make
/// each state another one; but nothing that is promised, accepted or proposed depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    pub(crate) records: u64,
}

impl NotState for Written {}
/// What is stored, for the next life. In this one a [`Standing`] judges.
impl NotState for Vec<Memory> {}

/// What a replica makes of a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Counts,
    /// The directory is no member.
    NotMember,
    /// The directory is known to have held this many records, and the voter's life began with
    /// fewer.
    Forgotten {
        /// That number.
        known: u64,
    },
    /// It is of a life that has counted, and has been followed by another one.
    Former,
    /// Two lives of the directory run at once.
    Beside,
}

/// The members, and what is remembered of each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Standing {
    /// By replica id.
    members: Vec<Option<DirectoryId>>,
    /// By replica id.
    memories: Vec<Memory>,
    /// By replica id, the lives that counted before, oldest first.
    former: Vec<Vec<BootId>>,
    /// The members of which two lives run at once.
    beside: ReplicaSet,
}

/// How many former lives of each member are remembered.
const FORMER_MAX: usize = 4;

impl Standing {
    /// Of these `members`, of which this is remembered: by replica id both, and nothing of
    /// members that `memories` does not reach.
    pub fn new(members: &[DirectoryId], memories: &[Memory]) -> Self {
        let rows = rows(members.len());
        let mut memories = memories.to_vec();
        memories.resize(rows, Memory::default());
        let former = vec![Vec::new(); rows];
        let mut members: Vec<_> = members.iter().copied().map(Some).collect();
        members.resize(rows, None);
        Standing { members, memories, former, beside: ReplicaSet::EMPTY }
    }

    /// The members have changed. What is remembered belongs to directories, so nothing is
    /// remembered of a directory that has taken the place of another one.
    pub fn set_configuration(&mut self, configuration: &Configuration) {
        let places = configuration.members().iter().map(|member| member.id.index() + 1).max();
        let places = places.unwrap_or(0).max(self.members.len());
        self.members.resize(places, None);
        self.memories.resize(places, Memory::default());
        self.former.resize(places, Vec::new());
        for (id, known) in (0..).map(ReplicaId).zip(&mut self.members) {
            let directory = configuration.member(id).map(|member| member.directory);
            if std::mem::replace(known, directory) != directory {
                self.memories[id.index()] = Memory::default();
                self.former[id.index()].clear();
                self.beside = self.beside.without(id);
            }
        }
    }

    /// Judges a vote of replica `from`. A life that begins with all that is remembered takes the
    /// place of the one before it.
    pub fn judge(&mut self, from: ReplicaId, voter: Voter) -> Verdict {
        if !self.is_member(from, voter.directory) {
            return Verdict::NotMember;
        }
        if self.beside.contains(from) {
            return Verdict::Beside;
        }
        let memory = self.memories[from.index()];
        if memory.boot != voter.boot {
            if voter.begun < memory.written {
                return match self.former[from.index()].contains(&voter.boot) {
                    true => Verdict::Former,
                    false => Verdict::Forgotten { known: memory.written },
                };
            }
            self.remember(from, Memory { boot: voter.boot, written: voter.begun });
        }
        Verdict::Counts
    }

    fn remember(&mut self, of: ReplicaId, memory: Memory) {
        let before = std::mem::replace(&mut self.memories[of.index()], memory);
        let former = &mut self.former[of.index()];
        former.retain(|boot| *boot != memory.boot && *boot != before.boot);
        if before.boot != memory.boot && before != Memory::default() {
            former.push(before.boot);
            if former.len() > FORMER_MAX {
                former.remove(0);
            }
        }
    }

    /// Of these members two lives run at once: neither counts.
    pub fn set_beside(&mut self, beside: ReplicaSet) {
        self.beside = beside;
    }

    /// Whether two lives of this member run at once.
    pub fn is_beside(&self, of: ReplicaId) -> bool {
        self.beside.contains(of)
    }

    /// The life `boot` has counted, and has shown to be the living one: it counts again. Returns
    /// whether that is news.
    pub fn take_back(&mut self, of: ReplicaId, boot: BootId) -> bool {
        let Memory { boot: known, written } = self.memories[of.index()];
        let is_news = boot != known && self.former[of.index()].contains(&boot);
        if is_news {
            self.remember(of, Memory { boot, written });
        }
        is_news
    }

    /// Whether this is a member's directory.
    pub fn is_member(&self, of: ReplicaId, directory: DirectoryId) -> bool {
        self.members.get(of.index()) == Some(&Some(directory))
    }

    /// The life `boot` lacks something that was said in its directory's name: it is told so when
    /// it is heard next.
    pub fn forget(&mut self, of: ReplicaId, boot: BootId, memory: Memory) {
        self.remember(of, memory);
        self.former[of.index()].retain(|former| *former != boot);
    }

    /// The life of replica `from` that counts has written this many records.
    pub fn note_written(&mut self, from: ReplicaId, written: u64) {
        let memory = &mut self.memories[from.index()];
        memory.written = memory.written.max(written);
    }

    /// What is remembered of a member.
    pub fn memory(&self, of: ReplicaId) -> Memory {
        self.memories[of.index()]
    }

    /// Another role of this replica remembers this of a directory. Roles hear of a change of
    /// members one after the other, so that may be one whose place another one has taken.
    pub fn note(&mut self, of: ReplicaId, directory: DirectoryId, memory: Memory) {
        let is_news = |known: &Memory| known.written <= memory.written;
        if self.is_member(of, directory) && self.memories.get(of.index()).is_some_and(is_news) {
            self.remember(of, memory);
        }
    }

    /// The members, with what is remembered of each.
    pub fn remembered(&self) -> impl Iterator<Item = (ReplicaId, DirectoryId, Memory)> + '_ {
        let all = (0..).map(ReplicaId).zip(&self.members).zip(&self.memories);
        all.filter_map(|((of, directory), memory)| Some((of, (*directory)?, *memory)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::Member;

    #[test]
    fn a_life_that_begins_with_less_than_is_remembered_does_not_count() {
        let (of, directory) = (ReplicaId(1), DirectoryId(11));
        let members = [DirectoryId(10), directory];
        let life = |boot, begun| Voter { directory, boot: BootId(boot), begun };
        let mut standing = Standing::new(&members, &[]);
        assert_eq!(standing.judge(of, life(1, 0)), Verdict::Counts);
        standing.note_written(of, 7);
        standing.note_written(of, 5);
        // The next life begins with at least as much, and takes the place of the first.
        assert_eq!(standing.judge(of, life(2, 7)), Verdict::Counts);
        assert_eq!(standing.memory(of), Memory { boot: BootId(2), written: 7 });
        assert_eq!(standing.judge(of, life(1, 0)), Verdict::Former, "late");
        standing.note_written(of, 20);
        for begun in [0, 7, 19] {
            assert_eq!(standing.judge(of, life(3, begun)), Verdict::Forgotten { known: 20 });
        }
        assert_eq!(standing.judge(of, life(2, 7)), Verdict::Counts, "still the one that counts");
        // What was stored says the same in the own next life, and lags behind what was heard.
        let mut again = Standing::new(&members, &[Memory::default(), standing.memory(of)]);
        assert_eq!(again.judge(of, life(3, 19)), Verdict::Forgotten { known: 20 });
        again.note(of, directory, Memory { boot: BootId(1), written: 19 });
        assert_eq!(again.judge(of, life(2, 7)), Verdict::Counts);
        let stranger = Voter { directory: DirectoryId(99), ..life(2, 7) };
        assert_eq!(again.judge(of, stranger), Verdict::NotMember);
        assert_eq!(again.judge(ReplicaId(2), life(2, 7)), Verdict::NotMember);
    }

    #[test]
    fn what_is_remembered_belongs_to_the_directory() {
        let founders = [10, 11, 12].map(DirectoryId);
        let life = |directory, boot, begun| Voter {
            directory: DirectoryId(directory),
            boot: BootId(boot),
            begun,
        };
        let mut standing = Standing::new(&founders, &[]);
        for id in [1, 2] {
            let counts = standing.judge(ReplicaId(id), life(10 + u64::from(id), 1, 0));
            assert_eq!(counts, Verdict::Counts);
            standing.note_written(ReplicaId(id), 30);
        }
        let member = Member { id: ReplicaId(2), directory: DirectoryId(99), address: None };
        let next = Configuration::started(&founders).with(member).expect("one is replaced");
        standing.set_configuration(&next);
        assert_eq!(standing.judge(ReplicaId(2), life(12, 1, 0)), Verdict::NotMember);
        // Another role has not heard of the change yet.
        standing.note(ReplicaId(2), DirectoryId(12), Memory { boot: BootId(1), written: 30 });
        assert_eq!(standing.judge(ReplicaId(2), life(99, 7, 3)), Verdict::Counts);
        assert_eq!(standing.judge(ReplicaId(1), life(11, 2, 29)), Verdict::Forgotten { known: 30 });
        standing.set_configuration(&next.without(ReplicaId(1)).expect("one is removed"));
        assert_eq!(standing.judge(ReplicaId(1), life(11, 1, 0)), Verdict::NotMember);
        assert_eq!(standing.memory(ReplicaId(2)).boot, BootId(7));
    }
}

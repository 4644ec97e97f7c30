//! A row: a world, what is done in it, what must hold, and what is known to happen today.
//!
//! [`trial::run`](crate::trial::run) does the [`Act`] and returns what was [`Seen`].
//! [`Row::broken`] compares that with what must hold. Two things are apart from the table:
//!
//! - *Safety* is checked after every row, whatever the row is expected to do: the verdict of
//!   the driver where the logs have become equal, and otherwise that each log is a prefix of
//!   the longest. A breach fails the row today and for ever.
//! - [`Today`] is a ratchet. A row that is known to fail may fail. If it holds, the run fails
//!   until somebody moves it to [`Today::Holds`], where it must stay.

use crate::load::Clients;
use crate::world::World;
use std::fmt;
use std::time::Duration;

/// Of fewer bytes in complete lines, heartbeats are most of what is sent.
const TELLING_BYTES: u64 = 1_000_000;

/// What is done in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Clients send their lines. What is not complete in time never is.
    Send {
        /// Who sends.
        groups: &'static [Clients],
        /// The time.
        limit: Duration,
    },
    /// Clients send without end for a time.
    Fill {
        /// Who sends.
        clients: Clients,
        /// The time.
        window: Duration,
    },
    /// While clients send without end, the leader is killed.
    KillLeader {
        /// Who sends.
        clients: Clients,
        /// How long the others are watched after that.
        watch: Duration,
    },
    /// A replica is killed, misses lines, and comes back while others are sent. Until then the
    /// world is good.
    CatchUp {
        /// Who writes the lines that it misses.
        writers: Clients,
        /// So many bytes of them.
        missing_bytes: u64,
        /// Who sends meanwhile.
        meanwhile: Clients,
        /// So long these send before the replica comes back, in the bad world.
        alone: Duration,
        /// The longest that writing and fetching may take, each.
        limit: Duration,
    },
    /// A replica is killed, misses lines and comes back, and at once another follower dies. So
    /// the next line needs its vote. Until it comes back the world is good.
    Return {
        /// Who writes all the time.
        clients: Clients,
        /// So many lines are missed.
        missing_lines: usize,
        /// How long it may take to write them, and how long the two that are left are watched.
        limits: (Duration, Duration),
    },
}

impl Act {
    /// Whether the world turns bad only within the act.
    pub(crate) fn begins_well(&self) -> bool {
        matches!(self, Act::CatchUp { .. } | Act::Return { .. })
    }
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Must {
    /// Every line is complete so long after the first was sent.
    CompleteWithin(Duration),
    /// No short line takes longer.
    ShortLinesWithin(Duration),
    /// No more changes of leader, the first included.
    LeadersAtMost(usize),
    /// Once a replica is dead, no more campaigns.
    CampaignsAtMost(usize),
    /// From the death of the replica on, completed lines are never further apart. Only those count
    /// that were sent after it.
    SilenceWithin(Duration),
    /// So many lines are complete in time.
    Lines(usize),
    /// Half of the lines take no longer.
    MedianWithin(Duration),
    /// 99 of 100 lines take no longer.
    P99Within(Duration),
    /// A replica that was away fetches so many bytes a second.
    FetchesPerSecond(u64),
    /// The replicas' hosts send no more bytes, in percent of what has to go to the followers: each
    /// completed line once to each.
    SentPercent(u64),
    /// When nobody waits for anything, no more bytes a second are sent.
    QuietBelow(u64),
    /// Each replica warns once with these words.
    WarnsOnce(&'static str),
}

/// What a row is known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Today {
    /// Everything that must hold does.
    Holds,
    /// It fails each time, as told.
    Fails(&'static str),
    /// It fails now and then, as told. It is measured, and decides nothing.
    Wavers(&'static str),
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name, in lower case with dashes.
    pub name: &'static str,
    /// The world.
    pub world: World,
    /// What is done.
    pub act: Act,
    /// What must hold.
    pub must: &'static [Must],
    /// Whether the replicas may refuse their options instead.
    pub may_be_refused: bool,
    /// Whether it takes both cores, so that no other row may run beside it.
    pub alone: bool,
    /// Whether it is quick enough to run with every change.
    pub quick: bool,
    /// What it is known to do.
    pub today: Today,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Why no line could be sent, if that is so.
    pub never_began: Option<String>,
    /// The replicas refused their options.
    pub refused: bool,
    /// Lines sent and complete.
    pub lines: (usize, usize),
    /// From the first line to the end of the last, or of waiting for it.
    pub took: Duration,
    /// How long the complete lines took, in order.
    pub latencies: Vec<Duration>,
    /// The longest that a short line took, or has waited in vain.
    pub slowest_short: Duration,
    /// How often a replica began to lead.
    pub leaders: usize,
    /// How often a replica began phase 1; after the death of another, if that was killed.
    pub campaigns: usize,
    /// After the death of a replica, the longest time in which no line is completed that was sent
    /// after it.
    pub silence: Option<Duration>,
    /// Bytes a second that a replica fetched which had been away, and the seconds.
    pub fetched: Option<(u64, Duration)>,
    /// How long lines took before it came back, in order. (Then `latencies` are of those sent
    /// after that.)
    pub latencies_alone: Vec<Duration>,
    /// Bytes of all complete lines, once for each follower.
    pub useful_bytes: u64,
    /// Bytes and packets that left the replicas' hosts, and those that the buckets dropped.
    pub sent: (u64, u64, u64),
    /// Bytes a second when nobody waited for anything.
    pub idle_bytes_per_s: Option<u64>,
    /// What each replica warned of.
    pub warnings: Vec<Vec<String>>,
    /// Whether the chat logs of the living became equal.
    pub settled: bool,
    /// A guarantee that was broken.
    pub unsafe_because: Option<String>,
}

impl Row {
    /// What of the things that must hold does not, in words.
    pub fn broken(&self, seen: &Seen) -> Vec<String> {
        if seen.refused {
            let why = (!self.may_be_refused).then(|| "the options were refused".to_owned());
            return why.into_iter().collect();
        }
        if let Some(why) = &seen.never_began {
            return vec![why.clone()];
        }
        let mut broken: Vec<String> =
            self.must.iter().filter_map(|must| must.broken(seen)).collect();
        if self.must.is_empty() {
            broken.push("nothing is asked of this row".into());
        }
        broken
    }
}

impl Must {
    /// What is wrong, if it does not hold.
    fn broken(&self, seen: &Seen) -> Option<String> {
        let over = |what: &str, is: Option<Duration>, most: Duration| match is {
            Some(is) if is <= most => None,
            Some(is) => Some(format!("{what} {}, not {}", shown(is), shown(most))),
            None => Some(format!("{what}: no line is complete")),
        };
        match *self {
            Must::CompleteWithin(most) => {
                let (sent, complete) = seen.lines;
                let all = complete == sent && sent > 0 && seen.took <= most;
                (!all).then(|| {
                    let took = shown(seen.took);
                    format!("{complete} of {sent} lines in {took}, not all in {}", shown(most))
                })
            }
            Must::ShortLinesWithin(most) => over("a short line", Some(seen.slowest_short), most),
            Must::LeadersAtMost(most) => {
                (seen.leaders > most).then(|| format!("{} leaders, not {most}", seen.leaders))
            }
            Must::CampaignsAtMost(most) => {
                (seen.campaigns > most).then(|| format!("{} campaigns, not {most}", seen.campaigns))
            }
            Must::SilenceWithin(most) => over("silence", seen.silence, most),
            Must::Lines(least) => {
                (seen.lines.1 < least).then(|| format!("{} lines, not {least}", seen.lines.1))
            }
            Must::MedianWithin(most) => over("half take", seen.percentile(50), most),
            Must::P99Within(most) => over("99 % take", seen.percentile(99), most),
            Must::FetchesPerSecond(least) => {
                let fetched = seen.fetched.map_or(0, |(rate, _)| rate);
                (fetched < least).then(|| format!("fetches {fetched} bytes/s, not {least}"))
            }
            Must::SentPercent(most) => match seen.sent_percent() {
                Some(percent) if percent <= most => None,
                Some(percent) => Some(format!("sent {percent} % of what must be, not {most}")),
                None => Some("sent for no line".into()),
            },
            Must::QuietBelow(most) => match seen.idle_bytes_per_s {
                Some(rate) if rate <= most => None,
                Some(rate) => Some(format!("{rate} bytes/s when idle, not {most}")),
                None => Some("never idle".into()),
            },
            Must::WarnsOnce(words) => {
                let count = |of: &Vec<String>| of.iter().filter(|w| w.contains(words)).count();
                let counts: Vec<usize> = seen.warnings.iter().map(count).collect();
                let once = !counts.is_empty() && counts.iter().all(|count| *count == 1);
                (!once).then(|| format!("{counts:?} warnings of {words:?}, not one each"))
            }
        }
    }
}

impl Seen {
    /// Bytes sent, in percent of those of the complete lines, once for each follower.
    fn sent_percent(&self) -> Option<u64> {
        (self.sent.0 * 100).checked_div(self.useful_bytes)
    }

    fn percentile(&self, percent: usize) -> Option<Duration> {
        percentile(&self.latencies, percent)
    }
}

/// The longest of the quickest so many percent of times that are in order.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let last = times.len().checked_sub(1)?;
    times.get(last * percent / 100).copied()
}

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused {
            return write!(out, "options refused");
        }
        if let Some(why) = &self.never_began {
            return write!(out, "{why}");
        }
        let (sent, complete) = self.lines;
        write!(out, "{complete}/{sent} lines in {}", shown(self.took))?;
        if let (Some(half), Some(p99)) = (self.percentile(50), self.percentile(99)) {
            write!(out, ", p50 {} p99 {}", shown(half), shown(p99))?;
        }
        write!(out, ", {} leaders, {} campaigns", self.leaders, self.campaigns)?;
        if let Some(silence) = self.silence {
            write!(out, ", silence {}", shown(silence))?;
        }
        if let Some((rate, took)) = self.fetched {
            write!(out, ", fetched {:.2} MB/s in {}", rate as f64 / 1e6, shown(took))?;
        }
        let (bytes, packets, dropped) = self.sent;
        write!(out, ", sent {:.2} MB {packets} packets", bytes as f64 / 1e6)?;
        if dropped > 0 {
            write!(out, " {dropped} dropped")?;
        }
        if let Some(percent) = self.sent_percent()
            && self.useful_bytes >= TELLING_BYTES
        {
            write!(out, " ({percent} %)")?;
        }
        if let Some(rate) = self.idle_bytes_per_s {
            write!(out, ", idle {rate} B/s")?;
        }
        let warnings: usize = self.warnings.iter().map(Vec::len).sum();
        if warnings > 0 {
            write!(out, ", {warnings} warnings")?;
        }
        if !self.settled {
            write!(out, ", logs differ")?;
        }
        Ok(())
    }
}

/// A time in three digits or so.
pub(crate) fn shown(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn row(must: &'static [Must]) -> Row {
        let act = Act::Send { groups: &[], limit: ms(1) };
        let (world, today) = (World::PLAIN, Today::Holds);
        Row {
            name: "test",
            world,
            act,
            must,
            may_be_refused: false,
            alone: false,
            quick: false,
            today,
        }
    }

    /// Nine lines of ten in a second, each of the first ten milliseconds.
    fn seen() -> Seen {
        Seen {
            lines: (10, 9),
            took: ms(1_000),
            latencies: (1..10).map(ms).collect(),
            slowest_short: ms(500),
            leaders: 2,
            campaigns: 3,
            silence: Some(ms(700)),
            fetched: Some((1_000, ms(10))),
            sent: (1_500, 3, 0),
            useful_bytes: 1_000,
            idle_bytes_per_s: Some(400),
            warnings: vec![vec!["the disk is slow".into()], Vec::new()],
            ..Seen::default()
        }
    }

    #[test]
    fn each_bound_is_broken_just_beyond_itself() {
        type Pair = (Must, Must);
        let pairs: [Pair; 10] = [
            (Must::ShortLinesWithin(ms(500)), Must::ShortLinesWithin(ms(499))),
            (Must::LeadersAtMost(2), Must::LeadersAtMost(1)),
            (Must::CampaignsAtMost(3), Must::CampaignsAtMost(2)),
            (Must::SilenceWithin(ms(700)), Must::SilenceWithin(ms(699))),
            (Must::Lines(9), Must::Lines(10)),
            (Must::MedianWithin(ms(5)), Must::MedianWithin(ms(4))),
            (Must::P99Within(ms(8)), Must::P99Within(ms(7))),
            (Must::FetchesPerSecond(1_000), Must::FetchesPerSecond(1_001)),
            (Must::SentPercent(150), Must::SentPercent(149)),
            (Must::QuietBelow(400), Must::QuietBelow(399)),
        ];
        for (holds, breaks) in pairs {
            assert_eq!(holds.broken(&seen()), None, "{holds:?}");
            assert!(breaks.broken(&seen()).is_some(), "{breaks:?}");
        }
    }

    #[test]
    fn lines_are_complete_in_time_only_if_all_are() {
        let within = |most, seen: &Seen| Must::CompleteWithin(ms(most)).broken(seen).is_none();
        let all = Seen { lines: (10, 10), ..seen() };
        assert!(within(1_000, &all));
        assert!(!within(999, &all));
        assert!(!within(9_999, &seen()));
        assert!(!within(9_999, &Seen::default()), "no line at all");
    }

    #[test]
    fn each_replica_warns_once() {
        let warns = Must::WarnsOnce("disk");
        let with = |warnings: &[&[&str]]| {
            let own = |of: &&[&str]| of.iter().map(|&line| line.into()).collect();
            Seen { warnings: warnings.iter().map(own).collect(), ..Seen::default() }
        };
        assert_eq!(warns.broken(&with(&[&["a disk"][..], &["other", "disk"]])), None);
        for wrong in [&[][..], &[&["a disk"][..], &[]], &[&["disk", "disk"][..]]] {
            assert!(warns.broken(&with(wrong)).is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        for must in [
            Must::SilenceWithin(ms(1)),
            Must::MedianWithin(ms(1)),
            Must::P99Within(ms(1)),
            Must::FetchesPerSecond(1),
            Must::SentPercent(1),
            Must::QuietBelow(1),
            Must::WarnsOnce("disk"),
            Must::Lines(1),
        ] {
            assert!(must.broken(&Seen::default()).is_some(), "{must:?}");
        }
        assert!(!row(&[]).broken(&seen()).is_empty(), "a row that asks for nothing");
    }

    #[test]
    fn a_refusal_is_right_only_where_the_row_says_so() {
        let refused = Seen { refused: true, ..Seen::default() };
        let strict = row(&[Must::LeadersAtMost(1)]);
        assert_eq!(strict.broken(&refused).len(), 1);
        let lenient = Row { may_be_refused: true, ..strict };
        assert!(lenient.broken(&refused).is_empty());
        assert!(!lenient.broken(&seen()).is_empty());
    }
}

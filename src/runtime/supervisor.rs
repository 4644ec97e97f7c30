//! Tells the program that supervises this process how the replica is: systemd, by its protocol of
//! datagrams to `$NOTIFY_SOCKET` (`Type=notify`).
//!
//! - `READY=1` once this replica leads or hears a leader: then it serves.
//! - `WATCHDOG=1` twice in the time that the unit allows (`WatchdogSec=`), each time when proposer and
//!   learner have answered the main thread. So a replica of which one of these three threads hangs
//!   is killed and started again.
//! - `STATUS=` what it does, in a line that `systemctl status` shows.
//! - `STOPPING=1` when it has to end.
//!
//! A replica without `$NOTIFY_SOCKET` says nothing of this to anybody. **Does not** watch the
//! acceptor: it may have to wait for its disk, and a new start would not make that faster.

use super::post::{Router, supervisors_question};
use crate::message::{Conduct, Leadership, Status};
use crate::types::{ReplicaId, Time};
use interleavings::threads::Receiver;
use sd_notify::NotifyState;
use seldom::Seldom;
use std::env;
use std::io;

/// How often the roles are asked if nobody watches.
const EVERY_US: u64 = 5_000_000;

/// Before it serves they are asked this often: somebody may wait for that.
const EVERY_US_AT_FIRST: u64 = 100_000;

/// What the supervisor is told.
type Tell = Box<dyn FnMut(&[NotifyState<'_>]) -> io::Result<()>>;

/// What is told, and when.
pub(super) struct Supervisor {
    id: ReplicaId,
    router: Router,
    answers: Receiver<Status>,
    tell: Tell,
    /// Half of what the watchdog allows, in microseconds, if there is one.
    watchdog_us: Option<u64>,
    /// When the roles are asked next.
    ask_at: Time,
    /// When the watchdog is told next as long as the roles have not begun.
    alive_at: Time,
    is_ready: bool,
    is_stopping: bool,
    said: String,
    failed: Seldom,
}

impl Supervisor {
    /// For replica `id`, if somebody supervises it. `router` hands the question over, and `answers`
    /// brings what the roles say.
    pub(super) fn of(id: ReplicaId, router: Router, answers: Receiver<Status>) -> Option<Self> {
        env::var_os("NOTIFY_SOCKET")?;
        let watchdog = sd_notify::watchdog_enabled();
        let watchdog_us = watchdog.map(|time| time.as_micros() as u64 / 2);
        Some(Supervisor::new(id, router, answers, watchdog_us, Box::new(sd_notify::notify)))
    }

    fn new(
        id: ReplicaId,
        router: Router,
        answers: Receiver<Status>,
        watchdog_us: Option<u64>,
        tell: Tell,
    ) -> Self {
        let (ask_at, alive_at) = (Time(0), Time(0));
        let (is_ready, is_stopping, said, failed) = (false, false, String::new(), Seldom::new());
        Supervisor {
            id,
            router,
            answers,
            tell,
            watchdog_us,
            ask_at,
            alive_at,
            is_ready,
            is_stopping,
            said,
            failed,
        }
    }

    /// Does what is due. `has_begun`: whether warm-up is over.
    pub(super) fn look(&mut self, now: Time, has_begun: bool) {
        if !has_begun {
            if now >= self.alive_at {
                self.alive_at = now.plus_us(self.watchdog_us.unwrap_or(EVERY_US));
                self.say(now, &[NotifyState::Watchdog]);
            }
            return self.show(now, "waits for the other replicas".into());
        }
        if let Ok(status) = self.answers.try_recv() {
            self.say(now, &[NotifyState::Watchdog]);
            let serves = matches!(status.leadership, Leadership { leader: Some(_), .. });
            if serves && !self.is_stopping && !std::mem::replace(&mut self.is_ready, true) {
                self.say(now, &[NotifyState::Ready]);
            }
            if !self.is_stopping {
                self.show(now, in_words(&status));
            }
        }
        if now >= self.ask_at {
            let every_us = self.watchdog_us.unwrap_or(EVERY_US).min(EVERY_US);
            let at_first = if self.is_ready { every_us } else { EVERY_US_AT_FIRST };
            self.ask_at = now.plus_us(every_us.min(at_first));
            supervisors_question(&mut self.router);
        }
    }

    /// The process has to end.
    pub(super) fn stops(&mut self, now: Time) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            self.say(now, &[NotifyState::Stopping]);
            self.show(now, "ends".into());
        }
    }

    fn show(&mut self, now: Time, words: String) {
        if words != self.said {
            self.say(now, &[NotifyState::Status(&words)]);
            self.said = words;
        }
    }

    fn say(&mut self, now: Time, state: &[NotifyState<'_>]) {
        if let Err(error) = (self.tell)(state)
            && let Some(again) = self.failed.happened(now.0)
        {
            log::warn!("replica {}: $NOTIFY_SOCKET: {error}; the replica goes on{again}", self.id);
        }
    }
}

/// One line for `systemctl status`. It names no slot, which would change with each line.
fn in_words(status: &Status) -> String {
    let Leadership { conduct, leader, .. } = &status.leadership;
    let of = leader.map_or(" nobody".into(), |ballot| format!(" ballot {ballot}"));
    match (conduct, leader) {
        (Conduct::Leads, _) => format!("leads with{of}"),
        (Conduct::Follows, Some(_)) => format!("follows{of}"),
        (Conduct::Follows, None) => "hears no leader".into(),
        (Conduct::Campaigns, _) => "campaigns".into(),
        (Conduct::Observes, _) => format!("has no vote, and follows{of}"),
        (Conduct::WarmsUp(_), _) => "waits for the other replicas".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paxos::proposer::Input;
    use crate::runtime::post::{Here, Inboxes, channels};
    use crate::types::{Ballot, Slot};
    use datagrams::counters::Counters;
    use interleavings::threads::{Sender, bounded};
    use std::sync::{Arc, Mutex};

    /// Where replica 1 answers, its inboxes, and what is told.
    struct Scene {
        supervisor: Supervisor,
        inboxes: Inboxes,
        answer: Sender<Status>,
        told: Arc<Mutex<Vec<String>>>,
    }

    const WATCHDOG_US: u64 = 1_000_000;

    fn scene() -> Scene {
        let (links, inboxes) = channels(None);
        let router = Router::new(links, Arc::new(Counters::default()), Here::Nobody);
        let (answer, answers) = bounded(1);
        let told = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&told);
        let tell = move |states: &[NotifyState<'_>]| {
            to.lock().expect("no test panics here").extend(states.iter().map(ToString::to_string));
            Ok(())
        };
        let (id, watchdog) = (ReplicaId(1), Some(WATCHDOG_US));
        let supervisor = Supervisor::new(id, router, answers, watchdog, Box::new(tell));
        Scene { supervisor, inboxes, answer, told }
    }

    impl Scene {
        fn look(&mut self, us: u64, has_begun: bool) -> Vec<String> {
            self.supervisor.look(Time(us), has_begun);
            std::mem::take(&mut *self.told.lock().expect("no test panics here"))
        }

        fn is_asked(&self) -> bool {
            let asks = |batch: &Vec<Input>| matches!(batch[..], [Input::Status(..)]);
            self.inboxes.proposer.try_recv().is_ok_and(|batch| asks(&batch))
        }

        fn says(&self, conduct: Conduct, leader: Option<u64>) {
            let (leader, ballot) = (leader.map(Ballot), Ballot(4));
            let leadership = Leadership {
                conduct,
                leader,
                ballot,
                configuration: 0,
                members: crate::quorum::ReplicaSet::EMPTY,
                sync_ms: 0,
            };
            let (applied, decided) = (Slot(1), Slot(1));
            let said = Status { leadership, applied, decided, hash: None };
            self.answer.send(said).expect("there is room");
        }
    }

    #[test]
    fn a_replica_that_waits_for_the_others_is_alive_and_not_ready() {
        let mut scene = scene();
        let said = scene.look(0, false);
        assert_eq!(said, ["WATCHDOG=1", "STATUS=waits for the other replicas"]);
        assert_eq!(scene.look(WATCHDOG_US - 1, false), Vec::<String>::new());
        assert_eq!(scene.look(WATCHDOG_US, false), ["WATCHDOG=1"]);
        assert!(!scene.is_asked(), "its roles have not begun");
    }

    #[test]
    fn a_replica_is_ready_once_it_hears_a_leader_and_says_so_once() {
        let mut scene = scene();
        scene.look(0, true);
        assert!(scene.is_asked());
        scene.says(Conduct::Follows, None);
        assert_eq!(scene.look(10, true), ["WATCHDOG=1", "STATUS=hears no leader"]);
        assert_eq!(scene.look(EVERY_US_AT_FIRST, true), Vec::<String>::new());
        assert!(scene.is_asked(), "soon again, as long as somebody may wait");
        scene.says(Conduct::Follows, Some(3));
        let said = scene.look(EVERY_US_AT_FIRST + 9, true);
        assert_eq!(said, ["WATCHDOG=1", "READY=1", "STATUS=follows ballot 3"]);
        scene.says(Conduct::Leads, Some(4));
        let said = scene.look(EVERY_US_AT_FIRST + WATCHDOG_US, true);
        assert_eq!(said, ["WATCHDOG=1", "STATUS=leads with ballot 4"]);
    }

    #[test]
    fn roles_that_do_not_answer_are_not_called_alive() {
        let mut scene = scene();
        for look in 0..100 {
            assert_eq!(scene.look(look * WATCHDOG_US, true), Vec::<String>::new());
        }
    }

    #[test]
    fn a_replica_that_ends_says_so_once_and_no_other_status_after_it() {
        let mut scene = scene();
        scene.supervisor.stops(Time(0));
        scene.supervisor.stops(Time(1));
        scene.says(Conduct::Leads, Some(4));
        let said = scene.look(2, true);
        assert_eq!(said, ["STOPPING=1", "STATUS=ends", "WATCHDOG=1"]);
    }
}

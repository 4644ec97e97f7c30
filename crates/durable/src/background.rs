//! Work on the disk that its thread does not wait for, one piece at a time.
//!
//! A checkpoint syncs files that have grown by megabytes: milliseconds, in which a
//! learner that waited would answer nobody. So it hands the work over, and asks what
//! became of it when the next piece is due, long after. An error is told then; work that
//! was begun and never asked about is waited for when its `Beside` is dropped, so that
//! nothing of one life of a process touches files that the next has opened.
//!
//! On simulated disks, where a run must be the same each time, there is no thread: the
//! work lies there until it is asked about, which is as late as a thread may be.

use interleavings::threads::{self, Receiver, bounded};
use std::fmt;
use std::io;

/// A piece of work.
type Work = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A thread of its own.
    Thread,
    /// Whoever asks what became of it, and then.
    Asker,
}

/// At most one piece of work that is not known to be done.
pub struct Beside {
    by: By,
    begun: Option<Begun>,
}

enum Begun {
    /// Says what became of it.
    Thread(Receiver<io::Result<()>>),
    Asker(Work),
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside")
            .field("by", &self.by)
            .field("begun", &self.begun.is_some())
            .finish()
    }
}

impl Beside {
    /// With nothing to do.
    pub fn new(by: By) -> Beside {
        Beside { by, begun: None }
    }

    /// Begins a piece, once the one before is done.
    ///
    /// # Errors
    ///
    /// What became of the one before, or that no thread is to be had.
    pub fn begin(
        &mut self,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.finish()?;
        self.begun = Some(match self.by {
            By::Thread => {
                let (done, ended) = bounded(1);
                threads::spawn("checkpoint", move || {
                    // Nobody hears it if the process ends meanwhile.
                    let _ = done.send(work());
                })?;
                Begun::Thread(ended)
            }
            By::Asker => Begun::Asker(Box::new(work)),
        });
        Ok(())
    }

    /// Waits for the piece that was begun last.
    ///
    /// # Errors
    ///
    /// What became of it.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.begun.take() {
            None => Ok(()),
            Some(Begun::Asker(work)) => work(),
            Some(Begun::Thread(ended)) => {
                let gone = |_| io::Error::other("the thread of a checkpoint has panicked");
                ended.recv().map_err(gone)?
            }
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // What a thread has begun ends; what nobody will do any more is as if the power
        // had gone.
        if let Some(Begun::Thread(ended)) = self.begun.take() {
            let _ = ended.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn fails() -> io::Result<()> {
        Err(io::Error::other("no space"))
    }

    #[test]
    fn an_error_is_told_when_the_next_piece_is_due_and_only_then() {
        for by in [By::Thread, By::Asker] {
            let mut beside = Beside::new(by);
            beside.begin(fails).expect("nothing was begun before");
            let refused = beside.begin(|| Ok(())).expect_err("the first piece failed");
            assert_eq!(refused.to_string(), "no space");
            beside.finish().expect("it was told once");
        }
    }

    #[test]
    fn pieces_are_done_one_after_the_other() {
        for by in [By::Thread, By::Asker] {
            let (mut beside, done) = (Beside::new(by), Arc::new(AtomicU32::new(0)));
            for piece in 0..3 {
                let done = Arc::clone(&done);
                let work = move || {
                    assert_eq!(done.fetch_add(1, Ordering::SeqCst), piece);
                    Ok(())
                };
                beside.begin(work).expect("none fails");
            }
            beside.finish().expect("nor does the last");
            assert_eq!(done.load(Ordering::SeqCst), 3);
        }
    }

    #[test]
    fn what_a_thread_has_begun_is_done_before_its_owner_is_gone() {
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let done = Arc::new(AtomicU32::new(0));
        let mut beside = Beside::new(By::Thread);
        let seen = Arc::clone(&done);
        let work = move || {
            let _ = held.recv();
            seen.store(1, Ordering::SeqCst);
            Ok(())
        };
        beside.begin(work).expect("a thread");
        drop(hold);
        drop(beside);
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn without_a_thread_what_nobody_asks_about_is_never_done() {
        let done = Arc::new(AtomicU32::new(0));
        let mut beside = Beside::new(By::Asker);
        let seen = Arc::clone(&done);
        let work = move || {
            seen.store(1, Ordering::SeqCst);
            Ok(())
        };
        beside.begin(work).expect("nothing before");
        drop(beside);
        assert_eq!(done.load(Ordering::SeqCst), 0);
    }
}

//! Runs disk work in the background, one piece at a time.
//!
//! Syncing files that have grown by megabytes takes milliseconds. A thread that waited for
//! that would answer no client meanwhile. So the thread hands the work over, and asks for its
//! result when the next piece is due, long after. It learns of an error then. When a
//! [`Background`] is dropped, it waits for the work that was begun. So no work of one life of
//! a process touches files that the next life has opened.
//!
//! On a simulated disk there is no second thread, because a run must be the same each time.
//! There the work is done when its result is asked for, which is as late as a thread may be.

use interleavings::threads::{self, Receiver, bounded};
use std::fmt;
use std::io;

/// A piece of work.
type Work = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Which thread does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// A thread of its own.
    Thread,
    /// The thread that asks for the result, at that moment.
    Caller,
}

/// Holds at most one piece of work whose result is not known yet.
pub struct Background {
    executor: Executor,
    begun: Option<Begun>,
}

enum Begun {
    /// Receives the result from the thread that does the work.
    Thread(Receiver<io::Result<()>>),
    Caller(Work),
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background")
            .field("executor", &self.executor)
            .field("begun", &self.begun.is_some())
            .finish()
    }
}

impl Background {
    /// A background without work.
    pub fn new(executor: Executor) -> Background {
        Background { executor, begun: None }
    }

    /// Begins a piece of work, once the piece before is done.
    ///
    /// # Errors
    ///
    /// If the piece before failed, or the system gives no thread.
    pub fn begin(
        &mut self,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.finish()?;
        self.begun = Some(match self.executor {
            Executor::Thread => {
                let (done, ended) = bounded(1);
                threads::spawn("checkpoint", move || {
                    // If the process ends meanwhile, no thread receives the result.
                    let _ = done.send(work());
                })?;
                Begun::Thread(ended)
            }
            Executor::Caller => Begun::Caller(Box::new(work)),
        });
        Ok(())
    }

    /// Waits for the piece that was begun last.
    ///
    /// # Errors
    ///
    /// If it failed.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.begun.take() {
            None => Ok(()),
            Some(Begun::Caller(work)) => work(),
            Some(Begun::Thread(ended)) => {
                let gone = |_| io::Error::other("the thread of a checkpoint has panicked");
                ended.recv().map_err(gone)?
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A thread completes what it has begun. Work that nobody will do any more is as if
        // the power had failed.
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
    fn an_error_is_returned_when_the_next_piece_is_due_and_only_then() {
        for executor in [Executor::Thread, Executor::Caller] {
            let mut background = Background::new(executor);
            background.begin(fails).expect("nothing was begun before");
            let refused = background.begin(|| Ok(())).expect_err("the first piece failed");
            assert_eq!(refused.to_string(), "no space");
            background.finish().expect("it was told once");
        }
    }

    #[test]
    fn pieces_are_done_one_after_the_other() {
        for executor in [Executor::Thread, Executor::Caller] {
            let (mut background, done) = (Background::new(executor), Arc::new(AtomicU32::new(0)));
            for piece in 0..3 {
                let done = Arc::clone(&done);
                let work = move || {
                    assert_eq!(done.fetch_add(1, Ordering::SeqCst), piece);
                    Ok(())
                };
                background.begin(work).expect("none fails");
            }
            background.finish().expect("nor does the last");
            assert_eq!(done.load(Ordering::SeqCst), 3);
        }
    }

    #[test]
    fn a_thread_completes_its_work_before_its_owner_is_gone() {
        let (hold, held) = crossbeam_channel::bounded::<()>(0);
        let done = Arc::new(AtomicU32::new(0));
        let mut background = Background::new(Executor::Thread);
        let seen = Arc::clone(&done);
        let work = move || {
            let _ = held.recv();
            seen.store(1, Ordering::SeqCst);
            Ok(())
        };
        background.begin(work).expect("a thread");
        drop(hold);
        drop(background);
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn without_a_thread_work_whose_result_nobody_asks_for_is_never_done() {
        let done = Arc::new(AtomicU32::new(0));
        let mut background = Background::new(Executor::Caller);
        let seen = Arc::clone(&done);
        let work = move || {
            seen.store(1, Ordering::SeqCst);
            Ok(())
        };
        background.begin(work).expect("nothing before");
        drop(background);
        assert_eq!(done.load(Ordering::SeqCst), 0);
    }
}

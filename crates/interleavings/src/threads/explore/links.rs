//! The channels and flags of explorations: the real ones, with a step before each use.
//!
//! Outside of an exploration they behave like the real ones, and wait like them.

#![cfg(feature = "scheduler")]
#![allow(missing_docs)]

use super::here::{Here, here};
use super::number_of_a_link;
use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// The sending end of a channel.
#[derive(Debug)]
pub struct Sender<T> {
    real: crossbeam_channel::Sender<T>,
    link: Link,
}

/// The receiving end of a channel.
#[derive(Debug)]
pub struct Receiver<T> {
    real: crossbeam_channel::Receiver<T>,
    link: Link,
}

/// The number of the channel. It is dropped after the real end of the channel.
#[derive(Debug)]
struct Link(u64);

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(here) = here() {
            here.touch(self.0);
        }
    }
}

/// A channel. In an exploration it holds no more than the exploration has drawn.
pub fn bounded<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    let most = here().map_or(most, |here| most.min(here.room()));
    let (to, from) = crossbeam_channel::bounded(most);
    let number = number_of_a_link();
    (Sender { real: to, link: Link(number) }, Receiver { real: from, link: Link(number) })
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { real: self.real.clone(), link: Link(self.link.0) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(here) = here() {
            here.point("lets a sender go");
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let Some(here) = here() {
            here.point("lets a receiver go");
        }
    }
}

impl<T> Sender<T> {
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let Some(here) = here() else { return self.real.try_send(message) };
        here.point("try_send");
        self.real.try_send(message)?;
        here.touch(self.link.0);
        Ok(())
    }

    pub fn send(&self, mut message: T) -> Result<(), SendError<T>> {
        let Some(here) = here() else { return self.real.send(message) };
        here.point("send");
        loop {
            match self.real.try_send(message) {
                Ok(()) => {
                    here.touch(self.link.0);
                    return Ok(());
                }
                Err(TrySendError::Disconnected(message)) => return Err(SendError(message)),
                Err(TrySendError::Full(back)) => message = back,
            }
            here.block("send", Some(self.link.0), None, false);
        }
    }
}

impl<T> Receiver<T> {
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let Some(here) = here() else { return self.real.try_recv() };
        here.point("try_recv");
        self.take(&here)
    }

    fn take(&self, here: &Here) -> Result<T, TryRecvError> {
        let message = self.real.try_recv()?;
        here.touch(self.link.0);
        Ok(message)
    }

    pub fn recv(&self) -> Result<T, RecvError> {
        let Some(here) = here() else { return self.real.recv() };
        here.point("recv");
        loop {
            match self.take(&here) {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                Err(TryRecvError::Empty) => here.block("recv", Some(self.link.0), None, false),
            }
        }
    }

    pub fn recv_timeout(&self, most: Duration) -> Result<T, RecvTimeoutError> {
        let Some(here) = here() else { return self.real.recv_timeout(most) };
        let until = here.late(most);
        here.point("recv_timeout");
        loop {
            match self.take(&here) {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if here.world.state().now_us >= until => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(TryRecvError::Empty) => {
                    here.block("recv_timeout", Some(self.link.0), Some(until), false);
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        if let Some(here) = here() {
            here.point("is_empty");
        }
        self.real.is_empty()
    }
}

/// A flag.
#[derive(Debug, Default)]
pub struct AtomicBool(std::sync::atomic::AtomicBool);

impl AtomicBool {
    pub const fn new(value: bool) -> Self {
        AtomicBool(std::sync::atomic::AtomicBool::new(value))
    }

    pub fn load(&self, order: Ordering) -> bool {
        if let Some(here) = here() {
            here.point("reads a flag");
        }
        self.0.load(order)
    }

    pub fn store(&self, value: bool, order: Ordering) {
        if let Some(here) = here() {
            here.point("sets a flag");
        }
        self.0.store(value, order);
    }

    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        if let Some(here) = here() {
            here.point("takes a flag");
        }
        self.0.swap(value, order)
    }
}

/// Lets other threads go first.
pub fn yield_now() {
    match here() {
        Some(here) => here.yields(),
        None => thread::yield_now(),
    }
}

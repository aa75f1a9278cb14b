//! A lock that is granted in the order in which it was asked for, shared or alone, as the server's own are.
#![cfg(any(test, feature = "testing"))]
#![allow(clippy::panic)]

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::storage::blocks::LockMode;

/// Who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a thread may do that holds the lock already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// nothing: a buffer's lock, which would wait for itself
    Never,
    /// take it once more in the same mode: a heavyweight lock, which counts
    SameMode,
}

#[derive(Debug, Default)]
struct State {
    holders: Vec<(ThreadId, LockMode)>,
    waiting: VecDeque<u64>,
    tickets: u64,
}

/// The lock.
#[derive(Debug)]
pub(super) struct FairLock {
    name: String,
    again: Again,
    state: Mutex<State>,
    changed: Condvar,
}

impl FairLock {
    pub(super) fn new(name: String, again: Again) -> Self {
        FairLock { name, again, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it; waits for its turn.
    pub(super) fn lock(&self, mode: LockMode) {
        let me = std::thread::current().id();
        let mut state = self.state();
        if let Some(&(_, held)) = state.holders.iter().find(|holder| holder.0 == me) {
            if self.again == Again::Never || held != mode {
                drop(state);
                panic!("{}: taken {mode:?} by a thread that holds it {held:?}", self.name);
            }
            state.holders.push((me, mode));
            return;
        }
        let ticket = state.tickets;
        state.tickets += 1;
        state.waiting.push_back(ticket);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let free = match mode {
                LockMode::Shared => state.holders.iter().all(|holder| holder.1 == LockMode::Shared),
                LockMode::Exclusive => state.holders.is_empty(),
            };
            if free && state.waiting.front() == Some(&ticket) {
                state.waiting.pop_front();
                state.holders.push((me, mode));
                // the next in line may share it
                self.changed.notify_all();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let holders = state.holders.clone();
                state.waiting.retain(|&waiting| waiting != ticket);
                drop(state);
                panic!("{}: waited too long for {holders:?}", self.name);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets it go.
    pub(super) fn unlock(&self, mode: LockMode) {
        let me = std::thread::current().id();
        let mut state = self.state();
        let held = state.holders.iter().position(|&holder| holder == (me, mode));
        match held {
            Some(at) => {
                state.holders.swap_remove(at);
                self.changed.notify_all();
            }
            None => {
                drop(state);
                panic!("{}: released {mode:?} by a thread that does not hold it so", self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI32, Ordering};

    #[test]
    fn one_alone_or_many_together() {
        let lock = FairLock::new("lock".into(), Again::Never);
        let inside = AtomicI32::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (lock, inside) = (&lock, &inside);
                scope.spawn(move || {
                    for round in 0..200 {
                        if (thread + round) % 3 == 0 {
                            lock.lock(LockMode::Exclusive);
                            assert_eq!(inside.swap(-1, Ordering::SeqCst), 0);
                            inside.store(0, Ordering::SeqCst);
                            lock.unlock(LockMode::Exclusive);
                        } else {
                            lock.lock(LockMode::Shared);
                            assert!(inside.fetch_add(1, Ordering::SeqCst) >= 0);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            lock.unlock(LockMode::Shared);
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn who_waits_alone_is_not_overtaken() {
        let lock = FairLock::new("lock".into(), Again::Never);
        let order = Mutex::new(Vec::new());
        lock.lock(LockMode::Shared);
        std::thread::scope(|scope| {
            for (ticket, mode) in [(0, LockMode::Exclusive), (1, LockMode::Shared)] {
                while lock.state().waiting.len() < ticket {
                    std::thread::yield_now();
                }
                let (lock, order) = (&lock, &order);
                scope.spawn(move || {
                    lock.lock(mode);
                    order.lock().unwrap().push(ticket);
                    lock.unlock(mode);
                });
            }
            while lock.state().waiting.len() < 2 {
                std::thread::yield_now();
            }
            lock.unlock(LockMode::Shared);
        });
        assert_eq!(*order.lock().unwrap(), [0, 1]);
    }

    #[test]
    #[should_panic(expected = "holds it Shared")]
    fn a_page_is_not_taken_twice() {
        let lock = FairLock::new("page".into(), Again::Never);
        lock.lock(LockMode::Shared);
        lock.lock(LockMode::Shared);
    }

    #[test]
    #[should_panic(expected = "taken Exclusive")]
    fn a_gate_counts_but_is_not_upgraded() {
        let lock = FairLock::new("lock".into(), Again::SameMode);
        lock.lock(LockMode::Shared);
        lock.lock(LockMode::Shared);
        lock.lock(LockMode::Exclusive);
    }
}

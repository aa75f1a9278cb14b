//! Threads that take turns: one runs at a time, and who goes on after each step is drawn from a seed. So
//! operations that know nothing of it are interleaved step by step, and the same seed gives the same
//! interleaving.
//!
//! A model checker for threads (loom, shuttle) would replace the locks and atomics of what it checks. Here
//! those are the blocks, the operation locks and nothing else, all behind one trait, so it is enough that a
//! store lets others go first before each of its calls; and the operation locks must be known here, so that who
//! waits is not drawn, and that nobody can go on is seen.
#![cfg(any(test, feature = "testing"))]

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::storage::blocks::{LockMode, OperationLock};
use crate::storage::page::Tid;

/// Who needs more steps is in a loop.
const MOST_STEPS: u64 = 3_000_000;
/// Events that are kept for the report of a failure.
const KEPT: usize = 60;

/// The schedule has failed: everybody ends as soon as he can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Ready,
    Waiting(OperationLock, LockMode, u64),
    Done,
}

#[derive(Debug)]
struct Actor {
    standing: Standing,
    held: Vec<(OperationLock, LockMode)>,
    /// elements that lists named, or the meta page, since it holds an operation lock
    told: HashSet<u64>,
}

#[derive(Debug)]
struct State {
    rng: SmallRng,
    current: usize,
    /// steps of the current one before the next is drawn
    left: u32,
    /// how many that are, at most
    longest: u32,
    actors: Vec<Actor>,
    tickets: u64,
    steps: u64,
    failed: Option<String>,
    events: Vec<String>,
}

/// The turns of some threads.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    wake: Vec<Condvar>,
}

impl State {
    /// Whether a request is granted: who asked before and cannot go along with it comes first, as in the server.
    fn is_granted(&self, me: usize, lock: OperationLock, mode: LockMode, ticket: u64) -> bool {
        let isolated = mode == LockMode::Exclusive;
        self.actors.iter().enumerate().all(|(at, actor)| {
            let holds =
                actor.held.iter().any(|held| held.0 == lock && (isolated || held.1 == LockMode::Exclusive));
            let before = match actor.standing {
                Standing::Waiting(other, wanted, earlier) => {
                    other == lock && earlier < ticket && (isolated || wanted == LockMode::Exclusive)
                }
                _ => false,
            };
            at == me || !(holds || before)
        })
    }

    fn can_run(&self, me: usize) -> bool {
        match self.actors.get(me).map(|actor| actor.standing) {
            Some(Standing::Ready) => true,
            Some(Standing::Waiting(lock, mode, ticket)) => self.is_granted(me, lock, mode, ticket),
            _ => false,
        }
    }

    /// Draws who goes on.
    fn draw(&mut self) {
        let ready: Vec<usize> = (0..self.actors.len()).filter(|&at| self.can_run(at)).collect();
        if ready.is_empty() {
            if self.actors.iter().any(|actor| actor.standing != Standing::Done) {
                let standings: Vec<_> =
                    self.actors.iter().map(|actor| (actor.standing, &actor.held)).collect();
                let what = format!("deadlock: {standings:?}");
                self.failed.get_or_insert(what);
            }
            return;
        }
        self.current = ready[self.rng.random_range(0..ready.len())];
        // short turns make races, long ones let somebody stand for long in the middle of something
        self.left = match self.rng.random_range(0..4) {
            0 => self.rng.random_range(0..3),
            1 => self.rng.random_range(0..20),
            _ => self.rng.random_range(0..self.longest),
        };
    }
}

impl Turns {
    /// The turns of so many threads, numbered from 0.
    pub fn new(seed: u64, actors: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let longest = *[4, 40, 400, 2000].get(rng.random_range(0..4usize)).unwrap_or(&40);
        let actor = || Actor { standing: Standing::Ready, held: Vec::new(), told: HashSet::new() };
        let mut state = State {
            rng,
            current: 0,
            left: 0,
            longest,
            actors: (0..actors).map(|_| actor()).collect(),
            tickets: 0,
            steps: 0,
            failed: None,
            events: Vec::new(),
        };
        state.draw();
        Turns { state: Mutex::new(state), wake: (0..actors).map(|_| Condvar::new()).collect() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: &State) {
        if state.failed.is_some() {
            self.wake.iter().for_each(Condvar::notify_all);
        } else if let Some(wake) = self.wake.get(state.current) {
            wake.notify_all();
        }
    }

    fn wait<'s>(&self, me: usize, mut state: MutexGuard<'s, State>) -> Result<MutexGuard<'s, State>, Over> {
        while state.current != me && state.failed.is_none() {
            state = match self.wake.get(me) {
                Some(wake) => wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                None => return Err(Over),
            };
        }
        if state.failed.is_some() { Err(Over) } else { Ok(state) }
    }

    /// Lets others go first, maybe.
    pub fn step(&self, me: usize) -> Result<(), Over> {
        let mut state = self.state();
        state.steps += 1;
        if state.steps > MOST_STEPS {
            state.failed.get_or_insert_with(|| "goes on without end".into());
            self.wake(&state);
        }
        if state.failed.is_some() {
            return Err(Over);
        }
        if state.current == me && state.left > 0 {
            state.left -= 1;
            return Ok(());
        }
        if state.current == me {
            state.draw();
            self.wake(&state);
        }
        self.wait(me, state).map(|_| ())
    }

    /// Takes an operation lock when it is granted; others run meanwhile.
    pub fn lock(&self, me: usize, lock: OperationLock, mode: LockMode) -> Result<(), Over> {
        self.step(me)?;
        let mut state = self.state();
        let ticket = state.tickets;
        state.tickets += 1;
        if !state.is_granted(me, lock, mode, ticket) {
            if let Some(actor) = state.actors.get_mut(me) {
                actor.standing = Standing::Waiting(lock, mode, ticket);
            }
            state.draw();
            self.wake(&state);
            state = self.wait(me, state)?;
        }
        if let Some(actor) = state.actors.get_mut(me) {
            actor.standing = Standing::Ready;
            actor.held.push((lock, mode));
        }
        Ok(())
    }

    /// Releases an operation lock.
    pub fn unlock(&self, me: usize, lock: OperationLock, mode: LockMode) {
        if let Some(actor) = self.state().actors.get_mut(me) {
            if let Some(at) = actor.held.iter().position(|held| *held == (lock, mode)) {
                actor.held.swap_remove(at);
            }
            if actor.held.is_empty() {
                actor.told.clear();
            }
        }
    }

    /// Releases what is held, as the end of a transaction does.
    pub fn unlock_all(&self, me: usize) {
        if let Some(actor) = self.state().actors.get_mut(me) {
            actor.held.clear();
            actor.told.clear();
        }
    }

    /// Somebody was told of elements, and may read them while he holds his operation lock.
    pub fn told(&self, me: usize, elements: impl Iterator<Item = Tid>) {
        if let Some(actor) = self.state().actors.get_mut(me)
            && !actor.held.is_empty()
        {
            actor.told.extend(elements.map(Tid::packed));
        }
    }

    /// An element is marked as deleted, and its place may be another's from now on: nobody else may remember it.
    pub fn marked(&self, me: usize, element: Tid) {
        let mut state = self.state();
        let packed = element.packed();
        let who =
            state.actors.iter().enumerate().find(|(at, actor)| *at != me && actor.told.contains(&packed));
        if let Some((who, actor)) = who {
            let what = format!("{element} is marked while {who}, who was told of it, holds {:?}", actor.held);
            state.failed.get_or_insert(what);
            self.wake(&state);
        }
    }

    /// Waits for the first turn.
    pub fn begin(&self, me: usize) -> Result<(), Over> {
        self.wait(me, self.state()).map(|_| ())
    }

    /// This one is through.
    pub fn end(&self, me: usize) {
        self.unlock_all(me);
        let mut state = self.state();
        if let Some(actor) = state.actors.get_mut(me) {
            actor.standing = Standing::Done;
        }
        if state.current == me {
            state.draw();
        }
        self.wake(&state);
    }

    /// Ends the schedule as failed.
    pub fn fail(&self, what: String) {
        let mut state = self.state();
        state.failed.get_or_insert(what);
        self.wake(&state);
    }

    /// Notes what happens, for the report of a failure.
    pub fn note(&self, me: usize, what: String) {
        let mut state = self.state();
        let step = state.steps;
        if state.events.len() >= 2 * KEPT {
            state.events.drain(..KEPT);
        }
        state.events.push(format!("{step:7} {me} {what}"));
    }

    /// How it ended: the steps taken, or why it failed and what happened before.
    pub fn outcome(self) -> Result<u64, String> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match state.failed {
            None => Ok(state.steps),
            Some(what) => {
                let from = state.events.len().saturating_sub(KEPT);
                let events = state.events.get(from..).unwrap_or_default().join("\n");
                Err(format!("{what}\n{events}"))
            }
        }
    }
}

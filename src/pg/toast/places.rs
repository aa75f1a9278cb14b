//! Where values stored out of line were found, per backend: rows fetched in no order (through an index, by a join) have
//! values anywhere in the toast table, but a va_valueid mostly tells where. Numbers are given out in ascending
//! order, and a table that is loaded fills its toast table from front to end, so between two values whose blocks are
//! known a third lies in proportion. Nothing here is believed: what is found there says itself which value it is.

use crate::pg::backend::PerBackend;

/// A va_valueid and the block of its first chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// the va_valueid
    pub value: u32,
    /// the block of its first chunk
    pub block: u32,
}

/// Where to look for a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// the block
    pub block: u32,
    /// blocks per number thereabouts
    pub slope: f64,
}

impl Guess {
    /// Where to look next, when the block holds values before the one that is looked for, up to `largest`.
    pub fn behind(self, largest: u32, value: u32) -> Self {
        let step = (f64::from(value.saturating_sub(largest)) * self.slope).max(1.0) as u32;
        Guess { block: self.block.saturating_add(step), ..self }
    }

    /// Where to look next, when the block holds values behind it, from `smallest` on.
    pub fn before(self, smallest: u32, value: u32) -> Self {
        let step = (f64::from(smallest.saturating_sub(value)) * self.slope).max(1.0) as u32;
        Guess { block: self.block.saturating_sub(step), ..self }
    }
}

/// What is known of one toast table.
struct Table {
    relation: u32,
    /// ascending numbers
    known: Vec<Known>,
    /// values asked for while guesses are not made
    waiting: u32,
    /// guesses that failed, less those that were right
    debt: u32,
}

/// Tables that are remembered; places in each.
const TABLES: usize = 16;
const PLACES: usize = 64;
/// After so many more failures than successes, what is known is forgotten, and only one guess of `RARELY` is made.
const FAILURES: u32 = 4;
const RARELY: u32 = 32;

struct Places {
    tables: Vec<Table>,
    turn: usize,
}

static HERE: PerBackend<Places> = PerBackend::new();

impl Places {
    fn new() -> Self {
        Places { tables: Vec::new(), turn: 0 }
    }

    fn table(&mut self, relation: u32) -> &mut Table {
        let at = self.tables.iter().position(|table| table.relation == relation).unwrap_or_else(|| {
            let new = Table { relation, known: Vec::new(), waiting: 0, debt: 0 };
            if self.tables.len() < TABLES {
                self.tables.push(new);
                return self.tables.len() - 1;
            }
            self.turn = (self.turn + 1) % TABLES;
            self.tables[self.turn] = new;
            self.turn
        });
        &mut self.tables[at]
    }
}

impl Table {
    fn guess(&self, value: u32) -> Option<Guess> {
        let [first, .., last] = self.known[..] else { return None };
        let at = self.known.partition_point(|known| known.value <= value);
        // of the two places around it; outside of them all, of the farthest two
        let (low, high) = match (at.checked_sub(1).and_then(|low| self.known.get(low)), self.known.get(at)) {
            (Some(&low), Some(&high)) => (low, high),
            _ => (first, last),
        };
        let slope = (f64::from(high.block) - f64::from(low.block)) / f64::from(high.value - low.value);
        let block = f64::from(low.block) + (f64::from(value) - f64::from(low.value)) * slope;
        (slope > 0.0 && block >= 0.0 && block < f64::from(u32::MAX))
            .then_some(Guess { block: block.round() as u32, slope })
    }

    fn learn(&mut self, new: Known) {
        let at = self.known.partition_point(|known| known.value < new.value);
        match self.known.get_mut(at) {
            Some(same) if same.value == new.value => *same = new,
            _ => self.known.insert(at, new),
        }
        if self.known.len() > PLACES {
            // every second one goes, but neither end
            let end = self.known.len() - 1;
            let mut number = 0;
            self.known.retain(|_| {
                number += 1;
                number % 2 == 1 || number > end
            });
        }
    }
}

/// Where a value probably begins.
pub fn guess(relation: u32, value: u32) -> Option<Guess> {
    HERE.with(Places::new, |places| {
        let table = places.table(relation);
        if table.debt >= FAILURES {
            table.waiting = table.waiting.wrapping_add(1);
            if !table.waiting.is_multiple_of(RARELY) {
                return None;
            }
        }
        table.guess(value)
    })
}

/// Remembers where a value began.
pub fn learn(relation: u32, found: Known) {
    HERE.with(Places::new, |places| places.table(relation).learn(found));
}

/// Remembers whether a guess was right.
pub fn judge(relation: u32, right: bool) {
    HERE.with(Places::new, |places| {
        let table = places.table(relation);
        if right {
            table.debt = table.debt.saturating_sub(1);
        } else if table.debt < FAILURES {
            table.debt += 1;
            if table.debt == FAILURES {
                table.known.clear();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(known: &[(u32, u32)]) -> Table {
        let mut table = Table { relation: 1, known: Vec::new(), waiting: 0, debt: 0 };
        known.iter().for_each(|&(value, block)| table.learn(Known { value, block }));
        table
    }

    #[test]
    fn guesses_lie_in_proportion() {
        assert_eq!(table(&[]).guess(5), None);
        assert_eq!(table(&[(5, 1)]).guess(5), None);
        let two = table(&[(200, 50), (100, 0)]);
        for (value, block) in [(100, 0), (150, 25), (200, 50), (300, 100)] {
            assert_eq!(two.guess(value).map(|guess| guess.block), Some(block), "{value}");
        }
        assert_eq!(two.guess(50), None, "before the first block");
        assert_eq!(table(&[(100, 50), (200, 0)]).guess(150), None, "not in order");
    }

    #[test]
    fn steps_go_where_the_value_is() {
        let guess = Guess { block: 10, slope: 0.5 };
        assert_eq!(guess.behind(90, 100).block, 15);
        assert_eq!(guess.behind(100, 100).block, 11);
        assert_eq!(guess.before(110, 100).block, 5);
        assert_eq!(guess.before(1000, 100).block, 0);
    }

    #[test]
    fn few_places_are_kept_and_both_ends() {
        let mut table = table(&[]);
        for value in 0..10_000 {
            table.learn(Known { value, block: value / 2 });
            assert!(table.known.len() <= PLACES);
            assert!(table.known.is_sorted_by_key(|known| known.value));
        }
        assert_eq!((table.known[0].value, table.known[table.known.len() - 1].value), (0, 9_999));
        assert_eq!(table.guess(5_000).map(|guess| guess.block), Some(2_500));
    }
}

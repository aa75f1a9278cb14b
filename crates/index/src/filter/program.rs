//! Conditions on filter columns, all of which must hold, as the steps of a small program over keys.

use super::packed::Packings;
use super::{ANY_ELEMENTS, KEY_SIZE, LAST, MAX_COLUMNS, NULL};
use zerocopy::IntoBytes;

use crate::storage::page::Damage;
use crate::work::memory::push;

/// What a column's keys say of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// order and equality
    Exact,
    /// the order, of values that are not too near each other
    Rounded,
    /// that values with other keys are not equal
    Hash,
    /// which elements may be there
    Elements,
}

/// How a column is compared with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `=`
    Equal,
    /// `>=`
    GreaterEqual,
    /// `>`
    Greater,
    /// `&&`, of arrays
    Overlaps,
    /// `@>`, of arrays
    Contains,
}

impl Operator {
    /// The operator of a strategy number of the operator classes.
    pub const fn of_strategy(strategy: u16) -> Option<Self> {
        Some(match strategy {
            1 => Operator::Less,
            2 => Operator::LessEqual,
            3 => Operator::Equal,
            4 => Operator::GreaterEqual,
            5 => Operator::Greater,
            6 => Operator::Overlaps,
            7 => Operator::Contains,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    /// the key is in a range; that of NULL never is
    Within { first: u64, last: u64 },
    /// the key is one of these of [`Program::among`], which are in order
    Among { start: usize, end: usize },
    /// the key is that of NULL
    Null,
    /// an array, which has some of these elements
    Some(u64),
    /// an array, which has all of these elements
    All(u64),
}

impl Test {
    /// Of every value.
    const VALUE: Test = Test::Within { first: 0, last: LAST };
    /// Of nothing.
    const NEVER: Test = Test::Within { first: 1, last: 0 };
}

#[derive(Clone, Copy, Debug)]
struct Step {
    column: usize,
    test: Test,
}

/// The conditions of a scan. Without any, everything matches.
#[derive(Clone, Debug, Default)]
pub struct Program {
    steps: Vec<Step>,
    among: Vec<u64>,
    recheck: bool,
}

impl Program {
    /// No conditions.
    pub const fn new() -> Self {
        Program { steps: Vec::new(), among: Vec::new(), recheck: false }
    }

    /// Forgets all conditions.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.among.clear();
        self.recheck = false;
    }

    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether rows that match are candidates only.
    pub fn needs_recheck(&self) -> bool {
        self.recheck
    }

    /// Bytes of memory that it holds.
    pub fn allocated(&self) -> usize {
        self.steps.capacity() * size_of::<Step>() + self.among.capacity() * size_of::<u64>()
    }

    fn add_step(&mut self, column: usize, test: Test) -> Result<(), Damage> {
        if column >= MAX_COLUMNS {
            return Err(Damage::internal("condition on no filter column"));
        }
        Ok(push(&mut self.steps, Step { column, test })?)
    }

    /// The column is compared with a constant of this key, `None` when it is NULL. An operator that such keys say
    /// nothing of is left to the executor.
    ///
    /// # Errors
    /// No such column, or no memory.
    pub fn add(
        &mut self,
        column: usize,
        kind: Kind,
        operator: Operator,
        key: Option<u64>,
    ) -> Result<(), Damage> {
        let Some(key) = key else { return self.add_step(column, Test::NEVER) };
        // values at the end share a key
        let sharp = kind == Kind::Exact && key < LAST;
        self.recheck |= !sharp;
        let within = |first, last| Test::Within { first, last };
        let test = match (kind, operator) {
            (Kind::Exact | Kind::Rounded, Operator::Less) if sharp => match key.checked_sub(1) {
                Some(last) => within(0, last),
                None => Test::NEVER,
            },
            (Kind::Exact | Kind::Rounded, Operator::Greater) if sharp => within(key + 1, LAST),
            (Kind::Exact | Kind::Rounded, Operator::Less | Operator::LessEqual) => within(0, key),
            (Kind::Exact | Kind::Rounded, Operator::Greater | Operator::GreaterEqual) => within(key, LAST),
            (Kind::Exact | Kind::Rounded | Kind::Hash, Operator::Equal) => within(key, key),
            // an array that is equal has the same elements; of one of which nothing is known, neither is that
            (Kind::Elements, Operator::Equal) => Test::All(key),
            (Kind::Elements, Operator::Overlaps) => Test::Some(key),
            (Kind::Elements, Operator::Contains) => Test::All(key),
            _ => {
                self.recheck = true;
                Test::VALUE
            }
        };
        self.add_step(column, test)
    }

    /// The column is compared with constants, and it is enough that one comparison holds (`= ANY`). Sorts the keys,
    /// which are those of the constants that are not NULL.
    ///
    /// # Errors
    /// No such column, or no memory.
    pub fn add_any(
        &mut self,
        column: usize,
        kind: Kind,
        operator: Operator,
        keys: &mut [u64],
    ) -> Result<(), Damage> {
        keys.sort_unstable();
        let (Some(&least), Some(&most)) = (keys.first(), keys.last()) else {
            return self.add_step(column, Test::NEVER);
        };
        match operator {
            Operator::Equal if least == most => self.add(column, kind, operator, Some(least)),
            Operator::Equal if kind != Kind::Elements => {
                self.recheck |= kind != Kind::Exact || most >= LAST;
                let start = self.among.len();
                for &key in keys.iter() {
                    if self.among.get(start..).and_then(<[u64]>::last) != Some(&key) {
                        push(&mut self.among, key)?;
                    }
                }
                let end = self.among.len();
                self.add_step(column, Test::Among { start, end })
            }
            Operator::Less | Operator::LessEqual => self.add(column, kind, operator, Some(most)),
            Operator::Greater | Operator::GreaterEqual => self.add(column, kind, operator, Some(least)),
            Operator::Overlaps => {
                let all = keys.iter().fold(0, |all, key| all | key);
                self.add(column, kind, operator, Some(all))
            }
            _ => {
                self.recheck = true;
                self.add_step(column, Test::VALUE)
            }
        }
    }

    /// Nothing matches.
    ///
    /// # Errors
    /// No memory.
    pub fn add_never(&mut self) -> Result<(), Damage> {
        self.add_step(0, Test::NEVER)
    }

    /// Rows that match are candidates only.
    pub fn recheck_all(&mut self) {
        self.recheck = true;
    }

    /// The column is NULL, or is not.
    ///
    /// # Errors
    /// No such column, or no memory.
    pub fn add_null(&mut self, column: usize, is_null: bool) -> Result<(), Damage> {
        self.add_step(column, if is_null { Test::Null } else { Test::VALUE })
    }

    /// The first range of a column's keys that ends at `from` or behind it and in which rows may match; none when there
    /// is none. Ranges do not overlap, and without conditions on the column there is one of all keys.
    pub fn next_range(&self, column: usize, from: u64) -> Option<(u64, u64)> {
        let (mut least, mut most, mut among) = (0, u64::MAX, None);
        for step in self.steps.iter().filter(|step| step.column == column) {
            match step.test {
                Test::Within { first, last } => (least, most) = (least.max(first), most.min(last)),
                Test::Null => least = NULL,
                Test::Among { start, end } => among = self.among.get(start..end),
                Test::Some(_) | Test::All(_) => most = most.min(LAST),
            }
        }
        if least > most || from > most {
            return None;
        }
        let Some(among) = among else { return Some((least, most)) };
        let at = among.partition_point(|&key| key < from.max(least));
        among.get(at).filter(|&&key| key <= most).map(|&key| (key, key))
    }

    /// How many such ranges a column has, at most.
    pub fn ranges(&self, column: usize) -> usize {
        let lists =
            self.steps.iter().filter(|step| step.column == column).filter_map(|step| match step.test {
                Test::Among { start, end } => Some(end - start),
                _ => None,
            });
        lists.min().unwrap_or(1)
    }

    /// Sets `matches`, one for each of the rows whose keys stand in `keys`, row by row, `size` bytes each.
    #[inline]
    pub fn select(&self, keys: &[u8], size: usize, matches: &mut [bool]) {
        // without keys there is nothing that could match
        matches.fill(self.steps.is_empty() || !keys.is_empty());
        for step in &self.steps {
            let at = step.column * KEY_SIZE;
            let rows = keys.chunks_exact(size.max(1)).map(|row| {
                let key = row.get(at..).and_then(<[u8]>::first_chunk);
                key.map_or(NULL, |key| u64::from_ne_bytes(*key))
            });
            self.test(step.test, rows, matches);
        }
    }

    /// The same of keys that are packed.
    #[inline]
    pub fn select_packed(&self, packings: &Packings, keys: &[u8], matches: &mut [bool]) {
        const AT_ONCE: usize = 32;
        matches.fill(self.steps.is_empty() || !keys.is_empty());
        let size = packings.bytes().max(1);
        for step in &self.steps {
            for (rows, matches) in keys.chunks(AT_ONCE * size).zip(matches.chunks_mut(AT_ONCE)) {
                let mut column = [NULL; AT_ONCE];
                packings.column(rows, step.column, &mut column);
                self.test(step.test, column.into_iter(), matches);
            }
        }
    }

    /// Clears those of `matches` whose keys fail.
    #[inline(always)]
    fn test(&self, test: Test, keys: impl Iterator<Item = u64>, matches: &mut [bool]) {
        let rows = keys.zip(matches.iter_mut());
        // a loop for each test, without branches within
        match test {
            Test::Within { first, last } => {
                rows.for_each(|(key, matches)| *matches &= (first <= key) & (key <= last));
            }
            Test::Among { start, end } => {
                let among = self.among.get(start..end).unwrap_or_default();
                rows.for_each(|(key, matches)| *matches = *matches && is_among(among, key));
            }
            Test::Null => rows.for_each(|(key, matches)| *matches &= key == NULL),
            Test::Some(bits) => {
                rows.for_each(|(key, matches)| *matches &= (key != NULL) & (key & bits & ANY_ELEMENTS != 0));
            }
            Test::All(bits) => {
                rows.for_each(|(key, matches)| *matches &= (key != NULL) & (key & bits == bits));
            }
        }
    }

    /// Returns which of the first `count` rows match, at most 32, a bit each. Their keys stand in `keys` as for
    /// [`Self::select`].
    #[inline]
    pub fn bits(&self, keys: &[u8], size: usize, count: usize) -> u32 {
        let mut matches = [false; u32::BITS as usize];
        if let Some(matches) = matches.get_mut(..count) {
            self.select(keys, size, matches);
        }
        let mut bits = 0;
        for (at, chunk) in matches.as_chunks::<8>().0.iter().enumerate() {
            bits |= u32::from(gather(chunk.map(u8::from))) << (8 * at);
        }
        bits
    }

    /// Whether a row with these packed keys matches.
    #[inline]
    pub fn matches_packed(&self, packings: &Packings, keys: &[u8]) -> bool {
        let keys = packings.unpack(keys);
        let keys = keys.get(..packings.len()).unwrap_or_default();
        self.matches(keys.as_bytes())
    }

    /// Whether a row with these keys matches.
    #[inline]
    pub fn matches(&self, keys: &[u8]) -> bool {
        let mut matches = [true];
        self.select(keys, keys.len(), &mut matches);
        matches[0]
    }
}

/// The lowest bits of eight bytes, as one byte.
#[inline]
pub const fn gather(bytes: [u8; 8]) -> u8 {
    // each bit moves to a place of its own in the highest byte
    (u64::from_le_bytes(bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

/// Few are compared one by one.
const FEW: usize = 8;

#[inline]
fn is_among(among: &[u64], key: u64) -> bool {
    if among.len() <= FEW { among.contains(&key) } else { among.binary_search(&key).is_ok() }
}

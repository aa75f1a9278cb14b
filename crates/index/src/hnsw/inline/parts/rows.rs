//! Rows in files, and sets of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::BROKEN;
use crate::storage::page::{Damage, Tid};
use crate::work::memory::{OutOfMemory, filled, resize, with_room};
use crate::work::runs::Files;

/// What a row begins with in a file: its heap TIDs and its value follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RowHead {
    row: u32,
    tids: u32,
}

/// A row: a value and the heap TIDs that have it.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// its number, in the order they came
    pub row: u32,
    pub tids: Vec<Tid>,
    value: Vec<u64>,
    size: usize,
}

impl Row {
    /// The whole varlena.
    pub fn value(&self) -> &[u8] {
        self.value.as_bytes().get(..self.size).unwrap_or_default()
    }

    /// Reads the next row of a file, with a value of `size` bytes; returns false at its end.
    ///
    /// # Errors
    /// A file that ends within a row, or no memory.
    pub fn read(&mut self, files: &mut dyn Files, file: usize, size: usize) -> Result<bool, Damage> {
        let mut head = RowHead::default();
        match files.read(file, head.as_mut_bytes()) {
            0 => return Ok(false),
            n if n < size_of::<RowHead>() => return Err(BROKEN),
            _ => {}
        }
        (self.row, self.size) = (head.row, size);
        resize(&mut self.tids, head.tids as usize, Tid::INVALID)?;
        resize(&mut self.value, size.div_ceil(8), 0)?;
        fill(files, file, self.tids.as_mut_slice().as_mut_bytes())?;
        fill(files, file, self.value.as_mut_slice().as_mut_bytes().get_mut(..size).unwrap_or_default())?;
        Ok(true)
    }

    /// Adds it to a file.
    pub fn append(&self, files: &mut dyn Files, file: usize) {
        append_row(files, file, self.row, &self.tids, self.value());
    }

    /// Adds it to a file, without its heap TIDs.
    pub fn append_value(&self, files: &mut dyn Files, file: usize) {
        append_row(files, file, self.row, &[], self.value());
    }
}

/// Adds a row to a file.
pub(super) fn append_row(files: &mut dyn Files, file: usize, row: u32, tids: &[Tid], value: &[u8]) {
    files.append(file, RowHead { row, tids: tids.len() as u32 }.as_bytes());
    if !tids.is_empty() {
        files.append(file, tids.as_bytes());
    }
    files.append(file, value);
}

/// Reads as many bytes as fit.
///
/// # Errors
/// There are fewer.
pub(super) fn fill(files: &mut dyn Files, file: usize, bytes: &mut [u8]) -> Result<(), Damage> {
    if bytes.is_empty() || files.read(file, bytes) == bytes.len() { Ok(()) } else { Err(BROKEN) }
}

/// Rows, a bit each.
#[derive(Debug)]
pub(super) struct RowSet {
    words: Vec<u64>,
    /// rows in the words before each, once they are counted
    before: Vec<u32>,
}

impl RowSet {
    /// Bytes of a set among `rows`.
    pub fn size(rows: usize) -> usize {
        rows.div_ceil(64) * (size_of::<u64>() + size_of::<u32>())
    }

    /// None of `rows`.
    pub fn new(rows: usize) -> Result<Self, OutOfMemory> {
        Ok(RowSet { words: filled(0, rows.div_ceil(64))?, before: Vec::new() })
    }

    pub fn has(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    pub fn add(&mut self, row: u32) {
        if let Some(word) = self.words.get_mut(row as usize / 64) {
            *word |= 1 << (row % 64);
        }
    }

    /// Counts them; nothing is added any more. Returns how many there are.
    pub fn count(&mut self) -> Result<u32, OutOfMemory> {
        self.before = with_room(self.words.len())?;
        let mut sum = 0;
        for word in &self.words {
            self.before.push(sum);
            sum += word.count_ones();
        }
        Ok(sum)
    }

    /// How many of them are before `row`.
    pub fn rank(&self, row: u32) -> u32 {
        let (at, bit) = (row as usize / 64, row % 64);
        match (self.words.get(at), self.before.get(at)) {
            (Some(word), Some(before)) => before + (word & ((1 << bit) - 1)).count_ones(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::runs::MemoryFiles;

    #[test]
    fn rows_come_back_and_a_torn_file_is_told() {
        let mut files = MemoryFiles::default();
        let file = files.create();
        for row in 0..5u32 {
            let tids: Vec<Tid> = (0..row).map(|n| Tid::new(row, n as u16 + 1)).collect();
            append_row(&mut files, file, row, &tids, &[row as u8; 12]);
        }
        let mut row = Row::default();
        files.rewind(file);
        for n in 0..5u32 {
            assert_eq!(row.read(&mut files, file, 12), Ok(true));
            assert_eq!((row.row, row.tids.len(), row.value()), (n, n as usize, &[n as u8; 12][..]));
        }
        assert_eq!(row.read(&mut files, file, 12), Ok(false));
        files.rewind(file);
        files.cut(file, 1);
        for _ in 0..4 {
            assert_eq!(row.read(&mut files, file, 12), Ok(true));
        }
        assert_eq!(row.read(&mut files, file, 12), Err(BROKEN));
    }

    #[test]
    fn a_set_counts_what_is_before_a_row() {
        let mut set = RowSet::new(300).unwrap();
        let rows: Vec<u32> = (0..300).filter(|n| n % 7 == 3 || n % 64 == 0).collect();
        rows.iter().for_each(|&row| set.add(row));
        assert_eq!(set.count(), Ok(rows.len() as u32));
        for row in 0..300 {
            assert_eq!(set.has(row), rows.contains(&row));
            assert_eq!(set.rank(row) as usize, rows.iter().filter(|&&r| r < row).count());
        }
        assert!(!set.has(1 << 20));
    }
}

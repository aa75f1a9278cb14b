//! Keys of a row in as few bytes as their types need: what stands behind a value.
//!
//! ```text
//! keys  | key of column 1, 1 to 8 bytes | key of column 2 | ... | NULLs, a bit each, 1 |
//! ```

use super::{KEY_SIZE, LAST, MAX_COLUMNS, NULL, of_float};
use crate::space::ValueBuf;
use crate::work::memory::OutOfMemory;

/// How the keys of a column are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Packing {
    /// whatever they are: 8 bytes
    Whole = 1,
    /// [`super::of_integer`] of integers of 4 bytes
    Signed4 = 2,
    /// the same without a sign
    Unsigned4 = 3,
    /// integers of 2 bytes
    Signed2 = 4,
    /// 0 and 1
    Bool = 5,
    /// [`of_float`] of single precision, and which zero or NaN it is of
    Float4 = 6,
    /// the same of double precision
    Float8 = 7,
}

/// A number whose order is that of floats, from bits of `BITS`, or back.
#[inline(always)]
const fn flip<const BITS: u32>(bits: u64, back: bool) -> u64 {
    let sign = 1 << (BITS - 1);
    if (bits & sign == 0) != back { bits ^ sign } else { !bits & (u64::MAX >> (64 - BITS)) }
}

impl Packing {
    const ALL: [Packing; 7] = [
        Packing::Whole,
        Packing::Signed4,
        Packing::Unsigned4,
        Packing::Signed2,
        Packing::Bool,
        Packing::Float4,
        Packing::Float8,
    ];

    const fn bytes(self) -> usize {
        match self {
            Packing::Whole | Packing::Float8 => KEY_SIZE,
            Packing::Signed4 | Packing::Unsigned4 | Packing::Float4 => 4,
            Packing::Signed2 => 2,
            Packing::Bool => 1,
        }
    }

    /// The least key.
    const fn base(self) -> u64 {
        const ZERO: u64 = 1 << 63;
        match self {
            Packing::Whole | Packing::Float4 | Packing::Float8 => 0,
            Packing::Signed4 => ZERO - (1 << 31),
            Packing::Signed2 => ZERO - (1 << 15),
            Packing::Unsigned4 | Packing::Bool => ZERO,
        }
    }

    /// The number that is kept of an integer, of whatever size.
    pub const fn of_integer(self, value: i64) -> u64 {
        (value as u64 ^ 1 << 63).wrapping_sub(self.base())
    }

    /// The integer of such a number.
    pub const fn to_integer(self, number: u64) -> i64 {
        (self.base().wrapping_add(number) ^ 1 << 63) as i64
    }

    /// The number that is kept of a float, of as many bits as it has.
    pub const fn of_float(self, bits: u64) -> u64 {
        match self {
            Packing::Float4 => flip::<32>(bits, false),
            _ => flip::<64>(bits, false),
        }
    }

    /// The bits of the float of such a number.
    pub const fn to_float(self, number: u64) -> u64 {
        match self {
            Packing::Float4 => flip::<32>(number, true),
            _ => flip::<64>(number, true),
        }
    }

    /// The number that is kept of a key.
    fn pack(self, key: u64) -> u64 {
        let float = || f64::from_bits(flip::<64>(key, true));
        match self {
            Packing::Float4 => self.of_float(u64::from((float() as f32).to_bits())),
            _ => key.wrapping_sub(self.base()),
        }
    }

    /// The key of a number that is kept.
    #[inline(always)]
    fn unpack(self, number: u64) -> u64 {
        match self {
            Packing::Whole => last(number),
            Packing::Float4 => of_float(f64::from(f32::from_bits(self.to_float(number) as u32))),
            Packing::Float8 => of_float(f64::from_bits(self.to_float(number))),
            _ => self.base() + number,
        }
    }
}

/// A key that is none of NULL.
#[inline(always)]
const fn last(number: u64) -> u64 {
    if number > LAST { LAST } else { number }
}

/// How the keys of a row are packed, column by column, and how many of the columns have runs of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packings {
    list: [Option<Packing>; MAX_COLUMNS],
    runs: usize,
}

/// In the four bits of a column: whether it has runs.
const HAS_RUNS: u32 = 8;

impl Packings {
    /// No columns.
    pub const NONE: Packings = Packings { list: [None; MAX_COLUMNS], runs: 0 };

    /// Those of these columns, of which the first has runs; `None` of more than an index has.
    pub fn new(columns: impl IntoIterator<Item = Packing>) -> Option<Self> {
        let mut packings = Packings::NONE;
        let mut places = packings.list.iter_mut();
        for packing in columns {
            *places.next()? = Some(packing);
        }
        Some(packings.with_runs(1))
    }

    /// The same with runs of the first `runs` columns: of one at least, and of as many as there are at most.
    pub fn with_runs(self, runs: usize) -> Self {
        Packings { runs: runs.max(1).min(self.len()), ..self }
    }

    /// Columns that have runs, the first ones.
    pub const fn runs(&self) -> usize {
        self.runs
    }

    /// The number that an index's meta page keeps of them: four bits a column, from the lowest on, the highest of which
    /// says that it has runs.
    pub fn to_number(self) -> u32 {
        self.iter().enumerate().fold(0, |number, (n, packing)| {
            let runs = if n < self.runs { HAS_RUNS } else { 0 };
            number | (packing as u32 | runs) << (4 * n)
        })
    }

    /// Those of such a number; `None` when there are none.
    pub fn of_number(number: u32) -> Option<Self> {
        let count = (u32::BITS - number.leading_zeros()).div_ceil(4);
        let mut packings = Packings::NONE;
        for (n, place) in packings.list.iter_mut().enumerate().take(count as usize) {
            let bits = number >> (4 * n) & 15;
            let of = |packing: &&Packing| **packing as u32 == bits & !HAS_RUNS;
            *place = Some(*Packing::ALL.iter().find(of)?);
            match bits & HAS_RUNS {
                0 => {}
                _ if packings.runs == n => packings.runs += 1,
                // behind a column without
                _ => return None,
            }
        }
        (packings.runs > 0 || packings.is_empty()).then_some(packings)
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.list[0].is_none()
    }

    fn iter(&self) -> impl Iterator<Item = Packing> + '_ {
        self.list.iter().map_while(|&packing| packing)
    }

    /// Bytes of a row's keys; none without columns.
    pub const fn bytes(&self) -> usize {
        let (mut bytes, mut n) = (0, 0);
        while n < MAX_COLUMNS {
            if let Some(packing) = self.list[n] {
                bytes += packing.bytes();
            }
            n += 1;
        }
        if bytes == 0 { 0 } else { bytes + 1 }
    }

    /// Packs the numbers of a row, of which there is one for each column, `None` for NULL.
    pub fn pack(&self, numbers: &[Option<u64>], mut bytes: &mut [u8]) {
        let mut nulls = 0;
        for (n, (packing, number)) in self.iter().zip(numbers).enumerate() {
            let Some((place, rest)) = core::mem::take(&mut bytes).split_at_mut_checked(packing.bytes())
            else {
                return;
            };
            nulls |= u8::from(number.is_none()) << n;
            if let Some(number) = number.unwrap_or_default().to_le_bytes().get(..place.len()) {
                place.copy_from_slice(number);
            }
            bytes = rest;
        }
        if let Some(place) = bytes.first_mut() {
            *place = nulls;
        }
    }

    /// The numbers of a row, `None` for NULL. Missing bytes are those of NULLs.
    #[inline]
    pub fn numbers(&self, bytes: &[u8]) -> [Option<u64>; MAX_COLUMNS] {
        let mut numbers = [None; MAX_COLUMNS];
        let nulls = bytes.last().copied().unwrap_or(u8::MAX);
        let mut at = 0;
        for (n, (packing, number)) in self.iter().zip(&mut numbers).enumerate() {
            let size = packing.bytes();
            if let Some(place) = bytes.get(at..at + size)
                && nulls >> n & 1 == 0
            {
                let mut bytes = [0; KEY_SIZE];
                bytes[..size].copy_from_slice(place);
                *number = Some(u64::from_le_bytes(bytes));
            }
            at += size;
        }
        numbers
    }

    /// The keys of a row. Missing bytes are those of NULLs.
    #[inline]
    pub fn unpack(&self, bytes: &[u8]) -> [u64; MAX_COLUMNS] {
        let mut keys = [NULL; MAX_COLUMNS];
        for ((packing, number), key) in self.iter().zip(self.numbers(bytes)).zip(&mut keys) {
            *key = number.map_or(NULL, |number| packing.unpack(number));
        }
        keys
    }

    /// The keys of column `n` of rows whose packed keys stand side by side; none are set of a column that is missing.
    #[inline]
    pub(super) fn column(&self, rows: &[u8], n: usize, keys: &mut [u64]) {
        let at = self.iter().take(n).map(Packing::bytes).sum();
        let Some(packing) = self.list.get(n).copied().flatten() else { return };
        let (nulls, size) = (1 << n, self.bytes());
        let rows = rows.chunks_exact(size).zip(keys);
        // a loop for each, whose numbers have a known size
        match packing {
            Packing::Whole => each::<8>(rows, at, nulls, last),
            Packing::Float8 => each::<8>(rows, at, nulls, |number| Packing::Float8.unpack(number)),
            Packing::Float4 => each::<4>(rows, at, nulls, |number| Packing::Float4.unpack(number)),
            Packing::Signed4 | Packing::Unsigned4 => {
                each::<4>(rows, at, nulls, |number| packing.base() + number);
            }
            Packing::Signed2 => each::<2>(rows, at, nulls, |number| packing.base() + number),
            Packing::Bool => each::<1>(rows, at, nulls, |number| packing.base() + number),
        }
    }

    /// Makes `item` a value of an index with the keys of its row behind it.
    ///
    /// # Errors
    /// No memory.
    pub fn put_item(&self, value: &[u8], keys: &[u64], item: &mut ValueBuf) -> Result<(), OutOfMemory> {
        let mut numbers = [None; MAX_COLUMNS];
        for ((packing, &key), number) in self.iter().zip(keys).zip(&mut numbers) {
            *number = if key == NULL { None } else { Some(packing.pack(key)) };
        }
        let mut packed = [0; MAX_PACKED];
        let packed = packed.get_mut(..self.bytes()).unwrap_or_default();
        self.pack(&numbers, packed);
        put_packed(value, packed, item)
    }
}

/// Bytes of packed keys, at most.
pub const MAX_PACKED: usize = MAX_COLUMNS * KEY_SIZE + 1;

/// Makes `item` a value of an index with the packed keys of its row behind it: what nodes are made of. They are equal
/// when all of it is.
///
/// # Errors
/// No memory.
pub fn put_packed(value: &[u8], packed: &[u8], item: &mut ValueBuf) -> Result<(), OutOfMemory> {
    let bytes = item.try_reset(value.len() + packed.len())?;
    let (to, behind) = bytes.split_at_mut(value.len());
    to.copy_from_slice(value);
    behind.copy_from_slice(packed);
    Ok(())
}

/// Sets the keys of rows from numbers of `SIZE` bytes at `at`; the bits of NULLs are in a row's last byte.
#[inline(always)]
fn each<'r, const SIZE: usize>(
    rows: impl Iterator<Item = (&'r [u8], &'r mut u64)>,
    at: usize,
    nulls: u8,
    key_of: impl Fn(u64) -> u64,
) {
    for (row, key) in rows {
        let mut number = [0; KEY_SIZE];
        if let (Some(place), Some(number)) = (row.get(at..at + SIZE), number.get_mut(..SIZE)) {
            number.copy_from_slice(place);
        }
        let is_null = row.last().is_none_or(|bits| bits & nulls != 0);
        *key = if is_null { NULL } else { key_of(u64::from_le_bytes(number)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{of_hash, of_integer};

    const PACKINGS: [Packing; 7] = Packing::ALL;

    fn there_and_back(packing: Packing, keys: &[u64]) {
        let packings = Packings::new([Packing::Bool, packing, Packing::Whole]).unwrap();
        for (n, &key) in keys.iter().enumerate() {
            let row = [of_integer(n as i64 & 1), key, of_hash(key)];
            let mut item = ValueBuf::new();
            packings.put_item(b"value", &row, &mut item).unwrap();
            let (value, behind) = item.bytes().split_at(5);
            assert_eq!((value, behind.len()), (&b"value"[..], packings.bytes()));
            assert_eq!(packings.unpack(behind)[..3], [row[0], key, of_hash(key)], "{packing:?} {key:x}");
        }
    }

    #[test]
    fn keys_come_back() {
        let integers = |list: &[i64]| list.iter().map(|&x| of_integer(x)).chain([NULL]).collect::<Vec<_>>();
        there_and_back(Packing::Signed4, &integers(&[0, -1, 1, i64::from(i32::MIN), i64::from(i32::MAX)]));
        there_and_back(Packing::Unsigned4, &integers(&[0, 1, i64::from(u32::MAX) - 1, i64::from(u32::MAX)]));
        there_and_back(Packing::Signed2, &integers(&[0, -1, 1, i64::from(i16::MIN), i64::from(i16::MAX)]));
        there_and_back(Packing::Bool, &integers(&[0, 1]));
        there_and_back(Packing::Whole, &[0, 1, u64::MAX >> 1, LAST, NULL]);
        let floats = [0.0, 1.5, -1.5, f32::MIN_POSITIVE / 4.0, f32::MIN, f32::MAX, f32::INFINITY, f32::NAN];
        let floats = floats.iter().flat_map(|&x| [of_float(f64::from(x)), of_float(f64::from(-x))]);
        let floats = floats.chain([NULL]).collect::<Vec<_>>();
        there_and_back(Packing::Float4, &floats);
        there_and_back(Packing::Float8, &floats);
        there_and_back(
            Packing::Float8,
            &[of_float(f64::MIN_POSITIVE), of_float(f64::MAX), of_float(-1e-300)],
        );
    }

    /// What a key does not tell apart is kept, and found by its key.
    #[test]
    fn numbers_say_more_than_keys() {
        let one = |packing: Packing, number: u64| {
            let packings = Packings::new([packing]).unwrap();
            let mut packed = [0; MAX_PACKED];
            let packed = &mut packed[..packings.bytes()];
            packings.pack(&[Some(number)], packed);
            assert_eq!(packings.numbers(packed)[0], Some(number));
            let mut column = [0];
            packings.column(packed, 0, &mut column);
            assert_eq!(packings.unpack(packed)[0], column[0]);
            column[0]
        };
        for value in [i64::MIN, -1, 0, i64::MAX - 2, i64::MAX - 1, i64::MAX] {
            let number = Packing::Whole.of_integer(value);
            assert_eq!(Packing::Whole.to_integer(number), value);
            assert_eq!(one(Packing::Whole, number), of_integer(value));
        }
        for value in [i64::from(i32::MIN), -1, 7, i64::from(i32::MAX)] {
            let number = Packing::Signed4.of_integer(value);
            assert_eq!((Packing::Signed4.to_integer(number), number >> 32), (value, 0));
            assert_eq!(one(Packing::Signed4, number), of_integer(value));
        }
        for value in [0.0, -0.0, 1.5, -1.5, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let number = Packing::Float8.of_float(value.to_bits());
            assert_eq!(Packing::Float8.to_float(number), value.to_bits());
            assert_eq!(one(Packing::Float8, number), of_float(value));
            let bits = u64::from((value as f32).to_bits());
            let number = Packing::Float4.of_float(bits);
            assert_eq!((Packing::Float4.to_float(number), number >> 32), (bits, 0));
            assert_eq!(one(Packing::Float4, number), of_float(value));
        }
    }

    #[test]
    fn numbers_name_packings() {
        assert_eq!((Packings::NONE.to_number(), Packings::NONE.bytes()), (0, 0));
        assert_eq!(Packings::of_number(0), Some(Packings::NONE));
        let eight = Packings::new([Packing::Whole; 8]).unwrap();
        assert_eq!((eight.len(), eight.bytes()), (8, 65));
        let all = Packings::new(PACKINGS).unwrap();
        for packings in [eight, all] {
            assert_eq!(Packings::of_number(packings.to_number()), Some(packings));
        }
        assert!(Packings::new([Packing::Bool; 9]).is_none());
        for runs in 1..=8 {
            let packings = eight.with_runs(runs);
            assert_eq!(packings.runs(), runs);
            assert_eq!(Packings::of_number(packings.to_number()), Some(packings));
        }
        assert_eq!([eight.runs(), eight.with_runs(0).runs(), eight.with_runs(9).runs()], [1, 1, 8]);
        assert_eq!(Packings::NONE.with_runs(3), Packings::NONE);
        // a packing that is none, a gap, no runs at all, and runs behind a column without
        for number in [8, 0x909, 0x11, 0x919 << 4 | 9] {
            assert_eq!(Packings::of_number(number), None, "{number:x}");
        }
    }

    #[test]
    fn missing_bytes_are_nulls() {
        let packings = Packings::new([Packing::Signed4, Packing::Bool]).unwrap();
        assert_eq!(packings.unpack(&[]), [NULL; MAX_COLUMNS]);
        assert_eq!(packings.unpack(&[1, 2, 0])[..2], [NULL; 2]);
    }
}

//! Filter columns of an index, those behind its first: values of rows, and constants of conditions, as keys
//! ([`vector_index::filter`]).

use core::ffi::c_int;

use pgrx::pg_sys::{self, Datum, Oid, ScanKeyData};
use vector_index::filter::{
    ANY_ELEMENTS, KEY_SIZE, Kind, MAX_COLUMNS, MAX_PACKED, Operator, Packing, Packings, Program, element_bit,
    of_float, of_hash, of_integer, to_integer,
};
use vector_index::storage::page::Damage;

use super::relation::Rel;
use super::server;

/// How a type's values become keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Bool,
    Int2,
    Int4,
    Int8,
    /// 4 bytes without a sign: `oid`, an enum's values (whose order they are not in)
    Oid,
    Float4,
    Float8,
    Numeric,
    /// by the hash of this type
    Hash(Oid),
    Array,
}

impl Encoding {
    /// That of columns of an operator class for this type.
    fn of(class: Oid) -> Option<Self> {
        Some(match class {
            pg_sys::BOOLOID => Encoding::Bool,
            pg_sys::INT2OID => Encoding::Int2,
            pg_sys::INT4OID | pg_sys::DATEOID => Encoding::Int4,
            pg_sys::INT8OID | pg_sys::TIMEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => {
                Encoding::Int8
            }
            pg_sys::OIDOID | pg_sys::ANYENUMOID => Encoding::Oid,
            pg_sys::FLOAT4OID => Encoding::Float4,
            pg_sys::FLOAT8OID => Encoding::Float8,
            pg_sys::NUMERICOID => Encoding::Numeric,
            pg_sys::TEXTOID | pg_sys::BPCHAROID | pg_sys::UUIDOID | pg_sys::INETOID => Encoding::Hash(class),
            pg_sys::ANYARRAYOID => Encoding::Array,
            _ => return None,
        })
    }

    const fn kind(self) -> Kind {
        match self {
            Encoding::Numeric => Kind::Rounded,
            Encoding::Hash(_) => Kind::Hash,
            Encoding::Array => Kind::Elements,
            _ => Kind::Exact,
        }
    }

    /// How few bytes tell all keys apart.
    const fn packing(self) -> Packing {
        match self {
            Encoding::Bool => Packing::Bool,
            Encoding::Int2 => Packing::Signed2,
            Encoding::Int4 => Packing::Signed4,
            Encoding::Oid => Packing::Unsigned4,
            Encoding::Float4 => Packing::Float4,
            Encoding::Float8 => Packing::Float8,
            _ => Packing::Whole,
        }
    }

    /// Whether what is kept of a value gives it back.
    const fn returns(self) -> bool {
        !matches!(self, Encoding::Numeric | Encoding::Hash(_) | Encoding::Array)
    }

    /// That of a constant of an operator whose right side has another type.
    fn of_constant(self, subtype: Oid) -> Self {
        match self {
            Encoding::Int2 | Encoding::Int4 | Encoding::Int8 | Encoding::Float4 | Encoding::Float8 => {
                Encoding::of(subtype).unwrap_or(self)
            }
            _ => self,
        }
    }
}

/// A filter column.
#[derive(Clone, Copy, Debug)]
struct Column {
    encoding: Encoding,
    collation: Oid,
    /// whether equal texts have equal bytes
    deterministic: bool,
    /// whether values may be stored out of line
    is_varlena: bool,
}

/// The filter columns of an index.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// whose they are
    index: Oid,
    list: [Option<Column>; MAX_COLUMNS],
    len: usize,
}

/// What an index cannot have as a filter column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// more columns
    TooMany,
    /// the column of this number, from 1
    Type(usize),
}

/// The columns of a row that an index is given, as the server passes them.
#[derive(Clone, Copy)]
pub struct RowColumns<'r> {
    index: Rel<'r>,
    values: *const Datum,
    nulls: *const bool,
}

impl<'r> RowColumns<'r> {
    /// All columns of an index.
    ///
    /// # Safety
    /// Both arrays have an item for each column, of its type, and stay for all of `'r`.
    pub const unsafe fn new(index: Rel<'r>, values: *const Datum, nulls: *const bool) -> Self {
        RowColumns { index, values, nulls }
    }

    /// The index.
    pub(super) fn index(&self) -> Rel<'r> {
        self.index
    }

    /// The column, from 0; `None` for NULL.
    ///
    /// # Safety
    /// There is such a column.
    pub(super) unsafe fn get(self, n: usize) -> Option<Datum> {
        // SAFETY: the caller's contract and that of `new`.
        unsafe { if *self.nulls.add(n) { None } else { Some(*self.values.add(n)) } }
    }
}

impl Columns {
    /// No filter columns.
    pub const NONE: Columns = Columns { index: Oid::INVALID, list: [None; MAX_COLUMNS], len: 0 };

    /// Those of an index. A server error unwinds.
    ///
    /// # Errors
    /// Columns that cannot be.
    pub fn of(index: Rel<'_>) -> Result<Self, Refused> {
        let mut columns = Columns { index: index.oid(), ..Columns::NONE };
        // SAFETY: an open index has its pg_index row, and arrays with an item for each key column.
        unsafe {
            let relation = &*index.as_ptr();
            let count = usize::try_from((*relation.rd_index).indnkeyatts).unwrap_or(0);
            for n in 1..count {
                let Some(place) = columns.list.get_mut(n - 1) else { return Err(Refused::TooMany) };
                let encoding = Encoding::of(*relation.rd_opcintype.add(n)).ok_or(Refused::Type(n + 1))?;
                let collation = *relation.rd_indcollation.add(n);
                let deterministic =
                    collation == Oid::INVALID || server::get_collation_isdeterministic(collation);
                let is_varlena = index.is_varlena(n);
                *place = Some(Column { encoding, collation, deterministic, is_varlena });
                columns.len = n;
            }
        }
        Ok(columns)
    }

    /// Whether the first column of an index is of a kind that only filter columns are of.
    pub fn could_have_first(index: Rel<'_>) -> bool {
        // SAFETY: an open index has a type for each key column, of which there is one at least.
        unsafe { Encoding::of(*(*index.as_ptr()).rd_opcintype).is_some() }
    }

    /// Whether they are those of an index.
    pub fn are_of(&self, index: Rel<'_>) -> bool {
        self.index == index.oid()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of a row's keys as they are.
    pub fn bytes(&self) -> usize {
        self.len * KEY_SIZE
    }

    /// How they are packed.
    pub fn packings(&self) -> Packings {
        // there are no more of them than there are places
        Packings::new(self.iter().map(|column| column.encoding.packing())).unwrap_or_default()
    }

    fn iter(&self) -> impl Iterator<Item = Column> + '_ {
        self.list.iter().take(self.len).flatten().copied()
    }

    /// Whether what the index keeps of filter column `n`, from 0, gives its value back.
    pub fn returns(&self, n: usize) -> bool {
        self.list.get(n).copied().flatten().is_some_and(|column| column.encoding.returns())
    }

    /// The value of filter column `n`, from 0, of which the index keeps this number, if that gives one back.
    pub fn value(&self, n: usize, number: u64) -> Option<Datum> {
        let encoding = self.list.get(n).copied().flatten()?.encoding;
        let packing = encoding.packing();
        Some(match encoding {
            Encoding::Bool => Datum::from(number != 0),
            Encoding::Int2 => Datum::from(packing.to_integer(number) as i16),
            Encoding::Int4 => Datum::from(packing.to_integer(number) as i32),
            Encoding::Int8 => Datum::from(packing.to_integer(number)),
            Encoding::Oid => Datum::from(packing.to_integer(number) as u32),
            Encoding::Float4 => Datum::from(packing.to_float(number) as u32),
            Encoding::Float8 => Datum::from(packing.to_float(number)),
            Encoding::Numeric | Encoding::Hash(_) | Encoding::Array => return None,
        })
    }

    /// Packs the keys of a row. Values that are stored out of line are first shown to `fetch`, which may put another
    /// whole varlena in their place, valid until its next call, or say that the value is gone; then there are no keys.
    /// Neither are there keys of another index's row. A server error unwinds.
    ///
    /// # Safety
    /// What `fetch` returns is a value of the same type.
    pub unsafe fn keys_of(
        &self,
        row: RowColumns<'_>,
        packed: &mut [u8; MAX_PACKED],
        mut fetch: impl FnMut(Datum) -> Option<Datum>,
    ) -> bool {
        if row.index.oid() != self.index {
            return self.is_empty();
        }
        let mut numbers = [None; MAX_COLUMNS];
        for ((n, column), number) in self.iter().enumerate().zip(&mut numbers) {
            // SAFETY: the row is one of this index, whose column has the type of its encoding.
            unsafe {
                if let Some(value) = row.get(n + 1) {
                    let value = if column.is_varlena { fetch(value) } else { Some(value) };
                    let Some(value) = value else { return false };
                    *number = Some(column.number(value));
                }
            }
        }
        let packings = self.packings();
        packings.pack(&numbers, packed.get_mut(..packings.bytes()).unwrap_or_default());
        true
    }

    /// Packs the keys of a row. A server error unwinds.
    pub fn keys(&self, row: RowColumns<'_>, packed: &mut [u8; MAX_PACKED]) -> bool {
        // SAFETY: values stay what they are.
        unsafe { self.keys_of(row, packed, Some) }
    }

    /// Makes a scan's conditions a program. A server error unwinds.
    ///
    /// # Safety
    /// The conditions are those of a scan of an index with these filter columns.
    ///
    /// # Errors
    /// Want of memory.
    pub unsafe fn compile(&self, conditions: &[ScanKeyData], program: &mut Program) -> Result<(), Damage> {
        program.clear();
        let mut keys = Vec::new();
        for condition in conditions {
            // SAFETY: the caller's contract.
            unsafe { self.add(condition, program, &mut keys)? };
        }
        Ok(())
    }

    unsafe fn add(
        &self,
        condition: &ScanKeyData,
        program: &mut Program,
        keys: &mut Vec<u64>,
    ) -> Result<(), Damage> {
        let has = |flag: u32| condition.sk_flags & flag as c_int != 0;
        let n = usize::try_from(condition.sk_attno).unwrap_or(0);
        let column = n.checked_sub(2).and_then(|n| self.list.get(n).copied().flatten());
        let Some(column) = column else {
            // of the vector: rows without one are not in the index
            return if has(pg_sys::SK_SEARCHNULL) { program.add_never() } else { Ok(()) };
        };
        let at = n - 2;
        if has(pg_sys::SK_SEARCHNULL) || has(pg_sys::SK_SEARCHNOTNULL) {
            return program.add_null(at, has(pg_sys::SK_SEARCHNULL));
        }
        let Some(operator) = Operator::of_strategy(condition.sk_strategy) else {
            program.recheck_all();
            return Ok(());
        };
        let kind = column.encoding.kind();
        if has(pg_sys::SK_ISNULL) {
            return program.add(at, kind, operator, None);
        }
        let encoding = column.encoding.of_constant(condition.sk_subtype);
        // SAFETY: the constant has the type of the operator's right side, or is an array of it.
        unsafe {
            if has(pg_sys::SK_SEARCHARRAY) {
                keys.clear();
                elements(condition.sk_argument, |_, element| {
                    keys.try_reserve(1).map_err(|_| Damage::OUT_OF_MEMORY)?;
                    keys.push(column.key(encoding, element));
                    Ok(())
                })?;
                program.add_any(at, kind, operator, keys)
            } else {
                program.add(at, kind, operator, Some(column.key(encoding, condition.sk_argument)))
            }
        }
    }
}

impl Column {
    /// The number that an index keeps of a value.
    ///
    /// # Safety
    /// The value is of the column's type.
    unsafe fn number(&self, value: Datum) -> u64 {
        let (word, packing) = (value.value() as u64, self.encoding.packing());
        match self.encoding {
            Encoding::Int8 => packing.of_integer(word as i64),
            Encoding::Float4 => packing.of_float(u64::from(word as u32)),
            Encoding::Float8 => packing.of_float(word),
            // SAFETY: the caller's contract.
            encoding => packing.of_integer(to_integer(unsafe { self.key(encoding, value) })),
        }
    }

    /// The key of a value.
    ///
    /// # Safety
    /// The value is of the encoding's type.
    unsafe fn key(&self, encoding: Encoding, value: Datum) -> u64 {
        // the server's macros take the low bytes of a datum
        let word = value.value() as u64;
        match encoding {
            Encoding::Bool => of_integer(i64::from(word as u8 != 0)),
            Encoding::Int2 => of_integer(i64::from(word as i16)),
            Encoding::Int4 => of_integer(i64::from(word as i32)),
            Encoding::Int8 => of_integer(word as i64),
            Encoding::Oid => of_integer(i64::from(word as u32)),
            Encoding::Float4 => of_float(f64::from(f32::from_bits(word as u32))),
            Encoding::Float8 => of_float(f64::from_bits(word)),
            // SAFETY: the value is a numeric, the one argument of this function, which answers infinity for what is
            // beyond its range.
            Encoding::Numeric => unsafe {
                let convert: pg_sys::PGFunction = Some(super::ffi::numeric_float8_no_overflow);
                let float = server::DirectFunctionCall1Coll(convert, Oid::INVALID, value);
                of_float(f64::from_bits(float.value() as u64))
            },
            // SAFETY: the value is of that type.
            Encoding::Hash(kind) => unsafe {
                of_hash(self.hash(server::lookup_type_cache(kind, HASHED), value).unwrap_or(0))
            },
            // SAFETY: the value is an array.
            Encoding::Array => unsafe {
                let (mut bits, mut all) = (0, true);
                let done = elements(value, |kind, element| {
                    match self.hash(kind, element) {
                        Some(hash) => bits |= element_bit(hash),
                        None => all = false,
                    }
                    Ok(())
                });
                if all && done.is_ok() { bits } else { ANY_ELEMENTS }
            },
        }
    }

    /// The hash of a value; none where values may be equal whose hashes are not.
    ///
    /// # Safety
    /// The value is of the type.
    unsafe fn hash(&self, kind: *mut pg_sys::TypeCacheEntry, value: Datum) -> Option<u64> {
        // SAFETY: the cache's entry lives as long as the backend; its function takes a value of the type and a seed.
        unsafe {
            let function = &raw mut (*kind).hash_extended_proc_finfo;
            if !self.deterministic || (*function).fn_oid == Oid::INVALID {
                return None;
            }
            let seed = Datum::from(0usize);
            Some(server::FunctionCall2Coll(function, self.collation, value, seed).value() as u64)
        }
    }
}

const HASHED: c_int = pg_sys::TYPECACHE_HASH_EXTENDED_PROC_FINFO as c_int;

/// Shows the elements of an array that are not NULL, with their type.
///
/// # Safety
/// The value is an array.
unsafe fn elements(
    array: Datum,
    mut each: impl FnMut(*mut pg_sys::TypeCacheEntry, Datum) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let (mut values, mut nulls, mut count) = (core::ptr::null_mut(), core::ptr::null_mut(), 0);
    // SAFETY: the caller's contract; the server allocates an item for each element, in the current memory context.
    unsafe {
        let given = array.cast_mut_ptr::<pg_sys::varlena>();
        let whole: *mut pg_sys::ArrayType = server::pg_detoast_datum(given).cast();
        let kind = server::lookup_type_cache((*whole).elemtype, HASHED);
        let (length, by_value, alignment) = ((*kind).typlen, (*kind).typbyval, (*kind).typalign);
        server::deconstruct_array(
            whole,
            (*whole).elemtype,
            c_int::from(length),
            by_value,
            alignment,
            &raw mut values,
            &raw mut nulls,
            &raw mut count,
        );
        for n in 0..usize::try_from(count).unwrap_or(0) {
            if !*nulls.add(n) {
                each(kind, *values.add(n))?;
            }
        }
        if count > 0 {
            server::pfree(values.cast());
            server::pfree(nulls.cast());
        }
        if whole.cast() != given {
            server::pfree(whole.cast());
        }
    }
    Ok(())
}

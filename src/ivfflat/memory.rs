//! What a build may ask of maintenance_work_mem: pgvector's figures and pgvector's error. They are kept because
//! users size the setting, and scripts read the message, by them: what these figures allow is built. Mostly it
//! needs far less (pgvector's clustering keeps a bound per row and list and a distance per pair of lists).
//! Where it needs more (centres of long halfvecs, which clustering keeps as floats, and of few rows), there are
//! fewer threads and smaller buffers, and what is then left above the setting, two bytes per element of a
//! centre and a chunk of rows, is taken all the same.

use pgrx::PgSqlErrorCode;
use vector_index::ivf::cluster::kmeans;
use vector_index::ivf::cluster::sample::Encoding;
use vector_index::ivf::load::value_size;
use vector_index::storage::page::max_align;
use vector_index::work::memory::can_allocate;

use crate::error::Error;
use crate::pg::guc;

/// Bytes that pgvector adds to an array of values.
const ARRAY: u64 = 32;
/// Bytes of a number of its: `float` or `int`.
const NUMBER: u64 = 4;

/// Values of `T`.
fn array<T: Encoding>(count: u64, width: usize) -> u64 {
    count.saturating_mul(max_align(value_size::<T>(width)) as u64).saturating_add(ARRAY)
}

/// The centres.
pub fn of_centres<T: Encoding>(lists: u64, width: usize) -> u64 {
    array::<T>(lists, width)
}

/// The centres and a sample of `rows` rows.
pub fn of_sample<T: Encoding>(lists: u64, rows: u64, width: usize) -> u64 {
    of_centres::<T>(lists, width).saturating_add(array::<T>(rows, width))
}

/// What clustering adds, for the `rows` rows that the sample has.
pub fn of_clustering<T: Encoding>(lists: u64, rows: u64, dims: u64, width: usize) -> u64 {
    let numbers = [
        lists.saturating_mul(dims),
        // counts, distances to the nearest other centre, moves
        lists.saturating_mul(3),
        // nearest centre, upper bound
        rows.saturating_mul(2),
        rows.saturating_mul(lists),
        lists.saturating_mul(lists),
    ];
    let numbers = numbers.iter().fold(0u64, |sum, &part| sum.saturating_add(part));
    array::<T>(lists, width).saturating_add(numbers.saturating_mul(NUMBER))
}

/// Rows of a sample for each list, at least.
const LEAST_PER_LIST: u64 = 4;

/// Rows of a sample, `wanted` at most, that a packed index of `lists` lists is made with: clustering them takes two
/// thirds of maintenance_work_mem, which leaves it room to be fast. There may be thousands of lists, and pgvector's
/// figures grow with lists times rows.
///
/// # Errors
/// pgvector's, when few rows of each list take more than maintenance_work_mem.
pub fn affordable_rows<T: Encoding>(lists: u64, wanted: u64, width: usize) -> Result<u64, Error> {
    let taken = |rows: u64| kmeans::memory::<T>(rows, lists, width as u64, 1);
    let mut least = lists.saturating_mul(LEAST_PER_LIST).min(wanted);
    check(taken(least))?;
    let (budget, mut most) = (guc::maintenance_work_mem() as u64 / 3 * 2, wanted);
    while least < most {
        let middle = most - (most - least) / 2;
        if taken(middle) <= budget {
            least = middle;
        } else {
            most = middle - 1;
        }
    }
    Ok(least)
}

/// Fails when `needed` bytes are more than maintenance_work_mem.
///
/// # Errors
/// pgvector's.
pub fn check(needed: u64) -> Result<(), Error> {
    const KB: u64 = 1 << 10;
    const MB: u64 = 1 << 20;
    let allowed = guc::maintenance_work_mem() as u64;
    if needed / KB <= allowed / KB {
        return Ok(());
    }
    Err(Error::Message(
        PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        // rounded up
        format!("memory required is {} MB, maintenance_work_mem is {} MB", needed / MB + 1, allowed / MB),
    ))
}

/// Fails when the system has no `needed` bytes. Asked before much is begun: memory that is wanting later, in
/// the middle of clustering, would end the server.
///
/// # Errors
/// PostgreSQL's.
pub fn available(needed: u64) -> Result<(), Error> {
    if usize::try_from(needed).is_ok_and(can_allocate) { Ok(()) } else { Err(OUT_OF_MEMORY) }
}

/// PostgreSQL's error.
pub const OUT_OF_MEMORY: Error = Error::Fixed(PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY, "out of memory");

//! Scans: the query, and rows on demand.

use pgrx::pg_sys::Datum;
use vector_index::ValueError;
use vector_index::filter::MAX_COLUMNS;
use vector_index::hnsw::format::{Opened, Scan, read_included};
use vector_index::hnsw::meta::META_BLOCK;
use vector_index::hnsw::scan::ScanError;
use vector_index::space::{AnySpace, ValueBuf};
use vector_index::storage::page::{Damage, Tid};
use vector_index::with_space;

use super::options;
use super::{corrupted, open, opened_columns, operator_class, space_of};
use crate::error::Error;
use crate::opclass::OpClass;
use crate::pg::am::{Returned, ScanCall};
use crate::pg::backend::PerBackend;
use crate::pg::blocks::{Hold, IndexBlocks};
use crate::pg::columns::Columns;
use crate::pg::included::Included;
use crate::pg::relation::Rel;
use crate::pg::toast::last_row::Known;

/// Scan states that ended, for the next scans: their tables have grown to what searches need.
static SPARE: PerBackend<Vec<Scan>> = PerBackend::new();
/// No more of them are kept than a query of a few joins has scans,
const SPARES: usize = 4;
/// and none that an unusual scan made large.
const SPARE_BYTES: usize = 4 << 20;

/// The state of one scan. Everything it allocates is in it, not in the frames that read blocks.
pub struct HnswScan {
    op: OpClass,
    space: AnySpace,
    scan: Scan,
    query: ValueBuf,
    columns: Columns,
    /// the query as the index compares it, where values have filter keys behind them
    item: ValueBuf,
    /// the values of a row that is returned without the table's
    returned: ValueBuf,
    /// INCLUDE columns, and their values of that row
    included: Option<Included>,
    kept: ValueBuf,
    opened: Opened,
    /// its page, until the next row is asked for
    held: Option<Hold>,
    /// whether conditions on columns must be looked at again
    rechecks: bool,
    /// `None` until the first row is asked for; then whether there is a query that is not NULL
    has_query: Option<bool>,
}

impl HnswScan {
    /// A scan of an index.
    pub fn begin(index: Rel<'_>) -> Result<Self, Error> {
        let opened = open(index, &mut IndexBlocks::new(index))?;
        let op = operator_class(index)?.keeping_lengths(opened.layout().keeps_lengths());
        let columns = opened_columns(index, &opened)?;
        let space = space_of(&op, &opened);
        let mut scan = SPARE.with(Vec::new, Vec::pop).unwrap_or_default();
        scan.set_index(&opened);
        let (query, item) = (ValueBuf::new(), ValueBuf::new());
        let (returned, kept, held) = (ValueBuf::new(), ValueBuf::new(), None);
        let included = Included::of(index);
        Ok(HnswScan {
            op,
            space,
            scan,
            query,
            columns,
            item,
            returned,
            included,
            kept,
            opened,
            held,
            rechecks: false,
            has_query: None,
        })
    }

    /// Forgets the query.
    pub fn rescan(&mut self) {
        self.release();
        self.scan.reset();
        self.has_query = None;
    }

    /// Whether conditions on columns must be looked at again.
    pub fn rechecks(&self) -> bool {
        self.rechecks
    }

    /// The distance of the last row, where it is the operator's.
    pub fn known(&self) -> Option<Known<'_>> {
        let measure = self.op.measure().filter(|_| self.has_query == Some(true))?;
        Some(Known::new(measure, self.scan.distance_of_returned(), self.query.bytes()))
    }

    /// Lets the page of the last row go.
    pub fn release(&mut self) {
        if let Some(held) = self.held.take() {
            held.release();
        }
    }

    /// The values of the last row; false when a vacuum has removed it meanwhile. Its page is held on to before it is
    /// looked at again, and up to the next row: a vacuum that would remove the row waits, and so does whoever would put
    /// another in its place, or note that all rows beside it are visible.
    pub fn values(&mut self, call: ScanCall<'_>, row: &mut Returned) -> Result<bool, Error> {
        let Some(block) = self.scan.place_of_returned() else { return Ok(false) };
        let mut blocks = IndexBlocks::new(call.index);
        self.held = Some(blocks.hold(block).map_err(|c| corrupted(call.index, c))?);
        let found = self.scan.read_returned(&mut blocks, &mut self.returned);
        if !found.map_err(|c| corrupted(call.index, c))? {
            blocks.count_hits();
            return Ok(false);
        }
        if let Some(included) = &self.included {
            let kept = match self.scan.row_of_returned() {
                Some(tid) => read_included(&self.opened, &mut blocks, tid, &mut self.kept),
                None => Ok(false),
            };
            if !kept.map_err(|c| corrupted(call.index, c))? {
                let damage = Damage::at(0, "row without included values");
                return Err(corrupted(call.index, damage.on(block)));
            }
            let set = included.set(self.kept.bytes(), row);
            set.map_err(|damage| corrupted(call.index, damage.on(block)))?;
        }
        blocks.count_hits();
        let bytes = self.returned.bytes();
        row.set(0, Datum::from(bytes.as_ptr()));
        let packings = self.columns.packings();
        let keys = bytes.len().checked_sub(packings.bytes()).and_then(|at| bytes.get(at..));
        for (n, number) in packings.numbers(keys.unwrap_or_default()).into_iter().enumerate() {
            if let Some(value) = number.and_then(|number| self.columns.value(n, number)) {
                row.set(n + 1, value);
            }
        }
        Ok(true)
    }

    /// The next row.
    pub fn next(&mut self, call: ScanCall<'_>) -> Result<Option<Tid>, Error> {
        self.release();
        let has_query = match self.has_query {
            Some(known) => known,
            None => {
                let value = call.query();
                if let Some(value) = value {
                    self.op.form_query(value, &mut self.query)?;
                    let none = [0; MAX_COLUMNS];
                    let keys = none.get(..self.columns.len()).unwrap_or_default();
                    if !keys.is_empty() {
                        self.columns.packings().put_item(self.query.bytes(), keys, &mut self.item)?;
                    }
                }
                let filter = self.scan.filter();
                let compiled = call.compile(&self.columns, filter);
                compiled.map_err(|damage| corrupted(call.index, damage.on(META_BLOCK)))?;
                self.rechecks = filter.needs_recheck() || self.columns.is_empty() && call.has_conditions();
                *self.has_query.insert(value.is_some())
            }
        };
        let query = if self.columns.is_empty() { &self.query } else { &self.item };
        let query = has_query.then(|| query.bytes());
        let mut blocks = IndexBlocks::new(call.index);
        let settings = options::scan_settings();
        let found = with_space!(self.space, space => self.scan.next(&mut blocks, space, query, &settings));
        blocks.count_hits();
        found.map_err(|error| match error {
            ScanError::Store(corruption) => corrupted(call.index, corruption),
            ScanError::Query(error) => Error::Value(query_error(error)),
        })
    }
}

impl Drop for HnswScan {
    fn drop(&mut self) {
        let mut scan = core::mem::take(&mut self.scan);
        if scan.allocated() <= SPARE_BYTES {
            scan.reset();
            SPARE.with(Vec::new, |spare| {
                if spare.len() < SPARES {
                    spare.push(scan);
                }
            });
        }
    }
}

/// Names the query's dimensions first, as the distance between the query and an element would.
fn query_error(error: ValueError) -> ValueError {
    match error {
        ValueError::DifferentDims(ty, index, query) => ValueError::DifferentDims(ty, query, index),
        ValueError::DifferentBits(index, query) => ValueError::DifferentBits(query, index),
        other => other,
    }
}

//! Scans: the query, and rows on demand.

use pgrx::pg_sys::Datum;
use vector_index::ivf::format::{Layout, META_BLOCK, Memory, packed_lists};
use vector_index::ivf::lists::{NoTable, Services};
use vector_index::ivf::packed::returned::{Look, NO_VALUES, TRIES};
use vector_index::ivf::scan::{Scan, ScanError, ScanSettings};
use vector_index::space::{AnySpace, ValueBuf};
use vector_index::storage::page::{Corruption, Tid};
use vector_index::work::runs::Runs;
use vector_index::{with_lists, with_space};

use super::Decompress;
use super::table::Seen;
use super::{centres, corrupted, opened_columns, operator_class_of, options, read_meta};
use crate::error::Error;
use crate::opclass::OpClass;
use crate::pg::am::{Returned, ScanCall};
use crate::pg::blocks::{Hold, IndexBlocks, Ring};
use crate::pg::columns::Columns;
use crate::pg::guc;
use crate::pg::included::Included;
use crate::pg::relation::Rel;
use crate::pg::spill::Spill;
use crate::pg::table_rows::TableRows;
use crate::pg::toast::last_row::Known;

/// The state of one scan. Everything it allocates is in it, not in the frames that read blocks.
pub struct IvfScan {
    op: OpClass,
    layout: Layout,
    space: AnySpace,
    settings: ScanSettings,
    scan: Scan,
    memory: Memory,
    spill: Spill,
    /// where the index has no values
    table: Option<TableRows>,
    ring: Ring,
    query: ValueBuf,
    columns: Columns,
    /// columns of which the index keeps the values, those of a row that is returned without the table's, its vector
    included: Option<Included>,
    kept: ValueBuf,
    vector: ValueBuf,
    /// the page of the values, until the next row is asked for
    held: Option<Hold>,
    /// whether conditions on columns must be looked at again
    rechecks: bool,
    /// `None` until the first row is asked for; then whether there is a query that is not NULL
    has_query: Option<bool>,
}

impl IvfScan {
    /// A scan of an index, with the settings of this moment.
    pub fn begin(index: Rel<'_>) -> Result<Self, Error> {
        let meta = read_meta(index, &mut IndexBlocks::new(index))?;
        let op = operator_class_of(index, &meta)?;
        let columns = opened_columns(index, &meta.layout)?;
        Ok(IvfScan {
            op,
            layout: meta.layout,
            space: op.space(i32::from(meta.dimensions)),
            settings: ScanSettings {
                probes: options::probes(meta.probes),
                asked: options::asked(),
                max_probes: options::max_probes(meta.probes),
                memory: guc::work_mem(),
            },
            scan: Scan::default(),
            memory: Memory::default(),
            spill: Spill::new(),
            table: meta.layout.coded().filter(|index| !index.geometry.own_values).map(|_| TableRows::new()),
            ring: Ring::for_scan(index),
            query: ValueBuf::new(),
            columns,
            included: Included::with_filters(index),
            kept: ValueBuf::new(),
            vector: ValueBuf::new(),
            held: None,
            rechecks: false,
            has_query: None,
        })
    }

    /// Forgets the query.
    pub fn rescan(&mut self) {
        self.release();
        self.scan.reset(&mut self.spill);
        self.spill.clear();
        self.has_query = None;
    }

    /// Whether conditions on columns must be looked at again.
    pub fn rechecks(&self) -> bool {
        self.rechecks
    }

    /// The distance of the last row, where it is the operator's: of layout packed.
    pub fn known(&self) -> Option<Known<'_>> {
        let measure = self.op.measure().filter(|_| self.has_query == Some(true))?;
        Some(Known::new(measure, self.scan.distance_of_returned()?, self.query.bytes()))
    }

    /// Gives back what is not memory.
    pub fn end(&mut self) {
        self.rescan();
        if let Some(table) = &mut self.table {
            table.end();
        }
    }

    /// Lets the page of the last row's values go.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            held.release();
        }
    }

    /// The values of the last row; false when a vacuum has removed it meanwhile. The page with those of its other
    /// columns is held on to before it is looked at, and up to the next row: a vacuum that would remove the row waits,
    /// and so does whoever would put another in its place, or note that all rows beside it are visible.
    pub fn values(&mut self, call: ScanCall<'_>, row: &mut Returned) -> Result<bool, Error> {
        let Some(candidate) = self.scan.returned() else { return Ok(false) };
        let mut blocks = IndexBlocks::new(call.index);
        let failed = |c| corrupted(call.index, c);
        for _ in 0..TRIES {
            self.release();
            let Some(mut lists) = packed_lists(self.layout, &mut blocks, &mut self.memory) else { break };
            let leaf = lists.leaf_of(candidate.row).map_err(failed)?;
            self.held = Some(lists.blocks.hold(leaf).map_err(failed)?);
            let run = self.scan.run();
            let look = with_space!(self.space, space => {
                lists.read_returned(space, &candidate, run, leaf, &mut self.kept, &mut self.vector)
            });
            let look = look.map_err(failed)?;
            if look == Look::Again {
                continue;
            }
            blocks.count_hits();
            let (Some(included), Look::Here) = (&self.included, look) else { return Ok(false) };
            included.set(self.kept.bytes(), row).map_err(|damage| failed(damage.on(leaf)))?;
            row.set(0, Datum::from(self.vector.bytes().as_ptr()));
            return Ok(true);
        }
        Err(failed(NO_VALUES.on(u32::from_ne_bytes(candidate.start))))
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
                }
                let filter = self.scan.filter();
                let compiled = call.compile(&self.columns, filter);
                compiled.map_err(|damage| corrupted(call.index, damage.on(META_BLOCK)))?;
                self.rechecks = filter.needs_recheck() || self.columns.is_empty() && call.has_conditions();
                *self.has_query.insert(value.is_some())
            }
        };
        let query = has_query.then(|| self.query.bytes());
        let mut blocks = IndexBlocks::scanning(call.index, self.ring);
        if !self.scan.started() {
            let (scan, settings) = (&mut self.scan, &self.settings);
            let begun = centres::with(
                &mut blocks,
                self.layout,
                self.space,
                &mut self.memory,
                |blocks, centres, memory| {
                    with_space!(self.space, space => with_lists!(self.layout, blocks, memory, lists => {
                        scan.begin(lists, space, query, settings, centres)
                    }))
                },
            );
            begun.map_err(|c| corrupted(call.index, c))?.map_err(|error| scan_error(call.index, error))?;
        }
        let mut seen = self.table.as_mut().map(|table| Seen(call.table(table)));
        let (mut none, runs, unpack) = (NoTable, &mut self.spill, &mut Decompress);
        let mut services = match &mut seen {
            Some(table) => Services { runs, unpack, table },
            None => Services { runs, unpack, table: &mut none },
        };
        let found = with_space!(self.space, space => with_lists!(self.layout, &mut blocks, &mut self.memory, lists => {
            self.scan.next(lists, space, query, &self.settings, &mut services)
        }));
        blocks.count_hits();
        found.map_err(|error| scan_error(call.index, error))
    }
}

fn scan_error(index: Rel<'_>, error: ScanError<Corruption>) -> Error {
    match error {
        ScanError::Store(corruption) => corrupted(index, corruption),
        ScanError::Query(error) => Error::Value(error),
    }
}

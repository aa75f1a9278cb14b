//! Storage parameters and settings.

use pgrx::guc::GucSetting;
use pgrx::pg_sys::{self, Datum};
use vector_index::filter::Packings;
use vector_index::hnsw::params;
use vector_index::hnsw::scan::{IterativeScan, ScanSettings};

use crate::layout::{self, Wanted};
use crate::pg::alter;
use crate::pg::columns::Columns;
use crate::pg::guc::{self, Choices};
use crate::pg::relation::Rel;
use crate::pg::reloptions::{Choice, Options, StorageParameter, Values};

/// What rd_options of an index points to.
#[repr(C)]
struct Stored {
    varlena: i32,
    m: i32,
    ef_construction: i32,
    layout: i32,
    runs: i32,
}

const _: () = assert!(size_of::<Stored>() == 20);

/// The storage parameters of an index.
#[derive(Clone, Copy, Debug)]
pub struct HnswOptions {
    /// connections per layer
    pub m: i32,
    /// queue length of inserts
    pub ef_construction: i32,
    /// the page layout
    pub layout: Wanted,
    /// filter columns that have runs of entries, the first ones
    pub runs: i32,
}

impl HnswOptions {
    fn new([m, ef_construction, layout, runs]: alter::Values) -> Self {
        HnswOptions { m, ef_construction, layout: Wanted::new(layout, DEFAULT_LAYOUT.get()), runs }
    }
}

impl HnswOptions {
    /// How an index with these options keeps the keys of its filter columns.
    pub fn packings(&self, columns: &Columns) -> Packings {
        // the option's range keeps it above zero
        columns.packings().with_runs(self.runs as usize)
    }
}

static LAYOUTS: [Choice; 4] = layout::names(c"inline");

/// The storage parameters' description.
pub static OPTIONS: Options = Options::new(
    &[
        StorageParameter {
            name: c"m",
            description: c"Max number of connections",
            offset: core::mem::offset_of!(Stored, m),
            values: Values::Int(params::DEFAULT_M, params::MIN_M, params::MAX_M),
        },
        StorageParameter {
            name: c"ef_construction",
            description: c"Size of the dynamic candidate list for construction",
            offset: core::mem::offset_of!(Stored, ef_construction),
            values: Values::Int(
                params::DEFAULT_EF_CONSTRUCTION,
                params::MIN_EF_CONSTRUCTION,
                params::MAX_EF_CONSTRUCTION,
            ),
        },
        layout::parameter(
            core::mem::offset_of!(Stored, layout),
            &LAYOUTS,
            c"Valid values are \"auto\", \"inline\" and \"pgvector\".",
        ),
        StorageParameter {
            name: c"runs",
            description: c"Number of leading filter columns with runs of their own",
            offset: core::mem::offset_of!(Stored, runs),
            values: Values::Int(params::DEFAULT_RUNS, params::MIN_RUNS, params::MAX_RUNS),
        },
    ],
    size_of::<Stored>(),
);

static EF_SEARCH: GucSetting<i32> = GucSetting::<i32>::new(params::DEFAULT_EF_SEARCH);
static ITERATIVE_SCAN: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_SCAN_TUPLES: GucSetting<i32> = GucSetting::<i32>::new(20_000);
static SCAN_MEM_MULTIPLIER: GucSetting<f64> = GucSetting::<f64>::new(1.0);
static BUILD_SEED: GucSetting<i32> = GucSetting::<i32>::new(0);
static DEFAULT_LAYOUT: GucSetting<i32> = GucSetting::<i32>::new(layout::DEFAULT);

static DEFAULT_LAYOUTS: Choices<4> = layout::settings(c"inline");

static ITERATIVE_SCANS: Choices<4> = Choices::new([
    guc::choice(c"off", 0),
    guc::choice(c"relaxed_order", 1),
    guc::choice(c"strict_order", 2),
    guc::no_choice(),
]);

/// Whether indexes that do not say are built on other pages than pgvector's, where these suit them.
pub fn prefers_own_pages() -> bool {
    Wanted::new(0, DEFAULT_LAYOUT.get()) != Wanted::Pgvector
}

/// Makes parameters and settings known; from _PG_init.
pub fn register() {
    OPTIONS.register();
    guc::define_int(
        c"hnsw.ef_search",
        c"Sets the size of the dynamic candidate list for search",
        Some(c"Valid range is 1..1000."),
        &EF_SEARCH,
        (params::DEFAULT_EF_SEARCH, params::MIN_EF_SEARCH, params::MAX_EF_SEARCH),
    );
    guc::define_enum(
        c"hnsw.iterative_scan",
        c"Sets the mode for iterative scans",
        &ITERATIVE_SCAN,
        0,
        &ITERATIVE_SCANS,
    );
    guc::define_int(
        c"hnsw.max_scan_tuples",
        c"Sets the max number of tuples to visit for iterative scans",
        None,
        &MAX_SCAN_TUPLES,
        (20_000, 1, i32::MAX),
    );
    guc::define_real(
        c"hnsw.scan_mem_multiplier",
        c"Sets the multiple of work_mem to use for iterative scans",
        &SCAN_MEM_MULTIPLIER,
        (1.0, 1.0, 1000.0),
    );
    guc::define_enum(
        c"hnsw.default_layout",
        c"Sets the page layout of indexes whose storage parameter layout is not set",
        &DEFAULT_LAYOUT,
        layout::DEFAULT,
        &DEFAULT_LAYOUTS,
    );
    guc::define_hidden_int(
        c"hnsw.build_seed",
        c"Seed of the levels that builds, and inserts of a session, draw; 0 takes another each time",
        &BUILD_SEED,
        (0, 0, i32::MAX),
    );
    guc::reserve_prefix(c"hnsw");
}

/// Parses storage parameters.
pub fn parse(reloptions: Datum, validate: bool) -> *mut pg_sys::bytea {
    OPTIONS.parse(reloptions, validate)
}

/// The storage parameters of an index.
pub fn of(index: Rel<'_>) -> HnswOptions {
    HnswOptions::new(OPTIONS.of(index))
}

/// The storage parameters that an index has from now on, when they name another layout, or other runs, than before: the
/// default's own name, too, for an index may be older than the default.
pub fn altered_pages(before: &alter::Values, after: &alter::Values) -> Option<HnswOptions> {
    let pages = |&[_, _, layout, runs]: &alter::Values| (layout, runs);
    (pages(before) != pages(after)).then(|| HnswOptions::new(*after))
}

/// ef_search alone, for the planner.
pub fn ef_search() -> i32 {
    EF_SEARCH.get()
}

/// The seed of a build, or of the inserts of a session from its first one on.
pub fn build_seed() -> u64 {
    match BUILD_SEED.get() {
        0 => rand::random(),
        seed => seed as u64,
    }
}

/// The settings of a scan, as they are now.
pub fn scan_settings() -> ScanSettings {
    let memory = guc::work_mem() as f64 * SCAN_MEM_MULTIPLIER.get();
    ScanSettings {
        ef_search: EF_SEARCH.get().max(1) as usize,
        iterative: match ITERATIVE_SCAN.get() {
            1 => IterativeScan::Relaxed,
            2 => IterativeScan::Strict,
            _ => IterativeScan::Off,
        },
        max_tuples: MAX_SCAN_TUPLES.get().max(1) as u64,
        // a float beyond usize saturates
        max_memory: memory as usize,
    }
}

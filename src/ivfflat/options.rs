//! Storage parameters and settings.

use pgrx::guc::GucSetting;
use pgrx::pg_sys::{self, Datum};
use vector_index::filter::MAX_COLUMNS;
use vector_index::ivf::choice::{self, DEFAULT_LISTS};
use vector_index::ivf::format::MAX_LISTS;

use crate::layout::{self, Wanted};
use crate::pg::alter;
use crate::pg::guc::{self, Choices, Given, Noted};
use crate::pg::relation::Rel;
use crate::pg::reloptions::{Choice, Options, StorageParameter, Values};

const MOST_LISTS: i32 = MAX_LISTS as i32;

/// What rd_options of an index points to.
#[repr(C)]
struct Stored {
    varlena: i32,
    lists: i32,
    layout: i32,
    rerank: i32,
    runs: i32,
}

const _: () = assert!(size_of::<Stored>() == 20);

/// Of `runs`, when nobody says how many.
const AS_FITS: i32 = -1;

/// The storage parameters of an index.
#[derive(Clone, Copy, Debug)]
pub struct IvfflatOptions {
    /// number of lists; none where nobody says
    pub lists: Option<u16>,
    /// the page layout
    pub layout: Wanted,
    /// where exact distances come from
    pub rerank: Rerank,
    /// filter columns that have runs of entries, the first ones; none where nobody says how many
    pub runs: Option<usize>,
}

/// Where exact distances of packed lists come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rerank {
    /// values that the index has
    Own,
    /// the table
    Heap,
}

impl IvfflatOptions {
    fn new([lists, layout, rerank, runs]: alter::Values) -> Self {
        IvfflatOptions {
            lists: (lists > 0).then(|| lists.min(MOST_LISTS) as u16),
            layout: Wanted::new(layout, DEFAULT_LAYOUT.get()),
            rerank: if rerank == HEAP { Rerank::Heap } else { Rerank::Own },
            runs: usize::try_from(runs).ok(),
        }
    }
}

static LAYOUTS: [Choice; 4] = layout::names(c"packed");

const OWN: i32 = 0;
const HEAP: i32 = 1;

static RERANKS: [Choice; 3] = [Choice::new(c"own", OWN), Choice::new(c"heap", HEAP), Choice::END];

impl IvfflatOptions {
    /// The lists of an index of `rows` rows of `dims` dimensions.
    pub fn lists_for(&self, packed: bool, rows: f64, dims: u16) -> u16 {
        match self.lists {
            Some(lists) => lists,
            None if packed => choice::lists(rows, dims),
            None => DEFAULT_LISTS,
        }
    }
}

/// The storage parameters' description.
pub static OPTIONS: Options = Options::new(
    &[
        StorageParameter {
            name: c"lists",
            description: c"Number of inverted lists",
            offset: core::mem::offset_of!(Stored, lists),
            // absent it is 0
            values: Values::Int(0, 1, MOST_LISTS),
        },
        layout::parameter(
            core::mem::offset_of!(Stored, layout),
            &LAYOUTS,
            c"Valid values are \"auto\", \"packed\" and \"pgvector\".",
        ),
        StorageParameter {
            name: c"rerank",
            description: c"Where packed lists get exact distances from",
            offset: core::mem::offset_of!(Stored, rerank),
            values: Values::Choice {
                choices: &RERANKS,
                absent: OWN,
                detail: c"Valid values are \"own\" and \"heap\".",
            },
        },
        StorageParameter {
            name: c"runs",
            description: c"Number of leading filter columns with runs of their own",
            offset: core::mem::offset_of!(Stored, runs),
            values: Values::Int(AS_FITS, 0, MAX_COLUMNS as i32),
        },
    ],
    size_of::<Stored>(),
);

static PROBES: GucSetting<i32> = GucSetting::<i32>::new(1);
static ITERATIVE_SCAN: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_PROBES: GucSetting<i32> = GucSetting::<i32>::new(MOST_LISTS);
static BUILD_SEED: GucSetting<i32> = GucSetting::<i32>::new(0);
static DEFAULT_LAYOUT: GucSetting<i32> = GucSetting::<i32>::new(layout::DEFAULT);

static DEFAULT_LAYOUTS: Choices<4> = layout::settings(c"packed");

static ITERATIVE_SCANS: Choices<3> =
    Choices::new([guc::choice(c"off", 0), guc::choice(c"relaxed_order", 1), guc::no_choice()]);

/// Whether indexes that do not say are built on other pages than pgvector's, where these suit them.
pub fn prefers_own_pages() -> bool {
    Wanted::new(0, DEFAULT_LAYOUT.get()) != Wanted::Pgvector
}

/// Makes parameters and settings known; from _PG_init.
pub fn register() {
    OPTIONS.register();
    guc::define_noted_int::<Probes>(
        c"ivfflat.probes",
        c"Sets the number of probes",
        Some(c"Valid range is 1..lists."),
        &PROBES,
        (1, 1, MOST_LISTS),
    );
    guc::define_enum(
        c"ivfflat.iterative_scan",
        c"Sets the mode for iterative scans",
        &ITERATIVE_SCAN,
        0,
        &ITERATIVE_SCANS,
    );
    guc::define_int(
        c"ivfflat.max_probes",
        c"Sets the max number of probes for iterative scans",
        None,
        &MAX_PROBES,
        (MOST_LISTS, 1, MOST_LISTS),
    );
    guc::define_enum(
        c"ivfflat.default_layout",
        c"Sets the page layout of indexes whose storage parameter layout is not set",
        &DEFAULT_LAYOUT,
        layout::DEFAULT,
        &DEFAULT_LAYOUTS,
    );
    guc::define_hidden_int(
        c"ivfflat.build_seed",
        c"Seed of samples and clustering; 0 takes another each time",
        &BUILD_SEED,
        (0, 0, i32::MAX),
    );
    guc::reserve_prefix(c"ivfflat");
}

/// Parses storage parameters.
pub fn parse(reloptions: Datum, validate: bool) -> *mut pg_sys::bytea {
    OPTIONS.parse(reloptions, validate)
}

/// The storage parameters of an index.
pub fn of(index: Rel<'_>) -> IvfflatOptions {
    IvfflatOptions::new(OPTIONS.of(index))
}

/// The storage parameters that an index has from now on, when they name another layout than before, another source of
/// exact distances, or other runs: the default's own name, too, for an index may be older than the default.
pub fn altered_layout(before: &alter::Values, after: &alter::Values) -> Option<IvfflatOptions> {
    let pages = |&[_, layout, rerank, runs]: &alter::Values| (layout, rerank, runs);
    (pages(before) != pages(after)).then(|| IvfflatOptions::new(*after))
}

/// The seed of a build.
pub fn build_seed() -> u64 {
    match BUILD_SEED.get() {
        0 => rand::random(),
        seed => seed as u64,
    }
}

/// Where it is noted whether somebody has set `ivfflat.probes`.
struct Probes;

static PROBES_GIVEN: Given = Given::new();

impl Noted for Probes {
    fn given() -> &'static Given {
        &PROBES_GIVEN
    }
}

/// Lists of a batch of a scan: as many as somebody says, else those that the index knows to be enough.
pub fn probes(known: Option<u32>) -> usize {
    match known {
        Some(known) if !PROBES_GIVEN.get() => known.max(1) as usize,
        _ => PROBES.get().max(1) as usize,
    }
}

/// Whether somebody says how many.
pub fn asked() -> bool {
    PROBES_GIVEN.get()
}

/// Lists of a scan in all: more than [`probes`] when it goes on.
pub fn max_probes(known: Option<u32>) -> usize {
    let more = if ITERATIVE_SCAN.get() == 0 { 0 } else { MAX_PROBES.get().max(1) as usize };
    probes(known).max(more)
}

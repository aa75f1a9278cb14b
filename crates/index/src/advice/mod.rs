//! What to do about a column of vectors or an index of them: sizes and times by formula from a measured rate, and the
//! rules that turn them into advice. Pure: whoever calls it collects the facts and writes the SQL.

use crate::hnsw::choice::{has_inline, max_dims, own_bytes};
use crate::hnsw::format::Layout;
use crate::space::{Metric, ValueKind};

/// Bytes of a page.
const PAGE: usize = 8192;
/// Bytes of a page that items can have, line pointers included.
const PAGE_ROOM: u64 = PAGE as u64 - 24 - 8;
/// Bytes of a line pointer.
const LINE_POINTER: u64 = 4;
/// Longer values are stored out of line (TOAST_TUPLE_THRESHOLD).
const INLINE: u64 = 2000;

// The constants below were fitted to backend CPU times of 10,000 to 30,000 random vectors of 128, 384 and 768
// dimensions with m = 16, ef_construction = 64 and ef_search = 40, in memory.

/// Seconds that a sequential scan takes for a row besides the distance, and what it costs to fetch a value
/// stored out of line.
const ROW_SECONDS: f64 = 0.15e-6;
const FETCH_SECONDS: f64 = 1.0e-6;
/// Seconds to come to an element that is in memory but not in the processor's caches, and for each byte of its value.
const VISIT_SECONDS: f64 = 0.15e-6;
const BYTE_SECONDS: f64 = 0.25e-9;
/// Distances that a search computes, as a multiple of ef * m: of the 2 m neighbours of each of ef elements, those that
/// were not seen before.
const SEARCH_FACTOR: f64 = 1.1;
/// Seconds of a build for each row and unit of ef_construction * m, and the part of a distance that comes to it
/// (a build compares short codes first); both grow with the logarithm of the rows, from [`BUILD_ROWS`] on.
const BUILD_SECONDS: f64 = 0.058e-6;
const BUILD_DISTANCES: f64 = 0.4;
const BUILD_ROWS: f64 = 20_000.0;
/// Memory of a graph while it is built, as a multiple of the index's size.
const BUILD_MEMORY: f64 = 1.5;

/// An exact answer within this time needs no index.
pub const FAST_ENOUGH: f64 = 0.010;
/// Recall below which an index is not as it should be.
pub const LOW_RECALL: f64 = 0.9;
/// Recall that advice aims at.
pub const TARGET_RECALL: f64 = 0.95;
/// Seconds from which the build of a graph is long.
const LONG_BUILD: f64 = 8.0 * 3600.0;
/// Share of the machine's memory that a graph may take while it is built.
const BUILD_SHARE: f64 = 0.5;
/// Time of a build of lists, as a share of that of a graph: measured at a million rows (docs/scale.md).
const LISTS_BUILD: f64 = 1.0 / 3.0;
/// Rows of a list's share of the sample that centres are computed from.
const SAMPLE_ROWS: u64 = 50;
/// Share of dead rows or dying elements from which a vacuum is due.
const DEAD_SHARE: f64 = 0.2;
/// Share of free places from which a rebuild pays.
const FREE_SHARE: f64 = 0.4;
/// Indexes smaller than this are not worth a rebuild for their size.
const SMALL_INDEX: u64 = 8 << 20;
/// Times more rows read than with equal lists, from which lists are out of balance.
const IMBALANCE: f64 = 4.0;

/// Sequential scans of a table from which it is strange that its index is not used.
const MANY_SCANS: i64 = 100;
/// Share of the size of an index of vectors that one of halfvecs may have to be worth it.
const WORTH_HALVING: f64 = 0.75;

/// What this machine and its settings allow.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// seconds of a distance of two of the column's values, measured
    pub distance: f64,
    /// bytes of shared_buffers
    pub shared_buffers: u64,
    /// bytes of maintenance_work_mem
    pub maintenance_memory: u64,
    /// threads of a build
    pub threads: u32,
    /// bytes of memory
    pub memory: u64,
    /// whether indexes are built on the pages that suit them best, and not on pgvector's only
    pub automatic: bool,
}

/// Sizes and times of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// bytes on disk
    pub size: Option<u64>,
    /// seconds of its build
    pub build: Option<f64>,
    /// bytes of memory for its build
    pub memory: Option<u64>,
    /// seconds of a query
    pub latency: Option<f64>,
}

/// Bytes of a value, its header included. Sparse values are taken to have a hundred elements, or as many as they have
/// dimensions.
pub fn value_size(kind: ValueKind, dims: u32) -> u64 {
    let dims = u64::from(dims);
    match kind {
        ValueKind::Vector => 8 + 4 * dims,
        ValueKind::Halfvec => 8 + 2 * dims,
        ValueKind::Bit => 8 + dims.div_ceil(8),
        ValueKind::Sparsevec => 16 + 8 * dims.min(100),
    }
}

/// Most dimensions that an hnsw index of such values takes (elements that are not zero, of sparse ones).
fn most_dims(kind: ValueKind, order: Order, machine: &Machine) -> u32 {
    if kind == ValueKind::Sparsevec {
        return u32::MAX;
    }
    let own = machine.automatic && has_inline(kind, order.metric());
    u32::try_from(max_dims(if own { Layout::Inline } else { Layout::V1 }, kind)).unwrap_or_default()
}

/// Bytes of an hnsw index on pages that are not pgvector's, where it is built on such.
fn own_size(rows: f64, kind: ValueKind, dims: u32, order: Order, machine: &Machine) -> Option<u64> {
    let bytes = own_bytes(kind, order.metric(), dims as usize, 16, PAGE)?;
    // a float beyond the range saturates
    machine.automatic.then_some((rows * bytes) as u64)
}

/// Returns the bytes of an hnsw index: pairs of an element tuple (72 bytes and the value) and a neighbour tuple
/// (6 bytes for each of 2 m edges, and m for each level above, of which an element has 1 / (m - 1)), as many as
/// fit each page.
pub fn hnsw_size(rows: f64, value: u64, m: u32) -> u64 {
    let aligned = |bytes: u64| bytes.next_multiple_of(8);
    let m = u64::from(m.max(2));
    let element = aligned(72 + value) + LINE_POINTER;
    let neighbours = aligned(4 + 12 * m) + LINE_POINTER + 6 * m / (m - 1);
    let pair = element + neighbours;
    let pages = if pair <= PAGE_ROOM {
        rows / (PAGE_ROOM / pair) as f64
    } else {
        // a page for each element, and neighbour tuples on others
        rows + rows / (PAGE_ROOM / neighbours).max(1) as f64
    };
    (pages.ceil() as u64 + 1).saturating_mul(8192)
}

/// Returns the bytes of an ivfflat index: entries of 8 bytes and the value.
pub fn ivfflat_size(rows: f64, value: u64, lists: u32) -> u64 {
    let entry = (8 + value).next_multiple_of(8) + LINE_POINTER;
    let pages = rows / (PAGE_ROOM / entry).max(1) as f64;
    (pages.ceil() as u64 + u64::from(lists)).saturating_mul(8192)
}

/// Returns the seconds of an exact answer by a sequential scan of `rows` in memory.
pub fn exact_seconds(rows: f64, value: u64, machine: &Machine) -> f64 {
    let fetch = if value > INLINE { FETCH_SECONDS } else { 0.0 };
    rows * (machine.distance + ROW_SECONDS + fetch)
}

/// Returns the seconds of a search of an hnsw index in memory.
pub fn search_seconds(rows: f64, value: u64, ef: u32, m: u32, machine: &Machine) -> f64 {
    let distances = (SEARCH_FACTOR * f64::from(ef) * f64::from(m)).min(rows);
    distances * (machine.distance + VISIT_SECONDS + BYTE_SECONDS * value as f64)
}

/// Returns the seconds of a build of an hnsw index that fits maintenance_work_mem.
pub fn build_seconds(rows: f64, m: u32, ef_construction: u32, machine: &Machine) -> f64 {
    let steps = (f64::from(ef_construction) * f64::from(m)).min(rows);
    let deeper = (rows.max(1.0).ln() / BUILD_ROWS.ln()).max(1.0);
    let step = BUILD_SECONDS + BUILD_DISTANCES * machine.distance;
    rows * steps * step * deeper / f64::from(machine.threads.max(1))
}

/// Returns what an ivfflat index of `rows` values of `value` bytes takes, beside a graph of them; searches read as many
/// lists as their number's root.
fn expected_lists(graph: &Expected, rows: f64, value: u64, lists: u32, machine: &Machine) -> Expected {
    let of_lists = f64::from(lists.max(1));
    let read = rows / of_lists.sqrt() + of_lists;
    Expected {
        size: Some(ivfflat_size(rows, value, lists)),
        build: graph.build.map(|seconds| seconds * LISTS_BUILD),
        memory: Some(SAMPLE_ROWS.saturating_mul(u64::from(lists)).saturating_mul(value)),
        latency: Some(read * (machine.distance + BYTE_SECONDS * value as f64)),
    }
}

/// Why a graph is not what this machine can build, when lists are.
fn lists_instead(graph: &Expected, machine: &Machine) -> Option<String> {
    let memory = graph.memory.unwrap_or(0);
    if memory as f64 > BUILD_SHARE * machine.memory as f64 {
        return Some(format!(
            "an hnsw graph takes about {} MB while it is built, and the machine has {} MB; lists are built from a sample",
            memory >> 20,
            machine.memory >> 20
        ));
    }
    let hours = graph.build.unwrap_or(0.0) / 3600.0;
    (hours * 3600.0 > LONG_BUILD)
        .then(|| format!("the build of an hnsw graph takes about {hours:.0} hours, that of lists a third"))
}

/// Returns what an hnsw index of `rows` values of `value` bytes takes.
pub fn expected(
    rows: f64,
    value: u64,
    m: u32,
    ef_construction: u32,
    ef_search: u32,
    machine: &Machine,
) -> Expected {
    let size = hnsw_size(rows, value, m);
    Expected {
        size: Some(size),
        build: Some(build_seconds(rows, m, ef_construction, machine)),
        memory: Some((size as f64 * BUILD_MEMORY) as u64),
        latency: Some(search_seconds(rows, value, ef_search, m, machine)),
    }
}

/// A distance to order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Euclidean distance
    L2,
    /// negative inner product
    InnerProduct,
    /// cosine distance
    Cosine,
    /// taxicab distance
    L1,
    /// Hamming distance
    Hamming,
    /// Jaccard distance
    Jaccard,
}

impl Order {
    /// All of them.
    pub const ALL: [Order; 6] =
        [Order::L2, Order::InnerProduct, Order::Cosine, Order::L1, Order::Hamming, Order::Jaccard];

    /// Its operator.
    pub fn operator(self) -> &'static str {
        match self {
            Order::L2 => "<->",
            Order::InnerProduct => "<#>",
            Order::Cosine => "<=>",
            Order::L1 => "<+>",
            Order::Hamming => "<~>",
            Order::Jaccard => "<%>",
        }
    }

    /// What the names of its operator classes have between the type and `_ops`.
    pub fn word(self) -> &'static str {
        match self {
            Order::L2 => "l2",
            Order::InnerProduct => "ip",
            Order::Cosine => "cosine",
            Order::L1 => "l1",
            Order::Hamming => "hamming",
            Order::Jaccard => "jaccard",
        }
    }

    /// What indexes compare by.
    fn metric(self) -> Metric {
        match self {
            Order::L2 => Metric::L2,
            // of unit vectors
            Order::InnerProduct | Order::Cosine => Metric::InnerProduct,
            Order::L1 => Metric::L1,
            Order::Hamming => Metric::Hamming,
            Order::Jaccard => Metric::Jaccard,
        }
    }

    /// Whether values of a kind have it.
    pub fn suits(self, kind: ValueKind) -> bool {
        matches!(self, Order::Hamming | Order::Jaccard) == (kind == ValueKind::Bit)
    }
}

/// What an index is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// the column as it is
    Column,
    /// the column, cast to `halfvec` of so many dimensions
    Halfvec(u32),
    /// a bit for each of so many dimensions, set where the element is above zero
    Binary(u32),
}

/// The statement that does what is advised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// there is none: somebody has to decide, or nothing is to be done
    None,
    /// CREATE INDEX … USING hnsw
    CreateIndex(Key, Order),
    /// CREATE INDEX … USING ivfflat, with so many lists
    CreateLists(Key, Order, u32),
    /// REINDEX INDEX CONCURRENTLY
    Reindex,
    /// ALTER INDEX … SET (lists = …)
    SetLists(u32),
    /// ALTER INDEX … SET (m = …)
    SetM(u32),
    /// VACUUM of the table
    Vacuum,
    /// ANALYZE of the table
    Analyze,
    /// SET of `hnsw.ef_search`
    EfSearch(u32),
    /// SET of `ivfflat.probes`
    Probes(u32),
    /// SET of maintenance_work_mem, in megabytes
    MaintenanceMemory(u64),
}

/// One piece of advice.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// what to do, in a word
    pub action: &'static str,
    /// why, in ASCII
    pub why: String,
    /// what it will take
    pub expected: Expected,
    /// how it is said to the server
    pub statement: Statement,
}

fn advice(action: &'static str, why: String, expected: Expected, statement: Statement) -> Advice {
    Advice { action, why, expected, statement }
}

/// What is known of a column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// its type
    pub kind: ValueKind,
    /// its dimensions, when its type says or its rows show them
    pub dims: Option<u32>,
    /// whether its type says them
    pub declared: bool,
    /// rows of the table; `None` when it was never analysed
    pub rows: Option<f64>,
    /// whether it has pages
    pub filled: bool,
    /// sequential scans of the table
    pub scans: i64,
    /// whether an index of ours is on it
    pub indexed: bool,
    /// how queries order by it, from pg_stat_statements: calls and seconds of a call
    pub queries: Option<(Order, i64, f64)>,
}

/// The distance to assume where no query shows one.
fn usual_order(kind: ValueKind) -> Order {
    if kind == ValueKind::Bit { Order::Hamming } else { Order::Cosine }
}

/// Returns what to do about a column.
pub fn advise_column(column: &Column, machine: &Machine) -> Vec<Advice> {
    let nothing = Expected::default();
    let Some(rows) = column.rows else {
        if !column.filled {
            return Vec::from([advice("none", "the table is empty".into(), nothing, Statement::None)]);
        }
        let why = "the table was never analysed, so its number of rows is not known".into();
        return Vec::from([advice("analyze", why, nothing, Statement::Analyze)]);
    };
    if column.indexed {
        return Vec::new();
    }
    let Some(dims) = column.dims else {
        let why = format!("{rows:.0} rows, none with a value that could be seen: nothing to advise on");
        return Vec::from([advice("none", why, nothing, Statement::None)]);
    };
    let value = value_size(column.kind, dims);
    let exact = exact_seconds(rows, value, machine);
    let seen = match column.queries {
        Some((order, calls, seconds)) => format!(
            "pg_stat_statements has {calls} calls ordered by {}, {:.1} ms each",
            order.operator(),
            seconds * 1e3
        ),
        None => format!("{} sequential scans so far", column.scans),
    };
    if exact < FAST_ENOUGH {
        let why = format!("an exact answer over {rows:.0} rows takes about {:.1} ms; {seen}", exact * 1e3);
        let expected = Expected { latency: Some(exact), ..nothing };
        return Vec::from([advice("no_index_needed", why, expected, Statement::None)]);
    }
    let order = column.queries.map_or(usual_order(column.kind), |queries| queries.0);
    let assumed =
        if column.queries.is_some() { "" } else { "; the operator is assumed: take that of your queries" };
    let of = |kind, order| {
        let plain = expected(rows, value_size(kind, dims), 16, 64, 40, machine);
        Expected { size: own_size(rows, kind, dims, order, machine).or(plain.size), ..plain }
    };
    let mut plain = of(column.kind, order);
    let (mut action, mut key, mut order) = ("create_index", Key::Column, order);
    let mut note = String::new();
    if !column.declared && column.kind != ValueKind::Bit {
        let why = format!(
            "{rows:.0} rows, of {dims} dimensions as far as seen, but the column's type does not say so, and an index needs it"
        );
        return Vec::from([advice("declare_dimensions", why, plain, Statement::None)]);
    }
    let half = of(ValueKind::Halfvec, order);
    let most = |kind| most_dims(kind, order, machine);
    let [vectors, halfvecs] = [ValueKind::Vector, ValueKind::Halfvec].map(most);
    let halves = column.kind == ValueKind::Vector
        && dims <= halfvecs
        && (dims > vectors
            || plain.size.zip(half.size).is_some_and(|(size, half)| {
                size > machine.shared_buffers && half as f64 <= WORTH_HALVING * size as f64
            }));
    if halves {
        (action, key, plain) = ("use_halfvec", Key::Halfvec(dims), half);
        note = if dims > vectors {
            format!("; an index takes vectors of {vectors} dimensions, or halfvecs of {halfvecs}, not {dims}")
        } else {
            "; an index of vectors would be larger than shared_buffers, one of halfvecs is smaller".into()
        };
        note.push_str(", and queries must order by the same expression");
    } else if dims > most(column.kind) {
        (action, key, order) = ("use_binary_quantization", Key::Binary(dims), Order::Hamming);
        plain = of(ValueKind::Bit, order);
        note = format!(
            "; no index takes {dims} dimensions but one of bits: fetch some times LIMIT rows by it and order them by the column"
        );
    }
    let why = format!(
        "an exact answer over {rows:.0} rows takes about {:.0} ms; {seen}{assumed}{note}",
        exact * 1e3
    );
    let indexed = match key {
        Key::Column => column.kind,
        Key::Halfvec(_) => ValueKind::Halfvec,
        Key::Binary(_) => ValueKind::Bit,
    };
    let lists = usual_lists(rows);
    let in_lists = expected_lists(&plain, rows, value_size(indexed, dims), lists, machine);
    if has_lists(column.kind, key, order)
        && let Some(reason) = lists_instead(&plain, machine)
    {
        let why = format!("{why}; {reason}. Its recall is that of ivfflat.probes: see vector_index_tune");
        let statement = Statement::CreateLists(key, order, lists);
        return Vec::from([advice("use_ivfflat", why, in_lists, statement)]);
    }
    let mut found = Vec::new();
    if let Some(memory) = plain.memory.filter(|&memory| memory > machine.maintenance_memory) {
        let megabytes = memory.div_ceil(1 << 20);
        let without = if own_size(rows, indexed, dims, order, machine).is_some() {
            "it would be built in parts, from temporary files"
        } else {
            "the rest of the rows would be inserted one by one"
        };
        let why = format!(
            "the graph takes about {megabytes} MB while it is built, and maintenance_work_mem is {} MB: {without}",
            machine.maintenance_memory >> 20
        );
        let memory = Expected { memory: plain.memory, ..nothing };
        found.push(advice(
            "raise_maintenance_work_mem",
            why,
            memory,
            Statement::MaintenanceMemory(megabytes),
        ));
    }
    found.push(advice(action, why, plain, Statement::CreateIndex(key, order)));
    found
}

/// Whether ivfflat has an operator class for it.
fn has_lists(kind: ValueKind, key: Key, order: Order) -> bool {
    !matches!(order, Order::L1 | Order::Jaccard) && (kind != ValueKind::Sparsevec || key != Key::Column)
}

/// What is known of an index.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// whether it is hnsw, else ivfflat
    pub graph: bool,
    /// whether queries may use it
    pub valid: bool,
    /// bytes
    pub size: u64,
    /// scans of it so far
    pub scans: i64,
    /// sequential scans of its table
    pub table_scans: i64,
    /// rows of its table
    pub rows: f64,
    /// dead rows of its table
    pub dead_rows: f64,
    /// what was counted on its pages, where that was allowed and cheap
    pub counted: Option<Counted>,
    /// recall under the present settings, where it was allowed and cheap to measure
    pub recall: Option<f64>,
    /// the least setting that reaches [`TARGET_RECALL`], where recall was low and one did
    pub enough: Option<u32>,
}

/// Counts of an index's pages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Counted {
    /// live elements, dying ones, free places, `m`
    Graph(u64, u64, u64, u32),
    /// rows, lists, imbalance, how many lists are usual for the rows; whether a rebuild makes these
    Lists(u64, u32, f64, u32, bool),
}

/// Returns the number of lists that pgvector's documentation recommends for so many rows: rows / 1000 up to a million,
/// their square root beyond.
pub fn usual_lists(rows: f64) -> u32 {
    let lists = if rows <= 1e6 { rows / 1000.0 } else { rows.sqrt() };
    (lists.round() as u32).clamp(1, 32_768)
}

/// Returns what to do about an index that could not be read: `what` says why.
pub fn advise_damaged(index: &Index, what: &str) -> Advice {
    let now = Expected { size: Some(index.size), ..Expected::default() };
    let why = format!("it is damaged ({what}); hnsw_check and ivfflat_check say what is wrong");
    advice("reindex", why, now, Statement::Reindex)
}

/// Returns what to do about an index; at least one row, and `none` when it is as it should be.
pub fn advise_index(index: &Index, machine: &Machine) -> Vec<Advice> {
    let now = Expected { size: Some(index.size), ..Expected::default() };
    if !index.valid {
        let why = "it is not valid: a concurrent build of it failed, and no query uses it".into();
        return Vec::from([advice("reindex", why, now, Statement::Reindex)]);
    }
    let mut found = Vec::new();
    let (rows, dead) = (index.rows.max(1.0), index.dead_rows);
    if dead > DEAD_SHARE * rows && dead > 1000.0 {
        let why = format!("{dead:.0} dead rows to {rows:.0} live ones: searches pass through them");
        found.push(advice("vacuum", why, now, Statement::Vacuum));
    } else if let Some(Counted::Graph(live, dying, ..)) = index.counted
        && dying as f64 > DEAD_SHARE * live.max(1) as f64
    {
        let why =
            format!("{dying} elements to {live} live ones are on their way out: a vacuum was interrupted");
        found.push(advice("vacuum", why, now, Statement::Vacuum));
    }
    match index.counted {
        Some(Counted::Graph(live, _, free, _)) if index.size > SMALL_INDEX => {
            let share = free as f64 / (live + free).max(1) as f64;
            if share > FREE_SHARE {
                let why =
                    format!("{:.0} % of its places are free: a rebuild makes it smaller", share * 100.0);
                found.push(advice("reindex", why, now, Statement::Reindex));
            }
        }
        Some(Counted::Lists(held, lists, imbalance, usual, by_itself)) => {
            if held > 10_000 && (lists > usual.saturating_mul(8) || usual > lists.saturating_mul(8)) {
                let mut why = format!("it has {lists} lists, and {usual} are usual for {held} rows");
                let statement = if by_itself {
                    Statement::Reindex
                } else {
                    why.push_str("; then REINDEX");
                    Statement::SetLists(usual)
                };
                found.push(advice("change_lists", why, now, statement));
            } else if held > 10_000 && imbalance > IMBALANCE {
                let why = format!(
                    "its lists are out of balance ({imbalance:.1} times the work of equal ones): it was built from few rows, or from others"
                );
                found.push(advice("reindex", why, now, Statement::Reindex));
            }
        }
        _ => {}
    }
    if let Some(recall) = index.recall.filter(|&recall| recall < LOW_RECALL) {
        let (name, action) = if index.graph {
            ("hnsw.ef_search", "raise_ef_search")
        } else {
            ("ivfflat.probes", "raise_probes")
        };
        match index.enough {
            Some(enough) => {
                let why = format!(
                    "recall is {recall:.3} under the present settings; {name} = {enough} reaches {TARGET_RECALL}"
                );
                let set = if index.graph { Statement::EfSearch(enough) } else { Statement::Probes(enough) };
                found.push(advice(action, why, now, set));
            }
            None => {
                let why = format!("recall is {recall:.3}, and no value of {name} reaches {TARGET_RECALL}");
                match index.counted {
                    Some(Counted::Graph(.., m)) if m < 100 => {
                        let why = why + "; rebuild with more edges: then REINDEX";
                        found.push(advice("raise_m", why, now, Statement::SetM((m * 2).min(100))));
                    }
                    _ => found.push(advice("reindex", why, now, Statement::Reindex)),
                }
            }
        }
    }
    if index.scans == 0 && index.table_scans >= MANY_SCANS {
        let why = format!(
            "no query used it, while the table was read {} times in sequence: a query needs ORDER BY with the operator of its operator class, ascending, and LIMIT",
            index.table_scans
        );
        found.push(advice("check_queries", why, now, Statement::None));
    }
    if index.size > machine.shared_buffers {
        let why = format!(
            "it has {} MB, and shared_buffers {} MB: searches read from the system's cache or the disk",
            index.size >> 20,
            machine.shared_buffers >> 20
        );
        found.push(advice("more_memory", why, now, Statement::None));
    }
    if found.is_empty() {
        let why = match index.recall {
            Some(recall) => format!("recall is {recall:.3} under the present settings"),
            None => "nothing that could be seen speaks against it".into(),
        };
        found.push(advice("none", why, now, Statement::None));
    }
    found
}

#[cfg(test)]
mod tests;

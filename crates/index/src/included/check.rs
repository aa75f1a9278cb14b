//! The invariants of a tree of included values: its pages are all there, in order, once, and so are the rows on them.

use core::fmt::Write;

use super::Tree;
use super::page::{BAD_PAGE, Child, END, Front, Leaf, child_at, children, front};
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK, PageError, Tid, hole};
use crate::storage::verify::Violation;
use crate::work::memory::{OutOfMemory, push, resize};

/// What an audit found.
#[derive(Debug, Default)]
pub struct Found {
    /// the rows that have values, packed TIDs in ascending order
    pub rows: Vec<u64>,
    /// by block, whether it is a page of the tree
    pub known: Vec<bool>,
    level: Vec<Child>,
    below: Vec<Child>,
}

impl Found {
    /// Whether a row has values.
    pub fn has(&self, row: Tid) -> bool {
        self.rows.binary_search(&row.packed()).is_ok()
    }
}

/// Looks at a tree of an index of `count` blocks, and tells `report` of each violation. Memory grows by 8 bytes for
/// each row and one for each block.
///
/// # Errors
/// A block that cannot be read; want of memory, as an error of the block.
pub fn audit<B: BlockStore>(
    blocks: &mut B,
    tree: Tree,
    root: u32,
    count: u32,
    report: &mut dyn FnMut(Violation),
) -> Result<Found, B::Error> {
    let mut found = Found::default();
    let short = |memory: OutOfMemory| B::Error::from(Damage::from(memory).on(root));
    resize(&mut found.known, count as usize, false).map_err(short)?;
    push(&mut found.level, Child::new(Tid::new(0, 0), root)).map_err(short)?;
    let mut height = None;
    while !found.level.is_empty() {
        let mut level_of = None;
        for at in 0..found.level.len() {
            blocks.pause()?;
            let Some(&child) = found.level.get(at) else { break };
            match found.known.get_mut(child.block as usize) {
                Some(known) if !*known && child.block != 0 => *known = true,
                _ => {
                    let what = format!("included values in block {}, which has none or others", child.block);
                    report(Violation::of_index(what));
                    continue;
                }
            }
            let behind = found.level.get(at + 1);
            let expected = behind.map_or((END, INVALID_BLOCK), |next| (next.least, next.block));
            let Found { rows, below, .. } = &mut found;
            // what is wrong is told when the block's lock is gone
            let mut told = Told::default();
            let looked = blocks.read(child.block, |bytes| {
                Ok(page(tree, bytes, child.least, expected, (rows, below), &mut told))
            })?;
            told.tell(child.block, report);
            match looked {
                Ok(level) if level_of.is_none_or(|other| other == level) => level_of = Some(level),
                Ok(_) => {
                    let what = "page of included values on another level than those beside it";
                    report(Violation::at(child.block, 0, what));
                }
                Err(error) if error == PageError::OUT_OF_MEMORY => return Err(error.on(child.block).into()),
                Err(error) => report(Violation::at(child.block, error.offset, error.what)),
            }
        }
        let is_apart = |height: u8| level_of.is_some_and(|level: u8| level.checked_add(1) != Some(height));
        if height.is_some_and(is_apart) {
            report(Violation::of_index("included values on a level that is not below that of its parents"));
        }
        height = level_of;
        let Found { level, below, .. } = &mut found;
        core::mem::swap(level, below);
        below.clear();
        if height == Some(0) {
            level.clear();
        }
    }
    Ok(found)
}

/// What is wrong with a page, the first few of it.
#[derive(Default)]
struct Told {
    list: [Option<(u16, &'static str)>; 8],
    ends: Option<(Tid, u32)>,
}

impl Told {
    fn add(&mut self, offset: u16, what: &'static str) {
        if let Some(free) = self.list.iter_mut().find(|place| place.is_none()) {
            *free = Some((offset, what));
        }
    }

    fn tell(&self, block: u32, report: &mut dyn FnMut(Violation)) {
        for (offset, what) in self.list.iter().flatten() {
            report(Violation::at(block, *offset, *what));
        }
        if let Some((end, next)) = self.ends {
            let mut what = format!("included values end at {end}");
            let _ = write!(what, " before block {next}, and their parent says something else");
            report(Violation::at(block, 0, what));
        }
    }
}

/// Looks at a page that begins at `least` and ends as its parents say; returns its level.
fn page(
    tree: Tree,
    bytes: &[u8],
    least: Tid,
    expected: (Tid, u32),
    (rows, below): (&mut Vec<u64>, &mut Vec<Child>),
    told: &mut Told,
) -> Result<u8, Damage> {
    let (front, next): (Front, u32) = front(tree, bytes)?;
    if (front.end, next) != expected {
        told.ends = Some((front.end, next));
    }
    if front.unused != [0; 2] {
        told.add(0, "unused bytes of a page of included values");
    }
    if hole(bytes).and_then(|hole| bytes.get(hole)).is_none_or(|hole| hole.iter().any(|&byte| byte != 0)) {
        told.add(0, "page of included values with something where nothing is");
    }
    let within = |row: Tid, before: Option<u64>| {
        let behind = before.is_none_or(|before| before < row.packed());
        behind && row.packed() >= least.packed() && row.packed() < front.end.packed()
    };
    if front.level > 0 {
        let mut before = None;
        let list = children(bytes, &front)?;
        for (at, child) in list.iter().enumerate() {
            let first = at == 0 && child.least.packed() <= least.packed();
            if !(first || within(child.least, before)) || child_at(list, child.least) != at {
                told.add(at as u16 + 1, "included values out of order");
            }
            if child.unused != [0; 2] {
                told.add(at as u16 + 1, "unused bytes of a page of included values");
            }
            before = Some(child.least.packed());
            let least = if at == 0 { least } else { child.least };
            push(below, Child::new(least, child.block))?;
        }
        return Ok(front.level);
    }
    let leaf = Leaf::new(bytes, &front)?;
    if leaf.room().is_err_and(|error| error == BAD_PAGE) {
        told.add(0, "included values that overlap");
    }
    let mut before = None;
    for at in 0..leaf.len() {
        let row = leaf.row(at)?;
        if !row.is_valid() || !within(row, before) {
            told.add(at as u16 + 1, "included values out of order");
            continue;
        }
        before = Some(row.packed());
        push(rows, row.packed())?;
    }
    Ok(0)
}

//! Lists of neighbours in files, each file in the order of the rows and layers that they belong to, and their merge: an
//! element that two parts have gets the best edges of both.
//!
//! ```text
//! list    | row 4 | heap TIDs 4 | layer 1 | edges 1 | 0 2 | heap TIDs, 6 each | edges, 20 each | codes |
//! edge    | row 4 | distance 4 | factors 4 4 | role 1 | 0 3 |
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::BROKEN;
use super::rows::fill;
use crate::hnsw::build::Role;
use crate::storage::page::{Damage, Tid};
use crate::work::memory::{OutOfMemory, push, resize, with_room};
use crate::work::runs::Files;

/// What a list begins with.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ListHead {
    pub row: u32,
    pub tids: u32,
    pub layer: u8,
    pub edges: u8,
    pub unused: [u8; 2],
}

impl ListHead {
    /// What lists are sorted by.
    pub fn key(&self) -> u64 {
        u64::from(self.row) << 8 | u64::from(self.layer)
    }

    /// Bytes of what follows, with codes of `code_size` bytes.
    pub fn body(&self, code_size: usize) -> usize {
        self.tids as usize * size_of::<Tid>() + usize::from(self.edges) * (size_of::<FileEdge>() + code_size)
    }
}

/// An edge in a file.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct FileEdge {
    pub row: u32,
    pub distance: f32,
    pub add: f32,
    pub scale: f32,
    pub role: u8,
    pub unused: [u8; 3],
}

impl FileEdge {
    pub const ANCHOR: u8 = Role::Anchor as u8;
}

/// One list among the bytes that were read.
#[derive(Clone, Debug)]
pub(super) struct ListPlace {
    pub tids: Range<usize>,
    edges: Range<usize>,
    codes: Range<usize>,
}

/// An edge that may be kept, and where its code is.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub edge: FileEdge,
    pub code: Range<usize>,
}

/// Chooses among the edges of all lists of an element up to `slots`: those that hold the graph together, those that the
/// heuristic chose, the nearest of the others. They come nearest first, the anchor before all.
///
/// # Errors
/// No memory.
pub(super) fn choose(
    bytes: &[u8],
    lists: &[ListPlace],
    code_size: usize,
    slots: usize,
    out: &mut Vec<Candidate>,
) -> Result<(), OutOfMemory> {
    out.clear();
    for list in lists {
        let edges = bytes.get(list.edges.clone()).unwrap_or_default();
        for (at, edge) in edges.chunks_exact(size_of::<FileEdge>()).enumerate() {
            let Ok(edge) = FileEdge::read_from_bytes(edge) else { continue };
            let code = list.codes.start + at * code_size;
            push(out, Candidate { edge, code: code..code + code_size })?;
        }
    }
    if lists.len() > 1 {
        out.sort_unstable_by_key(|c| (c.edge.row, c.edge.role));
        out.dedup_by_key(|c| c.edge.row);
    }
    let length = |c: &Candidate| crate::work::ordered::order_key(c.edge.distance);
    if out.len() > slots {
        out.sort_unstable_by_key(|c| (c.edge.role, length(c), c.edge.row));
        out.truncate(slots);
    }
    out.sort_unstable_by_key(|c| (c.edge.role != FileEdge::ANCHOR, length(c), c.edge.row));
    Ok(())
}

/// Files of lists, read side by side.
#[derive(Debug)]
pub(super) struct Merge {
    code_size: usize,
    /// of each file the next list
    heads: Vec<(usize, ListHead)>,
    order: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Merge {
    /// All lists of `sources`, from the first on.
    ///
    /// # Errors
    /// A damaged file, no memory.
    pub fn new(files: &mut dyn Files, sources: &[usize], code_size: usize) -> Result<Self, Damage> {
        let mut merge = Merge { code_size, heads: with_room(sources.len())?, order: BinaryHeap::new() };
        merge.order.try_reserve(sources.len()).map_err(|_| OutOfMemory)?;
        for &file in sources {
            files.rewind(file);
            merge.heads.push((file, ListHead::default()));
            merge.advance(files, merge.heads.len() - 1)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, files: &mut dyn Files, source: usize) -> Result<(), Damage> {
        let Some((file, head)) = self.heads.get_mut(source) else { return Ok(()) };
        match files.read(*file, head.as_mut_bytes()) {
            0 => Ok(()),
            n if n < size_of::<ListHead>() => Err(BROKEN),
            _ => {
                // as many as there are files, for which there is room
                self.order.push(Reverse((head.key(), source)));
                Ok(())
            }
        }
    }

    /// Adds to `bytes` the lists of a row in a layer, and to `lists` where they are. They are asked for in order.
    ///
    /// # Errors
    /// A damaged file, no memory.
    pub fn take(
        &mut self,
        files: &mut dyn Files,
        (row, layer): (u32, u8),
        bytes: &mut Vec<u8>,
        lists: &mut Vec<ListPlace>,
    ) -> Result<(), Damage> {
        let key = u64::from(row) << 8 | u64::from(layer);
        while let Some(&Reverse((next, source))) = self.order.peek() {
            if next > key {
                break;
            }
            self.order.pop();
            let Some(&(file, head)) = self.heads.get(source) else { break };
            if next < key || head.edges as usize > usize::from(u8::MAX) {
                return Err(BROKEN);
            }
            let start = bytes.len();
            resize(bytes, start + head.body(self.code_size), 0)?;
            fill(files, file, bytes.get_mut(start..).unwrap_or_default())?;
            let edges_at = start + head.tids as usize * size_of::<Tid>();
            let codes_at = edges_at + usize::from(head.edges) * size_of::<FileEdge>();
            let place =
                ListPlace { tids: start..edges_at, edges: edges_at..codes_at, codes: codes_at..bytes.len() };
            push(lists, place)?;
            self.advance(files, source)?;
        }
        Ok(())
    }

    /// Whether all lists were taken.
    pub fn is_done(&self) -> bool {
        self.order.is_empty()
    }
}

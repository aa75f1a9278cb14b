//! Writing a built index: meta page, heads, centres, then list by list its values and its codes.
//!
//! Long lists are written in parts, of which each has its value pages before its code pages: codes wait in memory for
//! the part's end, values do not.

use std::borrow::Cow;

use zerocopy::{FromBytes, IntoBytes};

use super::centre_codes::Plan;
use super::layout::{
    Entry, Front, Geometry, Head, PageKind, RECORD_HEAD, START, front, heads_per_page, init, init_codes,
    place, push_entry, put, set_front, set_head, set_next,
};
use super::meta::MetaPage;
use super::read::HEAD_BLOCK;
use super::room::new_value_page;
use super::{Index, Lists, layout};
use crate::ivf::lists::{BulkLists, Shape};
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::work::memory::{append, push, resize, with_room};

/// Bytes of codes of a part of a list, about.
const PART: usize = 4 << 20;

/// A list that waits for its rows.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    number: u32,
    rows: u32,
    /// the first of its blocks
    first: u32,
    /// the centre's norm
    norm: f32,
}

/// Pages of a part of a list.
#[derive(Clone, Copy, Debug)]
struct Part {
    rows: u32,
    /// the first value page, and how many
    values: (u32, u32),
    /// the first code page, and how many
    codes: (u32, u32),
}

impl Part {
    /// The part of `rows` rows whose first block is `first`; the first part of a list has a page of each kind
    /// that there is.
    fn new(geometry: &Geometry, rows: u32, first: u32, is_first: bool) -> Option<Self> {
        let least = u32::from(is_first);
        let bytes = u64::from(rows) * geometry.record as u64;
        let values = match geometry.own_values {
            true => u32::try_from(bytes.div_ceil(geometry.space() as u64)).ok()?.max(least),
            false => 0,
        };
        let codes = rows.div_ceil(geometry.entries().max(1) as u32).max(least);
        let at = first.checked_add(values)?;
        at.checked_add(codes)?;
        Some(Part { rows, values: (first, values), codes: (at, codes) })
    }

    fn end(&self) -> u32 {
        self.codes.0 + self.codes.1
    }
}

/// Rows of a part: whole code pages.
fn rows_of_part(geometry: &Geometry) -> u32 {
    let entries = geometry.entries().max(1);
    let pages = (PART / (geometry.code + geometry.filter_size + size_of::<Entry>()) / entries).max(1);
    (pages * entries) as u32
}

/// The parts of a list of `rows` rows from block `first` on.
fn parts(geometry: &Geometry, rows: u32, first: u32) -> impl Iterator<Item = Option<Part>> + '_ {
    let (most, mut left, mut next, mut is_first) = (rows_of_part(geometry), rows, first, true);
    core::iter::from_fn(move || {
        if left == 0 && !is_first {
            return None;
        }
        let part = Part::new(geometry, left.min(most), next, is_first);
        (left, is_first) = (left - left.min(most), false);
        next = part.map_or(next, |part| part.end());
        Some(part)
    })
}

impl<B: BlockStore> Lists<'_, B> {
    pub(super) fn add_page(&mut self, expected: u32, fill: impl FnOnce(&mut [u8])) -> Result<(), B::Error> {
        let mut change = self.blocks.update()?;
        let slot = change.extend()?;
        let block = change.block(slot);
        if block != expected {
            return Err(Damage::internal("page is not where the build wants it").on(block).into());
        }
        fill(change.bytes_mut(slot)?);
        change.commit()
    }
}

impl<B: BlockStore> BulkLists for Lists<'_, B> {
    type Error = B::Error;
    type Head = Waiting;

    fn begin(
        &mut self,
        shape: Shape,
        counts: &[u32],
        mut centre: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Vec<Waiting>, B::Error> {
        let geometry = self.index.geometry;
        let too_large = Damage::at(0, "index has too many pages").on(INVALID_BLOCK);
        let per_page = heads_per_page(geometry.page_size);
        let list_pages = u32::try_from(counts.len().div_ceil(per_page).max(1)).map_err(|_| too_large)?;
        let (record, space) = (geometry.record, geometry.space());
        let coded = Plan::new(&geometry, self.index.kind, counts.len() as u32);
        let coded = coded.filter(|plan| plan.pays() || self.index.centre_codes > 0);
        // middles stand behind the last centre
        let total = counts.len() + coded.map_or(0, |plan| plan.groups() as usize);
        let centre_bytes = total as u64 * record as u64;
        let centre_pages =
            u32::try_from(centre_bytes.div_ceil(space as u64).max(1)).map_err(|_| too_large)?;
        let code_pages = coded.map_or(0, |plan| plan.pages());
        if shape.value_size != geometry.value_size {
            return Err(Damage::internal("values of another size").on(0).into());
        }
        (self.index.centres, self.index.lists) = (HEAD_BLOCK + list_pages, counts.len() as u32);
        let mut next = self.index.centres.checked_add(centre_pages).ok_or(too_large)?;
        self.index.centre_codes = coded.map_or(0, |_| next);
        next = next.checked_add(code_pages).ok_or(too_large)?;
        let on_meta = |memory| B::Error::from(Damage::from(memory).on(0));
        let mut waiting = with_room(counts.len()).map_err(on_meta)?;
        let mut heads = with_room(counts.len()).map_err(on_meta)?;
        for (number, &rows) in counts.iter().enumerate() {
            let (mut end, mut head) = (next, None::<Head>);
            for part in parts(&geometry, rows, next) {
                let part = part.ok_or(too_large)?;
                end = part.end();
                let (codes, code_pages) = part.codes;
                let (values, value_insert) = match part.values {
                    (_, 0) => (INVALID_BLOCK, INVALID_BLOCK),
                    (first, pages) => (first, first + pages - 1),
                };
                let known = head.unwrap_or(Head { start: codes, insert: 0, values, value_insert });
                let insert = codes + code_pages - 1;
                head = Some(Head { insert, value_insert, ..known });
            }
            heads.push(head.ok_or(too_large)?);
            waiting.push(Waiting { number: number as u32, rows, first: next, norm: 0.0 });
            next = end;
        }
        if next == INVALID_BLOCK {
            return Err(too_large.into());
        }
        self.blocks.will_extend(next);
        let meta = MetaPage::new(&self.index, counts.len() as u32, self.index.centres);
        self.add_page(0, |bytes| meta.write(bytes))?;
        for (page, heads) in heads.chunks(per_page).enumerate() {
            let block = HEAD_BLOCK + page as u32;
            self.add_page(block, |bytes| {
                init(bytes, PageKind::Lists, 0);
                if let Ok(front) = front(bytes, PageKind::Lists) {
                    set_front(bytes, Front { count: heads.len() as u16, ..front });
                }
                heads.iter().enumerate().for_each(|(at, head)| set_head(bytes, at, *head));
                set_next(bytes, if page as u32 + 1 < list_pages { block + 1 } else { INVALID_BLOCK });
            })?;
        }
        let (mut order, mut middles) = (Vec::new(), Vec::new());
        if let Some(plan) = &coded {
            order = self.group_centres(plan, &mut centre)?;
            middles = self.middles(plan, &order, &mut centre).map_err(|damage| damage.on(0))?;
        }
        let (mut value, mut stream, mut at) = (Vec::new(), Vec::new(), 0usize);
        for page in 0..centre_pages {
            // what is left of a record that the page before has cut
            let begun = stream.len().min(space);
            while stream.len() < space && at < total {
                match at.checked_sub(counts.len()).and_then(|at| middles.get(at)) {
                    Some(middle) => value.clone_from(middle),
                    None => centre(at, &mut value),
                }
                if let Some(waiting) = waiting.get_mut(at) {
                    waiting.norm = self.norm(&value);
                }
                let start = stream.len();
                resize(&mut stream, start + record, 0).map_err(on_meta)?;
                let place = stream.get_mut(start..).unwrap_or_default();
                put(place, 0, Tid::new(at as u32, 1).as_bytes());
                put(place, RECORD_HEAD, &value);
                at += 1;
            }
            let block = self.index.centres + page;
            let content = stream.get(..space.min(stream.len())).unwrap_or_default();
            self.add_page(block, |bytes| {
                init(bytes, PageKind::Centres, 0);
                if let Ok(front) = front(bytes, PageKind::Centres) {
                    let used = content.len() as u16;
                    set_front(bytes, Front { begun: begun as u16, used, ..front });
                }
                put(bytes, START, content);
                set_next(bytes, if page + 1 < centre_pages { block + 1 } else { INVALID_BLOCK });
            })?;
            let done = content.len();
            stream.drain(..done);
        }
        if let Some(plan) = &coded {
            self.write_centre_codes(plan, &order, (&heads, &middles), &mut centre)?;
        }
        Ok(waiting)
    }

    fn write_list<'e>(
        &mut self,
        list: Waiting,
        size: usize,
        mut next: impl FnMut() -> Option<Cow<'e, [u8]>>,
    ) -> Result<(), B::Error> {
        let geometry = self.index.geometry;
        let missing = Damage::internal("entry of another form").on(list.first);
        let memory = |memory| B::Error::from(Damage::from(memory).on(list.first));
        if size < geometry.record + 8 + geometry.code + self.index.runs.part() + geometry.filter_size {
            return Err(missing.into());
        }
        let (mut entries, mut codes, mut keys): (Vec<Entry>, Vec<u8>, Vec<u8>) = Default::default();
        let mut stream: Vec<u8> = Vec::new();
        let mut parts = parts(&geometry, list.rows, list.first).peekable();
        while let Some(part) = parts.next() {
            let part = part.ok_or(missing)?;
            let following = parts.peek().copied().flatten();
            entries.clear();
            codes.clear();
            keys.clear();
            stream.clear();
            entries.try_reserve(part.rows as usize).map_err(|e| memory(e.into()))?;
            codes.try_reserve(part.rows as usize * geometry.code).map_err(|e| memory(e.into()))?;
            keys.try_reserve(part.rows as usize * geometry.filter_size).map_err(|e| memory(e.into()))?;
            let (first, pages) = part.values;
            let space = geometry.space();
            for page in 0..pages {
                let begun = stream.len().min(space);
                while stream.len() < space && entries.len() < part.rows as usize {
                    let Some(bytes) = next() else { return Ok(()) };
                    let at = u64::from(page) * space as u64 + stream.len() as u64;
                    let block = first + (at / space as u64) as u32;
                    let at = place(block, (at % space as u64) as usize);
                    let (entry, code, own_keys) = self.take_entry(&bytes, at)?;
                    push(&mut entries, entry).map_err(memory)?;
                    append(&mut codes, code).map_err(memory)?;
                    append(&mut keys, own_keys).map_err(memory)?;
                    append(&mut stream, bytes.get(..geometry.record).unwrap_or_default()).map_err(memory)?;
                }
                let block = first + page;
                let content = stream.get(..space.min(stream.len())).unwrap_or_default();
                let behind = if page + 1 < pages {
                    block + 1
                } else {
                    following.map_or(INVALID_BLOCK, |part| part.values.0)
                };
                self.add_page(block, |bytes| {
                    new_value_page(bytes, list.number, content, begun);
                    set_next(bytes, behind);
                })?;
                let done = content.len();
                stream.drain(..done);
            }
            // of an index without values
            while entries.len() < part.rows as usize {
                let Some(bytes) = next() else { return Ok(()) };
                let (entry, code, own_keys) = self.take_entry(&bytes, Tid::INVALID)?;
                push(&mut entries, entry).map_err(memory)?;
                append(&mut codes, code).map_err(memory)?;
                append(&mut keys, own_keys).map_err(memory)?;
            }
            self.write_codes(&list, &part, following, &entries, (&codes, &keys))?;
            self.blocks.pause()?;
        }
        Ok(())
    }
}

impl<B: BlockStore> Lists<'_, B> {
    /// An entry of a build, with its code and its keys, whose value is at `place`; its entries in runs are kept for
    /// them.
    fn take_entry<'e>(&mut self, bytes: &'e [u8], place: Tid) -> Result<Taken<'e>, B::Error> {
        let on_meta = |damage: Damage| B::Error::from(damage.on(0));
        let taken = entry(&self.index, bytes, place);
        let (entry, [code, part, keys]) = taken.ok_or(on_meta(Damage::internal("entry of another form")))?;
        if let Some(runs) = &mut self.memory.built_runs {
            runs.add(entry.row, entry.place, part, keys).map_err(on_meta)?;
        }
        Ok((entry, code, keys))
    }

    fn write_codes(
        &mut self,
        list: &Waiting,
        part: &Part,
        following: Option<Part>,
        entries: &[Entry],
        (codes, keys): (&[u8], &[u8]),
    ) -> Result<(), B::Error> {
        let geometry = self.index.geometry;
        let (per_page, code) = (geometry.entries().max(1), geometry.code.max(1));
        let (first, pages) = part.codes;
        for page in 0..pages {
            let block = first + page;
            let start = page as usize * per_page;
            let entries = entries.iter().skip(start).take(per_page);
            let codes = codes.chunks_exact(code).skip(start).zip((start..).map(|at| {
                let keys = keys.get(at * geometry.filter_size..(at + 1) * geometry.filter_size);
                keys.unwrap_or_default()
            }));
            let behind = if page + 1 < pages {
                block + 1
            } else {
                following.map_or(INVALID_BLOCK, |part| part.codes.0)
            };
            let mut pushed = Ok(());
            self.add_page(block, |bytes| {
                init_codes(bytes, list.number, list.norm);
                set_next(bytes, behind);
                pushed = entries
                    .zip(codes)
                    .try_for_each(|(entry, (code, keys))| push_entry(&geometry, bytes, entry, code, keys));
            })?;
            pushed.map_err(|damage| damage.on(block))?;
        }
        Ok(())
    }

    /// The Euclidean norm of a centre, a whole varlena.
    fn norm(&self, value: &[u8]) -> f32 {
        let elements = value.get(8..).unwrap_or_default();
        let square: f64 = match self.index.element() {
            2 => <[half::f16]>::ref_from_bytes(elements)
                .map_or(0.0, |elements| elements.iter().map(|x| x.to_f64() * x.to_f64()).sum()),
            _ => elements
                .chunks_exact(4)
                .filter_map(|x| x.first_chunk().map(|x| f64::from(f32::from_ne_bytes(*x))))
                .map(|x| x * x)
                .sum(),
        };
        square.sqrt() as f32
    }
}

/// An entry of a build, its code and its filter keys.
type Taken<'e> = (Entry, &'e [u8], &'e [u8]);

/// An entry of a build, its code, what is for its entries in runs, and its filter keys; `place` is that of its value,
/// where the index has values.
fn entry<'e>(index: &Index, bytes: &'e [u8], place: Tid) -> Option<(Entry, [&'e [u8]; 3])> {
    let geometry = &index.geometry;
    let (row, _) = Tid::read_from_prefix(bytes).ok()?;
    let rest = bytes.get(geometry.record..)?;
    let place = if geometry.own_values { place } else { row };
    let (add, rest) = rest.split_first_chunk::<4>()?;
    let (scale, rest) = rest.split_first_chunk::<4>()?;
    let entry =
        layout::Entry { row, place, add: f32::from_ne_bytes(*add), scale: f32::from_ne_bytes(*scale) };
    let (code, rest) = rest.split_at_checked(geometry.code)?;
    let (part, rest) = rest.split_at_checked(index.runs.part())?;
    Some((entry, [code, part, rest.get(..geometry.filter_size)?]))
}

//! Adding rows.
//!
//! A value and its entry appear in one change where the value lies on at most three pages. Longer values are written
//! first, where nothing leads to them yet; then one change adds the entry and links their pages.
//!
//! Pages are locked in this order: free ones that were taken (nobody else wants these), a code page, value pages in
//! the order of their chain, pages that are new. The heads of lists are hints and change alone.

use zerocopy::IntoBytes;

use super::code::{Factors, encode, rotate};
use super::layout::{
    ANOTHER_LIST, CodePage, Entry, Front, Geometry, Head, RECORD_HEAD, Room, START, add_entry, init_codes,
    next_of, patch_front, patch_head, patch_next, place, put, set_next,
};
use super::read::{list_number, read_centre};
use super::room::{
    CLAIMED, FREE, Space, dead_record, is_free, new_value_page, replace, room_of, space_on, value_front,
};
use super::{Lists, Memory};
use crate::ivf::lists::{BAD_CENTRE, BAD_VALUE, ListPlace, Met, Workspace, WriteLists};
use crate::quant::rabitq::Bits;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::chains::Chain;
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};

/// How often a change is tried again because others were faster.
const ATTEMPTS: usize = 10_000;
/// How often a walk over a list begins again because pages have left it.
const RESTARTS: usize = 100;
/// Value pages of a change, beside the code page.
const VALUE_PAGES: usize = 3;

/// What became of a try.
enum Tried {
    /// the entry is there; the page where inserts may look for room for the next value, and where its own is
    Done(u32, Tid),
    /// others have changed what it would have changed
    Again,
}

/// Records of a page, at least, where they are short.
const SHORT: usize = 4;

/// Takes a block that is said to be free.
fn take_free<B: BlockStore>(blocks: &mut B) -> Result<Option<u32>, B::Error> {
    let Some(block) = blocks.find_room(FREE)? else { return Ok(None) };
    blocks.note_room(block, 0)?;
    // what was noted may be out of date, and the file shorter than it was
    let count = blocks.count()?;
    Ok(Some(block).filter(|&block| block < count))
}

/// Opens a block that is said to be free, if one is; none to be opened when there is none. False when it is in use.
fn open_free<U: PageUpdate>(change: &mut U, block: Option<u32>) -> Result<(Option<PageRef>, bool), U::Error> {
    let Some(block) = block else { return Ok((None, true)) };
    let slot = change.open(block)?;
    let free = is_free(change.bytes(slot));
    Ok((Some(slot), free))
}

/// A new page: the one that was opened, or one more of the file.
fn new_page<U: PageUpdate>(change: &mut U, opened: Option<PageRef>) -> Result<PageRef, U::Error> {
    match opened {
        Some(slot) => Ok(slot),
        None => change.extend(),
    }
}

impl<B: BlockStore> Lists<'_, B> {
    /// Makes the code of a value in a list, whose rotated centre is known or not; it stands in the memory then.
    pub(super) fn code<S: CodedSpace>(
        &mut self,
        space: S,
        list: u32,
        value: &[u8],
        known: &[f32],
    ) -> Result<Factors, B::Error> {
        let index = self.index;
        let on_meta = |damage: Damage| B::Error::from(damage.on(0));
        self.memory.rotation(&index).map_err(on_meta)?;
        let Memory { rotation, widened, rotated, centre, code, whole, .. } = &mut *self.memory;
        let Some((_, rotation)) = rotation else { return Err(on_meta(Damage::internal("no rotation"))) };
        let mut rotate = |value: &[u8], out: &mut Vec<f32>, bad: &'static str| -> Result<(), Damage> {
            let view = space.view(value).map_err(|_| Damage::at(0, bad))?;
            Ok(rotate(rotation, &space, view, widened, out)?)
        };
        let mut against = known;
        if known.len() != index.geometry.padded {
            let found =
                read_centre(self.blocks, &index, list, whole, |value| rotate(value, centre, BAD_CENTRE));
            found?.map_err(on_meta)?;
            against = centre;
        }
        rotate(value, rotated, BAD_VALUE).map_err(on_meta)?;
        let sized = crate::work::memory::resize(code, index.geometry.code, 0);
        sized.map_err(|memory| on_meta(memory.into()))?;
        Ok(encode(Bits::ONE, index.estimate, rotated, against, code))
    }

    /// A code page of a list with room for an entry, from page `from` on, and whether that of a dead one.
    fn room_for_entry(&mut self, list: u32, start: u32, from: u32) -> Result<(u32, bool), B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        let (mut chain, mut restarts) = (Chain::new(from), 0);
        loop {
            let Some(block) = chain.step(self.blocks)? else {
                return Err(Damage::at(0, "list without pages").on(start).into());
            };
            let found = self.blocks.read(block, |bytes| match CodePage::new(geometry, bytes) {
                Ok(page) if page.front.list == list => Ok(Ok((page.room(), page.next()))),
                Ok(_) => Ok(Err(ANOTHER_LIST)),
                Err(damage) => Ok(Err(damage)),
            })?;
            let next = match found {
                Ok((Some(room), _)) => return Ok((block, room != Room::End)),
                Ok((_, INVALID_BLOCK)) => self.add_code_page(list, block)?.ok_or(ANOTHER_LIST),
                Ok((_, next)) => Ok(next),
                Err(damage) => Err(damage),
            };
            match next {
                Ok(next) => chain.next = next,
                Err(damage) if block == start || restarts == RESTARTS => return Err(damage.on(block).into()),
                // a vacuum has taken the page out of the list
                Err(_) => (chain, restarts) = (Chain::new(start), restarts + 1),
            }
        }
    }

    /// Adds a code page behind the last one; returns the one behind it, be it of another; none when the last one has
    /// left the list.
    fn add_code_page(&mut self, list: u32, last: u32) -> Result<Option<u32>, B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        for _ in 0..ATTEMPTS {
            let taken = take_free(self.blocks)?;
            let mut change = self.blocks.update()?;
            let (opened, free) = open_free(&mut change, taken)?;
            if !free || taken == Some(last) {
                continue;
            }
            let slot = change.open(last)?;
            let page = CodePage::new(geometry, change.bytes(slot)).ok();
            let page = page.filter(|page| page.front.list == list).map(|page| (page.front.norm, page.next()));
            let Some((norm, INVALID_BLOCK)) = page else {
                drop(change);
                if let Some(block) = taken {
                    self.blocks.note_room(block, FREE)?;
                }
                return Ok(page.map(|(_, next)| next));
            };
            let new = new_page(&mut change, opened)?;
            let block = change.block(new);
            init_codes(change.bytes_mut(new)?, list, norm);
            patch_next(&mut change, slot, block)?;
            change.commit()?;
            return Ok(Some(block));
        }
        Err(Damage::internal("no free block is free").on(last).into())
    }

    /// Room for a value, from page `from` on.
    fn room_for_value(&mut self, list: u32, start: u32, from: u32) -> Result<Space, B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        let mut chain = Chain::new(from);
        loop {
            let Some(block) = chain.step(self.blocks)? else {
                return Err(Damage::at(0, "list without value pages").on(start).into());
            };
            let found = self
                .blocks
                .read(block, |bytes| Ok(value_front(bytes, list).map(|front| (front, next_of(bytes)))))?;
            match found {
                Ok((front, next)) => match space_on(geometry, block, &front, next) {
                    Some(space) => return Ok(space),
                    None => chain.next = next,
                },
                Err(damage) => return Err(damage.on(block).into()),
            }
        }
    }

    /// Adds an entry and its value, which lie on few pages.
    fn try_append(
        &mut self,
        list: u32,
        codes: u32,
        space: Space,
        (row, keys): (Tid, &[u8]),
        factors: Factors,
    ) -> Result<Tried, B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        let mut taken = [None; VALUE_PAGES];
        for taken in taken.iter_mut().take(space.new) {
            *taken = take_free(self.blocks)?;
        }
        // of two changes that were told of the same blocks, none waits for the other; no block is opened twice
        taken.sort_unstable();
        for at in 1..VALUE_PAGES {
            if taken[at] == taken[at - 1] {
                taken[at - 1] = None;
            }
        }
        let (record, code) = (&self.memory.whole, &self.memory.code);
        let blocks = &mut *self.blocks;
        let tried = {
            let mut change = blocks.update()?;
            let mut opened = [None; VALUE_PAGES];
            let mut free = true;
            for (opened, taken) in opened.iter_mut().zip(taken) {
                (*opened, free) = open_free(&mut change, taken)?;
                if !free {
                    // somebody may wait for what it is part of: nothing else is locked beside it
                    break;
                }
            }
            // a code page that was emptied meanwhile may be among them
            if free && !taken.contains(&Some(codes)) {
                let (own, entry) = ((record.bytes(), &**code, keys), (row, factors));
                fill(change, geometry, list, codes, (space.block, Some(space)), opened, own, entry)?
            } else {
                Tried::Again
            }
        };
        if matches!(tried, Tried::Again) {
            // those that are not free are found out again, and left out, one at a time
            let usable = taken.into_iter().flatten();
            for block in usable {
                if blocks.read(block, |bytes| Ok(is_free(bytes)))? {
                    blocks.note_room(block, FREE)?;
                }
            }
        }
        Ok(tried)
    }

    /// Adds an entry and its value in the place of dead ones, or behind the last ones of the pages `codes` and
    /// `values`; returns the value's place, none when there is no such room.
    fn append_there(
        &mut self,
        list: u32,
        (codes, values): (u32, u32),
        (row, keys): (Tid, &[u8]),
        factors: Factors,
    ) -> Result<Option<Tid>, B::Error> {
        let (record, code) = (&self.memory.whole, &self.memory.code);
        let change = self.blocks.update()?;
        let own = (record.bytes(), &**code, keys);
        let (values, none) = ((values, None), [None; VALUE_PAGES]);
        let tried = fill(change, &self.index.geometry, list, codes, values, none, own, (row, factors))?;
        Ok(match tried {
            Tried::Done(_, place) => Some(place),
            Tried::Again => None,
        })
    }

    /// Changes a list's hints, unless somebody else did since they were `from`.
    fn set_hints(&mut self, list: ListPlace, from: Head, to: Head) -> Result<(), B::Error> {
        if from == to {
            return Ok(());
        }
        let at = usize::from(list.offset.saturating_sub(1));
        let mut change = self.blocks.update()?;
        let slot = change.open(list.block)?;
        let heads = super::layout::heads(change.bytes(slot)).map_err(|d| d.on(list.block))?;
        let Some(&now) = heads.get(at) else { return Ok(()) };
        let mut new = now;
        if now.insert == from.insert {
            new.insert = to.insert;
        }
        if now.value_insert == from.value_insert {
            new.value_insert = to.value_insert;
        }
        if new != now {
            patch_head(&mut change, slot, at, new)?;
            change.commit()?;
        }
        Ok(())
    }

    /// Writes a long value where nothing leads to it yet. Returns its place, and whether its pages are to be linked.
    fn write_long(&mut self, list: u32, head: &Head, row: Tid) -> Result<(Tid, bool), B::Error> {
        let index = self.index;
        let (size, space) = (index.geometry.record, index.geometry.space());
        if let Some((block, at)) = self.claim_hole(list, head)? {
            let (mut next, mut done) = (block, 0);
            while done < size {
                let start = if done == 0 { at } else { 0 };
                let len = (space - start).min(size - done);
                let record = &self.memory.whole;
                let mut change = self.blocks.update()?;
                let slot = change.open(next)?;
                let front = value_front(change.bytes(slot), list).map_err(|d| d.on(next))?;
                if done > 0 && usize::from(front.begun) != len {
                    return Err(Damage::at(0, "value is cut elsewhere").on(next).into());
                }
                let part = record.bytes().get(done..done + len).unwrap_or_default();
                change.patch(slot, START + start, part)?;
                next = next_of(change.bytes(slot));
                change.commit()?;
                self.blocks.fault_point("ivfflat.insert.value")?;
                done += len;
            }
            return Ok((place(block, at), false));
        }
        let _ = row;
        // from the last page to the first, so that each knows the next
        let (mut next, mut part) = (INVALID_BLOCK, size.div_ceil(space));
        while part > 0 {
            let taken = take_free(self.blocks)?;
            let record = &self.memory.whole;
            let mut change = self.blocks.update()?;
            let (opened, free) = open_free(&mut change, taken)?;
            if !free {
                continue;
            }
            part -= 1;
            let new = new_page(&mut change, opened)?;
            let block = change.block(new);
            let bytes = change.bytes_mut(new)?;
            let from = part * space;
            let content = record.bytes().get(from..size.min(from + space)).unwrap_or_default();
            new_value_page(bytes, list, content, if part > 0 { content.len() } else { 0 });
            set_next(bytes, next);
            change.commit()?;
            self.blocks.fault_point("ivfflat.insert.value")?;
            next = block;
        }
        Ok((place(next, 0), true))
    }

    /// Takes a dead record for a long value.
    fn claim_hole(&mut self, list: u32, head: &Head) -> Result<Option<(u32, usize)>, B::Error> {
        let index = self.index;
        let mut chain = Chain::new(head.value_insert);
        while let Some(block) = chain.step(self.blocks)? {
            let found =
                self.blocks.read(block, |bytes| Ok((value_front(bytes, list)?.count, next_of(bytes))))?;
            chain.next = found.1;
            if found.0 == 0 {
                continue;
            }
            let mut change = self.blocks.update()?;
            let slot = change.open(block)?;
            let front = value_front(change.bytes(slot), list).map_err(|d| d.on(block))?;
            let Some(at) = dead_record(&index.geometry, change.bytes(slot), &front) else { continue };
            patch_front(&mut change, slot, Front { count: front.count.saturating_sub(1), ..front })?;
            change.patch(slot, START + at + size_of::<Tid>(), &[CLAIMED])?;
            change.commit()?;
            return Ok(Some((block, at)));
        }
        Ok(None)
    }

    /// Adds the entry of a long value that is written.
    fn link_long(
        &mut self,
        list: u32,
        codes: u32,
        from: u32,
        (entry, keys): (&Entry, &[u8]),
        link: bool,
    ) -> Result<bool, B::Error> {
        let index = self.index;
        let mut last = from;
        let mut chain = Chain::new(from);
        while let Some(block) = chain.step(self.blocks)? {
            last = block;
            chain.next = self.blocks.read(block, |bytes| {
                value_front(bytes, list)?;
                Ok(next_of(bytes))
            })?;
        }
        let code = &self.memory.code;
        let mut change = self.blocks.update()?;
        let slot = change.open(codes)?;
        if room_of(&index.geometry, change.bytes(slot), list).is_none() {
            return Ok(false);
        }
        if link {
            let value = change.open(last)?;
            if value_front(change.bytes(value), list).is_err()
                || next_of(change.bytes(value)) != INVALID_BLOCK
            {
                return Ok(false);
            }
            patch_next(&mut change, value, entry.place.block())?;
        }
        add_entry(&index.geometry, &mut change, slot, entry, code, keys)?;
        change.commit()?;
        Ok(true)
    }

    /// Adds an entry whose value the table has.
    fn append_code(
        &mut self,
        list: ListPlace,
        number: u32,
        head: Head,
        (row, keys): (Tid, &[u8]),
        factors: Factors,
    ) -> Result<Tid, B::Error> {
        let index = self.index;
        let Factors { add, scale } = factors;
        let entry = Entry { row, place: row, add, scale };
        let mut codes = head.insert;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                (codes, _) = self.room_for_entry(number, head.start, codes)?;
            }
            let code = &self.memory.code;
            let mut change = self.blocks.update()?;
            let slot = change.open(codes)?;
            if room_of(&index.geometry, change.bytes(slot), number).is_none() {
                continue;
            }
            add_entry(&index.geometry, &mut change, slot, &entry, code, keys)?;
            change.commit()?;
            self.blocks.fault_point("ivfflat.insert.entry")?;
            self.set_hints(list, head, Head { insert: codes, ..head })?;
            return Ok(row);
        }
        Err(Damage::internal("an entry finds no room").on(head.start).into())
    }

    fn append_long(
        &mut self,
        list: ListPlace,
        number: u32,
        head: Head,
        (row, keys): (Tid, &[u8]),
        factors: Factors,
    ) -> Result<Tid, B::Error> {
        let (place, link) = self.write_long(number, &head, row)?;
        let Factors { add, scale } = factors;
        for _ in 0..ATTEMPTS {
            let (codes, _) = self.room_for_entry(number, head.start, head.insert)?;
            let entry = Entry { row, place, add, scale };
            if self.link_long(number, codes, head.value_insert, (&entry, keys), link)? {
                self.blocks.fault_point("ivfflat.insert.entry")?;
                self.set_hints(list, head, Head { insert: codes, ..head })?;
                return Ok(place);
            }
        }
        Err(Damage::internal("an entry finds no room").on(head.start).into())
    }

    /// Adds an entry and its value, whose code stands in the memory, to a list; returns the value's place.
    fn append_to_list(
        &mut self,
        list: ListPlace,
        (number, head): (u32, Head),
        (row, value): (Tid, &[u8]),
        keys: &[u8],
        factors: Factors,
    ) -> Result<Tid, B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        if !geometry.own_values {
            return self.append_code(list, number, head, (row, keys), factors);
        }
        let whole = &mut self.memory.whole;
        whole.try_reset(geometry.record).map_err(|memory| Damage::from(memory).on(list.block))?;
        put(whole.bytes_mut(), 0, row.as_bytes());
        put(whole.bytes_mut(), RECORD_HEAD, value);
        if !geometry.pairs() {
            return self.append_long(list, number, head, (row, keys), factors);
        }
        let own = (row, keys);
        // pages of longer values end so often that looking first costs less
        let mut found = (SHORT * geometry.record <= geometry.space()).then_some((head.insert, true));
        for _ in 0..ATTEMPTS {
            let (codes, at_once) = match found.take() {
                Some(found) => found,
                None => self.room_for_entry(number, head.start, head.insert)?,
            };
            let done = if at_once {
                let place = self.append_there(number, (codes, head.value_insert), own, factors)?;
                place.map(|place| (head.value_insert, place))
            } else {
                let space = self.room_for_value(number, head.values, head.value_insert)?;
                match self.try_append(number, codes, space, own, factors)? {
                    Tried::Done(values, place) => Some((values, place)),
                    Tried::Again => None,
                }
            };
            if let Some((value_insert, place)) = done {
                self.blocks.fault_point("ivfflat.insert.entry")?;
                self.set_hints(list, head, Head { insert: codes, value_insert, ..head })?;
                return Ok(place);
            }
        }
        Err(Damage::internal("an entry finds no room").on(head.start).into())
    }
}

/// Fills entry and value into a change that has opened the free pages which it uses. Where nobody has looked for room,
/// only into pages that are there.
#[allow(clippy::too_many_arguments)] // what one change is made of
fn fill<U: PageUpdate>(
    mut change: U,
    geometry: &Geometry,
    list: u32,
    codes: u32,
    (values, expected): (u32, Option<Space>),
    opened: [Option<PageRef>; VALUE_PAGES],
    (record, code, keys): (&[u8], &[u8], &[u8]),
    (row, factors): (Tid, Factors),
) -> Result<Tried, U::Error> {
    let entry_page = change.open(codes)?;
    match room_of(geometry, change.bytes(entry_page), list) {
        Some(Room::End) => {}
        Some(Room::Dead { row: dead, place, .. }) if expected.is_none() => {
            replace(&mut change, geometry, list, record, (dead, place))?;
            let Factors { add, scale } = factors;
            add_entry(geometry, &mut change, entry_page, &Entry { row, place, add, scale }, code, keys)?;
            change.commit()?;
            return Ok(Tried::Done(values, place));
        }
        _ => return Ok(Tried::Again),
    }
    let value_page = change.open(values)?;
    let front = value_front(change.bytes(value_page), list).map_err(|d| d.on(values))?;
    let next = next_of(change.bytes(value_page));
    let found = space_on(geometry, values, &front, next);
    let found = found.filter(|found| expected.map_or(found.new == 0, |expected| *found == expected));
    let Some(space) = found else { return Ok(Tried::Again) };
    let at = match space.hole {
        true => dead_record(geometry, change.bytes(value_page), &front)
            .ok_or(Damage::at(0, "fewer dead values than the page says").on(space.block))?,
        false => usize::from(front.used),
    };
    let first = record.len().min(geometry.space() - at);
    change.patch(value_page, START + at, record.get(..first).unwrap_or_default())?;
    let front = match space.hole {
        true => Front { count: front.count.saturating_sub(1), ..front },
        false => Front { used: (at + first) as u16, ..front },
    };
    patch_front(&mut change, value_page, front)?;
    let (mut done, mut last, mut last_block) = (first, value_page, space.block);
    // on a page that is full to its last byte no record begins
    let mut start = place(space.block, at);
    let mut opened = opened.into_iter().flatten();
    while done < record.len() {
        let len = (record.len() - done).min(geometry.space());
        let part = record.get(done..done + len).unwrap_or_default();
        if space.hole {
            let block = next_of(change.bytes(last));
            last = change.open(block)?;
            let front = value_front(change.bytes(last), list).map_err(|d| d.on(block))?;
            if usize::from(front.begun) != len {
                return Err(Damage::at(0, "value is cut elsewhere").on(block).into());
            }
            change.patch(last, START, part)?;
        } else {
            let new = new_page(&mut change, opened.next())?;
            last_block = change.block(new);
            let begun = if done == 0 { 0 } else { len };
            new_value_page(change.bytes_mut(new)?, list, part, begun);
            patch_next(&mut change, last, last_block)?;
            start = if done == 0 { place(last_block, 0) } else { start };
            last = new;
        }
        done += len;
    }
    let Factors { add, scale } = factors;
    let entry = Entry { row, place: start, add, scale };
    add_entry(geometry, &mut change, entry_page, &entry, code, keys)?;
    change.commit()?;
    Ok(Tried::Done(last_block, start))
}

impl<B: BlockStore> WriteLists for Lists<'_, B> {
    fn code_centre<S: CodedSpace>(
        &mut self,
        space: S,
        centre: S::View<'_>,
        out: &mut Vec<f32>,
    ) -> Result<(), Damage> {
        self.memory.rotation(&self.index)?;
        let Memory { rotation: Some((_, rotation)), widened, .. } = &mut *self.memory else { return Ok(()) };
        Ok(rotate(rotation, &space, centre, widened, out)?)
    }

    fn append<S: CodedSpace>(
        &mut self,
        list: ListPlace,
        _: u32,
        space: S,
        row: Tid,
        value: &[u8],
        workspace: &mut Workspace,
    ) -> Result<(), B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        let number = list_number(list, geometry.page_size);
        let changed = Damage::at(list.offset, "list is another one").on(list.block);
        let head = match self.memory.head.take().filter(|(of, _)| *of == list) {
            Some((_, head)) => head,
            None => self.head(list)?.ok_or(changed)?,
        };
        if value.len() != geometry.value_size || workspace.keys.len() != geometry.filter_size {
            return Err(Damage::internal("value of another size").on(list.block).into());
        }
        let factors = self.code(space, number, value, &workspace.centre)?;
        let run = self.run_code()?;
        let keys = workspace.keys.as_slice();
        let place = self.append_to_list(list, (number, head), (row, value), keys, factors)?;
        self.add_to_runs(row, place, run, keys)
    }

    fn begin_removal(&mut self, is_dead: &mut dyn FnMut(Tid) -> bool) -> Result<(), B::Error> {
        self.sweep_runs(is_dead)
    }

    fn remove(
        &mut self,
        list: ListPlace,
        is_dead: &mut dyn FnMut(Tid) -> bool,
        _: &mut Workspace,
        met: &mut Met,
    ) -> Result<(), B::Error> {
        self.remove_dead(list, is_dead, met)
    }
}

//! What changes of records have in common: rotated values at hand, edges with their codes made beforehand, the pages of
//! a change, and the places of codes, in a record's slot or its rest.

use core::ops::Range;

use super::graph::InlineGraph;
use super::layout::{
    Layout, PageKind, Record, RecordHeader, RecordLayout, Slots, put_edge_keys, put_neighbour, set_count,
};
use super::records::{climb, look_at_ground, look_at_value, member_of};
use super::run::Dying;
use super::scan::Index;
use super::turned::Turned;
use crate::filter::MAX_PACKED;
use crate::hnsw::graph::Member;
use crate::quant::space::{BIT_PAYLOAD, CodedSpace, Estimate};
use crate::runs::tree::TreeRoom;
use crate::space::without;
use crate::storage::blocks::{BlockStore, PageRef, PageUpdate};
use crate::storage::delta::differences;
use crate::storage::page::{Damage, INVALID_BLOCK, Page, Tid};
use crate::work::memory::{OutOfMemory, append, push, resize};
use zerocopy::{FromBytes, IntoBytes};

/// What changes allocate, kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub(super) rotated: Rotated,
    pub(super) turned: Turned,
    /// edges that were made beforehand, their codes one after the other
    pub(super) entries: Vec<Entry>,
    pub(super) codes: Vec<u8>,
    /// the slots of a list as they are
    pub(super) current: Vec<Tid>,
    /// codes on their way from one slot to another
    pub(super) moved: Vec<u8>,
    /// a record as it will be
    pub(super) record: Vec<u64>,
    /// what stands before the codes of a record that is changed
    pub(super) front: Vec<u64>,
    pub(super) ids: Vec<u32>,
    pub(super) places: Vec<u32>,
    pub(super) adds: Vec<f32>,
    pub(super) scales: Vec<f32>,
    /// nodes of a page that are on their way out, with their rests
    pub(super) gone: Vec<(usize, Tid)>,
    /// entries of filter keys
    pub(super) tree: TreeRoom,
    /// nodes that are on their way out, with their keys
    pub(super) dying: Vec<Dying>,
    /// where the last slot of each kind was taken
    pub(super) last: [u32; PageKind::COUNT],
}

impl Edits {
    /// Forgets what was read: others may have changed it since.
    pub(super) fn begin(&mut self) {
        self.rotated.clear();
        self.turned.begin(Tid::INVALID);
        self.forget_entries();
    }

    pub(super) fn forget_entries(&mut self) {
        self.entries.clear();
        self.codes.clear();
    }

    /// Bytes that it holds.
    pub(super) fn allocated(&self) -> usize {
        let words =
            self.ids.capacity() + self.places.capacity() + self.adds.capacity() + self.scales.capacity();
        self.rotated.allocated()
            + self.turned.allocated()
            + self.entries.capacity() * size_of::<Entry>()
            + self.codes.capacity()
            + self.moved.capacity()
            + (self.record.capacity() + self.front.capacity()) * size_of::<u64>()
            + self.current.capacity() * size_of::<Tid>()
            + self.gone.capacity() * size_of::<(usize, Tid)>()
            + self.tree.allocated()
            + self.dying.capacity() * size_of::<Dying>()
            + words * size_of::<u32>()
    }

    /// The code of an edge that was made beforehand, of `size` bytes.
    pub(super) fn code(&self, entry: usize, size: usize) -> &[u8] {
        let at = self.entries.get(entry).map_or(0, |entry| entry.code_at);
        self.codes.get(at..at + size).unwrap_or_default()
    }
}

/// Rotated values of some nodes. Whoever holds the update lock may rely on them: no place is freed meanwhile.
#[derive(Debug, Default)]
pub(super) struct Rotated {
    tids: Vec<Tid>,
    values: Vec<f32>,
    widened: Vec<f32>,
}

/// Bytes of rotated values that are kept from one change to the next.
const KEPT: usize = 4 << 20;

impl Rotated {
    pub(super) fn clear(&mut self) {
        self.tids.clear();
        self.values.clear();
    }

    /// Clears it when it is large.
    pub(super) fn limit(&mut self) {
        if self.values.len() * size_of::<f32>() > KEPT {
            self.clear();
        }
    }

    fn allocated(&self) -> usize {
        self.tids.capacity() * size_of::<Tid>()
            + (self.values.capacity() + self.widened.capacity()) * size_of::<f32>()
    }

    fn find(&self, tid: Tid) -> Option<usize> {
        self.tids.iter().position(|&other| other == tid)
    }

    pub(super) fn get(&self, tid: Tid, padded: usize) -> Option<&[f32]> {
        let at = self.find(tid)?;
        self.values.get(at * padded..(at + 1) * padded)
    }

    /// Gives the value of `from` to `to`, which had none.
    pub(super) fn rename(&mut self, from: Tid, to: Tid) {
        if let Some(at) = self.find(from)
            && let Some(tid) = self.tids.get_mut(at)
        {
            *tid = to;
        }
    }

    fn add(&mut self, tid: Tid, padded: usize) -> Result<(), OutOfMemory> {
        resize(&mut self.values, (self.tids.len() + 1) * padded, 0.0)?;
        self.widened.try_reserve(padded)?;
        push(&mut self.tids, tid)
    }

    fn set_last<S: CodedSpace>(&mut self, index: &Index<S>, tid: Tid, value: &[u8]) -> Result<(), Damage> {
        let view = index.space.view(value).map_err(|_| Damage::at(tid.offset(), "invalid value"))?;
        let start = self.tids.len().saturating_sub(1) * index.codec.padded();
        let out = self.values.get_mut(start..).unwrap_or_default();
        index.codec.rotate(&index.space, view, &mut self.widened, out);
        Ok(())
    }

    fn forget_last(&mut self, padded: usize) {
        self.tids.pop();
        self.values.truncate(self.tids.len() * padded);
    }
}

/// An edge as it will stand in a list, its code apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// the element that it leads to
    pub(super) tid: Tid,
    /// its record in the list's layer
    pub(super) id: u32,
    /// that of layer 0
    pub(super) place: u32,
    /// [`crate::quant::rabitq::Factors`]
    pub(super) factors: [f32; 2],
    /// the element's filter keys, packed
    pub(super) keys: [u8; MAX_PACKED],
    /// where its code begins among those that were made
    pub(super) code_at: usize,
}

/// Whose codes are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Centre<'v> {
    pub(super) tid: Tid,
    /// when another has its place, there is no code
    pub(super) version: Option<u8>,
    /// its value, when it is at hand
    pub(super) value: Option<&'v [u8]>,
}

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// Makes sure that a node's rotated value is at hand; false when there is none any more.
    pub(super) fn rotate(&mut self, of: Centre<'_>) -> Result<bool, B::Error> {
        let Centre { tid, version, value } = of;
        let InlineGraph { blocks, index, room, .. } = self;
        let rotated = &mut room.edits.rotated;
        if rotated.find(tid).is_some() {
            return Ok(true);
        }
        let padded = index.codec.padded();
        rotated.add(tid, padded).map_err(|memory| Damage::from(memory).on(tid.block()))?;
        let done = match value.filter(|value| !value.is_empty()) {
            Some(value) => rotated
                .set_last(index, tid, value)
                .map(|()| true)
                .map_err(|damage| damage.on(tid.block()).into()),
            None => look_at_value(*blocks, &index.layout, &mut room.value, tid, |member, value| {
                let own = !value.is_empty() && version.is_none_or(|version| version == member.version);
                if own {
                    rotated.set_last(index, tid, value)?;
                }
                Ok(own)
            }),
        };
        if !matches!(done, Ok(true)) {
            rotated.forget_last(padded);
        }
        done
    }

    /// Makes an edge of a list of `layer` from `owner` to the element at `to`, which has the record `id` in that layer,
    /// and adds it to `room.edits.entries`. False, and nothing is added, when either is gone.
    pub(super) fn prepare(
        &mut self,
        owner: Centre<'_>,
        to: Centre<'_>,
        layer: u8,
        id: u32,
    ) -> Result<bool, B::Error> {
        let damage = |damage: Damage| B::Error::from(damage.on(to.tid.block()));
        let (index, records) = (self.index, self.index.layout.records(layer));
        let place = index.layout.ground_id(to.tid);
        let place = place.ok_or(damage(Damage::at(to.tid.offset(), "slot does not exist")))?;
        let estimate = index.space.estimate();
        // codes of other layers have another size
        let (turned, size) = (layer == 0, records.code_size);
        let known = turned && self.room.edits.turned.find(owner.tid, to.tid, size).is_some();
        if estimate != Estimate::Exact && !known && !(self.rotate(owner)? && self.rotate(to)?) {
            return Ok(false);
        }
        let InlineGraph { blocks, room, .. } = self;
        let (edits, buffer) = (&mut room.edits, &mut room.value);
        let start = edits.codes.len();
        resize(&mut edits.codes, start + records.code_size, 0).map_err(|memory| damage(memory.into()))?;
        let code = edits.codes.get_mut(start..).unwrap_or_default();
        let mut factors = [0.0; 2];
        let made = if estimate == Estimate::Exact {
            let filter_size = index.layout.shape.filter_size();
            let mut copy = |value: &[u8]| match without(value, filter_size).get(BIT_PAYLOAD..) {
                Some(bits) if bits.len() == code.len() => {
                    code.copy_from_slice(bits);
                    Ok(true)
                }
                _ if value.is_empty() => Ok(false),
                _ => Err(Damage::at(to.tid.offset(), "invalid value")),
            };
            match to.value.filter(|value| !value.is_empty()) {
                Some(value) => copy(value).map_err(damage),
                None => look_at_value(*blocks, &index.layout, buffer, to.tid, |member, value| {
                    let own = to.version.is_none_or(|version| version == member.version);
                    if own { copy(value) } else { Ok(false) }
                }),
            }
        } else if let Some((known, turned)) = edits.turned.find(owner.tid, to.tid, size).filter(|_| turned) {
            code.copy_from_slice(turned);
            factors = known;
            Ok(true)
        } else {
            let padded = index.codec.padded();
            match (edits.rotated.get(to.tid, padded), edits.rotated.get(owner.tid, padded)) {
                (Some(value), Some(centre)) if turned && edits.turned.lead_to(owner.tid) => {
                    // the edge back, if there is one, is made in the same insert
                    let (made, back) = index.codec.encode_both(records.bits, estimate, value, centre, code);
                    factors = [made.add, made.scale];
                    let kept =
                        back.map_or(Ok(()), |back| edits.turned.add(to.tid, [back.add, back.scale], code));
                    kept.map(|()| true).map_err(|memory| damage(memory.into()))
                }
                (Some(value), Some(centre)) => {
                    let made = index.codec.encode(records.bits, estimate, value, centre, code);
                    factors = [made.add, made.scale];
                    Ok(true)
                }
                _ => Ok(false),
            }
        };
        if !matches!(made, Ok(true)) {
            edits.codes.truncate(start);
            return made;
        }
        let keys = match self.keys_of(to) {
            Ok(Some(keys)) => keys,
            gone => {
                self.room.edits.codes.truncate(start);
                return gone.map(|_| false);
            }
        };
        let entry = Entry { tid: to.tid, id, place, factors, keys, code_at: start };
        let edits = &mut self.room.edits;
        push(&mut edits.entries, entry).map_err(|memory| damage(memory.into()))?;
        Ok(true)
    }

    /// The filter keys of an element, where records have those of neighbours; `None` when it is gone.
    fn keys_of(&mut self, of: Centre<'_>) -> Result<Option<[u8; MAX_PACKED]>, B::Error> {
        let Centre { tid, version, value } = of;
        let layout = &self.index.layout;
        let mut keys = [0; MAX_PACKED];
        let Some(place) = keys.get_mut(..layout.ground.edge_keys).filter(|place| !place.is_empty()) else {
            return Ok(Some(keys));
        };
        if let Some(behind) = value.and_then(|value| value.get(value.len().wrapping_sub(place.len())..)) {
            place.copy_from_slice(behind);
            return Ok(Some(keys));
        }
        let own = look_at_ground(self.blocks, layout, tid, |record| {
            let own = record.is_live() && version.is_none_or(|version| version == record.header.version);
            if own && place.len() == record.own_keys().len() {
                place.copy_from_slice(record.own_keys());
            }
            Ok(own)
        })?;
        Ok(own.then_some(keys))
    }

    /// The record of an element in a layer; `None` when it has none there.
    pub(super) fn record_of(&mut self, tid: Tid, layer: u8) -> Result<Option<u32>, B::Error> {
        let layout = &self.index.layout;
        if layer == 0 {
            return Ok(layout.ground_id(tid));
        }
        let member = look_at_ground(self.blocks, layout, tid, |record| Ok(member_of(tid, record)))?;
        climb(self.blocks, layout, &member, layer)
    }
}

/// Blocks of a change, opened in ascending order: two changes that have some in common never wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pages: [(u32, PageRef); Pages::MOST],
    count: usize,
}

impl Pages {
    const MOST: usize = 4;

    pub(super) const fn new() -> Self {
        Pages { pages: [(INVALID_BLOCK, PageRef(0)); Pages::MOST], count: 0 }
    }

    /// Asks for a block, however often; false when there are too many.
    pub(super) fn want(&mut self, block: u32) -> bool {
        let wanted = self.pages.get(..self.count).unwrap_or_default();
        if block == INVALID_BLOCK || wanted.iter().any(|page| page.0 == block) {
            return true;
        }
        match self.pages.get_mut(self.count) {
            Some(page) => {
                page.0 = block;
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// Opens them all.
    pub(super) fn open<C: PageUpdate>(&mut self, change: &mut C) -> Result<(), C::Error> {
        let pages = self.pages.get_mut(..self.count).unwrap_or_default();
        pages.sort_unstable_by_key(|page| page.0);
        for (block, page) in pages {
            *page = change.open(*block)?;
        }
        Ok(())
    }

    /// Opens the only one, when nobody else holds on to it.
    pub(super) fn open_alone<C: PageUpdate>(&mut self, change: &mut C) -> Result<(), C::Error> {
        if self.count != 1 {
            return self.open(change);
        }
        let [(block, page), ..] = &mut self.pages;
        *page = change.open_alone(*block)?;
        Ok(())
    }

    /// Adds a block that is open.
    pub(super) fn add(&mut self, block: u32, page: PageRef) {
        if let Some(place) = self.pages.get_mut(self.count) {
            *place = (block, page);
            self.count += 1;
        }
    }

    /// An open block.
    pub(super) fn get(&self, block: u32) -> Result<PageRef, Damage> {
        let pages = self.pages.get(..self.count).unwrap_or_default();
        let found = pages.iter().find(|page| page.0 == block).map(|page| page.1);
        found.ok_or(Damage::internal("block that its change has not opened"))
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) layer: u8,
    pub(super) block: u32,
    pub(super) slot: usize,
}

impl Site {
    pub(super) fn new(layer: u8, at: Tid) -> Self {
        Site { layer, block: at.block(), slot: usize::from(at.offset()).wrapping_sub(1) }
    }

    pub(super) fn of_id(layout: &Layout, layer: u8, id: u32) -> Self {
        let (block, slot) = layout.records(layer).slots.place(id);
        Site { layer, block, slot }
    }

    pub(super) const fn kind(&self) -> PageKind {
        PageKind::of_layer(self.layer)
    }
}

/// The kind of the rests of a layer's records.
pub(super) const fn rest_kind(layer: u8) -> PageKind {
    if layer == 0 { PageKind::GroundRest } else { PageKind::UpperRest }
}

/// Pieces of the bytes `range` of a whole record: in its slot (`None`) or in a part of its rest, where there, and where
/// in the range.
pub(super) fn pieces(
    records: &RecordLayout,
    range: Range<usize>,
) -> impl Iterator<Item = (Option<usize>, Range<usize>, Range<usize>)> {
    let (head, size, start) = (records.head(), records.rest_slots.size.max(1), range.start);
    let mut at = start;
    core::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let (part, from, end) = match at.checked_sub(head) {
            None => (None, at, head),
            Some(behind) => (Some(behind / size), behind % size, size),
        };
        let len = (end - from).min(range.end - at);
        let piece = (part, from..from + len, at - start..at - start + len);
        at += len;
        Some(piece)
    })
}

/// Where some parts of a record's rest are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    parts: [(usize, u32); 3],
    count: usize,
    slot: usize,
}

impl Parts {
    pub(super) const NONE: Parts = Parts { parts: [(0, INVALID_BLOCK); 3], count: 0, slot: 0 };

    fn add(&mut self, part: usize) -> Result<(), Damage> {
        if self.parts.get(..self.count).is_some_and(|parts| parts.iter().any(|other| other.0 == part)) {
            return Ok(());
        }
        let place = self.parts.get_mut(self.count).ok_or(Damage::internal("codes in too many blocks"))?;
        place.0 = part;
        self.count += 1;
        Ok(())
    }

    /// Adds those that have the code of neighbour `at`.
    pub(super) fn add_code(&mut self, records: &RecordLayout, at: usize) -> Result<(), Damage> {
        pieces(records, records.code(at)).filter_map(|piece| piece.0).try_for_each(|part| self.add(part))
    }

    fn block(&self, part: usize) -> u32 {
        let parts = self.parts.get(..self.count).unwrap_or_default();
        parts.iter().find(|other| other.0 == part).map_or(INVALID_BLOCK, |found| found.1)
    }

    /// Block, slots and slot of a part that was found.
    pub(super) fn at<'r>(
        &self,
        part: usize,
        records: &'r RecordLayout,
        layer: u8,
    ) -> (u32, &'r Slots, PageKind, usize) {
        (self.block(part), &records.rest_slots, rest_kind(layer), self.slot)
    }

    /// Their blocks.
    pub(super) fn blocks(&self) -> impl Iterator<Item = u32> {
        self.parts.into_iter().take(self.count).map(|part| part.1)
    }

    /// Finds their blocks, along the chain that begins at `rest`.
    pub(super) fn find<B: BlockStore>(
        &mut self,
        blocks: &mut B,
        slots: &Slots,
        kind: PageKind,
        rest: Tid,
    ) -> Result<(), B::Error> {
        self.slot = usize::from(rest.offset()).wrapping_sub(1);
        let last = self.parts.iter().take(self.count).map(|part| part.0).max();
        let mut block = rest.block();
        for part in 0..=last.unwrap_or_default() {
            if let Some(place) = self.parts.iter_mut().take(self.count).find(|other| other.0 == part) {
                place.1 = block;
            }
            if Some(part) < last {
                block = blocks.read(block, |bytes| {
                    slots.get(bytes, kind, 0)?;
                    Ok(Page::unidentified(bytes)?.next())
                })?;
            }
        }
        Ok(())
    }
}

/// A record in an open change.
pub(super) struct Opened<'c, C> {
    pub(super) change: &'c mut C,
    pub(super) pages: Pages,
    pub(super) records: &'c RecordLayout,
    pub(super) site: Site,
    pub(super) parts: Parts,
}

impl<C: PageUpdate> Opened<'_, C> {
    /// The record.
    pub(super) fn record(&self) -> Result<Record<'_>, C::Error> {
        let damage = |damage: Damage| damage.on(self.site.block);
        let bytes = self.change.bytes(self.pages.get(self.site.block).map_err(damage)?);
        let slot = self.records.slots.get(bytes, self.site.kind(), self.site.slot).map_err(damage)?;
        Ok(Record::new(self.records, slot, self.site.slot).map_err(damage)?)
    }

    /// The bytes of its slot, to change.
    pub(super) fn head(&mut self) -> Result<&mut [u8], C::Error> {
        let Site { block, slot, .. } = self.site;
        let damage = |damage: Damage| damage.on(block);
        let bytes = self.change.bytes_mut(self.pages.get(block).map_err(damage)?)?;
        Ok(self.records.slots.get_mut(bytes, self.site.kind(), slot).map_err(damage)?)
    }

    /// The block, the slots and the slot of a part.
    fn part(&self, part: Option<usize>) -> (u32, &Slots, PageKind, usize) {
        match part {
            None => (self.site.block, &self.records.slots, self.site.kind(), self.site.slot),
            Some(part) => self.parts.at(part, self.records, self.site.layer),
        }
    }

    /// Writes the code of neighbour `at`.
    pub(super) fn put_code(&mut self, at: usize, code: &[u8]) -> Result<(), C::Error> {
        for (part, to, from) in pieces(self.records, self.records.code(at)) {
            let (block, &slots, kind, slot) = self.part(part);
            let damage = |damage: Damage| damage.on(block);
            let page = self.pages.get(block).map_err(damage)?;
            let bytes = slots.get_mut(self.change.bytes_mut(page)?, kind, slot).map_err(damage)?;
            if let (Some(to), Some(from)) = (bytes.get_mut(to), code.get(from)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// Writes an edge to place `at` of a list whose codes are in its slot, or behind its last edge: only what becomes
    /// another goes into the change, and the page is neither copied nor compared. `front` is room.
    pub(super) fn patch_edge(
        self,
        at: usize,
        entry: &Entry,
        code: &[u8],
        front: &mut Vec<u64>,
    ) -> Result<(), C::Error> {
        let Site { block, slot, .. } = self.site;
        let damage = |damage: Damage| C::Error::from(damage.on(block));
        let Opened { change, pages, records, site, .. } = self;
        let page = pages.get(block).map_err(damage)?;
        let (start, size) = (records.slots.range(slot).start, records.codes_at.min(records.head()));
        resize(front, size.div_ceil(8), 0).map_err(|memory| damage(memory.into()))?;
        let new = front.as_mut_bytes().get_mut(..size).unwrap_or_default();
        let old = records.slots.get(change.bytes(page), site.kind(), slot).map_err(damage)?;
        let old = old.get(..size).unwrap_or_default();
        new.copy_from_slice(old);
        put_neighbour(records, new, at, entry.id, entry.place, entry.factors);
        put_edge_keys(records, new, at, &entry.keys);
        let more = RecordHeader::ref_from_prefix(old).is_ok_and(|(old, _)| usize::from(old.neighbours) == at);
        if more {
            set_count(records, new, at + 1);
        }
        let new = front.as_bytes();
        let mut from = 0;
        loop {
            // looked up again: a patch may make the change's own copy of the page
            let old = change.bytes(page).get(start + from..start + size).unwrap_or_default();
            let new = new.get(from..size).unwrap_or_default();
            let Some(range) = differences(old, new).next() else { break };
            change.patch(page, start + from + range.start, new.get(range.clone()).unwrap_or_default())?;
            from += range.end;
        }
        change.patch(page, start + records.code(at).start, code)
    }

    /// Copies the code of neighbour `at` behind what is in `out`.
    pub(super) fn copy_code(&self, at: usize, out: &mut Vec<u8>) -> Result<(), C::Error> {
        for (part, from, _) in pieces(self.records, self.records.code(at)) {
            let (block, slots, kind, slot) = self.part(part);
            let damage = |damage: Damage| damage.on(block);
            let page = self.pages.get(block).map_err(damage)?;
            let bytes = slots.get(self.change.bytes(page), kind, slot).map_err(damage)?;
            append(out, bytes.get(from).unwrap_or_default())
                .map_err(|memory| damage(Damage::from(memory)))?;
        }
        Ok(())
    }
}

/// Whether a record still has the list of an element in a layer.
pub(super) fn is_list_of(record: &Record<'_>, member: &Member, layer: u8) -> bool {
    let header = record.header;
    record.is_live()
        && header.layer == layer
        && header.version == member.version
        && (layer == 0 || header.heap_tid == member.tid)
}

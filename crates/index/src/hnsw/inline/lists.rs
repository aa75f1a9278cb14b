//! Changing the edges of a list: each change is that of one record, in the blocks that have what changes of it.

use core::ops::Range;

use super::edit::{Centre, Edits, Entry, Opened, Pages, Parts, Site, is_list_of, pieces, rest_kind};
use super::graph::InlineGraph;
use super::layout::{
    Layout, Record, move_neighbour, put_edge_keys, put_neighbour, set_count, swap_neighbours,
};
use super::records::climb;
use crate::filter::MAX_PACKED;
use crate::hnsw::graph::{EdgeChange, KnownValues, Member, NoValues, Place, Target, find_place};
use crate::hnsw::params::layer_range;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::{BlockStore, PageUpdate};
use crate::storage::page::{Damage, Tid};
use crate::work::memory::{append, push, resize};

/// What is done to a list next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// nothing more
    Done,
    /// the edge at this place and the first change places
    Exchange(usize),
    /// the edge at this place becomes one to that element
    Set(usize, Tid),
    /// an edge more
    Append(Tid),
    /// the last edge takes this place
    Remove(usize),
}

/// What came of a change.
enum Taken {
    /// all that was wanted
    Done,
    /// some of it, or the list is another than it was
    Again,
    /// an edge to this element must be made first
    Missing(Tid),
}

/// The number of edges in slots.
fn edges_of(slots: &[Tid]) -> usize {
    slots.iter().position(|tid| !tid.is_valid()).unwrap_or(slots.len())
}

/// Copies all slots of a record's list.
fn copy_slots(layout: &Layout, record: &Record<'_>, all: usize, out: &mut Vec<Tid>) -> Result<(), Damage> {
    out.clear();
    out.try_reserve(all).map_err(|_| Damage::OUT_OF_MEMORY)?;
    out.extend(record.places().iter().map(|&id| layout.tid(id)));
    out.resize(all, Tid::INVALID);
    Ok(())
}

/// What fills a layer's slots anew: the layer, its slots' range among all, what they are, and free ones.
pub(super) type Merge<'a> = dyn FnMut(u8, Range<usize>, &[Tid], &mut [Tid]) + 'a;

impl<B: BlockStore, S: CodedSpace> InlineGraph<'_, B, S> {
    /// Changes a list, step by step, as `next` says. It is given the slots, and whether they are others than those that
    /// its last step left. Where all codes are in the slot, all steps are one change, else each is one.
    fn edit_list(
        &mut self,
        member: &Member,
        layer: u8,
        known: &dyn KnownValues,
        next: &mut dyn FnMut(bool, &[Tid]) -> Step,
    ) -> Result<(), B::Error> {
        let layout = &self.index.layout;
        let records = layout.records(layer);
        let site = match layer {
            0 => Site::new(0, member.tid),
            _ => match climb(self.blocks, layout, member, layer)? {
                Some(id) => Site::of_id(layout, layer, id),
                None => return Ok(()),
            },
        };
        loop {
            let (mut pages, mut parts, mut expected) = (Pages::new(), Parts::NONE, None);
            pages.want(site.block);
            if !records.has_codes() {
                let Some(rest) = self.look_at_list(member, &site)? else { return Ok(()) };
                let step = next(true, &self.room.edits.current);
                if step == Step::Done {
                    return Ok(());
                }
                if let Step::Set(_, tid) | Step::Append(tid) = step
                    && !self.room.edits.entries.iter().any(|entry| entry.tid == tid)
                {
                    self.prepare_known(member, layer, tid, known)?;
                }
                parts = self.find_parts(&site, rest, step)?;
                parts.blocks().for_each(|block| _ = pages.want(block));
                expected = Some((step, rest));
            }
            match self.take_steps(member, &site, pages, parts, expected, next)? {
                Taken::Done => return Ok(()),
                Taken::Again => self.blocks.pause()?,
                Taken::Missing(tid) => self.prepare_known(member, layer, tid, known)?,
            }
        }
    }

    /// Makes an edge that a list will have.
    fn prepare_known(
        &mut self,
        member: &Member,
        layer: u8,
        to: Tid,
        known: &dyn KnownValues,
    ) -> Result<(), B::Error> {
        let gone = || Damage::at(to.offset(), "edge to what is no element").on(to.block());
        let id = self.record_of(to, layer)?.ok_or_else(gone)?;
        let owner = Centre { tid: member.tid, version: Some(member.version), value: known.value(member.tid) };
        let to = Centre { tid: to, version: None, value: known.value(to) };
        // an owner that is gone has no list either, which the change will see
        if self.prepare(owner, to, layer, id)? || !self.rotate(owner)? { Ok(()) } else { Err(gone().into()) }
    }

    /// Copies the slots of a list to `room.edits.current`; returns where the record's rest is, `None` when the list is
    /// not the element's any more.
    fn look_at_list(&mut self, member: &Member, site: &Site) -> Result<Option<Tid>, B::Error> {
        let InlineGraph { blocks, index, room, .. } = self;
        let records = index.layout.records(site.layer);
        blocks.read(site.block, |bytes| {
            let record = Record::new(records, records.slots.get(bytes, site.kind(), site.slot)?, site.slot)?;
            if !is_list_of(&record, member, site.layer) {
                return Ok(None);
            }
            copy_slots(&index.layout, &record, records.neighbours, &mut room.edits.current)?;
            Ok(Some(record.header.rest))
        })
    }

    /// Finds the parts of a record's rest that a step changes; the code that it moves is copied to `room.edits.moved`.
    fn find_parts(&mut self, site: &Site, rest: Tid, step: Step) -> Result<Parts, B::Error> {
        let damage = |damage: Damage| damage.on(site.block);
        let InlineGraph { blocks, index, room, .. } = self;
        let records = index.layout.records(site.layer);
        let edges = edges_of(&room.edits.current);
        let mut parts = Parts::NONE;
        match step {
            Step::Done => {}
            Step::Exchange(at) => {
                parts.add_code(records, 0).map_err(damage)?;
                parts.add_code(records, at).map_err(damage)?;
            }
            Step::Set(at, _) | Step::Remove(at) => parts.add_code(records, at).map_err(damage)?,
            Step::Append(_) => parts.add_code(records, edges).map_err(damage)?,
        }
        parts.find(*blocks, &records.rest_slots, rest_kind(site.layer), rest)?;
        let moved = &mut room.edits.moved;
        moved.clear();
        if let Step::Remove(_) = step {
            let last = edges.saturating_sub(1);
            let mut from = Parts::NONE;
            from.add_code(records, last).map_err(damage)?;
            from.find(*blocks, &records.rest_slots, rest_kind(site.layer), rest)?;
            for (part, range, _) in pieces(records, records.code(last)) {
                let (block, slots, kind, slot) = match part {
                    None => (site.block, &records.slots, site.kind(), site.slot),
                    Some(part) => from.at(part, records, site.layer),
                };
                blocks.read(block, |bytes| {
                    Ok(append(moved, slots.get(bytes, kind, slot)?.get(range.clone()).unwrap_or_default())?)
                })?;
            }
        }
        Ok(parts)
    }

    /// Takes the steps that `next` says; with `expected`, only that one, of a record with that rest.
    fn take_steps(
        &mut self,
        member: &Member,
        site: &Site,
        mut pages: Pages,
        parts: Parts,
        expected: Option<(Step, Tid)>,
        next: &mut dyn FnMut(bool, &[Tid]) -> Step,
    ) -> Result<Taken, B::Error> {
        let InlineGraph { blocks, index, room, .. } = self;
        let (layout, edits) = (&index.layout, &mut room.edits);
        let records = layout.records(site.layer);
        let damage = |damage: Damage| damage.on(site.block);
        let mut change = blocks.update()?;
        pages.open(&mut change)?;
        let mut open = Opened { change: &mut change, pages, records, site: *site, parts };
        {
            let record = open.record()?;
            if !is_list_of(&record, member, site.layer) {
                return Ok(Taken::Done);
            }
            if expected.is_some_and(|(_, rest)| rest != record.header.rest) {
                return Ok(Taken::Again);
            }
            copy_slots(layout, &record, records.neighbours, &mut edits.current).map_err(damage)?;
        }
        let mut changed = false;
        loop {
            let step = next(!changed, &edits.current);
            if expected.is_some_and(|(expected, _)| expected != step) {
                return Ok(Taken::Again);
            }
            let edges = edges_of(&edits.current);
            let size = records.code_size;
            match step {
                Step::Done => break,
                Step::Set(at, tid) => {
                    let Some(entry) = edits.entries.iter().position(|entry| entry.tid == tid) else {
                        return Ok(Taken::Missing(tid));
                    };
                    let code = edits.code(entry, size);
                    put_edge(&mut open, at, edits.entries.get(entry), code)?;
                    set(&mut edits.current, at, tid);
                }
                Step::Append(tid) => {
                    let Some(entry) = edits.entries.iter().position(|entry| entry.tid == tid) else {
                        return Ok(Taken::Missing(tid));
                    };
                    let code = edits.code(entry, size);
                    put_edge(&mut open, edges, edits.entries.get(entry), code)?;
                    set_count(records, open.head()?, edges + 1);
                    set(&mut edits.current, edges, tid);
                }
                Step::Exchange(at) => {
                    edits.moved.clear();
                    open.copy_code(at, &mut edits.moved)?;
                    open.copy_code(0, &mut edits.moved)?;
                    let (first, other) = edits.moved.split_at(size.min(edits.moved.len()));
                    open.put_code(0, first)?;
                    open.put_code(at, other)?;
                    swap_neighbours(records, open.head()?, 0, at);
                    if at < edits.current.len() {
                        edits.current.swap(0, at);
                    }
                }
                Step::Remove(at) => {
                    let last = edges.saturating_sub(1);
                    if expected.is_none() {
                        edits.moved.clear();
                        open.copy_code(last, &mut edits.moved)?;
                    }
                    if at != last {
                        open.put_code(at, &edits.moved)?;
                        move_neighbour(records, open.head()?, last, at);
                    }
                    if expected.is_none() {
                        // nothing stays of what may have been deleted; where codes are elsewhere, until it is
                        // overwritten
                        edits.moved.fill(0);
                        open.put_code(last, &edits.moved)?;
                    }
                    set_count(records, open.head()?, last);
                    let tid = edits.current.get(last).copied().unwrap_or(Tid::INVALID);
                    set(&mut edits.current, at, tid);
                    set(&mut edits.current, last, Tid::INVALID);
                }
            }
            changed = true;
            if expected.is_some() {
                break;
            }
        }
        if !changed {
            return Ok(Taken::Done);
        }
        change.commit()?;
        Ok(if expected.is_some() { Taken::Again } else { Taken::Done })
    }

    /// [`crate::hnsw::graph::GraphWrite::set_anchor`].
    pub(super) fn change_anchor(
        &mut self,
        member: &Member,
        anchor: Tid,
        known: &dyn KnownValues,
    ) -> Result<(), B::Error> {
        self.room.edits.rotated.limit();
        self.room.edits.forget_entries();
        self.edit_list(member, 0, known, &mut |_, slots| {
            let edges = edges_of(slots);
            match slots.iter().position(|&tid| tid == anchor) {
                Some(0) => Step::Done,
                Some(at) => Step::Exchange(at),
                None if edges == 0 => Step::Append(anchor),
                None => Step::Set(0, anchor),
            }
        })
    }

    /// [`crate::hnsw::graph::GraphWrite::rewrite_lists`]. Edges that stay keep their places, but for the first.
    pub(super) fn rewrite(
        &mut self,
        member: &Member,
        added: &[(u8, u64)],
        known: &dyn KnownValues,
        room: &mut Vec<Tid>,
        merge: &mut Merge<'_>,
    ) -> Result<(), B::Error> {
        let m = self.index.layout.shape.m;
        let on_page = |damage: Damage| damage.on(member.tid.block());
        self.room.edits.rotated.clear();
        room.clear();
        let all = (usize::from(member.level) + 2) * m;
        resize(room, all, Tid::INVALID).map_err(|memory| on_page(memory.into()))?;
        for layer in 0..=member.level {
            self.room.edits.forget_entries();
            if !self.prepare_added(member, layer, added, known)? {
                return Ok(());
            }
            let range = layer_range(member.level, layer, m);
            let out = room.get_mut(range.clone()).unwrap_or_default();
            let mut from = 0;
            self.edit_list(member, layer, known, &mut |fresh, slots| {
                if fresh {
                    from = 0;
                    out.fill(Tid::INVALID);
                    merge(layer, range.clone(), slots, out);
                }
                toward(slots, out, layer == 0, &mut from)
            })?;
        }
        Ok(())
    }

    /// Makes the edges that a list does not have yet; false when it is not the element's any more.
    fn prepare_added(
        &mut self,
        member: &Member,
        layer: u8,
        added: &[(u8, u64)],
        known: &dyn KnownValues,
    ) -> Result<bool, B::Error> {
        let site = Site::new(0, member.tid);
        if layer > 0 {
            let layout = &self.index.layout;
            let Some(id) = climb(self.blocks, layout, member, layer)? else { return Ok(false) };
            if self.look_at_list(member, &Site::of_id(layout, layer, id))?.is_none() {
                return Ok(false);
            }
        } else if self.look_at_list(member, &site)?.is_none() {
            return Ok(false);
        }
        for &(_, packed) in added.iter().filter(|added| added.0 == layer) {
            let tid = Tid::from_packed(packed);
            if !self.room.edits.current.contains(&tid) {
                self.prepare_known(member, layer, tid, known)?;
            }
        }
        Ok(true)
    }

    /// [`crate::hnsw::graph::GraphWrite::add_edges`]: one change where codes are in the slots; else one for each edge,
    /// that of the anchor first.
    pub(super) fn link(
        &mut self,
        edges: &[EdgeChange],
        new: Target<'_>,
        anchor: Option<Tid>,
    ) -> Result<bool, B::Error> {
        let edits = &mut self.room.edits;
        edits.rotated.limit();
        edits.forget_entries();
        let is_anchor = |edge: &EdgeChange| edge.layer == 0 && Some(edge.owner.tid) == anchor;
        if self.index.layout.ground.has_codes() && self.index.layout.upper.has_codes() {
            return self.link_at_once(edges, new, is_anchor);
        }
        for first in [true, false] {
            for edge in edges.iter().filter(|edge| is_anchor(edge) == first) {
                if !self.link_one(edge, new)? && first {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Makes one edge; false when there is no place for it.
    fn link_one(&mut self, edge: &EdgeChange, new: Target<'_>) -> Result<bool, B::Error> {
        let &EdgeChange { owner, layer, replaced, .. } = edge;
        self.room.edits.forget_entries();
        let Some(id) = self.record_of(new.tid, layer)? else { return Ok(false) };
        let centre = Centre { tid: owner.tid, version: Some(owner.version), value: None };
        if !self.prepare(centre, Centre { tid: new.tid, version: None, value: new.value }, layer, id)? {
            return Ok(false);
        }
        let mut placed = false;
        self.edit_list(&owner, layer, &NoValues, &mut |_, slots| {
            let place = find_place(slots, layer, new.tid, replaced);
            placed = place != Place::None;
            match place {
                Place::At(at) if at < edges_of(slots) => Step::Set(at, new.tid),
                Place::At(_) => Step::Append(new.tid),
                Place::Stands | Place::None => Step::Done,
            }
        })?;
        Ok(placed)
    }

    /// Makes all edges in one change.
    fn link_at_once(
        &mut self,
        edges: &[EdgeChange],
        new: Target<'_>,
        is_anchor: impl Fn(&EdgeChange) -> bool,
    ) -> Result<bool, B::Error> {
        // codes first, while no page is locked
        let to = Centre { tid: new.tid, version: None, value: new.value };
        let mut own = None;
        for edge in edges {
            let &EdgeChange { owner, layer, .. } = edge;
            let id = match own {
                Some((known, id)) if known == layer => id,
                _ => self.record_of(new.tid, layer)?,
            };
            own = Some((layer, id));
            let centre = Centre { tid: owner.tid, version: Some(owner.version), value: None };
            let made = match id {
                Some(id) => self.prepare(centre, to, layer, id)?,
                None => false,
            };
            if !made {
                if is_anchor(edge) {
                    return Ok(false);
                }
                self.skip_entry().map_err(|damage| damage.on(owner.tid.block()))?;
            }
        }
        let InlineGraph { blocks, index, room, .. } = self;
        let (layout, edits) = (&index.layout, &mut room.edits);
        let mut change = blocks.update()?;
        let (mut pages, mut held) = (Pages::new(), None::<u32>);
        let mut changed = false;
        for (at, edge) in edges.iter().enumerate() {
            let &EdgeChange { owner, layer, replaced, .. } = edge;
            let site = Site::new(layer, edge.at);
            // edges of one block come one after the other
            if held != Some(site.block) {
                held = Some(site.block);
                let page = change.open(site.block)?;
                pages.add(site.block, page);
            }
            let Some(&entry) = edits.entries.get(at).filter(|entry| entry.tid.is_valid()) else { continue };
            let records = layout.records(layer);
            let open = Opened { change: &mut change, pages, records, site, parts: Parts::NONE };
            let place = {
                let record = open.record()?;
                let own = is_list_of(&record, &owner, layer);
                let places = if own { Some(record.places()) } else { None };
                places.map_or(Found::None, |places| {
                    find(
                        places,
                        records.neighbours,
                        layer,
                        entry.place,
                        replaced.and_then(|tid| layout.ground_id(tid)),
                    )
                })
            };
            match place {
                Found::At(place) => {
                    let Edits { front, codes, .. } = &mut *edits;
                    let code =
                        codes.get(entry.code_at..entry.code_at + records.code_size).unwrap_or_default();
                    open.patch_edge(place, &entry, code, front)?;
                    changed = true;
                }
                Found::None if is_anchor(edge) => return Ok(false),
                Found::None | Found::Stands => {}
            }
        }
        if changed {
            change.commit()?;
        }
        Ok(true)
    }

    /// Adds an entry for an edge that is not to be made.
    fn skip_entry(&mut self) -> Result<(), Damage> {
        let no_keys = [0; MAX_PACKED];
        let entry =
            Entry { tid: Tid::INVALID, id: 0, place: 0, factors: [0.0; 2], keys: no_keys, code_at: 0 };
        Ok(push(&mut self.room.edits.entries, entry)?)
    }
}

/// As [`Place`], among ids.
enum Found {
    At(usize),
    Stands,
    None,
}

/// As [`find_place`], among the ids of a list that has room for `all`.
fn find(ids: &[u32], all: usize, layer: u8, new: u32, replaced: Option<u32>) -> Found {
    if ids.contains(&new) {
        return Found::Stands;
    }
    let replaced = replaced.and_then(|old| ids.iter().rposition(|&id| id == old));
    match replaced.filter(|&place| layer > 0 || place > 0) {
        Some(place) => Found::At(place),
        None if ids.len() < all => Found::At(ids.len()),
        None => Found::None,
    }
}

fn set(slots: &mut [Tid], at: usize, tid: Tid) {
    if let Some(slot) = slots.get_mut(at) {
        *slot = tid;
    }
}

/// Writes an edge to place `at` of a record.
fn put_edge<C: PageUpdate>(
    open: &mut Opened<'_, C>,
    at: usize,
    entry: Option<&Entry>,
    code: &[u8],
) -> Result<(), C::Error> {
    let Some(entry) = entry else { return Ok(()) };
    open.put_code(at, code)?;
    put_neighbour(open.records, open.head()?, at, entry.id, entry.place, entry.factors);
    put_edge_keys(open.records, open.head()?, at, &entry.keys);
    Ok(())
}

/// The next step from slots to those that are wanted, of which only the first has a place of its own, and that only in
/// the `ground` layer. The edges before `from` stay.
fn toward(slots: &[Tid], wanted: &[Tid], ground: bool, from: &mut usize) -> Step {
    let edges = edges_of(slots);
    let (slots, wanted) =
        (slots.get(..edges).unwrap_or_default(), wanted.get(..edges_of(wanted)).unwrap_or_default());
    if let Some(&first) = wanted.first().filter(|_| ground)
        && slots.first() != Some(&first)
    {
        return match slots.iter().position(|&tid| tid == first) {
            Some(at) => Step::Exchange(at),
            None if edges == 0 => Step::Append(first),
            None => Step::Set(0, first),
        };
    }
    let missing = wanted.iter().copied().find(|tid| !slots.contains(tid));
    while let Some((tid, before)) = slots.get(..=*from).and_then(<[Tid]>::split_last) {
        if !wanted.contains(tid) || before.contains(tid) {
            return missing.map_or(Step::Remove(*from), |missing| Step::Set(*from, missing));
        }
        *from += 1;
    }
    missing.map_or(Step::Done, Step::Append)
}

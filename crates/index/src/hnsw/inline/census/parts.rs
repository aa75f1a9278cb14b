//! What an audit has met on the pages, elements aside; and whether records of upper layers, rests and segments of rows
//! have one owner each.

use super::super::layout::{Layout, NO_NODE, PageKind, offset};
use super::{place_of, rest_of};
use crate::hnsw::census::{Auditor, CheckError, reserve};
use crate::hnsw::meta::{EntryPoint, META_BLOCK};
use crate::hnsw::params::MAX_LEVEL;
use crate::storage::page::{INVALID_BLOCK, Tid};

/// A record of an upper layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Upper {
    pub id: u32,
    /// the node's record of layer 0
    pub ground: u32,
    pub above: u32,
    pub below: u32,
    pub layer: u8,
    pub version: u8,
    /// it cannot be read, and that has been told
    pub broken: bool,
    /// its element leads to it
    pub led_to: bool,
}

impl Upper {
    pub const fn broken(id: u32) -> Self {
        let (ground, above, below) = (NO_NODE, NO_NODE, NO_NODE);
        Upper { id, ground, above, below, layer: 0, version: 0, broken: true, led_to: false }
    }
}

/// An element of more than one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub ground: u32,
    pub above: u32,
    pub level: u8,
    pub version: u8,
}

/// A record that names the place of its rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// packed
    pub rest: u64,
    pub id: u32,
    pub layer: u8,
    /// whether it is a node
    pub live: bool,
}

/// The rest of a record.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// packed
    tid: u64,
    owned: bool,
}

/// Why there is no way up from an element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gap {
    /// told elsewhere
    Known,
    /// no record of this layer at this number
    Missing(u8, u32),
    /// the record with this number is none of this layer of the element, or does not lead back
    Foreign(u8, u32),
    /// a record above the highest layer
    Beyond(u32),
}

/// What an audit has met on the pages, elements aside. Memory: 20 bytes for each record of an upper layer and 12 for
/// each element that has some, 32 for each record that is cut, 16 for each segment of rows, and 5 for each block.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// where searches begin, and the record in its highest layer
    pub entry: (Option<EntryPoint>, u32),
    /// whether codes of edges may be those of copies of the values
    pub from_copies: bool,
    /// edges whose codes were compared with those of the values in that case, and those that are of others
    pub of_copies: (u64, u64),
    /// by block: what is there; none of those that are unused or damaged
    kinds: Vec<Option<PageKind>>,
    /// by block, where rests take more than one: the next
    next: Vec<u32>,
    /// in ascending order of their numbers
    uppers: Vec<Upper>,
    /// in ascending order of their elements
    pub links: Vec<Link>,
    claims: Vec<Claim>,
    /// rests in use, in ascending order
    rests: Vec<Rest>,
    /// segments in use, packed, in ascending order
    segments: Vec<u64>,
    /// segments that elements lead to
    claimed: Vec<u64>,
    chained: bool,
}

impl Met {
    pub fn begin<E>(&mut self, layout: &Layout, blocks: u32) -> Result<(), CheckError<E>> {
        let blocks = blocks as usize;
        self.chained = layout.ground.rest_pages > 1 || layout.upper.rest_pages > 1;
        reserve(&mut self.kinds, blocks)?;
        self.kinds.resize(blocks, None);
        if self.chained {
            reserve(&mut self.next, blocks)?;
            self.next.resize(blocks, INVALID_BLOCK);
        }
        Ok(())
    }

    pub fn note_page(&mut self, block: u32, kind: Option<PageKind>, next: u32) {
        if let Some(place) = self.kinds.get_mut(block as usize) {
            *place = kind;
        }
        if let Some(place) = self.next.get_mut(block as usize) {
            *place = next;
        }
    }

    /// What a block is.
    pub fn kind(&self, block: u32) -> Option<PageKind> {
        self.kinds.get(block as usize).copied().flatten()
    }

    /// Takes memory for the records of a page.
    pub fn expect<E>(&mut self, records: usize) -> Result<(), CheckError<E>> {
        reserve(&mut self.uppers, records)
    }

    pub fn add_upper(&mut self, upper: Upper) {
        self.uppers.push(upper);
    }

    pub fn add_link<E>(&mut self, link: Link) -> Result<(), CheckError<E>> {
        push(&mut self.links, link)
    }

    pub fn add_rest<E>(&mut self, rest: Tid) -> Result<(), CheckError<E>> {
        push(&mut self.rests, Rest { tid: rest.packed(), owned: false })
    }

    pub fn claim_rest<E>(&mut self, claim: Claim) -> Result<(), CheckError<E>> {
        push(&mut self.claims, claim)
    }

    pub fn add_segment<E>(&mut self, segment: Tid) -> Result<(), CheckError<E>> {
        push(&mut self.segments, segment.packed())
    }

    pub fn claim_segment<E>(&mut self, segment: Tid) -> Result<(), CheckError<E>> {
        push(&mut self.claimed, segment.packed())
    }

    /// The record of an upper layer with this number.
    pub fn upper(&self, id: u32) -> Option<&Upper> {
        let at = self.uppers.binary_search_by_key(&id, |upper| upper.id).ok()?;
        self.uppers.get(at)
    }

    /// Finds the numbers of an element's records from layer 1 up to its level.
    pub fn climb(&self, ground: u32, level: u8, out: &mut [u32; MAX_LEVEL as usize + 1]) -> Result<(), Gap> {
        let link = self.links.binary_search_by_key(&ground, |link| link.ground).ok();
        let link = link.and_then(|at| self.links.get(at));
        let (mut below, mut at) = (ground, link.map_or(NO_NODE, |link| link.above));
        for (layer, place) in (0u8..=level).zip(out).skip(1) {
            let upper = self.upper(at).ok_or(Gap::Missing(layer, at))?;
            if upper.broken {
                return Err(Gap::Known);
            }
            if (upper.ground, upper.below, upper.layer) != (ground, below, layer) {
                return Err(Gap::Foreign(layer, at));
            }
            *place = at;
            (below, at) = (at, upper.above);
        }
        if at == NO_NODE { Ok(()) } else { Err(Gap::Beyond(at)) }
    }

    /// Tells of parts that are missing, and of parts that no element owns, or more than one.
    pub fn parts(&mut self, layout: &Layout, audit: &mut Auditor<'_>) {
        // what a damaged element owns is not known
        let complete = audit.is_complete() && self.uppers.iter().all(|upper| !upper.broken);
        self.ways_up(layout, audit);
        self.top(layout, audit);
        for upper in self.uppers.iter().filter(|upper| complete && !upper.led_to) {
            let what = format!("record of layer {} that no element leads to", upper.layer);
            audit.tell(place_of(&layout.upper, upper.id), what);
        }
        self.owned_rests(layout, complete, audit);
        self.claimed.sort_unstable();
        for &segment in self.segments.iter().filter(|_| complete) {
            if self.claimed.binary_search(&segment).is_err() {
                audit.tell(Tid::from_packed(segment), "segment of rows of no element");
            }
        }
    }

    /// Every element's way up.
    fn ways_up(&mut self, layout: &Layout, audit: &mut Auditor<'_>) {
        let mut ids = [NO_NODE; MAX_LEVEL as usize + 1];
        for at in 0..self.links.len() {
            let Some(&Link { ground, level, version, .. }) = self.links.get(at) else { break };
            let tid = layout.tid(ground);
            let found = self.climb(ground, level, &mut ids);
            let top = match found {
                Ok(()) | Err(Gap::Beyond(_)) => level,
                Err(Gap::Known) => continue,
                Err(Gap::Missing(layer, _) | Gap::Foreign(layer, _)) => layer.saturating_sub(1),
            };
            for &id in ids.iter().take(usize::from(top) + 1).skip(1) {
                if let Ok(at) = self.uppers.binary_search_by_key(&id, |upper| upper.id)
                    && let Some(upper) = self.uppers.get_mut(at)
                {
                    upper.led_to = true;
                    if upper.version != version {
                        let (place, other) = (place_of(&layout.upper, id), upper.version);
                        audit.tell(
                            place,
                            format!("version is {other}, and {version} in the element at {tid}"),
                        );
                    }
                }
            }
            let upper = |id: u32| place_of(&layout.upper, id);
            match found {
                Ok(()) | Err(Gap::Known) => {}
                Err(Gap::Missing(_, id)) if id != NO_NODE && audit.is_damaged(upper(id).block()) => {}
                Err(Gap::Missing(layer, NO_NODE)) => {
                    audit.tell(tid, format!("level is {level}, and there is no record of layer {layer}"));
                }
                Err(Gap::Missing(layer, id)) => {
                    audit.tell(tid, format!("no record of layer {layer} at {}", upper(id)));
                }
                Err(Gap::Foreign(layer, id)) => {
                    let what = format!("record at {}, which is not that of layer {layer}", upper(id));
                    audit.tell(tid, what);
                }
                Err(Gap::Beyond(id)) => {
                    audit.tell(tid, format!("level is {level}, and a record at {} is above it", upper(id)));
                }
            }
        }
    }

    /// The entry point's record in its highest layer. (The entry point itself is looked at with the graph.)
    fn top(&self, layout: &Layout, audit: &mut Auditor<'_>) {
        let (entry, top) = self.entry;
        let place = Tid::new(META_BLOCK, 0);
        let Some(EntryPoint { tid, level }) = entry else {
            if top != NO_NODE {
                audit.tell(place, "a record of an entry point, and no entry point");
            }
            return;
        };
        let ground = layout.ground_id(tid);
        let upper = self.upper(top);
        let found = match level {
            0 => ground == Some(top),
            _ => upper
                .is_some_and(|upper| upper.broken || upper.layer == level && Some(upper.ground) == ground),
        };
        let known = level > 0 && audit.is_damaged(place_of(&layout.upper, top).block());
        if !found && !known {
            audit.tell(
                place,
                format!("record number {top}, which is not that of layer {level} of the entry point"),
            );
        }
    }

    /// Rests: each of one record. A record that is no node (yet) may lack pages of its rest: an insert that was
    /// interrupted while it added them leaves such.
    fn owned_rests(&mut self, layout: &Layout, complete: bool, audit: &mut Auditor<'_>) {
        for claim in &self.claims {
            let records = layout.records(claim.layer);
            let place = place_of(records, claim.id);
            let mut rest = Tid::from_packed(claim.rest);
            for _ in 0..records.rest_pages.max(1) {
                if !claim.live && rest.block() == INVALID_BLOCK {
                    break;
                }
                let is_kind = self.kind(rest.block()) == Some(rest_of(claim.layer));
                let found = self.rests.binary_search_by_key(&rest.packed(), |rest| rest.tid).ok();
                let Some(found) = found.filter(|_| is_kind).and_then(|at| self.rests.get_mut(at)) else {
                    if !audit.is_damaged(rest.block()) {
                        audit.tell(place, format!("no rest of a record at {rest}"));
                    }
                    break;
                };
                if found.owned {
                    audit.tell(place, format!("rest at {rest}, which is another record's, too"));
                    break;
                }
                found.owned = true;
                rest = Tid::new(
                    self.next.get(rest.block() as usize).copied().unwrap_or(INVALID_BLOCK),
                    offset(0),
                );
            }
        }
        for rest in self.rests.iter().filter(|rest| complete && !rest.owned) {
            audit.tell(Tid::from_packed(rest.tid), "rest of no record");
        }
    }
}

fn push<T, E>(vec: &mut Vec<T>, item: T) -> Result<(), CheckError<E>> {
    reserve(vec, 1)?;
    vec.push(item);
    Ok(())
}

//! The graph on inline pages: editing it.

use std::ops::Range;

use super::graph::InlineGraph;
use crate::hnsw::graph::{
    EdgeChange, GraphWrite, KnownValues, Member, NewElement, OnPage, Placed, Scratch, Target,
};
use crate::hnsw::meta::MetaPage;
use crate::hnsw::search::visited::TidSet;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, Tid};

impl<B: BlockStore, S: CodedSpace> GraphWrite for InlineGraph<'_, B, S> {
    fn place(&mut self, new: &NewElement<'_>, _: &mut Scratch, insert_page: u32) -> Result<Placed, B::Error> {
        // room is found by what was noted of it
        Ok(Placed { tid: self.place_element(new)?, insert_page })
    }

    fn add_row(&mut self, tid: Tid, value: &[u8], row: Tid) -> Result<bool, B::Error> {
        self.put_row(tid, value, row)
    }

    fn disown(&mut self, tid: Tid) -> Result<(), B::Error> {
        self.take_row(tid)
    }

    fn add_edges(
        &mut self,
        edges: &[EdgeChange],
        new: Target<'_>,
        anchor: Option<Tid>,
    ) -> Result<bool, B::Error> {
        self.link(edges, new, anchor)
    }

    fn set_anchor(&mut self, member: &Member, anchor: Tid, known: &dyn KnownValues) -> Result<(), B::Error> {
        self.change_anchor(member, anchor, known)
    }

    fn rewrite_lists(
        &mut self,
        member: &Member,
        added: &[(u8, u64)],
        known: &dyn KnownValues,
        room: &mut Vec<Tid>,
        mut merge: impl FnMut(u8, Range<usize>, &[Tid], &mut [Tid]),
    ) -> Result<(), B::Error> {
        self.rewrite(member, added, known, room, &mut merge)
    }

    fn remove_rows(
        &mut self,
        page: u32,
        dead: &[(u16, Tid)],
        mut each: impl FnMut(&OnPage<'_>) -> Result<(), Damage>,
    ) -> Result<u64, B::Error> {
        self.remove_first_rows(page, dead, &mut each)
    }

    fn remove_other_rows(&mut self, member: &Member, part: Tid, dead: &[Tid]) -> Result<u64, B::Error> {
        self.remove_from_segment(member, part, dead)
    }

    fn settle_rows(&mut self, member: &Member) -> Result<bool, B::Error> {
        self.settle(member)
    }

    fn complete(&mut self, tid: Tid) -> Result<(), B::Error> {
        match self.record_of(tid, 0)? {
            Some(id) => {
                self.room.edits.begin();
                self.write_entries(id, true)
            }
            None => Ok(()),
        }
    }

    fn mark_deleted(&mut self, page: u32, dying: &TidSet) -> Result<(), B::Error> {
        self.clear_dying(page, dying)
    }

    fn reserved(&mut self, page: u32, out: &mut Vec<Tid>) -> Result<(), B::Error> {
        self.find_reserved(page, out)
    }

    fn free_reserved(&mut self, at: Tid) -> Result<(), B::Error> {
        self.clear_reserved(at)
    }

    fn note_room(&mut self, page: u32) -> Result<(), B::Error> {
        self.note_free(page)
    }

    fn publish_room(&mut self) -> Result<(), B::Error> {
        self.blocks.publish_room()
    }

    fn update_meta(&mut self, mut update: impl FnMut(&mut MetaPage) -> bool) -> Result<(), B::Error> {
        self.change_meta(&mut update)
    }
}

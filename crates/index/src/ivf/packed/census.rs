//! Walking all pages for a check.

use zerocopy::FromBytes;

use vector_kernels::kernels;

use super::centre_codes::{OTHER_NUMBER, Plan};
use super::code::Factors;
use super::layout::{
    ANOTHER_LIST, CodePage, PAGE_ID, PageKind, RECORD_HEAD, START, code_of, front, heads, heads_per_page,
    next_of, page_kind, record_at,
};
use super::meta::MetaPage;
use super::read::{HEAD_BLOCK, NO_ROW, list_number, list_place, read_centre};
use super::runs_census::digest_of;
use super::stream::{NO_VALUE, read_record};
use super::{Index, Lists};
use crate::included::check::audit;
use crate::ivf::lists::{AuditLists, BAD_CENTRE, BAD_VALUE, Unpack};
use crate::ivf::tally::Tally;
use crate::quant::space::CodedSpace;
use crate::storage::blocks::BlockStore;
use crate::storage::page::{Damage, INVALID_BLOCK, Tid};
use crate::storage::verify::{self, Violation};
use crate::work::memory::{append, push, resize};

const META_BLOCK: u32 = 0;

/// An entry whose value is to be looked at.
#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: u16,
    row: Tid,
    place: Tid,
    /// of an index with runs, what stands for its keys and the place
    digest: u64,
}

impl<B: BlockStore> AuditLists for Lists<'_, B> {
    type Error = B::Error;

    fn begin(&mut self, tally: &mut Tally) -> Result<Option<u32>, B::Error> {
        tally.blocks = self.blocks.count()?;
        tally.seen.reset(tally.blocks).map_err(|_| Damage::OUT_OF_MEMORY.on(META_BLOCK))?;
        if tally.blocks == 0 {
            tally.violations.push(Violation::of_index("index has no meta page"));
            return Ok(None);
        }
        tally.seen.note(META_BLOCK);
        match self.blocks.read(META_BLOCK, |bytes| Ok(MetaPage::read(bytes)))? {
            Ok(meta) => Ok(Some(meta.lists)),
            Err(damage) => {
                tally.violation(META_BLOCK, damage.offset, damage.what);
                Ok(None)
            }
        }
    }

    fn lists<S: CodedSpace>(&mut self, space: S, tally: &mut Tally) -> Result<(), B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        let per_page = heads_per_page(geometry.page_size) as u32;
        for page in 0..index.lists.div_ceil(per_page) {
            let block = HEAD_BLOCK + page;
            if !note(block, tally) {
                continue;
            }
            self.blocks.read(block, |bytes| {
                if !sound(bytes, block, tally) {
                    return Ok(());
                }
                match heads(bytes) {
                    Ok(heads) => {
                        for (number, head) in (page * per_page..).zip(heads) {
                            tally.list(list_place(number, head.start, geometry.page_size), head.insert);
                        }
                    }
                    Err(damage) => tally.violation(block, damage.offset, damage.what),
                }
                Ok(())
            })?;
        }
        // and the middles of those that have codes
        let records = index.lists.saturating_add(Plan::of(&index).map_or(0, |plan| plan.groups()));
        let bytes = u64::from(records) * geometry.record as u64;
        let pages = bytes.div_ceil(geometry.space() as u64) as u32;
        let mut whole = true;
        for block in index.centres..index.centres.saturating_add(pages) {
            if note(block, tally) {
                whole &= self.blocks.read(block, |bytes| {
                    let good = sound(bytes, block, tally);
                    if let Err(damage) = front(bytes, PageKind::Centres) {
                        tally.violation(block, damage.offset, damage.what);
                        return Ok(false);
                    }
                    Ok(good)
                })?;
            } else {
                whole = false;
            }
        }
        whole &= self.centre_code_pages(tally)?;
        if !whole {
            return Ok(());
        }
        for number in 0..records {
            let room = &mut self.memory.whole;
            let good = read_centre(self.blocks, &index, number, room, |centre| space.view(centre).is_ok());
            if !good.unwrap_or(false) {
                tally.violation(index.centres, 0, format!("{BAD_CENTRE}: list {number}"));
            }
            self.blocks.pause()?;
        }
        self.centre_codes(tally)
    }

    fn entries<S: CodedSpace>(
        &mut self,
        at: usize,
        space: S,
        deep: bool,
        _: &mut dyn Unpack,
        tally: &mut Tally,
    ) -> Result<(), B::Error> {
        let Some(&(place, _)) = tally.lists.get(at) else { return Ok(()) };
        let index = self.index;
        let number = list_number(place, index.geometry.page_size);
        let mut next = place.start_page;
        if next == INVALID_BLOCK {
            tally.violation(place.block, place.offset, "list has no pages");
        }
        let mut entries = Vec::new();
        while next != INVALID_BLOCK {
            let block = next;
            if !note(block, tally) {
                return self.blocks.pause();
            }
            entries.clear();
            next = self
                .blocks
                .read(block, |bytes| Ok(code_page(bytes, block, &index, number, tally, &mut entries)))?;
            if deep {
                for entry in &entries {
                    self.value(space, block, entry, tally)?;
                }
            }
            self.blocks.pause()?;
        }
        let Some(head) = self.head(place)? else { return Ok(()) };
        if !index.geometry.own_values && (head.values != INVALID_BLOCK || head.value_insert != INVALID_BLOCK)
        {
            tally.violation(place.block, place.offset, "list has value pages in an index without values");
            return Ok(());
        }
        let mut next = head.values;
        while next != INVALID_BLOCK {
            let block = next;
            if !note(block, tally) {
                return self.blocks.pause();
            }
            next = self.blocks.read(block, |bytes| Ok(value_page(bytes, block, &index, number, tally)))?;
            self.blocks.pause()?;
        }
        Ok(())
    }

    fn fits<S: CodedSpace>(&mut self, space: S, entry: Tid, item: &[u8]) -> Result<Option<bool>, B::Error> {
        let index = self.index;
        let geometry = &index.geometry;
        if geometry.own_values {
            return Ok(None);
        }
        let (value, keys) = match item.split_at_checked(geometry.value_size) {
            Some((value, keys)) if keys.len() == geometry.filter_size => (value, keys),
            _ => return Ok(Some(false)),
        };
        let (n, slot) = (geometry.block_entries.max(1), usize::from(entry.offset().saturating_sub(1)));
        let stored = &mut self.memory.stored;
        let found = self.blocks.read(entry.block(), |bytes| {
            let page = CodePage::new(geometry, bytes)?;
            let Some(block) = page.blocks().nth(slot / n) else { return Ok(None) };
            let factors = block.add.get(slot % n).zip(block.scale.get(slot % n));
            resize(stored, geometry.code, 0)?;
            code_of(&block, slot % n, stored);
            let same_keys = block.keys_of(slot % n) == keys;
            Ok(factors.map(|(&add, &scale)| (page.front.list, Factors { add, scale }, same_keys)))
        })?;
        let Some((list, told, same_keys)) = found else { return Ok(None) };
        let made = self.code(space, list, value, &[])?;
        let memory = &*self.memory;
        Ok(Some(same_keys && same_code((&memory.stored, told), (&memory.code, made), &memory.rotated)))
    }

    /// Pages that no chain leads to: free ones, and such as a crash leaves.
    fn strays(&mut self, tally: &mut Tally) -> Result<(), B::Error> {
        let index = self.index;
        self.included(tally)?;
        self.audit_runs(tally)?;
        for block in 0..tally.blocks {
            if !tally.seen.note(block) {
                continue;
            }
            self.blocks.read(block, |bytes| {
                if verify::is_zero(bytes) || !sound(bytes, block, tally) {
                    return Ok(());
                }
                match page_kind(bytes) {
                    // a long value that was written, and then its row was not
                    Ok(Some(PageKind::Free | PageKind::Values)) => {}
                    Ok(Some(PageKind::Codes)) => {
                        if CodePage::new(&index.geometry, bytes).is_ok_and(|page| !page.is_empty()) {
                            tally.violation(block, 0, "page with entries is in no list");
                        }
                    }
                    Ok(Some(PageKind::Included | PageKind::IncludedDirectory)) => {
                        tally.violation(block, 0, "included values that scans do not come to");
                    }
                    Ok(Some(PageKind::Runs | PageKind::RunsDirectory | PageKind::RunsCentre)) => {
                        tally.violation(block, 0, "filter keys that scans do not come to");
                    }
                    Ok(_) => tally.violation(block, 0, "page of lists or centres that nothing leads to"),
                    Err(damage) => tally.violation(block, damage.offset, damage.what),
                }
                Ok(())
            })?;
            self.blocks.pause()?;
        }
        Ok(())
    }
}

impl<B: BlockStore> Lists<'_, B> {
    /// Looks at the tree of included values, if there is one: it has all of its pages, in order.
    fn included(&mut self, tally: &mut Tally) -> Result<(), B::Error> {
        let (root, count) = (self.index.included, tally.blocks);
        if root == 0 {
            return Ok(());
        }
        let violations = &mut tally.violations;
        let found =
            audit(self.blocks, PageKind::INCLUDED, root, count, &mut |violation| violations.push(violation))?;
        for block in (0..count).filter(|&block| found.known.get(block as usize) == Some(&true)) {
            if note(block, tally) {
                self.blocks.read(block, |bytes| {
                    sound(bytes, block, tally);
                    Ok(())
                })?;
            }
        }
        tally.included = Some(found);
        Ok(())
    }

    /// Looks at the pages of codes of centres; returns whether all are there.
    fn centre_code_pages(&mut self, tally: &mut Tally) -> Result<bool, B::Error> {
        let (index, mut whole) = (self.index, true);
        let first = index.centre_codes;
        let Some(plan) = Plan::of(&index) else { return Ok(true) };
        for (page, block) in (0..plan.pages()).zip(first..) {
            if !note(block, tally) {
                whole = false;
                continue;
            }
            whole &= self.blocks.read(block, |bytes| {
                let good = sound(bytes, block, tally);
                match CodePage::of_kind(&plan.geometry, bytes, PageKind::CentreCodes) {
                    Ok(codes) if codes.len() == plan.codes_of(page) => Ok(good),
                    Ok(_) => {
                        tally.violation(block, 0, OTHER_NUMBER.what);
                        Ok(false)
                    }
                    Err(damage) => {
                        tally.violation(block, damage.offset, damage.what);
                        Ok(false)
                    }
                }
            })?;
        }
        Ok(whole)
    }

    /// Makes `out` a centre; false when there is none, which was told before.
    fn copy_centre(&mut self, number: u32, out: &mut Vec<u8>) -> Result<bool, B::Error> {
        let index = self.index;
        out.clear();
        let whole = &mut self.memory.whole;
        match read_centre(self.blocks, &index, number, whole, |value| append(out, value)) {
            Ok(copied) => {
                Ok(copied.map(|()| true).map_err(|memory| Damage::from(memory).on(index.centres))?)
            }
            Err(_) => Ok(false),
        }
    }

    /// Compares the codes of centres with the centres: each has one. All pages were looked at before.
    fn centre_codes(&mut self, tally: &mut Tally) -> Result<(), B::Error> {
        let index = self.index;
        let first = index.centre_codes;
        let Some(plan) = Plan::of(&index) else { return Ok(()) };
        let n = plan.geometry.block_entries.max(1);
        let on = |damage: Damage| B::Error::from(damage.on(first));
        let (mut middle, mut centre, mut met) = (Vec::new(), Vec::new(), Vec::new());
        resize(&mut met, index.lists as usize, false).map_err(|memory| on(memory.into()))?;
        let entries = (0..plan.pages()).flat_map(|page| (0..plan.codes_of(page)).map(move |at| (page, at)));
        for (page, at) in entries {
            let block = first + page;
            let stored = &mut self.memory.stored;
            let told = self.blocks.read(block, |bytes| {
                let page = CodePage::of_kind(&plan.geometry, bytes, PageKind::CentreCodes)?;
                let Some(codes) = page.blocks().nth(at / n) else { return Ok(None) };
                resize(stored, plan.geometry.code, 0)?;
                code_of(&codes, at % n, stored);
                let factors = codes.add.get(at % n).zip(codes.scale.get(at % n));
                let factors = factors.map(|(&add, &scale)| Factors { add, scale });
                Ok(factors.zip(codes.rows.get(at % n).copied()))
            })?;
            let mut good = false;
            if let Some((told, row)) = told {
                let number = u32::from(row.offset()).wrapping_sub(1);
                let is_it =
                    tally.lists.get(number as usize).is_some_and(|(list, _)| list.start_page == row.block());
                let new = met.get_mut(number as usize).is_some_and(|met| !core::mem::replace(met, true));
                if is_it
                    && new
                    && self.copy_centre(index.lists + plan.group_of(page, at) as u32, &mut middle)?
                    && self.copy_centre(number, &mut centre)?
                {
                    let made = self.centre_code(&plan, &centre, &middle).map_err(on)?;
                    let memory = &*self.memory;
                    good = same_code((&memory.stored, told), (&memory.code, made), &memory.rotated);
                }
            }
            if !good {
                tally.violation(block, at as u16 + 1, "code of another centre");
            }
            self.blocks.pause()?;
        }
        Ok(())
    }

    /// Looks at the value of an entry, and notes its row.
    fn value<S: CodedSpace>(
        &mut self,
        space: S,
        block: u32,
        entry: &Entry,
        tally: &mut Tally,
    ) -> Result<(), B::Error> {
        let geometry = &self.index.geometry;
        tally.row(entry.row, Tid::new(block, entry.slot));
        if self.index.runs.count() > 0 {
            tally.listed(entry.row, entry.digest);
        }
        if !geometry.own_values {
            return Ok(());
        }
        let size = geometry.value_size;
        let look = |record: &[u8]| {
            let row = Tid::read_from_prefix(record).map(|(row, _)| row);
            let value = record.get(RECORD_HEAD..RECORD_HEAD + size);
            (row.is_ok_and(|row| row == entry.row), value.is_some_and(|value| space.view(value).is_ok()))
        };
        let place = record_at(entry.place).map(|at| (entry.place.block(), at));
        let found = match place.filter(|place| place.0 < tally.blocks) {
            Some(place) => {
                let whole = &mut self.memory.whole;
                read_record(self.blocks, geometry, PageKind::Values, place, whole, look)?
            }
            None => None,
        };
        match found {
            Some((true, true)) => {}
            Some((true, false)) => tally.violation(entry.place.block(), entry.place.offset(), BAD_VALUE),
            _ => tally.violation(block, entry.slot, NO_VALUE.what),
        }
        Ok(())
    }
}

/// Whether two codes are of the same row, the rotated `value`, but for rounding: each CPU sums in an order of its own,
/// which may turn a bit whose element is next to nothing, and all of them where the row is the centre.
fn same_code(a: (&[u8], Factors), b: (&[u8], Factors), value: &[f32]) -> bool {
    let norm = kernels().inner_product_f32(value, value).sqrt();
    let near =
        |a: f32, b: f32, unit: f32| a == b || (a - b).abs() <= ROUNDING * (a.abs() + b.abs()).max(unit);
    let same_factors = near(a.1.add, b.1.add, norm * norm) && near(a.1.scale, b.1.scale, norm);
    let turned: u32 = a.0.iter().zip(b.0).map(|(a, b)| (a ^ b).count_ones()).sum();
    // of several bits an element all may turn
    let planes = (a.0.len() * 8 / value.len().max(1)).max(1);
    same_factors
        && (turned as usize <= planes * (1 + value.len() / TURNED) || b.1.scale.abs() <= ROUNDING * norm)
}

/// What rounding may make of a factor, relatively.
const ROUNDING: f32 = 1e-3;
/// One element in so many may be next to nothing.
const TURNED: usize = 32;

/// Notes a block that something leads to; false, and told, when there is none or it was come by before.
pub(super) fn note(block: u32, tally: &mut Tally) -> bool {
    if block >= tally.blocks {
        tally.violation(block, 0, "page does not exist");
        return false;
    }
    let new = tally.seen.note(block);
    if !new {
        tally.violation(block, 0, "page is in two places");
    }
    new
}

/// Whether a page's header is one.
pub(super) fn sound(bytes: &[u8], block: u32, tally: &mut Tally) -> bool {
    let mut good = true;
    verify::page(bytes, PAGE_ID, false, |damage| {
        good = false;
        tally.violation(block, damage.offset, damage.what);
    });
    good
}

/// Checks a code page; returns the next.
fn code_page(
    bytes: &[u8],
    block: u32,
    index: &Index,
    list: u32,
    tally: &mut Tally,
    entries: &mut Vec<Entry>,
) -> u32 {
    if !sound(bytes, block, tally) {
        return INVALID_BLOCK;
    }
    let page = match CodePage::new(&index.geometry, bytes) {
        Ok(page) if page.front.list == list => page,
        Ok(_) => {
            tally.violation(block, 0, ANOTHER_LIST.what);
            return INVALID_BLOCK;
        }
        Err(damage) => {
            tally.violation(block, damage.offset, damage.what);
            return INVALID_BLOCK;
        }
    };
    if page.front.norm.is_nan() || page.front.norm < 0.0 {
        tally.violation(block, 0, "norm of the centre is no length");
    }
    let dead = page.len() - page.live();
    if usize::from(page.front.dead) != dead.min(255) {
        tally.violation(block, 0, format!("page tells {} dead entries, {dead} are there", page.front.dead));
    }
    for (number, codes) in page.blocks().enumerate() {
        for at in (0..codes.len).filter(|at| codes.live >> at & 1 == 1) {
            let slot = (number * index.geometry.block_entries + at) as u16 + 1;
            tally.entries += 1;
            let (Some(&row), Some(&place), Some(add), Some(scale)) =
                (codes.rows.get(at), codes.places.get(at), codes.add.get(at), codes.scale.get(at))
            else {
                continue;
            };
            if !row.is_valid() {
                tally.violation(block, slot, NO_ROW);
                continue;
            }
            if add.is_nan() || !scale.is_finite() {
                tally.violation(block, slot, "factors are no numbers");
            }
            let has_runs = index.runs.count() > 0;
            let digest = if has_runs { digest_of(place, codes.keys_of(at)) } else { 0 };
            if push(entries, Entry { slot, row, place, digest }).is_err() {
                tally.no_memory();
            }
        }
    }
    page.next()
}

/// Checks a value page; returns the next.
fn value_page(bytes: &[u8], block: u32, index: &Index, list: u32, tally: &mut Tally) -> u32 {
    if !sound(bytes, block, tally) {
        return INVALID_BLOCK;
    }
    let front = match front(bytes, PageKind::Values) {
        Ok(front) if front.list == list => front,
        Ok(_) => {
            tally.violation(block, 0, ANOTHER_LIST.what);
            return INVALID_BLOCK;
        }
        Err(damage) => {
            tally.violation(block, damage.offset, damage.what);
            return INVALID_BLOCK;
        }
    };
    let (mut at, mut dead) = (usize::from(front.begun), 0);
    while at < usize::from(front.used) {
        let head = bytes.get(START + at..START + at + RECORD_HEAD).unwrap_or_default();
        let row = Tid::read_from_prefix(head).map(|(row, _)| row);
        let claimed = head.get(size_of::<Tid>()).is_some_and(|&byte| byte != 0);
        dead += u16::from(row.is_ok_and(|row| !row.is_valid()) && !claimed);
        at += index.geometry.record;
    }
    if dead != front.count {
        tally.violation(block, 0, format!("page tells {} dead values, {dead} are there", front.count));
    }
    next_of(bytes)
}

//! What a change makes of a page, as generic WAL tells it (src/backend/access/transam/generic_xlog.c): fragments of an
//! offset, a length and bytes, two bytes for each of the first two. Bytes between `pd_lower` and `pd_upper` are no part
//! of it: replay makes them zero.
//!
//! The server's own comparison takes a byte at a time, which for a page is several times of what most changes cost
//! otherwise. This one takes as many as `memcmp` takes.

use core::ops::Range;

use super::page::{Damage, HEADER, hole, hole_of};
use crate::work::memory::append;

/// Bytes before those of a fragment. Equal bytes between two fragments are cheaper than another one when they are no
/// more.
const FRAGMENT: usize = 4;
/// Bytes that are compared at once, and those of such that differ.
const LARGE: usize = 512;
const SMALL: usize = 32;

/// Bytes of a delta of a page of `page_size` bytes, at most.
pub const fn most(page_size: usize) -> usize {
    page_size + 2 * FRAGMENT
}

/// Appends to `out` what makes the page `old` the page `new`, which has as many bytes.
///
/// # Errors
/// A header of `new` that no page has, or no memory.
pub fn append_delta(old: &[u8], new: &[u8], out: &mut Vec<u8>) -> Result<(), Damage> {
    let free = hole(new).ok_or(Damage::at(0, "invalid page"))?;
    // of a page that was never initialised everything counts: it is zero
    let was_free = hole(old).unwrap_or_default();
    let mut fragments = Fragments { new, open: 0..0, out };
    fragments.compare(old, 0..free.start.min(was_free.start))?;
    fragments.include(was_free.start..free.start)?;
    fragments.end()?;
    fragments.include(free.end..was_free.end)?;
    fragments.compare(old, free.end.max(was_free.end)..new.len())?;
    fragments.end()
}

/// Appends to `out` that a page has `bytes` from `at` on.
///
/// # Errors
/// No memory.
pub fn append_fragment(at: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Damage> {
    for number in [at, bytes.len()] {
        append(out, &(number as u16).to_ne_bytes())?;
    }
    Ok(append(out, bytes)?)
}

/// The ranges of bytes in which `new` differs from `old`, as far as both go: what one fragment each tells.
pub fn differences<'b>(old: &'b [u8], new: &'b [u8]) -> impl Iterator<Item = Range<usize>> + 'b {
    let mut at = 0;
    core::iter::from_fn(move || {
        let mut words = differing::<8>(old.get(at..)?, new.get(at..)?);
        let (word, (was, is)) = words.next()?;
        let within = was.iter().zip(is).position(|(was, is)| was != is)?;
        let start = at + word + within;
        let mut end = start + 1;
        let rest = old.iter().zip(new).enumerate().skip(end);
        for (place, (was, is)) in rest {
            if was != is {
                end = place + 1;
            } else if place >= end + FRAGMENT {
                break;
            }
        }
        at = end;
        Some(start..end)
    })
}

/// Whether a page is one still when a delta is applied. A replay counts on it.
pub fn fits(page: &[u8], mut delta: &[u8]) -> bool {
    let Some(&head) = page.first_chunk::<HEADER>() else { return false };
    let mut head = head;
    while let Some((sizes, rest)) = delta.split_first_chunk::<FRAGMENT>() {
        let [a, b, c, d] = *sizes;
        let (at, len) = (usize::from(u16::from_ne_bytes([a, b])), usize::from(u16::from_ne_bytes([c, d])));
        let Some((bytes, rest)) = rest.split_at_checked(len).filter(|_| at + len <= page.len()) else {
            return false;
        };
        for (place, &byte) in head.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
        delta = rest;
    }
    hole_of(&head).is_some_and(|hole| hole.end <= page.len())
}

/// Of a page or a delta that is none.
const BAD: Damage = Damage::at(0, "invalid page");

/// Changes a page as replay does.
///
/// # Errors
/// A delta that was not made for such a page.
pub fn apply(page: &mut [u8], delta: &[u8]) -> Result<(), Damage> {
    put_fragments(page, delta)?;
    let free = hole(page).ok_or(BAD)?;
    page.get_mut(free).ok_or(BAD)?.fill(0);
    Ok(())
}

/// The same of a page that has zeros where it has nothing: only what becomes free is made zero.
///
/// # Errors
/// As for [`apply`].
pub fn apply_to_clean(page: &mut [u8], delta: &[u8]) -> Result<(), Damage> {
    let was_free = hole(page).unwrap_or_default();
    put_fragments(page, delta)?;
    let free = hole(page).ok_or(BAD)?;
    if free.start < was_free.start || free.end > was_free.end {
        page.get_mut(free).ok_or(BAD)?.fill(0);
    }
    Ok(())
}

fn put_fragments(page: &mut [u8], mut delta: &[u8]) -> Result<(), Damage> {
    while let Some((head, rest)) = delta.split_first_chunk::<FRAGMENT>() {
        let [a, b, c, d] = *head;
        let (at, len) = (usize::from(u16::from_ne_bytes([a, b])), usize::from(u16::from_ne_bytes([c, d])));
        let (bytes, rest) = rest.split_at_checked(len).ok_or(BAD)?;
        page.get_mut(at..at + len).ok_or(BAD)?.copy_from_slice(bytes);
        delta = rest;
    }
    Ok(())
}

struct Fragments<'a> {
    new: &'a [u8],
    /// the last fragment, which may grow; none where it is empty
    open: Range<usize>,
    out: &'a mut Vec<u8>,
}

impl Fragments<'_> {
    /// Includes what differs in `range`.
    fn compare(&mut self, old: &[u8], range: Range<usize>) -> Result<(), Damage> {
        let part = |bytes| <[u8]>::get(bytes, range.clone()).unwrap_or_default();
        let (old, new) = (part(old), part(self.new));
        for (at, (old, new)) in differing::<LARGE>(old, new) {
            for (within, (old, new)) in differing::<SMALL>(old, new) {
                let start = range.start + at + within;
                for (at, _) in old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new) {
                    self.include(start + at..start + at + 1)?;
                }
            }
        }
        Ok(())
    }

    /// Includes a range behind the last one.
    fn include(&mut self, range: Range<usize>) -> Result<(), Damage> {
        if range.is_empty() {
            return Ok(());
        }
        if self.open.is_empty() || range.start > self.open.end + FRAGMENT {
            self.end()?;
            self.open = range;
        } else {
            self.open.end = range.end;
        }
        Ok(())
    }

    /// Writes the last fragment.
    fn end(&mut self) -> Result<(), Damage> {
        let range = core::mem::take(&mut self.open);
        let Some(bytes) = self.new.get(range.clone()).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        append_fragment(range.start, bytes, self.out)
    }
}

/// The chunks that differ, and where they begin.
#[inline]
fn differing<'b, const CHUNK: usize>(
    old: &'b [u8],
    new: &'b [u8],
) -> impl Iterator<Item = (usize, (&'b [u8], &'b [u8]))> {
    let chunks = old.chunks(CHUNK).zip(new.chunks(CHUNK)).enumerate();
    chunks.filter(|(_, (old, new))| old != new).map(|(at, chunk)| (at * CHUNK, chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::page::{FIRST_OFFSET, PageMut};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    const SIZE: usize = 8192;

    fn page(rng: &mut SmallRng, lower: u16, upper: u16) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        PageMut::init(&mut bytes, 1);
        rng.fill(&mut bytes[24..usize::from(lower)]);
        rng.fill(&mut bytes[usize::from(upper)..SIZE - 8]);
        bytes[12..14].copy_from_slice(&lower.to_ne_bytes());
        bytes[14..16].copy_from_slice(&upper.to_ne_bytes());
        bytes
    }

    fn delta_of(old: &[u8], new: &[u8]) -> Vec<u8> {
        let mut delta = Vec::new();
        append_delta(old, new, &mut delta).unwrap();
        assert!(delta.len() <= most(SIZE), "{}", delta.len());
        delta
    }

    /// How often the delta says where bytes go.
    fn fragments(mut delta: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        while !delta.is_empty() {
            let number = |at: usize| usize::from(u16::from_ne_bytes([delta[at], delta[at + 1]]));
            found.push((number(0), number(2)));
            delta = &delta[4 + number(2)..];
        }
        found
    }

    #[test]
    fn replay_makes_the_page_whatever_was_in_the_hole() {
        let mut rng = SmallRng::seed_from_u64(3);
        for round in 0..2000 {
            let mut bound = || {
                let lower = rng.random_range(24..=8184u16);
                (lower, rng.random_range(lower..=8184))
            };
            let (first, second) = (bound(), if round % 3 == 0 { None } else { Some(bound()) });
            let old = page(&mut rng, first.0, first.1);
            let mut new = match second {
                Some((lower, upper)) => page(&mut rng, lower, upper),
                None => old.clone(),
            };
            for _ in 0..rng.random_range(0..60) {
                let at = rng.random_range(24..SIZE);
                new[at] = rng.random();
            }
            let (mut replayed, delta) = (old.clone(), delta_of(&old, &new));
            // another machine may have had other bytes where nothing is
            let free = hole(&old).unwrap();
            rng.fill(&mut replayed[free]);
            apply(&mut replayed, &delta).unwrap();
            let mut clean = old.clone();
            apply_to_clean(&mut clean, &delta).unwrap();
            let free = hole(&new).unwrap();
            new[free].fill(0);
            assert!(replayed == new && clean == new, "round {round}");
        }
    }

    #[test]
    fn only_what_changed_is_told_and_neighbours_share_a_fragment() {
        let mut rng = SmallRng::seed_from_u64(4);
        let old = page(&mut rng, 4000, 5000);
        assert!(delta_of(&old, &old).is_empty());
        let mut new = old.clone();
        for at in [100, 105, 111, 3999, 5000, 8191] {
            new[at] ^= 1;
        }
        let told = [(100, 6), (111, 1), (3999, 1), (5000, 1), (8191, 1)];
        assert_eq!(fragments(&delta_of(&old, &new)), told);
        // what was free is told whatever it had
        let mut grown = page(&mut rng, 4000, 5000);
        grown.copy_from_slice(&old);
        grown[12..14].copy_from_slice(&4100u16.to_ne_bytes());
        assert_eq!(fragments(&delta_of(&old, &grown)), [(12, 2), (4000, 100)]);
    }

    #[test]
    fn differences_are_what_a_delta_tells() {
        let mut rng = SmallRng::seed_from_u64(6);
        for _ in 0..500 {
            let old: Vec<u8> = (0..rng.random_range(0..200)).map(|_| rng.random()).collect();
            let mut new = old.clone();
            for _ in 0..rng.random_range(0..9) {
                if let Some(byte) = new.iter_mut().rev().nth(rng.random_range(0..200)) {
                    *byte = rng.random();
                }
            }
            let mut fragments = Fragments { new: &new, open: 0..0, out: &mut Vec::new() };
            fragments.compare(&old, 0..old.len()).unwrap();
            fragments.end().unwrap();
            let mut told = Vec::new();
            for range in differences(&old, &new) {
                append_fragment(range.start, &new[range], &mut told).unwrap();
            }
            assert_eq!(&told, fragments.out);
        }
    }

    #[test]
    fn a_page_from_nothing_and_an_item() {
        let mut new = vec![0; SIZE];
        PageMut::init(&mut new, 7);
        assert_eq!(PageMut::new(&mut new, 7).unwrap().append(&[9; 40]), Some(FIRST_OFFSET));
        let mut replayed = vec![0; SIZE];
        let delta = delta_of(&replayed, &new);
        assert!(delta.len() < 120, "{}", delta.len());
        apply(&mut replayed, &delta).unwrap();
        assert!(replayed == new);
    }

    #[test]
    fn headers_and_deltas_that_no_page_has_are_errors() {
        let mut rng = SmallRng::seed_from_u64(5);
        let old = page(&mut rng, 30, 40);
        let mut new = old.clone();
        new[12..14].copy_from_slice(&41u16.to_ne_bytes());
        assert!(append_delta(&old, &new, &mut Vec::new()).is_err());
        for bad in [&[0u8, 0, 9, 0][..], &[0xff, 0x1f, 2, 0, 1, 1]] {
            assert!(apply(&mut old.clone(), bad).is_err());
        }
    }
}

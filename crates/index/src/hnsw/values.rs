//! Values copied out of their records, for the distances among candidates.

use super::search::Scored;
use crate::space::Space;
use crate::storage::page::Damage;

/// Values copied from their pages, by node.
#[derive(Debug, Default)]
pub struct Values {
    words: Vec<u64>,
    /// start in `words` and length in bytes, by node; length 0 when not loaded
    places: Vec<(usize, usize)>,
}

impl Values {
    /// Empties it.
    pub fn clear(&mut self) {
        self.words.clear();
        self.places.clear();
    }

    /// Bytes of memory that it holds.
    pub fn allocated(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.places.capacity() * size_of::<(usize, usize)>()
    }

    /// Whether the value of a node is loaded.
    pub fn has(&self, node: u32) -> bool {
        self.places.get(node as usize).is_some_and(|place| place.1 > 0)
    }

    /// The value of a node, empty when it is not loaded.
    pub fn get(&self, node: u32) -> &[u8] {
        let Some(&(start, len)) = self.places.get(node as usize) else { return &[] };
        let words = self.words.get(start..).unwrap_or_default();
        zerocopy::IntoBytes::as_bytes(words).get(..len).unwrap_or_default()
    }

    /// Copies the value of a node.
    ///
    /// # Errors
    /// [`Damage::OUT_OF_MEMORY`].
    pub fn set(&mut self, node: u32, value: &[u8]) -> Result<(), Damage> {
        let at = node as usize;
        let words = self.words.try_reserve(value.len().div_ceil(8));
        words
            .and_then(|()| self.places.try_reserve((at + 1).saturating_sub(self.places.len())))
            .map_err(|_| Damage::OUT_OF_MEMORY)?;
        if self.places.len() <= at {
            self.places.resize(at + 1, (0, 0));
        }
        let start = self.words.len();
        self.words.resize(start + value.len().div_ceil(8), 0);
        let bytes: &mut [u8] = zerocopy::IntoBytes::as_mut_bytes(&mut self.words[start..]);
        bytes[..value.len()].copy_from_slice(value);
        self.places[at] = (start, value.len());
        Ok(())
    }
}

/// The distance between two loaded nodes.
pub(super) fn pair_distance<S: Space>(space: S, values: &Values, a: u32, b: u32) -> f32 {
    match (space.view(values.get(a)), space.view(values.get(b))) {
        (Ok(a), Ok(b)) => space.distance(a, b),
        // values were checked when they were scored
        _ => f32::INFINITY,
    }
}

/// The loaded values of candidates, by position.
pub(super) fn views<'v, S: Space>(
    space: S,
    values: &'v Values,
    candidates: &[Scored],
) -> Vec<Option<S::View<'v>>> {
    candidates.iter().map(|scored| space.view(values.get(scored.node)).ok()).collect()
}

/// The distance between two of them.
#[inline(always)]
pub(super) fn view_distance<S: Space>(space: S, views: &[Option<S::View<'_>>], a: usize, b: usize) -> f32 {
    match (views.get(a), views.get(b)) {
        (Some(&Some(a)), Some(&Some(b))) => space.distance(a, b),
        // values were checked when they were scored
        _ => f32::INFINITY,
    }
}

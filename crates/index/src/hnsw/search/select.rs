//! The choice of neighbours (paper, algorithm 4), and of the one to drop.

use super::Scored;

/// Orders candidates that are equally far from `owner`: each owner prefers others of them. (Were it the order in which
/// they were met, every list would drop the same one.)
#[inline]
pub fn tie_order(owner: u64, candidate: u64) -> u64 {
    let product = (owner.rotate_left(29) ^ candidate).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (product ^ product >> 31).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The places of a list of `slots` that may go to elements of the very value of its owner: lists keep room for others,
/// so that a cluster of equal rows has ways out.
#[inline]
pub const fn equal_share(slots: usize) -> usize {
    if slots < 2 { 1 } else { slots / 2 }
}

/// Chooses up to `slots` of the candidates, nearest first, that are closer to the new element than to any chosen one
/// (paper, algorithm 4), and fills what is left with the nearest of the others. `candidates` come nearest first;
/// `distance` is that between two of them, by position.
pub fn select_neighbours(
    candidates: &[Scored],
    slots: usize,
    chosen: &mut Vec<usize>,
    rest: &mut Vec<usize>,
    distance: impl FnMut(usize, usize) -> f32,
) {
    select_sharing(candidates, slots, slots, chosen, rest, |_| false, distance);
}

/// As [`select_neighbours`], with at most `share` of those that are `equal` to the new element.
pub fn select_sharing(
    candidates: &[Scored],
    slots: usize,
    share: usize,
    chosen: &mut Vec<usize>,
    rest: &mut Vec<usize>,
    equal: impl Fn(usize) -> bool,
    mut distance: impl FnMut(usize, usize) -> f32,
) {
    chosen.clear();
    rest.clear();
    let mut left = share;
    // whether a candidate is beyond the share of the equal ones
    let mut spare = |at: usize| {
        let counted = equal(at);
        let spare = counted && left == 0;
        left -= usize::from(counted && !spare);
        spare
    };
    if candidates.len() <= slots {
        chosen.extend((0..candidates.len()).filter(|&at| !spare(at)));
        return;
    }
    for (at, candidate) in candidates.iter().enumerate() {
        if chosen.len() >= slots {
            break;
        }
        if spare(at) {
            continue;
        }
        if chosen.iter().all(|&other| distance(at, other) > candidate.distance) {
            chosen.push(at);
        } else {
            rest.push(at);
        }
    }
    let missing = slots - chosen.len();
    chosen.extend(rest.iter().take(missing));
}

/// Of candidates that are one too many, the position of the one to drop: the farthest that algorithm 4 would
/// not choose, or else the farthest. Candidates come nearest first; `memo` is room.
///
/// The answer is nearly always among the last few, so the choice is made backwards: whether one is chosen asks only for
/// those that are nearer to it than the element is, and for each of these the same. That takes a tenth of the distances
/// that choosing forwards takes, for the same answer.
pub fn select_dropped(
    candidates: &[Scored],
    memo: &mut Vec<Option<bool>>,
    distance: impl FnMut(usize, usize) -> f32,
) -> Option<usize> {
    memo.clear();
    memo.resize(candidates.len(), None);
    next_dropped(candidates, memo, |_| true, distance)
}

/// As [`select_dropped`], of those that may be dropped: the farthest of them that algorithm 4 would not choose, or else
/// the farthest. What `memo` holds of the same candidates is kept from call to call.
pub fn next_dropped(
    candidates: &[Scored],
    memo: &mut [Option<bool>],
    may: impl Fn(usize) -> bool,
    mut distance: impl FnMut(usize, usize) -> f32,
) -> Option<usize> {
    let worst = |at: &usize| may(*at) && !is_chosen(candidates, memo, *at, &mut distance);
    let pruned = (1..candidates.len()).rev().find(worst);
    pruned.or_else(|| (0..candidates.len()).rev().find(|&at| may(at)))
}

/// Whether algorithm 4 chooses a candidate: no chosen one before it is nearer to it than the element is.
fn is_chosen(
    candidates: &[Scored],
    memo: &mut [Option<bool>],
    at: usize,
    distance: &mut impl FnMut(usize, usize) -> f32,
) -> bool {
    if let Some(&Some(known)) = memo.get(at) {
        return known;
    }
    let own = candidates.get(at).map_or(f32::INFINITY, |candidate| candidate.distance);
    // positions only go down: as deep as there are candidates, at most
    let chosen =
        !(0..at).any(|better| distance(at, better) <= own && is_chosen(candidates, memo, better, distance));
    if let Some(place) = memo.get_mut(at) {
        *place = Some(chosen);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_different_directions_are_preferred() {
        // on a line around 0: 1, 2, 3 to the right, -4 to the left
        let places = [1.0f32, 2.0, 3.0, -4.0];
        let candidates: Vec<_> =
            places.iter().enumerate().map(|(n, p)| Scored { distance: p.abs(), node: n as u32 }).collect();
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        let distance = |a: usize, b: usize| (places[a] - places[b]).abs();
        select_neighbours(&candidates, 3, &mut chosen, &mut rest, distance);
        assert_eq!(chosen, [0, 3, 1]);
        assert_eq!(select_dropped(&candidates, &mut Vec::new(), distance), Some(2));
    }

    #[test]
    fn dropping_backwards_is_choosing_forwards() {
        let mut x = 7u64;
        let mut next = || {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 40) as f32 / (1u64 << 24) as f32
        };
        for count in [1, 2, 3, 9, 33] {
            for _ in 0..200 {
                let mut places: Vec<[f32; 3]> = (0..count).map(|_| [next(), next(), next()]).collect();
                let norm =
                    |a: &[f32; 3], b: &[f32; 3]| -> f32 { (0..3).map(|i| (a[i] - b[i]).powi(2)).sum() };
                let origin = [0.5; 3];
                places.sort_by(|a, b| norm(a, &origin).total_cmp(&norm(b, &origin)));
                let scored =
                    |(n, p): (usize, &[f32; 3])| Scored { distance: norm(p, &origin), node: n as u32 };
                let candidates: Vec<_> = places.iter().enumerate().map(scored).collect();
                let (mut chosen, mut dropped) = (Vec::new(), count - 1);
                for at in 0..count {
                    if chosen.iter().all(|&c: &usize| norm(&places[at], &places[c]) > candidates[at].distance)
                    {
                        chosen.push(at);
                    } else {
                        dropped = at;
                    }
                }
                let mut memo = Vec::new();
                let distance = |a: usize, b: usize| norm(&places[a], &places[b]);
                assert_eq!(select_dropped(&candidates, &mut memo, distance), Some(dropped));
            }
        }
    }
}

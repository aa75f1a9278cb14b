//! A random rotation that costs n log n: Hadamard transforms with random signs between them (Ailon and Chazelle, "The
//! fast Johnson-Lindenstrauss transform", 2009). Elements of a rotated vector are nearly normally distributed, whatever
//! the vector was, and distances and inner products stay what they were.

use vector_kernels::Kernels;

/// Rotated vectors have a multiple of so many elements.
pub const PADDING: usize = 16;
/// Rounds of signs and transforms. Two mix well when the dimension is a power of two; the others need more.
const ROUNDS: usize = 4;

/// Sequence of the SplitMix64 generator (Steele, Lea and Flood, OOPSLA 2014). The signs of an index come from
/// the seed in its meta page, so this must never change, as a library's generator might.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// A rotation of vectors of some dimension.
#[derive(Debug)]
pub struct Rotation {
    dims: usize,
    /// for each round, and each element: 0 or the sign bit of a float
    signs: Vec<u32>,
}

/// There was no memory for the signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl Rotation {
    /// The rotation of vectors of `dims` elements that `seed` stands for, on every machine and for ever.
    ///
    /// # Errors
    /// Too little memory for 16 bytes an element.
    pub fn new(dims: usize, seed: u64) -> Result<Self, OutOfMemory> {
        let padded = Self::padded_to(dims);
        let mut signs = Vec::new();
        signs.try_reserve_exact(ROUNDS * padded).map_err(|_| OutOfMemory)?;
        let mut random = SplitMix(seed);
        while signs.len() < ROUNDS * padded {
            let word = random.next();
            signs.extend(
                (0..64).map(|bit| ((word >> bit & 1) as u32) << 31).take(ROUNDS * padded - signs.len()),
            );
        }
        Ok(Rotation { dims, signs })
    }

    /// Elements of a rotated vector of `dims` elements.
    pub const fn padded_to(dims: usize) -> usize {
        dims.next_multiple_of(PADDING)
    }

    /// Elements of the vectors that it rotates.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Elements of rotated vectors.
    pub fn padded(&self) -> usize {
        Self::padded_to(self.dims)
    }

    /// Rotates `value`, of [`Self::dims`] elements, into `out`, of [`Self::padded`]: elements that `value` lacks count
    /// as zero, and those beyond are not looked at, in `out` neither. An `out` without the room stays as it is.
    ///
    /// A dimension that is no power of two is transformed in two overlapping windows, by turns, and its halves
    /// are mixed after both ([`Kernels::rotate_f32`]). Every step is orthogonal.
    pub fn apply(&self, kernels: &Kernels, value: &[f32], out: &mut [f32]) {
        let Some(out) = out.get_mut(..self.padded()) else { return };
        let given = value.len().min(self.dims);
        out[..given].copy_from_slice(&value[..given]);
        out[given..].fill(0.0);
        kernels.rotate_f32(out, &self.signs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use vector_kernels::available;

    const DIMS: [usize; 14] = [1, 2, 3, 15, 16, 17, 64, 100, 128, 300, 384, 768, 1536, 2000];

    fn rotated(rotation: &Rotation, kernels: &Kernels, value: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; rotation.padded()];
        rotation.apply(kernels, value, &mut out);
        out
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn lengths_and_angles_stay() {
        let mut rng = SmallRng::seed_from_u64(1);
        for kernels in available() {
            for dims in DIMS {
                let rotation = Rotation::new(dims, 7).unwrap();
                let mut value = || (0..dims).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<_>>();
                let (a, b) = (value(), value());
                let (x, y) = (rotated(&rotation, kernels, &a), rotated(&rotation, kernels, &b));
                let near = |p: f64, q: f64| (p - q).abs() < 1e-5 * (dims as f64).max(1.0);
                assert!(near(dot(&a, &b), dot(&x, &y)) && near(dot(&a, &a), dot(&x, &x)), "{dims}");
            }
        }
    }

    /// What is on disk depends on it, whatever processor has made it.
    #[test]
    fn every_tier_rotates_alike() {
        let mut rng = SmallRng::seed_from_u64(5);
        for dims in DIMS {
            let rotation = Rotation::new(dims, 11).unwrap();
            let value: Vec<f32> = (0..dims).map(|_| rng.random_range(-1.0..1.0f32)).collect();
            let all: Vec<_> = available().map(|kernels| rotated(&rotation, kernels, &value)).collect();
            assert!(all.iter().all(|other| *other == all[0]), "{dims}");
        }
    }

    /// What is on disk depends on it.
    #[test]
    fn a_seed_means_the_same_for_ever() {
        let rotation = Rotation::new(5, 42).unwrap();
        let signs: u64 = rotation.signs.iter().enumerate().map(|(i, s)| u64::from(s >> 31) << i).sum();
        let mut random = SplitMix(42);
        assert_eq!(signs, random.next());
        assert_eq!(SplitMix(42).next(), 0xBDD7_3226_2FEB_6E95);
        assert_ne!(Rotation::new(5, 43).unwrap().signs, rotation.signs);
    }

    /// Vectors with all they have in one element, or in a few neighbouring ones, are spread evenly: on the average over
    /// seeds each element has its share, and elements look normal (their fourth moment is 3, with the variance 1).
    #[test]
    fn whatever_a_vector_has_is_spread_evenly() {
        let kernels = vector_kernels::kernels();
        for dims in [100, 384, 784, 960] {
            let padded = Rotation::padded_to(dims);
            for (from, to) in [(0, 1), (dims - 1, dims), (dims / 2, dims / 2 + 1), (3, 7)] {
                let mut value = vec![0.0; dims];
                value[from..to].fill(((to - from) as f32).sqrt().recip());
                let (mut second, mut fourth) = (vec![0.0; padded], 0.0);
                const SEEDS: u64 = 300;
                for seed in 0..SEEDS {
                    let out = rotated(&Rotation::new(dims, seed).unwrap(), kernels, &value);
                    for (sum, x) in second.iter_mut().zip(&out) {
                        let square = f64::from(*x).powi(2) * padded as f64;
                        *sum += square / SEEDS as f64;
                        fourth += square * square / (SEEDS as f64 * padded as f64);
                    }
                }
                let (least, most) = second.iter().fold((f64::MAX, 0.0f64), |(l, m), &x| (l.min(x), m.max(x)));
                assert!(least > 0.45 && most < 1.6, "{dims} {from}: {least} to {most}");
                assert!((2.2..4.0).contains(&fourth), "{dims} {from}: {fourth}");
            }
        }
    }

    #[test]
    fn slices_of_other_lengths_are_no_danger() {
        let (kernels, rotation) = (vector_kernels::kernels(), Rotation::new(20, 1).unwrap());
        for (given, room) in [(0, 32), (3, 32), (50, 40), (20, 7), (20, 0)] {
            rotation.apply(kernels, &vec![1.0; given], &mut vec![0.0; room]);
        }
        rotation_of_nothing();
    }

    fn rotation_of_nothing() {
        Rotation::new(0, 1).unwrap().apply(vector_kernels::kernels(), &[], &mut []);
    }
}

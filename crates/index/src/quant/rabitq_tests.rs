use super::super::rotation::Rotation;
use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use vector_kernels::{available, kernels};

/// Standard deviation of the relative error times the root of the dimension, for normal elements.
const THEORY: [(Bits, f64); 3] = [(Bits::ONE, 0.7555), (Bits::TWO, 0.37), (Bits::FOUR, 0.11)];

/// The same of mixed codes of so many elements: the tangent of the angle whose squared cosine is the mean of .6366 and
/// .8812 by the shares of the elements with one bit and with two.
fn mixed(dims: usize) -> [(Bits, f64); 2] {
    let padded = Rotation::padded_to(dims);
    [padded / 4, padded / 2].map(|doubled| {
        let doubled = doubled.next_multiple_of(16);
        let share = doubled as f64 / padded as f64;
        let (one, two) = (std::f64::consts::FRAC_2_PI, 0.8812);
        let theory = (1.0 / (one + share * (two - one)) - 1.0).sqrt();
        let bits = Bits::new(1, doubled as u16, padded).unwrap();
        assert!((f64::from(bits.error(padded)) / theory - 1.0).abs() < 0.01);
        (bits, theory)
    })
}

fn normal(rng: &mut SmallRng) -> f32 {
    let (u, v): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random());
    ((-2.0 * u.ln()).sqrt() * (v * std::f64::consts::TAU).cos()) as f32
}

/// Vectors of different nature: normal, with one large element, sparse, of one sign, integers as SIFT has them.
const NATURES: usize = 5;

fn vector(nature: usize, dims: usize, rng: &mut SmallRng) -> Vec<f32> {
    let mut value: Vec<f32> = (0..dims).map(|_| normal(rng)).collect();
    match nature {
        1 => value[dims / 3] = 30.0,
        2 => value.iter_mut().enumerate().for_each(|(i, x)| *x *= f32::from(u8::from(i % 17 == 0))),
        3 => value.iter_mut().for_each(|x| *x = x.abs() + 0.5),
        4 => value.iter_mut().for_each(|x| *x = (x.abs() * 40.0).round()),
        _ => {}
    }
    value
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn minus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// What the index does: rotate, encode, estimate.
struct Coder {
    rotation: Rotation,
    bits: Bits,
    measure: Measure,
}

impl Coder {
    fn rotated(&self, k: &Kernels, value: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.rotation.padded()];
        self.rotation.apply(k, value, &mut out);
        out
    }

    fn encode(&self, k: &Kernels, value: &[f32], centre: &[f32]) -> (Vec<u8>, Factors) {
        let (value, centre) = (self.rotated(k, value), self.rotated(k, centre));
        let mut code = vec![0xff; self.bits.code_size(self.rotation.padded())];
        let factors = encode(k, self.bits, (self.measure, Met::Query), &value, &centre, &mut code);
        (code, factors)
    }

    fn exact(&self, a: &[f32], b: &[f32]) -> f64 {
        match self.measure {
            Measure::L2 => dot(&minus(a, b), &minus(a, b)),
            Measure::InnerProduct => -dot(a, b),
        }
    }

    fn estimate(&self, k: &Kernels, query: &[f32], centre: &[f32], code: &[u8], factors: &Factors) -> f64 {
        let mut prepared = Query::new();
        prepared.set(k, &self.rotated(k, query), self.bits).unwrap();
        let mut products = Products([0; BATCH]);
        assert_eq!(prepared.products(k, self.bits, code, code.len() + 1, &mut products), 1);
        f64::from(prepared.estimate(products.0[0], factors, self.exact(query, centre) as f32))
    }
}

/// Over many rotations of the same three vectors the estimates average to the true distance, within four standard
/// errors; over many vectors their errors have the deviation that theory gives, within a tenth.
#[test]
fn estimates_are_unbiased_and_as_exact_as_theory_says() {
    let mut rng = SmallRng::seed_from_u64(9);
    let k = kernels();
    for dims in [100, 384] {
        for (bits, theory) in THEORY.into_iter().chain(mixed(dims)) {
            for measure in [Measure::L2, Measure::InnerProduct] {
                let (mut squares, mut count) = (0.0, 0.0);
                for nature in 0..NATURES {
                    let [c, x, q] = [(); 3].map(|()| vector(nature, dims, &mut rng));
                    let mut errors = Vec::new();
                    for seed in 0..150 {
                        let coder = Coder { rotation: Rotation::new(dims, seed).unwrap(), bits, measure };
                        let (code, factors) = coder.encode(k, &x, &c);
                        let error = coder.estimate(k, &q, &c, &code, &factors) - coder.exact(&q, &x);
                        let product = if measure == Measure::L2 { 2.0 } else { 1.0 };
                        let (r, v) = (minus(&x, &c), minus(&q, &c));
                        // relative to |r| |v|, less what the angle between them takes away
                        let (rr, vv, rv) = (dot(&r, &r), dot(&v, &v), dot(&r, &v));
                        errors.push(error / product / (rr * vv - rv * rv).sqrt());
                    }
                    let n = errors.len() as f64;
                    let mean = errors.iter().sum::<f64>() / n;
                    let variance = errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / n;
                    let limit = 4.0 * (variance / n).sqrt();
                    assert!(mean.abs() < limit, "{bits:?} {measure:?} {dims} {nature}: {mean} {limit}");
                    squares += errors.iter().map(|e| e * e).sum::<f64>();
                    count += n;
                }
                let deviation = (squares / count * Rotation::padded_to(dims) as f64).sqrt();
                let share = deviation / theory;
                assert!(
                    (0.9..1.1).contains(&share),
                    "{bits:?} {measure:?} {dims}: {deviation}, not {theory}"
                );
            }
        }
    }
}

/// The deviation beside each code is that of its own errors: of many queries the share beyond 1.9 and 3 of them
/// is what a normal distribution has.
#[test]
fn the_deviation_of_a_code_bounds_its_errors() {
    let mut rng = SmallRng::seed_from_u64(3);
    let k = kernels();
    for (bits, _) in THEORY.into_iter().chain(mixed(200)) {
        for measure in [Measure::L2, Measure::InnerProduct] {
            let (mut beyond, mut far_beyond, mut all) = (0, 0, 0);
            for seed in 0..40 {
                let coder = Coder { rotation: Rotation::new(200, seed).unwrap(), bits, measure };
                let [c, x] = [(); 2].map(|()| vector(seed as usize % NATURES, 200, &mut rng));
                let (code, factors) = coder.encode(k, &x, &c);
                for _ in 0..25 {
                    let q = vector(seed as usize % NATURES, 200, &mut rng);
                    let error = (coder.estimate(k, &q, &c, &code, &factors) - coder.exact(&q, &x)).abs();
                    let v = minus(&q, &c);
                    let deviation = f64::from(factors.deviation) * dot(&v, &v).sqrt();
                    all += 1;
                    beyond += u32::from(error > 1.9 * deviation);
                    far_beyond += u32::from(error > 4.0 * deviation);
                }
            }
            let share = f64::from(beyond) / f64::from(all);
            assert!((0.01..0.10).contains(&share), "{bits:?} {measure:?}: {share} beyond");
            assert!(far_beyond <= 2, "{bits:?} {measure:?}: {far_beyond} of {all} far beyond");
        }
    }
}

/// Every tier makes the same of a code, but for the rounding of the query's bytes.
#[test]
fn tiers_agree() {
    let mut rng = SmallRng::seed_from_u64(5);
    for (bits, _) in THEORY.into_iter().chain(mixed(300)) {
        let coder = Coder { rotation: Rotation::new(300, 1).unwrap(), bits, measure: Measure::L2 };
        let [c, x, q] = [(); 3].map(|()| vector(0, 300, &mut rng));
        let first = available().next().unwrap();
        let (code, factors) = coder.encode(first, &x, &c);
        let wanted = coder.estimate(first, &q, &c, &code, &factors);
        for k in available() {
            let got = coder.estimate(k, &q, &c, &code, &factors);
            assert!((got - wanted).abs() < 1e-3 * wanted, "{:?}: {got}, {wanted}", k.tier());
        }
    }
}

#[test]
fn residuals_that_no_code_can_say_give_the_centre() {
    let k = kernels();
    for (bits, _) in THEORY.into_iter().chain(mixed(64)) {
        for measure in [Measure::L2, Measure::InnerProduct] {
            let coder = Coder { rotation: Rotation::new(64, 1).unwrap(), bits, measure };
            let centre = vec![0.5; 64];
            let (code, factors) = coder.encode(k, &centre, &centre);
            assert_eq!(factors, Factors::default());
            let query: Vec<f32> = (0..64).map(|i| i as f32).collect();
            assert_eq!(
                coder.estimate(k, &query, &centre, &code, &factors) as f32,
                coder.exact(&query, &centre) as f32
            );
            for huge in [1e20, 3e38] {
                let (_, factors) = coder.encode(k, &vec![huge; 64], &centre);
                let finite = factors.add.is_finite() && factors.scale == 0.0 && !factors.deviation.is_nan();
                assert!(finite, "{factors:?}");
            }
            let (_, factors) = coder.encode(k, &vec![0.5 + 1e-30; 64], &centre);
            assert!(factors.add.is_finite() && factors.scale.is_finite());
        }
        // a query that bytes cannot say
        let mut query = Query::new();
        query.set(k, &[3e38; 64], bits).unwrap();
        assert!(query.error().is_infinite());
        assert_eq!(query.estimate(0, &Factors { add: 1.0, scale: 5.0, deviation: 0.0 }, 2.0), 3.0);
    }
}

#[test]
fn sizes() {
    let there_are =
        [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (8, 0), (1, 16), (1, 112), (1, 128), (1, 8), (2, 16)];
    let good = there_are.map(|(each, doubled)| Bits::new(each, doubled, 128).is_some());
    assert_eq!(good, [false, true, true, false, true, false, true, true, false, false, false]);
    assert_eq!((Bits::for_dims(100), Bits::for_dims(161)), (Bits::TWO, Bits::ONE));
    assert_eq!((Bits::TWO.code_size(112), Bits::ONE.code_size(1536)), (28, 192));
}

/// The code of the edge back is the code turned over, and its factors are those that it would be given.
#[test]
fn an_edge_and_the_one_back_are_made_at_once() {
    let mut rng = SmallRng::seed_from_u64(21);
    for k in available() {
        for (bits, dims) in [(Bits::ONE, 384), (Bits::TWO, 112), (Bits::FOUR, 48), (Bits::ONE, 16)] {
            for (measure, met) in [
                (Measure::L2, Met::Query),
                (Measure::InnerProduct, Met::Query),
                (Measure::L2, Met::Difference),
                (Measure::InnerProduct, Met::Difference),
            ] {
                for nature in 0..NATURES {
                    let (x, c) = (vector(nature, dims, &mut rng), vector(0, dims, &mut rng));
                    let (mut there, mut back) =
                        (vec![0; bits.code_size(dims)], vec![0; bits.code_size(dims)]);
                    let made = encode_both(k, bits, (measure, met), &x, &c, &mut there);
                    assert_eq!(made.0, encode(k, bits, (measure, met), &x, &c, &mut back));
                    assert_eq!(there, back);
                    let want = encode(k, bits, (measure, met), &c, &x, &mut back);
                    assert!(there.iter().zip(&back).all(|(a, b)| !a == *b), "{bits:?} {dims}");
                    let got = made.1.unwrap();
                    let far = dot(&x, &x) + dot(&c, &c);
                    let near = |a: f32, b: f32| f64::from((a - b).abs()) < 1e-5 * (far + f64::from(b.abs()));
                    assert!(near(got.add, want.add) && near(got.scale, want.scale), "{got:?} {want:?}");
                    assert!(near(got.deviation, want.deviation));
                }
                let same = vector(0, dims, &mut rng);
                let mut code = vec![0; bits.code_size(dims)];
                assert_eq!(encode_both(k, bits, (measure, met), &same, &same, &mut code).1, None);
            }
        }
    }
}

/// Far from zero, where the query itself tells nothing, its difference from the centre does.
#[test]
fn differences_are_met_far_from_zero() {
    let mut rng = SmallRng::seed_from_u64(33);
    let k = kernels();
    for (dims, measure) in
        [(2, Measure::L2), (16, Measure::L2), (64, Measure::L2), (64, Measure::InnerProduct)]
    {
        let coder = Coder { rotation: Rotation::new(dims, 5).unwrap(), bits: Bits::TWO, measure };
        let (mut squares, mut others) = (0.0, 0.0);
        for _ in 0..200 {
            let far: Vec<f32> = vector(0, dims, &mut rng).iter().map(|x| 3000.0 + x).collect();
            let near = |rng: &mut SmallRng| -> Vec<f32> {
                far.iter().zip(vector(0, dims, rng)).map(|(far, x)| far + x).collect()
            };
            let [c, x, q] = [(); 3].map(|()| near(&mut rng));
            let (r, v) = (minus(&x, &c), minus(&q, &c));
            let estimated = |met, query: &[f32]| {
                let (value, centre) = (coder.rotated(k, &x), coder.rotated(k, &c));
                let mut code = vec![0; coder.bits.code_size(coder.rotation.padded())];
                let factors = encode(k, coder.bits, (measure, met), &value, &centre, &mut code);
                let mut bytes = Query::new();
                bytes.set(k, &coder.rotated(k, query), coder.bits).unwrap();
                let mut product = Products([0; BATCH]);
                bytes.products(k, coder.bits, &code, code.len(), &mut product);
                let base = coder.exact(&q, &c) as f32;
                f64::from(bytes.estimate(product.0[0], &factors, 0.0)) + f64::from(base)
            };
            let unit = (dot(&r, &r) * dot(&v, &v)).sqrt();
            // what the distances that are compared differ by: that of the centre's is known exactly
            let exact = match measure {
                Measure::L2 => dot(&r, &r) - 2.0 * dot(&r, &v),
                Measure::InnerProduct => -dot(&r, &v) - dot(&r, &c),
            };
            let error = |estimate: f64| (estimate - coder.exact(&q, &c) - exact) / unit;
            squares += error(estimated(Met::Difference, &v)).powi(2);
            others += error(estimated(Met::Query, &q)).powi(2);
        }
        let [near, far] = [squares, others].map(|squares| (squares / 200.0f64).sqrt());
        // the exact distance is a float of 24 bits, too: of inner products of such vectors it tells less
        let most = if measure == Measure::L2 { 2.5 / (dims as f64).sqrt() } else { f64::INFINITY };
        assert!(near < most && near < far / 2.0, "{dims} {measure:?}: {near} {far}");
    }
}

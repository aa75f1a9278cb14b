//! Shortest decimal text of an f32, as PostgreSQL prints a float4 (src/common/f2s.c): the shortest decimal that
//! lies strictly between the halves to the neighbouring floats, the nearest of several, in fixed notation from
//! 1e-4 up to 1e6 and with an exponent of at least two digits elsewhere.
//!
//! The digits are found as in Raffaello Giulietti, "The Schubfach way to render doubles" (2021), sections 8 and
//! 9, for binary32, with the interval open at both ends. Ready-made crates close the interval (they would print
//! 33554448 as 3.355445e7, which a reader that does not round to even takes for another float), and were not faster:
//! zmij slower than PostgreSQL's printer through COPY, ryu with the copy to its place 12.5 ns a number to 12 here.

use core::hint::select_unpredictable;

/// Bytes of the text of an f32, at most: sign, nine digits, point and a four-byte exponent.
pub const MAX_F32_TEXT: usize = 15;

/// Bytes that [`print_f32`] may write to; those behind the text are left with anything.
pub const F32_ROOM: usize = 32;

/// Prints `value` at the front of `out` and returns how many bytes the text has.
#[inline]
pub fn print_f32(value: f32, out: &mut [u8; F32_ROOM]) -> usize {
    print_decimal(value, Decimal::of(value), out)
}

/// `digits * 10^exponent`; digits may end in zeros.
#[derive(Clone, Copy, Default)]
pub(super) struct Decimal {
    digits: u32,
    exponent: i32,
}

impl Decimal {
    /// The decimal to print for the magnitude of a float; anything for zero, infinities and NaN.
    #[inline]
    pub(super) fn of(value: f32) -> Self {
        shortest(value.to_bits() & 0x7fff_ffff)
    }
}

/// Prints `value`, whose decimal is `decimal`, at the front of `out` and returns how many bytes the text has.
/// Whoever prints many values works out the decimals of some before printing them: the processor overlaps the
/// steps of several values better than the two stages of one.
#[inline]
pub(super) fn print_decimal(value: f32, decimal: Decimal, out: &mut [u8; F32_ROOM]) -> usize {
    if value == 0.0 || !value.is_finite() {
        return print_special(value, out);
    }
    out[0] = b'-';
    let sign = usize::from(value.is_sign_negative());
    layout(decimal, sign, out)
}

/// [`print_f32`] as a string.
pub fn f32_to_string(value: f32) -> String {
    let mut out = [0; F32_ROOM];
    let len = print_f32(value, &mut out);
    String::from_utf8_lossy(&out[..len]).into_owned()
}

#[cold]
fn print_special(value: f32, out: &mut [u8; F32_ROOM]) -> usize {
    let text: &[u8] = match (value.is_nan(), value == 0.0, value.is_sign_negative()) {
        (true, ..) => b"NaN",
        (_, true, false) => b"0",
        (_, true, true) => b"-0",
        (_, _, false) => b"Infinity",
        (_, _, true) => b"-Infinity",
    };
    out[..text.len()].copy_from_slice(text);
    text.len()
}

/// The smallest `k` of [`POWERS`].
const POWERS_FROM: i32 = -31;

/// For each k from -31 to 45 the number of 64 bits that is 10^k, scaled by a power of two and rounded up.
#[rustfmt::skip]
const POWERS: [u64; 77] = [
    0x81ce_b32c_4b43_fcf5, 0xa242_5ff7_5e14_fc32, 0xcad2_f7f5_359a_3b3f, 0xfd87_b5f2_8300_ca0e,
    0x9e74_d1b7_91e0_7e49, 0xc612_0625_7658_9ddb, 0xf796_87ae_d3ee_c552, 0x9abe_14cd_4475_3b53,
    0xc16d_9a00_9592_8a28, 0xf1c9_0080_baf7_2cb2, 0x971d_a050_74da_7bef, 0xbce5_0864_9211_1aeb,
    0xec1e_4a7d_b695_61a6, 0x9392_ee8e_921d_5d08, 0xb877_aa32_36a4_b44a, 0xe695_94be_c44d_e15c,
    0x901d_7cf7_3ab0_acda, 0xb424_dc35_095c_d810, 0xe12e_1342_4bb4_0e14, 0x8cbc_cc09_6f50_88cc,
    0xafeb_ff0b_cb24_aaff, 0xdbe6_fece_bded_d5bf, 0x8970_5f41_36b4_a598, 0xabcc_7711_8461_cefd,
    0xd6bf_94d5_e57a_42bd, 0x8637_bd05_af6c_69b6, 0xa7c5_ac47_1b47_8424, 0xd1b7_1758_e219_652c,
    0x8312_6e97_8d4f_df3c, 0xa3d7_0a3d_70a3_d70b, 0xcccc_cccc_cccc_cccd, 0x8000_0000_0000_0000,
    0xa000_0000_0000_0000, 0xc800_0000_0000_0000, 0xfa00_0000_0000_0000, 0x9c40_0000_0000_0000,
    0xc350_0000_0000_0000, 0xf424_0000_0000_0000, 0x9896_8000_0000_0000, 0xbebc_2000_0000_0000,
    0xee6b_2800_0000_0000, 0x9502_f900_0000_0000, 0xba43_b740_0000_0000, 0xe8d4_a510_0000_0000,
    0x9184_e72a_0000_0000, 0xb5e6_20f4_8000_0000, 0xe35f_a931_a000_0000, 0x8e1b_c9bf_0400_0000,
    0xb1a2_bc2e_c500_0000, 0xde0b_6b3a_7640_0000, 0x8ac7_2304_89e8_0000, 0xad78_ebc5_ac62_0000,
    0xd8d7_26b7_177a_8000, 0x8786_7832_6eac_9000, 0xa968_163f_0a57_b400, 0xd3c2_1bce_cced_a100,
    0x8459_5161_4014_84a0, 0xa56f_a5b9_9019_a5c8, 0xcecb_8f27_f420_0f3a, 0x813f_3978_f894_0985,
    0xa18f_07d7_36b9_0be6, 0xc9f2_c9cd_0467_4edf, 0xfc6f_7c40_4581_2297, 0x9dc5_ada8_2b70_b59e,
    0xc537_1912_364c_e306, 0xf684_df56_c3e0_1bc7, 0x9a13_0b96_3a6c_115d, 0xc097_ce7b_c907_15b4,
    0xf0bd_c21a_bb48_db21, 0x9676_9950_b50d_88f5, 0xbc14_3fa4_e250_eb32, 0xeb19_4f8e_1ae5_25fe,
    0x92ef_d1b8_d0cf_37bf, 0xb7ab_c627_0503_05ae, 0xe596_b7b0_c643_c71a, 0x8f7e_32ce_7bea_5c70,
    0xb35d_bf82_1ae4_f38c,
];

/// floor(log2(10^e)) for the exponents in use.
#[inline]
const fn floor_log2_pow10(e: i32) -> i32 {
    (e * 1_741_647) >> 19
}

/// floor(log10(2^e)), or of 3/4 of that, for the exponents in use.
#[inline]
const fn floor_log10_pow2(e: i32, three_quarters: bool) -> i32 {
    (e * 1_262_611 - if three_quarters { 524_031 } else { 0 }) >> 22
}

/// The part of `product` above 2^64, its last bit set if anything was cut off ("rounded to odd"). Two of 2^32 are
/// within what the power of ten in the product was rounded up by.
#[inline]
fn round_to_odd(product: u128) -> u32 {
    (product >> 64) as u32 | u32::from((product >> 32) as u32 > 1)
}

/// The shortest decimal for the finite, positive float with these bits.
#[inline]
fn shortest(bits: u32) -> Decimal {
    let (fraction, biased) = (bits & 0x7f_ffff, (bits >> 23) as i32);
    let c = fraction | if biased == 0 { 0 } else { 0x80_0000 };
    let q = biased.max(1) - 150;
    // below a power of two floats lie half as far apart
    let uneven = fraction == 0 && biased > 1;

    // v = c * 2^q and its neighbours' halves, in units of 10^k / 4
    let k = floor_log10_pow2(q, uneven);
    let h = q + floor_log2_pow10(-k) + 1;
    let power = POWERS.get((-k - POWERS_FROM) as usize).copied().unwrap_or(0);
    // wrapping, since what is no positive float comes here too, and its answer is not used
    let quarter = u128::from(power) << (h as u32 & 31); // of a unit in the last place
    let product = u128::from(power).wrapping_mul(u128::from((4 * c).wrapping_shl(h as u32)));
    let below = if uneven { quarter } else { quarter << 1 };
    let lower = round_to_odd(product.wrapping_sub(below)).wrapping_add(1);
    let value = round_to_odd(product);
    let upper = round_to_odd(product.wrapping_add(quarter << 1)).wrapping_sub(1);

    // Which of the candidates it is cannot be predicted, so all are worked out and none is jumped to.
    // One digit less, when exactly one of the two such decimals around the value is inside:
    let s = value / 4;
    let tens = s / 10;
    let forties = tens.wrapping_mul(40);
    let below_tens = lower <= forties;
    let above_tens = forties.wrapping_add(40) <= upper;
    let fewer = (below_tens != above_tens) & (s >= 10);
    // else the one inside of the two around the value, or of both the nearer, ties to even:
    let below = lower <= 4 * s;
    let above = (4 * s).wrapping_add(4) <= upper;
    let middle = 4 * s + 2;
    let nearer = (value > middle) | ((value == middle) & (s % 2 == 1));
    let up = select_unpredictable(below != above, above, nearer);
    let digits = select_unpredictable(fewer, tens + u32::from(above_tens), s + u32::from(up));
    Decimal { digits, exponent: k + i32::from(fewer) }
}

/// Copies up to 16 bytes to `at`. Two overlapping words cost less than a call of memcpy.
#[inline]
pub(super) fn put(out: &mut [u8], at: usize, text: &[u8]) {
    let Some(to) = out.get_mut(at..at + text.len()) else { return };
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        if let Some(to) = to.first_chunk_mut() {
            *to = *first;
        }
        if let Some(to) = to.last_chunk_mut() {
            *to = *last;
        }
    } else {
        to.iter_mut().zip(text).for_each(|(to, &c)| *to = c);
    }
}

/// Writes `decimal` behind a sign of `sign` bytes, and returns the length of both.
#[inline]
fn layout(decimal: Decimal, sign: usize, out: &mut [u8; F32_ROOM]) -> usize {
    let mut buffer = itoa::Buffer::new();
    let all = buffer.format(decimal.digits).as_bytes();
    let point = decimal.exponent + all.len() as i32 - 1; // the power of ten of the first digit
    let mut digits = all;
    while let [kept @ .., b'0'] = digits {
        digits = kept;
    }
    match point {
        -4..0 => {
            let start = sign + point.unsigned_abs() as usize + 1;
            out[sign..sign + 8].copy_from_slice(b"0.000000");
            put(out, start, digits);
            start + digits.len()
        }
        0..6 => {
            let whole = point as usize + 1;
            out[sign..sign + 8].copy_from_slice(b"00000000");
            let (before, after) = digits.split_at(whole.min(digits.len()));
            put(out, sign, before);
            if after.is_empty() {
                return sign + whole;
            }
            out[sign + whole] = b'.';
            put(out, sign + whole + 1, after);
            sign + digits.len() + 1
        }
        _ => {
            let (first, after) = digits.split_at(1);
            put(out, sign, first);
            out[sign + 1] = b'.';
            put(out, sign + 2, after);
            let end = sign + if after.is_empty() { 1 } else { digits.len() + 1 };
            let power = point.unsigned_abs();
            out[end] = b'e';
            out[end + 1] = if point < 0 { b'-' } else { b'+' };
            out[end + 2] = b'0' + (power / 10) as u8;
            out[end + 3] = b'0' + (power % 10) as u8;
            end + 4
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1.5e-4, "0.00015"),
            (9.99e-5, "9.99e-05"),
            (1e-5, "1e-05"),
            (100000.0, "100000"),
            (999999.94, "999999.94"),
            (1e6, "1e+06"),
            (-1234567.0, "-1.234567e+06"),
            (16777216.0, "1.6777216e+07"),
            (f32::MAX, "3.4028235e+38"),
            (f32::MIN, "-3.4028235e+38"),
            (f32::MIN_POSITIVE, "1.1754944e-38"),
            (1e-45, "1e-45"),
            (3e-45, "3e-45"),
            (f32::NAN, "NaN"),
            (f32::INFINITY, "Infinity"),
            (f32::NEG_INFINITY, "-Infinity"),
            (1e10, "1e+10"),
            (123456.0, "123456"),
            (120000.0, "120000"),
            (0.3, "0.3"),
            (-0.00012345678, "-0.00012345678"),
            (-123456.79, "-123456.79"),
        ] {
            assert_eq!(f32_to_string(value), text, "{value:e}");
        }
    }

    /// 33554450 lies halfway between two floats: neither may print as 3.355445e+07.
    #[test]
    fn halfway_decimals_are_not_used() {
        assert_eq!(f32_to_string(33554448.0), "3.3554448e+07");
        assert_eq!(f32_to_string(33554452.0), "3.3554452e+07");
        assert_eq!(f32_to_string(67108864.0), "6.7108864e+07");
        assert_eq!(f32_to_string(8589934592.0), "8.589935e+09");
    }

    #[test]
    fn text_reads_back() {
        let step = if cfg!(miri) { 0x0fff_fff1 } else { 0x0000_0fff };
        for bits in (0..0x7f80_0000u32).step_by(step) {
            let value = f32::from_bits(bits);
            let text = f32_to_string(value);
            assert!(text.len() <= MAX_F32_TEXT);
            assert_eq!(text.parse(), Ok(value), "{text}");
        }
    }

    /// Powers of ten, recomputed from their definition with plain long arithmetic.
    #[test]
    fn powers_are_powers() {
        // 10^31 * 2^300 and 10^46 have less than 512 bits
        type Big = [u64; 8];
        fn times(a: Big, b: u64) -> Big {
            let mut carry = 0u128;
            a.map(|x| {
                let product = u128::from(x) * u128::from(b) + carry;
                carry = product >> 64;
                product as u64
            })
        }
        /// The quotient and whether there is a remainder.
        fn divide(a: Big, by: u64) -> (Big, bool) {
            let (mut out, mut rest) = ([0; 8], 0u128);
            for i in (0..8).rev() {
                let part = rest << 64 | u128::from(a[i]);
                out[i] = (part / u128::from(by)) as u64;
                rest = part % u128::from(by);
            }
            (out, rest != 0)
        }
        for (i, &power) in POWERS.iter().enumerate() {
            let k = i as i32 + POWERS_FROM;
            let mut big: Big = [0; 8];
            big[if k < 0 { 6 } else { 0 }] = 1; // 2^384 or 1
            let mut inexact = false;
            for _ in 0..k.abs() {
                if k < 0 {
                    let (quotient, remainder) = divide(big, 10);
                    big = quotient;
                    inexact |= remainder;
                } else {
                    big = times(big, 10);
                }
            }
            let top = (0..8).rev().find(|&i| big[i] != 0).unwrap_or(0);
            let shift = big[top].leading_zeros();
            let below = if top > 0 { big[top - 1] } else { 0 };
            let (high, cut) = match shift {
                0 => (big[top], below),
                _ => (big[top] << shift | below >> (64 - shift), below << shift),
            };
            inexact |= cut != 0 || (0..top.saturating_sub(1)).any(|i| big[i] != 0);
            assert_eq!(power, high + u64::from(inexact), "10^{k}");
        }
    }
}

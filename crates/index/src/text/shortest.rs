//! Shortest decimal text of an f32, as PostgreSQL prints a float4 (src/common/f2s.c).
//!
//! The digits come from the zmij crate. Two things differ in PostgreSQL: its layout (exponents of at least two
//! digits with a sign, fixed notation only from 1e-4 up to 1e6), and that a decimal exactly halfway between two
//! floats never stands for either of them, so that readers which do not round to even read the same value. The
//! latter can matter only where halves are integers, from 2^25 on.

/// Bytes of the text of an f32, at most: sign, nine digits, point and a four-byte exponent.
pub const MAX_F32_TEXT: usize = 15;

/// Prints `value` at the front of `out` and answers how many bytes it took.
#[inline]
pub fn print_f32(value: f32, out: &mut [u8; MAX_F32_TEXT]) -> usize {
    let mut buffer = zmij::Buffer::new();
    let magnitude = value.abs();
    if (1e-4..1e6).contains(&magnitude) {
        let text = buffer.format_finite(value).as_bytes();
        let text = text.strip_suffix(b".0").unwrap_or(text);
        return copy(text, out);
    }
    print_unusual(value, magnitude, out)
}

/// [`print_f32`] as a string.
pub fn f32_to_string(value: f32) -> String {
    let mut out = [0; MAX_F32_TEXT];
    let len = print_f32(value, &mut out);
    String::from_utf8_lossy(&out[..len]).into_owned()
}

fn copy(text: &[u8], out: &mut [u8; MAX_F32_TEXT]) -> usize {
    // longer than any f32 in this notation, so never cut
    let len = text.len().min(MAX_F32_TEXT);
    out[..len].copy_from_slice(&text[..len]);
    len
}

#[cold]
fn print_unusual(value: f32, magnitude: f32, out: &mut [u8; MAX_F32_TEXT]) -> usize {
    let sign = value.is_sign_negative();
    if value.is_nan() {
        return copy(b"NaN", out);
    }
    if value.is_infinite() {
        return copy(if sign { b"-Infinity" } else { b"Infinity" }, out);
    }
    if magnitude == 0.0 {
        return copy(if sign { b"-0" } else { b"0" }, out);
    }
    let mut decimal = Decimal::of(magnitude);
    if magnitude >= 33_554_432.0 && is_halfway(magnitude, decimal) {
        decimal = shortest_inside(magnitude);
    }
    layout(sign, decimal, out)
}

/// `digits * 10^exponent`, digits without trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Decimal {
    digits: u64,
    exponent: i32,
}

impl Decimal {
    fn new(mut digits: u64, mut exponent: i32) -> Self {
        while digits != 0 && digits.is_multiple_of(10) {
            digits /= 10;
            exponent += 1;
        }
        Decimal { digits, exponent }
    }

    /// The shortest decimal that reads back as `magnitude` (finite, above zero), ties to even allowed.
    fn of(magnitude: f32) -> Self {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(magnitude);
        let (mantissa, power) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let fraction = fraction.trim_end_matches('0');
        // fixed notation has at most 17 digits, most of them zeros that `new` strips
        let digits = whole.bytes().chain(fraction.bytes()).fold(0u64, |d, c| d * 10 + u64::from(c - b'0'));
        Decimal::new(digits, power.parse().unwrap_or(0) - fraction.len() as i32)
    }
}

/// An f32 of at least 2^24 as an integer with the integers halfway to its neighbours: below, value, above.
fn halves(magnitude: f32) -> (u128, u128, u128) {
    let bits = magnitude.to_bits();
    let fraction = bits & 0x7f_ffff;
    let shift = (bits >> 23) as i32 - 150; // 1..=104 here
    let shift = shift.clamp(1, 104) as u32;
    let value = u128::from(fraction | 0x80_0000) << shift;
    let half = 1u128 << (shift - 1);
    // below a power of two floats lie twice as close; a quarter is an integer from 2^25 on
    let below = if fraction == 0 { half / 2 } else { half };
    (value - below, value, value + half)
}

fn is_halfway(magnitude: f32, decimal: Decimal) -> bool {
    let (below, _, above) = halves(magnitude);
    let scale = u32::try_from(decimal.exponent).ok().and_then(|e| 10u128.checked_pow(e));
    let exact = scale.and_then(|s| s.checked_mul(u128::from(decimal.digits)));
    exact.is_some_and(|d| d == below || d == above)
}

/// The shortest decimal strictly between the halves around `magnitude`, the nearest of several, ties to even.
fn shortest_inside(magnitude: f32) -> Decimal {
    let (below, value, above) = halves(magnitude);
    for exponent in (0..=38).rev() {
        let unit = 10u128.pow(exponent);
        let low = value / unit;
        let inside = |n: &u128| n.checked_mul(unit).is_some_and(|d| d > below && d < above);
        let distance = |n: &u128| (n * unit).abs_diff(value);
        let candidates = [low, low + 1].into_iter().filter(inside);
        // on a tie the even one comes first
        if let Some(best) = candidates.min_by_key(|n| (distance(n), n % 2)) {
            return Decimal::new(best as u64, exponent as i32);
        }
    }
    Decimal::of(magnitude) // not reached: at exponent 0 the value itself lies inside
}

fn layout(sign: bool, decimal: Decimal, out: &mut [u8; MAX_F32_TEXT]) -> usize {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(decimal.digits).as_bytes();
    let point = decimal.exponent + digits.len() as i32 - 1; // the power of ten of the first digit
    let mut text = [0u8; 24];
    let mut len = 0;
    let mut put = |c: u8| {
        if let Some(slot) = text.get_mut(len) {
            *slot = c;
            len += 1;
        }
    };
    if sign {
        put(b'-');
    }
    let fixed = (-4..6).contains(&point);
    if fixed && point < 0 {
        put(b'0');
        put(b'.');
        (point + 1..0).for_each(|_| put(b'0'));
        digits.iter().for_each(|&c| put(c));
    } else if fixed {
        let whole = point as usize + 1;
        for i in 0..whole.max(digits.len()) {
            if i == whole {
                put(b'.');
            }
            put(digits.get(i).copied().unwrap_or(b'0'));
        }
    } else {
        for (i, &c) in digits.iter().enumerate() {
            if i == 1 {
                put(b'.');
            }
            put(c);
        }
        put(b'e');
        put(if point < 0 { b'-' } else { b'+' });
        let power = point.unsigned_abs();
        put(b'0' + (power / 10 % 10) as u8);
        put(b'0' + (power % 10) as u8);
    }
    copy(&text[..len], out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(value: f32) -> String {
        let mut out = [0; MAX_F32_TEXT];
        let len = print_f32(value, &mut out);
        String::from_utf8_lossy(&out[..len]).into_owned()
    }

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
            (1234567.0, "1.234567e+06"),
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
            (0.3, "0.3"),
        ] {
            assert_eq!(print(value), text, "{value:e}");
        }
    }

    /// 33554450 lies halfway between two floats: neither may print as 3.355445e+07.
    #[test]
    fn halfway_decimals_are_not_used() {
        assert_eq!(print(33554448.0), "3.3554448e+07");
        assert_eq!(print(33554452.0), "3.3554452e+07");
        assert_eq!(print(67108864.0), "6.7108864e+07");
        assert_eq!(print(8589934592.0), "8.589935e+09");
    }

    #[test]
    fn text_reads_back() {
        let step = if cfg!(miri) { 0x0fff_fff1 } else { 0x0000_0fff };
        for bits in (0..0x7f80_0000u32).step_by(step) {
            let value = f32::from_bits(bits);
            let text = print(value);
            assert_eq!(text.parse(), Ok(value), "{text}");
        }
    }

    #[test]
    fn exact_search_agrees_with_the_fast_path_off_the_halves() {
        for bits in (0x4c00_0000..0x7f80_0000u32).step_by(0x0001_fff7) {
            let value = f32::from_bits(bits);
            let decimal = Decimal::of(value);
            if !is_halfway(value, decimal) {
                assert_eq!(shortest_inside(value), decimal, "{value:e}");
            }
        }
    }
}

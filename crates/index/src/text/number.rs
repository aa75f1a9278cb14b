//! Reading one number from the front of a text, as `strtof` does in the C locale.

/// A number read from the front of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// The nearest f32, ties to even; infinite when out of range or when the text says so.
    pub value: f32,
    /// Bytes of text it took.
    pub len: usize,
    /// The text is a finite number and the value is not.
    pub overflow: bool,
    /// The text is not zero and the value is.
    pub underflow: bool,
}

/// Reads the longest prefix of `text` that is a number: decimal with optional fraction and exponent,
/// hexadecimal (`0x1.8p3`), `inf`, `infinity` or `nan` in any case, each with an optional sign. White space in
/// front is the caller's. `None` when there is no number.
#[inline]
pub fn parse_prefix(text: &[u8]) -> Option<Number> {
    match parse_ordinary(text) {
        Some((value, len)) => Some(Number { value, len, overflow: false, underflow: false }),
        None => parse_any(text),
    }
}

/// The value and the length of nearly every number that there is; `None` says nothing.
#[inline]
pub(super) fn parse_ordinary(text: &[u8]) -> Option<(f32, usize)> {
    parse_fraction(text).or_else(|| parse_plain(text))
}

/// Powers of ten that f64 holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Eight ASCII characters, the first in the lowest byte: each less `0`, and how many digits are in front.
#[inline]
fn leading_digits(word: u64) -> (u64, u32) {
    let digits = word ^ 0x3030_3030_3030_3030;
    // what is no digit may carry into the bytes behind it, and nobody looks at these
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    (digits, others.trailing_zeros() / 8)
}

/// The number that the first `count` of eight digits are.
#[inline]
fn number_of(digits: u64, count: u32) -> u64 {
    // zeros in front of them
    let digits = digits.checked_shl(64 - 8 * count.min(8)).unwrap_or(0);
    // pairs, fours, eight
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

/// Bytes that [`parse_fraction`] looks at: sign, digit, point, two words of digits, what comes behind.
const WINDOW: usize = 20;

/// The commonest of the numbers of [`parse_plain`]: one digit, a point, up to fifteen digits, and behind them what ends
/// an element. Eight digits at a step, whatever their number.
#[inline]
fn parse_fraction(text: &[u8]) -> Option<(f32, usize)> {
    let window = text.first_chunk::<WINDOW>()?;
    let negative = window[0] == b'-';
    let at = usize::from(negative);
    let lead = window[at].wrapping_sub(b'0');
    if lead > 9 || window[at + 1] != b'.' {
        return None;
    }
    let word = |at: usize| window.get(at..).and_then(|w| w.first_chunk()).copied().map(u64::from_le_bytes);
    // No branch on how many digits there are, nor on the sign: both change from number to number.
    let (front, count) = leading_digits(word(at + 2)?);
    let (back, more) = leading_digits(word(at + 10)?);
    let more = if count == 8 { more } else { 0 };
    let scale = *WHOLE_POWERS.get(more as usize)?;
    let power = *WHOLE_POWERS.get(count as usize)? * scale;
    let digits = number_of(front, count) * scale + number_of(back, more);
    let count = count + more;
    let len = at + 2 + count as usize;
    if count == 0 || count > 15 || !matches!(window.get(len), Some(b',' | b']')) {
        return None;
    }
    // at most sixteen digits
    round_plain(u64::from(lead) * power + digits, count as usize).map(|value| (signed(value, negative), len))
}

/// Powers of ten as integers, up to eight digits.
const WHOLE_POWERS: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// A number that is not negative, with its sign.
#[inline]
fn signed(value: f32, negative: bool) -> f32 {
    f32::from_bits(value.to_bits() | u32::from(negative) << 31)
}

/// `digits` over ten to the power of `fraction`, when dividing as f64 and rounding that gives the nearest f32.
#[inline]
fn round_plain(digits: u64, fraction: usize) -> Option<f32> {
    if digits >= 1 << 53 {
        return None;
    }
    let magnitude = digits as f64 / EXACT_POWERS.get(fraction)?;
    // f64 has 29 bits more than f32
    let between = magnitude.to_bits() & 0x1fff_ffff == 0x1000_0000;
    let in_range = (f64::from(f32::MIN_POSITIVE)..1e38).contains(&magnitude) || digits == 0;
    (!between && in_range).then_some(magnitude as f32)
}

/// The numbers that embeddings are made of: sign, digits, point, digits, nothing else, few enough digits that
/// f64 holds them exactly. Their quotient by a power of ten is then one correctly rounded f64, and rounding that
/// to f32 is the same as rounding once, except where the f64 lies exactly between two f32.
#[inline]
fn parse_plain(text: &[u8]) -> Option<(f32, usize)> {
    let negative = text.first() == Some(&b'-');
    let mut at = usize::from(negative);
    let mut digits: u64 = 0;
    let start = at;
    while let Some(digit) = digit_at(text, at) {
        digits = digits.wrapping_mul(10).wrapping_add(digit);
        at += 1;
    }
    let mut count = at - start;
    let mut fraction = 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let start = at;
        while let Some(digit) = digit_at(text, at) {
            digits = digits.wrapping_mul(10).wrapping_add(digit);
            at += 1;
        }
        fraction = at - start;
        count += fraction;
    }
    // 19 digits do not wrap
    if count == 0 || count > 19 || matches!(text.get(at), Some(b'e' | b'E' | b'x' | b'X')) {
        return None;
    }
    round_plain(digits, fraction).map(|value| (signed(value, negative), at))
}

#[inline]
fn digit_at(text: &[u8], at: usize) -> Option<u64> {
    let digit = text.get(at)?.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

/// Every form of number.
#[inline(never)]
pub(super) fn parse_any(text: &[u8]) -> Option<Number> {
    let (value, len) = fast_float2::parse_partial::<f32, _>(text).ok()?;
    if value.is_normal() && !matches!(text.get(len), Some(b'x' | b'X')) {
        return Some(Number { value, len, overflow: false, underflow: false });
    }
    Some(unusual(text, value, len))
}

/// Zeros, subnormals, infinities, NaN, and what may turn out to be hexadecimal.
#[cold]
fn unusual(text: &[u8], value: f32, len: usize) -> Number {
    if let Some(number) = parse_hexadecimal(text) {
        return number;
    }
    let taken = text.get(..len).unwrap_or(text);
    let digits = taken.iter().take_while(|c| !matches!(c, b'e' | b'E'));
    let nonzero = digits.clone().any(|c| matches!(c, b'1'..=b'9'));
    let finite = taken.iter().any(u8::is_ascii_digit);
    Number { value, len, overflow: value.is_infinite() && finite, underflow: value == 0.0 && nonzero }
}

/// `0x`, hexadecimal digits with an optional point, and an optional binary exponent after `p`.
fn parse_hexadecimal(text: &[u8]) -> Option<Number> {
    let signed = matches!(text.first(), Some(b'+' | b'-'));
    let negative = text.first() == Some(&b'-');
    let mut at = usize::from(signed);
    if text.get(at) != Some(&b'0') || !matches!(text.get(at + 1), Some(b'x' | b'X')) {
        return None;
    }
    at += 2;

    // The leading 60 bits of the significand; what does not fit only says "not exact".
    let mut significand: u64 = 0;
    let mut exponent: i64 = 0;
    let mut inexact = false;
    let mut digits = false;
    let mut point = false;
    while let Some(&c) = text.get(at) {
        if c == b'.' && !point {
            point = true;
        } else if let Some(digit) = char::from(c).to_digit(16) {
            digits = true;
            if significand >> 60 == 0 {
                significand = significand << 4 | u64::from(digit);
                exponent -= if point { 4 } else { 0 };
            } else {
                inexact |= digit != 0;
                exponent += if point { 0 } else { 4 };
            }
        } else {
            break;
        }
        at += 1;
    }
    if !digits {
        return None;
    }
    if let Some((power, len)) = text.get(at..).and_then(binary_exponent) {
        exponent = exponent.saturating_add(power);
        at += len;
    }

    let magnitude = round_to_f32(significand, inexact, exponent);
    Some(Number {
        value: if negative { -magnitude } else { magnitude },
        len: at,
        overflow: magnitude.is_infinite(),
        underflow: magnitude == 0.0 && significand != 0,
    })
}

/// `p`, an optional sign and decimal digits: the power of two and the bytes it took.
fn binary_exponent(text: &[u8]) -> Option<(i64, usize)> {
    if !matches!(text.first(), Some(b'p' | b'P')) {
        return None;
    }
    let signed = matches!(text.get(1), Some(b'+' | b'-'));
    let digits = text.get(1 + usize::from(signed)..)?;
    let count = digits.iter().take_while(|c| c.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    // a million is past any float; more digits change nothing
    let value = digits[..count].iter().fold(0i64, |v, c| (v * 10 + i64::from(c - b'0')).min(1_000_000));
    let value = if text.get(1) == Some(&b'-') { -value } else { value };
    Some((value, 1 + usize::from(signed) + count))
}

/// `significand * 2^exponent` (and a bit more if `inexact`) as the nearest f32, ties to even.
fn round_to_f32(significand: u64, inexact: bool, exponent: i64) -> f32 {
    if significand == 0 {
        return 0.0;
    }
    // Normalise: the top bit set, so that the value lies in [2^top, 2^(top+1)).
    let shift = significand.leading_zeros();
    let significand = significand << shift;
    let top = exponent.saturating_add(63 - i64::from(shift));
    if top > 127 {
        return f32::INFINITY;
    }
    // f32 keeps 24 bits above 2^-126 and one less for every power of two below.
    let kept = 24 - (-126 - top).max(0);
    if kept < 0 {
        return 0.0;
    }
    let drop = 64 - kept as u32; // 40..=64
    let (mut bits, remainder) = match drop {
        64 => (0, significand),
        _ => (significand >> drop, significand << (64 - drop)),
    };
    let half = 1u64 << 63;
    let tie_break = inexact || bits & 1 == 1;
    if remainder > half || (remainder == half && tie_break) {
        bits += 1;
    }
    // exact: at most 25 significant bits, and a power of two that f64 holds
    (bits as f64 * 2f64.powi((top + 1 - kept) as i32)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<(f32, usize)> {
        parse_prefix(text.as_bytes()).map(|n| (n.value, n.len))
    }

    #[test]
    fn decimal_forms() {
        for (text, expected) in [
            ("1", Some((1.0, 1))),
            ("+1.5,", Some((1.5, 4))),
            ("-.5]", Some((-0.5, 3))),
            ("5.", Some((5.0, 2))),
            ("1e2x", Some((100.0, 3))),
            ("1e", Some((1.0, 1))),
            ("1e+", Some((1.0, 1))),
            ("1.5.5", Some((1.5, 3))),
            ("", None),
            ("-", None),
            (".", None),
            ("e5", None),
            ("--1", None),
            ("+-1", None),
            ("0.1", Some((0.1, 3))),
            ("16777217", Some((16777216.0, 8))),
            ("16777217.000000000000000000000000000000000001", Some((16777218.0, 45))),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn fractions_in_any_place_are_those_of_the_library() {
        let mut state = 1u64;
        for round in 0..40_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (digits, length) = (state >> 12, round % 18);
            let fraction = &format!("{digits:018}")[..length];
            let sign = if state & 1 == 1 { "-" } else { "" };
            let lead = (state >> 5) % 10;
            for end in [",", "]", ",0.5,-0.25,0.125]", "e3,0.123456789012345", " , 1", "x", "/", ":"] {
                let text = format!("{sign}{lead}.{fraction}{end}");
                let expected = parse_any(text.as_bytes()).map(|n| (n.value.to_bits(), n.len));
                assert_eq!(value(&text).map(|(v, len)| (v.to_bits(), len)), expected, "{text}");
            }
        }
    }

    #[test]
    fn hexadecimal_forms() {
        for (text, expected) in [
            ("0x10", (16.0, 4)),
            ("-0X1.8p1,", (-3.0, 8)),
            ("0x.8", (0.5, 4)),
            ("0x1p-149", (1e-45, 8)),
            ("0x1p-150", (0.0, 8)),
            ("0x1.8p-150", (1e-45, 10)),
            ("0x1.000001p0", (1.0, 12)),
            ("0x1.0000010000000000000001p0", (1.0000001, 28)),
            ("0x1.000003p0", (1.0000002, 12)),
            ("0x1p127", (1.7014118e38, 7)),
            ("0x1p128", (f32::INFINITY, 7)),
            ("0xffffff7p100", (f32::MAX, 13)),
            ("0xffffff8p100", (f32::INFINITY, 13)),
            ("0x", (0.0, 1)),
            ("0xg", (0.0, 1)),
            ("0x.p1", (0.0, 1)),
            ("0x1p", (1.0, 3)),
            ("0x1p99999999999999999999", (f32::INFINITY, 24)),
            ("0x0p99999999999999999999", (0.0, 24)),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn range_flags() {
        let flags = |text: &str| parse_prefix(text.as_bytes()).map(|n| (n.overflow, n.underflow));
        assert_eq!(flags("1e39"), Some((true, false)));
        assert_eq!(flags("-1e39"), Some((true, false)));
        assert_eq!(flags("inf"), Some((false, false)));
        assert_eq!(flags("-Infinity"), Some((false, false)));
        assert_eq!(flags("nan"), Some((false, false)));
        assert_eq!(flags("1e-46"), Some((false, true)));
        assert_eq!(flags("0.0000e5"), Some((false, false)));
        assert_eq!(flags("1e-45"), Some((false, false)));
        assert_eq!(flags("0x1p-200"), Some((false, true)));
        assert_eq!(flags("0x1p200"), Some((true, false)));
    }
}

//! Text of whole numbers: vectors of counts and pixels hold little else, and their digits need no search.

/// Whole numbers of smaller magnitude are printed with all their digits, others with an exponent.
const LIMIT: f32 = 1e6;

/// Bytes that [`print`] may write to; those behind the text are left with anything.
pub(super) const ROOM: usize = 8;

/// What [`magnitude`] answers for a float that is no such number.
pub(super) const NONE: u32 = u32::MAX;

/// The magnitude of a float that is printed as a whole number without exponent; [`NONE`] for any other, and for minus
/// zero, which has a sign. Without branches, so that the loop over a vector is a vector one.
#[inline]
pub(super) fn magnitude(value: f32) -> u32 {
    // floats from here up to twice as much lie 1 apart: adding rounds to a whole number, which is then in the last bits
    const ONES: f32 = 8_388_608.0;
    let bits = value.to_bits() & 0x7fff_ffff;
    let size = f32::from_bits(bits);
    let rounded = size + ONES;
    let whole = (size < LIMIT) & (rounded - ONES == size) & (value.to_bits() != 0x8000_0000);
    rounded.to_bits().wrapping_sub(ONES.to_bits()) | if whole { 0 } else { NONE }
}

/// For each number below 1000 its three digits, and how many of them are not leading zeros (one for zero itself).
const DIGITS: [[u8; 4]; 1000] = {
    let mut table = [[0; 4]; 1000];
    let mut n = 0;
    while n < 1000 {
        let len = if n < 10 {
            1
        } else if n < 100 {
            2
        } else {
            3
        };
        table[n] = [b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8, len];
        n += 1;
    }
    table
};

#[inline]
fn digits(n: u32) -> [u8; 4] {
    DIGITS.get(n as usize).copied().unwrap_or_default()
}

/// The digits of a number below 1000 without leading zeros, first digit lowest, and how many there are.
#[inline]
fn leading(n: u32) -> (u64, usize) {
    let [hundreds, tens, ones, len] = digits(n);
    let zeros = 24 - 8 * u32::from(len & 3);
    (u64::from(u32::from_le_bytes([hundreds, tens, ones, 0]) >> zeros), usize::from(len & 3))
}

/// Prints a number that [`magnitude`] found, behind a sign if `negative`; returns the length of both.
#[inline]
pub(super) fn print(magnitude: u32, negative: bool, out: &mut [u8; ROOM]) -> usize {
    // How many digits there are cannot be predicted: whole words are written, and the bytes behind the text forgotten.
    let (mut word, mut len) = if magnitude < 1000 {
        leading(magnitude)
    } else {
        let (high, before) = leading(magnitude / 1000);
        let [hundreds, tens, ones, _] = digits(magnitude % 1000);
        (high | u64::from(u32::from_le_bytes([hundreds, tens, ones, 0])) << (8 * before), before + 3)
    };
    if negative {
        word = word << 8 | u64::from(b'-');
        len += 1;
    }
    *out = word.to_le_bytes();
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::shortest::f32_to_string;

    fn text(value: f32) -> Option<String> {
        let magnitude = magnitude(value);
        let mut out = [0; ROOM];
        (magnitude != NONE).then(|| {
            let len = print(magnitude, value.is_sign_negative(), &mut out);
            String::from_utf8_lossy(&out[..len]).into_owned()
        })
    }

    #[test]
    fn whole_numbers_print_as_the_general_printer_has_them() {
        let step = if cfg!(miri) { 997 } else { 1 };
        for n in (0..1_000_000).step_by(step) {
            let value = n as f32;
            assert_eq!(text(value).as_deref(), Some(n.to_string().as_str()));
            if n != 0 {
                assert_eq!(text(-value), Some(f32_to_string(-value)));
            }
        }
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        let others = [-0.0, 1e6, -1e6, 1.5, 0.1, 999_999.5, 4_194_304.5, 8_388_608.0, 16_777_216.0, f32::MAX];
        let odd = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE, 1e-45];
        for value in others.into_iter().chain(odd) {
            assert_eq!(text(value), None, "{value}");
        }
        // halves beside whole numbers of every size
        for n in (0..20).map(|shift| 1 << shift).filter(|&n| n < 1_000_000) {
            assert_eq!(text(n as f32 + 0.5), None);
            assert_eq!(text((n as f32).next_up()), None);
        }
    }
}

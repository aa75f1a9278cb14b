//! Floats as integers of the same order, to be sorted by and to have a number put below them.

/// Returns an integer that orders as `x` does among all floats but NaN; -0.0 comes before 0.0. The sign bit is flipped,
/// and the others with it where it was set.
#[inline(always)]
pub fn order_key(x: f32) -> u32 {
    let bits = x.to_bits();
    bits ^ (((bits as i32) >> 31) as u32 | 0x8000_0000)
}

/// Returns the float that [`order_key`] made `key` of.
#[inline(always)]
pub fn from_order_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & 0x7fff_ffff } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_floats_and_lead_back_to_them() {
        let floats = [f32::NEG_INFINITY, -3.0, -1e-40, -0.0, 0.0, 1e-40, 2.5, f32::MAX, f32::INFINITY];
        for pair in floats.map(order_key).windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for x in floats {
            assert_eq!(from_order_key(order_key(x)).to_bits(), x.to_bits());
        }
    }
}

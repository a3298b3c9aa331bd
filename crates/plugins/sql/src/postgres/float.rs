//! Floating-point numbers as mantissa, exponent and sign.
//!
//! Takes and gives what `integer_decode` of the crate `num-traits` gives: the numbers of a `float8` have a mantissa of 53
//! bits and exponents from -1075 to 971, those of a `float4` a mantissa of 24 bits and exponents from -150 to 104. The
//! next exponent, 972 or 105, is that of infinity (a mantissa of 2^52 or 2^23) and of NaN (a greater mantissa). Each
//! value survives both ways, with its sign. Other mantissas and exponents are computed, and rounded if need be.

use super::value::HashableF64;

const MANTISSA_64: u64 = 1 << 52;
const SPECIAL_64: i16 = 972;
const MANTISSA_32: u64 = 1 << 23;
const SPECIAL_32: i16 = 105;

/// Decodes a number of double precision.
pub fn decode_f64(value: f64) -> HashableF64 {
    let bits = value.to_bits();
    let fraction = bits & (MANTISSA_64 - 1);
    let exponent = i16::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
    let mantissa = if exponent == 0 { fraction << 1 } else { fraction | MANTISSA_64 };
    (mantissa, exponent - 1075, if value.is_sign_negative() { -1 } else { 1 })
}

/// Decodes a number of single precision.
pub fn decode_f32(value: f32) -> HashableF64 {
    let bits = value.to_bits();
    let fraction = u64::from(bits) & (MANTISSA_32 - 1);
    let exponent = i16::try_from((bits >> 23) & 0xff).unwrap_or(0);
    let mantissa = if exponent == 0 { fraction << 1 } else { fraction | MANTISSA_32 };
    (mantissa, exponent - 150, if value.is_sign_negative() { -1 } else { 1 })
}

/// The number of double precision that a decoded number stands for, or none if its sign is neither 1 nor -1.
pub fn encode_f64((mantissa, exponent, sign): HashableF64) -> Option<f64> {
    let is_special = exponent == SPECIAL_64 && (MANTISSA_64..2 * MANTISSA_64).contains(&mantissa);
    let value = if is_special {
        f64::from_bits((0x7ff << 52) | (mantissa & (MANTISSA_64 - 1)))
    } else {
        scale(mantissa, exponent)
    };
    signed(value, sign)
}

/// The number of single precision that a decoded number stands for. A number that is too great has none.
pub fn encode_f32((mantissa, exponent, sign): HashableF64) -> Option<f32> {
    if exponent == SPECIAL_32 && (MANTISSA_32..2 * MANTISSA_32).contains(&mantissa) {
        let fraction = u32::try_from(mantissa & (MANTISSA_32 - 1)).unwrap_or(0);
        let value = f32::from_bits((0xff << 23) | fraction);
        return match sign {
            1 => Some(value),
            -1 => Some(-value),
            _ => None,
        };
    }
    narrow(encode_f64((mantissa, exponent, sign))?)
}

/// A number in single precision, unless only infinity is near.
pub(super) fn narrow(value: f64) -> Option<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "the loss of precision is wanted, and an overflow is rejected")]
    let narrow = value as f32;
    (narrow.is_infinite() == value.is_infinite()).then_some(narrow)
}

fn signed(value: f64, sign: i8) -> Option<f64> {
    match sign {
        1 => Some(value),
        -1 => Some(-value),
        _ => None,
    }
}

/// `mantissa * 2^exponent`, correctly rounded.
fn scale(mantissa: u64, exponent: i16) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // The value is m * 2^e with the highest bit of m set.
    let shift = mantissa.leading_zeros();
    let m = mantissa << shift;
    let e = i32::from(exponent) - i32::try_from(shift).unwrap_or(0);
    // The biased exponent of a normal number. A subnormal number has fewer bits of precision.
    let biased = e + 63 + 1023;
    if biased >= 0x7ff {
        return f64::INFINITY;
    }
    let dropped = if biased >= 1 { 11 } else { 12 - biased };
    if dropped > 64 {
        return 0.0;
    }
    let wide = u128::from(m);
    let (kept, rest, half) = (wide >> dropped, wide & ((1 << dropped) - 1), 1u128 << (dropped - 1));
    let round_up = rest > half || (rest == half && kept & 1 == 1);
    let rounded = u64::try_from(kept).unwrap_or(u64::MAX) + u64::from(round_up);
    // A carry out of the mantissa moves into the exponent, which is what is wanted.
    let base = if biased >= 1 { u64::try_from(biased - 1).unwrap_or(0) << 52 } else { 0 };
    f64::from_bits(base + rounded)
}

#[cfg(test)]
mod tests {
    use super::{decode_f32, decode_f64, encode_f32, encode_f64};
    use proptest::prelude::*;

    #[test]
    fn knows_special_numbers() {
        assert_eq!(decode_f64(1.0), (1 << 52, -52, 1));
        assert_eq!(decode_f64(f64::NEG_INFINITY), (1 << 52, 972, -1));
        assert_eq!(encode_f64((3, 1, -1)), Some(-6.0));
        assert_eq!(encode_f64((u64::MAX, 0, 1)), Some(18_446_744_073_709_551_616.0));
        assert_eq!(encode_f64((1, 2000, 1)), Some(f64::INFINITY));
        assert_eq!(encode_f64((1, -2000, 1)), Some(0.0));
        assert_eq!(encode_f64((1, 0, 0)), None);
        assert_eq!(encode_f32((1, 128, 1)), None);
        assert_eq!(encode_f32(decode_f32(f32::INFINITY)), Some(f32::INFINITY));
        for value in [0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::NAN] {
            assert_eq!(encode_f64(decode_f64(value)).unwrap().to_bits(), value.to_bits());
        }
    }

    proptest! {
        #[test]
        fn every_number_survives(bits: u64, narrow: u32) {
            let value = f64::from_bits(bits);
            prop_assert_eq!(encode_f64(decode_f64(value)).unwrap().to_bits(), bits);
            let value = f32::from_bits(narrow);
            prop_assert_eq!(encode_f32(decode_f32(value)).unwrap().to_bits(), narrow);
        }

        #[test]
        fn unusual_forms_are_computed(mantissa in 0u64..1 << 53, exponent in -1000i16..900) {
            #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
            let expected = mantissa as f64 * 2f64.powi(exponent.into());
            prop_assert_eq!(encode_f64((mantissa, exponent, 1)), Some(expected));
        }
    }
}

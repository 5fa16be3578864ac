//! Arithmetic in the one group of HomeKit's SRP, RFC 5054's of 3072 bits: Montgomery form over limbs
//! of 32 bits, which is what a MIPS multiplies at once. Every step takes the same path whatever the
//! numbers are; only the public length of an exponent shows.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// Bytes of a number.
pub const BYTES: usize = 384;
const LIMBS: usize = BYTES / 4;

/// A number below 2^3072, least limb first.
type Limbs = [u32; LIMBS];

/// The prime, most significant byte first.
pub const PRIME: &[u8; BYTES] = include_bytes!("group3072.bin");

/// The group with what is computed from its prime once.
pub struct Group {
    prime: Limbs,
    /// -1 / prime mod 2^32.
    inverse: u32,
    /// 2^6144 mod prime: takes a number into Montgomery form.
    square: Limbs,
}

/// A number of the group in Montgomery form.
#[derive(Clone, Copy)]
pub struct Number(Limbs);

fn limbs(bytes: &[u8; BYTES]) -> Limbs {
    let mut out = [0; LIMBS];
    let (words, _) = bytes.as_chunks::<4>();
    out.iter_mut().zip(words.iter().rev()).for_each(|(o, w)| *o = u32::from_be_bytes(*w));
    out
}

/// a - b, and whether it went below zero (as 1).
fn subtract(a: &Limbs, b: &Limbs) -> (Limbs, u32) {
    let mut out = [0; LIMBS];
    let mut borrow = 0u64;
    for ((o, &x), &y) in out.iter_mut().zip(a).zip(b) {
        let d = u64::from(x).wrapping_sub(u64::from(y)).wrapping_sub(borrow);
        *o = d as u32;
        borrow = d >> 63;
    }
    (out, borrow as u32)
}

/// a if `first` is all ones, b if it is zero.
fn choose(first: u32, a: &Limbs, b: &Limbs) -> Limbs {
    let first = std::hint::black_box(first);
    let mut out = *b;
    for (o, &x) in out.iter_mut().zip(a) {
        *o = *o & !first | x & first;
    }
    out
}

impl Group {
    /// Computes what is needed; about a tenth of an exponentiation.
    pub fn new() -> Group {
        let prime = limbs(PRIME);
        let low = prime.first().copied().unwrap_or(1);
        // Newton: each step doubles the right bits, from three.
        let mut inverse = low;
        for _ in 0..4 {
            inverse = inverse.wrapping_mul(2u32.wrapping_sub(low.wrapping_mul(inverse)));
        }
        let mut group = Group { prime, inverse: inverse.wrapping_neg(), square: [0; LIMBS] };
        // 2^3072 - prime is 2^3072 mod prime, as the prime's highest bit is set; doubled 3072 times.
        let (one, _) = subtract(&[0; LIMBS], &prime);
        let mut square = one;
        for _ in 0..BYTES * 8 {
            square = group.sum(&square, &square);
        }
        group.square = square;
        group
    }

    /// Takes `value`, with `high` above it, below the prime; it is below twice the prime.
    fn reduced(&self, value: &Limbs, high: u32) -> Limbs {
        let (less, borrow) = subtract(value, &self.prime);
        // Less is right if there was a high limb, or none was borrowed.
        choose(0u32.wrapping_sub(high | (1 ^ borrow)), &less, value)
    }

    fn sum(&self, a: &Limbs, b: &Limbs) -> Limbs {
        let mut out = [0; LIMBS];
        let mut carry = 0u64;
        for ((o, &x), &y) in out.iter_mut().zip(a).zip(b) {
            carry += u64::from(x) + u64::from(y);
            *o = carry as u32;
            carry >>= 32;
        }
        self.reduced(&out, carry as u32)
    }

    /// a * b / 2^3072 mod prime.
    fn product(&self, a: &Limbs, b: &Limbs) -> Limbs {
        let mut sum = [0u32; LIMBS];
        let mut high = 0u64;
        for &x in a {
            let x = u64::from(x);
            let mut carry = 0u64;
            for (s, &y) in sum.iter_mut().zip(b) {
                carry += u64::from(*s) + x * u64::from(y);
                *s = carry as u32;
                carry >>= 32;
            }
            high += carry;
            // Add the multiple of the prime that makes the lowest limb zero, and move down by it.
            let multiple = u64::from(sum.first().copied().unwrap_or(0).wrapping_mul(self.inverse));
            let mut carry = 0u64;
            for (s, &p) in sum.iter_mut().zip(&self.prime) {
                carry += u64::from(*s) + multiple * u64::from(p);
                *s = carry as u32;
                carry >>= 32;
            }
            high += carry;
            sum.rotate_left(1);
            if let Some(top) = sum.last_mut() {
                *top = high as u32;
            }
            high >>= 32;
        }
        self.reduced(&sum, high as u32)
    }

    /// A number from its bytes, most significant first; beyond the prime it is reduced.
    pub fn number(&self, bytes: &[u8; BYTES]) -> Number {
        let value = self.reduced(&limbs(bytes), 0);
        Number(self.product(&value, &self.square))
    }

    /// A small number.
    pub fn small(&self, value: u32) -> Number {
        let mut limbs = [0; LIMBS];
        if let Some(low) = limbs.first_mut() {
            *low = value;
        }
        Number(self.product(&limbs, &self.square))
    }

    /// Its bytes, most significant first.
    pub fn bytes(&self, number: &Number) -> [u8; BYTES] {
        let mut one = [0; LIMBS];
        if let Some(low) = one.first_mut() {
            *low = 1;
        }
        let plain = self.product(&number.0, &one);
        let mut out = [0; BYTES];
        let (words, _) = out.as_chunks_mut::<4>();
        words.iter_mut().rev().zip(plain).for_each(|(w, l)| *w = l.to_be_bytes());
        out
    }

    /// a + b
    pub fn add(&self, a: &Number, b: &Number) -> Number {
        Number(self.sum(&a.0, &b.0))
    }

    /// a * b
    pub fn multiply(&self, a: &Number, b: &Number) -> Number {
        Number(self.product(&a.0, &b.0))
    }

    /// `base` to the power whose bytes are `exponent`, most significant first. Four bits at a time;
    /// all sixteen powers are touched for each, so that none shows.
    pub fn power(&self, base: &Number, exponent: &[u8]) -> Number {
        let one = self.small(1).0;
        let mut powers = vec![one];
        for _ in 1..16 {
            let next = self.product(powers.last().unwrap_or(&one), &base.0);
            powers.push(next);
        }
        let mut result = one;
        for byte in exponent {
            for digit in [byte >> 4, byte & 15] {
                for _ in 0..4 {
                    result = self.product(&result, &result);
                }
                let mut factor = [0; LIMBS];
                for (i, power) in powers.iter().enumerate() {
                    let differ = i as u32 ^ u32::from(digit);
                    // All ones exactly if they do not differ.
                    factor = choose((differ.wrapping_sub(1) >> 31).wrapping_neg(), power, &factor);
                }
                result = self.product(&result, &factor);
            }
        }
        Number(result)
    }
}

impl Number {
    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.0.iter().fold(0, |all, l| all | l) == 0
    }
}

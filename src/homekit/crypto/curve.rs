//! Curve25519 as HomeKit uses it: Ed25519 (RFC 8032) to sign and verify, X25519 (RFC 7748) to exchange
//! keys. Numbers are eight limbs of 32 bits, which is what a MIPS multiplies at once; every size of step
//! is a loop, where a library made for 64 bits takes 125 KB of flash. Whatever is secret takes the same
//! path and touches the same memory for every value. Bytes in, bytes out; randomness is the caller's.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{Key, same, sha512};
use std::ops::{Add, Mul, Sub};

/// A number below 2^256, least limb first.
type Limbs = [u32; 8];

/// 2^255 - 19
const PRIME: Limbs = [!18, !0, !0, !0, !0, !0, !0, !0 >> 1];
/// How many points the base generates, a prime.
const ORDER: Limbs = [0x5cf5_d3ed, 0x5812_631a, 0xa2f7_9cd6, 0x14de_f9de, 0, 0, 0, 0x1000_0000];

fn limbs(bytes: &Key) -> Limbs {
    let mut out = [0; 8];
    let (words, _) = bytes.as_chunks::<4>();
    out.iter_mut().zip(words).for_each(|(o, w)| *o = u32::from_le_bytes(*w));
    out
}

fn bytes(limbs: &Limbs) -> Key {
    let mut out = [0; 32];
    let (words, _) = out.as_chunks_mut::<4>();
    words.iter_mut().zip(limbs).for_each(|(w, l)| *w = l.to_le_bytes());
    out
}

/// a if `first` is 1, b if it is 0.
fn choose(first: u32, a: &Limbs, b: &Limbs) -> Limbs {
    let mask = std::hint::black_box(first).wrapping_neg();
    let mut out = *b;
    out.iter_mut().zip(a).for_each(|(o, a)| *o = *o & !mask | a & mask);
    out
}

/// The number less the bound, and 1 if it was below it.
fn less(value: &Limbs, bound: &Limbs) -> (Limbs, u32) {
    let mut out = [0; 8];
    let mut carry = 0i64;
    for ((o, &v), &b) in out.iter_mut().zip(value).zip(bound) {
        carry += i64::from(v) - i64::from(b);
        *o = carry as u32;
        carry >>= 32;
    }
    (out, (carry & 1) as u32)
}

/// The number, less the bound if that is not more than it.
fn below(value: &Limbs, bound: &Limbs) -> Limbs {
    let (rest, under) = less(value, bound);
    choose(under, value, &rest)
}

fn product(a: &Limbs, b: &Limbs) -> [u32; 16] {
    let mut out = [0u32; 16];
    for (i, &x) in a.iter().enumerate() {
        let mut carry = 0u64;
        for (o, &y) in out.iter_mut().skip(i).zip(b) {
            carry += u64::from(*o) + u64::from(x) * u64::from(y);
            *o = carry as u32;
            carry >>= 32;
        }
        if let Some(top) = out.get_mut(i + 8) {
            *top = carry as u32;
        }
    }
    out
}

/// A number modulo the prime; any of the limbs' values, so some have two forms.
#[derive(Clone, Copy)]
struct Field(Limbs);

impl Field {
    const ZERO: Field = Field::small(0);
    const ONE: Field = Field::small(1);
    /// -121665 / 121666, of the Edwards curve's equation.
    const D: Field = Field([
        0x1359_78a3,
        0x75eb_4dca,
        0x4141_d8ab,
        0x0070_0a4d,
        0x7779_e898,
        0x8cc7_4079,
        0x2b6f_fe73,
        0x5203_6cee,
    ]);
    /// A square root of -1.
    const ROOT: Field = Field([
        0x4a0e_a0b0,
        0xc4ee_1b27,
        0xad2f_e478,
        0x2f43_1806,
        0x3dfb_d7a7,
        0x2b4d_0099,
        0x4fc1_df0b,
        0x2b83_2480,
    ]);

    const fn small(value: u32) -> Field {
        Field([value, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Of bytes, without their highest bit.
    fn of(from: &Key) -> Field {
        let mut value = limbs(from);
        let [.., top] = &mut value;
        *top &= !0 >> 1;
        Field(value)
    }

    /// Takes in what is over 2^256, which is 38 modulo the prime; twice, as the first may overflow.
    fn settled(mut value: Limbs, mut over: i64) -> Field {
        for _ in 0..2 {
            over *= 38;
            for limb in &mut value {
                over += i64::from(*limb);
                *limb = over as u32;
                over >>= 32;
            }
        }
        Field(value)
    }

    /// The one form that is below the prime.
    fn bytes(&self) -> Key {
        bytes(&below(&below(&self.0, &PRIME), &PRIME))
    }

    fn is(&self, other: &Field) -> bool {
        self.bytes() == other.bytes()
    }

    /// To the power whose 32 bytes are `high`, all ones, and `low`.
    fn power(&self, high: u8, low: u8) -> Field {
        let mut out = Field::ONE;
        for i in 0..32 {
            let byte = match i {
                0 => high,
                31 => low,
                _ => 0xff,
            };
            for bit in (0..8).rev() {
                out = &out * &out;
                if byte >> bit & 1 == 1 {
                    out = &out * self;
                }
            }
        }
        out
    }

    /// 1 / self; zero for zero.
    fn inverse(&self) -> Field {
        self.power(0x7f, 0xeb)
    }
}

impl Add for &Field {
    type Output = Field;
    fn add(self, other: &Field) -> Field {
        let mut out = self.0;
        let mut carry = 0;
        for (o, &b) in out.iter_mut().zip(&other.0) {
            carry += i64::from(*o) + i64::from(b);
            *o = carry as u32;
            carry >>= 32;
        }
        Field::settled(out, carry)
    }
}

impl Sub for &Field {
    type Output = Field;
    fn sub(self, other: &Field) -> Field {
        let (out, under) = less(&self.0, &other.0);
        Field::settled(out, -i64::from(under))
    }
}

impl Mul for &Field {
    type Output = Field;
    fn mul(self, other: &Field) -> Field {
        let wide = product(&self.0, &other.0);
        let (low, high) = wide.split_at(8);
        let mut out = [0; 8];
        let mut carry = 0;
        for ((o, &l), &h) in out.iter_mut().zip(low).zip(high) {
            carry += i64::from(l) + 38 * i64::from(h);
            *o = carry as u32;
            carry >>= 32;
        }
        Field::settled(out, carry)
    }
}

/// The x coordinate of `scalar` times the point with that one, both as they come by the wire.
pub fn x25519(scalar: &Key, point: &Key) -> Key {
    let scalar = limbs(&clamped(scalar));
    let start = Field::of(point);
    let (mut x2, mut z2, mut x3, mut z3) = (Field::ONE, Field::ZERO, start, Field::ONE);
    for word in scalar.iter().rev() {
        for bit in (0..32).rev() {
            let swap = word >> bit & 1;
            let pick = |a: &Field, b: &Field| Field(choose(swap, &a.0, &b.0));
            // the ladder's two points, the one that is doubled first
            let (xa, za) = (pick(&x3, &x2), pick(&z3, &z2));
            let (xb, zb) = (pick(&x2, &x3), pick(&z2, &z3));
            let (a, b) = (&xa + &za, &xa - &za);
            let (aa, bb) = (&a * &a, &b * &b);
            let e = &aa - &bb;
            let (da, cb) = (&(&xb - &zb) * &a, &(&xb + &zb) * &b);
            let (sum, rest) = (&da + &cb, &da - &cb);
            let (xb, zb) = (&sum * &sum, &start * &(&rest * &rest));
            let xa = &aa * &bb;
            let za = &e * &(&aa + &(&Field::small(121_665) * &e));
            (x2, z2, x3, z3) = (pick(&xb, &xa), pick(&zb, &za), pick(&xa, &xb), pick(&za, &zb));
        }
    }
    (&x2 * &z2.inverse()).bytes()
}

fn clamped(scalar: &Key) -> Key {
    let mut out = *scalar;
    let [first, .., last] = &mut out;
    *first &= 0xf8;
    *last = *last & 0x7f | 0x40;
    out
}

/// A point of the Edwards curve: X, Y, Z and T, with x = X/Z, y = Y/Z and xy = T/Z.
#[derive(Clone, Copy)]
struct Point([Field; 4]);

impl Point {
    const ZERO: Point = Point([Field::ZERO, Field::ONE, Field::ONE, Field::ZERO]);

    /// What generates the others: the point with y = 4/5.
    fn base() -> Point {
        let mut name = [0x66; 32];
        let [first, ..] = &mut name;
        *first = 0x58;
        Point::of(&name).unwrap_or(Point::ZERO)
    }

    /// Of its name: y, and in the highest bit whether x is odd. Nothing if no point is called so.
    fn of(name: &Key) -> Option<Point> {
        let y = Field::of(name);
        let [.., last] = *name;
        let odd = last >> 7;
        let mut plain = *name;
        let [.., last] = &mut plain;
        *last &= 0x7f;
        if y.bytes() != plain {
            return None;
        }
        let square = &y * &y;
        let (u, v) = (&square - &Field::ONE, &(&square * &Field::D) + &Field::ONE);
        // a root of u/v, or of -u/v
        let mut x = &(&u * &v).power(0x0f, 0xfd) * &u;
        let found = &(&x * &x) * &v;
        if found.is(&(&Field::ZERO - &u)) {
            x = &x * &Field::ROOT;
        } else if !found.is(&u) {
            return None;
        }
        let [first, ..] = x.bytes();
        if first & 1 != odd {
            if x.is(&Field::ZERO) {
                return None;
            }
            x = &Field::ZERO - &x;
        }
        Some(Point([x, y, Field::ONE, &x * &y]))
    }

    fn name(&self) -> Key {
        let [x, y, z, _] = &self.0;
        let inverse = z.inverse();
        let [odd, ..] = (x * &inverse).bytes();
        let mut name = (y * &inverse).bytes();
        let [.., last] = &mut name;
        *last |= odd << 7;
        name
    }

    fn negative(&self) -> Point {
        let [x, y, z, t] = &self.0;
        Point([&Field::ZERO - x, *y, *z, &Field::ZERO - t])
    }

    /// Itself `scalar` times.
    fn times(&self, scalar: &Limbs) -> Point {
        Point::sum(&[(self, scalar)])
    }

    /// The sum of points, each so many times: what is doubled is doubled once for all. Four bits at a
    /// time; all sixteen multiples are touched for each.
    fn sum(of: &[(&Point, &Limbs)]) -> Point {
        let multiples = |point: &Point| {
            let mut multiples = vec![Point::ZERO];
            for _ in 1..16 {
                let next = multiples.last().unwrap_or(point) + point;
                multiples.push(next);
            }
            multiples
        };
        let tables: Vec<_> = of.iter().map(|(point, scalar)| (multiples(point), *scalar)).collect();
        let mut out = Point::ZERO;
        for at in (0..64).rev() {
            for _ in 0..4 {
                out = &out + &out;
            }
            for (multiples, scalar) in &tables {
                let word = scalar.get(at / 8).copied().unwrap_or_default();
                let digit = word >> (4 * (at % 8)) & 15;
                let mut found = Point::ZERO;
                for (i, multiple) in multiples.iter().enumerate() {
                    // 1 exactly if they do not differ
                    let is = (digit ^ i as u32).wrapping_sub(1) >> 31;
                    for (f, m) in found.0.iter_mut().zip(&multiple.0) {
                        f.0 = choose(is, &m.0, &f.0);
                    }
                }
                out = &out + &found;
            }
        }
        out
    }

    /// Whether it is one of the eight that have no secret.
    fn is_weak(&self) -> bool {
        let two = self + self;
        let Point([x, ..]) = &two + &two;
        x.is(&Field::ZERO)
    }
}

impl Add for &Point {
    type Output = Point;
    /// RFC 8032, 5.1.4: right for all points, also the same one twice.
    fn add(self, other: &Point) -> Point {
        let [x1, y1, z1, t1] = &self.0;
        let [x2, y2, z2, t2] = &other.0;
        let a = &(y1 - x1) * &(y2 - x2);
        let b = &(y1 + x1) * &(y2 + x2);
        let c = &(t1 * t2) * &Field::D;
        let d = z1 * z2;
        let (c, d) = (&c + &c, &d + &d);
        let (e, f, g, h) = (&b - &a, &d - &c, &d + &c, &b + &a);
        Point([&e * &f, &g * &h, &f * &g, &e * &h])
    }
}

/// A number of 512 bits modulo the order.
fn reduced(wide: &[u32; 16]) -> Limbs {
    let mut out = [0u32; 8];
    for word in wide.iter().rev() {
        for bit in (0..32).rev() {
            let mut carry = word >> bit & 1;
            for limb in &mut out {
                (*limb, carry) = (*limb << 1 | carry, *limb >> 31);
            }
            out = below(&out, &ORDER);
        }
    }
    out
}

/// A hash of the parts as a scalar.
fn scalar(parts: &[&[u8]]) -> Limbs {
    let hash = sha512(parts);
    let mut wide = [0; 16];
    let (words, _) = hash.as_chunks::<4>();
    wide.iter_mut().zip(words).for_each(|(o, w)| *o = u32::from_le_bytes(*w));
    reduced(&wide)
}

/// A seed's two halves: the secret scalar, and what makes nonces.
fn halves(seed: &Key) -> (Limbs, Key) {
    let hash = sha512(&[seed]);
    let (mut secret, mut nonce) = ([0; 32], [0; 32]);
    secret.iter_mut().chain(&mut nonce).zip(hash).for_each(|(o, h)| *o = h);
    (limbs(&clamped(&secret)), nonce)
}

/// The public key that belongs to a signing seed.
pub fn public_key(seed: &Key) -> Key {
    Point::base().times(&halves(seed).0).name()
}

/// Signs.
pub fn sign(seed: &Key, message: &[u8]) -> [u8; 64] {
    sign_as(seed, &public_key(seed), message)
}

/// Signs, where the public key of that seed is known.
pub fn sign_as(seed: &Key, public: &Key, message: &[u8]) -> [u8; 64] {
    let (secret, nonce) = halves(seed);
    let once = scalar(&[&nonce, message]);
    let first = Point::base().times(&once).name();
    let k = scalar(&[&first, public, message]);
    let mut sum = product(&k, &secret);
    let mut carry = 0u64;
    for (s, o) in sum.iter_mut().zip(once.into_iter().chain([0; 8])) {
        carry += u64::from(*s) + u64::from(o);
        *s = carry as u32;
        carry >>= 32;
    }
    let mut out = [0; 64];
    let second = bytes(&reduced(&sum));
    out.iter_mut().zip(first.into_iter().chain(second)).for_each(|(o, b)| *o = b);
    out
}

/// Whether the owner of `key` signed this; never for a weak key.
pub fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Some((first, second))) = (<&Key>::try_from(key), signature.split_first_chunk::<32>())
    else {
        return false;
    };
    let Ok(second) = <&Key>::try_from(second) else { return false };
    let Some(point) = Point::of(key).filter(|p| !p.is_weak()) else { return false };
    let second = limbs(second);
    if less(&second, &ORDER).1 == 0 {
        return false;
    }
    let k = scalar(&[first, key, message]);
    let expected = Point::sum(&[(&Point::base(), &second), (&point.negative(), &k)]);
    same(&expected.name(), first)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bytes as random, hex};
    use super::*;
    use ed25519_compact::{KeyPair, Noise, PublicKey, Seed, Signature, x25519 as other};

    fn key(random: &mut impl FnMut(&mut [u8])) -> Key {
        let mut key = [0; 32];
        random(&mut key);
        key
    }

    #[test]
    fn signatures_are_the_ones_that_others_make_and_take() {
        let mut random = random(3);
        for round in 0..24 {
            let seed = key(&mut random);
            let mut message = vec![0; round * 7];
            random(&mut message);
            let theirs = KeyPair::from_seed(Seed::new(seed));
            let public = public_key(&seed);
            assert_eq!(public, *theirs.pk);
            let signature = sign(&seed, &message);
            assert_eq!(signature, *theirs.sk.sign(&message, None::<Noise>));
            assert!(verify(&public, &message, &signature));
            for at in [0, 20, 31, 32, 50, 63] {
                let mut bent = signature;
                bent[at] ^= 1 << (round % 8);
                assert!(!verify(&public, &message, &bent), "{at}");
            }
            let mut bent = public;
            bent[round] ^= 4;
            assert!(!verify(&bent, &message, &signature));
            message.push(0);
            assert!(!verify(&public, &message, &signature));
        }
    }

    #[test]
    fn secrets_are_the_ones_that_others_share() {
        let mut random = random(5);
        for round in 0..40 {
            let (secret, mut point) = (key(&mut random), key(&mut random));
            match round {
                0 => point = [0xff; 32],
                1 => point = bytes(&PRIME),
                2..12 => point = [0xff - round as u8; 32],
                _ => {}
            }
            let theirs = other::PublicKey::new(point).dh(&other::SecretKey::new(secret));
            // small-order points are refused there
            let expected = theirs.map_or([0; 32], |t| *t);
            assert_eq!(x25519(&secret, &point), expected, "{round}");
        }
    }

    #[test]
    fn many_times_in_a_row() {
        // RFC 7748, 5.2
        let mut base = [0; 32];
        base[0] = 9;
        let (mut k, mut u) = (base, base);
        for round in 0..30 {
            (k, u) = (x25519(&k, &u), k);
            if round == 0 {
                assert_eq!(k[..], hex("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
            }
        }
        let (mut a, mut b) = (base, base);
        for _ in 0..30 {
            (a, b) = (*other::PublicKey::new(b).dh(&other::SecretKey::new(a)).unwrap(), a);
        }
        assert_eq!((k, u), (a, b));
    }

    #[test]
    fn names_without_a_point_and_points_without_a_secret_are_refused() {
        let mut random = random(9);
        let message = b"door";
        let seed = key(&mut random);
        let mut signature = sign(&seed, message);
        let public = public_key(&seed);
        // the same signature with the order added to its second half: only one of them is right
        let mut second: Key = signature[32..].try_into().unwrap();
        let mut carry = 0u64;
        let mut sum = limbs(&second);
        for (s, o) in sum.iter_mut().zip(ORDER) {
            carry += u64::from(*s) + u64::from(o);
            *s = carry as u32;
            carry >>= 32;
        }
        second = bytes(&sum);
        signature[32..].copy_from_slice(&second);
        assert!(!verify(&public, message, &signature));
        // keys of small order, also by their second names
        for name in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            let name: Key = hex(name).try_into().unwrap();
            // R and S of zero fit every message where the key is not looked at
            let zero = [Point::ZERO.name(), [0; 32]].concat();
            assert!(!verify(&name, message, &zero));
        }
        // half of all names have no point; we and they agree which
        let mut none = 0;
        for _ in 0..40 {
            let name = key(&mut random);
            let theirs = PublicKey::new(name).verify(message, &Signature::new([1; 64]));
            let here = Point::of(&name);
            none += usize::from(here.is_none());
            assert!(theirs.is_err());
            if let Some(point) = here {
                assert_eq!(point.name(), name);
            }
        }
        assert!((8..32).contains(&none), "{none}");
        assert!(!verify(&public, message, &[0; 63]) && !verify(&public[..31], message, &[0; 64]));
    }

    #[test]
    fn the_edges_of_the_field() {
        let numbers: Vec<Field> = [
            [0; 32],
            bytes(&PRIME),
            bytes(&below(&[!0; 8], &[37, 0, 0, 0, 0, 0, 0, 0])),
            [0xff; 32],
            bytes(&[!19, !0, !0, !0, !0, !0, !0, !0 >> 1]),
            bytes(&[!17, !0, !0, !0, !0, !0, !0, !0 >> 1]),
        ]
        .map(|b| Field(limbs(&b)))
        .to_vec();
        let zero = [0, 1, 2];
        for at in zero {
            assert!(numbers[at].is(&Field::ZERO), "{at}");
        }
        assert!(numbers[3].is(&Field::small(37)));
        assert!((&numbers[4] + &Field::ONE).is(&Field::ZERO));
        assert!(numbers[5].is(&Field::ONE));
        for a in &numbers {
            for b in &numbers {
                assert!((&(a - b) + b).is(a));
                assert!((a * b).is(&(b * a)));
                let sum = a + b;
                assert!((&sum * &sum).is(&(&(&(a * a) + &(b * b)) + &(&Field::small(2) * &(a * b)))));
            }
            if !a.is(&Field::ZERO) {
                assert!((a * &a.inverse()).is(&Field::ONE));
            }
        }
        assert!((&Field::ROOT * &Field::ROOT).is(&(&Field::ZERO - &Field::ONE)));
        let by = &Field::D * &Field::small(121_666);
        assert!((&by + &Field::small(121_665)).is(&Field::ZERO));
    }
}

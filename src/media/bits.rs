//! Bits inside a NAL unit: reading with emulation prevention (`00 00 03`) skipped on the way,
//! writing with it put in. Read by the H.264, H.265 and SEI parsers, written by the demo camera's
//! encoder. The reader never copies and never reads past its slice; the writer appends to the
//! caller's buffer and owns none.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// Why a bitstream could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// The bytes end before what the syntax promises.
    Ended,
    /// An Exp-Golomb number of more than 32 bits.
    TooLong,
    /// A field has a value that the standard does not allow.
    OutOfRange(&'static str),
    /// Other bytes than what was asked for.
    NotA(&'static str),
    /// The parameter set that is referred to is not the one given.
    OtherSet(&'static str),
    /// Allowed by the standard, not read here.
    Unsupported(&'static str),
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, rest) = match *self {
            SyntaxError::Ended => ("bitstream", " ends too early"),
            SyntaxError::TooLong => ("bitstream", " has an Exp-Golomb number of more than 32 bits"),
            SyntaxError::OutOfRange(name) => (name, " is out of the standard's range"),
            SyntaxError::NotA(name) => (name, " expected, the bytes are something else"),
            SyntaxError::OtherSet(name) => (name, " referred to is not the one known"),
            SyntaxError::Unsupported(name) => (name, " is not supported"),
        };
        f.write_str(name)?;
        f.write_str(rest)
    }
}

impl std::error::Error for SyntaxError {}

/// What every reading function here returns.
pub type Result<T> = std::result::Result<T, SyntaxError>;

/// Reads bits, most significant first, from a NAL unit as it lies in the stream. What goes wrong is
/// remembered and told once, by [`BitReader::end`]; all that is read from then on is 0, so whoever
/// reads bounds his loops by the standard's limits and looks at nothing before the end was asked.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    data: &'a [u8],
    next: usize,
    /// The next bits, from the highest on; zeros behind them.
    window: u32,
    have: u32,
    zeros: u8,
    error: Option<SyntaxError>,
}

impl<'a> BitReader<'a> {
    /// Reads from the first bit of `nal`. Zero bytes at the end belong to the byte stream, not to
    /// the unit, and are not read.
    pub fn new(nal: &'a [u8]) -> BitReader<'a> {
        BitReader { data: trim_zeros(nal), next: 0, window: 0, have: 0, zeros: 0, error: None }
    }

    /// What went wrong first, if anything did.
    pub fn end(&self) -> Result<()> {
        self.error.map_or(Ok(()), Err)
    }

    /// From here on nothing can be read, and this is why.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self, error: SyntaxError) {
        self.error.get_or_insert(error);
        (self.next, self.window, self.have) = (self.data.len(), 0, 0);
    }

    /// At least 25 bits, or all there are.
    fn fill(&mut self) {
        while self.have <= 24 {
            let Some(&byte) = self.data.get(self.next) else { return };
            self.next += 1;
            if byte > 3 {
                self.zeros = 0;
            } else if self.zeros >= 2 && byte == 3 {
                self.zeros = 0;
                continue;
            } else {
                self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
            }
            self.window |= u32::from(byte) << (24 - self.have);
            self.have += 8;
        }
    }

    /// Fewer than 32.
    fn pass(&mut self, n: u32) {
        self.window = self.window.wrapping_shl(n);
        self.have -= n;
    }

    /// An unsigned number of `n` bits, at most 32.
    pub fn u(&mut self, n: u32) -> u32 {
        if n > 24 {
            let high = self.u(n - 16);
            return (high << 16) | self.u(16);
        }
        if n > self.have {
            self.fill();
            if n > self.have {
                self.fail(SyntaxError::Ended);
                return 0;
            }
        }
        // in two steps: of no bits at all it is 0
        let value = self.window >> 1 >> (31 - n);
        self.pass(n);
        value
    }

    /// An unsigned number of up to 8 bits.
    pub fn u8(&mut self, n: u32) -> u8 {
        self.u(n.min(8)) as u8
    }

    /// One bit.
    pub fn flag(&mut self) -> bool {
        if self.have == 0 {
            self.fill();
            if self.have == 0 {
                self.fail(SyntaxError::Ended);
                return false;
            }
        }
        let set = self.window >> 31 != 0;
        self.pass(1);
        set
    }

    /// Passes over `n` bits.
    pub fn skip(&mut self, n: u32) {
        let mut n = n;
        while n > 0 && self.error.is_none() {
            let step = n.min(24);
            self.u(step);
            n -= step;
        }
    }

    /// An unsigned Exp-Golomb number.
    pub fn ue(&mut self) -> u32 {
        let mut zeros = self.window.leading_zeros();
        if 2 * zeros >= self.have {
            self.fill();
            zeros = self.window.leading_zeros();
            if 2 * zeros >= self.have {
                return self.long_ue();
            }
        }
        let code = self.window >> (31 - 2 * zeros);
        self.pass(2 * zeros + 1);
        code - 1
    }

    /// One that the window cannot hold.
    #[cold]
    fn long_ue(&mut self) -> u32 {
        let mut zeros = 0;
        loop {
            self.fill();
            if self.have == 0 {
                self.fail(SyntaxError::Ended);
                return 0;
            }
            let run = self.window.leading_zeros().min(self.have);
            zeros += run;
            if zeros > 31 {
                self.fail(SyntaxError::TooLong);
                return 0;
            }
            // not all 32: that was too long
            self.pass(run);
            if self.have > 0 {
                self.pass(1);
                break;
            }
        }
        let rest = self.u(zeros);
        ((1u32 << zeros) - 1).wrapping_add(rest)
    }

    /// A signed Exp-Golomb number.
    pub fn se(&mut self) -> i32 {
        let code = self.ue();
        let half = (code >> 1) as i32;
        if code & 1 == 1 { half.wrapping_add(1) } else { half.wrapping_neg() }
    }

    /// An unsigned Exp-Golomb number of at most `max`; `name` is told in the error.
    pub fn ue_max(&mut self, max: u32, name: &'static str) -> u32 {
        let value = self.ue();
        if value > max {
            self.fail(SyntaxError::OutOfRange(name));
            return 0;
        }
        value
    }

    /// A signed Exp-Golomb number within `min..=max`; `name` is told in the error.
    pub fn se_in(&mut self, min: i32, max: i32, name: &'static str) -> i32 {
        let value = self.se();
        if value < min || value > max {
            self.fail(SyntaxError::OutOfRange(name));
            return 0;
        }
        value
    }

    /// Whether there is anything before the stop bit that ends the unit.
    pub fn more_data(&self) -> bool {
        let mut rest = self.clone();
        rest.fill();
        // the last byte is never zero: what has not come into the window is more than it
        rest.next < rest.data.len() || rest.window != 0 && rest.window != 1 << 31
    }
}

/// `nal` without the zero bytes at its end.
pub fn trim_zeros(nal: &[u8]) -> &[u8] {
    let mut nal = nal;
    while let [rest @ .., 0] = nal {
        nal = rest;
    }
    nal
}

/// Writes bits, most significant first, behind what is in the caller's buffer.
#[derive(Debug)]
pub struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u32,
    bits: u32,
    zeros: u8,
    escape: bool,
}

impl<'a> BitWriter<'a> {
    /// Writes a NAL unit from its header on: emulation prevention is put in.
    pub fn nal(out: &'a mut Vec<u8>) -> BitWriter<'a> {
        BitWriter { out, pending: 0, bits: 0, zeros: 0, escape: true }
    }

    /// Writes plain bits: an RBSP before its escaping, or a header that has none.
    pub fn plain(out: &'a mut Vec<u8>) -> BitWriter<'a> {
        BitWriter { out, pending: 0, bits: 0, zeros: 0, escape: false }
    }

    fn byte(&mut self, byte: u8) {
        if self.escape {
            push_escaped(self.out, &mut self.zeros, byte);
        } else {
            self.out.push(byte);
        }
    }

    /// The low `n` bits of `value`, at most 32.
    pub fn put(&mut self, n: u32, value: u32) {
        if n > 16 {
            self.put_short(n.min(32) - 16, value >> 16);
            self.put_short(16, value);
        } else {
            self.put_short(n, value);
        }
    }

    fn put_short(&mut self, n: u32, value: u32) {
        // At most 7 bits are pending, so 16 more always fit.
        self.pending = (self.pending << n) | (value & ((1 << n) - 1));
        self.bits += n;
        while self.bits >= 8 {
            self.bits -= 8;
            let byte = (self.pending >> self.bits) as u8;
            self.byte(byte);
        }
    }

    /// One bit.
    pub fn flag(&mut self, value: bool) {
        self.put_short(1, u32::from(value));
    }

    /// An unsigned Exp-Golomb number; `u32::MAX` has no code of 32 bits and becomes one less.
    pub fn ue(&mut self, value: u32) {
        let code = value.min(u32::MAX - 1) + 1;
        let zeros = 31 - code.leading_zeros();
        self.put(zeros, 0);
        self.put(zeros + 1, code);
    }

    /// A signed Exp-Golomb number.
    pub fn se(&mut self, value: i32) {
        let twice = value.unsigned_abs().saturating_mul(2);
        self.ue(if value > 0 { twice - 1 } else { twice });
    }

    /// Whole bytes, at any bit position.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.put_short(8, u32::from(byte));
        }
    }

    /// Whether a byte begins here.
    pub fn aligned(&self) -> bool {
        self.bits == 0
    }

    /// Zero bits up to the next byte.
    pub fn align(&mut self) {
        if self.bits > 0 {
            self.put_short(8 - self.bits, 0);
        }
    }

    /// The stop bit and the zeros after it: the end of an RBSP.
    pub fn trailing(mut self) {
        self.put_short(1, 1);
        self.align();
    }
}

fn push_escaped(out: &mut Vec<u8>, zeros: &mut u8, byte: u8) {
    if *zeros >= 2 && byte <= 3 {
        out.push(3);
        *zeros = 0;
    }
    *zeros = if byte == 0 { *zeros + 1 } else { 0 };
    out.push(byte);
}

/// Appends `rbsp` (with its NAL header in front) to `out` as a NAL unit, with emulation prevention.
pub fn escape(rbsp: &[u8], out: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in rbsp {
        push_escaped(out, &mut zeros, byte);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    pub(crate) use super::super::testing::Rng;

    /// Bytes of a hexadecimal text; blanks are skipped.
    pub(crate) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    /// Calls `f` with many small damages of `input`: flipped bits, changed, lost and doubled bytes.
    pub(crate) fn mutations(input: &[u8], rounds: usize, f: &mut dyn FnMut(&[u8])) {
        let mut rng = Rng::new(input.len() as u64 + 1);
        for _ in 0..rounds {
            let mut bytes = input.to_vec();
            for _ in 0..=rng.below(4) {
                if bytes.is_empty() {
                    break;
                }
                let at = rng.below(bytes.len());
                match rng.below(5) {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => bytes[at] = rng.next() as u8,
                    2 => drop(bytes.remove(at)),
                    3 => bytes.insert(at, rng.next() as u8),
                    _ => bytes[at] = [0, 0xff, 0x80, 1][rng.below(4)],
                }
            }
            f(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn golomb_numbers_come_back() {
        let numbers = [0u32, 1, 2, 3, 4, 7, 8, 254, 255, 65534, 65535, 1 << 30, u32::MAX - 2, u32::MAX - 1];
        let signed = [0i32, 1, -1, 2, -2, 100, -100, 32767, -32768, i32::MAX, -i32::MAX];
        let mut out = Vec::new();
        let mut w = BitWriter::nal(&mut out);
        for n in numbers {
            w.ue(n);
        }
        for n in signed {
            w.se(n);
        }
        w.put(32, 0xdead_beef);
        w.trailing();
        let mut r = BitReader::new(&out);
        for n in numbers {
            assert_eq!(r.ue(), n);
        }
        for n in signed {
            assert_eq!(r.se(), n);
        }
        assert!(r.more_data());
        assert_eq!(r.u(32), 0xdead_beef);
        assert!(!r.more_data() && r.end().is_ok());
    }

    #[test]
    fn a_number_over_32_bits_is_an_error() {
        for (bytes, wrong) in [(&[0, 0, 0, 0, 0xff][..], SyntaxError::TooLong), (&[0, 0], SyntaxError::Ended)]
        {
            let mut r = BitReader::new(bytes);
            assert_eq!((r.ue(), r.end()), (0, Err(wrong)));
            // and so it stays
            assert_eq!((r.u(8), r.ue(), r.flag(), r.more_data()), (0, 0, false, false));
            r.fail(SyntaxError::NotA("picture"));
            assert_eq!(r.end(), Err(wrong));
        }
    }

    #[test]
    fn emulation_prevention_is_put_in_and_taken_out() {
        // The pairs of clause 7.4.1 of the standard.
        let mut nal = Vec::new();
        escape(&[0x65, 0, 0, 0, 9, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4], &mut nal);
        assert_eq!(nal, hex("65 000003 00 09 000003 01 000003 02 000003 03 0000 04"));
        let mut rng = Rng::new(7);
        for _ in 0..2000 {
            let rbsp: Vec<u8> =
                (0..rng.below(40)).map(|_| [0, 0, 0, 1, 2, 3, 4, 0xff][rng.below(8)]).collect();
            let (mut nal, mut same) = (vec![], vec![]);
            escape(&rbsp, &mut nal);
            BitWriter::nal(&mut same).bytes(&rbsp);
            assert_eq!(nal, same);
            assert!(!nal.windows(3).any(|w| w[0] == 0 && w[1] == 0 && w[2] < 3));
            let mut r = BitReader::new(&nal);
            for &byte in trim_zeros(&rbsp) {
                assert_eq!(r.u(8), u32::from(byte));
            }
        }
    }

    #[test]
    fn numbers_of_every_kind_come_back_in_any_order() {
        let mut rng = Rng::new(11);
        for _ in 0..2000 {
            let numbers: Vec<(usize, u32)> = (0..rng.below(30))
                .map(|_| (rng.below(36), rng.next().checked_shr(rng.below(40) as u32).unwrap_or(0)))
                .collect();
            let mut out = vec![];
            let mut w = BitWriter::nal(&mut out);
            for &(kind, value) in &numbers {
                match kind {
                    0..=32 => w.put(kind as u32, value),
                    33 => w.ue(value),
                    _ => w.se(value as i32),
                }
            }
            w.trailing();
            let mut r = BitReader::new(&out);
            for &(kind, value) in &numbers {
                assert!(r.more_data() || kind == 0);
                match kind {
                    0..=32 => assert_eq!(r.u(kind as u32), value & (u64::pow(2, kind as u32) - 1) as u32),
                    33 => assert_eq!(r.ue(), value.min(u32::MAX - 1)),
                    _ => assert_eq!(r.se(), (value as i32).max(-i32::MAX)),
                }
            }
            assert!(!r.more_data() && r.end().is_ok(), "{numbers:?}");
        }
    }

    #[test]
    fn the_stop_bit_is_found_at_every_position() {
        for n in 0..24u32 {
            let mut out = Vec::new();
            let mut w = BitWriter::nal(&mut out);
            w.put(n, 0);
            w.put(8, 0);
            w.trailing();
            let mut r = BitReader::new(&out);
            for _ in 0..n + 8 {
                assert!(r.more_data(), "{n}");
                assert!(!r.flag());
            }
            assert!(!r.more_data(), "{n}");
        }
        assert!(!BitReader::new(&[]).more_data());
    }
}

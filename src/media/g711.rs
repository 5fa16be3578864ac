//! G.711: telephone sound, one byte a sample, by A-law or mu-law. Arithmetic and no tables: with
//! one count of leading zeros a sample costs a dozen instructions, and a table of the same speed
//! would cost 1 KiB of flash and the small caches of a camera's core.

/// Which of the two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A-law: Europe and most cameras (PCMA).
    A,
    /// Mu-law: America and Japan (PCMU).
    Mu,
}

impl Law {
    /// The code of one sample.
    #[inline]
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Law::A => alaw_encode(sample),
            Law::Mu => ulaw_encode(sample),
        }
    }

    /// The sample of one code.
    #[inline]
    pub const fn decode(self, code: u8) -> i16 {
        match self {
            Law::A => alaw_decode(code),
            Law::Mu => ulaw_decode(code),
        }
    }

    /// The code of silence.
    pub const fn silence(self) -> u8 {
        self.encode(0)
    }

    /// Encodes as many samples as both sides hold and says how many.
    pub fn encode_all(self, from: &[i16], to: &mut [u8]) -> usize {
        to.iter_mut().zip(from).map(|(to, &s)| *to = self.encode(s)).count()
    }

    /// Decodes as many samples as both sides hold and says how many.
    pub fn decode_all(self, from: &[u8], to: &mut [i16]) -> usize {
        to.iter_mut().zip(from).map(|(to, &c)| *to = self.decode(c)).count()
    }
}

/// A-law of the upper 13 bits of a sample.
pub const fn alaw_encode(sample: i16) -> u8 {
    // One's complement makes the negative half the mirror of the positive one.
    let sign = (sample >> 15) as u16;
    let magnitude = (sample as u16 ^ sign) >> 4;
    // The segment is where the leading one stands; the first two share a step.
    let segment = 12u32.saturating_sub((magnitude | 1).leading_zeros());
    let segment = segment as u16;
    let shift = segment.saturating_sub(1);
    let code = segment << 4 | (magnitude >> shift) & 15;
    (code | !sign & 0x80) as u8 ^ 0x55
}

/// The middle of an A-law step, as 16 bits.
pub const fn alaw_decode(code: u8) -> i16 {
    let code = code ^ 0x55;
    let segment = (code >> 4 & 7) as i16;
    let mantissa = ((code & 15) as i16) << 4 | 8;
    let magnitude = match segment {
        0 => mantissa,
        s => (mantissa + 0x100) << (s - 1),
    };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// Mu-law of the upper 14 bits of a sample.
pub const fn ulaw_encode(sample: i16) -> u8 {
    let sign = (sample >> 15) as u16;
    let magnitude = ((sample as u16 ^ sign) >> 2) + 33;
    let magnitude = if magnitude > 0x1fff { 0x1fff } else { magnitude };
    // 33 is at least 2^5, so the leading one stands at bit 5 to 12.
    let segment = 10 - magnitude.leading_zeros() as u16;
    let code = segment << 4 | (magnitude >> (segment + 1)) & 15;
    !(code | sign & 0x80) as u8
}

/// The middle of a mu-law step, as 16 bits.
pub const fn ulaw_decode(code: u8) -> i16 {
    let code = !code;
    let segment = code >> 4 & 7;
    let magnitude = (((code & 15) as i16) << 3 | 0x84) << segment;
    let magnitude = magnitude - 0x84;
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G.711's tables 1a and 1b: steps of each segment, built by counting, not by bits. Gives the
    /// lower end of each step of the positive half, in the law's own unit.
    fn decisions(first: &[(i32, i32)]) -> Vec<i32> {
        let mut ends = vec![];
        let mut at = 0;
        for &(count, step) in first {
            for _ in 0..count {
                ends.push(at);
                at += step;
            }
        }
        ends
    }

    #[test]
    fn a_law_is_the_tables_of_the_standard_for_every_sample() {
        // 12-bit magnitude: 32 steps of 1, then 16 each of 2, 4 ... 64 (in units of 16-bit >> 4).
        let ends = decisions(&[(32, 1), (16, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64)]);
        assert_eq!(ends.len(), 128);
        for sample in i16::MIN..=i16::MAX {
            let magnitude = if sample < 0 { !i32::from(sample) } else { i32::from(sample) } >> 4;
            let step = ends.iter().rposition(|&e| e <= magnitude).unwrap() as u8;
            let code = (step | if sample >= 0 { 0x80 } else { 0 }) ^ 0x55;
            assert_eq!(alaw_encode(sample), code, "{sample}");
            let next = ends.get(usize::from(step) + 1).copied().unwrap_or(2048);
            let middle = (ends[usize::from(step)] + next) * 8;
            assert_eq!(i32::from(alaw_decode(code)), if sample < 0 { -middle } else { middle });
        }
    }

    #[test]
    fn mu_law_is_the_tables_of_the_standard_for_every_sample() {
        // 13-bit magnitude: the first step reaches to 1, then 15 of 2, then 16 each of 4 ... 256.
        let ends = decisions(&[
            (1, 1),
            (15, 2),
            (16, 4),
            (16, 8),
            (16, 16),
            (16, 32),
            (16, 64),
            (16, 128),
            (16, 256),
        ]);
        assert_eq!(ends.len(), 128);
        for sample in i16::MIN..=i16::MAX {
            let magnitude = if sample < 0 { !i32::from(sample) } else { i32::from(sample) } >> 2;
            let step = ends.iter().rposition(|&e| e <= magnitude).unwrap();
            let code = !(step as u8) & 0x7f | if sample >= 0 { 0x80 } else { 0 };
            assert_eq!(ulaw_encode(sample), code, "{sample}");
            let next = ends.get(step + 1).copied().unwrap_or(8159);
            let middle = if step == 0 { 0 } else { (ends[step] + next) * 2 };
            assert_eq!(i32::from(ulaw_decode(code)), if sample < 0 { -middle } else { middle });
        }
    }

    #[test]
    fn every_code_survives_a_round_trip() {
        for code in 0..=255u8 {
            assert_eq!(alaw_encode(alaw_decode(code)), code);
            // Mu-law has two zeros, which are one sample.
            let expected = if code == 0x7f { 0xff } else { code };
            assert_eq!(ulaw_encode(ulaw_decode(code)), expected);
        }
    }

    #[test]
    fn known_codes() {
        assert_eq!((alaw_encode(0), alaw_encode(-1), alaw_encode(i16::MAX)), (0xd5, 0x55, 0xaa));
        assert_eq!((ulaw_encode(0), ulaw_encode(i16::MAX), ulaw_encode(i16::MIN)), (0xff, 0x80, 0x00));
        assert_eq!((ulaw_decode(0), ulaw_decode(0x80), alaw_decode(0x2a)), (-32124, 32124, -32256));
        let mut out = [0u8; 3];
        assert_eq!(Law::A.encode_all(&[0, -1], &mut out), 2);
        assert_eq!(out, [0xd5, 0x55, 0]);
        assert_eq!(Law::Mu.silence(), 0xff);
    }
}

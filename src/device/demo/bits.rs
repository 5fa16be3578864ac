//! The demo encoder's bit writer: bits into a reused buffer, most significant first, and the copy
//! of a finished NAL unit into an access unit with its length in front and emulation prevention in
//! it. It never reads a bitstream.

/// Writes one NAL unit's payload.
#[derive(Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits {
    /// Begins a NAL unit with its header byte.
    pub(super) fn begin(&mut self, header: u8) {
        self.bytes.clear();
        self.held = 0;
        self.count = 0;
        self.bytes.push(header);
    }

    /// The lowest `n` bits of `value`; `n` is at most 32.
    #[inline]
    pub(super) fn put(&mut self, n: u32, value: u32) {
        self.held = (self.held << n) | (u64::from(value) & ((1 << n) - 1));
        self.count += n;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.held >> self.count) as u8);
        }
    }

    /// Unsigned Exp-Golomb.
    #[inline]
    pub(super) fn ue(&mut self, value: u32) {
        let code = value.saturating_add(1);
        let len = 32 - code.leading_zeros();
        self.put(len - 1, 0);
        self.put(len, code);
    }

    /// Signed Exp-Golomb.
    pub(super) fn se(&mut self, value: i32) {
        let twice = value.unsigned_abs().saturating_mul(2);
        self.ue(if value > 0 { twice - 1 } else { twice });
    }

    /// Bits written so far.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64 * 8 + u64::from(self.count)
    }

    /// The stop bit and zeros up to the byte's end.
    pub(super) fn end(&mut self) {
        self.put(1, 1);
        if self.count > 0 {
            self.put(8 - self.count, 0);
        }
    }

    /// Appends the NAL unit without a length.
    pub(super) fn escape_into(&self, out: &mut Vec<u8>) {
        let mut zeros = 0;
        for &byte in &self.bytes {
            if zeros >= 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
    }

    /// Appends the NAL unit behind its 32-bit length.
    pub(super) fn frame_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.escape_into(out);
        let len = (out.len() - start - 4) as u32;
        if let Some(head) = out.get_mut(start..start + 4) {
            head.copy_from_slice(&len.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_looks_like_a_start_code_does_not_cut_the_stream() {
        let mut bits = Bits::default();
        bits.begin(0x65);
        for byte in [0, 0, 0, 0, 0, 1, 0, 0, 4, 0, 0, 3] {
            bits.put(8, byte);
        }
        let mut out = Vec::new();
        bits.frame_into(&mut out);
        assert_eq!(out, [0, 0, 0, 16, 0x65, 0, 0, 3, 0, 0, 3, 0, 1, 0, 0, 4, 0, 0, 3, 3]);
    }

    #[test]
    fn golomb_codes_are_the_standards() {
        let mut bits = Bits::default();
        bits.begin(0);
        for value in [0, 1, 2, 3] {
            bits.ue(value); // 1 010 011 00100
        }
        for value in [1, -1, 2] {
            bits.se(value); // 010 011 00100
        }
        bits.end();
        let mut out = Vec::new();
        bits.escape_into(&mut out);
        assert_eq!(out, [0, 0b1010_0110, 0b0100_0100, 0b1100_1001]);
    }
}

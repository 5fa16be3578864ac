//! Text that comes in pieces: whether it is UTF-8, with at most three bytes kept between pieces.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

#[derive(Default)]
pub(super) struct Utf8 {
    begun: [u8; 4],
    have: usize,
}

impl Utf8 {
    /// Whether what came so far can be text.
    pub fn push(&mut self, mut piece: &[u8]) -> bool {
        while self.have > 0 {
            let Some((&byte, rest)) = piece.split_first() else { return true };
            piece = rest;
            if let Some(place) = self.begun.get_mut(self.have) {
                *place = byte;
            }
            self.have += 1;
            match std::str::from_utf8(self.begun.get(..self.have).unwrap_or(&[])) {
                Ok(_) => self.have = 0,
                Err(e) if e.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(e) if e.error_len().is_some() => false,
            Err(e) => {
                for byte in piece.iter().skip(e.valid_up_to()) {
                    if let Some(place) = self.begun.get_mut(self.have) {
                        *place = *byte;
                        self.have += 1;
                    }
                }
                true
            }
        }
    }

    /// The text ends; whether it ended with a whole character.
    pub fn end(&mut self) -> bool {
        std::mem::take(&mut self.have) == 0
    }
}

//! A message while it is being written: bounded, on the stack, nothing allocated.

use std::fmt;

/// The longest message.
pub const LONGEST: usize = 2048;

/// A text of at most [`LONGEST`] bytes; what does not fit is cut off at a character.
pub struct Text {
    bytes: [u8; LONGEST],
    len: usize,
    cut: bool,
}

impl Text {
    /// Nothing yet.
    pub const fn new() -> Text {
        Text { bytes: [0; LONGEST], len: 0, cut: false }
    }

    /// Adds as much of `more` as fits.
    pub fn push(&mut self, more: &str) {
        let room = LONGEST - self.len;
        if self.cut || more.is_empty() {
            return;
        }
        self.cut = more.len() > room;
        let mut len = more.len().min(room);
        while !more.is_char_boundary(len) {
            len -= 1;
        }
        if let (Some(to), Some(from)) =
            (self.bytes.get_mut(self.len..self.len + len), more.as_bytes().get(..len))
        {
            to.copy_from_slice(from);
            self.len += len;
        }
    }

    /// Ends with `mark`, at the cost of the last characters where there is no room.
    pub fn end_with(&mut self, mark: &str) {
        self.cut = false;
        self.len = self.len.min(LONGEST - mark.len().min(LONGEST));
        while self.bytes.get(..self.len).is_some_and(|b| std::str::from_utf8(b).is_err()) {
            self.len = self.len.saturating_sub(1);
        }
        self.push(mark);
    }

    /// Whether something did not fit.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// What was written.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or("")
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_ends_at_a_character() {
        let mut text = Text::new();
        text.push(&"é".repeat(1023));
        text.push("x€");
        assert!(text.is_cut());
        text.push("more");
        assert_eq!(text.as_str().len(), 2047);
        assert!(text.as_str().ends_with("éx"));
        text.end_with("…");
        assert!(text.as_str().ends_with("é…") && text.as_str().len() <= LONGEST);
        let mut exact = Text::new();
        exact.push(&"a".repeat(LONGEST));
        assert!(!exact.is_cut());
        exact.push("b");
        assert!(exact.is_cut());
    }
}

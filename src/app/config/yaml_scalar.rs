//! Single values of YAML: plain, in quotes, as a block of text. The reader stands at a value's first
//! byte and comes out behind its last, with the text that it means: lines folded, escapes resolved.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::yaml_read::{COLON, Reader, TAB, blank, bracket, breaks, space};

impl Reader<'_> {
    /// A value without quotes, with the lines that continue it further in than `indent`, and where its
    /// last word ends. In a block it stops at `: ` on its first line only: then it is a key.
    pub(super) fn plain(&mut self, indent: isize, flow: bool) -> (String, usize) {
        let next = self.ahead(1);
        let bad = match self.byte() {
            b'-' | b'?' | b':' => space(next) || (flow && bracket(next)),
            b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\'' | b'"'
            | b'%' | b'@' | b'`' => true,
            _ => false,
        };
        if bad {
            let closed = matches!(self.byte(), b']' | b'}');
            self.fail(
                self.at,
                if closed {
                    "a bracket is closed that was not opened"
                } else {
                    "this character cannot begin a value; put the text in quotes"
                },
            );
        }
        let from = self.at;
        let mut end = self.plain_line(flow);
        let mut text = self.source.get(from..end).unwrap_or("").to_owned();
        // Until the value goes on, the reader stays on its last line.
        while breaks(self.byte()) {
            let (at, line) = (self.at, self.line);
            let folded = self.fold();
            let stop = match self.byte() {
                0 | b'#' => true,
                b',' | b'[' | b']' | b'{' | b'}' if flow => true,
                b':' if flow => space(self.ahead(1)) || bracket(self.ahead(1)),
                _ => self.marker() || (!flow && (self.at - self.line) as isize <= indent),
            };
            if !flow && self.byte() != 0 && self.byte() != b'#' {
                self.no_tab(indent);
            }
            if stop {
                (self.at, self.line) = (at, line);
                break;
            }
            fold_into(&mut text, folded);
            let from = self.at;
            end = self.plain_line(flow);
            text.push_str(self.source.get(from..end).unwrap_or(""));
            if !flow && self.byte() == b':' {
                self.fail(self.at, COLON);
            }
        }
        (text, end)
    }

    /// Passes what one line holds of a plain value; answers where its last word ends.
    fn plain_line(&mut self, flow: bool) -> usize {
        let mut end = self.at;
        let mut before = b'x';
        loop {
            let (byte, next) = (self.byte(), self.ahead(1));
            let stop = match byte {
                b':' => space(next) || (flow && bracket(next)),
                b'#' => blank(before),
                _ => breaks(byte) || (flow && bracket(byte)),
            };
            if stop {
                return end;
            }
            self.at += 1;
            if !blank(byte) {
                end = self.at;
            }
            before = byte;
        }
    }

    /// Passes line ends, empty lines and the white space in front of the next word; how many line ends.
    fn fold(&mut self) -> usize {
        let mut lines = 0;
        while breaks(self.byte()) && self.byte() != 0 {
            self.next_line();
            self.indent();
            lines += 1;
        }
        lines
    }

    /// A value in quotes, single or double.
    pub(super) fn quoted(&mut self) -> String {
        let start = self.at;
        let quote = self.byte();
        let mut text = String::new();
        // White space behind this is dropped at the end of a line.
        let mut solid = 0;
        self.at += 1;
        loop {
            let from = self.at;
            while self.byte() != quote
                && !breaks(self.byte())
                && !blank(self.byte())
                && (self.byte() != b'\\' || quote == b'\'')
            {
                self.at += 1;
            }
            if self.at > from {
                text.push_str(self.source.get(from..self.at).unwrap_or(""));
                solid = text.len();
            }
            match self.byte() {
                0 => {
                    self.fail(start, "a quote was opened and not closed; expected its end");
                    return text;
                }
                b' ' | b'\t' => {
                    text.push(char::from(self.byte()));
                    self.at += 1;
                }
                b'\n' | b'\r' => {
                    text.truncate(solid);
                    let folded = self.fold();
                    if self.marker() || (self.at - self.line) as isize <= self.margin {
                        self.fail(start, "a quote was opened and not closed; expected its end");
                    }
                    fold_into(&mut text, folded);
                    solid = text.len();
                }
                b'\\' => {
                    self.at += 1;
                    if !self.escape(&mut text) {
                        self.fail(
                            start,
                            "unknown escape after a backslash; use single quotes for text with backslashes",
                        );
                    }
                    solid = text.len();
                }
                _ => {
                    self.at += 1;
                    if quote != b'\'' || self.byte() != quote {
                        return text;
                    }
                    text.push('\'');
                    solid = text.len();
                    self.at += 1;
                }
            }
        }
    }

    /// What follows a backslash; false if it is nothing known.
    fn escape(&mut self, text: &mut String) -> bool {
        let byte = self.byte();
        if breaks(byte) && byte != 0 {
            // The line goes on without a space.
            let lines = self.fold();
            for _ in 1..lines {
                text.push('\n');
            }
            return true;
        }
        self.at += 1;
        let found = match byte {
            b'0' => '\0',
            b'a' => '\x07',
            b'b' => '\x08',
            b't' | b'\t' => '\t',
            b'n' => '\n',
            b'v' => '\x0b',
            b'f' => '\x0c',
            b'r' => '\r',
            b'e' => '\x1b',
            b' ' | b'"' | b'/' | b'\\' => char::from(byte),
            b'N' => '\u{85}',
            b'_' => '\u{a0}',
            b'L' => '\u{2028}',
            b'P' => '\u{2029}',
            b'x' | b'u' | b'U' => {
                let mut value = 0;
                let digits = match byte {
                    b'x' => 2,
                    b'u' => 4,
                    _ => 8,
                };
                for _ in 0..digits {
                    let Some(digit) = char::from(self.byte()).to_digit(16) else { return false };
                    value = value << 4 | digit;
                    self.at += 1;
                }
                let Some(found) = char::from_u32(value) else { return false };
                found
            }
            _ => return false,
        };
        text.push(found);
        true
    }

    /// `|` or `>` and the lines below it that stand further in than `indent`; and where the last ends.
    pub(super) fn block_text(&mut self, indent: isize) -> (String, usize) {
        let folds = self.byte() == b'>';
        let (mut keep, mut given) = (None, 0);
        self.at += 1;
        loop {
            match self.byte() {
                b'+' | b'-' if keep.is_none() => keep = Some(self.byte() == b'+'),
                digit @ b'1'..=b'9' if given == 0 => given = usize::from(digit - b'0'),
                _ => break,
            }
            self.at += 1;
        }
        let mut end = self.at;
        self.blanks();
        if self.byte() == b'#' && self.behind_blank() {
            self.comment();
        }
        if !breaks(self.byte()) {
            self.fail(self.at, "expected the end of the line behind '|' or '>'");
        }
        let least = (indent + 1).max(0) as usize;
        let mut margin = if given > 0 { Some(indent.max(0) as usize + given) } else { None };
        let mut text = String::new();
        let mut pending = 0;
        let mut further = true;
        if self.byte() != 0 {
            self.next_line();
        }
        loop {
            while self.byte() == b' ' && margin.is_none_or(|margin| self.at - self.line < margin) {
                self.at += 1;
            }
            let spaces = self.at - self.line;
            if self.byte() == 0 {
                break;
            }
            if breaks(self.byte()) {
                pending += 1;
                self.next_line();
                continue;
            }
            if margin.is_none() && spaces < least && self.byte() == b'\t' {
                self.fail(self.at, TAB);
                break;
            }
            let margin = *margin.get_or_insert(spaces.max(least));
            if spaces < margin || self.marker() {
                break;
            }
            let more = blank(self.byte());
            if folds && !further && !more {
                fold_into(&mut text, pending);
            } else {
                for _ in 0..pending {
                    text.push('\n');
                }
            }
            further = more;
            let from = self.at;
            self.comment();
            text.push_str(self.source.get(from..self.at).unwrap_or(""));
            end = self.at;
            // The text's end is a line's end too.
            pending = 1;
            if self.byte() != 0 {
                self.next_line();
            }
        }
        if self.byte() != 0 {
            self.at = self.line;
        }
        match keep {
            Some(true) => (0..pending).for_each(|_| text.push('\n')),
            None if !text.is_empty() && pending > 0 => text.push('\n'),
            _ => {}
        }
        (text, end)
    }
}

/// One line end between words is a space, more are one less.
fn fold_into(text: &mut String, lines: usize) {
    if lines == 1 {
        text.push(' ');
    }
    for _ in 1..lines {
        text.push('\n');
    }
}

//! Words of others inside our sentences: in quotes, on one line, and as constant sentences in the
//! system's error type. The standard library's own ways (`{:?}`, `io::Error::new` with a text) bring
//! Unicode's tables along, 3 KB of flash.

use std::fmt::{self, Display, Formatter, Write};
use std::io;

/// A text as it may stand in a message: in quotes, without line ends or other controls.
pub struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => {
                    f.write_char('\\')?;
                    f.write_char(c)?;
                }
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

struct Sentence(&'static str);

impl Display for Sentence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Sentence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Sentence {}

/// An error of the system's type that says this.
pub fn io_error(kind: io::ErrorKind, sentence: &'static str) -> io::Error {
    io::Error::new(kind, Sentence(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_stays_on_its_line_and_in_its_quotes() {
        assert_eq!(Quoted("front door").to_string(), "\"front door\"");
        assert_eq!(Quoted("ä\"b\\c\n\r\t\u{7}").to_string(), "\"ä\\\"b\\\\c\\n\\r\\t\u{fffd}\"");
    }

    #[test]
    fn an_error_says_its_sentence() {
        let error = io_error(io::ErrorKind::InvalidInput, "this is not a name");
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::InvalidInput, "this is not a name")
        );
    }
}

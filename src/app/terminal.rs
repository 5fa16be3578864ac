//! What a person at the terminal reads and types. Whole texts at once; a reader that has gone is no error.

use crate::net::process::{standard, write_all};
use crate::net::quoted::io_error;
use std::fmt;
use std::io::{self, IsTerminal};

/// Prints a text that was asked for.
pub fn print(text: &str) {
    let _ = write_all(standard(1), text.as_bytes());
}

/// Prints a text that was asked for, as a line of its own.
pub fn print_line(text: &str) {
    print(text);
    if !text.ends_with('\n') {
        print("\n");
    }
}

/// Says what went wrong, in one line.
pub fn complain(what: fmt::Arguments<'_>) {
    let mut line = what.to_string();
    line.push('\n');
    let _ = write_all(standard(2), line.as_bytes());
}

/// Whether a person looks at what is printed.
pub fn is_watched() -> bool {
    standard(1).is_terminal()
}

/// The next line that is typed, or what comes before the end.
pub fn read_line() -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 4096 && nix::unistd::read(standard(0), &mut byte)? == 1 {
        line.extend(byte);
        if byte == [b'\n'] {
            break;
        }
    }
    String::from_utf8(line).map_err(|_| io_error(io::ErrorKind::InvalidData, "this is not UTF-8"))
}

//! Plays everybody around an RTSP server, in a process of its own, so that the server's cost stands
//! apart: one publisher with exact times, and readers by TCP or UDP that look at every packet. Or is
//! itself the least that a server can do: the same system calls and nothing else.
//!
//! `rtsp load ADDRESS PATH PID key=value …` prints what it saw as lines of name and number;
//! `rtsp bare` prints its port and serves until it is ended. `scripts/bench rtsp` calls both.
#![allow(missing_docs, unsafe_code, clippy::disallowed_methods)]

mod bare;
mod link;
mod load;
mod stream;

use std::process::exit;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["bare"] => bare::serve(),
        ["load", address, path, pid, ref more @ ..] => {
            load::Plan::read(address, path, pid, more).and_then(load::run)
        }
        _ => {
            // `cargo bench` without a name comes by here
            println!("rtsp: see scripts/bench rtsp");
            return;
        }
    };
    if let Err(error) = done {
        eprintln!("rtsp: {error}");
        exit(1);
    }
}

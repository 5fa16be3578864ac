//! The command line: arguments stand one behind the other, with a NUL between them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use streamd::app::args::{Command, parse};

/// See the module.
pub fn run(data: &[u8]) {
    let args: Vec<OsString> = data.split(|&b| b == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect();
    let command = parse(args.clone());
    assert_eq!(parse(args), command);
    match command {
        Ok(Command::Probe { seconds, .. }) => assert!((1..=3600).contains(&seconds)),
        Ok(Command::Print(text)) => assert!(text.len() < 8000),
        Ok(_) => {}
        Err(error) => assert!(error.to_string().len() < 2000 + 4 * data.len(), "{error}"),
    }
}

//! Configuration, start-up, live reload, command line, log.

pub mod log;
pub mod config;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

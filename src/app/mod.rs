//! Configuration, start-up, live reload, command line, log.

pub mod args;
pub mod config;
pub mod help;
pub mod log;
pub mod state;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

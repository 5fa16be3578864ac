//! Configuration, start-up, live reload, command line, log. The roof: nothing but this room knows
//! every other.

pub mod api;
pub mod args;
pub mod config;
mod ctl;
mod decimal;
mod devices;
mod discovery;
pub mod help;
#[cfg(feature = "homekit")]
mod homekit;
pub mod log;
mod memory;
pub mod modules;
#[cfg(feature = "tools")]
pub mod motion;
mod privacy;
#[cfg(feature = "tools")]
mod probe;
pub mod program;
#[cfg(feature = "record")]
mod record;
#[cfg(feature = "rtsp")]
mod rtsp;
mod run;
mod sentry;
pub mod state;
mod terminal;

use args::Command;
use help::Exit;
use std::ffi::OsString;

/// Runs the program as its arguments say, the first of which is its own name; what it says to a script
/// at its end.
pub fn main(words: Vec<OsString>) -> u8 {
    let command = match args::parse(words.iter().skip(1).cloned()) {
        Ok(command) => command,
        Err(error) => {
            terminal::complain(format_args!("{error}"));
            return Exit::Usage.into();
        }
    };
    match command {
        Command::Run { config, strict } => run::run(config, strict, false, words),
        Command::Hksv { config } => run::run(config, false, true, words),
        Command::Check { config } => run::check(&config).into(),
        #[cfg(feature = "schema")]
        Command::Schema { docs: true } => print(&config::docs::docs()),
        #[cfg(feature = "schema")]
        Command::Schema { docs: false } => print(&config::schema::schema()),
        #[cfg(feature = "tools")]
        Command::Probe { config, source, json, seconds, frames, save } => {
            let until = probe::Until { seconds, frames };
            probe::probe(&config, &source, json, &until, save.as_deref()).into()
        }
        #[cfg(feature = "tools")]
        Command::Motion(options) => motion::motion(&options).into(),
        Command::Devices { json } => print(&devices::list(json)),
        Command::Ctl { socket, action } => ctl::ctl(socket.as_deref(), action).into(),
        Command::Print(text) => print(&text),
    }
}

/// Prints a text that was asked for.
fn print(text: &str) -> u8 {
    terminal::print_line(text);
    Exit::Ok.into()
}

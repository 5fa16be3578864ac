//! Configuration, start-up, live reload, command line, log. The roof: nothing but this room knows
//! every other.

pub mod api;
pub mod args;
pub mod config;
mod ctl;
mod devices;
mod discovery;
pub mod help;
#[cfg(feature = "homekit")]
mod homekit;
pub mod log;
mod memory;
pub mod modules;
pub mod motion;
mod probe;
pub mod program;
#[cfg(feature = "rtsp")]
mod rtsp;
mod run;
mod sentry;
pub mod state;

use args::Command;
use help::Exit;
use std::io::Write;
use std::process::ExitCode;

/// Runs the program as its arguments say.
pub fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            return Exit::Usage.into();
        }
    };
    match command {
        Command::Run { config, strict } => run::run(config, strict),
        Command::Check { config } => run::check(&config).into(),
        #[cfg(feature = "schema")]
        Command::Schema { docs: true } => print(&config::docs::docs()),
        #[cfg(feature = "schema")]
        Command::Schema { docs: false } => print(&config::schema::schema()),
        #[cfg(not(feature = "schema"))]
        Command::Schema { .. } => {
            let _ = writeln!(
                std::io::stderr(),
                "streamd schema: this streamd is built without the feature `schema`"
            );
            Exit::Failed.into()
        }
        Command::Probe { config, source, json, seconds, frames, save } => {
            let until = probe::Until { seconds, frames };
            probe::probe(&config, &source, json, &until, save.as_deref()).into()
        }
        Command::Motion(options) => motion::motion(&options).into(),
        Command::Devices { json } => print(&devices::list(json)),
        Command::Ctl { socket, action } => ctl::ctl(socket.as_deref(), action).into(),
        Command::Print(text) => print(&text),
    }
}

/// Prints a text that was asked for; a reader that has gone is no error.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
    Exit::Ok.into()
}

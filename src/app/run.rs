//! Starting and ending: the order in which the program comes up and goes down, and `check`.

use super::api;
use super::config::{Loaded, World, load};
use super::help::Exit;
use super::program::{End, Program, configure_log, tell};
use super::{log as logging, modules, terminal};
use crate::net::clock;
use crate::net::executor::LocalExecutor;
use crate::net::log;
use crate::net::process;
use crate::net::signals::{Signals, Told};
use futures_lite::future;
use std::ffi::{CString, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

/// Reads the configuration as the arguments say.
pub fn configuration(arguments: &[String]) -> Loaded {
    let names = modules::names();
    let env = |name: &str| std::env::var(name).ok();
    load(arguments, &World { env: &env, modules: &names })
}

/// Serves until it is told to end; `show` says what there is also where nobody sits at a terminal.
/// `words` are the command line, to start again with.
pub fn run(arguments: Vec<String>, strict: bool, show: bool, words: Vec<OsString>) -> u8 {
    logging::install();
    // before any thread is there, because threads inherit what is blocked
    let signals = Signals::new();
    let loaded = configuration(&arguments);
    logging::set_secrets(loaded.secrets.clone());
    configure_log(&loaded.config);
    for problem in &loaded.problems {
        tell(problem);
    }
    let mut wrong = loaded.has_errors();
    let config = loaded.config.clone();
    let executor = Rc::new(LocalExecutor::new());
    let program = Program::new(executor.clone(), arguments, loaded, modules::compiled());
    modules::register(&program.hall, &|module| config.starts(module));
    if strict {
        for sentence in program.wrong_sources(&config) {
            wrong = true;
            log::error!(target: "config", "{sentence}");
        }
    }
    if strict && wrong {
        log::error!(target: "app", "--strict: not started, because the configuration is wrong");
        logging::flush();
        return Exit::Config.into();
    }
    let end = executor.block_on(serve(&program, signals, show));
    program.close();
    // tasks that were cancelled let go of their sockets and devices here
    for _ in 0..1000 {
        if !executor.try_tick() {
            break;
        }
    }
    logging::flush();
    match end {
        None => Exit::Failed.into(),
        Some(End::Exit(code)) => code,
        Some(End::Restart) => {
            let error = again(words);
            log::error!(target: "app", "cannot start again: {error}");
            logging::flush();
            Exit::Failed.into()
        }
    }
}

/// This program in the place of this process, with the same arguments and environment: comes back only
/// with an error. What is blocked stays so, that no signal is lost between the two.
fn again(words: Vec<OsString>) -> std::io::Error {
    let path = match std::env::current_exe().map(|path| CString::new(path.into_os_string().into_vec())) {
        Ok(Ok(path)) => path,
        Ok(Err(error)) => return error.into(),
        Err(error) => return error,
    };
    // arguments came as C strings: none holds a zero byte
    let arguments: Vec<_> = words.into_iter().filter_map(|it| CString::new(it.into_vec()).ok()).collect();
    match nix::unistd::execv(&path, &arguments) {
        Ok(never) => match never {},
        Err(error) => error.into(),
    }
}

async fn serve(program: &Rc<Program>, signals: std::io::Result<Signals>, show: bool) -> End {
    program.executor.spawn(logging::tell_repetitions()).detach();
    let _routes = api::serve(program);
    program.start();
    if !program.serves() {
        log::error!(target: "app", "nothing can be served, see above; streamd ends");
        return End::Exit(Exit::Failed as u8);
    }
    announce(program, show);
    // with a limit, tracks get what the program leaves: all of it is there from the start
    if program.loaded().config.memory.limit == 0 {
        process::forget_start();
    }
    let signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            log::warn!(target: "app", "signals cannot be listened to: {error}; only a hard kill ends streamd");
            return program.ended().await;
        }
    };
    loop {
        let told = future::or(async { Ok(program.ended().await) }, async { Err(signals.next().await) });
        match told.await {
            Ok(end) => return end,
            Err(Ok(Told::End)) => {
                log::info!(target: "app", "told to end");
                return End::Exit(Exit::Ok as u8);
            }
            Err(Ok(Told::Reload)) => {
                // what was wrong has been told; everything runs on
                let _ = program.reload();
            }
            Err(Err(error)) => {
                log::warn!(target: "app", "signals cannot be listened to: {error}");
                return program.ended().await;
            }
        }
    }
}

/// Says what is being served: in the log, and to a person who looks at the terminal.
fn announce(program: &Rc<Program>, show: bool) {
    let took = clock::now().since(program.started).as_micros() as u64;
    let names: Vec<String> = program.hall.streams().iter().map(|s| s.name().to_owned()).collect();
    let names = if names.is_empty() { "no streams".into() } else { names.join(", ") };
    let listening = program.listening.borrow().join(", ");
    log::info!(
        target: "app",
        "streamd {} serves {names} at {} after {took} µs",
        api::VERSION,
        if listening.is_empty() { "the control socket only" } else { &listening },
    );
    if !show && !terminal::is_watched() {
        return;
    }
    let mut out = String::new();
    let _ = writeln!(out, "\nstreamd {}", api::VERSION);
    for line in program.listening.borrow().iter() {
        let _ = writeln!(out, "  {line}");
    }
    let rtsp = program.listening.borrow().iter().find_map(|l| l.strip_prefix("RTSP ").map(str::to_owned));
    for stream in program.hall.streams() {
        let mut name = String::new();
        crate::net::http::percent_encode(&mut name, stream.name());
        let url = rtsp.as_ref().map_or(String::new(), |base| format!(": {base}{name}"));
        let _ = writeln!(out, "  stream {}{url}", stream.name());
    }
    for line in program.faults().iter() {
        let _ = writeln!(out, "  off: {}", program.loaded().secrets.mask(line));
    }
    program.tell(&mut out);
    out.push('\n');
    terminal::print(&out);
}

/// Reads the configuration and reports.
pub fn check(arguments: &[String]) -> Exit {
    let loaded = configuration(arguments);
    let mut out = String::new();
    let mut wrong = loaded.has_errors();
    for problem in &loaded.problems {
        let word = match problem.severity {
            super::config::Severity::Note => "note",
            super::config::Severity::Warning => "warning",
            super::config::Severity::Error => "error",
        };
        let _ = writeln!(out, "{word}: {problem}");
    }
    // what only the sources themselves can tell
    let executor = Rc::new(LocalExecutor::new());
    let program = Program::new(executor, arguments.to_vec(), loaded, modules::compiled());
    let config = program.loaded().config.clone();
    modules::register(&program.hall, &|module| config.starts(module));
    for sentence in program.wrong_sources(&config) {
        wrong = true;
        let _ = writeln!(out, "error: {}", program.loaded().secrets.mask(&sentence));
    }
    if !wrong {
        let _ = writeln!(out, "{} streams, nothing wrong", config.streams.len());
    }
    terminal::print(&out);
    if wrong { Exit::Config } else { Exit::Ok }
}

//! `/api`, `/api/status`, `/api/schemes`, `/api/exit`, `/api/restart`, and the front page.

use super::{ADMIN, Row, VIEW, now};
use crate::app::program::{End, Program};
use crate::net::clock;
use crate::net::http::{Access, Method, Request, Response};
use crate::net::json::Writer;
use crate::net::users::Door;
use std::rc::Rc;

/// What the API says it is: clients of the predecessor look at this number.
const COMPATIBLE: &str = "1.9.14";
/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const SETUP_PAGE: &[u8] = include_bytes!("setup.html");
const FRONT_PAGE: &[u8] = include_bytes!("front.html");

pub const ROUTES: &[Row] = &[
    now(Method::Get, "/", Access::Open, front),
    now(Method::Get, "/api", VIEW, info),
    now(Method::Get, "/api/status", VIEW, status),
    now(Method::Get, "/api/schemes", VIEW, schemes),
    now(Method::Post, "/api/exit", ADMIN, exit),
    now(Method::Post, "/api/restart", ADMIN, |program, _| {
        program.end(End::Restart);
        Response::text("OK")
    }),
];

fn schemes(program: &Rc<Program>, _: &Request) -> Response {
    let mut w = Writer::new();
    w.begin_array();
    for scheme in program.hall.schemes() {
        w.string(scheme);
    }
    w.end_array();
    Response::json(w.finish())
}

fn exit(program: &Rc<Program>, request: &Request) -> Response {
    match request.query("code").unwrap_or("0").parse::<u8>() {
        Ok(code @ 0..=125) => {
            program.end(End::Exit(code));
            Response::text("OK")
        }
        _ => Response::error(400, "code: expected a number from 0 to 125"),
    }
}

/// Who comes first sets the password; whoever is at the machine itself may look around before.
fn front(program: &Rc<Program>, request: &Request) -> Response {
    let users = program.keeper.users();
    let known = users.is_configured(Door::Api) || users.is_open(Door::Api);
    let here = request.address.is_none_or(|a| a.is_loopback()) && request.query("setup").is_none();
    let page = if known || here { FRONT_PAGE } else { SETUP_PAGE };
    Response::bytes("text/html; charset=utf-8", page).header("Cache-Control", "no-cache")
}

fn info(program: &Rc<Program>, request: &Request) -> Response {
    let loaded = program.loaded();
    let mut w = Writer::new();
    w.begin_object();
    w.key("version").string(COMPATIBLE);
    w.key("streamd").string(VERSION);
    w.key("host").string(&request.head.host);
    if let Some(path) = &loaded.target {
        w.key("config_path").string(&path.to_string_lossy());
    }
    w.key("read_only").bool(loaded.config.api.read_only);
    w.key("pid").uint(u64::from(std::process::id()));
    w.key("rtsp").begin_object();
    if program.modules().contains(&"rtsp") {
        if let Some(address) = loaded.config.rtsp.listen.first() {
            w.key("listen").string(&address.to_string());
        }
        w.key("default_query").string(&loaded.config.rtsp.default_query);
    }
    w.end_object();
    w.end_object();
    Response::json(w.finish())
}

/// What runs and what does not, for `ctl status` and for pages.
fn status(program: &Rc<Program>, request: &Request) -> Response {
    let user = &request.user;
    let mut w = Writer::new();
    w.begin_object();
    w.key("version").string(VERSION);
    w.key("uptime").uint(clock::now().since(program.started).as_secs());
    w.key("listening").begin_array();
    for text in program.listening.borrow().iter() {
        w.string(text);
    }
    w.end_array();
    w.key("off").begin_array();
    // these sentences speak of every stream, so they are for those who may see every stream
    let sees_all = user.streams.is_none();
    for text in program.faults().iter().filter(|_| sees_all) {
        w.string(&program.loaded().secrets.mask(text));
    }
    w.end_array();
    w.key("problems").begin_array();
    for problem in program.loaded().problems.iter().filter(|_| sees_all) {
        w.string(&problem.to_string());
    }
    w.end_array();
    let users = program.keeper.users();
    let doors = match (users.is_configured(Door::Api), users.is_open(Door::Api)) {
        (true, _) => "a user and a password are needed",
        (_, true) => "open to everybody",
        _ => "shut to other hosts until an admin is set",
    };
    w.key("doors").string(doors);
    w.key("streams").begin_object();
    for stream in super::visible(program, user) {
        w.key(stream.name()).begin_object();
        w.key("sources").uint(stream.sources().len() as u64);
        w.key("viewers").uint(stream.viewers().len() as u64);
        w.key("running").bool(stream.sources().iter().any(|s| s.state() == crate::stream::State::Running));
        if let Some(error) = stream.sources().iter().find_map(|s| s.error()) {
            w.key("error").string(&program.loaded().secrets.mask(&error.to_string()));
        }
        w.end_object();
    }
    w.end_object();
    w.key("memory").begin_object();
    let (rss, threads) = crate::net::process::usage();
    w.key("rss").uint(rss);
    w.key("threads").uint(threads);
    w.key("media").uint(super::metrics::media_bytes(program));
    w.end_object();
    w.end_object();
    Response::json(w.finish())
}

//! `/api/config` and `/api/setup`: the configuration read, replaced and changed; the first admin.

use super::{ADMIN, Row, later, now};
use crate::app::config::replace::{self, Rejected, approve};
use crate::app::config::sources::{World, load, read_text};
use crate::app::config::text::Text;
use crate::app::config::write::{self, New};
use crate::app::config::yaml::{Node, Value};
use crate::app::config::yaml_read::parse;
use crate::app::program::Program;
use crate::net::http::{Access, Method, Request, Response};
use crate::net::json;
use crate::net::log;
use crate::stream::Local;
use std::path::PathBuf;
use std::rc::Rc;

/// A configuration that is posted may have this many bytes.
pub const LONGEST: usize = 256 * 1024;

pub const ROUTES: &[Row] = &[
    now(Method::Get, "/api/config", ADMIN, get),
    now(Method::Post, "/api/reload", ADMIN, |program, _| match program.reload() {
        Ok(()) => Response::text("OK"),
        Err(sentence) => Response::error(400, &sentence),
    }),
    later(Method::Post, "/api/setup", Access::Setup, setup),
];

/// Those that take a whole configuration.
pub const LONG: &[Row] =
    &[later(Method::Post, "/api/config", ADMIN, post), later(Method::Patch, "/api/config", ADMIN, patch)];

fn target(program: &Program) -> Option<PathBuf> {
    program.loaded().target.clone()
}

/// The file that is written back, if there is one.
fn file(program: &Program) -> Result<PathBuf, Response> {
    let none = || Response::error(410, "streamd was started without a configuration file");
    target(program).ok_or_else(none)
}

/// What was posted, as text.
fn posted(request: &Request, what: &str) -> Result<String, Response> {
    let text = std::str::from_utf8(&request.body).map(str::to_owned);
    text.map_err(|_| Response::error(400, &format!("the {what} has to be UTF-8 text")))
}

/// Runs it with what the configuration may speak of.
fn with_world<T>(modules: &[&'static str], f: impl FnOnce(&World<'_>) -> T) -> T {
    let env = |name: &str| std::env::var(name).ok();
    f(&World { env: &env, modules })
}

/// What crosses from the worker when nothing was written: the status and the sentence.
type Refused = (u16, String);

fn refused(why: &Rejected) -> Refused {
    let status = match why {
        Rejected::Guarded(_) => 403,
        Rejected::Write(_) => 500,
        _ => 400,
    };
    (status, why.to_string())
}

/// What writes to flash.
type Job = Box<dyn FnOnce(&World<'_>) -> Result<(), Rejected> + Send>;

/// Does it on the worker for flash, and then goes over to what stands in the file. Boxed, job and
/// future, because each of its callers would carry a copy.
fn written(program: Rc<Program>, job: Job) -> Local<Result<(), Response>> {
    Box::pin(async move {
        let modules = program.modules().to_vec();
        match program.slow.run(move || with_world(&modules, job).map_err(|why| refused(&why))) {
            Ok(done) => done.await.map_err(|(status, sentence)| Response::error(status, &sentence))?,
            Err(busy) => return Err(Response::error(503, &busy.to_string())),
        }
        // all was checked before it was written; what came after it is the next change's business
        program.apply(with_world(program.modules(), |world| load(program.arguments(), world)));
        Ok(())
    })
}

/// A key's path, and its new value; none removes it.
pub type Edit = (Vec<String>, Option<New>);

/// The edit of one key.
pub fn edit(path: &[&str], new: Option<New>) -> Edit {
    (path.iter().map(|&part| part.to_owned()).collect(), new)
}

/// Changes keys of the file, if there is one; without one the change lives until the end.
pub fn change(program: &Rc<Program>, edits: Vec<Edit>) -> Local<Result<(), Response>> {
    let Some(path) = target(program) else { return Box::pin(std::future::ready(Ok(()))) };
    let arguments = program.arguments().to_vec();
    let job = move |world: &World<'_>| {
        let keys: Vec<Vec<&str>> =
            edits.iter().map(|(keys, _)| keys.iter().map(String::as_str).collect()).collect();
        let edits: Vec<(&[&str], Option<New>)> =
            keys.iter().zip(&edits).map(|(keys, (_, new))| (keys.as_slice(), new.clone())).collect();
        write::change(&path, &|name| world.lookup(name), &edits, &mut |before, after| {
            approve(&arguments, world, before, after, false).map(|_| ())
        })
        .map(|_| ())
    };
    written(program.clone(), Box::new(job))
}

/// What is done once a change stands in the file, and what is answered.
pub type Done = Box<dyn FnOnce(&Rc<Program>) -> Response>;

/// Answers when a change has been made, or has been refused.
pub fn when(program: &Rc<Program>, change: Local<Result<(), Response>>, done: Done) -> Local<Response> {
    let program = program.clone();
    Box::pin(async move {
        match change.await {
            Ok(()) => done(&program),
            Err(refusal) => refusal,
        }
    })
}

fn ok(_: &Rc<Program>) -> Response {
    Response::text("OK")
}

fn get(program: &Rc<Program>, _: &Request) -> Response {
    let shown = file(program).and_then(|path| match read_text(&path) {
        Ok(text) => {
            Ok(with_world(program.modules(), |world| replace::mask(&text, &|name| world.lookup(name))))
        }
        Err(e) => Err(Response::error(404, &format!("{}: {e}", path.display()))),
    });
    match shown {
        Ok(text) => {
            Response::bytes("application/yaml", text.into_bytes()).header("Cache-Control", "no-store")
        }
        Err(refusal) => refusal,
    }
}

fn post(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    let path = file(program)?;
    let posted = posted(request, "configuration")?;
    let old = read_text(&path).unwrap_or_default();
    let checked = with_world(program.modules(), |world| -> Result<String, Rejected> {
        let text = replace::unmask(&posted, &old, &|name| world.lookup(name))?;
        let loaded = approve(program.arguments(), world, &old, &text, true)?;
        let wrong = program.wrong_sources(&loaded.config);
        if !wrong.is_empty() {
            return Err(Rejected::Sources(loaded.secrets.mask(&wrong.join("\n")).into_owned()));
        }
        Ok(text)
    });
    let text = checked.map_err(|why| {
        let (status, sentence) = refused(&why);
        Response::error(status, &sentence)
    })?;
    let job = move |_: &World<'_>| write::replace_file(&path, &text).map_err(Rejected::from);
    Ok(when(program, written(program.clone(), Box::new(job)), Box::new(ok)))
}

/// Merges a document into the file: maps key by key, everything else whole; null removes a key.
fn patch(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    file(program)?;
    let posted = posted(request, "change")?;
    let document =
        parse(&Text::plain(&Rc::from("change"), posted)).map_err(|e| Response::error(400, &e.to_string()))?;
    let mut edits = Vec::new();
    collect(&document.root, &mut Vec::new(), &mut edits);
    if edits.is_empty() {
        return Err(Response::error(400, "expected a map of keys to change"));
    }
    Ok(when(program, change(program, edits), Box::new(ok)))
}

fn collect(node: &Node, path: &mut Vec<String>, edits: &mut Vec<Edit>) {
    match &node.value {
        Value::Map(entries) if path.len() < 8 => {
            for entry in entries {
                path.push(entry.key.clone());
                collect(&entry.value, path, edits);
                path.pop();
            }
        }
        Value::Null if !path.is_empty() => edits.push((path.clone(), None)),
        _ if path.is_empty() => {}
        _ => edits.push((path.clone(), Some(as_new(node)))),
    }
}

fn as_new(node: &Node) -> New {
    match &node.value {
        Value::Null => New::Null,
        Value::Scalar { text, quoted: false } => New::Plain(text.clone()),
        Value::Scalar { text, .. } => New::text(text),
        Value::Seq(items) => New::List(items.iter().map(as_new).collect()),
        Value::Map(entries) => New::Map(entries.iter().map(|e| (e.key.clone(), as_new(&e.value))).collect()),
    }
}

/// The first admin's password, or a new one.
fn setup(program: &Rc<Program>, request: &Request) -> Result<Local<Response>, Response> {
    let value = json::parse(&request.body).unwrap_or(json::Value::Null);
    let Some(password) = value.get("password").and_then(|p| p.as_str()) else {
        return Err(Response::error(400, "expected {\"password\":\"…\"}"));
    };
    if password.chars().count() < 8 || password.len() > 128 || password.chars().any(char::is_control) {
        return Err(Response::error(400, "a password needs 8 to 128 characters"));
    }
    let mut rows = vec![row("admin", password, &["admin".to_owned()], &[])];
    for user in program.loaded().config.users.iter().filter(|user| user.name != "admin") {
        rows.push(row(&user.name, &user.password, &user.roles, &user.streams));
    }
    let answer = if target(program).is_some() {
        "OK"
    } else {
        program.add_admin(password);
        "OK, until the next start: there is no configuration file"
    };
    let kept = change(program, vec![edit(&["users"], Some(New::List(rows)))]);
    Ok(when(
        program,
        kept,
        Box::new(move |_| {
            log::info!(target: "api", "the admin's password was set");
            Response::text(answer)
        }),
    ))
}

/// A user as `users:` lists them.
fn row(name: &str, password: &str, roles: &[String], streams: &[String]) -> New {
    let mut row = vec![
        ("name".to_owned(), New::text(name)),
        ("password".to_owned(), New::text(password)),
        ("roles".to_owned(), New::list(roles)),
    ];
    if !streams.is_empty() {
        row.push(("streams".to_owned(), New::list(streams)));
    }
    New::Map(row)
}

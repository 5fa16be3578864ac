//! `/api/config` and `/api/setup`: the configuration read, replaced and changed; the first admin.

use super::Routes;
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
use crate::net::users::Role;
use crate::stream::Local;
use std::path::PathBuf;
use std::rc::Rc;

/// A configuration that is posted may have this many bytes.
const CONFIG: usize = 256 * 1024;

pub fn routes(routes: &Routes) {
    let admin = Access::Role(Role::Admin);
    routes.on(Method::Get, "/api/config", admin, get);
    routes.add(Method::Post, "/api/config", admin, Some(CONFIG), post);
    routes.add(Method::Patch, "/api/config", admin, Some(CONFIG), patch);
    routes.on(Method::Post, "/api/reload", admin, |program, _| async move {
        match program.reload() {
            Ok(()) => Response::text("OK"),
            Err(sentence) => Response::error(400, &sentence),
        }
    });
    routes.on(Method::Post, "/api/setup", Access::Setup, setup);
}

fn target(program: &Program) -> Option<PathBuf> {
    program.loaded().target.clone()
}

fn rejected(why: Rejected) -> Response {
    let (status, sentence) = refused(&why);
    Response::error(status, &sentence)
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
        let paths: Vec<(Vec<&str>, Option<New>)> = edits
            .iter()
            .map(|(path, new)| (path.iter().map(String::as_str).collect(), new.clone()))
            .collect();
        let edits: Vec<(&[&str], Option<New>)> =
            paths.iter().map(|(p, n)| (p.as_slice(), n.clone())).collect();
        write::change::<Rejected>(&path, &|name| world.lookup(name), &edits, &mut |before, after| {
            approve(&arguments, world, before, after, false).map(|_| ())
        })
        .map(|_| ())
    };
    written(program.clone(), Box::new(job))
}

async fn get(program: Rc<Program>, _: Request) -> Response {
    let Some(path) = target(&program) else {
        return Response::error(410, "streamd was started without a configuration file");
    };
    match read_text(&path) {
        Ok(text) => {
            let shown =
                with_world(program.modules(), |world| replace::mask(&text, &|name| world.lookup(name)));
            Response::bytes("application/yaml", shown.into_bytes()).header("Cache-Control", "no-store")
        }
        Err(e) => Response::error(404, &format!("{}: {e}", path.display())),
    }
}

async fn post(program: Rc<Program>, request: Request) -> Response {
    let Some(path) = target(&program) else {
        return Response::error(410, "streamd was started without a configuration file");
    };
    let Ok(posted) = String::from_utf8(request.body) else {
        return Response::error(400, "the configuration has to be UTF-8 text");
    };
    let old = read_text(&path).unwrap_or_default();
    let arguments = program.arguments().to_vec();
    let checked = with_world(program.modules(), |world| -> Result<String, Rejected> {
        let text = replace::unmask(&posted, &old, &|name| world.lookup(name))?;
        let loaded = approve(&arguments, world, &old, &text, true)?;
        let wrong = program.wrong_sources(&loaded.config);
        if !wrong.is_empty() {
            return Err(Rejected::Sources(loaded.secrets.mask(&wrong.join("\n")).into_owned()));
        }
        Ok(text)
    });
    let text = match checked {
        Ok(text) => text,
        Err(why) => return rejected(why),
    };
    let job = move |_: &World<'_>| write::replace_file(&path, &text).map_err(Rejected::from);
    match written(program, Box::new(job)).await {
        Ok(()) => Response::text("OK"),
        Err(refusal) => refusal,
    }
}

/// Merges a document into the file: maps key by key, everything else whole; null removes a key.
async fn patch(program: Rc<Program>, request: Request) -> Response {
    if target(&program).is_none() {
        return Response::error(410, "streamd was started without a configuration file");
    }
    let Ok(posted) = String::from_utf8(request.body) else {
        return Response::error(400, "the change has to be UTF-8 text");
    };
    let document = match parse(&Text::plain(&Rc::from("change"), posted)) {
        Ok(document) => document,
        Err(e) => return Response::error(400, &e.to_string()),
    };
    let mut edits = Vec::new();
    collect(&document.root, &mut Vec::new(), &mut edits);
    if edits.is_empty() {
        return Response::error(400, "expected a map of keys to change");
    }
    match change(&program, edits).await {
        Ok(()) => Response::text("OK"),
        Err(refusal) => refusal,
    }
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

/// The first admin's password, or a new one. The body is `{"password":"…"}` or a form.
async fn setup(program: Rc<Program>, request: Request) -> Response {
    let from_json = || {
        let value = json::parse(&request.body).ok()?;
        value.get("password").and_then(|p| p.as_str()).map(str::to_owned)
    };
    let Some(password) = from_json() else {
        return Response::error(400, "expected {\"password\":\"…\"}");
    };
    match set_admin(&program, &password).await {
        Ok(kept) => Response::text(if kept {
            "OK"
        } else {
            "OK, until the next start: there is no configuration file"
        }),
        Err(refusal) => refusal,
    }
}

/// Sets the admin's password; whether it is kept in a file.
pub async fn set_admin(program: &Rc<Program>, password: &str) -> Result<bool, Response> {
    if password.chars().count() < 8 || password.len() > 128 || password.chars().any(char::is_control) {
        return Err(Response::error(400, "a password needs 8 to 128 characters"));
    }
    let mut rows: Vec<New> = Vec::new();
    for user in &program.loaded().config.users {
        if user.name == "admin" {
            continue;
        }
        let mut row = vec![
            ("name".to_owned(), New::text(&user.name)),
            ("password".to_owned(), New::text(&user.password)),
        ];
        row.push(("roles".to_owned(), New::list(&user.roles)));
        if !user.streams.is_empty() {
            row.push(("streams".to_owned(), New::list(&user.streams)));
        }
        rows.push(New::Map(row));
    }
    rows.insert(
        0,
        New::Map(vec![
            ("name".to_owned(), New::text("admin")),
            ("password".to_owned(), New::text(password)),
            ("roles".to_owned(), New::list(&["admin"])),
        ]),
    );
    let kept = target(program).is_some();
    if kept {
        change(program, vec![edit(&["users"], Some(New::List(rows)))]).await?;
    } else {
        program.add_admin(password);
    }
    log::info!(target: "api", "the admin's password was set");
    Ok(kept)
}

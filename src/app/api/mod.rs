//! The HTTP API: the routes of the predecessor's shape that need no protocol of their own, and what
//! `streamd ctl` asks. Everything here answers from what the program already knows.

mod config;
mod events;
mod info;
mod log;
mod metrics;
mod streams;

use super::program::Program;
use crate::net::http::{Access, Group, Handler, Method, Request, Response, Route};
use crate::net::limits::HTTP_BODY;
use crate::net::users::Role;
use crate::stream::Local;
use std::future::Future;
use std::rc::Rc;

pub use info::VERSION;
pub use streams::{stream_json, visible};

/// What answers a request.
#[derive(Clone)]
enum Answer {
    /// At once.
    Now(fn(&Rc<Program>, &Request) -> Response),
    /// After waiting for something; an error is said at once.
    Later(fn(&Rc<Program>, &Request) -> Result<Local<Response>, Response>),
    /// As another module knows how.
    Own(Rc<dyn Fn(Rc<Program>, Request) -> Local<Response>>),
}

/// A route of the API. Plain functions, so that it costs a row of a table.
#[derive(Clone)]
struct Row {
    method: Method,
    path: &'static str,
    access: Access,
    answer: Answer,
}

const fn now(
    method: Method,
    path: &'static str,
    access: Access,
    answer: fn(&Rc<Program>, &Request) -> Response,
) -> Row {
    Row { method, path, access, answer: Answer::Now(answer) }
}

const fn later(
    method: Method,
    path: &'static str,
    access: Access,
    answer: fn(&Rc<Program>, &Request) -> Result<Local<Response>, Response>,
) -> Row {
    Row { method, path, access, answer: Answer::Later(answer) }
}

const VIEW: Access = Access::Role(Role::View);
const ADMIN: Access = Access::Role(Role::Admin);

fn ready(response: Response) -> Local<Response> {
    Box::pin(std::future::ready(response))
}

/// Adds a module's routes: each handler has the program, and nothing that changes something is done
/// while `api.read_only` is set.
pub(super) struct Routes {
    group: Group,
    program: Rc<Program>,
}

impl Routes {
    /// None yet. They stay as long as this does.
    pub(super) fn new(program: &Rc<Program>) -> Routes {
        Routes { group: program.router.group(), program: program.clone() }
    }

    pub(super) fn on<F, R>(&self, method: Method, path: &str, access: Access, f: F)
    where
        F: Fn(Rc<Program>, Request) -> R + 'static,
        R: Future<Output = Response> + 'static,
    {
        let own = Answer::Own(Rc::new(move |program, request| Box::pin(f(program, request))));
        self.put(method, path, access, HTTP_BODY, own);
    }

    /// Adds a table of routes that take bodies of that many bytes.
    fn add(&self, rows: &[Row], body: usize) {
        for row in rows {
            self.put(row.method, row.path, row.access, body, row.answer.clone());
        }
    }

    /// What all routes have in common, compiled once.
    fn put(&self, method: Method, path: &str, access: Access, body: usize, answer: Answer) {
        let program = Rc::downgrade(&self.program);
        let handler: Handler = Rc::new(move |request| {
            let refuse = |status, sentence| ready(Response::error(status, sentence));
            let Some(program) = program.upgrade() else { return refuse(503, "streamd is ending") };
            // whoever holds the control socket is the one who wrote read_only
            let from_outside = request.user.name != "local" || request.peer.remote.is_some();
            if program.loaded().config.api.read_only && from_outside && !method.is_safe() {
                return refuse(403, "api.read_only is set: nothing can be changed here");
            }
            match &answer {
                Answer::Now(answer) => ready(answer(&program, &request)),
                Answer::Later(answer) => answer(&program, &request).unwrap_or_else(ready),
                Answer::Own(answer) => answer(program, request),
            }
        });
        if !self.group.add(Route::new(method, path, access, handler).body(body)) {
            crate::net::log::error!(target: "api", "{path} could not be added to the API");
        }
    }
}

/// Adds the API's routes; they stay as long as the result is kept.
pub fn serve(program: &Rc<Program>) -> Group {
    let routes = Routes::new(program);
    for rows in [info::ROUTES, streams::ROUTES, log::ROUTES, metrics::ROUTES, events::ROUTES, config::ROUTES]
    {
        routes.add(rows, HTTP_BODY);
    }
    routes.add(config::LONG, config::LONGEST);
    routes.group
}

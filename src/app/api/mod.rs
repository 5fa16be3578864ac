//! The HTTP API: the routes of the predecessor's shape that need no protocol of their own, and what
//! `streamd ctl` asks. Everything here answers from what the program already knows.

mod config;
mod events;
mod info;
mod log;
mod metrics;
mod streams;

use super::program::Program;
use crate::net::http::{Access, Group, Handler, Method, Request, Response};
use futures_lite::future::BoxedLocal;
use std::future::Future;
use std::rc::Rc;

pub use config::set_admin;
pub use info::VERSION;
pub use streams::{stream_json, visible};

/// What answers a request.
type Answer = Rc<dyn Fn(Rc<Program>, Request) -> BoxedLocal<Response>>;

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
        self.add(method, path, access, None, f);
    }

    fn add<F, R>(&self, method: Method, path: &str, access: Access, body: Option<usize>, f: F)
    where
        F: Fn(Rc<Program>, Request) -> R + 'static,
        R: Future<Output = Response> + 'static,
    {
        self.put(method, path, access, body, Rc::new(move |program, request| Box::pin(f(program, request))));
    }

    /// What all routes have in common, compiled once.
    fn put(&self, method: Method, path: &str, access: Access, body: Option<usize>, answer: Answer) {
        let program = Rc::downgrade(&self.program);
        let handler: Handler = Rc::new(move |request| {
            let refuse = |status, sentence| -> BoxedLocal<Response> {
                Box::pin(std::future::ready(Response::error(status, sentence)))
            };
            let Some(program) = program.upgrade() else { return refuse(503, "streamd is ending") };
            // whoever holds the control socket is the one who wrote read_only
            let from_outside = request.user.name != "local" || request.peer.remote.is_some();
            if program.loaded().config.api.read_only && from_outside && !method.is_safe() {
                return refuse(403, "api.read_only is set: nothing can be changed here");
            }
            answer(program, request)
        });
        let mut route = crate::net::http::Route::new(method, path, access, handler);
        if let Some(bytes) = body {
            route = route.body(bytes);
        }
        if !self.group.add(route) {
            crate::net::log::error!(target: "api", "{path} could not be added to the API");
        }
    }
}

/// Adds the API's routes; they stay as long as the result is kept.
pub fn serve(program: &Rc<Program>) -> Group {
    let routes = Routes::new(program);
    info::routes(&routes);
    streams::routes(&routes);
    config::routes(&routes);
    log::routes(&routes);
    metrics::routes(&routes);
    events::routes(&routes);
    routes.group
}

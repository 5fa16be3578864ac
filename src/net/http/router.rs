//! Which handler a request belongs to, and who may ask for it. Modules add their routes as a group
//! and take them away together when they stop. Never touches a socket.

use super::message::{Head, Method};
use super::response::Response;
use crate::net::limits::{HTTP_BODY, HTTP_ROUTES};
use crate::net::socket::Peer;
use crate::net::users::{Role, User};
use futures_lite::future::BoxedLocal;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;

/// A request that was let in.
pub struct Request {
    /// Method, path, query and header fields.
    pub head: Rc<Head>,
    /// The path without the router's base.
    pub path: String,
    /// What stands after the route's prefix; empty for an exact route.
    pub rest: String,
    /// The whole body.
    pub body: Vec<u8>,
    /// Who asks. The route's role is checked already; a stream is not.
    pub user: Rc<User>,
    /// Both ends of the connection.
    pub peer: Peer,
    /// Where the request comes from, seen through a proxy on this machine.
    pub address: Option<IpAddr>,
}

impl Request {
    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.head.query.get(name)
    }

    /// A header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.fields.get(name)
    }

    /// Nothing if the user may do that with that stream, else the answer that says so.
    pub fn refuse(&self, role: Role, stream: &str) -> Option<Response> {
        (!self.user.may(role, Some(stream))).then(|| forbidden(role))
    }
}

pub(crate) fn forbidden(role: Role) -> Response {
    let sentence = ["this needs a user with the role '", role.name(), "' for it"].concat();
    Response::error(403, &sentence)
}

/// Who may ask for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever may set up the first admin, while there is none; then an admin.
    Setup,
    /// A user with that role.
    Role(Role),
}

/// What serves a route.
pub type Handler = Rc<dyn Fn(Request) -> BoxedLocal<Response>>;

/// A handler from an async function or closure.
pub fn handler<F, R>(f: F) -> Handler
where
    F: Fn(Request) -> R + 'static,
    R: Future<Output = Response> + 'static,
{
    Rc::new(move |request| Box::pin(f(request)))
}

/// A handler that needs to wait for nothing.
pub fn now(f: impl Fn(&Request) -> Response + 'static) -> Handler {
    Rc::new(move |request| Box::pin(std::future::ready(f(&request))))
}

/// One way in.
pub struct Route {
    method: Method,
    path: String,
    prefix: bool,
    pub(crate) access: Access,
    pub(crate) body: Option<usize>,
    pub(crate) handler: Handler,
    group: Cell<u32>,
}

impl Route {
    /// For exactly that path, or for everything below it if it ends with `/*`. GET answers HEAD too.
    pub fn new(method: Method, path: &str, access: Access, handler: Handler) -> Route {
        let (path, prefix) = path.strip_suffix('*').map_or((path, false), |p| (p, true));
        Route {
            method,
            path: path.into(),
            prefix,
            access,
            body: Some(HTTP_BODY),
            handler,
            group: Cell::new(0),
        }
    }

    /// With another bound for the body.
    pub fn body(mut self, bytes: usize) -> Route {
        self.body = Some(bytes);
        self
    }

    /// The body is not read: the handler takes the connection over and reads it from there.
    pub fn unread_body(mut self) -> Route {
        self.body = None;
        self
    }

    fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.path.as_str())?;
        (self.prefix || rest.is_empty()).then_some(rest)
    }
}

pub(crate) enum Found {
    Route(Rc<Route>, String),
    OtherMethods(String),
    Nothing,
}

/// All ways in. Shared by every module.
#[derive(Default)]
pub struct Router {
    routes: RefCell<Vec<Rc<Route>>>,
    base: RefCell<String>,
    allowed: RefCell<Vec<String>>,
    groups: Cell<u32>,
}

impl Router {
    /// Without a route.
    pub fn new() -> Rc<Router> {
        Rc::default()
    }

    /// What stands before every path (`api.base_path`).
    pub fn set_base(&self, base: &str) {
        let base = base.trim_matches('/');
        self.base.replace(if base.is_empty() { String::new() } else { ["/", base].concat() });
    }

    /// The only paths that exist, base included (`api.allow_paths`); all if none are named.
    pub fn set_allowed(&self, paths: Vec<String>) {
        self.allowed.replace(paths);
    }

    /// A module's routes; they go when the group is dropped.
    pub fn group(self: &Rc<Self>) -> Group {
        self.groups.set(self.groups.get() + 1);
        Group { router: self.clone(), id: self.groups.get() }
    }

    pub(crate) fn find(&self, method: Method, full: &str) -> Found {
        let allowed = self.allowed.borrow();
        let base = self.base.borrow();
        let Some(path) = full.strip_prefix(base.as_str()) else { return Found::Nothing };
        let path = if path.is_empty() { "/" } else { path };
        if !path.starts_with('/') || !allowed.is_empty() && !allowed.iter().any(|p| p == full) {
            return Found::Nothing;
        }
        self.route(method, path)
    }

    /// As [`Router::find`], for the control socket: base and allowed paths are for those outside.
    pub(crate) fn find_inside(&self, method: Method, path: &str) -> Found {
        self.route(method, path)
    }

    fn route(&self, method: Method, path: &str) -> Found {
        let routes = self.routes.borrow();
        let mut best: Option<&Rc<Route>> = None;
        let mut longest = None;
        for route in routes.iter().filter(|r| r.rest(path).is_some()) {
            // The exact path wins, then the longest prefix; of equal ones the first.
            let rank = Some((!route.prefix, route.path.len()));
            longest = longest.max(rank);
            let better = best.is_none_or(|b| rank > Some((!b.prefix, b.path.len())));
            if answers(route.method, method) && better {
                best = Some(route);
            }
        }
        match best {
            Some(route) => Found::Route(route.clone(), route.rest(path).unwrap_or_default().into()),
            None if longest.is_none() => Found::Nothing,
            None => {
                let mut allow = String::from("OPTIONS");
                for m in [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete]
                {
                    let has = |r: &Rc<Route>| {
                        answers(r.method, m)
                            && r.rest(path).is_some()
                            && longest == Some((!r.prefix, r.path.len()))
                    };
                    if routes.iter().any(has) {
                        allow.push_str(", ");
                        allow.push_str(m.name());
                    }
                }
                Found::OtherMethods(allow)
            }
        }
    }

    pub(crate) fn inner_path(&self, full: &str) -> String {
        let path = full.strip_prefix(self.base.borrow().as_str()).unwrap_or(full);
        if path.is_empty() { "/".into() } else { path.into() }
    }
}

fn answers(route: Method, asked: Method) -> bool {
    route == asked || route == Method::Get && asked == Method::Head
}

/// Routes that live and go together.
pub struct Group {
    router: Rc<Router>,
    id: u32,
}

impl Group {
    /// Adds a route; false if there are too many or another has the same method and path.
    pub fn add(&self, route: Route) -> bool {
        let mut routes = self.router.routes.borrow_mut();
        let same = |r: &Rc<Route>| (r.method, &r.path, r.prefix) == (route.method, &route.path, route.prefix);
        if routes.len() >= HTTP_ROUTES || routes.iter().any(same) {
            return false;
        }
        route.group.set(self.id);
        routes.push(Rc::new(route));
        true
    }

    /// Adds a handler for GET, POST … at that path.
    pub fn on(&self, method: Method, path: &str, access: Access, handler: Handler) -> bool {
        self.add(Route::new(method, path, access, handler))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let all = self.router.routes.take();
        let (stay, gone) = all.into_iter().partition(|r| r.group.get() != self.id);
        self.router.routes.replace(stay);
        // Last, and with nothing borrowed: a handler may own what looks at the router as it goes.
        drop::<Vec<_>>(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(router: &Router, method: Method, path: &str) -> String {
        match router.find(method, path) {
            Found::Route(route, rest) => format!("{}|{rest}", route.path),
            Found::OtherMethods(allow) => allow,
            Found::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn exact_before_prefix_and_groups_leave_together() {
        let router = Router::new();
        let (a, b) = (router.group(), router.group());
        let ok = || now(|_| Response::empty(204));
        assert!(a.on(Method::Get, "/api", Access::Open, ok()));
        assert!(a.on(Method::Put, "/api", Access::Open, ok()));
        assert!(!b.on(Method::Put, "/api", Access::Open, ok()), "no module takes another's route");
        assert!(b.on(Method::Get, "/*", Access::Open, ok()));
        assert!(b.on(Method::Get, "/files/*", Access::Open, ok()));
        assert_eq!(found(&router, Method::Get, "/api"), "/api|");
        assert_eq!(found(&router, Method::Head, "/api"), "/api|");
        assert_eq!(found(&router, Method::Get, "/api/x"), "/|api/x");
        assert_eq!(found(&router, Method::Get, "/files/a/b"), "/files/|a/b");
        assert_eq!(found(&router, Method::Delete, "/api"), "OPTIONS, GET, HEAD, PUT");
        assert_eq!(found(&router, Method::Put, "/files/a"), "OPTIONS, GET, HEAD");
        drop(b);
        assert_eq!(found(&router, Method::Get, "/files/a/b"), "nothing");
        router.set_base("/cam/");
        assert_eq!(found(&router, Method::Get, "/cam/api"), "/api|");
        assert_eq!(found(&router, Method::Get, "/api"), "nothing");
        assert_eq!(found(&router, Method::Get, "/camapi"), "nothing");
        router.set_allowed(vec!["/cam/other".into()]);
        assert_eq!(found(&router, Method::Get, "/cam/api"), "nothing");
    }
}

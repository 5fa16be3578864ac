//! `/api/homekit`: the accessories, in the predecessor's shape, with what an owner needs to pair one;
//! the QR code as a picture; the bell.

use super::Home;
use crate::app::api::Routes;
use crate::app::program::Program;
use crate::homekit::database::iid;
use crate::homekit::qr::Qr;
use crate::motion::What;
use crate::net::http::{Access, Method, Request, Response};
use crate::net::json::Writer;
use crate::net::users::Role;
use std::cell::RefCell;
use std::rc::Rc;

type Homes = Rc<RefCell<Vec<Home>>>;

/// Adds the routes; they stay as long as the result is kept.
pub fn serve(program: &Rc<Program>, homes: &Homes) -> Routes {
    let routes = Routes::new(program);
    let all = homes.clone();
    routes.on(Method::Get, "/api/homekit", Access::Role(Role::View), move |_, r| {
        let homes = all.clone();
        async move { get(&homes, &r) }
    });
    let all = homes.clone();
    routes.on(Method::Delete, "/api/homekit", Access::Role(Role::Admin), move |_, r| {
        let homes = all.clone();
        async move {
            one(&homes, &r, Role::Admin, |home| {
                home.server.forget_all();
                Response::text("OK")
            })
        }
    });
    let all = homes.clone();
    routes.on(Method::Get, "/api/homekit/qr.svg", Access::Role(Role::Admin), move |_, r| {
        let homes = all.clone();
        async move {
            one(&homes, &r, Role::Admin, |home| match Qr::new(&home.uri()) {
                Some(qr) => Response::bytes("image/svg+xml", qr.svg().into_bytes())
                    .header("Cache-Control", "no-store"),
                None => Response::error(500, "the setup text does not fit into a QR code"),
            })
        }
    });
    let all = homes.clone();
    routes.on(Method::Post, "/api/homekit/doorbell", Access::Role(Role::Control), move |program, r| {
        let homes = all.clone();
        async move {
            let mut name = None;
            let answer = one(&homes, &r, Role::Control, |home| {
                if !home.server.accessory().settings.shape.doorbell {
                    return Response::error(
                        400,
                        "this accessory has no bell: category_id: doorbell makes one",
                    );
                }
                name = Some(home.stream.clone());
                Response::text("OK")
            });
            // all who listen hear it, and the accessory among them
            match name.map(|name| program.post(Some(&name), What::Doorbell)) {
                Some(Err(sentence)) => Response::error(404, &sentence),
                _ => answer,
            }
        }
    });
    routes
}

/// Does it with the accessory that is asked for.
fn one(homes: &Homes, request: &Request, role: Role, act: impl FnOnce(&Home) -> Response) -> Response {
    let Some(id) = request.query("id").or(request.query("src")) else {
        return Response::error(400, "id: expected the stream's name");
    };
    if let Some(refusal) = request.refuse(role, id) {
        return refusal;
    }
    match homes.borrow().iter().find(|h| h.stream == id) {
        Some(home) => act(home),
        None => Response::error(404, &format!("no accessory is called {id:?}")),
    }
}

fn get(homes: &Homes, request: &Request) -> Response {
    let mut w = Writer::new();
    if request.query("id").is_some() {
        return one(homes, request, Role::View, |home| {
            write(&mut w, home, request);
            Response::json(std::mem::replace(&mut w, Writer::new()).finish())
        });
    }
    w.begin_object();
    for home in homes.borrow().iter().filter(|h| request.user.may(Role::View, Some(&h.stream))) {
        w.key(&home.stream);
        write(&mut w, home, request);
    }
    w.end_object();
    Response::json(w.finish())
}

fn write(w: &mut Writer, home: &Home, request: &Request) {
    let accessory = home.server.accessory();
    let (book, settings) = (&accessory.book, &accessory.settings);
    w.begin_object();
    w.key("name").string(&home.server.announced_name().unwrap_or_else(|| settings.name.clone()));
    w.key("device_id").string(&book.identity.device_id);
    w.key("category_id").string(&settings.category.to_string());
    w.key("config_number").uint(u64::from(book.config_number));
    w.key("port").uint(u64::from(home.port));
    w.key("paired").uint(book.pairings.len() as u64);
    w.key("connections").begin_array();
    for (remote, controller) in home.server.connections() {
        w.begin_object().key("remote_addr").string(&remote).key("controller").bool(controller).end_object();
    }
    w.end_array();
    if !book.is_paired() && request.user.may(Role::Admin, Some(&home.stream)) {
        w.key("setup_code").string(&book.identity.code.to_string());
        w.key("setup_id").string(&String::from_utf8_lossy(&book.identity.setup_id));
        w.key("setup_uri").string(&home.uri());
    }
    w.key("missing").begin_array();
    for sentence in missing(&accessory) {
        w.string(sentence);
    }
    w.end_array();
    w.end_object();
}

/// What is still to be done until a clip can be recorded.
fn missing(accessory: &crate::homekit::accessory::Accessory) -> Vec<&'static str> {
    let is_on = |iid| accessory.value(iid).is_some_and(|v| v.is_on());
    let mut out = Vec::new();
    if !accessory.settings.shape.recording {
        out.push("hksv is off in the configuration");
    } else {
        out.push("this build announces recordings and does not serve them yet");
        if accessory.value(iid::RECORDING + 5).is_none() {
            out.push("no hub has chosen how to record");
        }
        if !is_on(iid::RECORDING + 1) {
            out.push("recording is not allowed in the Home app");
        }
        if !is_on(iid::OPERATING + 1) {
            out.push("the camera is switched off in the Home app");
        }
    }
    if !accessory.book.is_paired() {
        out.push("it is not paired");
    }
    out
}

//! `/api/homekit`: the accessories, in the predecessor's shape, with what an owner needs to pair one;
//! the QR code as a picture; the bell.

use super::{Home, Unit};
use crate::app::api::Routes;
use crate::app::program::Program;
use crate::homekit::accessory::{AID, Accessory};
use crate::homekit::camera::Source;
use crate::homekit::database::iid;
use crate::homekit::qr::Qr;
use crate::motion::What;
use crate::net::http::{Access, Method, Request, Response};
use crate::net::json::Writer;
use crate::net::users::Role;
use std::cell::{Ref, RefCell};
use std::future::ready;
use std::rc::Rc;

type Homes = Rc<RefCell<Vec<Home>>>;

/// What is done at a route; all of it at once.
type Act = fn(&Program, &Homes, &Request) -> Response;

/// The routes, and who may ask there; of whom it is about is looked at once that is known.
const ROUTES: [(Method, &str, Role, Act); 6] = [
    (Method::Get, "/api/homekit", Role::View, get),
    (Method::Get, "/api/homekit/qr.svg", Role::Admin, picture),
    (Method::Get, "/api/homekit/motion", Role::View, motion),
    (Method::Post, "/api/homekit/motion", Role::View, motion),
    (Method::Delete, "/api/homekit/motion", Role::View, motion),
    (Method::Post, "/api/homekit/doorbell", Role::Control, doorbell),
];

/// Adds the routes; they stay as long as the result is kept.
pub fn serve(program: &Rc<Program>, homes: &Homes) -> Routes {
    let routes = Routes::new(program);
    for (method, path, role, act) in ROUTES {
        let homes = homes.clone();
        routes.on(method, path, Access::Role(role), move |program, request| {
            ready(act(&program, &homes, &request))
        });
    }
    let homes = homes.clone();
    routes.on(Method::Delete, "/api/homekit", Access::Role(Role::Admin), move |_, request| {
        let kept = find(&homes, &request, Role::Admin).map(|home| home.server.forget_all());
        async move {
            // a plug that is pulled after the answer brings nobody back
            match kept {
                Err(refusal) => refusal,
                Ok(kept) => match kept.await {
                    true => Response::text("OK"),
                    false => {
                        Response::error(500, "nobody is paired now, but that could not be kept: see the log")
                    }
                },
            }
        }
    });
    routes
}

/// The accessory that is asked for; or what is answered where there is none, or none for who asks.
fn find<'a>(homes: &'a Homes, request: &Request, role: Role) -> Result<Ref<'a, Home>, Response> {
    let Some(id) = request.query("id").or(request.query("src")) else {
        return Err(Response::error(400, "id: expected the stream's name"));
    };
    if let Some(refusal) = request.refuse(role, id) {
        return Err(refusal);
    }
    let found = |home: &&Home| home.name == id || home.unit(id).is_some();
    Ref::filter_map(homes.borrow(), |homes| homes.iter().find(found))
        .map_err(|_| Response::error(404, &format!("no accessory is called {id:?}")))
}

fn picture(_: &Program, homes: &Homes, request: &Request) -> Response {
    let qr = match find(homes, request, Role::Admin) {
        Ok(home) => Qr::new(&home.uri()),
        Err(refusal) => return refusal,
    };
    match qr {
        Some(qr) => {
            Response::bytes("image/svg+xml", qr.svg().into_bytes()).header("Cache-Control", "no-store")
        }
        None => Response::error(500, "the setup text does not fit into a QR code"),
    }
}

fn motion(program: &Program, homes: &Homes, request: &Request) -> Response {
    let asks = request.head.method.is_safe();
    let home = match find(homes, request, if asks { Role::View } else { Role::Control }) {
        Ok(home) => home,
        Err(refusal) => return refusal,
    };
    let stream = request_stream(request, &home);
    let moving = home.unit(stream).and_then(|unit| {
        let accessory = home.server.accessory();
        Some(accessory.at(unit.aid)?.value(iid::MOTION + 1).is_some_and(|v| v.is_on()))
    });
    match moving {
        None => Response::error(404, "a bridge sees nothing itself: id: expected a stream behind it"),
        Some(moving) if asks => Response::json(format!("{{\"motion\":{moving}}}")),
        Some(_) => tell(program, home, request, What::Motion(request.head.method == Method::Post)),
    }
}

fn doorbell(program: &Program, homes: &Homes, request: &Request) -> Response {
    let home = match find(homes, request, Role::Control) {
        Ok(home) => home,
        Err(refusal) => return refusal,
    };
    let has_bell = home.unit(request_stream(request, &home)).is_some_and(|unit| {
        home.server.accessory().at(unit.aid).is_some_and(|own| own.settings.shape.doorbell)
    });
    if !has_bell {
        return Response::error(400, "this accessory has no bell: category_id: doorbell makes one");
    }
    tell(program, home, request, What::Doorbell)
}

/// Says it to all who listen, the accessory among them.
fn tell(program: &Program, home: Ref<'_, Home>, request: &Request, what: What) -> Response {
    let stream = request_stream(request, &home).to_owned();
    drop(home);
    match program.post(Some(&stream), what) {
        Ok(()) => Response::text("OK"),
        Err(sentence) => Response::error(404, &sentence),
    }
}

/// The stream that is asked for: of a bridge one behind it.
fn request_stream<'a>(request: &'a Request, home: &'a Home) -> &'a str {
    request.query("id").or(request.query("src")).unwrap_or(&home.name)
}

fn get(_: &Program, homes: &Homes, request: &Request) -> Response {
    let mut w = Writer::new();
    if request.query("id").is_some() {
        match find(homes, request, Role::View) {
            Ok(home) => write(&mut w, &home, request),
            Err(refusal) => return refusal,
        }
        return Response::json(w.finish());
    }
    w.begin_object();
    for home in homes.borrow().iter() {
        if request.user.may(Role::View, Some(&home.name)) {
            w.key(&home.name);
            write(&mut w, home, request);
        }
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
    numbers(
        w,
        &[
            ("config_number", book.config_number.into()),
            ("port", home.port.into()),
            ("paired", book.pairings.len() as u64),
        ],
    );
    w.key("streams").begin_array();
    for unit in &home.units {
        w.string(&unit.stream);
    }
    w.end_array();
    w.key("connections").begin_array();
    for (remote, controller) in home.server.connections() {
        w.begin_object().key("remote_addr").string(&remote).key("controller").bool(controller).end_object();
    }
    w.end_array();
    if !book.is_paired() && request.user.may(Role::Admin, Some(&home.name)) {
        w.key("setup_code").string(&book.identity.code.to_string());
        w.key("setup_id").string(&String::from_utf8_lossy(&book.identity.setup_id));
        w.key("setup_uri").string(&home.uri());
    }
    w.key("missing").begin_array();
    if !book.is_paired() {
        w.string("it is not paired");
    } else if home.server.stats().controllers == 0 {
        w.string("no controller is connected: a hub has to be in the network");
    }
    for unit in &home.units {
        let Some(own) = accessory.at(unit.aid) else { continue };
        // behind a bridge it has to be said of whom
        let whose = if unit.aid == AID { String::new() } else { [&unit.stream, ": "].concat() };
        missing(own, unit, &mut |sentence| {
            w.string(&[&whose, sentence].concat());
        });
    }
    w.end_array();
    w.key("recordings").begin_object();
    for unit in &home.units {
        let Some(recorder) = &unit.recorder else { continue };
        let (recording, streams) = (&recorder.recording, recorder.streams.stats());
        let stats = recording.stats();
        w.key(&unit.stream).begin_object();
        w.key("armed").bool(recording.is_armed());
        w.key("recording").bool(recording.is_recording());
        numbers(
            w,
            &[
                ("opened", stats.opened),
                ("refused", stats.refused),
                ("fragments", stats.fragments),
                ("connections", streams.connections as u64),
                ("stuck", streams.stuck),
            ],
        );
        if let Some(Source { size, .. }) = accessory.at(unit.aid).and_then(Accessory::source) {
            numbers(
                w,
                &[("width", size.width.into()), ("height", size.height.into()), ("rate", size.rate.into())],
            );
        }
        w.end_object();
    }
    w.end_object();
    w.end_object();
}

fn numbers(w: &mut Writer, members: &[(&str, u64)]) {
    for (name, number) in members {
        w.key(name).uint(*number);
    }
}

/// Says what is still to be done until a clip can be recorded.
fn missing(accessory: &Accessory, unit: &Unit, say: &mut dyn FnMut(&str)) {
    let is_on = |iid| accessory.value(iid).is_some_and(|v| v.is_on());
    let Some(recorder) = &unit.recorder else { return say("hksv is off in the configuration") };
    let checks = [
        (
            accessory.value(iid::RECORDING + 5).is_none(),
            "no hub has chosen how to record: choose Stream & Allow Recording in the Home app",
        ),
        (!is_on(iid::RECORDING + 1), "recording is not allowed in the Home app"),
        (!is_on(iid::OPERATING + 1), "the camera is switched off in the Home app"),
        (is_on(iid::OPERATING + 7), "the camera is switched off by somebody who stands before it"),
    ];
    for (is, sentence) in checks {
        if is {
            say(sentence);
        }
    }
    if let Some(why) = recorder.recording.trouble() {
        say(&["nothing can be recorded: ", &why].concat());
    }
}

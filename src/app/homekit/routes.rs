//! `/api/homekit`: the accessories, in the predecessor's shape, with what an owner needs to pair one;
//! the QR code as a picture; the bell.

use super::{Home, Unit};
use crate::app::api::Routes;
use crate::app::program::Program;
use crate::homekit::accessory::{AID, Accessory};
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
    for method in [Method::Post, Method::Delete, Method::Get] {
        let all = homes.clone();
        routes.on(method, "/api/homekit/motion", Access::Role(Role::View), move |program, r| {
            let homes = all.clone();
            async move {
                let role = if method == Method::Get { Role::View } else { Role::Control };
                let mut name = None;
                let answer = one(&homes, &r, role, |home| {
                    let stream = request_stream(&r, home);
                    let (unit, accessory) = (home.unit(stream), home.server.accessory());
                    let Some(own) = unit.and_then(|u| accessory.at(u.aid)) else {
                        return Response::error(
                            404,
                            "a bridge sees nothing itself: id: expected a stream behind it",
                        );
                    };
                    let moving = own.value(iid::MOTION + 1).is_some_and(|v| v.is_on());
                    name = Some(stream.to_owned());
                    match method {
                        Method::Get => Response::json(format!("{{\"motion\":{moving}}}")),
                        _ => Response::text("OK"),
                    }
                });
                // all who listen hear it, and the accessory among them
                match name.filter(|_| method != Method::Get) {
                    Some(name) => match program.post(Some(&name), What::Motion(method == Method::Post)) {
                        Ok(()) => answer,
                        Err(sentence) => Response::error(404, &sentence),
                    },
                    None => answer,
                }
            }
        });
    }
    let all = homes.clone();
    routes.on(Method::Post, "/api/homekit/doorbell", Access::Role(Role::Control), move |program, r| {
        let homes = all.clone();
        async move {
            let mut name = None;
            let answer = one(&homes, &r, Role::Control, |home| {
                let stream = request_stream(&r, home);
                let unit = home.unit(stream);
                let accessory = home.server.accessory();
                if !unit.and_then(|u| accessory.at(u.aid)).is_some_and(|a| a.settings.shape.doorbell) {
                    return Response::error(
                        400,
                        "this accessory has no bell: category_id: doorbell makes one",
                    );
                }
                name = Some(stream.to_owned());
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
    match homes.borrow().iter().find(|h| h.name == id || h.unit(id).is_some()) {
        Some(home) => act(home),
        None => Response::error(404, &format!("no accessory is called {id:?}")),
    }
}

/// The stream that is asked for: of a bridge one behind it.
fn request_stream<'a>(request: &'a Request, home: &'a Home) -> &'a str {
    request.query("id").or(request.query("src")).unwrap_or(&home.name)
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
    for home in homes.borrow().iter().filter(|h| request.user.may(Role::View, Some(&h.name))) {
        w.key(&home.name);
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
    let mut sentences = Vec::new();
    if !book.is_paired() {
        sentences.push("it is not paired".to_owned());
    } else if home.server.stats().controllers == 0 {
        sentences.push("no controller is connected: a hub has to be in the network".to_owned());
    }
    for unit in &home.units {
        for sentence in accessory.at(unit.aid).map(|own| missing(own, unit)).unwrap_or_default() {
            // behind a bridge it has to be said of whom
            match unit.aid {
                AID => sentences.push(sentence),
                _ => sentences.push([&unit.stream, ": ", &sentence].concat()),
            }
        }
    }
    for sentence in sentences {
        w.string(&sentence);
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
        w.key("opened").uint(stats.opened);
        w.key("refused").uint(stats.refused);
        w.key("fragments").uint(stats.fragments);
        w.key("connections").uint(streams.connections as u64);
        w.key("stuck").uint(streams.stuck);
        if let Some(source) = accessory.at(unit.aid).and_then(Accessory::source) {
            w.key("width").uint(source.size.width.into());
            w.key("height").uint(source.size.height.into());
            w.key("rate").uint(source.size.rate.into());
        }
        w.end_object();
    }
    w.end_object();
    w.end_object();
}

/// What is still to be done until a clip can be recorded.
fn missing(accessory: &Accessory, unit: &Unit) -> Vec<String> {
    let is_on = |iid| accessory.value(iid).is_some_and(|v| v.is_on());
    let Some(recorder) = &unit.recorder else { return vec!["hksv is off in the configuration".to_owned()] };
    let checks = [
        (
            accessory.value(iid::RECORDING + 5).is_none(),
            "no hub has chosen how to record: choose Stream & Allow Recording in the Home app",
        ),
        (!is_on(iid::RECORDING + 1), "recording is not allowed in the Home app"),
        (!is_on(iid::OPERATING + 1), "the camera is switched off in the Home app"),
        (is_on(iid::OPERATING + 7), "the camera is switched off by somebody who stands before it"),
    ];
    let mut out: Vec<String> =
        checks.into_iter().filter(|(is, _)| *is).map(|(_, sentence)| sentence.to_owned()).collect();
    out.extend(recorder.recording.trouble().map(|why| ["nothing can be recorded: ", &why].concat()));
    out
}

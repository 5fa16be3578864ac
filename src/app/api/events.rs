//! `/api/events`: what happens in front of the cameras, as lines of JSON, as it happens; and the way
//! to say that something has happened.

use super::{Row, VIEW, now};
use crate::app::program::Program;
use crate::motion::What;
use crate::net::clock;
use crate::net::http::{Access, Method, Request, Response};
use crate::net::json::Writer;
use crate::net::users::Role;
use std::rc::Rc;

pub const ROUTES: &[Row] = &[
    now(Method::Get, "/api/events", VIEW, tell),
    now(Method::Post, "/api/events", Access::Role(Role::Control), hear),
];

fn tell(program: &Rc<Program>, request: &Request) -> Response {
    let (listener, user) = (program.bus.listen(), request.user.clone());
    let only = request.query("src").filter(|s| !s.is_empty()).map(str::to_owned);
    if let Some(refusal) = only.as_ref().and_then(|stream| request.refuse(Role::View, stream)) {
        return refusal;
    }
    // who asks for one stream wants it looked at for motion
    let want = only.as_ref().map(|stream| program.bus.want(stream));
    Response::stream("application/jsonlines", move |mut body| async move {
        let _want = want;
        // the head goes out now, so that a client knows it is heard
        body.write(b"{\"type\":\"listening\"}\n").await?;
        loop {
            let event = futures_lite::future::or(async { Some(listener.next().await) }, async {
                body.gone().await;
                None
            });
            let Some(event) = event.await else { return Ok(()) };
            let other = only.as_ref().is_some_and(|s| !event.stream.is_empty() && **s != *event.stream);
            if other || !user.may(Role::View, Some(&event.stream)) {
                continue;
            }
            let mut w = Writer::new();
            w.begin_object();
            w.key("type").string(event.what.name());
            w.key("stream").string(&event.stream);
            if let Some(on) = event.what.on() {
                w.key("on").bool(on);
            }
            if let Some(wall) = clock::wall() {
                let age = clock::now().since(event.time).as_nanos() as u64;
                w.key("time").uint(wall.saturating_sub(age) / 1_000_000);
            }
            let lost = listener.lost();
            if lost > 0 {
                w.key("lost").uint(u64::from(lost));
            }
            w.end_object();
            let mut line = w.finish();
            line.push('\n');
            body.write(line.as_bytes()).await?;
        }
    })
}

fn hear(program: &Rc<Program>, request: &Request) -> Response {
    let on = match request.query("on") {
        None | Some("true" | "1" | "on") => true,
        Some("false" | "0" | "off") => false,
        Some(other) => return Response::error(400, &format!("on={other}: expected true or false")),
    };
    let what = match request.query("type") {
        Some("motion") => What::Motion(on),
        Some("doorbell") => What::Doorbell,
        Some("light") => What::Light(on),
        Some("night") => What::Night(on),
        Some("privacy") => What::Privacy(on),
        _ => return Response::error(400, "type: expected motion, doorbell, light, night or privacy"),
    };
    let stream = request.query("src").filter(|s| !s.is_empty());
    if let Some(refusal) = request.refuse(Role::Control, stream.unwrap_or("")) {
        return refusal;
    }
    match program.post(stream, what) {
        Ok(()) => Response::text("OK"),
        Err(sentence) => Response::error(404, &sentence),
    }
}

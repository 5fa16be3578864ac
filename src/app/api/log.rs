//! `/api/log`: the last messages, as lines of JSON; DELETE forgets them.

use super::Routes;
use crate::app::log;
use crate::net::http::{Access, Method, Response};
use crate::net::users::Role;

/// About so much of the log is written at once.
const PIECE: usize = 16 * 1024;

pub fn routes(routes: &Routes) {
    let admin = Access::Role(Role::Admin);
    routes.on(Method::Get, "/api/log", admin, |_, _| async {
        Response::stream("application/jsonlines", |mut body| async move {
            let mut next = 0;
            loop {
                let mut text = Vec::new();
                let after = log::read(next, PIECE, &mut text);
                if text.is_empty() || after == next {
                    return Ok(());
                }
                next = after;
                body.write(&text).await?;
            }
        })
    });
    routes.on(Method::Delete, "/api/log", admin, |_, _| async {
        log::clear();
        Response::text("OK")
    });
}

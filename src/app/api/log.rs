//! `/api/log`: the last messages, as lines of JSON; DELETE forgets them.

use super::{ADMIN, Row, now};
use crate::app::log;
use crate::net::http::{Method, Response};

/// About so much of the log is written at once.
const PIECE: usize = 16 * 1024;

pub const ROUTES: &[Row] = &[
    now(Method::Get, "/api/log", ADMIN, |_, _| {
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
    }),
    now(Method::Delete, "/api/log", ADMIN, |_, _| {
        log::clear();
        Response::text("OK")
    }),
];

//! The JSON of `/accessories` and `/characteristics`: reads, writes with a status for each, events.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::accessory::{AID, Accessory, Caller, Camera, Status, Value};
use super::database::{Characteristic, Format, may};
use super::http::{self, Request};
use crate::net::json::{self, Writer};
use crate::net::lists::drop_where;

/// A characteristic: its accessory's number and its own.
pub type Id = (u32, u16);

/// Characteristics of one request; beyond it 400.
const MOST: usize = 128;

fn kind(out: &mut Writer, kind: u16) {
    out.key("type").string(&format!("{kind:X}"));
}

fn perms(out: &mut Writer, c: &Characteristic) {
    out.key("perms").begin_array();
    const NAMES: [(u16, &str); 5] =
        [(may::READ, "pr"), (may::WRITE, "pw"), (may::EVENT, "ev"), (may::TIMED, "tw"), (may::ANSWER, "wr")];
    for (bit, name) in NAMES {
        if c.may & bit != 0 {
            out.string(name);
        }
    }
    out.end_array();
}

fn meta(out: &mut Writer, c: &Characteristic) {
    let format = match c.format {
        Format::Bool => "bool",
        Format::Uint8(_) => "uint8",
        Format::String => "string",
        Format::Tlv8 => "tlv8",
    };
    out.key("format").string(format);
    match c.format {
        Format::Uint8(most) => {
            out.key("minValue").int(0).key("maxValue").uint(u64::from(most)).key("minStep").int(1);
            if most == 100 {
                out.key("unit").string("percentage");
            }
        }
        Format::String => {
            out.key("maxLen").int(64);
        }
        Format::Bool | Format::Tlv8 => {}
    }
}

/// The whole table with its values, and the tables behind it.
pub fn accessories(accessory: &Accessory, connection: u32) -> String {
    let mut out = Writer::new();
    out.begin_object().key("accessories").begin_array();
    table(&mut out, AID, accessory, connection);
    for member in accessory.members() {
        table(&mut out, member.aid, &member.accessory, connection);
    }
    out.end_array().end_object();
    out.finish()
}

fn table(out: &mut Writer, aid: u32, accessory: &Accessory, connection: u32) {
    let shape = accessory.settings.shape;
    out.begin_object().key("aid").uint(u64::from(aid)).key("services").begin_array();
    for service in shape.services() {
        out.begin_object().key("iid").uint(u64::from(service.iid));
        kind(out, service.kind);
        if service.primary {
            out.key("primary").bool(true);
        }
        if !service.links.is_empty() {
            out.key("linked").begin_array();
            service.links.iter().for_each(|l| {
                out.uint(u64::from(*l));
            });
            out.end_array();
        }
        out.key("characteristics").begin_array();
        for c in shape.of(service) {
            out.begin_object().key("iid").uint(u64::from(c.iid));
            kind(out, c.kind);
            perms(out, c);
            meta(out, c);
            if let Ok(value) = accessory.read(c, connection) {
                value.write(out.key("value"));
            }
            out.end_object();
        }
        out.end_array().end_object();
    }
    out.end_array().end_object();
}

fn begin() -> Writer {
    let mut out = Writer::new();
    out.begin_object().key("characteristics").begin_array();
    out
}

fn begin_entry(out: &mut Writer, aid: u64, iid: u64) {
    out.begin_object().key("aid").uint(aid).key("iid").uint(iid);
}

fn status(out: &mut Writer, status: Status) {
    out.key("status").int(i64::from(status as i32));
}

fn end(mut out: Writer) -> String {
    out.end_array().end_object();
    out.finish()
}

/// What a request names: accessories' numbers and characteristics' own.
type Named = Vec<(u64, u64)>;

fn ids(text: &str) -> Option<Named> {
    let mut ids = Vec::new();
    for id in text.split(',').take(MOST + 1) {
        let (aid, iid) = id.split_once('.')?;
        ids.push((aid.parse().ok()?, iid.parse().ok()?));
    }
    Some(ids)
}

/// The same of a document's entries.
fn entries_ids(entries: &[json::Value]) -> Option<Named> {
    let mut ids = Vec::new();
    for entry in entries.iter().take(MOST + 1) {
        let number = |name| u64::try_from(entry.get(name)?.as_int()?).ok();
        ids.push((number("aid")?, number("iid")?));
    }
    Some(ids)
}

/// Those that may be asked for together; or the answer to who asks for others.
fn allowed(ids: Option<Named>) -> Result<Named, Vec<u8>> {
    let invalid = |status| http::json(status, "{\"status\":-70410}");
    let ids = ids.filter(|ids| (1..=MOST).contains(&ids.len())).ok_or_else(|| invalid(400))?;
    for (i, id) in ids.iter().enumerate() {
        if ids.iter().skip(i + 1).any(|other| other == id) {
            return Err(invalid(422));
        }
    }
    Ok(ids)
}

/// A characteristic of that number, and whose it is.
fn find(accessory: &Accessory, aid: u64, iid: u64) -> Option<(&Accessory, &'static Characteristic)> {
    let accessory = accessory.at(u32::try_from(aid).ok()?)?;
    Some((accessory, accessory.settings.shape.find(u16::try_from(iid).ok()?)?))
}

/// `GET /characteristics`
#[inline(never)]
pub fn read(accessory: &Accessory, request: &Request, connection: u32, subscribed: &[Id]) -> Vec<u8> {
    let ids = match allowed(request.query("id").and_then(ids)) {
        Ok(ids) => ids,
        Err(answer) => return answer,
    };
    let wants = |name| request.query(name).is_some_and(|v| v == "1" || v == "true");
    let mut values = Vec::new();
    let mut failed = false;
    for &(aid, iid) in &ids {
        let found = find(accessory, aid, iid);
        let value = match found {
            Some((of, c)) => of.read(c, connection),
            None => Err(Status::Missing),
        };
        failed |= value.is_err();
        values.push((found.map(|(_, c)| c), value));
    }
    let mut out = begin();
    for ((aid, iid), (c, value)) in ids.into_iter().zip(values) {
        begin_entry(&mut out, aid, iid);
        if let Ok(value) = &value {
            value.write(out.key("value"));
        }
        if failed {
            status(&mut out, value.err().unwrap_or(Status::Done));
        }
        if let Some(c) = c {
            if wants("type") {
                kind(&mut out, c.kind);
            }
            if wants("meta") {
                meta(&mut out, c);
            }
            if wants("perms") {
                perms(&mut out, c);
            }
            if wants("ev") {
                out.key("ev").bool(subscribed.iter().any(|s| u64::from(s.0) == aid && s.1 == c.iid));
            }
        }
        out.end_object();
    }
    http::json(if failed { 207 } else { 200 }, &end(out))
}

/// `PUT /characteristics`. `caller.timed` says whether the document's `pid` was prepared; with a `pid`
/// that was not, nothing is written.
#[inline(never)]
pub fn write(
    accessory: &mut Accessory,
    document: &json::Value,
    caller: &Caller<'_>,
    camera: &mut dyn Camera,
    subscribed: &mut Vec<Id>,
) -> Vec<u8> {
    let entries = document.get("characteristics").map(json::Value::items).unwrap_or_default();
    let ids = match allowed(entries_ids(entries)) {
        Ok(ids) => ids,
        Err(answer) => return answer,
    };
    let unprepared = document.get("pid").is_some() && !caller.timed;
    let mut several = false;
    let mut results = Vec::new();
    for (entry, &(aid, iid)) in entries.iter().zip(&ids) {
        let result = if unprepared {
            Err(Status::Invalid)
        } else {
            let c = find(accessory, aid, iid).map(|(_, c)| c);
            let whose = u32::try_from(aid).ok().and_then(|aid| Some((aid, accessory.at_mut(aid, camera)?)));
            match (c, whose) {
                (Some(c), Some((aid, (accessory, camera)))) => {
                    one(accessory, (aid, c), entry, caller, camera, subscribed)
                }
                _ => Err(Status::Missing),
            }
        };
        several |= !matches!(result, Ok(None));
        results.push(result);
    }
    if !several {
        return http::answer(204, "", b"");
    }
    let mut out = begin();
    for (result, (aid, iid)) in results.into_iter().zip(ids) {
        begin_entry(&mut out, aid, iid);
        status(&mut out, result.as_ref().err().copied().unwrap_or(Status::Done));
        if let Ok(Some(value)) = result {
            value.write(out.key("value"));
        }
        out.end_object();
    }
    http::json(207, &end(out))
}

/// One entry: its events and its value; the answer if it asked for one.
#[inline(never)]
fn one(
    accessory: &mut Accessory,
    (aid, c): (u32, &Characteristic),
    entry: &json::Value,
    caller: &Caller<'_>,
    camera: &mut dyn Camera,
    subscribed: &mut Vec<Id>,
) -> Result<Option<Value>, Status> {
    let (ev, value) = (entry.get("ev"), entry.get("value"));
    if ev.is_none() && value.is_none() {
        return Err(Status::Invalid);
    }
    if let Some(ev) = ev {
        let on = match ev {
            json::Value::Bool(b) => *b,
            json::Value::Int(n @ 0..=1) => *n == 1,
            _ => return Err(Status::Invalid),
        };
        if c.may & may::EVENT == 0 {
            return Err(Status::NoEvents);
        }
        drop_where(subscribed, |id| *id == (aid, c.iid));
        if on {
            subscribed.push((aid, c.iid));
        }
    }
    let Some(value) = value else { return Ok(None) };
    let answer = accessory.write(c, value, caller, camera)?;
    let asked = matches!(entry.get("r"), Some(json::Value::Bool(true) | json::Value::Int(1)));
    Ok(answer.filter(|_| asked && c.may & may::ANSWER != 0))
}

/// The body of an event: the newest first, for they are read from the end.
#[inline(never)]
pub fn event(changes: &[(Id, Value)]) -> String {
    let mut out = begin();
    for ((aid, iid), value) in changes.iter().rev() {
        begin_entry(&mut out, u64::from(*aid), u64::from(*iid));
        value.write(out.key("value"));
        out.end_object();
    }
    end(out)
}

//! One accessory: its book, the values of its characteristics, and what a read or a write of one of
//! them does. Sessions share it; the camera behind it is a trait.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod members;
mod places;
mod value;

pub use members::Member;
pub use value::{LONGEST_TEXT, Status, Value, cut};

use super::camera::{self, Command, Endpoints, NoEndpoint, Selected, Size, Source};
use super::crypto::{Key, sha512};
use super::database::{Characteristic, Format, Shape, iid, kind, may};
use super::pairing::book::{Book, Pairing};
use super::pairing::setup::Setup;
use super::payload;
use crate::net::lists::drop_where;
use crate::net::{base64, json};
use places::Place;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Changes that slow sessions may still have to be told; the oldest are forgotten.
const MOST_CHANGES: usize = 64;
/// What a hub has chosen.
const SELECTION: u16 = iid::RECORDING + 5;
/// Where the book keeps what the source's pictures are.
const SOURCE: u16 = 0xfff1;
/// What the board or the configuration says of the camera. Texts of at most 64 bytes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name at first; the owner may change it in the Home app.
    pub name: String,
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// More than one character.
    pub serial: String,
    /// `x.y.z`
    pub firmware: String,
    /// `x.y.z`
    pub hardware: Option<String>,
    /// 17 camera, 18 doorbell, 2 bridge.
    pub category: u8,
    /// What it has.
    pub shape: Shape,
    /// Sizes of live view.
    pub sizes: Vec<Size>,
    /// Milliseconds before the motion that a recording holds.
    pub prebuffer_ms: u32,
    /// Others than HomeKit go on while the camera is switched off there.
    pub third_party: bool,
}

/// A place for one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Which of the accessory's stream managements.
    pub place: usize,
    /// The connection that it belongs to.
    pub connection: u32,
}

/// The camera behind an accessory. What it does not implement is answered as not there: no viewer, no
/// recording; the accessory works without.
pub trait Camera {
    /// The owner wants to know which one it is.
    fn identify(&mut self) {}

    /// A viewer comes: opens ports and answers with our side (and the sources that it sends from).
    fn live_setup(
        &mut self,
        viewer: Viewer,
        theirs: &Endpoints,
        local: IpAddr,
    ) -> Result<(Endpoints, [u32; 2]), NoEndpoint> {
        let _ = (viewer, theirs, local);
        Err(NoEndpoint::Error)
    }

    /// A viewer starts, pauses, goes on or wants less; false if that cannot be.
    fn live_control(&mut self, viewer: Viewer, selected: &Selected) -> bool {
        let _ = (viewer, selected);
        false
    }

    /// A viewer is gone, or has to go.
    fn live_end(&mut self, viewer: Viewer) {
        let _ = viewer;
    }

    /// A hub wants a data stream: the port, and our salt; `Err(true)` if busy.
    fn data_stream(&mut self, connection: u32, shared: &Key, salt: &[u8; 32]) -> Result<(u16, Key), bool> {
        let _ = (connection, shared, salt);
        Err(false)
    }

    /// A connection was closed, and with it what hangs on it.
    fn closed(&mut self, connection: u32) {
        let _ = connection;
    }

    /// A controller set a value.
    fn changed(&mut self, iid: u16, kind: u16, value: &Value) {
        let _ = (iid, kind, value);
    }
}

/// A camera that offers nothing but itself.
impl Camera for () {}

/// A value became another.
#[derive(Clone, Debug)]
pub struct Change {
    /// Of which accessory.
    pub aid: u32,
    /// Whose.
    pub iid: u16,
    /// What it is now.
    pub value: Value,
    /// The connection that wrote it, which is not told.
    pub by: Option<u32>,
    /// It does not wait for others.
    pub now: bool,
}

/// Who reads or writes.
pub struct Caller<'a> {
    /// The connection.
    pub connection: u32,
    /// Whether it is an admin's.
    pub admin: bool,
    /// The session's secret.
    pub shared: &'a Key,
    /// Our address, as it sees it.
    pub local: IpAddr,
    /// The write was prepared.
    pub timed: bool,
    /// The time.
    pub now: Instant,
}

/// The number of an accessory that is met by itself, and of a bridge.
pub const AID: u32 = 1;

/// An accessory.
pub struct Accessory {
    /// What it is.
    pub settings: Settings,
    /// Who may come in.
    pub book: Book,
    /// The pair-setup that may be going on.
    pub setup: Setup,
    values: Vec<(u16, Value)>,
    places: [Place; 2],
    changes: VecDeque<Change>,
    /// The number of the first of `changes`.
    first_change: u64,
    unsaved: bool,
    /// How often the controllers have changed.
    comings: u64,
    /// Somebody at the camera has cut it off.
    disabled: bool,
    /// What the source's pictures are, once that is known.
    source: Option<Source>,
    /// Those behind it, if it is a bridge.
    members: Vec<Member>,
}

impl Accessory {
    /// From its book. `c#` is counted up if the table is not what it was; a recording selection of
    /// another offer is forgotten.
    pub fn new(settings: Settings, book: Book) -> Accessory {
        Accessory::bridge(settings, book, Vec::new())
    }

    /// A bridge with others behind it. Of two with one number the second is left out.
    pub fn bridge(settings: Settings, mut book: Book, all: Vec<Member>) -> Accessory {
        let mut members: Vec<Member> = Vec::with_capacity(all.len());
        for member in all {
            if let Err(at) = members.binary_search_by_key(&member.aid, |m| m.aid) {
                members.insert(at, member);
            }
        }
        let mark = members::mark(&settings, &members);
        let mut offer = Vec::new();
        for size in &settings.sizes {
            offer.extend_from_slice(&size.width.to_le_bytes());
            offer.extend_from_slice(&size.height.to_le_bytes());
            offer.push(size.rate);
        }
        offer.extend_from_slice(&settings.prebuffer_ms.to_le_bytes());
        offer.push(u8::from(settings.shape.doorbell));
        let offer = sha512(&[&offer]);
        let mut unsaved = book.see_shape(mark);
        const OFFER: u16 = 0xfff0;
        let offer = offer.first_chunk::<8>().copied().unwrap_or_default();
        if book.value(OFFER).is_some_and(|old| old != offer) {
            book.drop_value(SELECTION);
        }
        unsaved |= book.set_value(OFFER, &offer);
        let source = book.value(SOURCE).and_then(Source::parse);
        let mut accessory = Accessory {
            settings,
            book,
            setup: Setup::default(),
            values: Vec::new(),
            places: Default::default(),
            changes: VecDeque::new(),
            first_change: 0,
            unsaved,
            comings: 0,
            disabled: false,
            source,
            members,
        };
        accessory.reset_values();
        accessory
    }

    /// What the advertisement says: paired or not, the number of the table.
    pub fn advertisement(&self) -> Vec<(&'static str, String)> {
        let identity = &self.book.identity;
        vec![
            ("c#", self.book.config_number.to_string()),
            ("ff", "0".into()),
            ("id", identity.device_id.clone()),
            ("md", self.settings.model.clone()),
            ("pv", "1.1".into()),
            ("s#", "1".into()),
            ("sf", if self.book.is_paired() { "0" } else { "1" }.into()),
            ("ci", self.settings.category.to_string()),
            ("sh", payload::setup_hash(&identity.setup_id, &identity.device_id)),
        ]
    }

    /// Whether a book, its own or one behind it, has changed since it was last asked for.
    pub fn is_unsaved(&self) -> bool {
        self.unsaved || self.members.iter().any(|m| m.accessory.unsaved)
    }

    /// It is to be asked for again: what was asked for could not be kept, or is new.
    pub fn not_saved(&mut self) {
        self.unsaved = true;
    }

    /// A book that has changed since it was last asked for, and whose it is.
    pub fn take_any_unsaved(&mut self) -> Option<(u32, Vec<u8>)> {
        let own = self.take_unsaved().map(|book| (AID, book));
        own.or_else(|| self.members.iter_mut().find_map(|m| Some((m.aid, m.accessory.take_unsaved()?))))
    }

    /// The book as bytes, if it has changed since it was last asked for.
    pub fn take_unsaved(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.unsaved).then(|| self.book.encode())
    }

    /// Nobody is paired any more: everything is as it was in the box.
    pub(super) fn pairings_changed(&mut self, camera: &mut dyn Camera) {
        self.comings += 1;
        if !self.book.is_paired() {
            for place in 0..self.places.len() {
                self.free(place, camera);
            }
            self.places = Default::default();
            if let Some(source) = self.source {
                // that is the camera's own, whoever it belongs to
                self.book.set_value(SOURCE, &source.bytes());
            }
            self.reset_values();
            let shape = self.settings.shape;
            for c in shape.all() {
                if c.may & may::KEEP != 0 {
                    // what was selected is so no more
                    camera.changed(c.iid, c.kind, self.value(c.iid).unwrap_or(&Value::Null));
                }
            }
        }
    }

    /// Takes back what made `after` of `before`, where it could not be saved.
    pub(super) fn restore(&mut self, before: &Book, after: &[Pairing]) {
        let was_paired = self.book.is_paired();
        self.book.undo(before, after);
        if self.book.is_paired() != was_paired {
            self.reset_values();
        }
        self.comings += 1;
        // what is on flash may be either
        self.unsaved = true;
    }

    /// What its pictures are, as far as that is known.
    pub fn source(&self) -> Option<Source> {
        self.source
    }

    /// What its pictures are: from now on hubs may choose it. A choice of pictures that stand otherwise is
    /// forgotten, for hubs would refuse what they get.
    pub fn see(&mut self, source: Source, camera: &mut dyn Camera) {
        const OFFER: u16 = iid::RECORDING + 3;
        let upright = self.is_upright();
        let new = self.source.map_or(source, |old| old.with(source));
        if self.source.replace(new) == Some(new) {
            return;
        }
        self.unsaved |= self.book.set_value(SOURCE, &new.bytes());
        let offer = camera::supported_recording_video(upright, Some(new));
        self.put(OFFER, Value::Bytes(offer), None);
        if upright != new.is_upright() && self.book.drop_value(SELECTION) {
            drop_where(&mut self.values, |(iid, _)| *iid == SELECTION);
            camera.changed(SELECTION, kind::SELECTED_RECORDING, &Value::Null);
        }
    }

    /// Whether hubs may choose only what is higher than wide.
    fn is_upright(&self) -> bool {
        let first = self.settings.sizes.first().is_some_and(|size| size.height > size.width);
        self.source.map_or(first, Source::is_upright)
    }

    /// The value at the moment.
    pub fn value(&self, iid: u16) -> Option<&Value> {
        self.values.iter().find(|(i, _)| *i == iid).map(|(_, v)| v)
    }

    fn is_on(&self, iid: u16) -> bool {
        self.value(iid).is_none_or(Value::is_on)
    }

    /// Sets a value and tells it to all who asked; for the camera's own side (motion, night vision).
    pub fn set(&mut self, iid: u16, value: Value) {
        self.put(iid, value, None);
    }

    /// Motion begins or ends; nothing while the camera is off.
    pub fn motion(&mut self, on: bool) {
        let on = on && !self.disabled && self.is_on(iid::OPERATING + 1);
        self.put(iid::MOTION + 1, Value::Bool(on), None);
    }

    /// Somebody at the camera cuts it off, or lets it see again.
    pub fn set_disabled(&mut self, on: bool, camera: &mut dyn Camera) {
        self.disabled = on;
        self.put(iid::OPERATING + 7, Value::Bool(on), None);
        self.follow_camera_active();
        camera.changed(iid::OPERATING + 7, kind::MANUALLY_DISABLED, &Value::Bool(on));
        if on {
            for place in 0..self.places.len() {
                self.free(place, camera);
            }
        }
    }

    /// The bell was pressed once.
    pub fn press(&mut self) {
        if self.settings.shape.doorbell && !self.disabled && self.is_on(iid::OPERATING + 1) {
            self.tell(iid::DOORBELL + 1, Value::Int(0), None);
        }
    }

    fn put(&mut self, iid: u16, value: Value, by: Option<u32>) {
        let Some(c) = self.settings.shape.find(iid) else { return };
        match self.values.iter_mut().find(|(i, _)| *i == iid) {
            Some((_, old)) if *old == value => return,
            Some((_, old)) => *old = value.clone(),
            None => self.values.push((iid, value.clone())),
        }
        if c.may & may::KEEP != 0 {
            self.unsaved |= self.book.set_value(iid, &value.bytes());
        }
        self.tell(iid, value, by);
    }

    fn tell(&mut self, iid: u16, value: Value, by: Option<u32>) {
        let Some(c) = self.settings.shape.find(iid).filter(|c| c.may & may::EVENT != 0) else { return };
        self.push(Change { aid: AID, iid, value, by, now: c.may & may::NOW != 0 });
    }

    fn push(&mut self, change: Change) {
        if self.changes.len() >= MOST_CHANGES * (1 + self.members.len()) {
            self.changes.pop_front();
            self.first_change += 1;
        }
        self.changes.push_back(change);
    }

    /// The number of the next change: a session that has seen it has seen all.
    pub fn next_change(&self) -> u64 {
        self.first_change + self.changes.len() as u64
    }

    /// Another number whenever a session may have something to do that it did not ask for.
    pub fn turn(&self) -> u64 {
        self.next_change() + self.comings
    }

    /// Every controller goes, as if the last admin had removed itself.
    pub fn forget_all(&mut self, camera: &mut dyn Camera) {
        self.book.wipe();
        self.pairings_changed(camera);
        self.empty_members();
        self.unsaved = true;
    }

    /// The changes since that number.
    pub fn changes_since(&self, number: u64) -> impl Iterator<Item = &Change> {
        let skip = number.saturating_sub(self.first_change);
        self.changes.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// What the controller of a connection reads.
    pub fn read(&self, c: &Characteristic, connection: u32) -> Result<Value, Status> {
        if c.may & may::READ == 0 {
            return Err(Status::WriteOnly);
        }
        let place = iid::LIVE.iter().position(|&from| c.iid == from + 4 || c.iid == from + 5);
        if let Some(place) = place.and_then(|p| self.places.get(p)) {
            let (bytes, first) = if c.kind == kind::SELECTED_RTP {
                (&place.selected, camera::nothing_selected())
            } else if let Some((_, busy)) = place.busy.as_ref().filter(|(to, _)| *to == connection) {
                (busy, Vec::new())
            } else {
                (&place.answer, camera::no_endpoint(None, NoEndpoint::Error))
            };
            return Ok(Value::Bytes(if bytes.is_empty() { first } else { bytes.clone() }));
        }
        self.value(c.iid).cloned().ok_or(Status::Unreachable)
    }

    /// What a controller writes; the answer is for those who asked for one.
    #[inline(never)]
    pub fn write(
        &mut self,
        c: &Characteristic,
        value: &json::Value,
        caller: &Caller<'_>,
        camera: &mut dyn Camera,
    ) -> Result<Option<Value>, Status> {
        if c.may & may::WRITE == 0 {
            return Err(Status::ReadOnly);
        }
        if c.may & may::ADMIN != 0 && !caller.admin {
            return Err(Status::Privileges);
        }
        if c.may & may::TIMED != 0 && !caller.timed {
            return Err(Status::Invalid);
        }
        let value = value::parse(c, value).ok_or(Status::Invalid)?;
        match (c.kind, &value) {
            (kind::IDENTIFY, _) => {
                if value.is_on() {
                    camera.identify();
                }
                return Ok(None);
            }
            (kind::SETUP_ENDPOINTS, Value::Bytes(bytes)) => return self.set_up(c, bytes, caller, camera),
            (kind::SELECTED_RTP, Value::Bytes(bytes)) => return self.select(c, bytes, caller, camera),
            (kind::SETUP_DATA_STREAM, Value::Bytes(bytes)) => {
                let salt = camera::data_stream_request(bytes).ok_or(Status::Invalid)?;
                let answer = match camera.data_stream(caller.connection, caller.shared, &salt) {
                    Ok((port, ours)) => camera::data_stream_answer(port, &ours),
                    Err(busy) => camera::data_stream_refusal(busy),
                };
                return Ok(Some(Value::Bytes(answer)));
            }
            (kind::SELECTED_RECORDING, Value::Bytes(bytes)) if !camera::is_recording_selection(bytes) => {
                return Err(Status::Invalid);
            }
            _ => {}
        }
        self.put(c.iid, value.clone(), Some(caller.connection));
        if c.kind == kind::CAMERA_ACTIVE {
            self.follow_camera_active();
        }
        if c.iid == iid::RECORDING + 1 && !value.is_on() {
            // hubs would show it for as long as nobody records
            self.motion(false);
        }
        for place in 0..self.places.len() {
            if self.refused(place).is_err() {
                self.free(place, camera);
            }
        }
        camera.changed(c.iid, c.kind, &value);
        Ok(None)
    }

    /// A camera that is off sees no motion, and says whether others than HomeKit see through it.
    fn follow_camera_active(&mut self) {
        let on = !self.disabled && self.is_on(iid::OPERATING + 1);
        let others = on || !self.disabled && self.settings.third_party;
        self.put(iid::OPERATING + 6, Value::Int(u8::from(others)), None);
        self.put(iid::MOTION + 2, Value::Bool(on), None);
        if !on {
            self.put(iid::MOTION + 1, Value::Bool(false), None);
        }
    }

    /// A connection is gone.
    pub fn connection_closed(&mut self, connection: u32, camera: &mut dyn Camera) {
        for Member { accessory, camera, .. } in &mut self.members {
            accessory.connection_closed(connection, &mut **camera);
        }
        self.setup.leave(connection);
        for place in 0..self.places.len() {
            let theirs = self.places.get(place).and_then(|p| p.taken);
            if theirs.is_some_and(|t| t.connection == connection) {
                self.free(place, camera);
            }
        }
        camera.closed(connection);
    }

    /// Whether a picture may be asked for; `reason` 0 is periodic, 1 an event.
    pub fn may_snapshot(&self, reason: Option<i64>) -> Result<(), Status> {
        let live = self.settings.shape.live;
        if self.disabled
            || !self.is_on(iid::OPERATING + 1)
            || live && (0..self.places.len()).all(|p| self.refused(p).is_err())
        {
            return Err(Status::NotNow);
        }
        for (switch, its) in [(iid::OPERATING + 2, 1), (iid::OPERATING + 3, 0)] {
            if !self.is_on(switch) {
                match reason {
                    None => return Err(Status::Privileges),
                    Some(reason) if reason == its => return Err(Status::NotNow),
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

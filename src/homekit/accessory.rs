//! One accessory: its book, the values of its characteristics, and what a read or a write of one of
//! them does. Sessions share it; the camera behind it is a trait.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::camera::{self, Command, Endpoints, NoEndpoint, Selected, Size, Source};
use super::crypto::{Key, sha512};
use super::database::{Characteristic, Format, Shape, iid, kind, may};
use super::pairing::book::{Book, Pairing};
use super::pairing::setup::Setup;
use super::payload;
use crate::net::{base64, json};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Changes that slow sessions may still have to be told; the oldest are forgotten.
const MOST_CHANGES: usize = 64;
/// A viewer that set up and does not start makes place for another.
const SETUP_TIME: Duration = Duration::from_secs(30);
/// What a hub has chosen.
const SELECTION: u16 = iid::RECORDING + 5;
/// Where the book keeps what the source's pictures are.
const SOURCE: u16 = 0xfff1;
/// Bytes of a written TLV at most.
const LONGEST_TLV: usize = 1024;

/// HomeKit's status of one characteristic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(i32)]
pub enum Status {
    Done = 0,
    Privileges = -70401,
    Unreachable = -70402,
    Busy = -70403,
    ReadOnly = -70404,
    WriteOnly = -70405,
    NoEvents = -70406,
    Resources = -70407,
    Timeout = -70408,
    Missing = -70409,
    Invalid = -70410,
    Authorization = -70411,
    NotNow = -70412,
}

/// A characteristic's value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Value {
    Null,
    Bool(bool),
    Int(u8),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// Into a document.
    pub fn write(&self, out: &mut json::Writer) {
        match self {
            Value::Null => out.null(),
            Value::Bool(b) => out.bool(*b),
            Value::Int(n) => out.uint(u64::from(*n)),
            Value::Text(text) => out.string(text),
            Value::Bytes(bytes) => out.string(&base64::encode(bytes)),
        };
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Value::Null => Vec::new(),
            Value::Bool(b) => vec![u8::from(*b)],
            Value::Int(n) => vec![*n],
            Value::Text(text) => text.clone().into_bytes(),
            Value::Bytes(bytes) => bytes.clone(),
        }
    }

    /// Whether it is a number or a truth that is not zero.
    pub fn is_on(&self) -> bool {
        matches!(self, Value::Bool(true) | Value::Int(1..))
    }
}

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

#[derive(Clone, Default)]
struct Place {
    taken: Option<Taken>,
    answer: Vec<u8>,
    /// The last one that was told to come later, and what it was told.
    busy: Option<(u32, Vec<u8>)>,
    selected: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Taken {
    connection: u32,
    session: [u8; 16],
    since: Instant,
    started: bool,
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

/// An accessory behind a bridge: its controllers are the bridge's, all else is its own.
pub struct Member {
    /// Its number, which is never another's.
    pub aid: u32,
    /// The accessory; nobody is ever paired with its own book.
    pub accessory: Accessory,
    /// What stands behind it.
    pub camera: Box<dyn Camera>,
}

impl Member {
    fn next(&mut self) -> Option<Change> {
        let change = self.accessory.changes.pop_front()?;
        self.accessory.first_change += 1;
        Some(change)
    }

    /// The number for an accessory of that name: the same at every start, whatever else is there.
    pub fn number(name: &str) -> u32 {
        let bytes = sha512(&[name.as_bytes()]).first_chunk().copied().unwrap_or_default();
        // readable as a number by everybody, and not the bridge's
        (u32::from_le_bytes(bytes) >> 2).saturating_add(AID + 1)
    }
}

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
    pub fn bridge(settings: Settings, mut book: Book, mut members: Vec<Member>) -> Accessory {
        members.sort_by_key(|m| m.aid);
        members.dedup_by_key(|m| m.aid);
        let mark = mark(&settings, &members);
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

    /// Every value as it begins, or as it was kept.
    fn reset_values(&mut self) {
        let shape = self.settings.shape;
        self.values = shape
            .services()
            .flat_map(|s| shape.of(s))
            .filter_map(|c| Some((c.iid, self.kept(c).or_else(|| self.first_value(c))?)))
            .collect();
        self.follow_camera_active();
    }

    fn kept(&self, c: &Characteristic) -> Option<Value> {
        let bytes = self.book.value(c.iid).filter(|_| c.may & may::KEEP != 0)?;
        match (c.format, bytes) {
            (Format::Bool, [b]) => Some(Value::Bool(*b != 0)),
            (Format::Uint8(most), [n]) if *n <= most => Some(Value::Int(*n)),
            (Format::Tlv8, bytes) => Some(Value::Bytes(bytes.to_vec())),
            _ => None,
        }
    }

    fn first_value(&self, c: &Characteristic) -> Option<Value> {
        let s = &self.settings;
        let text = |text: &str| {
            let end = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|&end| end <= 64).last();
            Some(Value::Text(text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()))
        };
        let bytes = |bytes| Some(Value::Bytes(bytes));
        match c.kind {
            kind::MANUFACTURER => text(&s.manufacturer),
            kind::MODEL => text(&s.model),
            kind::NAME => text(&s.name),
            kind::SERIAL => text(&s.serial),
            kind::FIRMWARE => text(&s.firmware),
            kind::HARDWARE => text(s.hardware.as_deref().unwrap_or("1.0")),
            kind::VERSION if c.iid > iid::DATA_STREAM => text("1.0"),
            kind::VERSION => text("1.1.0"),
            kind::SUPPORTED_VIDEO => bytes(camera::supported_video(&s.sizes)),
            kind::SUPPORTED_AUDIO => bytes(camera::supported_audio()),
            kind::SUPPORTED_RTP => bytes(camera::supported_rtp()),
            kind::STREAMING_STATUS => bytes(camera::streaming_status(false)),
            kind::SUPPORTED_DATA_STREAM => bytes(camera::supported_data_stream()),
            kind::SETUP_DATA_STREAM => bytes(Vec::new()),
            kind::SUPPORTED_RECORDING => {
                bytes(camera::supported_recording(s.prebuffer_ms, 4000, s.shape.doorbell))
            }
            kind::SUPPORTED_RECORDING_VIDEO => {
                bytes(camera::supported_recording_video(self.is_upright(), self.source))
            }
            kind::SUPPORTED_RECORDING_AUDIO => bytes(camera::supported_recording_audio()),
            // Nothing was selected: that has no value.
            kind::SELECTED_RECORDING | kind::IDENTIFY => None,
            kind::SWITCH_EVENT => Some(Value::Null),
            kind::ACTIVE => Some(Value::Int(u8::from(c.iid < iid::RECORDING))),
            kind::CAMERA_ACTIVE | kind::EVENT_SNAPSHOTS | kind::PERIODIC_SNAPSHOTS => Some(Value::Int(1)),
            kind::THIRD_PARTY_ACTIVE => Some(Value::Int(1)),
            kind::INDICATOR | kind::NIGHT_VISION => Some(Value::Bool(true)),
            kind::VOLUME => Some(Value::Int(100)),
            _ if c.format == Format::Bool => Some(Value::Bool(false)),
            _ if matches!(c.format, Format::Uint8(_)) => Some(Value::Int(0)),
            _ => None,
        }
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

    /// Those behind it.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The accessory of that number: itself, or one behind it.
    pub fn at(&self, aid: u32) -> Option<&Accessory> {
        match aid {
            AID => Some(self),
            aid => self.members.iter().find(|m| m.aid == aid).map(|m| &m.accessory),
        }
    }

    /// The same, with what stands behind it; `camera` is what stands behind this one.
    pub fn at_mut<'a>(
        &'a mut self,
        aid: u32,
        camera: &'a mut dyn Camera,
    ) -> Option<(&'a mut Accessory, &'a mut dyn Camera)> {
        match aid {
            AID => Some((self, camera)),
            aid => {
                let member = self.members.iter_mut().find(|m| m.aid == aid)?;
                Some((&mut member.accessory, &mut *member.camera))
            }
        }
    }

    /// What has changed behind it is told as its own.
    pub fn gather(&mut self) {
        for member in 0..self.members.len() {
            while let Some(mut change) = self.members.get_mut(member).and_then(Member::next) {
                change.aid = self.members.get(member).map_or(AID, |m| m.aid);
                self.push(change);
            }
        }
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
            for c in shape.services().flat_map(|s| shape.of(s)).filter(|c| c.may & may::KEEP != 0) {
                // what was selected is so no more
                camera.changed(c.iid, c.kind, self.value(c.iid).unwrap_or(&Value::Null));
            }
        }
    }

    /// It is on flash that nobody is paired: those behind it forget what was set too.
    pub(super) fn empty_members(&mut self) {
        if !self.book.is_paired() {
            for Member { accessory, camera, .. } in &mut self.members {
                accessory.forget_all(&mut **camera);
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
            self.values.retain(|(iid, _)| *iid != SELECTION);
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
        let value = parse(c, value).ok_or(Status::Invalid)?;
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

    /// Whether live view is off there.
    fn refused(&self, place: usize) -> Result<(), Status> {
        let active = iid::LIVE.get(place).is_some_and(|from| self.is_on(from + 7));
        if active && !self.disabled && self.is_on(iid::OPERATING + 1) { Ok(()) } else { Err(Status::NotNow) }
    }

    fn set_up(
        &mut self,
        c: &Characteristic,
        bytes: &[u8],
        caller: &Caller<'_>,
        camera: &mut dyn Camera,
    ) -> Result<Option<Value>, Status> {
        let place = iid::LIVE.iter().position(|&from| c.iid == from + 5).ok_or(Status::Missing)?;
        self.refused(place)?;
        let theirs = Endpoints::parse(bytes).ok_or(Status::Invalid)?;
        self.tidy(caller.now, camera);
        let taken = self.places.get(place).and_then(|p| p.taken);
        let answered = |answer: &Vec<u8>| Ok(Some(Value::Bytes(answer.clone())));
        if taken.is_some_and(|t| t.started || t.connection != caller.connection) {
            // Told to the one who asks; the viewer's own answer stays for the viewer.
            let busy = camera::no_endpoint(Some(&theirs.session), NoEndpoint::Busy);
            if let Some(slot) = self.places.get_mut(place) {
                slot.busy = Some((caller.connection, busy.clone()));
            }
            return answered(&busy);
        }
        if taken.is_some() {
            self.free(place, camera);
        }
        let viewer = Viewer { place, connection: caller.connection };
        let (answer, ok) = match camera.live_setup(viewer, &theirs, caller.local) {
            Ok((ours, [video, audio])) => (ours.answer(video, audio), true),
            Err(why) => (camera::no_endpoint(Some(&theirs.session), why), false),
        };
        if let Some(slot) = self.places.get_mut(place) {
            slot.answer.clone_from(&answer);
            slot.busy = None;
            slot.taken = ok.then_some(Taken {
                connection: caller.connection,
                session: theirs.session,
                since: caller.now,
                started: false,
            });
        }
        self.tell_place(place);
        answered(&answer)
    }

    fn select(
        &mut self,
        c: &Characteristic,
        bytes: &[u8],
        caller: &Caller<'_>,
        camera: &mut dyn Camera,
    ) -> Result<Option<Value>, Status> {
        let place = iid::LIVE.iter().position(|&from| c.iid == from + 4).ok_or(Status::Missing)?;
        self.refused(place)?;
        let selected = Selected::parse(bytes).ok_or(Status::Invalid)?;
        let slot = self.places.get_mut(place).ok_or(Status::Missing)?;
        let Some(taken) = slot.taken.as_mut().filter(|t| t.session == selected.session) else {
            return Err(Status::Invalid);
        };
        if taken.connection != caller.connection {
            return Err(Status::Busy);
        }
        if selected.command == Command::End {
            slot.selected = bytes.to_vec();
            self.free(place, camera);
            return Ok(Some(Value::Bytes(bytes.to_vec())));
        }
        let again = selected.command == Command::Start && taken.started;
        let early = selected.command != Command::Start && !taken.started;
        if again || early {
            return Err(Status::NotNow);
        }
        if !camera.live_control(Viewer { place, connection: caller.connection }, &selected) {
            return Err(Status::Unreachable);
        }
        taken.started = true;
        slot.selected = bytes.to_vec();
        Ok(Some(Value::Bytes(bytes.to_vec())))
    }

    /// A place becomes free.
    fn free(&mut self, place: usize, camera: &mut dyn Camera) {
        let Some(slot) = self.places.get_mut(place) else { return };
        if let Some(taken) = slot.taken.take() {
            slot.answer = camera::no_endpoint(None, NoEndpoint::Error);
            slot.busy = None;
            camera.live_end(Viewer { place, connection: taken.connection });
            self.tell_place(place);
        }
    }

    fn tell_place(&mut self, place: usize) {
        let in_use = self.places.get(place).is_some_and(|p| p.taken.is_some());
        if let Some(from) = iid::LIVE.get(place) {
            self.put(from + 6, Value::Bytes(camera::streaming_status(in_use)), None);
        }
    }

    /// The live view of a place ended by itself (its viewer fell silent, its source is gone).
    pub fn live_ended(&mut self, viewer: Viewer, camera: &mut dyn Camera) {
        let theirs = self.places.get(viewer.place).and_then(|p| p.taken);
        if theirs.is_some_and(|t| t.connection == viewer.connection) {
            self.free(viewer.place, camera);
        }
    }

    /// Frees what was set up and never started.
    pub fn tidy(&mut self, now: Instant, camera: &mut dyn Camera) {
        for place in 0..self.places.len() {
            let stale = |t: Taken| !t.started && now.saturating_duration_since(t.since) >= SETUP_TIME;
            if self.places.get(place).and_then(|p| p.taken).is_some_and(stale) {
                self.free(place, camera);
            }
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

/// What a controller keeps of a table, with those behind it.
fn mark(settings: &Settings, members: &[Member]) -> [u8; 8] {
    let own = settings.shape.mark(&settings.firmware);
    if members.is_empty() {
        return own;
    }
    let mut all = own.to_vec();
    for Member { aid, accessory, .. } in members {
        all.extend_from_slice(&aid.to_le_bytes());
        all.extend_from_slice(&mark(&accessory.settings, &[]));
    }
    sha512(&[&all]).first_chunk().copied().unwrap_or([1; 8])
}

/// A written value, if it is one of that characteristic.
fn parse(c: &Characteristic, value: &json::Value) -> Option<Value> {
    let number = match value {
        json::Value::Bool(b) => Some(i64::from(*b)),
        json::Value::Int(n) => Some(*n),
        _ => None,
    };
    match c.format {
        Format::Bool => number.filter(|n| (0..=1).contains(n)).map(|n| Value::Bool(n == 1)),
        Format::Uint8(most) => {
            let n = u8::try_from(number?).ok().filter(|n| *n <= most)?;
            (most == 1 || matches!(value, json::Value::Int(_))).then_some(Value::Int(n))
        }
        Format::String => None,
        Format::Tlv8 => {
            base64::decode(value.as_str()?).filter(|bytes| bytes.len() <= LONGEST_TLV).map(Value::Bytes)
        }
    }
}

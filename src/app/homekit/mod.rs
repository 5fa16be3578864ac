//! HomeKit as part of the program: which streams are accessories, who they are, where they listen, and
//! what they hear of what happens. The accessory itself knows nothing of all this.

mod book;
mod motion;
mod picture;
#[cfg(test)]
mod power_tests;
mod routes;

use super::api::Routes;
use super::config::{Config, Homekit as Row};
use super::program::{Program, Service};
use super::state;
use crate::homekit::accessory::{AID, Accessory, Camera, LONGEST_TEXT, Member, Settings, Value, Viewer, cut};
use crate::homekit::camera::{Endpoints, NoEndpoint, SIZES, Selected, Size};
use crate::homekit::crypto::Key;
use crate::homekit::database::{Shape, iid, kind};
use crate::homekit::hds::server::DataStreams;
use crate::homekit::live::{self, Desk, Live};
use crate::homekit::pairing::book::VERSION;
use crate::homekit::payload;
use crate::homekit::qr::Qr;
use crate::homekit::recording::{PREBUFFER, Recording};
use crate::homekit::server::{Annex, Behind, Listening, Server, Snapshots, Store, random};
use crate::motion::{Bus, Event, What};
use crate::net::clock;
use crate::net::lists::drop_where;
use crate::net::log;
use crate::net::socket::Listener;
use crate::net::worker::Worker;
use crate::stream::{Hall, Local, Off};
use async_task::Task;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::future::ready;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long the last write may take: big numbers may be computed before it.
const LAST: Duration = Duration::from_secs(5);

/// An accessory at its port: a stream, or a bridge with several behind it.
pub(super) struct Home {
    /// The stream's name, or the bridge's.
    name: String,
    port: u16,
    server: Rc<Server>,
    /// The streams: one with the accessory's own number, or those behind the bridge.
    units: Vec<Unit>,
    /// The name of its book.
    book: String,
    store: Option<state::Store>,
    slow: Rc<Worker>,
    _listening: Listening,
}

/// A stream that is an accessory, by itself or behind a bridge.
struct Unit {
    aid: u32,
    stream: String,
    /// The name of its book.
    book: String,
    lid: Rc<Lid>,
    live: Rc<Live>,
    recorder: Option<Recorder>,
}

/// What serves recordings to hubs.
#[derive(Clone)]
struct Recorder {
    recording: Rc<Recording>,
    streams: Rc<DataStreams>,
}

/// What a unit consists of before it is served.
struct Parts {
    unit: Unit,
    accessory: Accessory,
    eye: Eye,
    store: Rc<dyn Store>,
    snapshots: Rc<dyn Snapshots>,
}

impl Drop for Home {
    fn drop(&mut self) {
        // what the worker has not written yet is written now, for the program may be about to end; and
        // after what waits there already
        let mut books = vec![(std::mem::take(&mut self.book), self.server.stop())];
        for unit in &self.units {
            if let Some(recorder) = &unit.recorder {
                recorder.streams.stop();
            }
            unit.lid.shut(false);
        }
        for (aid, book) in self.server.books() {
            let unit = self.units.iter().find(|unit| unit.aid == aid);
            books.extend(unit.map(|unit| (unit.book.clone(), book)));
        }
        let Some(store) = self.store.take() else { return };
        let written = Arc::new((Mutex::new(false), Condvar::new()));
        let done = written.clone();
        let last = self.slow.run(move || {
            for (name, bytes) in books {
                if let Err(e) = store.write(&name, VERSION, &bytes) {
                    log::error!(target: "homekit", "{e}");
                }
            }
            *done.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            done.1.notify_one();
        });
        let now = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        let come = last.is_ok()
            && written.1.wait_timeout_while(now, LAST, |written| !*written).is_ok_and(|(now, _)| *now);
        if !come {
            log::error!(target: "homekit", "{}: the last changes may not have been kept", self.name);
        }
        drop(last);
    }
}

impl Home {
    /// The text of its QR code.
    fn uri(&self) -> String {
        let accessory = self.server.accessory();
        let identity = &accessory.book.identity;
        payload::uri(identity.code, &identity.setup_id, accessory.settings.category)
    }

    /// For a person at a terminal.
    fn card(&self) -> String {
        let code = self.server.accessory().book.identity.code;
        let qr = Qr::new(&self.uri()).map(|qr| qr.text()).unwrap_or_default();
        format!("  HomeKit {}: setup code {code}\n{qr}", self.name)
    }

    /// The unit of that stream.
    fn unit(&self, stream: &str) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.stream == stream)
    }
}

/// Everything of HomeKit that runs.
#[derive(Default)]
pub struct Homekit {
    homes: Rc<RefCell<Vec<Home>>>,
    program: RefCell<Weak<Program>>,
    /// What all viewers send with.
    desk: Rc<RefCell<Desk>>,
    ear: RefCell<Option<Task<()>>>,
    /// Says whose motion is of use.
    watch: RefCell<Option<Task<()>>>,
    /// What was to run when it was started.
    wanted: RefCell<Vec<String>>,
    routes: RefCell<Option<Routes>>,
}

impl Service for Homekit {
    fn name(&self) -> &'static str {
        "homekit"
    }

    fn start(&self, program: &Rc<Program>, config: &Config) {
        self.stop();
        drop_where(&mut program.listening.borrow_mut(), |l| l.starts_with("HOMEKIT "));
        program.forget_faults("homekit");
        if !config.starts("homekit") {
            return;
        }
        if let Some(why) = config.fault("homekit") {
            program.fault("homekit", why.to_owned());
            return;
        }
        self.program.replace(Rc::downgrade(program));
        self.routes.replace(Some(routes::serve(program, &self.homes)));
        if config.homekit.is_empty() {
            return;
        }
        let store = match program.store() {
            Ok(store) => Some(store),
            Err(sentence) => {
                program.fault("homekit", format!("homekit: {sentence}; nobody can be paired"));
                None
            }
        };
        self.wanted.borrow_mut().clear();
        for (stream, row) in heads(config) {
            self.wanted.borrow_mut().push(stream.to_owned());
            let part = format!("homekit.{stream}");
            if let Some(why) = config.fault(&part) {
                program.fault("homekit", why.to_owned());
                continue;
            }
            match self.open(program, config, stream, row, store.clone()) {
                Ok(home) => self.homes.borrow_mut().push(home),
                Err(sentence) => program.fault("homekit", format!("{part}: {sentence}")),
            }
        }
        if self.homes.borrow().is_empty() {
            return;
        }
        let watch = motion::follow(Rc::downgrade(&self.homes), program.bus.clone());
        self.watch.replace(Some(program.executor.spawn(watch)));
        let (homes, ear) = (self.homes.clone(), program.bus.listen());
        self.ear.replace(Some(program.executor.spawn(async move {
            loop {
                hear(&homes, &ear.next().await);
            }
        })));
    }

    fn set(&self, config: &Config) {
        // a stream has gone or come
        let heads = heads(config);
        let same = {
            let wanted = self.wanted.borrow();
            wanted.len() == heads.len() && wanted.iter().zip(heads).all(|(old, (name, _))| old == name)
        };
        for home in self.homes.borrow().iter() {
            for unit in &home.units {
                unit.lid.follow();
            }
        }
        let program = self.program.borrow().upgrade();
        if let (false, Some(program)) = (same, program) {
            self.start(&program, config);
        }
    }

    fn stop(&self) {
        drop(self.watch.take());
        let ended = (self.ear.take(), self.routes.take(), self.homes.take(), self.program.take());
        drop(ended);
    }

    fn is_on(&self) -> bool {
        self.program.borrow().strong_count() > 0
    }

    fn serves(&self) -> bool {
        !self.homes.borrow().is_empty()
    }

    fn tell(&self, out: &mut dyn Write) {
        for home in self.homes.borrow().iter().filter(|h| !h.server.accessory().book.is_paired()) {
            let _ = writeln!(out, "{}", home.card());
        }
    }
}

impl Homekit {
    /// A stream as an accessory: its book, what stands behind it, where both are kept.
    fn parts(
        &self,
        program: &Rc<Program>,
        (aid, stream, row): (u32, &str, &Row),
        store: Option<&state::Store>,
    ) -> Result<Parts, String> {
        let category = category(&row.category_id)?;
        let name = book::name(stream);
        let (book, told) = book::open(store, &name, stream, row)?;
        if let Some(sentence) = told {
            program.fault("homekit", format!("homekit.{stream}: {sentence}"));
        }
        let settings = settings(stream, row, category, &book.identity.device_id);
        let mut streams = vec![stream.to_owned()];
        streams.extend(row.sub_streams.iter().cloned());
        let lid = Lid::new(&program.hall, &streams, row.third_party);
        let snapshots = picture::pictures(program.hall.clone(), &streams);
        let options = live::Options { streams, half_duplex: row.half_duplex };
        let live = Live::new(&program.hall, options, self.desk.clone());
        let recorder = row.hksv.then(|| {
            let recording = Recording::new(&program.hall, stream);
            let streams = DataStreams::new(program.executor.clone(), Rc::new(recording.clone()));
            Recorder { recording, streams }
        });
        let mut eye = Eye {
            bus: program.bus.clone(),
            stream: stream.into(),
            live: live.clone(),
            sound: Sound::default(),
            lid: lid.clone(),
            recorder: recorder.clone(),
        };
        let mut accessory = Accessory::new(settings, book);
        accessory.not_saved();
        if program.bus.is_on(stream, What::Privacy(true)) {
            accessory.set_disabled(true, &mut eye);
        }
        for iid in [MICROPHONE, SPEAKER, LOUDNESS, SIGHT].into_iter().chain(Recording::IIDS) {
            accessory.value(iid).into_iter().for_each(|value| eye.changed(iid, 0, value));
        }
        let store = shelf(program, store, &name);
        let unit = Unit { aid, stream: stream.to_owned(), book: name, lid, live, recorder };
        Ok(Parts { unit, accessory, eye, store, snapshots })
    }

    #[inline(never)]
    fn open(
        &self,
        program: &Rc<Program>,
        config: &Config,
        name: &str,
        row: &Row,
        store: Option<state::Store>,
    ) -> Result<Home, String> {
        let (mut units, mut annexes) = (Vec::new(), Vec::new());
        let (mut accessory, behind) = if is_bridge(row) {
            let (book, told) = book::open(store.as_ref(), &book::name(name), name, row)?;
            if let Some(sentence) = told {
                program.fault("homekit", format!("homekit.{name}: {sentence}"));
            }
            let mut members = Vec::new();
            for stream in &row.streams {
                let own = config.homekit.iter().find(|(of, _)| of == stream).map(|(_, row)| row.clone());
                let aid = Member::number(stream);
                let parts = match config.stream(stream) {
                    Some(_) => self.parts(program, (aid, stream, &own.unwrap_or_default()), store.as_ref()),
                    None => Err("there is no such stream".to_owned()),
                };
                match parts {
                    Ok(Parts { unit, accessory, eye, store, snapshots }) => {
                        units.push(unit);
                        annexes.push(Annex { aid, store, snapshots });
                        members.push(Member { aid, accessory, camera: Box::new(eye) });
                    }
                    Err(why) => program.fault("homekit", format!("homekit.{name}.streams: {stream}: {why}")),
                }
            }
            let mut settings = settings(name, row, 2, &book.identity.device_id);
            settings.shape = Shape { hardware_revision: settings.shape.hardware_revision, ..Shape::BRIDGE };
            let store = shelf(program, store.as_ref(), &book::name(name));
            let behind = Behind { camera: Box::new(()), store, snapshots: Rc::new(()) };
            (Accessory::bridge(settings, book, members), behind)
        } else {
            let Parts { unit, accessory, eye, store, snapshots } =
                self.parts(program, (AID, name, row), store.as_ref())?;
            units.push(unit);
            (accessory, Behind { camera: Box::new(eye), store, snapshots })
        };
        // any port, and that is best the one where controllers have found it before
        let known = if row.port == 0 { accessory.book.port } else { row.port };
        let listen = |port: u16| Listener::tcp(&format!(":{port}"));
        let listener = listen(known).or_else(|_| listen(row.port));
        let listener = listener.map_err(|e| format!("port {}: {e}", row.port))?;
        let port = listener.local_address().map_or(row.port, |a| a.port());
        accessory.book.port = port;
        accessory.not_saved();
        let slow = program.slow.clone();
        let server = Server::bridge(program.executor.clone(), slow.clone(), accessory, behind, annexes);
        for unit in &units {
            let (told, aid) = (Rc::downgrade(&server), unit.aid);
            let ended = told.clone();
            unit.live.on_end(Rc::new(move |viewer| {
                if let Some(server) = ended.upgrade() {
                    server.live_ended(aid, viewer);
                }
            }));
            let Some(Recorder { recording, .. }) = &unit.recorder else { continue };
            recording.on_source(Rc::new(move |source| {
                if let Some(server) = told.upgrade() {
                    server.see(aid, source);
                }
            }));
            if server.accessory().at(aid).is_some_and(|own| own.source().is_none()) {
                recording.learn();
            }
        }
        let listening = server.serve(listener);
        if let Err(e) = server.announce(&program.discovery.responder(config), port) {
            program.fault("homekit", format!("homekit.{name}: it cannot be found: {e}"));
        }
        program.listening.borrow_mut().push(format!("HOMEKIT hap://127.0.0.1:{port}/ {name}"));
        let (name, book) = (name.to_owned(), book::name(name));
        Ok(Home { name, port, server, units, book, store, slow, _listening: listening })
    }
}

/// Whether others are behind it; what only calls itself a bridge is a stream.
fn is_bridge(row: &Row) -> bool {
    !row.streams.is_empty()
}

/// What has a port of its own: bridges, and streams that are behind none.
fn heads(config: &Config) -> Vec<(&str, &Row)> {
    let mut heads = Vec::new();
    for (name, row) in &config.homekit {
        if is_bridge(row) || !config.homekit.iter().any(|(_, other)| other.streams.contains(name)) {
            heads.push((name.as_str(), row));
        }
    }
    heads
}

/// Where a book is kept.
fn shelf(program: &Program, store: Option<&state::Store>, name: &str) -> Rc<dyn Store> {
    match store {
        Some(store) => {
            Rc::new(Shelf { store: store.clone(), name: name.to_owned(), slow: program.slow.clone() })
        }
        None => Rc::new(Nowhere),
    }
}

/// What the Home app shows it as.
fn category(text: &str) -> Result<u8, String> {
    match text {
        "" | "camera" => Ok(17),
        "doorbell" => Ok(18),
        "bridge" => Ok(2),
        number => {
            number.parse().ok().filter(|&n| n > 0).ok_or_else(|| {
                format!("category_id: {text:?}: expected camera, doorbell, bridge or a number")
            })
        }
    }
}

fn settings(stream: &str, row: &Row, category: u8, device_id: &str) -> Settings {
    let or = |text: &str, other: &str| {
        let text = if text.is_empty() { other } else { text };
        cut(text, LONGEST_TEXT).to_owned()
    };
    // where no Opus can be made, sound is not announced
    let sound = cfg!(feature = "opus") && row.live;
    let shape = Shape {
        live: row.live,
        recording: row.hksv,
        microphone: row.microphone && (sound || row.hksv),
        speaker: row.speaker && sound,
        motion: true,
        doorbell: category == 18,
        hardware_revision: !row.hardware.is_empty(),
        indicator: row.status_light,
        night_vision: row.night_vision,
    };
    let serial = if row.serial.chars().count() > 1 { row.serial.clone() } else { device_id.replace(':', "") };
    Settings {
        name: or(&row.name, stream),
        manufacturer: or(&row.manufacturer, "streamd"),
        model: or(&row.model, "Camera"),
        serial,
        firmware: or(&row.firmware, super::api::VERSION),
        hardware: (!row.hardware.is_empty()).then(|| row.hardware.clone()),
        category,
        shape,
        sizes: SIZES
            .map(|s| if row.upright { Size { width: s.height, height: s.width, ..s } } else { s })
            .to_vec(),
        prebuffer_ms: PREBUFFER.as_millis() as u32,
        third_party: row.third_party,
    }
}

/// What happens to the camera, for those accessories that are it.
fn hear(homes: &RefCell<Vec<Home>>, event: &Event) {
    for home in homes.borrow().iter() {
        for unit in home.units.iter().filter(|u| event.stream.is_empty() || *u.stream == *event.stream) {
            let (server, aid) = (&home.server, unit.aid);
            match event.what {
                What::Motion(on) => {
                    if let Some(recorder) = &unit.recorder {
                        recorder.recording.motion(on);
                    }
                    server.motion(aid, on);
                }
                What::Doorbell => server.press(aid),
                What::Privacy(on) => server.disable(aid, on),
                What::Light(on) => server.set(aid, iid::OPERATING + 4, Value::Bool(on)),
                What::Night(on) => server.set(aid, iid::OPERATING + 5, Value::Bool(on)),
            }
        }
    }
}

/// What a stream does when its accessory is told to.
struct Eye {
    bus: Rc<Bus>,
    stream: Rc<str>,
    live: Rc<Live>,
    sound: Sound,
    lid: Rc<Lid>,
    recorder: Option<Recorder>,
}

/// What the switch of the Home app shuts beside HomeKit: nothing, or the stream for everybody.
struct Lid {
    hall: Rc<Hall>,
    streams: Vec<String>,
    /// Others go on.
    others: bool,
    off: Cell<bool>,
}

impl Lid {
    fn new(hall: &Rc<Hall>, streams: &[String], others: bool) -> Rc<Lid> {
        Rc::new(Lid { hall: hall.clone(), streams: streams.to_vec(), others, off: Cell::new(false) })
    }

    fn shut(&self, off: bool) {
        self.off.set(off && !self.others);
        self.follow();
    }

    /// Streams may have come since.
    fn follow(&self) {
        for stream in self.streams.iter().filter_map(|name| self.hall.get(name)) {
            stream.switch(Off::Owner, self.off.get());
        }
    }
}

/// The speaker as the Home app has set it.
struct Sound {
    off: bool,
    volume: u8,
}

impl Default for Sound {
    fn default() -> Sound {
        Sound { off: false, volume: 100 }
    }
}

impl Camera for Eye {
    fn identify(&mut self) {
        log::info!(target: "homekit", "{}: somebody asks which camera this is", self.stream);
    }

    fn live_setup(
        &mut self,
        viewer: Viewer,
        theirs: &Endpoints,
        local: IpAddr,
    ) -> Result<(Endpoints, [u32; 2]), NoEndpoint> {
        self.live.setup(viewer, theirs, local)
    }

    fn live_control(&mut self, viewer: Viewer, selected: &Selected) -> bool {
        self.live.control(viewer, selected)
    }

    fn live_end(&mut self, viewer: Viewer) {
        self.live.end(viewer);
    }

    fn data_stream(&mut self, connection: u32, shared: &Key, salt: &[u8; 32]) -> Result<(u16, Key), bool> {
        let recorder = self.recorder.as_ref().ok_or(false)?;
        let mut ours = [0; 32];
        random(&mut ours);
        let port = recorder.streams.expect(connection, shared, salt, &ours)?;
        Ok((port, ours))
    }

    fn closed(&mut self, connection: u32) {
        self.live.closed(connection);
        if let Some(recorder) = &self.recorder {
            recorder.streams.closed(connection);
        }
    }

    fn changed(&mut self, iid: u16, what: u16, value: &Value) {
        // before the lid is shut: a recording that is not allowed any more has not lost its source
        if let Some(recorder) = &self.recorder {
            recorder.recording.set(iid, value);
        }
        match (iid, what, value) {
            (MICROPHONE, _, _) => self.live.set_microphone(value.is_on()),
            (SIGHT, _, _) => self.lid.shut(!value.is_on()),
            (SPEAKER, _, _) => self.sound.off = value.is_on(),
            (LOUDNESS, _, Value::Int(volume)) => self.sound.volume = *volume,
            (_, kind::INDICATOR, _) => self.post(What::Light(value.is_on())),
            (_, kind::NIGHT_VISION, _) => self.post(What::Night(value.is_on())),
            _ => {}
        }
        if matches!(iid, SPEAKER | LOUDNESS) {
            self.live.set_speaker(self.sound.off, self.sound.volume);
        }
    }
}

/// Whether the camera sees at all.
const SIGHT: u16 = iid::OPERATING + 1;
const MICROPHONE: u16 = iid::MICROPHONE + 1;
const SPEAKER: u16 = iid::SPEAKER + 1;
const LOUDNESS: u16 = iid::SPEAKER + 2;

impl Eye {
    fn post(&self, what: What) {
        self.bus.post(Event { time: clock::now(), stream: self.stream.clone(), what });
    }
}

/// Keeps a book on flash.
struct Shelf {
    store: state::Store,
    name: String,
    slow: Rc<Worker>,
}

impl Store for Shelf {
    fn save(&self, bytes: Vec<u8>) -> Local<bool> {
        let (store, name) = (self.store.clone(), self.name.clone());
        match self.slow.run(move || store.write(&name, VERSION, &bytes)) {
            Err(refused) => {
                log::error!(target: "homekit", "{}: not kept: {refused}", self.name);
                Box::pin(ready(false))
            }
            Ok(pending) => Box::pin(async move {
                let written = pending.await;
                if let Err(e) = &written {
                    log::error!(target: "homekit", "{e}");
                }
                written.is_ok()
            }),
        }
    }
}

/// There is no place to keep anything: nobody can be paired.
struct Nowhere;

impl Store for Nowhere {
    fn save(&self, _: Vec<u8>) -> Local<bool> {
        Box::pin(ready(false))
    }
}

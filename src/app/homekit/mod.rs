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
use crate::homekit::accessory::{Accessory, Camera, Settings, Value, Viewer};
use crate::homekit::camera::{Endpoints, NoEndpoint, SIZES, Selected};
use crate::homekit::database::{Shape, iid, kind};
use crate::homekit::live::{self, Desk, Live};
use crate::homekit::pairing::book::VERSION;
use crate::homekit::payload;
use crate::homekit::qr::Qr;
use crate::homekit::server::{Behind, Listening, Server, Store};
use crate::motion::{Bus, Event, What};
use crate::net::clock;
use crate::net::socket::Listener;
use crate::net::worker::Worker;
use crate::stream::{Hall, Local, Off};
use async_task::Task;
use std::cell::{Cell, RefCell};
use std::future::ready;
use std::io::Write;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// How long the last write may take: big numbers may be computed before it.
const LAST: Duration = Duration::from_secs(5);
/// Bytes of a text that an accessory shows.
const LONGEST: usize = 64;

/// A stream that is an accessory.
pub(super) struct Home {
    stream: String,
    port: u16,
    server: Rc<Server>,
    /// The name of its book.
    book: String,
    store: Option<state::Store>,
    slow: Rc<Worker>,
    lid: Rc<Lid>,
    _listening: Listening,
}

impl Drop for Home {
    fn drop(&mut self) {
        // what the worker has not written yet is written now, for the program may be about to end; and
        // after what waits there already
        let bytes = self.server.stop();
        self.lid.shut(false);
        let Some(store) = self.store.take() else { return };
        let (done, written) = std::sync::mpsc::channel();
        let name = std::mem::take(&mut self.book);
        let last = self.slow.run(move || {
            if let Err(e) = store.write(&name, VERSION, &bytes) {
                log::error!(target: "homekit", "{e}");
            }
            let _ = done.send(());
        });
        if written.recv_timeout(LAST).is_err() {
            log::error!(target: "homekit", "{}: the last changes may not have been kept", self.stream);
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
        format!("  HomeKit {}: setup code {code}\n{qr}", self.stream)
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
    routes: RefCell<Option<Routes>>,
}

impl Service for Homekit {
    fn name(&self) -> &'static str {
        "homekit"
    }

    fn start(&self, program: &Rc<Program>, config: &Config) {
        self.stop();
        program.listening.borrow_mut().retain(|l| !l.starts_with("HOMEKIT "));
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
        for (stream, row) in &config.homekit {
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
        let wanted = config.homekit.iter().map(|(name, _)| name);
        self.homes.borrow().iter().for_each(|home| home.lid.follow());
        let same = self.homes.borrow().iter().map(|h| &h.stream).eq(wanted);
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
    fn open(
        &self,
        program: &Rc<Program>,
        config: &Config,
        stream: &str,
        row: &Row,
        store: Option<state::Store>,
    ) -> Result<Home, String> {
        let category = category(&row.category_id)?;
        let name = book::name(stream);
        let (mut book, told) = book::open(store.as_ref(), &name, stream, row)?;
        if let Some(sentence) = told {
            program.fault("homekit", format!("homekit.{stream}: {sentence}"));
        }
        let settings = settings(stream, row, category, &book.identity.device_id);
        if row.hksv {
            log::warn!(target: "homekit", "homekit.{stream}.hksv: recordings are announced and not served yet");
        }
        // any port, and that is best the one where controllers have found it before
        let again = Some(book.port).filter(|&port| row.port == 0 && port != 0);
        let again = again.and_then(|port| Listener::tcp(&format!(":{port}")).ok());
        let listener = again.map_or_else(|| Listener::tcp(&format!(":{}", row.port)), Ok);
        let listener = listener.map_err(|e| format!("port {}: {e}", row.port))?;
        let port = listener.local_address().map_or(row.port, |a| a.port());
        book.port = port;
        let kept: Rc<dyn Store> = match &store {
            Some(store) => {
                Rc::new(Shelf { store: store.clone(), name: name.clone(), slow: program.slow.clone() })
            }
            None => Rc::new(Nowhere),
        };
        let mut streams = vec![stream.to_owned()];
        streams.extend(row.sub_streams.iter().cloned());
        let lid = Lid::new(&program.hall, &streams, row.third_party);
        let options = live::Options { streams, half_duplex: row.half_duplex };
        let live = Live::new(&program.hall, options, self.desk.clone());
        let mut eye = Eye {
            bus: program.bus.clone(),
            stream: stream.into(),
            live: live.clone(),
            sound: Sound::default(),
            lid: lid.clone(),
        };
        let mut accessory = Accessory::new(settings, book);
        accessory.not_saved();
        if program.bus.is_on(stream, What::Privacy(true)) {
            accessory.set_disabled(true, &mut eye);
        }
        for iid in [MICROPHONE, SPEAKER, LOUDNESS, SIGHT] {
            accessory.value(iid).into_iter().for_each(|value| eye.changed(iid, 0, value));
        }
        let behind = Behind {
            camera: Box::new(eye),
            store: kept,
            snapshots: picture::pictures(program.hall.clone(), stream),
        };
        let server = Server::new(program.executor.clone(), program.slow.clone(), accessory, behind);
        let told = Rc::downgrade(&server);
        live.on_end(Rc::new(move |viewer| {
            if let Some(server) = told.upgrade() {
                server.live_ended(viewer);
            }
        }));
        let listening = server.serve(listener);
        if let Err(e) = server.announce(&program.discovery.responder(program, config), port) {
            program.fault("homekit", format!("homekit.{stream}: it cannot be found: {e}"));
        }
        program.listening.borrow_mut().push(format!("HOMEKIT hap://127.0.0.1:{port}/ {stream}"));
        let slow = program.slow.clone();
        Ok(Home {
            stream: stream.to_owned(),
            port,
            server,
            book: name,
            store,
            slow,
            lid,
            _listening: listening,
        })
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
        let end = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|&end| end <= LONGEST).last();
        text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
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
        sizes: SIZES.to_vec(),
        prebuffer_ms: 4000,
        third_party: row.third_party,
    }
}

/// What happens to the camera, for those accessories that are it.
fn hear(homes: &RefCell<Vec<Home>>, event: &Event) {
    for home in homes.borrow().iter().filter(|h| event.stream.is_empty() || *h.stream == *event.stream) {
        match event.what {
            What::Motion(on) => home.server.motion(on),
            What::Doorbell => home.server.press(),
            What::Privacy(on) => home.server.disable(on),
            What::Light(on) => home.server.set(iid::OPERATING + 4, Value::Bool(on)),
            What::Night(on) => home.server.set(iid::OPERATING + 5, Value::Bool(on)),
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

    fn closed(&mut self, connection: u32) {
        self.live.closed(connection);
    }

    fn changed(&mut self, iid: u16, what: u16, value: &Value) {
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

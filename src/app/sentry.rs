//! Who looks for motion: one sentry for each stream. While somebody wants to know (a viewer of the
//! metadata, a client of the events, a hub that is to record), and only then, it reads the stream's pictures
//! and shows them to the detector. What an accessory's sensor makes of it, of what programs say and of the
//! clock is posted on the bus; a stream that is no accessory has no sensor, and its detector posts itself.

use super::config::sections::FOREIGN;
use super::config::{Config, Homekit};
use super::decimal::threshold;
use crate::media::{Codec, CodecId, Kind};
use crate::motion::detector::{Settings, threshold_of};
use crate::motion::sensor::{Input, LEAST, Modes, Sensor};
use crate::motion::watch::Watch;
use crate::motion::{Bus, Event, What};
use crate::net::clock;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::stream::{AttachError, Executor, Hall, Join, Peer, Reader, Step, Wish, backoff};
use async_task::Task;
use futures_lite::future::or;
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// All of them.
#[derive(Default)]
pub struct Sentries {
    all: RefCell<Vec<Rc<Sentry>>>,
}

/// What a sentry is told.
#[derive(Clone, Copy, PartialEq)]
struct Orders {
    settings: Settings,
    /// Where an accessory's motion comes from.
    modes: Option<Modes>,
}

struct Sentry {
    stream: Rc<str>,
    orders: Orders,
    bus: Rc<Bus>,
    sensor: Option<RefCell<Sensor>>,
    /// The sensor's next moment may have changed.
    stirred: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    task: RefCell<Option<Task<()>>>,
}

/// What the configuration says of a stream; what cannot be understood is told, and the default is taken.
fn orders(config: &Config, stream: &str) -> (Orders, Option<String>) {
    let row = config.homekit.iter().find(|(name, _)| name == stream).map(|(_, row)| row);
    let Some(row) = row else {
        return (Orders { settings: Settings::default(), modes: None }, None);
    };
    let (settings, wrong) = settings(row);
    let (modes, other) = match Modes::parse(&row.motion) {
        Ok(modes) if modes == Modes::default() => (usual(config, row), None),
        Ok(modes) => (modes, None),
        Err(word) => {
            let known = Input::ALL.map(Input::name).join(", ");
            (Modes::only(Input::Api), Some(format!("motion: {word:?} is none of {known}")))
        }
    };
    let told = wrong.or(other).map(|sentence| format!("homekit.{stream}.{sentence}"));
    (Orders { settings, modes: Some(modes) }, told)
}

/// Where motion comes from if the file does not say: from the detector, and from programs that report it.
/// In the predecessor's file it came from programs alone, and they shall not find a second one beside them.
/// Such a file is known by what only the predecessor writes: an accessory's identity, key or homes, or a
/// section that streamd does not have.
fn usual(config: &Config, row: &Homekit) -> Modes {
    let theirs = !row.pairings.is_empty() || !row.device_id.is_empty() || !row.device_private.is_empty();
    match theirs || FOREIGN.iter().any(|name| config.tree.get(name).is_some()) {
        true => Modes::only(Input::Api),
        false => Modes::only(Input::Api).and(Input::Detect),
    }
}

fn settings(row: &Homekit) -> (Settings, Option<String>) {
    let usual = Settings { hold: row.motion_hold_time, ..Settings::default() };
    if row.motion_sensitivity > 0 {
        return (Settings { threshold: threshold_of(row.motion_sensitivity as u8), ..usual }, None);
    }
    match threshold(&row.motion_threshold) {
        Some(threshold) => (Settings { threshold, ..usual }, None),
        None => (usual, Some(format!("motion_threshold: {:?}: expected 1.05 to 100", row.motion_threshold))),
    }
}

impl Sentries {
    /// Has those stand guard whom the configuration names; who stands there already stays.
    pub fn set(&self, executor: &Executor, hall: &Rc<Hall>, bus: &Rc<Bus>, config: &Config) {
        let mut all = self.all.borrow_mut();
        let mut old = std::mem::take(&mut *all);
        for stream in &config.streams {
            let (orders, told) = orders(config, &stream.name);
            let known = old.iter().position(|s| *s.stream == *stream.name && s.orders == orders);
            if let Some(known) = known {
                all.push(old.swap_remove(known));
                continue;
            }
            if let Some(sentence) = told {
                log::error!(target: "motion", "{sentence}");
            }
            all.push(Sentry::stand(executor, hall, bus, &stream.name, orders));
        }
        drop(all);
        // those whom nobody named are relieved here, and what they saw is over
        for sentry in old {
            drop(sentry.task.take());
            if bus.is_on(&sentry.stream, What::Motion(true)) {
                sentry.post(false);
            }
        }
    }

    fn with(&self, stream: &str, act: impl FnOnce(&Sentry, &mut Sensor) -> Option<bool>) -> bool {
        let found = self.all.borrow().iter().find(|s| *s.stream == *stream).cloned();
        let Some(sentry) = found else { return false };
        let Some(sensor) = &sentry.sensor else { return false };
        let changed = act(&sentry, &mut sensor.borrow_mut());
        sentry.tell(changed);
        sentry.stir();
        true
    }

    /// An input says that something moves, or has ceased to; false if the stream is no accessory.
    pub fn report(&self, stream: &str, input: Input, on: bool) -> bool {
        self.with(stream, |_, sensor| sensor.report(clock::now(), input, on))
    }

    /// Somebody rings.
    pub fn press(&self, stream: &str) {
        self.with(stream, |_, sensor| sensor.press(clock::now()));
    }

    /// The camera is off: what was seen is over.
    pub fn clear(&self, stream: &str) {
        self.with(stream, |_, sensor| sensor.clear());
    }

    /// Nobody stands guard any longer.
    pub fn stop(&self) {
        for sentry in self.all.take() {
            drop(sentry.task.take());
        }
    }
}

impl Sentry {
    fn stand(
        executor: &Executor,
        hall: &Rc<Hall>,
        bus: &Rc<Bus>,
        stream: &str,
        orders: Orders,
    ) -> Rc<Sentry> {
        let sensor = orders.modes.map(|modes| RefCell::new(Sensor::new(modes, orders.settings.hold, LEAST)));
        let sentry = Rc::new(Sentry {
            stream: stream.into(),
            orders,
            bus: bus.clone(),
            sensor,
            stirred: Cell::new(false),
            waker: RefCell::default(),
            task: RefCell::default(),
        });
        let (own, hall) = (Rc::downgrade(&sentry), Rc::downgrade(hall));
        let guard = guard(executor.clone(), hall, own, bus.clone(), sentry.stream.clone());
        sentry.task.replace(Some(executor.spawn(guard)));
        sentry
    }

    fn looks(&self) -> bool {
        self.orders.modes.is_none_or(|modes| modes.has(Input::Detect))
    }

    fn post(&self, on: bool) {
        let event = Event { time: clock::now(), stream: self.stream.clone(), what: What::Motion(on) };
        self.bus.post(event);
    }

    fn tell(&self, changed: Option<bool>) {
        if let Some(on) = changed {
            self.post(on);
        }
    }

    /// The detector has seen something, or that it is over.
    fn saw(&self, on: bool) {
        match &self.sensor {
            None => self.post(on),
            Some(sensor) => {
                let changed = sensor.borrow_mut().report(clock::now(), Input::Detect, on);
                self.tell(changed);
                self.stir();
            }
        }
    }

    fn stir(&self) {
        self.stirred.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Until the sensor was told something.
async fn stirred(sentry: &Weak<Sentry>) {
    poll_fn(|cx| {
        let Some(sentry) = sentry.upgrade() else { return Poll::Ready(()) };
        if sentry.stirred.take() {
            return Poll::Ready(());
        }
        sentry.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await
}

/// A sentry's whole life: it looks while somebody wants it, and minds its sensor's clock.
async fn guard(executor: Executor, hall: Weak<Hall>, own: Weak<Sentry>, bus: Rc<Bus>, stream: Rc<str>) {
    let mut looking: Option<Task<()>> = None;
    loop {
        let wanted = bus.wants(&stream);
        let deadline = {
            let Some(sentry) = own.upgrade() else { return };
            let looks = wanted && sentry.looks();
            if looks != looking.is_some() {
                looking = looks.then(|| {
                    executor.spawn(look(hall.clone(), own.clone(), stream.clone(), sentry.orders.settings))
                });
                if !looks && sentry.sensor.is_none() && bus.is_on(&stream, What::Motion(true)) {
                    sentry.post(false);
                }
            }
            let sensor = sentry.sensor.as_ref();
            let told = sensor.map(|s| {
                let mut sensor = s.borrow_mut();
                (sensor.listen(clock::now(), wanted), sensor.deadline())
            });
            let (changed, deadline) = told.unwrap_or_default();
            sentry.tell(changed);
            deadline
        };
        let due = async {
            match deadline {
                Some(at) => Timer::after(at.since(clock::now())).await,
                None => pending().await,
            };
        };
        or(or(due, stirred(&own)), bus.wants_change(&stream, wanted)).await;
    }
}

/// Looks at the stream's pictures as long as they come, and tries again where they do not.
async fn look(hall: Weak<Hall>, own: Weak<Sentry>, stream: Rc<str>, settings: Settings) {
    let codecs = [CodecId::H264, CodecId::H265].map(Codec::new).to_vec();
    let wishes = [Wish { codecs, ..Wish::any(Kind::Video) }];
    let mut failures = 0;
    loop {
        let Some(found) = hall.upgrade().and_then(|hall| hall.get(&stream)) else { return };
        let peer = Peer { format: "motion", ..Peer::default() };
        match found.attach(&wishes, Join::Live, peer).await {
            Ok(reader) => {
                drop(found);
                failures = 0;
                let tell = |on| {
                    if let Some(sentry) = own.upgrade() {
                        sentry.saw(on);
                    }
                };
                see(reader, Watch::new(settings, tell)).await;
            }
            Err(error) => {
                drop(found);
                failures += 1;
                // of what is wrong with a source the source itself tells
                if failures == 1 && matches!(error, AttachError::Codecs { .. }) {
                    log::warn!(target: "motion", "{stream}: {error}");
                }
            }
        }
        Timer::after(backoff(failures)).await;
    }
}

/// Shows the pictures to the detector.
async fn see(mut reader: Reader, mut watch: Watch<impl FnMut(bool)>) {
    if !reader.codec(0).is_some_and(|codec| watch.codec(&codec)) {
        return;
    }
    loop {
        // a stream that stands still shows nothing that moves
        let silence = async {
            match watch.is_on() {
                true => Timer::after(Duration::from_secs(5)).await,
                false => pending().await,
            };
            None
        };
        match or(async { Some(reader.next().await) }, silence).await {
            None => watch.tick(clock::now()),
            Some(Step::Closed(_)) => return,
            Some(Step::Codec(_, codec)) => {
                if !watch.codec(&codec) {
                    return;
                }
            }
            Some(Step::Frame(at)) => {
                if let Some(frame) = reader.frame(at) {
                    watch.unit(frame.meta.decode, &frame.data, frame.gap);
                }
                reader.done(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::config::{World, sources};
    use crate::net::clock::testing::{pass, stop};
    use crate::net::executor::LocalExecutor;
    use crate::stream::Bounds;
    use futures_lite::future::{block_on, poll_once, yield_now};

    /// Where motion in front of the porch comes from with this file.
    fn modes(text: &str) -> Modes {
        let world = World { env: &|_| None, modules: &["homekit", "streams"] };
        let text = format!("streams: {{porch: }}\n{text}");
        let loaded = sources::load_instead(&["t.yaml".to_owned()], &world, Some(&text));
        orders(&loaded.config, "porch").0.modes.unwrap()
    }

    /// A new camera that sees nothing until somebody finds the key, or one that came from the predecessor
    /// and all at once has two opinions.
    #[test]
    fn a_new_file_has_a_detector_and_one_of_the_predecessor_does_not() {
        let both = Modes::parse("detect,api").unwrap();
        let api = Modes::only(Input::Api);
        assert_eq!(modes("homekit: {porch: }"), both);
        assert_eq!(modes("homekit: {porch: {hksv: true, pin: 19550224, name: Porch}}"), both);
        for theirs in [
            "homekit: {porch: {pairings: [\"client_id=1&client_public=2&permissions=1\"]}}",
            "homekit: {porch: {device_id: porch}}",
            "homekit: {porch: {device_private: porch}}",
            "homekit: {porch: }\nwebrtc: {listen: \":8555\"}",
            "ffmpeg: {bin: /usr/bin/ffmpeg}\nhomekit: {porch: {hksv: true}}",
        ] {
            assert_eq!(modes(theirs), api, "{theirs}");
        }
        // what is written is what is meant
        let written = "srtp: {listen: \"\"}\nhomekit: {porch: {motion: detect, device_id: porch}}";
        assert_eq!(modes(written), Modes::only(Input::Detect));
        assert_eq!(modes("homekit: {porch: {motion: api}}"), api);
    }

    /// Motion that begins twice as often as a hub expects it, because there are two hubs; or never ends.
    #[test]
    fn however_many_listen_there_is_one_clock() {
        let _stopped = stop();
        let executor = Rc::new(LocalExecutor::new());
        let hall = Hall::new(executor.clone(), Rc::new(Bounds::usual));
        let world = World { env: &|_| None, modules: &["homekit", "streams"] };
        let text = "streams: {porch: }\nhomekit: {porch: {motion: continuous}}";
        let loaded = sources::load_instead(&["t.yaml".to_owned()], &world, Some(text));
        let (bus, sentries) = (Rc::new(Bus::default()), Sentries::default());
        sentries.set(&executor, &hall, &bus, &loaded.config);
        let ear = bus.listen();
        let run = |seconds: u64| {
            let mut heard = Vec::new();
            for second in 1..=seconds {
                pass(Duration::from_secs(1));
                (0..5).for_each(|_| executor.block_on(yield_now()).unwrap());
                while let Some(event) = block_on(poll_once(ear.next())) {
                    heard.push((second, event.what.on().unwrap()));
                }
            }
            heard
        };
        assert_eq!(run(100), [], "nobody listens");
        let mut wants: Vec<_> = (0..5).map(|_| bus.want("porch")).collect();
        (0..5).for_each(|_| executor.block_on(yield_now()).unwrap());
        assert_eq!(run(63), [(5, true), (30, false), (35, true), (60, false)]);
        wants.truncate(1);
        assert_eq!(run(7), [(2, true)], "one that remains is enough");
        wants.clear();
        assert_eq!(run(100), [(5, false)], "ten seconds at least");
    }

    #[test]
    fn a_word_that_is_none_is_told_and_programs_are_heard() {
        let world = World { env: &|_| None, modules: &["homekit", "streams"] };
        let text = "streams: {porch: }\nhomekit: {porch: {motion: fish}}";
        let loaded = sources::load_instead(&["t.yaml".to_owned()], &world, Some(text));
        let (orders, told) = orders(&loaded.config, "porch");
        assert_eq!(orders.modes, Some(Modes::only(Input::Api)));
        assert!(told.is_some_and(|t| t.starts_with("homekit.porch.motion: \"fish\" is none of detect")));
    }
}

//! What happens in front of a camera, as a track beside its pictures (ONVIF Streaming §5.1, `metadata`):
//! an XML document whenever something begins or ends, and one each second so that a recorder sees
//! that the way is open. It is made only while somebody receives it.

use crate::media::{Codec, CodecId, Kind};
use crate::motion::{Bus, Listener, Want, What};
use crate::net::clock;
use crate::net::reactor::Timer;
use crate::stream::{Bounds, Executor, Inlet, Track};
use async_task::Task;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// A document goes out at least this often.
const PULSE: Duration = Duration::from_secs(1);
/// Before the first document while the clock has not been set.
const NO_TIME: &str = "1970-01-01T00:00:00.000Z";

/// The track of one stream.
pub struct Notes {
    stream: Rc<str>,
    track: Rc<Track>,
    inlet: RefCell<Inlet>,
    motion: Cell<bool>,
    ring: Cell<bool>,
    task: RefCell<Option<Task<()>>>,
    /// Has the stream looked at for motion.
    _want: Want,
}

impl Notes {
    fn open(executor: &Executor, bus: &Bus, stream: &str) -> Rc<Notes> {
        let (track, inlet) = Track::new(Codec::new(CodecId::Onvif), Bounds::usual(Kind::Data));
        let notes = Rc::new(Notes {
            stream: stream.into(),
            track,
            inlet: RefCell::new(inlet),
            motion: Cell::new(bus.is_on(stream, What::Motion(true))),
            ring: Cell::new(false),
            task: RefCell::default(),
            _want: bus.want(stream),
        });
        notes.task.replace(Some(executor.spawn(write_down(Rc::downgrade(&notes), bus.listen()))));
        notes
    }

    /// Where the documents are.
    pub fn track(&self) -> &Rc<Track> {
        &self.track
    }

    /// Somebody new reads: says how things stand.
    pub fn greet(&self) {
        self.say("Initialized", true, false);
    }

    fn heard(&self, what: What) {
        match what {
            What::Motion(on) if on != self.motion.get() => {
                self.motion.set(on);
                self.say("Changed", true, false);
            }
            What::Doorbell => {
                self.ring.set(true);
                self.say("Changed", false, true);
            }
            _ => {}
        }
    }

    /// A second has passed: a bell that rang is silent again.
    fn pulse(&self) {
        let rang = self.ring.take();
        self.say("Changed", false, rang);
    }

    fn say(&self, operation: &str, motion: bool, bell: bool) {
        let time = clock::wall().map(clock::rfc3339);
        let time = time.as_ref().map_or(NO_TIME, |t| t);
        let mut facts = Vec::new();
        if motion {
            facts.push(Fact { topic: MOTION, on: self.motion.get() });
        }
        if bell {
            facts.push(Fact { topic: VISITOR, on: self.ring.get() });
        }
        let text = document(&self.stream, time, operation, &facts);
        let now = clock::now();
        // what does not fit is told again in a second
        let _ = self.inlet.borrow_mut().push(now, true, text.as_bytes());
    }
}

async fn write_down(notes: Weak<Notes>, events: Listener) {
    let mut timer = Timer::after(PULSE);
    loop {
        let event = futures_lite::future::or(async { Some(events.next().await) }, async {
            (&mut timer).await;
            None
        })
        .await;
        let Some(notes) = notes.upgrade() else { return };
        match event {
            Some(event) => {
                // of the camera as a whole it is told of each stream
                if event.stream.is_empty() || event.stream == notes.stream {
                    notes.heard(event.what);
                }
            }
            None => {
                notes.pulse();
                timer = Timer::after(PULSE);
            }
        }
    }
}

/// The tracks of all streams that are received just now.
pub struct Desk {
    bus: Rc<Bus>,
    notes: RefCell<Vec<Weak<Notes>>>,
}

impl Desk {
    /// Listens here.
    pub fn new(bus: Rc<Bus>) -> Desk {
        Desk { bus, notes: RefCell::default() }
    }

    /// The track of that stream.
    pub fn of(&self, executor: &Executor, stream: &str) -> Rc<Notes> {
        let mut all = self.notes.borrow_mut();
        all.retain(|n| n.strong_count() > 0);
        if let Some(notes) = all.iter().filter_map(Weak::upgrade).find(|n| &*n.stream == stream) {
            return notes;
        }
        let notes = Notes::open(executor, &self.bus, stream);
        all.push(Rc::downgrade(&notes));
        notes
    }
}

const MOTION: &str = "tns1:VideoSource/MotionAlarm";
const VISITOR: &str = "tns1:RuleEngine/MyRuleDetector/Visitor";

/// One thing that is so, or is so no longer.
struct Fact {
    topic: &'static str,
    on: bool,
}

/// One document. Without facts it says only that time goes on.
fn document(stream: &str, time: &str, operation: &str, facts: &[Fact]) -> String {
    let mut out = String::with_capacity(256 + 512 * facts.len());
    out.push_str(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<tt:MetadataStream \
         xmlns:tt=\"http://www.onvif.org/ver10/schema\"",
    );
    if facts.is_empty() {
        let _ = write!(out, "><tt:VideoAnalytics><tt:Frame UtcTime=\"{time}\"/></tt:VideoAnalytics>");
    } else {
        out.push_str(
            " xmlns:wsnt=\"http://docs.oasis-open.org/wsn/b-2\" xmlns:tns1=\"http://www.onvif.org/ver10/topics\">\
             <tt:Event>",
        );
    }
    for fact in facts {
        let _ = write!(
            out,
            "<wsnt:NotificationMessage><wsnt:Topic \
             Dialect=\"http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet\">{}</wsnt:Topic><wsnt:Message>\
             <tt:Message UtcTime=\"{time}\" PropertyOperation=\"{operation}\"><tt:Source>\
             <tt:SimpleItem Name=\"Source\" Value=\"",
            fact.topic
        );
        escape(stream, &mut out);
        let _ = write!(
            out,
            "\"/></tt:Source><tt:Data><tt:SimpleItem Name=\"State\" Value=\"{}\"/></tt:Data></tt:Message>\
             </wsnt:Message></wsnt:NotificationMessage>",
            fact.on
        );
    }
    if !facts.is_empty() {
        out.push_str("</tt:Event>");
    }
    out.push_str("</tt:MetadataStream>");
    out
}

/// A text as XML's attributes hold it.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_moves_and_where() {
        let text =
            document("a<b&\"", "2026-11-21T08:00:00.000Z", "Changed", &[Fact { topic: MOTION, on: true }]);
        assert!(text.contains(">tns1:VideoSource/MotionAlarm<"), "{text}");
        assert!(text.contains("Name=\"Source\" Value=\"a&lt;b&amp;&quot;\""), "{text}");
        assert!(text.contains("Name=\"State\" Value=\"true\""), "{text}");
        assert!(text.contains("PropertyOperation=\"Changed\"") && text.ends_with("</tt:MetadataStream>"));
        let quiet = document("a", "2026-11-21T08:00:00.000Z", "Changed", &[]);
        assert!(!quiet.contains("tt:Event") && quiet.contains("tt:Frame UtcTime=\"2026"), "{quiet}");
    }

    /// A recorder that connects while something moves has to learn it, not only of the next change.
    #[test]
    fn who_comes_later_is_told_how_things_stand() {
        let executor = Executor::default();
        let bus = Rc::new(Bus::default());
        let desk = Desk::new(bus.clone());
        let event =
            |on| crate::motion::Event { time: clock::now(), stream: "yard".into(), what: What::Motion(on) };
        bus.post(event(true));
        let notes = desk.of(&executor, "yard");
        assert!(Rc::ptr_eq(&notes, &desk.of(&executor, "yard")));
        assert!(!Rc::ptr_eq(&notes, &desk.of(&executor, "door")));
        let last = |notes: &Notes| {
            let head = notes.track().ring().head();
            String::from_utf8(notes.track().frame(head - 1).unwrap().1.to_vec()).unwrap()
        };
        notes.greet();
        assert!(last(&notes).contains("Initialized") && last(&notes).contains("\"true\""));
        notes.heard(What::Motion(false));
        assert!(last(&notes).contains("Changed") && last(&notes).contains("\"false\""));
        let head = notes.track().ring().head();
        notes.heard(What::Motion(false));
        assert_eq!(notes.track().ring().head(), head, "nothing has changed");
        notes.heard(What::Doorbell);
        assert!(last(&notes).contains("Visitor") && last(&notes).contains("\"true\""));
        notes.pulse();
        assert!(last(&notes).contains("Visitor") && last(&notes).contains("\"false\""));
        notes.pulse();
        assert!(last(&notes).contains("tt:Frame"));
    }
}

//! A camera that speaks RTSP as a source of the hall: `rtsp://user:password@host/path` with the
//! predecessor's options behind `#`. Its tracks are set up when it is dialled; its speaker has a
//! connection of its own, made when somebody speaks and closed when he is silent, because many
//! cameras have only one and some (Dahua's doorbells) lose their call button to whoever holds it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::client::{Cause, ClientError, Feed, House, Session, UNSENT};
use super::dialogue::{Carrier, Plan, Role, SILENCE, fits, speaks};
use super::intake::Intake;
use super::message::frame_head;
use super::url::Url;
use crate::media::{Codec, Kind, Media, Time};
use crate::net::clock;
use crate::net::log;
use crate::net::reactor::Timer;
use crate::net::rtp::pay::{DEFAULT_PACKET_SIZE, Packetizer, assemble};
use crate::stream::{
    Connect, Hall, Link, Local, Peer, Producer, Reader, SourceError, SourceSpec, Step as Spoken,
};
use futures_lite::future;
use std::rc::Rc;
use std::time::Duration;

/// The scheme of a camera behind a WebSocket.
const WEB: &str = "rtsp+ws";
/// What is told where there are none.
const SHUT: &str = "RTSP inside a WebSocket is not in this streamd; it comes with the feature `tunnel`";
/// The longest `#timeout=`, in seconds.
const TIMEOUT_MAX: u64 = 3600;
/// A speaker's connection is closed after this much silence.
const QUIET: Duration = Duration::from_secs(5);
/// What was said longer ago is not said any more: the connection took its time.
const OLD: Duration = Duration::from_millis(400);
/// After a speaker's connection failed, the next attempt waits.
const AGAIN: Duration = Duration::from_secs(2);

/// Dials cameras.
pub struct Client {
    house: House,
}

impl Client {
    /// One for this hall.
    pub fn new(hall: &Hall) -> Client {
        Client { house: House { executor: hall.executor().clone() } }
    }
}

impl Connect for Client {
    fn connect(&self, spec: Rc<SourceSpec>) -> Local<Result<Box<dyn Producer>, SourceError>> {
        let house = self.house.clone();
        Box::pin(async move {
            let (plan, web) = (plan(&spec)?, web(&spec)?);
            let place = place(web.as_deref().unwrap_or(&plan.url));
            let opened = Session::open(plan.clone(), web.clone(), house.clone()).await;
            let session = opened.map_err(|e| SourceError::Dial(format!("rtsp {place}: {e}")))?;
            Ok(Box::new(Camera { session, plan, web, house, place }) as Box<dyn Producer>)
        })
    }

    fn check(&self, spec: &SourceSpec) -> Result<(), SourceError> {
        plan(spec).and(web(spec)).map(|_| ())
    }
}

/// Reads a source and its options.
fn plan(spec: &SourceSpec) -> Result<Plan, SourceError> {
    let text = |sentence: String| Err(SourceError::Text(sentence));
    let by_web = spec.scheme().eq_ignore_ascii_case(WEB);
    if !by_web && !spec.scheme().eq_ignore_ascii_case("rtsp") {
        return Err(no_tls(spec.scheme()));
    }
    let Some(mut url) = Url::parse(spec.url()).filter(|u| !u.host.is_empty() && fits(&u.public())) else {
        return text("expected rtsp://name:password@host:port/path, special characters as %41".to_string());
    };
    // As the predecessor has it: any option takes the speaker away unless it is asked for.
    let back_channel = match spec.param("backchannel") {
        Some(value) => !matches!(value, "0" | "false"),
        None => spec.params().next().is_none(),
    };
    let mut kinds = Vec::new();
    for (_, value) in spec.params().filter(|(key, _)| *key == "media") {
        for kind in [Kind::Video, Kind::Audio, Kind::Data] {
            if value.split(',').any(|v| v.trim().eq_ignore_ascii_case(kind.name())) {
                kinds.push(kind);
            }
        }
        if kinds.is_empty() {
            return text(format!("#media={value}: expected video, audio or application"));
        }
    }
    if kinds.is_empty() {
        kinds = vec![Kind::Video, Kind::Audio];
    }
    let (carrier, fall_back) = match spec.param("transport") {
        None | Some("tcp") if by_web => (Carrier::Tcp, false),
        None => (Carrier::Tcp, true),
        Some("tcp") => (Carrier::Tcp, false),
        Some(address) if address.contains("://") && !by_web => (Carrier::Tcp, false),
        Some(_) if by_web => {
            return text("#transport: expected tcp or nothing, a WebSocket carries the packets".to_string());
        }
        Some("udp") => (Carrier::Udp, true),
        Some(other) => return text(format!("#transport={other}: expected tcp, udp or ws://host/path")),
    };
    if by_web {
        // inside it is an address like any other
        url.scheme = "rtsp".to_string();
    }
    let silence = match spec.param("timeout") {
        None => SILENCE,
        Some(value) => match value.parse() {
            Ok(seconds @ 1..=TIMEOUT_MAX) => Duration::from_secs(seconds),
            _ => return text(format!("#timeout={value}: expected 1 to {TIMEOUT_MAX} seconds")),
        },
    };
    Ok(Plan { url, role: Role::Watch, back_channel, kinds, carrier, fall_back, silence })
}

/// Where a WebSocket is that carries the source: its own address, or the one that stands behind
/// `#transport=`, with the source's user if it has none.
fn web(spec: &SourceSpec) -> Result<Option<Rc<Url>>, SourceError> {
    if cfg!(not(feature = "tunnel")) {
        let asked = spec.scheme().eq_ignore_ascii_case(WEB)
            || spec.param("transport").is_some_and(|t| t.contains("://"));
        return if asked { Err(SourceError::Refused(SHUT.into())) } else { Ok(None) };
    }
    let wrong = || SourceError::Text("expected ws://host:port/path behind #transport=".to_string());
    if spec.scheme().eq_ignore_ascii_case(WEB) {
        return Ok(Url::parse(spec.url()).map(Rc::new));
    }
    let Some(address) = spec.param("transport").filter(|t| t.contains("://")) else { return Ok(None) };
    let mut url = Url::parse(address).filter(|u| !u.host.is_empty()).ok_or_else(wrong)?;
    match url.scheme.as_str() {
        "ws" => {}
        "wss" => return Err(no_tls("#transport=wss")),
        _ => return Err(wrong()),
    }
    if url.user.is_empty()
        && let Some(camera) = Url::parse(spec.url())
    {
        (url.user, url.password) = (camera.user, camera.password);
    }
    Ok(Some(Rc::new(url)))
}

fn no_tls(what: &str) -> SourceError {
    SourceError::Refused(format!(
        "{what}: this build of streamd has no TLS; use rtsp:// or rtsp+ws:// if the camera allows it"
    ))
}

fn place(url: &Url) -> String {
    match url.port {
        Some(port) => format!("{}:{port}", url.host),
        None => url.host.clone(),
    }
}

struct Camera {
    session: Session,
    plan: Plan,
    web: Option<Rc<Url>>,
    house: House,
    place: String,
}

impl Producer for Camera {
    fn peer(&self) -> Peer {
        let protocol = match (self.session.is_web(), self.session.is_udp()) {
            (true, _) => "rtsp+ws",
            (false, true) => "rtsp+udp",
            (false, false) => "rtsp+tcp",
        };
        Peer { format: "rtsp", protocol, remote: self.session.peer().to_string(), ..Peer::default() }
    }

    fn medias(&self) -> Vec<Media> {
        let mut medias: Vec<_> =
            self.session.tracks().iter().map(|track| Media::recv(track.codec.clone())).collect();
        if let Some(speaker) = self.session.speaker() {
            medias.push(Media::speaker(speaker.media.formats.iter().filter_map(speaks).collect()));
        }
        medias
    }

    fn run(self: Box<Self>, link: Link) -> Local<Result<(), SourceError>> {
        Box::pin(async move {
            let Camera { mut session, plan, web, house, place } = *self;
            let reader = link.speaker(session.tracks().len());
            let speak = async {
                if let Some(reader) = reader {
                    let plan = Plan {
                        role: Role::Talk,
                        back_channel: true,
                        carrier: Carrier::Tcp,
                        fall_back: false,
                        ..plan
                    };
                    speak(reader, (plan, web), house, link.name()).await;
                }
                future::pending().await
            };
            let lost = future::or(watch(&mut session, &link), speak).await;
            Err(SourceError::Lost(format!("rtsp {place}: {lost}")))
        })
    }
}

/// Feeds the tracks; gives why it has ended.
async fn watch(session: &mut Session, link: &Link) -> ClientError {
    loop {
        let mut intakes = Vec::new();
        for (at, track) in session.tracks().iter().enumerate() {
            let Some(inlet) = link.inlet(at) else { return Cause::Changed.into() };
            match Intake::new(inlet, &track.media, &track.format, Session::route(track)) {
                Ok(intake) => intakes.push(intake),
                Err(_) => return Cause::Changed.into(),
            }
        }
        let mut feed = Feed::new(intakes);
        session.play();
        let ended = session.run(&mut feed).await;
        for (at, intake) in feed.intakes.iter_mut().enumerate() {
            intake.finish();
            let (faults, lost) = (intake.faults(), intake.lost());
            if lost + faults.broken + faults.stray > 0 {
                log::debug!(
                    target: "rtsp",
                    "{}: source {} track {at}: {lost} packets lost, {} broken, {} of another type",
                    link.name(), link.id(), faults.broken, faults.stray
                );
            }
        }
        match ended {
            Ok(()) => {
                log::info!(target: "rtsp", "{}: source {}: no packet by UDP, now by TCP", link.name(), link.id())
            }
            Err(e) => return e,
        }
    }
}

/// A connection that carries voice.
struct Line {
    session: Session,
    channel: u8,
    voice: Option<(Codec, Packetizer)>,
}

impl Line {
    async fn open((plan, web): &(Plan, Option<Rc<Url>>), house: &House) -> Result<Line, ClientError> {
        let mut session = Session::open(plan.clone(), web.clone(), house.clone()).await?;
        let transport = session.tracks().first().and_then(|t| t.transport.as_ref());
        let channel = transport.and_then(|t| t.interleaved).map_or(0, |(media, _)| media);
        session.play();
        session.playing().await?;
        Ok(Line { session, channel, voice: None })
    }

    /// Sends a frame; what the camera has no room for is left out.
    fn say(&mut self, codec: &Codec, frame: &[u8], time: Time) {
        if self.voice.as_ref().is_none_or(|(known, _)| known != codec) {
            let formats = self.session.tracks().first().map_or(&[][..], |t| &t.media.formats);
            let Some(format) = formats.iter().find(|f| speaks(f).is_some_and(|c| c.serves(codec))) else {
                return;
            };
            let mut random = [0; 10];
            let _ = getrandom::fill(&mut random);
            let [a, b, c, d, e, f, g, h, i, j] = random;
            let (ssrc, seq) = (u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]));
            let offset = u32::from_be_bytes([g, h, i, j]);
            let made = Packetizer::new(codec, format.payload_type, DEFAULT_PACKET_SIZE, ssrc, seq, offset);
            self.voice = made.ok().map(|p| (codec.clone(), p));
        }
        let Some((_, packetizer)) = &mut self.voice else { return };
        let mut pieces = Vec::new();
        if packetizer.packetize(frame, time, true, &[], &mut pieces).is_err() {
            return;
        }
        let (channel, out) = (self.channel, self.session.out());
        if out.len() < UNSENT {
            assemble(&pieces, frame, &[], |packet| {
                out.extend_from_slice(&frame_head(channel, packet.len() as u16));
                out.extend_from_slice(packet);
            });
        }
    }
}

/// Takes what is said to the camera.
async fn speak(mut reader: Reader, camera: (Plan, Option<Rc<Url>>), house: House, name: &str) {
    let mut line: Option<Line> = None;
    let mut not_before = Time::ZERO;
    let mut feed = Feed::default();
    loop {
        let spoken = match &mut line {
            None => Some(reader.next().await),
            Some(Line { session, .. }) => {
                let next = async { Ok(Some(reader.next().await)) };
                let quiet = async {
                    Timer::after(QUIET).await;
                    Ok(None)
                };
                let run = async { session.run(&mut feed).await.map(|()| None) };
                match future::or(next, future::or(run, quiet)).await {
                    Ok(spoken) => spoken,
                    Err(error) => {
                        log::warn!(target: "rtsp", "{name}: the speaker's connection broke: {error}");
                        not_before = clock::now() + AGAIN;
                        None
                    }
                }
            }
        };
        let at = match spoken {
            None => {
                line = None;
                continue;
            }
            Some(Spoken::Closed(_)) => return,
            Some(Spoken::Codec(..)) => continue,
            Some(Spoken::Frame(at)) => at,
        };
        if line.is_none() && clock::now() >= not_before {
            match Line::open(&camera, &house).await {
                Ok(opened) => line = Some(opened),
                Err(error) => {
                    log::warn!(target: "rtsp", "{name}: nobody hears what is said: {error}");
                    not_before = clock::now() + AGAIN;
                }
            }
        }
        let codec = reader.codec(at);
        if let (Some(line), Some(codec), Some(shown)) = (&mut line, codec, reader.frame(at))
            && clock::now().since(shown.meta.time) < OLD
        {
            line.say(&codec, &shown.data, shown.meta.time);
        }
        reader.done(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Plan, SourceError> {
        plan(&SourceSpec::parse(text).unwrap())
    }

    #[test]
    fn options_of_the_predecessor() {
        let plain = read("rtsp://us%40er:pass@10.0.0.9/ch0?x=1").unwrap();
        assert!(plain.back_channel && plain.fall_back && plain.carrier == Carrier::Tcp);
        assert_eq!((plain.kinds.len(), plain.silence, plain.url.user.as_str()), (2, SILENCE, "us@er"));
        let udp = read("rtsp://10.0.0.9/ch0#transport=udp#media=video#timeout=30").unwrap();
        assert!(!udp.back_channel && udp.fall_back && udp.carrier == Carrier::Udp);
        assert_eq!((udp.kinds, udp.silence), (vec![Kind::Video], Duration::from_secs(30)));
        assert!(read("rtsp://h/#backchannel=1#media=audio").unwrap().back_channel);
        assert!(!read("rtsp://h/#backchannel=0").unwrap().back_channel);
        assert!(!read("rtsp://h/#transport=tcp").unwrap().fall_back);
    }

    /// A camera behind a WebSocket: by an address of its own, or as the predecessor writes it.
    #[cfg(feature = "tunnel")]
    #[test]
    fn addresses_of_websockets() {
        let both = |text: &str| {
            let spec = SourceSpec::parse(text).unwrap();
            (plan(&spec).unwrap(), web(&spec).unwrap().unwrap())
        };
        let (plan, web) = both("rtsp+ws://us%40er:pass@10.0.0.9:81/live/main?x=1");
        assert_eq!((plan.url.public().as_str(), plan.fall_back), ("rtsp://10.0.0.9:81/live/main?x=1", false));
        assert_eq!(
            (web.public().as_str(), web.user.as_str()),
            ("rtsp+ws://10.0.0.9:81/live/main?x=1", "us@er")
        );
        let (plan, web) =
            both("rtsp://user:pass@10.0.0.9/axis?x#transport=ws://10.0.0.9/rtsp-over-websocket");
        assert_eq!(plan.url.public(), "rtsp://10.0.0.9/axis?x");
        assert_eq!(
            (web.public().as_str(), web.password.as_str()),
            ("ws://10.0.0.9/rtsp-over-websocket", "pass")
        );
    }

    #[cfg(not(feature = "tunnel"))]
    #[test]
    fn a_websocket_is_refused_with_the_feature_that_would_bring_it() {
        for source in ["rtsp+ws://h/", "rtsp://h/#transport=ws://h/x", "rtsp://h/#transport=wss://h/x"] {
            let refused = web(&SourceSpec::parse(source).unwrap());
            assert!(matches!(refused, Err(SourceError::Refused(t)) if t.contains("`tunnel`")), "{source}");
        }
    }

    #[cfg(feature = "tunnel")]
    #[test]
    fn what_cannot_be_is_said_in_a_sentence() {
        for bad in [
            "rtsp:///ch0",
            "rtsp://h:99999/",
            "rtsp://h/#transport=http://h/x",
            "rtsp://h/#transport=ws:///x",
            "rtsp+ws:///x",
            "rtsp+ws://h/#transport=udp",
            "rtsp://h/#timeout=0",
            "rtsp://h/#timeout=x",
            "rtsp://h/#media=smell",
        ] {
            let both = SourceSpec::parse(bad).map(|spec| plan(&spec).and(web(&spec))).unwrap();
            assert!(matches!(both, Err(SourceError::Text(t)) if t.contains("expected")), "{bad}");
        }
        let wss = web(&SourceSpec::parse("rtsp://h/#transport=wss://h/").unwrap());
        assert!(matches!(wss, Err(SourceError::Refused(t)) if t.contains("TLS")));
        for tls in ["rtsps://h/", "rtspx://h/", "rtsp+wss://h/"] {
            assert!(matches!(read(tls), Err(SourceError::Refused(t)) if t.contains("TLS")), "{tls}");
        }
    }
}

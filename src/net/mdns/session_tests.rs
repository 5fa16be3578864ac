//! A network of responders and askers in one loop, where a day passes in a moment.

use super::Interface;
use super::message::*;
use super::session::*;
use super::{Invalid, Service};
use crate::media::Time;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const LINK: Link = Link { index: 2, v6: false };

fn service(name: &str) -> Service {
    Service { kind: "_hap._tcp".into(), name: name.into(), port: 5001, txt: vec!["c#=1".into()] }
}

fn interface(index: u32, addresses: &[&str]) -> Interface {
    Interface { index, addresses: addresses.iter().map(|a| (a.parse().unwrap(), 24)).collect() }
}

fn wire(text: &str) -> Vec<u8> {
    wire_name(&text.split('.').map(str::as_bytes).collect::<Vec<_>>(), b"\0")
}

fn text(wire: &[u8]) -> String {
    let (mut out, mut at) = (Vec::new(), 0);
    while wire[at] > 0 {
        let end = at + 1 + wire[at] as usize;
        out.push(String::from_utf8_lossy(&wire[at + 1..end]).into_owned());
        at = end;
    }
    out.join(".")
}

fn kind(kind: u16) -> String {
    let known =
        [(A, "A"), (PTR, "PTR"), (TXT, "TXT"), (AAAA, "AAAA"), (SRV, "SRV"), (NSEC, "NSEC"), (ANY, "ANY")];
    known.iter().find(|k| k.0 == kind).map_or_else(|| kind.to_string(), |k| k.1.into())
}

/// A packet in lines: `? name ANY qu`, `an name PTR 4500 target`, `ar name A flush 120 192.0.2.1`.
fn lines(bytes: &[u8]) -> Vec<String> {
    let mut r = Reader::new(bytes).unwrap();
    let mut out = Vec::new();
    for _ in 0..r.counts[0] {
        let q = r.question().unwrap();
        let qu = if q.class & TOP != 0 { " qu" } else { "" };
        out.push(format!("? {} {}{qu}", text(q.name.wire()), kind(q.kind)));
    }
    let [_, counts @ ..] = r.counts;
    for (section, count) in ["an", "au", "ar"].iter().zip(counts) {
        for _ in 0..count {
            let record = r.record().unwrap();
            let mut data = Vec::new();
            r.data(&record, &mut data).unwrap();
            let flush = if record.class & TOP != 0 { " flush" } else { "" };
            let data = match record.kind {
                PTR => text(&data),
                SRV => format!("{} {}", u16::from_be_bytes([data[4], data[5]]), text(&data[6..])),
                A => IpAddr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
                AAAA => IpAddr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
                TXT => String::from_utf8_lossy(&data[1..]).into_owned(),
                _ => format!("{:02x?}", &data[data.len() - 6..]),
            };
            let (name, kind) = (text(record.name.wire()), kind(record.kind));
            out.push(format!("{section} {name} {kind}{flush} {} {data}", record.ttl));
        }
    }
    assert!(r.record().is_none(), "nothing follows");
    out
}

struct Peer {
    session: Session,
    address: SocketAddr,
}

struct Sent {
    at: Time,
    from: usize,
    to: Option<SocketAddr>,
    bytes: Vec<u8>,
}

impl Sent {
    fn lines(&self) -> Vec<String> {
        lines(&self.bytes)
    }

    fn has(&self, what: &str) -> bool {
        self.lines().iter().any(|l| l.contains(what))
    }
}

/// Everybody on one cable; each hears all, itself too.
struct Lan {
    peers: Vec<Peer>,
    now: Time,
    sent: Vec<Sent>,
    /// What is sent to one asker is lost.
    deaf_alone: bool,
}

impl Lan {
    fn new() -> Lan {
        Lan { peers: Vec::new(), now: Time::from_nanos(1_000_000_000), sent: Vec::new(), deaf_alone: false }
    }

    fn peer(&mut self, host: &str, seed: u64) -> usize {
        let n = self.peers.len();
        let mut session = Session::new(host, seed);
        let ip = format!("192.0.2.{}", n + 1);
        session.set_interfaces(self.now, &[interface(2, &[&ip])], true, true);
        self.peers.push(Peer { session, address: format!("{ip}:5353").parse().unwrap() });
        n
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let (mut next, mut packets) = (end, Vec::new());
            for (n, peer) in self.peers.iter_mut().enumerate() {
                let mut out = Vec::new();
                if let Some(due) = peer.session.poll(self.now, &mut out) {
                    assert!(
                        due > self.now || !out.is_empty(),
                        "it never asks to come back at once for nothing"
                    );
                    next = next.min(due.max(self.now));
                }
                packets.extend(out.into_iter().map(|p| (n, p)));
            }
            let quiet = packets.is_empty();
            for (n, packet) in packets {
                assert!(packet.bytes.len() <= 1440);
                if packet.to.is_none() || !self.deaf_alone {
                    self.hear(self.peers[n].address, &packet.bytes);
                }
                self.sent.push(Sent { at: self.now, from: n, to: packet.to, bytes: packet.bytes });
            }
            if quiet {
                if self.now >= end {
                    return;
                }
                self.now = next.max(self.now + Duration::from_nanos(1)).min(end);
            }
        }
    }

    fn hear(&mut self, address: SocketAddr, bytes: &[u8]) {
        for peer in &mut self.peers {
            let origin = Origin { link: LINK, address, multicast: true };
            peer.session.input(self.now, origin, bytes);
        }
    }

    /// Asks and returns what was sent within two seconds, after a quiet time.
    fn ask(&mut self, from: &str, build: impl FnOnce(&mut Writer) -> bool) -> Vec<Sent> {
        self.run(Duration::from_secs(3));
        self.sent.clear();
        let mut w = Writer::new(77, 0, 9000);
        build(&mut w);
        self.hear(from.parse().unwrap(), &w.finish());
        self.run(Duration::from_secs(2));
        std::mem::take(&mut self.sent)
    }
}

const ASKER: &str = "192.0.2.77:5353";

/// One camera with one service, settled.
fn settled() -> Lan {
    let mut lan = Lan::new();
    let n = lan.peer("cam", 1);
    lan.peers[n].session.add(lan.now, &service("Front")).unwrap();
    lan.run(Duration::from_secs(10));
    lan
}

#[test]
fn a_name_is_asked_for_three_times_and_told_twice() {
    let lan = settled();
    let said: Vec<_> = lan.sent.iter().map(Sent::lines).collect();
    assert_eq!(said.len(), 5, "{said:#?}");
    for (n, probe) in said[..3].iter().enumerate() {
        let qu = if n == 0 { " qu" } else { "" };
        let probe: Vec<_> = probe.iter().map(String::as_str).collect();
        assert_eq!(
            probe,
            [
                &format!("? cam.local ANY{qu}"),
                &format!("? Front._hap._tcp.local ANY{qu}"),
                "au cam.local A 120 192.0.2.1",
                "au Front._hap._tcp.local SRV 120 5001 cam.local",
                "au Front._hap._tcp.local TXT 4500 c#=1",
            ]
        );
    }
    for announcement in &said[3..] {
        assert_eq!(
            announcement[..5],
            [
                "an cam.local A flush 120 192.0.2.1",
                "an _hap._tcp.local PTR 4500 Front._hap._tcp.local",
                "an Front._hap._tcp.local SRV flush 120 5001 cam.local",
                "an Front._hap._tcp.local TXT flush 4500 c#=1",
                "an _services._dns-sd._udp.local PTR 4500 _hap._tcp.local",
            ]
        );
        assert!(announcement[5].starts_with("ar cam.local NSEC flush 120"), "there is no IPv6");
    }
    let pauses: Vec<_> = lan.sent.windows(2).map(|w| w[1].at.since(w[0].at)).collect();
    assert_eq!(pauses, [ms(250), ms(250), ms(250), ms(1000)]);
}

#[test]
fn at_rest_it_sleeps() {
    let mut lan = settled();
    assert_eq!(lan.peers[0].session.poll(lan.now, &mut Vec::new()), None);
    lan.sent.clear();
    lan.run(Duration::from_secs(24 * 3600));
    assert!(lan.sent.is_empty());
}

#[test]
fn who_looks_for_services_finds_all_he_needs_in_one_packet() {
    let mut lan = settled();
    let asked = lan.now + Duration::from_secs(3);
    let answers = lan.ask(ASKER, |w| w.question(&wire("_hap._tcp.local"), PTR, IN));
    assert_eq!(answers.len(), 1);
    let wait = answers[0].at.since(asked);
    assert!(wait >= ms(20) && wait <= ms(120), "others have an answer too: {wait:?}");
    assert!(answers[0].to.is_none());
    let said = answers[0].lines();
    assert_eq!(said[0], "an _hap._tcp.local PTR 4500 Front._hap._tcp.local");
    assert_eq!(said[1], "ar cam.local A flush 120 192.0.2.1");
    assert!(said[2].starts_with("ar cam.local NSEC flush 120"));
    assert_eq!(said[3], "ar Front._hap._tcp.local SRV flush 120 5001 cam.local");
    assert_eq!(said[4], "ar Front._hap._tcp.local TXT flush 4500 c#=1");
    assert_eq!(said.len(), 5);
    let answers = lan.ask(ASKER, |w| w.question(&wire("_SERVICES._dns-sd._udp.LOCAL"), PTR, IN));
    assert_eq!(answers[0].lines(), ["an _services._dns-sd._udp.local PTR 4500 _hap._tcp.local"]);
    for other in ["_rtsp._tcp.local", "local", "other.local"] {
        assert!(lan.ask(ASKER, |w| w.question(&wire(other), ANY, IN)).is_empty(), "{other}");
    }
}

#[test]
fn what_only_we_can_say_is_said_at_once_and_what_is_not_there_is_denied() {
    let mut lan = settled();
    let asked = lan.now + Duration::from_secs(3);
    let answers = lan.ask(ASKER, |w| w.question(&wire("front._hap._tcp.local"), SRV, IN));
    assert_eq!((answers.len(), answers[0].at), (1, asked));
    let said = answers[0].lines();
    assert_eq!(said[0], "an Front._hap._tcp.local SRV flush 120 5001 cam.local");
    assert_eq!(said[1], "ar cam.local A flush 120 192.0.2.1");
    let answers = lan.ask(ASKER, |w| w.question(&wire("cam.local"), AAAA, IN));
    assert_eq!(answers[0].lines()[0], "an cam.local NSEC flush 120 [61, 6c, 00, 00, 01, 40]");
    let answers = lan.ask(ASKER, |w| w.question(&wire("Front._hap._tcp.local"), A, IN));
    assert!(answers[0].has("an Front._hap._tcp.local NSEC flush"));
    let answers = lan.ask(ASKER, |w| w.question(&wire("cam.local"), A, IN));
    assert_eq!(answers[0].lines()[0], "an cam.local A flush 120 192.0.2.1");
}

#[test]
fn what_the_asker_knows_is_not_told_again() {
    let mut lan = settled();
    let (kind, front) = (wire("_hap._tcp.local"), wire("Front._hap._tcp.local"));
    let known = |ttl| {
        let (kind, front) = (kind.clone(), front.clone());
        move |w: &mut Writer| {
            w.question(&kind, PTR, IN);
            w.record(Section::Answer, &kind, PTR, IN, ttl, &front)
        }
    };
    assert!(lan.ask(ASKER, known(2250)).is_empty());
    assert_eq!(lan.ask(ASKER, known(2249)).len(), 1, "less than half its life is left");
    let address = |last: u8| {
        move |w: &mut Writer| {
            w.question(&wire("cam.local"), A, IN);
            w.record(Section::Answer, &wire("cam.local"), A, IN, 120, &[192, 0, 2, last])
        }
    };
    assert!(lan.ask(ASKER, address(1)).is_empty());
    assert_eq!(lan.ask(ASKER, address(9)).len(), 1, "he knows another address");
}

#[test]
fn what_he_knows_may_come_in_several_packets() {
    let mut lan = settled();
    let kind = wire("_hap._tcp.local");
    let front = wire("Front._hap._tcp.local");
    let mut second = Writer::new(0, 0, 1440);
    second.record(Section::Answer, &kind, PTR, IN, 4500, &front);
    let second = second.finish();
    lan.run(Duration::from_secs(3));
    lan.sent.clear();
    let mut first = Writer::new(0, TRUNCATED, 1440);
    first.question(&kind, PTR, IN);
    let first = first.finish();
    let begin = lan.now;
    lan.hear(ASKER.parse().unwrap(), &first);
    lan.run(ms(100));
    lan.hear(ASKER.parse().unwrap(), &second);
    lan.run(Duration::from_secs(2));
    assert!(lan.sent.is_empty());
    // another's packet does not speak for him
    let begin = begin + ms(2100);
    lan.hear(ASKER.parse().unwrap(), &first);
    lan.run(ms(100));
    lan.hear("192.0.2.78:5353".parse().unwrap(), &second);
    lan.run(Duration::from_secs(2));
    assert_eq!(lan.sent.len(), 1);
    let wait = lan.sent[0].at.since(begin);
    assert!(wait >= ms(400) && wait <= ms(620), "{wait:?}");
}

#[test]
fn who_asks_alone_is_answered_alone_unless_the_others_have_long_heard_nothing() {
    let mut lan = settled();
    let ask = |w: &mut Writer| w.question(&wire("_hap._tcp.local"), PTR, IN | TOP);
    let answers = lan.ask(ASKER, ask);
    assert_eq!((answers.len(), answers[0].to), (1, Some(ASKER.parse().unwrap())));
    assert!(answers[0].has("ar Front._hap._tcp.local SRV flush 120"));
    lan.run(Duration::from_secs(1200));
    let answers = lan.ask(ASKER, ask);
    assert_eq!((answers.len(), answers[0].to), (1, None));
}

#[test]
fn plain_dns_is_answered_as_plain_dns() {
    let mut lan = settled();
    let answers = lan.ask("192.0.2.77:40000", |w| w.question(&wire("Front._hap._tcp.local"), SRV, IN));
    assert_eq!((answers.len(), answers[0].to), (1, Some("192.0.2.77:40000".parse().unwrap())));
    assert_eq!(answers[0].bytes[..2], [0, 77], "his number");
    let said = answers[0].lines();
    assert_eq!(said[0], "? Front._hap._tcp.local SRV");
    assert_eq!(said[1], "an Front._hap._tcp.local SRV 10 5001 cam.local");
    assert_eq!(said[2], "ar cam.local A 10 192.0.2.1");
}

#[test]
fn no_record_is_multicast_twice_in_a_second_however_often_it_is_asked() {
    let mut lan = settled();
    lan.run(Duration::from_secs(3));
    lan.sent.clear();
    for _ in 0..500 {
        let mut w = Writer::new(0, 0, 1440);
        w.question(&wire("_hap._tcp.local"), PTR, IN);
        w.question(&wire("Front._hap._tcp.local"), TXT, IN);
        w.question(&wire("cam.local"), A, IN);
        lan.hear(ASKER.parse().unwrap(), &w.finish());
        lan.run(ms(20));
    }
    for what in ["an _hap._tcp.local PTR", "an Front._hap._tcp.local TXT", "an cam.local A"] {
        let times: Vec<_> = lan.sent.iter().filter(|s| s.has(what)).map(|s| s.at).collect();
        assert!((9..=11).contains(&times.len()), "{what}: {}", times.len());
        assert!(times.windows(2).all(|w| w[1].since(w[0]) >= ms(1000)));
    }
    // and one asker alone cannot make it talk without end
    lan.sent.clear();
    for _ in 0..500 {
        let mut w = Writer::new(0, 0, 1440);
        w.question(&wire("cam.local"), A, IN | TOP);
        lan.hear(ASKER.parse().unwrap(), &w.finish());
        lan.run(ms(1));
    }
    assert!(lan.sent.len() <= 101, "{}", lan.sent.len());
}

#[test]
fn the_second_of_one_name_gets_a_number() {
    let mut lan = settled();
    let second = lan.peer("cam", 99);
    let id = lan.peers[second].session.add(lan.now, &service("FRONT")).unwrap();
    lan.sent.clear();
    lan.run(Duration::from_secs(20));
    let session = &mut lan.peers[second].session;
    assert_eq!(session.name(id).as_deref(), Some("FRONT (2)"));
    assert_eq!(session.name(0).as_deref(), Some("cam-2"));
    let mut renamed = vec![session.take_renamed().unwrap(), session.take_renamed().unwrap()];
    renamed.sort();
    assert_eq!(renamed, ["FRONT (2)", "cam-2"]);
    assert_eq!(session.take_renamed(), None);
    assert_eq!(lan.peers[0].session.name(1).as_deref(), Some("Front"), "the first keeps it");
    let last = lan.sent.iter().rfind(|s| s.from == second).unwrap();
    assert!(last.has("an FRONT (2)._hap._tcp.local SRV flush 120 5001 cam-2.local"), "{:?}", last.lines());
    // and nobody was told that the second had the first's name
    let wrong = |s: &&Sent| s.from == second && s.lines().iter().any(|l| l.starts_with("an FRONT._hap"));
    assert!(!lan.sent.iter().any(|s| wrong(&s)));
}

#[test]
fn any_number_of_one_name_started_at_once_settle() {
    for seed in 1..20u64 {
        let mut lan = Lan::new();
        for n in 0..5 {
            let peer = lan.peer("cam", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + n * 2);
            lan.peers[peer].session.add(lan.now, &service("Front")).unwrap();
        }
        lan.run(Duration::from_secs(120));
        for id in [0, 1] {
            let mut names: Vec<_> = lan.peers.iter().map(|p| p.session.name(id).unwrap()).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), 5, "{seed}: {names:?}");
        }
        lan.sent.clear();
        lan.run(Duration::from_secs(600));
        assert!(lan.sent.is_empty(), "{seed}: still talking");
    }
}

#[test]
fn two_parts_of_a_network_that_meet_settle() {
    let mut lan = settled();
    let mut other = settled();
    let mut late = other.peers.remove(0);
    late.address = "192.0.2.5:5353".parse().unwrap();
    late.session.set_interfaces(other.now, &[interface(2, &["192.0.2.5"])], true, true);
    lan.now = other.now;
    lan.peers.push(late);
    // it has another address and says so; then both ask again for what both have
    lan.run(Duration::from_secs(60));
    let names: Vec<_> = lan.peers.iter().map(|p| (p.session.name(0), p.session.name(1))).collect();
    assert_ne!(names[0].0, names[1].0);
    assert_ne!(names[0].1, names[1].1);
}

#[test]
fn a_rival_that_is_gone_takes_no_name_away() {
    let mut lan = settled();
    let mut w = Writer::new(0, RESPONSE, 1440);
    let mut srv = vec![0, 0, 0, 0, 9, 9];
    srv.extend(wire("ghost.local"));
    w.record(Section::Answer, &wire("Front._hap._tcp.local"), SRV, IN | TOP, 120, &srv);
    let packet = w.finish();
    lan.sent.clear();
    // from a port that is not ours it is not even looked at
    lan.hear("192.0.2.66:999".parse().unwrap(), &packet);
    lan.run(Duration::from_secs(5));
    assert!(lan.sent.is_empty());
    lan.hear("192.0.2.66:5353".parse().unwrap(), &packet);
    lan.run(Duration::from_secs(5));
    assert_eq!(lan.sent.len(), 5, "asks again, tells again");
    assert_eq!(lan.peers[0].session.name(1).as_deref(), Some("Front"));
}

#[test]
fn our_own_packets_are_no_rivals() {
    let mut lan = settled();
    lan.sent.clear();
    lan.peers[0].session.set_txt(lan.now, 1, &["c#=2".into()]).unwrap();
    lan.run(ms(500));
    let announcement = lan.sent[0].bytes.clone();
    lan.peers[0].session.set_txt(lan.now, 1, &["c#=3".into()]).unwrap();
    // by way of another interface, late
    lan.hear("192.0.2.1:5353".parse().unwrap(), &announcement);
    lan.run(Duration::from_secs(5));
    assert!(!lan.sent.iter().any(|s| s.has("? ")));
    assert_eq!(lan.sent.iter().filter(|s| s.has("an Front._hap._tcp.local TXT flush 4500 c#=3")).count(), 2);
}

#[test]
fn other_attributes_are_told_at_once_and_no_more_than_once_a_second() {
    let mut lan = settled();
    lan.sent.clear();
    let begin = lan.now;
    for n in 0..100 {
        lan.peers[0].session.set_txt(lan.now, 1, &[format!("s#={n}")]).unwrap();
        lan.run(ms(10));
    }
    lan.run(Duration::from_secs(5));
    assert_eq!(lan.sent[0].at, begin);
    assert!(lan.sent.len() <= 4, "{}", lan.sent.len());
    assert!(lan.sent.last().unwrap().has("TXT flush 4500 s#=99"));
    assert!(lan.peers[0].session.set_txt(lan.now, 1, &["x".repeat(256)]).is_err());
    assert!(lan.peers[0].session.set_txt(lan.now, 1, &vec!["x".repeat(200); 6]).is_err());
}

#[test]
fn what_ends_is_taken_back() {
    let mut lan = settled();
    let rtsp = Service { kind: "_rtsp._tcp".into(), ..service("Front") };
    let second = lan.peers[0].session.add(lan.now, &rtsp).unwrap();
    let third = lan.peers[0].session.add(lan.now, &Service { name: "Back".into(), ..rtsp }).unwrap();
    lan.run(Duration::from_secs(5));
    lan.sent.clear();
    lan.peers[0].session.remove(second);
    lan.run(Duration::from_secs(1));
    assert_eq!(
        lan.sent[0].lines(),
        [
            "an _rtsp._tcp.local PTR 0 Front._rtsp._tcp.local",
            "an Front._rtsp._tcp.local SRV flush 0 5001 cam.local",
            "an Front._rtsp._tcp.local TXT flush 0 c#=1",
        ]
    );
    lan.sent.clear();
    lan.peers[0].session.remove(third);
    lan.run(Duration::from_secs(1));
    assert!(
        lan.sent[0].has("an _services._dns-sd._udp.local PTR 0 _rtsp._tcp.local"),
        "the last of its kind"
    );
    lan.sent.clear();
    lan.peers[0].session.remove_all();
    lan.run(Duration::from_secs(1));
    assert!(
        lan.sent[0].has("an Front._hap._tcp.local SRV flush 0") && lan.sent[0].has("an cam.local A flush 0")
    );
    assert!(lan.ask(ASKER, |w| w.question(&wire("Front._hap._tcp.local"), ANY, IN)).is_empty());
    // what was not yet ours is not taken back
    let id = lan.peers[0].session.add(lan.now, &service("Brief")).unwrap();
    lan.run(ms(300));
    lan.sent.clear();
    lan.peers[0].session.remove(id);
    lan.run(Duration::from_secs(1));
    assert!(lan.sent.is_empty());
}

#[test]
fn each_link_hears_of_its_own_addresses_and_new_ones_are_told() {
    let mut session = Session::new("cam", 5);
    let mut now = Time::from_nanos(1);
    session.add(now, &service("Front")).unwrap();
    let mut run = |session: &mut Session, seconds: u64| {
        let end = now + Duration::from_secs(seconds);
        let mut out = Vec::new();
        while now < end {
            now = session.poll(now, &mut out).unwrap_or(end).min(end);
        }
        out
    };
    let lan = interface(2, &["192.0.2.1", "fe80::1"]);
    session.set_interfaces(Time::from_nanos(1), std::slice::from_ref(&lan), true, true);
    let out = run(&mut session, 10);
    assert_eq!(out.len(), 10, "by both protocols");
    let six = out.iter().rfind(|p| p.link.v6).unwrap();
    let said = lines(&six.bytes);
    assert_eq!(said[..2], ["an cam.local A flush 120 192.0.2.1", "an cam.local AAAA flush 120 fe80::1"]);
    assert!(!said.iter().any(|l| l.contains("NSEC")), "there are both");
    // another interface later, without the first being bothered
    let both = [lan.clone(), interface(3, &["198.51.100.7"])];
    session.set_interfaces(Time::from_nanos(10_000_000_001), &both, true, true);
    let out = run(&mut session, 10);
    assert!(out.len() == 5 && out.iter().all(|p| p.link == Link { index: 3, v6: false }));
    assert!(lines(&out[4].bytes).contains(&"an cam.local A flush 120 198.51.100.7".into()));
    // another address
    let both = [interface(2, &["192.0.2.9", "fe80::1"]), both[1].clone()];
    session.set_interfaces(Time::from_nanos(20_000_000_001), &both, true, true);
    let out = run(&mut session, 10);
    let four: Vec<_> = out.iter().filter(|p| !p.link.v6).map(|p| lines(&p.bytes)).collect();
    assert!(four[0].contains(&"an cam.local A flush 0 192.0.2.1".into()), "{four:?}");
    assert!(four[1].contains(&"an cam.local A flush 120 192.0.2.9".into()), "{four:?}");
    // gone and back: asked for and told anew
    session.set_interfaces(Time::from_nanos(30_000_000_001), &both[..1], true, true);
    assert!(run(&mut session, 10).is_empty());
    session.set_interfaces(Time::from_nanos(40_000_000_001), &both, true, true);
    assert_eq!(run(&mut session, 10).len(), 5);
    // a protocol that is not there is not spoken
    session.set_interfaces(Time::from_nanos(50_000_000_001), &both, true, false);
    let out = run(&mut session, 1);
    assert!(out.is_empty());
}

#[test]
fn a_link_that_cannot_send_is_tried_again_later_and_later() {
    let mut lan = settled();
    let mut waits = Vec::new();
    for _ in 0..8 {
        lan.peers[0].session.link_failed(lan.now, LINK);
        let due = lan.peers[0].session.poll(lan.now, &mut Vec::new()).unwrap();
        waits.push(due.since(lan.now).as_secs());
        lan.now = due;
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 64, 64]);
    lan.sent.clear();
    lan.run(Duration::from_secs(5));
    assert_eq!(lan.sent.len(), 5);
}

#[test]
fn strangers_from_other_networks_get_nothing() {
    let mut lan = settled();
    lan.sent.clear();
    let mut w = Writer::new(0, 0, 1440);
    w.question(&wire("_hap._tcp.local"), PTR, IN | TOP);
    let packet = w.finish();
    for (address, answers) in [("203.0.113.5:5353", 0), ("203.0.113.5:53", 0), ("192.0.2.200:53", 1)] {
        let origin = Origin { link: LINK, address: address.parse().unwrap(), multicast: false };
        lan.peers[0].session.input(lan.now, origin, &packet);
        lan.run(Duration::from_secs(3));
        assert_eq!(lan.sent.len(), answers, "{address}");
    }
}

#[test]
fn names_that_cannot_be_are_refused_or_made_to_fit() {
    let mut session = Session::new("Küche \u{7}1.local", 1);
    assert_eq!(session.name(0).as_deref(), Some("K-che--1-local"));
    assert_eq!(Session::new("...", 1).name(0).as_deref(), Some("streamd"));
    let now = Time::ZERO;
    for kind in ["", "_hap", "hap._tcp", "_hap._sctp", "_a_b._tcp", "_._tcp", "_0123456789abcdef._tcp"] {
        let wrong = Service { kind: kind.into(), ..service("x") };
        assert_eq!(session.add(now, &wrong), Err(Invalid::Kind), "{kind}");
    }
    assert_eq!(session.add(now, &service(" \n ")), Err(Invalid::Name));
    let long = "ä".repeat(40);
    let id = session.add(now, &service(&long)).unwrap();
    assert_eq!(session.name(id).unwrap(), "ä".repeat(31));
    let again = session.add(now, &service(&long)).unwrap();
    assert_eq!(session.name(again).unwrap(), format!("{} (2)", "ä".repeat(29)));
    for n in 2..32 {
        session.add(now, &service(&format!("{n}"))).unwrap();
    }
    assert_eq!(session.add(now, &service("one more")), Err(Invalid::Full));
}

#[test]
fn many_services_with_much_to_say_share_packets_and_fit_them() {
    let mut lan = Lan::new();
    lan.peer("cam", 3);
    for n in 0..32 {
        let txt = vec!["x".repeat(240); 1 + n % 4];
        let one = Service { txt, ..service(&format!("Camera number {n}")) };
        lan.peers[0].session.add(lan.now, &one).unwrap();
    }
    lan.run(Duration::from_secs(20));
    for n in 0..32 {
        let probe = format!("? Camera number {n}._hap._tcp.local ANY");
        assert_eq!(lan.sent.iter().filter(|s| s.has(&probe)).count(), 3);
        let answer = format!("an Camera number {n}._hap._tcp.local TXT flush");
        assert_eq!(lan.sent.iter().filter(|s| s.has(&answer)).count(), 2);
        let claim = format!("au Camera number {n}._hap._tcp.local TXT");
        assert!(lan.sent.iter().all(|s| s.has(&probe) == s.has(&claim)), "a probe carries its claim");
    }
    let answers = lan.ask(ASKER, |w| w.question(&wire("_hap._tcp.local"), PTR, IN));
    let pointers: usize =
        answers.iter().map(|s| s.lines().iter().filter(|l| l.starts_with("an _hap")).count()).sum();
    assert_eq!(pointers, 32);
}

/// What libFuzzer does too: any packet, at any time.
#[test]
fn no_packet_ends_it_or_makes_it_talk_without_end() {
    let mut seeds: Vec<Vec<u8>> = settled().sent.into_iter().map(|s| s.bytes).collect();
    let mut w = Writer::new(1, TRUNCATED, 1440);
    w.question(&wire("_hap._tcp.local"), ANY, IN | TOP);
    w.record(Section::Answer, &wire("_hap._tcp.local"), PTR, IN, 4500, &wire("Front._hap._tcp.local"));
    seeds.push(w.finish());
    let mut lan = settled();
    lan.peers[0].session.add(lan.now, &service("Back")).unwrap();
    let mut rng = 0x9e37_79b9_7f4a_7c15u64;
    let mut sent = 0;
    for n in 0..30_000 {
        let mut next = || {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            (rng >> 16) as usize
        };
        let mut bytes = seeds[next() % seeds.len()].clone();
        for _ in 0..next() % 6 {
            let at = next() % bytes.len();
            match next() % 3 {
                0 => bytes[at] = next() as u8,
                1 => bytes[at] ^= 1 << (next() % 8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let port = if next() % 4 == 0 { 4000 } else { 5353 };
        lan.hear(SocketAddr::from(([192, 0, 2, next() as u8], port)), &bytes);
        lan.run(ms(10));
        sent += lan.sent.len();
        lan.sent.clear();
        if n % 1000 == 999 {
            lan.peers[0].session.remove(2 + n / 1000);
            lan.peers[0].session.add(lan.now, &service("Back")).unwrap();
        }
    }
    assert!(sent < 30_000, "{sent} in 300 seconds");
}

#[test]
fn the_second_on_one_machine_gets_a_number_too() {
    let mut lan = settled();
    lan.peer("cam", 99);
    let here = interface(2, &["192.0.2.1"]);
    lan.peers[1].session.set_interfaces(lan.now, &[], true, true);
    lan.peers[1].session.set_interfaces(lan.now, &[here], true, true);
    lan.peers[1].address = lan.peers[0].address;
    // what is sent to one asker reaches whom the kernel likes
    lan.deaf_alone = true;
    lan.peers[1].session.add(lan.now, &Service { port: 5003, ..service("Front") }).unwrap();
    lan.sent.clear();
    lan.run(Duration::from_secs(20));
    assert_eq!(lan.peers[0].session.name(1).as_deref(), Some("Front"));
    assert_eq!(lan.peers[1].session.name(1).as_deref(), Some("Front (2)"));
    assert_eq!(lan.peers[1].session.name(0).as_deref(), Some("cam"), "the host is the same");
}

#[test]
fn a_tie_lost_on_a_new_link_leaves_the_name_on_the_old_one() {
    let mut lan = settled();
    let here = [interface(2, &["192.0.2.1"]), interface(3, &["198.51.100.1"])];
    lan.peers[0].session.set_interfaces(lan.now, &here, true, true);
    lan.run(ms(600));
    let mut probe = Writer::new(0, 0, 1440);
    let front = wire("Front._hap._tcp.local");
    probe.question(&front, ANY, IN);
    let mut srv = vec![0, 0, 0, 0, 0xff, 0xff];
    srv.extend(wire("zzz.local"));
    probe.record(Section::Authority, &front, SRV, IN, 120, &srv);
    let probe = probe.finish();
    let address = "198.51.100.2:5353".parse().unwrap();
    let origin = Origin { link: Link { index: 3, v6: false }, address, multicast: true };
    lan.peers[0].session.input(lan.now, origin, &probe);
    lan.sent.clear();
    // on the first link it answers all the while
    lan.hear(ASKER.parse().unwrap(), &probe);
    lan.run(ms(500));
    assert!(lan.sent.iter().any(|s| s.has("an Front._hap._tcp.local SRV flush 120 5001")));
}

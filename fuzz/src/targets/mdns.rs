//! mDNS packets: names are bounded and end, records lie within the packet, and whatever is asked or
//! claimed, what we say can be read and is no larger than a frame.

use super::steer;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use streamd::media::Time;
use streamd::net::limits::MDNS_PACKET;
use streamd::net::mdns::message::Reader;
use streamd::net::mdns::session::{Link, Origin, PORT, Session};
use streamd::net::mdns::{Interface, Service};

/// Reads a packet to its end; whether all that it says to have is there.
fn read(packet: &[u8]) -> bool {
    let Some(mut reader) = Reader::new(packet) else { return false };
    for _ in 0..reader.counts[0] {
        match reader.question() {
            Some(question) => assert!(question.name.wire().len() <= 255),
            None => return false,
        }
    }
    let mut data = Vec::new();
    for _ in 0..reader.counts[1..].iter().map(|n| u32::from(*n)).sum::<u32>() {
        let Some(record) = reader.record() else { return false };
        assert!(record.name.wire().len() <= 255);
        if reader.data(&record, &mut data).is_some() {
            assert!(data.len() <= packet.len() + 255);
        }
    }
    true
}

pub fn run(data: &[u8]) {
    let Some((how, packet)) = steer(data) else { return };
    read(packet);
    let mut now = Time::from_nanos(1_000_000_000);
    let mut session = Session::new("cam", 7);
    let interface = Interface { index: 1, addresses: vec![(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 24)] };
    session.set_interfaces(now, &[interface], true, false);
    let txt = vec!["c#=1".into(), "sf=1".into()];
    let service = Service { kind: "_hap._tcp".into(), name: "Front door".into(), port: 5001, txt };
    session.add(now, &service).expect("a service");
    let port = if how & 1 == 0 { PORT } else { 40_000 };
    let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 2 + (how >> 4)), port));
    let from = Origin { link: Link { index: 1, v6: false }, address, multicast: how & 2 == 0 };
    let mut out = Vec::new();
    let mut sent = 0;
    for turn in 0..24u32 {
        // first while it tries its name, then when it has it
        if turn % 8 == u32::from(how >> 2 & 3) {
            session.input(now, from, packet);
        }
        session.poll(now, &mut out);
        for packet in out.drain(..) {
            sent += 1;
            assert!(packet.bytes.len() <= MDNS_PACKET && read(&packet.bytes), "{:02x?}", packet.bytes);
        }
        now += Duration::from_millis(150);
    }
    assert!(sent < 200, "{sent} packets");
}

//! Reports: everything in them lies within them, and an empty report can be made of any reception.

use streamd::media::Time;
use streamd::net::rtcp::{Compound, Packet, Reception, emit_receiver};
use streamd::net::rtp;

pub fn run(data: &[u8]) {
    let mut reception = Reception::default();
    let mut now = Time::ZERO;
    let mut count = 0;
    for packet in Compound::new(data) {
        count += 1;
        now += std::time::Duration::from_millis(40);
        match packet {
            Ok(Packet::SenderReport { info, reports, .. }) => {
                reception.sender_report(now, &info);
                assert!(reports.count() <= 31);
            }
            Ok(Packet::ReceiverReport { reports, .. }) => assert!(reports.count() <= 31),
            Ok(Packet::Description { cname, .. }) => assert!(cname.len() <= 255),
            Ok(Packet::Nack { packets, .. }) => assert!(packets.count() * 4 <= data.len()),
            Ok(Packet::Bye { .. } | Packet::KeyFrameWanted { .. } | Packet::Other { .. }) => {}
            Err(_) => break,
        }
    }
    assert!(count * 4 <= data.len() + 4);
    if let Ok(packet) = rtp::Packet::parse(data) {
        reception.packet(now, &packet.header, 90_000);
    }
    let mut out = vec![];
    let reports: Vec<_> = reception.report(now).into_iter().collect();
    emit_receiver(&mut out, 7, &reports, "streamd");
    assert!(Compound::new(&out).all(|p| p.is_ok()), "our own report cannot be read");
}

use super::*;
use crate::net::rtp::Packet;
use crate::stream::{Bounds, Inlet, Join, Peer, Reader, Step, Viewer};

fn track() -> (Rc<Track>, Inlet) {
    let mut codec = Codec::new(CodecId::H264);
    codec.extra = Rc::from([0, 0, 0, 4, 0x67, 0x42, 0, 31, 0, 0, 0, 2, 0x68, 0xCE]);
    let (track, inlet) = Track::new(codec, Bounds::usual(Kind::Video));
    // whoever is behind finds all of it
    track.set_keep(std::time::Duration::from_secs(10));
    (track, inlet)
}

fn put(inlet: &mut Inlet, n: u64, key: bool, len: usize) {
    let mut nal = vec![n as u8; len];
    nal[0] = if key { 0x65 } else { 0x41 };
    inlet.append_unit(&nal);
    let time = Time::from_nanos(1_000_000_000 + n * 40_000_000);
    assert!(inlet.commit(time, time, key));
}

fn reader(track: &Rc<Track>, join: Join) -> Reader {
    Reader::new(vec![track.clone()], join, Rc::new(Viewer::new(1, Peer::default())))
}

/// The packets that a reader has before it now: (seq, RTP time, marker, bytes).
fn packets(flow: &Flow, reader: &mut Reader) -> Vec<(u16, u32, bool, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some(Step::Frame(at)) = reader.step() {
        let codec = reader.codec(at).unwrap();
        let shown = reader.frame(at).unwrap();
        let mut wire = Vec::new();
        flow.with(&shown, &codec, |d| {
            d.set_way(2, false);
            d.copy(&shown.data, &mut wire)
        });
        drop(shown);
        let mut rest = &wire[..];
        while !rest.is_empty() {
            assert_eq!(rest[..2], [b'$', 2]);
            let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            let p = Packet::parse(&rest[4..4 + len]).unwrap();
            out.push((p.header.seq, p.header.timestamp, p.header.marker, p.payload.to_vec()));
            rest = &rest[4 + len..];
        }
        reader.done(at);
    }
    out
}

fn continuous(packets: &[(u16, u32, bool, Vec<u8>)]) {
    for w in packets.windows(2) {
        assert_eq!(w[1].0, w[0].0.wrapping_add(1), "sequence");
        let step = w[1].1.wrapping_sub(w[0].1) as i32;
        assert!(if w[0].2 { step > 0 } else { step == 0 }, "time {step}");
    }
}

/// Whoever joins late or is described old frames again gets the packets that everybody gets.
#[test]
fn all_readers_get_the_same_packets_and_a_late_one_joins_without_a_break() {
    let (track, mut inlet) = track();
    let flow = Flow::new(&track, 1400, [255; 10]).unwrap();
    let mut first = reader(&track, Join::Live);
    for n in 0..10 {
        put(&mut inlet, n, n == 0, 300 + 5000 * usize::from(n == 0));
    }
    // squeezed for the one who begins now
    let early = packets(&flow, &mut first);
    continuous(&early);
    assert_eq!(early[0].3, [0x67, 0x42, 0, 31]);
    let mut late = reader(&track, Join::Live);
    let mut all = packets(&flow, &mut late);
    continuous(&all);
    assert_eq!(all, early);
    let mut recorder = reader(&track, Join::Back(std::time::Duration::from_secs(60)));
    let mut whole = packets(&flow, &mut recorder);
    continuous(&whole);
    assert_eq!(whole.len(), all.len());
    assert_eq!(whole[14].1.wrapping_sub(whole[0].1) % 3600, 0, "a recorder gets the true times");
    let mut live = Vec::new();
    for n in 10..40 {
        put(&mut inlet, n, n % 25 == 0, 2000);
        live.extend(packets(&flow, &mut first));
        if n % 7 == 0 {
            all.extend(packets(&flow, &mut late));
        }
    }
    all.extend(packets(&flow, &mut late));
    whole.extend(packets(&flow, &mut recorder));
    continuous(&all);
    continuous(&whole);
    assert_eq!(all[early.len()..], live);
    assert_eq!(whole[early.len()..], live);
}

/// One begins further back than anybody before: its numbers lead up to the others'.
#[test]
fn numbers_are_counted_backwards_too() {
    let (track, mut inlet) = track();
    let flow = Flow::new(&track, 500, [0; 10]).unwrap();
    for n in 0..30 {
        put(&mut inlet, n, n % 10 == 0, 1200);
    }
    assert_eq!(flow.number(25), 0);
    let mut live = reader(&track, Join::Live);
    let now = packets(&flow, &mut live);
    let mut back = reader(&track, Join::Back(std::time::Duration::from_secs(60)));
    let whole = packets(&flow, &mut back);
    continuous(&whole);
    assert_eq!(whole.last().unwrap().0, now.last().unwrap().0);
    assert_eq!(flow.number(30), now.last().unwrap().0.wrapping_add(1));
}

/// However a socket cuts a frame, what it took and what is kept are the frame.
#[test]
fn a_cut_send_keeps_the_rest_of_one_packet() {
    let (track, mut inlet) = track();
    let flow = Flow::new(&track, 600, [7; 10]).unwrap();
    put(&mut inlet, 0, true, 3000);
    let mut reader = reader(&track, Join::Live);
    let Some(Step::Frame(0)) = reader.step() else { panic!() };
    let (codec, shown) = (reader.codec(0).unwrap(), reader.frame(0).unwrap());
    flow.with(&shown, &codec, |d| {
        for web in [true, false] {
            d.set_way(4, web);
            let mut whole = Vec::new();
            d.copy(&shown.data, &mut whole);
            for cut in 0..=whole.len() {
                let (mut rest, mut got) = (Vec::new(), whole[..cut].to_vec());
                let sent = d.follow(&shown.data, 0, cut, &mut rest);
                assert!(rest.len() < 608);
                got.extend(&rest);
                let mut slices = Vec::new();
                let end = d.gather(&shown.data, sent.packets, 1000, &mut slices);
                assert_eq!(end, d.packets);
                slices.iter().for_each(|s| got.extend_from_slice(s));
                assert_eq!(got, whole, "cut at {cut}");
            }
        }
        let mut slices = Vec::new();
        assert!(d.gather(&shown.data, 0, 8, &mut slices) < d.packets);
    });
}

/// Each packet is a message of a WebSocket, parameter sets too, which are short; what is in them is
/// what flows without one.
#[test]
fn packets_are_messages_of_a_websocket() {
    use crate::net::websocket::{Event, Reader as Frames, Side};
    let (track, mut inlet) = track();
    let flow = Flow::new(&track, 600, [7; 10]).unwrap();
    put(&mut inlet, 0, true, 3000);
    let mut reader = reader(&track, Join::Live);
    let Some(Step::Frame(0)) = reader.step() else { panic!() };
    let (codec, shown) = (reader.codec(0).unwrap(), reader.frame(0).unwrap());
    flow.with(&shown, &codec, |d| {
        let (mut plain, mut web, mut datagrams) = (Vec::new(), Vec::new(), Vec::new());
        d.set_way(2, true);
        d.copy(&shown.data, &mut web);
        d.datagrams(&shown.data, |_, parts| {
            datagrams.push(parts.iter().flat_map(|p| p.to_vec()).collect::<Vec<u8>>());
        });
        d.set_way(2, false);
        d.copy(&shown.data, &mut plain);
        assert_eq!(web[..2], [0x82, 4 + 12 + 4], "the shortest form");
        let mut frames = Frames::new(Side::Client, 700);
        let (mut rest, mut packets) = (&mut web[..], Vec::new());
        while !rest.is_empty() {
            let (used, event) = frames.read(rest).unwrap();
            let Event::Data { at, end: true, .. } = event else { panic!("{event:?}") };
            assert_eq!(
                (&rest[at.start..][..2], at.len()),
                (&[b'$', 2][..], 4 + datagrams[packets.len()].len())
            );
            packets.push(rest[at].to_vec());
            rest = &mut rest[used..];
        }
        assert_eq!((packets.len(), packets.concat()), (d.packets, plain));
        assert!(packets.iter().zip(&datagrams).all(|(p, d)| p[4..] == d[..]));
    });
}

use super::*;
use crate::media::testing::Rng;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn master() -> Master {
    Master {
        key: hex("e1f97a0d3e018be0d64fa32c06de4139").try_into().unwrap(),
        salt: hex("0ec675ad498afeebb6960b3aabe6").try_into().unwrap(),
    }
}

fn packet(ssrc: u32, seq: u16, body: &[u8]) -> Vec<u8> {
    let header = crate::net::rtp::Header { payload_type: 99, seq, ssrc, ..Default::default() };
    [&header.emit()[..], body].concat()
}

fn locked(sender: &mut Sender, plain: &[u8]) -> Vec<u8> {
    let mut packet = [plain, &[0; TAG]].concat();
    sender.rtp(&mut packet).unwrap();
    packet
}

fn report(ssrc: u32, n: u8) -> Vec<u8> {
    let mut out = Vec::new();
    crate::net::rtcp::emit_receiver(&mut out, ssrc, &[], "viewer");
    out.extend_from_slice(&[0x80, 192, 0, 1, 0, 0, 0, n]);
    out
}

#[test]
fn the_standards_key_derivation() {
    // RFC 3711, appendix B.3.
    let keys = Keys::new(&master(), 0);
    assert_eq!(keys.salt[..], hex("30cbbc08863d8c85d49db34a9ae1"));
    let key: [u8; 16] = hex("c61e7a93744f39ee10734afe3ff7a087").try_into().unwrap();
    let (mut own, mut theirs) = ([0; 64], [0; 64]);
    keys.aes.apply(&[0; 16], &mut own);
    Aes::new(&key).apply(&[0; 16], &mut theirs);
    assert_eq!(own, theirs);
    let hmac = Hmac::new(&hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4").try_into().unwrap());
    assert_eq!(keys.hmac.sign(b"x", &[]), hmac.sign(b"x", &[]));
}

#[test]
fn packets_are_those_that_other_programs_make() {
    // As libsrtp makes them, from the same keys.
    let mut sender = Sender::new(&master());
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let wire = hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    assert_eq!(locked(&mut sender, &plain), wire);
    let mut receiver = Receiver::new(&master());
    assert_eq!(receiver.rtp(&mut wire.clone()), Ok(&plain[..]));

    let plain = hex("81c8000bcafebabeabababababababababababababababab");
    let wire = hex("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798");
    let mut first = plain.clone();
    sender.rtcp(&mut first).unwrap();
    let mut second = plain.clone();
    sender.rtcp(&mut second).unwrap();
    assert_eq!(second, wire);
    assert_eq!(receiver.rtcp(&mut second), Ok(&plain[..]));
}

#[test]
fn a_day_of_packets_goes_through_with_loss_and_disorder() {
    let (mut sender, mut receiver) = (Sender::new(&master()), Receiver::new(&master()));
    let mut rng = Rng::new(5);
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    let mut came = 0;
    for i in 0..300_000u32 {
        // Three turns of the sequence number; most packets are lost, to be quick.
        let plain = packet(7, (65_000 + i) as u16, &i.to_be_bytes());
        if rng.below(20) > 0 {
            // The sender has counted it all the same.
            sender.highest = Some(u64::from(65_000 + i));
            continue;
        }
        waiting.push(locked(&mut sender, &plain));
        if waiting.len() > 4 {
            let at = rng.below(waiting.len());
            let mut wire = waiting.swap_remove(at);
            match receiver.rtp(&mut wire) {
                Ok(got) => {
                    assert_eq!(got[12..].len(), 4);
                    came += 1;
                }
                Err(e) => assert_eq!(e, SrtpError::Replayed, "older than the window"),
            }
        }
    }
    assert!(came > 7_000, "{came}");
    assert_eq!(receiver.packets.find(7).unwrap().highest >> 16, 5);
}

#[test]
fn a_packet_that_is_sent_again_is_the_same() {
    let mut sender = Sender::new(&master());
    let plain: Vec<Vec<u8>> = (65_530..65_546u32).map(|n| packet(7, n as u16, b"x")).collect();
    let first: Vec<_> = plain.iter().map(|p| locked(&mut sender, p)).collect();
    let again: Vec<_> = plain.iter().map(|p| locked(&mut sender, p)).collect();
    assert_eq!(first, again);
}

#[test]
fn nothing_comes_twice() {
    let (mut sender, mut receiver) = (Sender::new(&master()), Receiver::new(&master()));
    let wire: Vec<_> = (0..200u16).map(|n| locked(&mut sender, &packet(7, n, b"sound"))).collect();
    for order in [0usize, 2, 1, 3, 66, 65, 40, 199, 137, 136] {
        assert!(receiver.rtp(&mut wire[order].clone()).is_ok(), "{order}");
        assert_eq!(receiver.rtp(&mut wire[order].clone()), Err(SrtpError::Replayed), "{order}");
    }
    assert_eq!(receiver.rtp(&mut wire[135].clone()), Err(SrtpError::Replayed), "older than the window");
    assert!(receiver.rtp(&mut wire[150].clone()).is_ok());
    let mut rtcp: Vec<Vec<u8>> = (0..100).map(|n| report(7, n)).collect();
    rtcp.iter_mut().for_each(|p| sender.rtcp(p).unwrap());
    for order in [0usize, 3, 1, 99, 50] {
        assert!(receiver.rtcp(&mut rtcp[order].clone()).is_ok());
        assert_eq!(receiver.rtcp(&mut rtcp[order].clone()), Err(SrtpError::Replayed));
    }
    assert_eq!(receiver.rtcp(&mut rtcp[2].clone()), Err(SrtpError::Replayed));
}

#[test]
fn a_stranger_changes_nothing() {
    let other = Master { key: [1; 16], ..master() };
    let (mut sender, mut stranger) = (Sender::new(&master()), Sender::new(&other));
    let mut receiver = Receiver::new(&master());
    // Senders without the key take no place, whatever they say.
    for ssrc in 0..100u32 {
        let mut wire = locked(&mut stranger, &packet(ssrc, 60_000, b"noise"));
        assert_eq!(receiver.rtp(&mut wire), Err(SrtpError::Forged));
        let mut wire = report(ssrc, 0);
        stranger.rtcp(&mut wire).unwrap();
        assert_eq!(receiver.rtcp(&mut wire), Err(SrtpError::Forged));
    }
    assert!(receiver.rtp(&mut locked(&mut sender, &packet(7, 1, b"sound"))).is_ok());
    // And one with the key only so many.
    for ssrc in 8..11 {
        let mut again = Sender::new(&master());
        assert!(receiver.rtp(&mut locked(&mut again, &packet(ssrc, 1, b"sound"))).is_ok());
    }
    let mut again = Sender::new(&master());
    let mut wire = locked(&mut again, &packet(11, 1, b"sound"));
    assert_eq!(receiver.rtp(&mut wire), Err(SrtpError::Sources));
    assert!(receiver.rtp(&mut locked(&mut sender, &packet(7, 2, b"sound"))).is_ok());
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    let mut sender = Sender::new(&master());
    let mut extended = packet(7, 3, b"\xbe\xde\0\x01\0\0\0\0and a picture's slice");
    extended[0] |= 0x10;
    let wire = locked(&mut sender, &extended);
    let mut rtcp = report(7, 0);
    sender.rtcp(&mut rtcp).unwrap();
    let refused = |bytes: &[u8]| {
        let mut receiver = Receiver::new(&master());
        assert!(receiver.rtp(&mut bytes.to_vec()).is_err());
        assert!(receiver.rtcp(&mut bytes.to_vec()).is_err());
        assert!(receiver.packets.known.iter().chain(&receiver.reports.known).all(Option::is_none));
    };
    for good in [&wire, &rtcp] {
        for len in 0..good.len() {
            refused(&good[..len]);
        }
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            refused(&bad);
        }
    }
    assert_eq!(Receiver::new(&master()).rtp(&mut wire.clone()), Ok(&extended[..]));
    let mut rng = Rng::new(9);
    let mut receiver = Receiver::new(&master());
    for _ in 0..20_000 {
        let mut noise = vec![0; rng.below(80)];
        rng.fill(&mut noise);
        assert!(receiver.rtp(&mut noise.clone()).is_err());
        assert!(receiver.rtcp(&mut noise.clone()).is_err());
        let _ = sender.rtp(&mut noise);
        let _ = sender.rtcp(&mut noise);
    }
}

#[test]
fn a_context_is_small() {
    assert!(size_of::<Sender>() + size_of::<Receiver>() < 1400);
}

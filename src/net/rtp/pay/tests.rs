use super::*;
use crate::net::rtp::Packet;

/// A small source of test data that is the same each time.
pub(crate) struct Xorshift(pub u64);

impl Xorshift {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n.max(1)
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        // No zeros, so that no start code appears by chance.
        (0..n).map(|_| (self.next() % 255 + 1) as u8).collect()
    }
}

/// NAL units behind their lengths.
pub(crate) fn nals(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|n| (n.len() as u32).to_be_bytes().into_iter().chain(n.iter().copied())).collect()
}

pub(crate) fn packetizer(codec: &Codec, size: u16) -> Packetizer {
    Packetizer::new(codec, 96, size, 0x1234_5678, 65_534, 0xFFFF_0000).unwrap()
}

/// The wire packets of one frame.
pub(crate) fn packets(p: &mut Packetizer, frame: &[u8], ticks: u64, key: bool, extra: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let count = p.packetize(frame, Time::from_ticks(ticks, p.rate), key, extra, &mut pieces).unwrap();
    let mut out = Vec::new();
    assemble(&pieces, frame, extra, |packet| out.push(packet.to_vec()));
    assert_eq!(out.len(), count);
    let sizes: Vec<_> = pieces.iter().filter(|p| p.begins()).map(|p| usize::from(p.size)).collect();
    assert_eq!(sizes, out.iter().map(Vec::len).collect::<Vec<_>>(), "size of a packet is what is sent");
    assert!(sizes.iter().all(|&n| n <= usize::from(p.packet_size)));
    out
}

#[test]
fn a_key_frame_starts_with_its_parameter_sets_and_ends_with_the_marker() {
    let extra = nals(&[&[0x67, 1, 2, 3], &[0x68, 4]]);
    let frame = nals(&[&[0x09, 0xF0], &[0x06, 5, 0x80], &[0x65, 9, 9, 9]]);
    let mut p = packetizer(&Codec::new(CodecId::H264), 1400);
    let out = packets(&mut p, &frame, 1000, true, &extra);
    let bodies: Vec<_> = out.iter().map(|b| Packet::parse(b).unwrap().payload.to_vec()).collect();
    assert_eq!(bodies, [&[0x67, 1, 2, 3][..], &[0x68, 4], &[0x06, 5, 0x80], &[0x65, 9, 9, 9]]);
    let headers: Vec<_> = out.iter().map(|b| Packet::parse(b).unwrap().header).collect();
    assert_eq!(headers.iter().map(|h| h.seq).collect::<Vec<_>>(), [65_534, 65_535, 0, 1]);
    assert_eq!(headers.iter().map(|h| h.marker).collect::<Vec<_>>(), [false, false, false, true]);
    assert!(
        headers.iter().all(|h| h.timestamp == 1000_u32.wrapping_add(0xFFFF_0000) && h.payload_type == 96)
    );
    assert_eq!(p.next_seq(), 2);
}

/// RFC 6184 §5.8: indicator F, NRI and 28; header S, E, R and type; never S and E in one.
#[test]
fn a_long_nal_unit_goes_in_fragments() {
    let mut nal = vec![0x65];
    nal.extend(Xorshift(5).bytes(300));
    let mut p = packetizer(&Codec::new(CodecId::H264), 128);
    let out = packets(&mut p, &nals(&[&nal]), 0, false, b"not sent");
    let bodies: Vec<_> = out.iter().map(|b| &b[12..]).collect();
    assert_eq!(
        bodies.iter().map(|b| (b[0], b[1])).collect::<Vec<_>>(),
        [(0x7C, 0x85), (0x7C, 0x05), (0x7C, 0x45)]
    );
    assert_eq!(bodies.iter().flat_map(|b| &b[2..]).copied().collect::<Vec<_>>(), nal[1..]);
}

/// RFC 7798 §4.4.3: type 49 in the header, then S, E and the type.
#[test]
fn a_long_h265_nal_unit_goes_in_fragments() {
    let mut nal = vec![0x26, 0x01];
    nal.extend(Xorshift(6).bytes(200));
    let mut p = packetizer(&Codec::new(CodecId::H265), 128);
    let out = packets(&mut p, &nals(&[&nal]), 0, false, &[]);
    let heads: Vec<_> = out.iter().map(|b| [b[12], b[13], b[14]]).collect();
    assert_eq!(heads, [[0x62, 0x01, 0x93], [0x62, 0x01, 0x53]]);
}

/// RFC 3640 §3.3.6: 16 bits of header length, 13 of size, 3 of index.
#[test]
fn aac_has_one_header_a_packet_and_is_cut_when_too_long() {
    let mut p = packetizer(&Codec::audio(CodecId::Aac, 16_000, 1), 128);
    let out = packets(&mut p, &[7; 50], 1024, true, &[]);
    assert_eq!(out[0][12..16], [0, 16, 0x01, 0x90]);
    assert_eq!(out[0].len(), 66);
    let out = packets(&mut p, &[7; 300], 2048, true, &[]);
    assert_eq!(out.len(), 3);
    assert!(out.iter().all(|b| b[12..16] == [0, 16, 0x09, 0x60]), "each fragment tells the whole size");
    assert_eq!(out.iter().map(|b| b[1] >> 7).collect::<Vec<_>>(), [0, 0, 1]);
    let mut pieces = Vec::new();
    assert!(p.packetize(&[0; 8192], Time::ZERO, true, &[], &mut pieces).is_err() && pieces.is_empty());
}

#[test]
fn samples_are_cut_evenly_and_each_packet_has_its_own_time() {
    let mut p = packetizer(&Codec::audio(CodecId::L16, 16_000, 1), 1400);
    let out = packets(&mut p, &[1; 3200], 0, true, &[]);
    assert_eq!(out.iter().map(Vec::len).collect::<Vec<_>>(), [812; 4]);
    let times: Vec<_> =
        out.iter().map(|b| Packet::parse(b).unwrap().header.timestamp.wrapping_sub(0xFFFF_0000)).collect();
    assert_eq!(times, [0, 400, 800, 1200]);
    let mut p = packetizer(&Codec::new(CodecId::Pcma), 1400);
    assert_eq!(packets(&mut p, &[1; 320], 0, true, &[]).len(), 1);
    assert_eq!(packets(&mut p, &[1; 800], 320, true, &[]).len(), 3);
}

#[test]
fn a_picture_that_repeats_its_time_still_moves_on() {
    let mut p = packetizer(&Codec::new(CodecId::H264), 1400);
    let frame = nals(&[&[0x41, 1, 2]]);
    let times: Vec<_> = [9000, 9000, 8000, 12_600]
        .into_iter()
        .map(|t| Packet::parse(&packets(&mut p, &frame, t, false, &[])[0]).unwrap().header.timestamp)
        .map(|t| t.wrapping_sub(0xFFFF_0000))
        .collect();
    assert_eq!(times, [9000, 9001, 9002, 12_600]);
}

#[test]
fn bad_frames_are_refused_and_leave_nothing_behind() {
    let mut p = packetizer(&Codec::new(CodecId::H264), 1400);
    let mut pieces = Vec::new();
    for bad in [&[0, 0, 0, 9, 0x65][..], &[0, 0, 0, 0], &[0, 0, 0], &[0xFF, 0xFF, 0xFF, 0xFF, 1]] {
        assert_eq!(p.packetize(bad, Time::ZERO, false, &[], &mut pieces), Err(PayError::NalLength));
    }
    let good = nals(&[&[0x41, 1]]);
    let half = [&good[..], &[0, 0, 0, 7, 1]].concat();
    assert!(p.packetize(&half, Time::ZERO, false, &[], &mut pieces).is_err());
    assert!(pieces.is_empty());
    assert_eq!((p.next_seq(), p.last_ticks), (65_534, None));
    assert_eq!(p.packetize(&[], Time::ZERO, false, &[], &mut pieces), Ok(0));
    let size = Packetizer::new(&Codec::new(CodecId::H264), 96, 100, 0, 0, 0).err();
    assert_eq!(size, Some(PayError::PacketSize(100)));
    assert_eq!(
        Packetizer::new(&Codec::new(CodecId::Raw), 96, 1400, 0, 0, 0).err(),
        Some(PayError::Codec(CodecId::Raw))
    );
}

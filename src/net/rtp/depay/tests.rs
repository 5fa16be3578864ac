use super::*;
use crate::net::rtp::Header;
use crate::net::rtp::jpeg::{Headers, tables_of_quality};
use crate::net::rtp::pay::tests::{Xorshift, nals, packetizer, packets};
use std::rc::Rc;

/// A sink that keeps everything, and insists on the order of calls.
#[derive(Default)]
pub(crate) struct Collector {
    pub units: Vec<(Unit, Vec<u8>)>,
    pub extras: Vec<Vec<u8>>,
    open: Option<Vec<u8>>,
    room: Option<usize>,
}

impl Sink for Collector {
    fn extra(&mut self, extra: &[u8]) {
        assert!(self.open.is_none(), "parameter sets between units only");
        self.extras.push(extra.to_vec());
    }
    fn begin(&mut self) {
        assert!(self.open.replace(Vec::new()).is_none());
    }
    fn append(&mut self, bytes: &[u8]) -> bool {
        let open = self.open.as_mut().unwrap();
        open.extend_from_slice(bytes);
        self.room.is_none_or(|room| open.len() <= room)
    }
    fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.open.as_mut().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
    }
    fn end(&mut self, unit: Unit) {
        self.units.push((unit, self.open.take().unwrap()));
    }
    fn abort(&mut self) {
        self.open.take().unwrap();
    }
}

struct Rig {
    depay: Depay,
    sink: Collector,
    seq: u16,
}

impl Rig {
    fn new(codec: &Codec, loss: Loss) -> Rig {
        let options = Options { loss, ..Options::default() };
        Rig { depay: Depay::new(codec, &options).unwrap(), sink: Collector::default(), seq: 100 }
    }

    fn h264(loss: Loss) -> Rig {
        Rig::new(&Codec::new(CodecId::H264), loss)
    }

    /// A payload as the next packet.
    fn push(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> Result<(), DepayError> {
        let header = Header { marker, seq: self.seq, timestamp, ..Header::default() };
        self.seq = self.seq.wrapping_add(1);
        self.depay.push(&Packet { header, extension: None, payload }, &mut self.sink)
    }

    fn ok(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> &mut Rig {
        self.push(timestamp, marker, payload).unwrap();
        self
    }

    fn wire(&mut self, bytes: &[u8]) {
        let _ = self.depay.push(&Packet::parse(bytes).unwrap(), &mut self.sink);
    }

    fn bodies(&self) -> Vec<&[u8]> {
        self.sink.units.iter().map(|(_, b)| &b[..]).collect()
    }
}

const SPS: &[u8] = &[0x67, 0x42, 0, 0x1F, 0xE9];
const PPS: &[u8] = &[0x68, 0xCE, 0x3C, 0x80];
const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x21];
const SLICE: &[u8] = &[0x41, 0x9A, 0x02, 0x11];

fn with_extra(id: CodecId, sets: &[&[u8]]) -> Codec {
    Codec { extra: Rc::from(nals(sets)), ..Codec::new(id) }
}

#[test]
fn single_aggregated_and_fragmented_units_become_one_frame() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    let stap = [&[0x78, 0, 5][..], SPS, &[0, 4], PPS].concat();
    rig.ok(9, false, &stap).ok(9, false, &[0x06, 5, 1, 9, 0x80]);
    rig.ok(9, false, &[0x7C, 0x85, 0x88, 1]).ok(9, false, &[0x7C, 0x05, 2]).ok(9, false, &[0x7C, 0x45, 3]);
    rig.ok(9, true, &[0x65, 0x20, 4]);
    assert_eq!(rig.bodies(), [nals(&[&[0x06, 5, 1, 9, 0x80], &[0x65, 0x88, 1, 2, 3], &[0x65, 0x20, 4]])]);
    assert_eq!(rig.sink.units[0].0, Unit { rtp_time: 9, key: true, damaged: false });
    assert_eq!(rig.sink.extras, [nals(&[SPS, PPS])]);
}

#[test]
fn a_frame_without_marker_ends_when_time_moves_on() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    rig.ok(1, false, IDR).ok(2, false, SLICE).ok(3, true, SLICE);
    assert_eq!(rig.sink.units.iter().map(|u| u.0.rtp_time).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn parameter_sets_are_told_once_and_again_when_they_change() {
    let codec = with_extra(CodecId::H264, &[SPS, PPS]);
    let mut rig = Rig::new(&codec, Loss::DropUntilKey);
    for time in 0..3 {
        rig.ok(time, false, SPS).ok(time, false, PPS).ok(time, true, IDR);
    }
    assert!(rig.sink.extras.is_empty(), "they were in the SDP");
    rig.ok(3, false, &[0x67, 0x64, 0, 0x20, 1]).ok(3, true, IDR);
    assert_eq!(rig.sink.extras, [nals(&[&[0x67, 0x64, 0, 0x20, 1], PPS])]);
    assert_eq!(rig.sink.units.len(), 4);
}

#[test]
fn a_viewer_begins_at_a_key_frame() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    rig.ok(1, true, SLICE)
        .ok(2, false, &[0x7C, 0x05, 1])
        .ok(2, true, &[0x7C, 0x45, 2])
        .ok(3, true, IDR)
        .ok(4, true, SLICE);
    assert_eq!(rig.sink.units.iter().map(|u| u.0.rtp_time).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn after_a_loss_nothing_broken_is_shown() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    rig.ok(1, true, IDR).ok(2, false, SLICE);
    rig.seq += 1;
    rig.ok(2, true, SLICE).ok(3, true, SLICE).ok(4, true, IDR).ok(5, true, SLICE);
    assert_eq!(rig.sink.units.iter().map(|u| u.0.rtp_time).collect::<Vec<_>>(), [1, 4, 5]);
    assert_eq!(rig.depay.lost(), 1);
    // The first slice of a key frame is lost: its second one is no place to begin.
    rig.seq += 1;
    rig.ok(6, true, &[0x65, 0x10, 1]).ok(7, true, IDR);
    assert_eq!(rig.sink.units.last().unwrap().0.rtp_time, 7);
}

#[test]
fn concealment_hands_out_what_came() {
    let mut rig = Rig::h264(Loss::Conceal);
    rig.ok(1, false, &[0x7C, 0x85, 0x88, 1]);
    rig.seq += 1;
    rig.ok(1, true, &[0x7C, 0x45, 3]);
    assert_eq!(rig.bodies(), [nals(&[&[0x65, 0x88, 1]])]);
    assert!(rig.sink.units[0].0.damaged);
}

#[test]
fn old_packets_and_duplicates_change_nothing() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    rig.ok(1, false, IDR);
    rig.seq -= 1;
    rig.ok(1, false, IDR).ok(1, true, &[0x65, 0x20, 4]);
    assert_eq!(rig.bodies(), [nals(&[IDR, &[0x65, 0x20, 4]])]);
}

#[test]
fn interleaved_modes_are_refused_and_the_stream_goes_on() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    for kind in [25, 26, 27, 29] {
        assert!(matches!(rig.push(1, false, &[0x60 | kind, 0, 0, 0]), Err(DepayError::Unsupported(_))));
    }
    rig.ok(1, true, IDR);
    assert_eq!(rig.sink.units.len(), 1);
}

/// RtspServer, Tapo TC70 and Reolink Duo 2 mark packets that hold a parameter set.
#[test]
fn quirk_a_marked_parameter_set_is_no_frame() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    rig.ok(1, true, SPS).ok(1, true, PPS).ok(1, true, IDR);
    assert_eq!(rig.bodies(), [nals(&[IDR])]);
    assert_eq!(rig.sink.extras.len(), 1);
}

/// Ivel marks its SEI, and gives it a time of its own.
#[test]
fn quirk_a_marked_sei_is_no_frame() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    let sei: &[u8] = &[0x06, 5, 1, 9, 0x80];
    rig.ok(1, true, sei).ok(2, true, IDR).ok(3, true, SLICE);
    assert_eq!(rig.bodies(), [nals(&[sei, IDR]), nals(&[SLICE])]);
    assert_eq!(rig.sink.units[0].0.rtp_time, 2);
}

/// V380 puts Annex B into RTP: start codes in front, and several units in one packet.
#[test]
fn quirk_annex_b_inside_packets_is_taken_apart() {
    let code: &[u8] = &[0, 0, 0, 1];
    let mut rig = Rig::h264(Loss::DropUntilKey);
    rig.ok(1, true, &[code, SPS, code, PPS, code, IDR].concat()).ok(2, true, &[code, SLICE].concat());
    assert_eq!(rig.sink.extras, [nals(&[SPS, PPS])]);
    assert_eq!(rig.bodies(), [nals(&[IDR]), nals(&[SLICE])]);
    // The same cut into fragments: it looks like one long SPS, and may be cut inside a start code.
    let whole = [SPS, code, PPS, code, IDR].concat();
    for cut in 1..whole.len() - 1 {
        let mut rig = Rig::h264(Loss::DropUntilKey);
        rig.ok(1, false, &[&[0x7C, 0x87][..], &whole[1..cut]].concat());
        rig.ok(1, true, &[&[0x7C, 0x47][..], &whole[cut.max(1)..]].concat());
        assert_eq!(rig.sink.extras, [nals(&[SPS, PPS])], "cut at {cut}");
        assert_eq!(rig.bodies(), [nals(&[IDR])], "cut at {cut}");
    }
}

/// Tiandy changes the type inside a fragmented unit.
#[test]
fn quirk_the_type_of_the_first_fragment_counts() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    rig.ok(1, false, &[0x7C, 0x85, 0x88]).ok(1, false, &[0x7C, 0x01, 2]).ok(1, true, &[0x7C, 0x41, 3]);
    assert_eq!(rig.bodies(), [nals(&[&[0x65, 0x88, 2, 3]])]);
}

/// Some cameras send fragments with nothing in them, and some forget the end flag.
#[test]
fn quirk_empty_and_unended_fragments() {
    let mut rig = Rig::h264(Loss::DropUntilKey);
    rig.ok(1, false, &[0x7C, 0x85, 0x88, 1]).ok(1, false, &[0x7C, 0x05]).ok(1, true, &[0x7C, 0x05, 3]);
    rig.ok(2, true, SLICE);
    assert_eq!(rig.bodies(), [nals(&[&[0x65, 0x88, 1, 3]]), nals(&[SLICE])]);
}

/// OpenIPC sends H.265 fragments that both start and end.
#[test]
fn quirk_h265_fragment_that_starts_and_ends() {
    let mut rig = Rig::new(&Codec::new(CodecId::H265), Loss::DropUntilKey);
    rig.ok(1, true, &[0x62, 0x01, 0xD3, 0xAF, 7]);
    assert_eq!(rig.bodies(), [nals(&[&[0x26, 0x01, 0xAF, 7]])]);
}

/// GeoVision sends payloads of type 50; some cameras' pictures are all of type 0.
#[test]
fn quirk_h265_types_50_and_0() {
    let mut rig = Rig::new(&Codec::new(CodecId::H265), Loss::DropUntilKey);
    rig.ok(1, false, &[0x64, 0x01, 1, 2, 3]).ok(1, true, &[0x26, 0x01, 0xAF, 7]).ok(
        2,
        true,
        &[0x00, 0x01, 0x80, 9],
    );
    assert_eq!(rig.bodies(), [nals(&[&[0x26, 0x01, 0xAF, 7]]), nals(&[&[0x00, 0x01, 0x80, 9]])]);
}

#[test]
fn h265_aggregates_and_its_three_sets() {
    let mut rig = Rig::new(&Codec::new(CodecId::H265), Loss::DropUntilKey);
    let (vps, sps, pps): (&[u8], &[u8], &[u8]) = (&[0x40, 1, 0xC], &[0x42, 1, 1], &[0x44, 1, 0xC1]);
    let ap = [&[0x60, 1, 0, 3][..], vps, &[0, 3], sps, &[0, 3], pps].concat();
    rig.ok(1, false, &ap).ok(1, true, &[0x26, 0x01, 0xAF, 7]);
    assert_eq!(rig.sink.extras, [nals(&[vps, sps, pps])]);
    assert!(rig.sink.units[0].0.key);
    for cut in 3..ap.len() {
        let result = rig.push(2, false, &ap[..cut]);
        assert_eq!(result.is_err(), ![7, 12].contains(&cut), "{cut}");
    }
}

#[test]
fn a_picture_beyond_the_bound_is_dropped_and_the_next_one_comes() {
    let codec = Codec::new(CodecId::H264);
    let mut rig = Rig::new(&codec, Loss::DropUntilKey);
    rig.depay = Depay::new(&codec, &Options { max_unit: 100, ..Options::default() }).unwrap();
    assert_eq!(rig.push(1, false, &[0x65; 90]), Ok(()));
    assert!(matches!(rig.push(1, true, &[0x65; 90]), Err(DepayError::TooLong(_))));
    rig.ok(2, true, SLICE).ok(3, true, IDR);
    assert_eq!(rig.bodies(), [nals(&[IDR])]);
    rig.sink.room = Some(10);
    assert!(rig.push(4, true, &[0x65; 50]).is_err(), "the arena is full");
}

#[test]
fn aac_packets_with_several_units_fragments_and_the_cameras_that_leave_adts() {
    let codec = Codec::audio(CodecId::Aac, 16_000, 1);
    let mut rig = Rig::new(&codec, Loss::DropUntilKey);
    rig.ok(100, true, &[0, 32, 0, 2 << 3, 0, 3 << 3, 1, 2, 3, 4, 5]);
    assert_eq!(rig.bodies(), [&[1, 2][..], &[3, 4, 5]]);
    assert_eq!(rig.sink.units[1].0.rtp_time, 1124);
    rig.ok(5000, false, &[0, 16, 0, 5 << 3, 1, 2, 3]).ok(5000, true, &[0, 16, 0, 5 << 3, 4, 5]);
    assert_eq!(rig.bodies()[2], [1, 2, 3, 4, 5]);
    // The ADTS header left inside the access unit.
    let adts = [0xFF, 0xF1, 0x60, 0x40, 0x01, 0x3F, 0xFC, 8, 9];
    rig.ok(6024, true, &[&[0, 16, 0, 9 << 3][..], &adts].concat());
    assert_eq!(rig.bodies()[3], [8, 9]);
    // go2rtc issue 1328: no AU headers at all.
    rig.ok(7048, true, &[adts, adts].concat());
    assert_eq!(rig.bodies()[4..], [&[8, 9][..], &[8, 9]]);
    assert_eq!(rig.sink.units[5].0.rtp_time, 8072);
    assert!(rig.push(1, true, &[0, 32, 0, 2 << 3, 0, 99 << 3, 1, 2, 3]).is_err());
}

#[test]
fn a_lost_fragment_of_sound_costs_one_unit() {
    let mut rig = Rig::new(&Codec::audio(CodecId::Aac, 16_000, 1), Loss::DropUntilKey);
    rig.ok(1, false, &[0, 16, 0, 9 << 3, 1, 2, 3]);
    rig.seq += 1;
    let _ = rig.push(1, true, &[0, 16, 0, 9 << 3, 7, 8, 9]);
    rig.ok(1025, true, &[0, 16, 0, 8, 5]);
    assert_eq!(rig.bodies(), [&[5][..]]);
}

#[test]
fn mpeg_audio_fragments_are_joined_by_their_offsets() {
    // Layer 3, 32 kbit/s, 48 kHz: 96 bytes.
    let mut frame = vec![0xFF, 0xFB, 0x14, 0xC4];
    frame.extend(Xorshift(7).bytes(92));
    let mut p = packetizer(&Codec::new(CodecId::Mpa), 128);
    let mut rig = Rig::new(&Codec::new(CodecId::Mpa), Loss::DropUntilKey);
    for packet in packets(&mut p, &frame, 0, true, &[]) {
        rig.wire(&packet);
    }
    assert_eq!(rig.bodies(), [&frame[..]]);
    rig.sink.units.clear();
    rig.seq = p.next_seq();
    rig.ok(9, false, &[&[0, 0, 0, 0][..], &frame[..40]].concat()).ok(
        9,
        false,
        &[&[0, 0, 0, 40][..], &frame[40..]].concat(),
    );
    assert_eq!(rig.bodies(), [&frame[..]]);
}

fn picture(restart_interval: u16, halved_height: bool, scan: usize) -> Vec<u8> {
    let tables = tables_of_quality(75);
    let mut file = Vec::new();
    let headers =
        Headers { width: 640, height: 360, halved_height, restart_interval, tables: &tables, precision: 0 };
    headers.emit(&mut file);
    file.extend(Xorshift(8).bytes(scan));
    file.extend_from_slice(&[0xFF, 0xD9]);
    file
}

#[test]
fn a_jpeg_file_arrives_as_it_was() {
    for (restart, halved, scan) in [(0, true, 5000), (0, false, 10), (12, true, 3000), (0, true, 1)] {
        let file = picture(restart, halved, scan);
        let mut p = packetizer(&Codec::new(CodecId::Jpeg), 400);
        let mut rig = Rig::new(&Codec::new(CodecId::Jpeg), Loss::DropUntilKey);
        for packet in packets(&mut p, &file, 0, true, &[]) {
            rig.wire(&packet);
        }
        assert_eq!(rig.bodies(), [&file[..]]);
    }
}

/// RFC 2435 §3.1.8: below 128 the quality says the tables; without marker the next time ends the
/// picture; 2560 pixels wrap to 512.
#[test]
fn jpeg_by_quality_and_quirk_of_wrapped_sizes() {
    let mut rig = Rig::new(&Codec::new(CodecId::Jpeg), Loss::DropUntilKey);
    rig.ok(1, false, &[0, 0, 0, 0, 1, 50, 64, 180, 1, 2, 3]).ok(
        2,
        true,
        &[0, 0, 0, 0, 1, 50, 80, 45, 4, 5, 0xFF, 0xD9],
    );
    let scans: Vec<_> = rig.bodies().into_iter().map(crate::net::rtp::jpeg::Scan::parse).collect();
    assert!(scans[0].is_err(), "2560 is more than RTP can say");
    assert!(rig.bodies()[0].windows(4).any(|w| w == [0x05, 0xA0, 0x0A, 0x00]), "1440 x 2560");
    let scan = scans[1].clone().unwrap();
    assert_eq!((scan.blocks_wide, scan.blocks_high, scan.data.len()), (80, 45, 2));
}

#[test]
fn documents_are_joined() {
    let mut p = packetizer(&Codec::new(CodecId::Onvif), 128);
    let mut rig = Rig::new(&Codec::new(CodecId::Onvif), Loss::DropUntilKey);
    let document = "<tt:MetadataStream>".repeat(30);
    for packet in packets(&mut p, document.as_bytes(), 0, true, &[]) {
        rig.wire(&packet);
    }
    assert_eq!(rig.bodies(), [document.as_bytes()]);
}

/// Frames of every codec through a network that loses, with a bound on what may come out: whole
/// frames, each as it was sent.
#[test]
fn what_arrives_is_what_was_sent_whatever_was_lost() {
    let mut random = Xorshift(9);
    for id in [
        CodecId::H264,
        CodecId::H265,
        CodecId::Aac,
        CodecId::Opus,
        CodecId::Pcma,
        CodecId::Jpeg,
        CodecId::Onvif,
    ] {
        for loss in [0, 30, 5] {
            let codec = Codec::new(id);
            let mut p = packetizer(&codec, 200);
            let mut rig = Rig::new(&codec, Loss::DropUntilKey);
            let mut sent = Vec::new();
            let mut since_key = true;
            for n in 0..300_u64 {
                let key = n % 10 == 0;
                let frame = match id {
                    CodecId::H264 => {
                        let mut slice = vec![if key { 0x65 } else { 0x41 }, 0x88];
                        let len = random.below(900);
                        slice.extend(random.bytes(len));
                        nals(&[&slice, &[slice[0], 0x40, 3, 4]])
                    }
                    CodecId::H265 => {
                        let mut slice = vec![if key { 0x26 } else { 0x02 }, 0x01, 0x80];
                        let len = random.below(900);
                        slice.extend(random.bytes(len));
                        nals(&[&slice])
                    }
                    CodecId::Jpeg => picture(0, true, 10 + random.below(500)),
                    CodecId::Opus | CodecId::Pcma => random.bytes(160),
                    _ => {
                        let len = 1 + random.below(600);
                        random.bytes(len)
                    }
                };
                let mut whole = true;
                for packet in packets(&mut p, &frame, n * 9000, key, &[]) {
                    if loss > 0 && random.below(loss) == 0 {
                        whole = false;
                    } else {
                        rig.wire(&packet);
                    }
                }
                if id.has_key_frames() {
                    since_key = whole && (since_key || key);
                    whole = since_key;
                }
                if whole {
                    sent.push(frame);
                }
            }
            rig.depay.finish(&mut rig.sink);
            let got: Vec<_> = rig.sink.units.iter().map(|u| u.1.clone()).collect();
            if loss == 0 {
                assert!(got == sent, "{id}");
            } else {
                // A frame after a loss may be doubted although it came whole; none may be wrong.
                assert!(got.iter().all(|g| sent.contains(g)), "{id} with one in {loss} lost");
                assert!(got.len() * 10 >= sent.len() * 7, "{id}: {} of {}", got.len(), sent.len());
            }
        }
    }
}

#[test]
fn no_truncation_or_mutation_panics_or_grows() {
    let mut random = Xorshift(10);
    let mut seeds: Vec<(CodecId, Vec<Vec<u8>>)> = Vec::new();
    let mut slice = vec![0x65, 0x88];
    slice.extend(random.bytes(500));
    let annex_b = [SPS, &[0, 0, 0, 1], PPS, &[0, 0, 1], IDR].concat();
    seeds.push((
        CodecId::H264,
        packets(
            &mut packetizer(&Codec::new(CodecId::H264), 200),
            &nals(&[&slice, &annex_b]),
            0,
            true,
            &nals(&[SPS]),
        ),
    ));
    seeds[0].1.push([&[0x80, 96, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0, 0x78, 0, 5][..], SPS, &[0, 4], PPS].concat());
    slice[0] = 0x26;
    seeds.push((
        CodecId::H265,
        packets(&mut packetizer(&Codec::new(CodecId::H265), 200), &nals(&[&slice]), 0, true, &[]),
    ));
    for id in [CodecId::Aac, CodecId::Mpa, CodecId::Onvif] {
        seeds.push((id, packets(&mut packetizer(&Codec::new(id), 200), &random.bytes(500), 0, true, &[])));
    }
    seeds.push((
        CodecId::Jpeg,
        packets(&mut packetizer(&Codec::new(CodecId::Jpeg), 200), &picture(3, true, 400), 0, true, &[]),
    ));
    for (id, list) in seeds {
        for loss in [Loss::DropUntilKey, Loss::Conceal, Loss::Ignore] {
            let mut rig = Rig::new(&Codec::new(id), loss);
            rig.depay =
                Depay::new(&Codec::new(id), &Options { loss, max_unit: 2000, ..Options::default() }).unwrap();
            for packet in &list {
                for len in 12..packet.len() {
                    rig.wire(&packet[..len]);
                }
            }
            for _ in 0..20_000 {
                let mut bad = list[random.below(list.len())].clone();
                for _ in 0..random.below(5) {
                    let at = 1 + random.below(40.min(bad.len() - 1));
                    bad[at] = [random.next() as u8, 0, 1, 0xFF][random.below(4)];
                }
                bad.truncate(12 + random.below(bad.len()));
                rig.wire(&bad);
                rig.sink.units.clear();
                rig.sink.extras.clear();
            }
        }
    }
}

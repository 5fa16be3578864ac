use super::emit::{Line, Session, emit};
use super::format::payload_type;
use super::*;
use crate::media::{Codec, CodecId};
use crate::net::rtp::pay::tests::{Xorshift, nals};
use std::rc::Rc;

const SPS: &[u8] = &[0x67, 0x4D, 0x40, 0x1F, 0xE9, 0x80];
const PPS: &[u8] = &[0x68, 0xCE, 0x3C, 0x80];

fn session() -> Session<'static> {
    Session { id: 7, version: 1, address: IpAddr::from([192, 168, 1, 9]), name: "yard", range: "npt=now-" }
}

fn with(id: CodecId, extra: Vec<u8>) -> Codec {
    Codec { extra: Rc::from(extra), ..Codec::new(id) }
}

fn one(codec: Codec) -> String {
    let codecs = [(payload_type(&codec, 96), codec)];
    let line = Line { codecs: &codecs, control: "trackID=0", flow: None, group: None, size: None };
    emit(&session(), &[line])
}

#[test]
fn a_description_is_written_to_the_letter() {
    let text = one(with(CodecId::H264, nals(&[SPS, PPS])));
    assert_eq!(
        text,
        "v=0\r\no=- 7 1 IN IP4 192.168.1.9\r\ns=yard\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\na=range:npt=now-\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=4D401F;sprop-parameter-sets=Z01AH+mA,aM48gA==\r\n\
         a=control:trackID=0\r\n"
    );
}

#[test]
fn every_codec_comes_back_as_it_went() {
    let vps: &[u8] = &[0x40, 1, 0xC, 1];
    let sets_265 = nals(&[vps, &[0x42, 1, 1, 4], &[0x44, 1, 0xC1]]);
    for codec in [
        with(CodecId::H264, nals(&[SPS, PPS])),
        with(CodecId::H265, sets_265),
        Codec::new(CodecId::H265),
        Codec { extra: Rc::from([0x14, 0x08]), ..Codec::audio(CodecId::Aac, 16_000, 1) },
        Codec::new(CodecId::Opus),
        Codec::new(CodecId::Pcmu),
        Codec::new(CodecId::Pcma),
        Codec::audio(CodecId::Pcma, 16_000, 1),
        Codec::audio(CodecId::L16, 16_000, 1),
        Codec::audio(CodecId::L16, 44_100, 2),
        Codec::new(CodecId::Jpeg),
        Codec::new(CodecId::G722),
        Codec::new(CodecId::Onvif),
    ] {
        let text = one(codec.clone());
        let read = Description::parse(&text).unwrap();
        assert_eq!(read.medias[0].media(), Some(Media::recv(codec)), "{text}");
        assert_eq!(read.medias[0].control.as_deref(), Some("trackID=0"));
    }
    assert!(!one(with(CodecId::H265, nals(&[vps]))).contains("fmtp"), "all three sets or none");
    assert!(
        one(Codec::audio(CodecId::Aac, 16_000, 1)).contains("config=1408"),
        "made from rate and channels"
    );
    assert_eq!(payload_type(&Codec::audio(CodecId::Pcma, 16_000, 1), 97), 97);
    assert_eq!(payload_type(&Codec::new(CodecId::Jpeg), 97), 26);
}

#[test]
fn the_back_channel_is_one_line_of_several_codecs() {
    let speaker = [(0, Codec::new(CodecId::Pcmu)), (8, Codec::new(CodecId::Pcma))];
    let line =
        Line { codecs: &speaker, control: "trackID=1", flow: Some(Flow::SendOnly), group: None, size: None };
    let text = emit(&session(), &[line]);
    assert!(text.contains("m=audio 0 RTP/AVP 0 8\r\n") && text.contains("a=sendonly\r\n"), "{text}");
    let media = Description::parse(&text).unwrap().medias[0].media().unwrap();
    assert_eq!(media, Media::speaker(vec![Codec::new(CodecId::Pcmu), Codec::new(CodecId::Pcma)]));
}

#[test]
fn a_multicast_group_is_in_its_media() {
    let codecs = [(96, Codec::new(CodecId::H264))];
    let group = Some((IpAddr::from([239, 255, 0, 1]), 16, 5000));
    let line = Line { codecs: &codecs, control: "trackID=0", flow: None, group, size: None };
    let text = emit(&session(), &[line]);
    assert!(text.contains("m=video 5000 RTP/AVP 96\r\nc=IN IP4 239.255.0.1/16\r\n"), "{text}");
    let read = Description::parse(&text).unwrap();
    assert_eq!(
        (read.medias[0].port, read.medias[0].connection),
        (5000, Some(IpAddr::from([239, 255, 0, 1])))
    );
}

#[test]
fn a_name_cannot_write_lines() {
    let text = emit(&Session { name: "a\r\nm=video", ..session() }, &[]);
    assert!(text.contains("\r\ns=am=video\r\n"));
    assert!(emit(&Session { name: " ", ..session() }, &[]).contains("\r\ns=streamd\r\n"));
}

/// Written by ffmpeg 5.1 for H.265 and for AAC.
#[test]
fn a_description_of_ffmpeg() {
    let text = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=No Name\nc=IN IP4 127.0.0.1\nt=0 0\na=tool:libavformat\n\
        m=video 19998 RTP/AVP 96\na=rtpmap:96 H265/90000\n\
        a=fmtp:96 sprop-vps=QAEMAf//BAgAAAMAnggAAAMAADyVmAk=; sprop-sps=QgEBBAgAAAMAnggAAAMAADyQAUEB4ssrNJJleAtwICAAQAAAAwBAAAADAUI=; sprop-pps=RAHBcoYMRiQ=\n\
        m=audio 19998 RTP/AVP 97\nb=AS:69\na=rtpmap:97 MPEG4-GENERIC/16000/1\n\
        a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=140856E500\n";
    let read = Description::parse(text).unwrap();
    let video = read.medias[0].media().unwrap();
    assert_eq!((video.codecs[0].id, video.codecs[0].extra.len()), (CodecId::H265, 4 + 23 + 4 + 44 + 4 + 8));
    let audio = read.medias[1].media().unwrap();
    assert_eq!(audio.codecs[0].to_string(), "MPEG4-GENERIC/16000");
    assert_eq!(audio.codecs[0].extra[..], [0x14, 0x08, 0x56, 0xE5, 0x00]);
    assert_eq!(read.attributes, [("tool".to_string(), "libavformat".to_string())]);
}

/// One camera with many faults: no origin, two names, a broken address, indented lines, a trailing
/// blank in rtpmap, the video's fmtp under the audio, no final line end.
#[test]
fn quirk_broken_descriptions_are_read() {
    let text = "v=0\r\ns=Media\r\ns=again\r\nc=garbage\r\n m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000 \r\na=fmtp:96\r\n\
        a=control:rtsp://10.0.0.1/track1\r\nm=audio 0 RTP/AVP 8\r\na=fmtp:96 sprop-parameter-sets=Z01AH+mA,aM48gA\r\n\
        m=application/TP-LINK 0 RTP/AVP smart/1/90000\r\na=control:trackID=3";
    let read = Description::parse(text).unwrap();
    assert_eq!(read.name, "Media");
    let video = read.medias[0].media().unwrap();
    assert_eq!(video.codecs[0].extra[..], nals(&[SPS, PPS]));
    assert_eq!(read.medias[1].media().unwrap().codecs[0], Codec::new(CodecId::Pcma));
    assert_eq!(read.medias[1].control, None);
    assert_eq!((read.medias[2].kind, read.medias[2].media()), (Some(Kind::Data), None));
}

/// Start codes and garbage inside sprop-parameter-sets.
#[test]
fn quirk_parameter_sets_with_start_codes() {
    let joined = [&[0, 0, 0, 1][..], SPS, &[0, 0, 0, 1], PPS, &[0, 0]].concat();
    let text = format!(
        "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets={}",
        base64_of(&joined)
    );
    let media = Description::parse(&text).unwrap().medias[0].media().unwrap();
    assert_eq!(media.codecs[0].extra[..], nals(&[SPS, PPS]));
    let bad = "m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets=$$$,;;=";
    assert!(Description::parse(bad).unwrap().medias[0].media().unwrap().codecs[0].extra.is_empty());
}

fn base64_of(bytes: &[u8]) -> String {
    crate::net::base64::encode(bytes)
}

/// FFmpeg's linear samples without rtpmap, Hikvision's PCM, Opus said to be mono, an origin that says
/// sendonly and means recvonly.
#[test]
fn quirk_sounds_and_directions() {
    let text = "o=CV-RTSPHandler 1 1 IN IP4 0.0.0.0\nm=audio 0 RTP/AVP 97\nb=AS:256\na=sendonly\n\
        m=audio 0 RTP/AVP 98\na=rtpmap:98 PCM/8000\nm=audio 0 RTP/AVP 99\na=rtpmap:99 OPUS/16000/1\na=inactive";
    let read = Description::parse(text).unwrap();
    let medias: Vec<_> = read.medias.iter().filter_map(MediaDescription::media).collect();
    assert_eq!(medias[0], Media::recv(Codec::audio(CodecId::Pcml, 16_000, 1)));
    assert_eq!(medias[1], Media::recv(Codec::audio(CodecId::Pcml, 8_000, 1)));
    assert_eq!(medias[2], Media::recv(Codec::new(CodecId::Opus)));
}

#[test]
fn bounds_hold_and_nothing_panics() {
    assert_eq!(Description::parse("v=0\r\n"), Err(SdpError::NoMedia));
    assert!(matches!(Description::parse(&"a".repeat(MAX_BYTES + 1)), Err(SdpError::TooLong(_))));
    let mut many = String::new();
    for _ in 0..500 {
        many.push_str("m=video 0 RTP/AVP 96 97\na=rtpmap:96 H264/90000\na=fmtp:96 a=b\na=x:y\n");
    }
    let read = Description::parse(&many).unwrap();
    assert!(
        read.medias.len() == MAX_MEDIAS && read.medias.iter().all(|m| m.attributes.len() <= MAX_ATTRIBUTES)
    );
    let good = one(with(CodecId::H264, nals(&[SPS, PPS])))
        + "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 mpeg4-generic/16000/1\r\na=fmtp:97 config=F8E85000;sizelength=13\r\na=x-dimensions:1,2\r\n";
    let mut random = Xorshift(11);
    for cut in 0..good.len() {
        let _ = Description::parse(&good[..cut])
            .map(|d| d.medias.iter().filter_map(MediaDescription::media).count());
    }
    for _ in 0..20_000 {
        let mut bad = good.clone().into_bytes();
        for _ in 0..4 {
            let at = random.below(bad.len());
            bad[at] = b" \r\n=:;,/a9m"[random.below(11)];
        }
        let bad = String::from_utf8(bad).unwrap();
        let _ = Description::parse(&bad).map(|d| d.medias.iter().filter_map(MediaDescription::media).count());
    }
}

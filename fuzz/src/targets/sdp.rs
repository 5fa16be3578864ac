//! What cameras say of themselves: bounded, and a codec that is understood can be written so that it
//! is understood again.

use std::net::{IpAddr, Ipv4Addr};
use streamd::net::sdp::emit::{Line, Session, emit};
use streamd::net::sdp::{Description, Format, MAX_ATTRIBUTES, MAX_FORMATS, MAX_MEDIAS};

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(description) = Description::parse(&text) else { return };
    assert!((1..=MAX_MEDIAS).contains(&description.medias.len()));
    assert!(description.attributes.len() <= MAX_ATTRIBUTES);
    for media in &description.medias {
        assert!(media.formats.len() <= MAX_FORMATS && media.attributes.len() <= MAX_ATTRIBUTES);
        let _ = media.media();
        for format in &media.formats {
            let _ = (format.au_format(), format.parameter("config"));
            let Some(codec) = format.codec() else { continue };
            let codecs = [(97, codec.clone())];
            let session = Session {
                id: 1,
                version: 1,
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                name: &description.name,
                range: "npt=now-",
            };
            let line = Line {
                codecs: &codecs,
                control: "trackID=0",
                flow: None,
                group: None,
                size: media.dimensions,
            };
            let written = emit(&session, &[line]);
            let again = Description::parse(&written).unwrap_or_else(|e| panic!("{e}: {written:?}"));
            let read = again.medias.first().and_then(|m| m.formats.first()).and_then(Format::codec);
            let read = read.unwrap_or_else(|| panic!("{codec:?} is lost in {written:?}"));
            assert_eq!(
                (read.id, read.rate, read.channels),
                (codec.id, codec.rate, codec.channels),
                "{written:?}"
            );
        }
    }
}

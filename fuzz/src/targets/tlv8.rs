//! HomeKit's TLV8: what was read can be written and is read again; the camera's messages are read whole
//! or not at all; and as a value of every characteristic that can be written: what is refused changes nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Instant;
use streamd::homekit::accessory::{Accessory, Caller, Camera, Viewer};
use streamd::homekit::camera::{
    Endpoints, NoEndpoint, Selected, Source, data_stream_request, is_recording_selection,
};
use streamd::homekit::crypto::Key;
use streamd::homekit::database::{Format, Shape, may};
use streamd::homekit::pairing::book::{Book, Identity, VERSION};
use streamd::homekit::tlv8::{LARGEST, MOST_ITEMS, Tlv, Writer, number};
use streamd::net::{base64, json};

/// A camera that does whatever it is told.
struct Willing;

impl Camera for Willing {
    fn live_setup(
        &mut self,
        _: Viewer,
        theirs: &Endpoints,
        _: IpAddr,
    ) -> Result<(Endpoints, [u32; 2]), NoEndpoint> {
        Ok((theirs.clone(), [1, 2]))
    }

    fn live_control(&mut self, _: Viewer, _: &Selected) -> bool {
        true
    }

    fn data_stream(&mut self, _: u32, _: &Key, _: &[u8; 32]) -> Result<(u16, Key), bool> {
        Ok((1, [0; 32]))
    }
}

/// Writes it to each, twice, as an admin does.
fn write_everywhere(data: &[u8]) {
    static BOOK: OnceLock<Book> = OnceLock::new();
    let book = BOOK.get_or_init(|| Book::new(Identity::random(&mut |bytes| bytes.fill(9))));
    let mut accessory = Accessory::new(super::hap::door(17, Shape::FULL), book.clone());
    let text = ["\"", &base64::encode(data), "\""].concat();
    let value = json::parse(text.as_bytes()).expect("a string");
    let all = || Shape::FULL.services().flat_map(|s| Shape::FULL.of(s));
    for c in all().chain(all()).filter(|c| c.may & may::WRITE != 0 && c.format == Format::Tlv8) {
        let caller = Caller {
            connection: 1,
            admin: true,
            shared: &[1; 32],
            local: IpAddr::V4(Ipv4Addr::LOCALHOST),
            timed: true,
            now: Instant::now(),
        };
        let before = accessory.read(c, 1);
        if accessory.write(c, &value, &caller, &mut Willing).is_err() {
            assert_eq!(accessory.read(c, 1), before, "what was refused is there");
        }
    }
    // whoever went takes all of it along
    accessory.connection_closed(1, &mut Willing);
    if let Some(source) = Source::parse(data) {
        accessory.see(source, &mut Willing);
        assert_eq!(accessory.source(), Some(source));
        assert_eq!(Source::parse(&source.bytes()), Some(source));
    }
}

pub fn run(data: &[u8]) {
    let Ok(tlv) = Tlv::parse(data) else { return };
    assert!(data.len() <= LARGEST && tlv.items().count() <= MOST_ITEMS);
    let items: Vec<_> = tlv.items().collect();
    let size: usize = items.iter().map(|(_, value)| value.len()).sum();
    assert!(size <= data.len());
    let mut out = Writer::new();
    for (kind, value) in &items {
        out = out.put(*kind, value);
        assert!(tlv.all(*kind).any(|v| v == *value));
        let _ = (number(value), tlv.nested(*kind));
    }
    // two of a type beside each other are one if the first is as long as a part may be
    let apart = items.windows(2).all(|w| w[0].0 != w[1].0 || w[0].1.len() % 255 != 0);
    if apart && items.iter().all(|(_, value)| value.is_empty() || value.len() % 255 != 0) {
        assert_eq!(Tlv::parse(&out.finish()).as_ref(), Ok(&tlv));
    }
    let _ = (Selected::parse(data), is_recording_selection(data), data_stream_request(data));
    write_everywhere(data);
    if let Some(endpoints) = Endpoints::parse(data) {
        assert_eq!(Endpoints::parse(&endpoints.answer(1, 2)), Some(endpoints));
    }
    if let Ok(book) = Book::decode(VERSION, data) {
        assert_eq!(Book::decode(VERSION, &book.encode()), Ok(book));
    }
}

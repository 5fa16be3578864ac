//! HomeKit's TLV8: what was read can be written and is read again; the camera's messages are read whole
//! or not at all.

use streamd::homekit::camera::{Endpoints, Selected, data_stream_request, is_recording_selection};
use streamd::homekit::pairing::book::{Book, VERSION};
use streamd::homekit::tlv8::{LARGEST, MOST_ITEMS, Tlv, Writer, number};

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
    if let Some(endpoints) = Endpoints::parse(data) {
        assert_eq!(Endpoints::parse(&endpoints.answer(1, 2)), Some(endpoints));
    }
    if let Ok(book) = Book::decode(VERSION, data) {
        assert_eq!(Book::decode(VERSION, &book.encode()), Ok(book));
    }
}

//! NAL units with start codes and with lengths: iterating, converting, cutting into access units.

use super::{Pieces, steer};
use streamd::media::annexb::{self, AccessUnits};
use streamd::media::nal::NalCodec;

fn split<'a>(codec: NalCodec, max: usize, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, u32) {
    let mut splitter = AccessUnits::new(codec, max);
    let mut units = vec![];
    for mut piece in pieces {
        while !piece.is_empty() {
            let n = splitter.push(piece);
            assert!(n > 0, "no room after everything was taken");
            piece = &piece[n..];
            while let Some(unit) = splitter.next_unit() {
                assert!(!unit.is_empty() && unit.len() <= max.max(64));
                units.push(unit.to_vec());
            }
        }
    }
    units.extend(splitter.finish().map(<[u8]>::to_vec));
    (units, splitter.dropped())
}

fn conversions(data: &[u8]) {
    let units: Vec<&[u8]> = annexb::nals(data).collect();
    assert!(units.iter().all(|u| u.last().is_some_and(|&b| b != 0) && annexb::find_start(u, 0).is_none()));
    let mut copied = vec![];
    annexb::to_lengths(data, &mut copied);
    assert_eq!(annexb::lengths(&copied).collect::<Vec<_>>(), units);
    let mut placed = data.to_vec();
    if annexb::to_lengths_in_place(&mut placed) {
        assert_eq!(placed, copied);
        assert!(annexb::from_lengths_in_place(&mut placed));
    }
    assert_eq!(placed, data);
    let mut back = vec![];
    assert!(annexb::from_lengths(&copied, &mut back));
    assert_eq!(annexb::nals(&back).collect::<Vec<_>>(), units);

    // The same bytes, taken for lengths.
    let mut copied = vec![];
    let whole = annexb::from_lengths(data, &mut copied);
    assert!(copied.len() <= data.len());
    let mut placed = data.to_vec();
    assert_eq!(annexb::from_lengths_in_place(&mut placed), whole);
    if whole {
        assert_eq!(annexb::nals(&placed).collect::<Vec<_>>(), annexb::nals(&copied).collect::<Vec<_>>());
    } else {
        assert_eq!(placed, data);
    }
    if let Some(at) = annexb::find_start(data, 0) {
        assert_eq!(&data[at..at + 3], [0, 0, 1]);
        assert!(!data[..at + 2].windows(3).any(|w| w == [0, 0, 1]));
    }
    let _ = annexb::detect(data);
}

/// See the module.
pub fn run(data: &[u8]) {
    let Some((seed, stream)) = steer(data) else { return };
    conversions(stream);
    for codec in [NalCodec::H264, NalCodec::H265] {
        let (units, dropped) = split(codec, stream.len() + 65, std::iter::once(stream));
        assert_eq!(dropped, 0);
        if annexb::find_start(stream, 0).is_some() {
            assert_eq!(units.concat(), stream, "nothing is lost");
        }
        assert_eq!(split(codec, stream.len() + 65, Pieces::new(stream, seed)).0, units);
        // With too little room something is dropped, but the same however it is cut.
        let max = 64 + usize::from(seed);
        let whole = split(codec, max, std::iter::once(stream));
        assert_eq!(split(codec, max, Pieces::new(stream, seed)), whole);
    }
}

//! AAC as a byte stream: the same frames whatever the chunks, and every byte accounted for.

use super::{Pieces, steer};
use streamd::container::adts::{Adts, Splitter};

fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<(Adts, Vec<u8>)>, u64) {
    let mut splitter = Splitter::new();
    let mut frames = vec![];
    for piece in pieces {
        splitter.push(piece, &mut |header, unit| frames.push((*header, unit.to_vec())));
    }
    splitter.finish(&mut |header, unit| frames.push((*header, unit.to_vec())));
    (frames, splitter.skipped())
}

/// See the module.
pub fn run(data: &[u8]) {
    let Some((seed, stream)) = steer(data) else { return };
    let (frames, skipped) = split(std::iter::once(stream));
    let mut bytes = skipped;
    for (header, unit) in &frames {
        assert_eq!(unit.len(), usize::from(header.frame_len) - usize::from(header.header_len));
        bytes += u64::from(header.frame_len);
        let plain = Adts::parse(&header.emit());
        let shorter = header.frame_len + 7 - u16::from(header.header_len);
        assert_eq!(plain, Ok(Adts { header_len: 7, frame_len: shorter, ..*header }));
        let _ = header.config();
    }
    assert_eq!(bytes, stream.len() as u64);
    assert!(split(Pieces::new(stream, seed)) == (frames, skipped));
}

//! WAV: the same header however the bytes arrive, in the room that is promised.

use super::{Pieces, steer};
use streamd::container::wav::{Error, Header, Reader};

/// Header and place of the samples, if they were reached.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Option<(Header, usize)>, Error> {
    let (mut reader, mut buf, mut used) = (Reader::default(), vec![], 0);
    for piece in pieces {
        buf.extend_from_slice(piece);
        let (n, header) = reader.read(&buf)?;
        assert!(n <= buf.len());
        used += n;
        buf.drain(..n);
        if let Some(header) = header {
            return Ok(Some((header, used)));
        }
        assert!(buf.len() < Reader::ROOM, "{} bytes have to be held", buf.len());
    }
    Ok(None)
}

/// See the module.
pub fn run(data: &[u8]) {
    let Some((seed, stream)) = steer(data) else { return };
    let whole = read(std::iter::once(stream));
    if let Ok(Some((header, _))) = whole {
        assert!(header.rate > 0 && header.channels > 0);
        let (bytes, len) = header.emit();
        if header.data != Some(0) {
            assert_eq!(read(std::iter::once(&bytes[..len])), Ok(Some((header, len))));
        }
    }
    assert_eq!(read(Pieces::new(stream, seed)), whole);
}

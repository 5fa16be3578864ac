//! AAC as a byte stream: each access unit behind its own header. The splitter takes chunks of any
//! size and gives whole access units; garbage in between is skipped and counted. Writing is
//! [`Adts::new`] and [`Adts::emit`], one header per access unit.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub use crate::media::aac::Adts;

/// The longest frame, and the next header behind it.
const ROOM: usize = Adts::MAX_FRAME + Adts::LEN;

/// Cuts a byte stream into access units. Holds one frame at most; allocates only when made.
pub struct Splitter {
    buf: Box<[u8]>,
    start: usize,
    end: usize,
    /// The header that the stream is known by; `None` until two fit one behind the other.
    locked: Option<Adts>,
    skipped: u64,
}

impl Default for Splitter {
    fn default() -> Splitter {
        Splitter::new()
    }
}

impl Splitter {
    /// Before the first byte.
    pub fn new() -> Splitter {
        Splitter { buf: vec![0; ROOM].into_boxed_slice(), start: 0, end: 0, locked: None, skipped: 0 }
    }

    /// Bytes that belonged to no frame so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes a chunk and calls `sink` with header and access unit for each frame that is complete.
    /// The first frame waits for the header of the next, to be sure.
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn FnMut(&Adts, &[u8])) {
        let mut rest = chunk;
        loop {
            if self.end == self.buf.len() || self.start == self.end {
                self.buf.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            let take = rest.len().min(self.buf.len() - self.end);
            let (now, later) = rest.split_at(take);
            if let Some(to) = self.buf.get_mut(self.end..self.end + take) {
                to.copy_from_slice(now);
                self.end += take;
            }
            rest = later;
            self.drain(false, sink);
            if rest.is_empty() {
                return;
            }
        }
    }

    /// The stream has ended: gives the last frame if it is whole, and begins anew.
    pub fn finish(&mut self, sink: &mut dyn FnMut(&Adts, &[u8])) {
        self.drain(true, sink);
        self.skipped += (self.end - self.start) as u64;
        (self.start, self.end, self.locked) = (0, 0, None);
    }

    /// Gives every frame that is whole. Afterwards less than one frame and a header is left.
    fn drain(&mut self, last: bool, sink: &mut dyn FnMut(&Adts, &[u8])) {
        while let Some(bytes) = self.buf.get(self.start..self.end) {
            if bytes.len() < Adts::LEN {
                return;
            }
            let Ok(header) = Adts::parse(bytes) else {
                // On to the next byte that may begin a header.
                let next = bytes.iter().skip(1).position(|&b| b == 0xff).map_or(bytes.len(), |n| n + 1);
                self.skip(next);
                continue;
            };
            let known = self.locked.is_some_and(|l| l.same_stream(&header));
            let len = usize::from(header.frame_len);
            if !known {
                match bytes.get(len..len + Adts::LEN).map(Adts::parse) {
                    Some(Ok(next)) if next.same_stream(&header) => {}
                    Some(_) => {
                        self.skip(1);
                        continue;
                    }
                    None if last && bytes.len() == len => {}
                    None if last => {
                        self.skip(1);
                        continue;
                    }
                    None => return,
                }
            }
            let Some(unit) = bytes.get(usize::from(header.header_len)..len) else {
                if last {
                    // The frame will not come; there may be whole ones within what it claimed.
                    self.skip(1);
                    continue;
                }
                return;
            };
            // Several blocks in one frame cannot be told apart; nothing in this field makes them.
            if header.blocks == 1 && !unit.is_empty() {
                sink(&header, unit);
            } else {
                self.skipped += len as u64;
            }
            self.locked = Some(header);
            self.start += len;
        }
    }

    fn skip(&mut self, n: usize) {
        self.locked = None;
        self.skipped += n as u64;
        self.start += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::aac::AudioConfig;
    use crate::media::testing::Rng;

    fn stream(units: &[Vec<u8>]) -> Vec<u8> {
        let config = AudioConfig::lc(16000, 1);
        units.iter().flat_map(|u| [&Adts::new(&config, u.len()).unwrap().emit()[..], u].concat()).collect()
    }

    fn units(n: usize, seed: u64) -> Vec<Vec<u8>> {
        let mut rng = Rng::new(seed);
        (0..n)
            .map(|_| {
                let most = if rng.below(9) == 0 { 8184 } else { 400 };
                let mut unit = vec![0; 1 + rng.below(most)];
                // Without sync words of their own.
                rng.fill(&mut unit);
                unit.iter_mut().for_each(|b| *b &= 0x7f);
                unit
            })
            .collect()
    }

    fn split(bytes: &[u8], chunk: usize) -> (Vec<Vec<u8>>, u64) {
        let mut splitter = Splitter::new();
        let mut got = vec![];
        for chunk in bytes.chunks(chunk) {
            splitter.push(chunk, &mut |h, unit| {
                assert_eq!(h.rate, 16000);
                got.push(unit.to_vec());
            });
        }
        splitter.finish(&mut |_, unit| got.push(unit.to_vec()));
        (got, splitter.skipped())
    }

    #[test]
    fn every_access_unit_comes_out_whatever_the_chunks() {
        let units = units(100, 1);
        let bytes = stream(&units);
        for chunk in [1, 7, 100, 4096, 100_000] {
            assert!(split(&bytes, chunk) == (units.clone(), 0), "{chunk}");
        }
    }

    #[test]
    fn garbage_is_skipped_and_only_garbage() {
        let units = units(20, 2);
        let mut bytes = vec![0xff, 0xf1, 0xff, 0xff, 1, 2, 3];
        bytes.extend(stream(&units[..10]));
        // A whole header, but of another stream.
        bytes.extend([0x00, 0xff, 0xf1, 0x50, 0x40, 0x01, 0x3f, 0xfc, 9, 9]);
        bytes.extend(stream(&units[10..]));
        for chunk in [1, 50, 100_000] {
            let (got, skipped) = split(&bytes, chunk);
            assert!(got == units);
            assert_eq!(skipped, 17);
        }
    }

    #[test]
    fn an_access_unit_is_given_as_soon_as_it_is_whole() {
        let units = units(3, 5);
        let bytes = stream(&units);
        let second = 2 * Adts::LEN + units[0].len() + units[1].len();
        let mut splitter = Splitter::new();
        let mut n = 0;
        splitter.push(&bytes[..second - 1], &mut |_, _| n += 1);
        assert_eq!(n, 1);
        splitter.push(&bytes[second - 1..second], &mut |_, _| n += 1);
        assert_eq!(n, 2);
    }

    #[test]
    fn a_stream_cut_short_loses_its_last_frame_only() {
        let units = units(5, 3);
        let bytes = stream(&units);
        let (got, _) = split(&bytes[..bytes.len() - 1], 1000);
        assert!(got == units[..4]);
    }

    #[test]
    fn damaged_streams_never_panic_and_recover() {
        let units = units(50, 4);
        let bytes = stream(&units);
        let mut rng = Rng::new(7);
        for _ in 0..300 {
            let mut broken = bytes.clone();
            for _ in 0..10 {
                let at = rng.below(broken.len() / 2);
                broken[at] = if rng.below(2) == 0 { 0xff } else { rng.next() as u8 };
            }
            let (got, _) = split(&broken, 1 + rng.below(3000));
            assert!(got.last() == units.last());
        }
    }
}

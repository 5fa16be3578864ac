//! H.264 (RFC 6184, packetization-mode 1) and H.265 (RFC 7798): a NAL unit that fits is a packet of
//! its own, a longer one goes in fragmentation units. Parameter sets are packets of their own before
//! each key frame, because old recorders do not read aggregates.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{PayError, Run, Source};

const FU_A: u8 = 28;
const FU_265: u8 = 49;
const START: u8 = 0x80;
const END: u8 = 0x40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    H264,
    H265,
}

/// Delimiters and filler cost packets and say nothing.
fn is_idle(flavour: Flavour, first: u8) -> bool {
    match flavour {
        Flavour::H264 => matches!(first & 0x1F, 9 | 12),
        Flavour::H265 => matches!(first >> 1 & 0x3F, 35 | 38),
    }
}

/// Walks length-prefixed NAL units as (offset, bytes).
struct Nals<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Nals<'a> {
    type Item = Result<(usize, &'a [u8]), PayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = self.rest.split_first_chunk::<4>().and_then(|(len, rest)| {
            let len = u32::from_be_bytes(*len) as usize;
            if len == 0 { None } else { rest.split_at_checked(len) }
        });
        let Some((nal, rest)) = split else {
            self.rest = &[];
            return Some(Err(PayError::NalLength));
        };
        let offset = self.at + 4;
        (self.rest, self.at) = (rest, offset + nal.len());
        Some(Ok((offset, nal)))
    }
}

pub(super) fn packetize(run: &mut Run, flavour: Flavour, frame: &[u8], extra: &[u8]) -> Result<(), PayError> {
    let sets = Nals { rest: extra, at: 0 }.map(|nal| (Source::Extra, nal));
    let units = Nals { rest: frame, at: 0 }.map(|nal| (Source::Frame, nal));
    // One behind, so that the last NAL unit that is sent is known when it is its turn.
    let mut held = None;
    for (source, nal) in sets.chain(units) {
        let (offset, nal) = nal?;
        if nal.first().is_some_and(|&first| is_idle(flavour, first)) {
            continue;
        }
        if let Some((source, offset, nal)) = held.replace((source, offset, nal)) {
            one(run, flavour, source, offset, nal, false);
        }
    }
    if let Some((source, offset, nal)) = held {
        one(run, flavour, source, offset, nal, true);
    }
    Ok(())
}

fn one(run: &mut Run, flavour: Flavour, source: Source, offset: usize, nal: &[u8], last: bool) {
    if nal.len() <= run.room(0) {
        run.push(&[], source, offset, nal.len(), last);
        return;
    }
    // A fragmented NAL unit leaves its header behind; the fragments carry it in theirs.
    let (mut head, head_len, skip) = match (flavour, nal) {
        (Flavour::H264, [first, ..]) => ([first & 0xE0 | FU_A, first & 0x1F, 0], 2, 1),
        (Flavour::H265, [first, second, ..]) => {
            ([first & 0x81 | FU_265 << 1, *second, first >> 1 & 0x3F], 3, 2)
        }
        _ => return,
    };
    let room = run.room(head_len).max(1);
    let (mut at, end) = (offset + skip, offset + nal.len());
    let mut flags = START;
    while at < end {
        let len = room.min(end - at);
        if at + len == end {
            flags |= END;
        }
        if let Some(fu) = head.get_mut(head_len - 1) {
            *fu = *fu & 0x3F | flags;
        }
        run.push(head.get(..head_len).unwrap_or(&[]), source, at, len, last && flags & END != 0);
        flags = 0;
        at += len;
    }
}

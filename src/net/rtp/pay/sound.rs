//! Sound, and ONVIF documents, which are cut just as simply.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{PayError, Run, Source};

/// RFC 3640's size field in AAC-hbr has 13 bits.
pub(super) const AAC_AU_MAX: usize = (1 << 13) - 1;
/// Samples are kept to packets that small speakers and recorders take (Reolink's back channel,
/// Scrypted): 40 ms or 1024 bytes, whatever is less.
const SAMPLES_MAX: usize = 1024;
const SAMPLES_PER_SECOND_PARTS: usize = 25;

/// RFC 3640 AAC-hbr: one access unit a packet behind one AU header of 13 + 3 bits; a unit that is too
/// long is cut, each fragment with the size of the whole.
pub(super) fn aac(run: &mut Run, frame: &[u8]) -> Result<(), PayError> {
    if frame.len() > AAC_AU_MAX {
        return Err(PayError::TooLong { have: frame.len(), limit: AAC_AU_MAX });
    }
    let [high, low] = ((frame.len() as u16) << 3).to_be_bytes();
    let head = [0, 16, high, low];
    cut(run, frame.len(), |_| (head, head.len()));
    Ok(())
}

/// Opus: a packet is a packet, it cannot be cut.
pub(super) fn whole(run: &mut Run, frame: &[u8]) -> Result<(), PayError> {
    let limit = run.room(0);
    if frame.len() > limit {
        return Err(PayError::TooLong { have: frame.len(), limit });
    }
    if !frame.is_empty() {
        run.push(&[], Source::Frame, 0, frame.len(), true);
    }
    Ok(())
}

/// G.711, G.722 and linear samples: equal packets, each with its own time. Returns the ticks from the
/// first packet to the last.
pub(super) fn samples(run: &mut Run, frame: &[u8], size: usize, rate: u32) -> Result<u64, PayError> {
    let size = size.max(1);
    let span = (rate as usize / SAMPLES_PER_SECOND_PARTS).saturating_mul(size);
    let most = (run.room(0).min(SAMPLES_MAX).min(span.max(size)) / size).max(1);
    let total = frame.len() / size;
    let packets = total.div_ceil(most);
    if packets == 0 {
        return Ok(0);
    }
    let each = total.div_ceil(packets);
    let mut at = 0;
    let mut last = 0;
    while at < total {
        let count = each.min(total - at);
        run.push(&[], Source::Frame, at * size, count * size, true);
        run.header.timestamp = run.header.timestamp.wrapping_add(count as u32);
        last = at as u64;
        at += count;
    }
    Ok(last)
}

/// RFC 2250 §3.5: four bytes, of which the last two are the offset of this fragment in the frame.
pub(super) fn mpa(run: &mut Run, frame: &[u8]) -> Result<(), PayError> {
    let limit = usize::from(u16::MAX);
    if frame.len() > limit {
        return Err(PayError::TooLong { have: frame.len(), limit });
    }
    cut(run, frame.len(), |at| {
        let [high, low] = (at as u16).to_be_bytes();
        ([0, 0, high, low], 4)
    });
    Ok(())
}

/// ONVIF metadata: the document cut at the packet size, marker on the last.
pub(super) fn document(run: &mut Run, frame: &[u8]) -> Result<(), PayError> {
    cut(run, frame.len(), |_| ([0; 4], 0));
    Ok(())
}

fn cut(run: &mut Run, total: usize, head: impl Fn(usize) -> ([u8; 4], usize)) {
    let mut at = 0;
    while at < total {
        let (bytes, head_len) = head(at);
        let len = run.room(head_len).max(1).min(total - at);
        run.push(bytes.get(..head_len).unwrap_or(&[]), Source::Frame, at, len, at + len == total);
        at += len;
    }
}

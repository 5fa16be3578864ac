//! Keeps the program within `memory.limit`: once a second it looks at what the system counts, and says
//! how much each track may hold. Tracks without a prebuffer shrink first, prebuffers last; when nothing
//! is left to shrink, new viewers are refused. Frames and viewers are not looked at here.

use super::program::Program;
use crate::net::reactor::Timer;
use crate::stream::Track;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Between looks.
const PERIOD: Duration = Duration::from_secs(1);
/// A track is not made smaller than this.
const LEAST: usize = 64 << 10;
/// A part of the limit stays free, for what comes between two looks.
const SPARE: usize = 16;

/// What one track holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Bytes that it has touched.
    span: usize,
    /// It keeps a prebuffer.
    promised: bool,
}

/// How much each track may hold from now on, and whether memory is short all the same.
fn share(limit: usize, total: usize, tracks: &[Held]) -> (Vec<usize>, bool) {
    let media: usize = tracks.iter().map(|t| t.span).sum();
    let others = total.saturating_sub(media);
    let room = (limit - limit / SPARE).saturating_sub(others);
    if media <= room {
        // together they cannot grow beyond it before the next look
        let free = (room - media) / tracks.len().max(1);
        let caps = tracks.iter().map(|t| (t.span + free).max(LEAST));
        return (caps.collect(), room < LEAST * tracks.len());
    }
    let mut over = media - room;
    let mut caps: Vec<usize> = tracks.iter().map(|t| t.span.max(LEAST)).collect();
    for promised in [false, true] {
        let of = || tracks.iter().enumerate().filter(|(_, t)| t.promised == promised);
        let spare: usize = of().map(|(_, t)| t.span.saturating_sub(LEAST)).sum();
        let cut = over.min(spare);
        for (at, track) in of() {
            // each gives in proportion to what it has beyond the least; u64: a GiB squared
            let own = track.span.saturating_sub(LEAST) as u64;
            let gives = (cut as u64 * own).div_ceil(spare.max(1) as u64) as usize;
            if let Some(cap) = caps.get_mut(at) {
                *cap = cap.saturating_sub(gives).max(LEAST);
            }
        }
        over -= cut;
    }
    (caps, over > 0)
}

/// Looks and says, as long as the program runs.
pub async fn govern(program: Weak<Program>, limit: usize) {
    let mut was = (false, false);
    loop {
        let Some(held) = program.upgrade() else { return };
        let tracks = held.hall.tracks();
        let spans: Vec<Held> = tracks.iter().map(look).collect();
        let total = super::api::process().0 as usize;
        let (caps, short) = share(limit, total, &spans);
        let mut shrunk = false;
        for (track, cap) in tracks.iter().zip(caps) {
            shrunk |= cap < track.ring().span();
            track.set_cap(cap);
        }
        held.hall.set_short(short);
        if shrunk && !was.0 {
            log::warn!(
                target: "app",
                "memory.limit: {} KB of {} are used: tracks hold less from now on, prebuffers last",
                total >> 10,
                limit >> 10
            );
        }
        if short != was.1 {
            match short {
                true => log::warn!(
                    target: "app",
                    "memory.limit: {} KB of {} are used and no track can be smaller: new viewers are refused",
                    total >> 10,
                    limit >> 10
                ),
                false => log::info!(target: "app", "memory.limit: there is room for viewers again"),
            }
        }
        was = (was.0 || shrunk, short);
        let idle = tracks.is_empty();
        drop((tracks, held));
        // nothing runs: nothing grows
        Timer::after(if idle { 5 * PERIOD } else { PERIOD }).await;
    }
}

fn look(track: &Rc<Track>) -> Held {
    let ring = track.ring();
    Held { span: ring.span(), promised: !ring.keep().is_zero() && track.has_key_frames() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    fn held(span: usize, promised: bool) -> Held {
        Held { span, promised }
    }

    #[test]
    fn prebuffers_shrink_last_and_together_they_stay_below_the_limit() {
        let tracks = [held(2 * MB, true), held(2 * MB, false), held(MB / 4, false)];
        let total = 2 * MB + 17 * MB / 4;
        // as much as there is: they may grow, but not beyond
        let (caps, short) = share(16 * MB, total, &tracks);
        assert!(!short && caps.iter().zip(&tracks).all(|(c, t)| *c >= t.span));
        assert!(caps.iter().sum::<usize>() + 2 * MB <= 15 * MB);
        // a little too much: who keeps a prebuffer keeps it
        let (caps, short) = share(6 * MB, total, &tracks);
        assert!(!short && caps[0] == 2 * MB && caps[1] < 2 * MB, "{caps:?}");
        assert!(caps.iter().sum::<usize>() + 2 * MB <= 6 * MB);
        // far too much: that one too
        let (caps, short) = share(4 * MB, total, &tracks);
        assert!(!short && caps[0] < 2 * MB && caps[1] == LEAST && caps[2] == LEAST, "{caps:?}");
        assert!(caps.iter().sum::<usize>() + 2 * MB <= 4 * MB);
        // more than can be done
        let (caps, short) = share(2 * MB, total, &tracks);
        assert!(short && caps.iter().all(|&c| c == LEAST));
    }

    #[test]
    fn nothing_held_is_nothing_to_share() {
        assert_eq!(share(8 * MB, 2 * MB, &[]), (vec![], false));
        assert!(!share(MB, 2 * MB, &[]).1, "without media nobody watches");
    }
}

//! Keeps the program within `memory.limit`: once a second it looks at what the system counts, and says
//! how much tracks may take until the next look. Tracks without a prebuffer shrink first, prebuffers
//! last; when nothing is left to shrink, new viewers are refused. Frames and viewers are not looked at
//! here.

use crate::net::log;
use crate::net::process;
use crate::net::reactor::Timer;
use crate::stream::{Hall, STEP, Track};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Between looks.
const PERIOD: Duration = Duration::from_secs(1);
/// A track is not made smaller than this.
const LEAST: usize = STEP;
/// A part of the limit stays free, for what comes between two looks; half of it may be used before
/// tracks shrink.
const SPARE: usize = 16;

/// What one track holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Bytes that it takes.
    span: usize,
    /// Bytes more that it could not have.
    lacks: usize,
    /// It keeps a prebuffer.
    promised: bool,
}

/// What is to be from now on.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    /// How much each track may hold.
    caps: Vec<usize>,
    /// How much they may take together.
    room: usize,
    /// Memory is short all the same.
    short: bool,
}

fn share(limit: usize, total: usize, tracks: &[Held]) -> Share {
    let media: usize = tracks.iter().map(|t| t.span).sum();
    let others = total.saturating_sub(media);
    let room = (limit - limit / SPARE).saturating_sub(others);
    let equal = room / tracks.len().max(1);
    // who has less than an equal part is given of what others have
    let wish = |t: &Held| if t.span < equal { (t.span + t.lacks).min(equal) } else { t.span }.max(LEAST);
    let wishes: usize = tracks.iter().map(wish).sum();
    let starving = wishes > media.max(room) && tracks.iter().any(|t| t.span < equal && t.lacks > 0);
    if total <= limit - limit / SPARE / 2 && !starving {
        return Share {
            caps: vec![usize::MAX; tracks.len()],
            room: room.saturating_sub(media),
            short: false,
        };
    }
    let mut over = wishes.saturating_sub(room);
    let mut caps: Vec<usize> = tracks.iter().map(wish).collect();
    for promised in [false, true] {
        let spare = |cap: usize, t: &Held| if t.promised == promised { cap - LEAST } else { 0 };
        let all: usize = caps.iter().zip(tracks).map(|(&cap, t)| spare(cap, t)).sum();
        let cut = over.min(all);
        for (cap, track) in caps.iter_mut().zip(tracks) {
            // each gives in proportion to what it has beyond the least; u64: a GiB squared
            let gives = (cut as u64 * spare(*cap, track) as u64).div_ceil(all.max(1) as u64) as usize;
            *cap = cap.saturating_sub(gives).max(LEAST);
        }
        over -= cut;
    }
    let room = caps.iter().zip(tracks).map(|(cap, t)| cap.saturating_sub(t.span)).sum();
    Share { caps, room, short: over > 0 }
}

/// Looks and says, as long as there are streams.
pub async fn govern(hall: Weak<Hall>, limit: usize) {
    let mut was = (false, false);
    loop {
        let Some(hall) = hall.upgrade() else { return };
        let tracks = hall.tracks();
        let spans: Vec<Held> = tracks.iter().map(look).collect();
        let total = process::usage().0 as usize;
        let Share { caps, room, short } = share(limit, total, &spans);
        let mut shrunk = spans.iter().any(|t| t.lacks > 0);
        for (track, cap) in tracks.iter().zip(caps) {
            shrunk |= cap < track.ring().span();
            track.set_cap(cap);
        }
        hall.set_room(room);
        hall.set_short(short);
        if shrunk && !was.0 {
            log::warn!(
                target: "app",
                "memory.limit: {} KB of {} are used: tracks hold less than they would, prebuffers shrink last",
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
        drop((tracks, hall));
        // nothing runs: nothing grows
        Timer::after(if idle { 5 * PERIOD } else { PERIOD }).await;
    }
}

fn look(track: &Rc<Track>) -> Held {
    let ring = track.ring();
    Held {
        span: ring.span(),
        lacks: ring.denied(),
        promised: !ring.keep().is_zero() && track.has_key_frames(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    fn held(span: usize, promised: bool) -> Held {
        Held { span, lacks: 0, promised }
    }

    #[test]
    fn prebuffers_shrink_last_and_together_they_stay_below_the_limit() {
        let tracks = [held(2 * MB, true), held(2 * MB, false), held(MB / 4, false)];
        let total = 2 * MB + 17 * MB / 4;
        // as much as there is: they may grow, but not beyond
        let now = share(16 * MB, total, &tracks);
        assert!(!now.short && now.caps.iter().zip(&tracks).all(|(c, t)| *c >= t.span));
        assert!(now.room + total <= 15 * MB && now.room > 8 * MB);
        // a little too much: who keeps a prebuffer keeps it
        let now = share(6 * MB, total, &tracks);
        assert!(!now.short && now.caps[0] == 2 * MB && now.caps[1] < 2 * MB, "{now:?}");
        assert!(now.caps.iter().sum::<usize>() + 2 * MB <= 6 * MB);
        // far too much: that one too
        let now = share(4 * MB, total, &tracks);
        assert!(!now.short && now.caps[0] < 2 * MB && now.caps[1..] == [LEAST; 2], "{now:?}");
        assert!(now.caps.iter().sum::<usize>() + 2 * MB <= 4 * MB);
        // more than can be done
        let now = share(2 * MB, total, &tracks);
        assert_eq!(now, Share { caps: vec![LEAST; 3], room: 0, short: true });
    }

    #[test]
    fn who_came_last_gets_a_part_of_what_the_first_has() {
        let mut tracks = [held(6 * MB, false), held(LEAST, true)];
        // all is taken, and nobody lacks anything: nothing changes
        let now = share(8 * MB, 15 * MB / 2, &tracks);
        assert_eq!((now.caps[0], now.short), (usize::MAX, false));
        tracks[1].lacks = MB;
        let now = share(8 * MB, 15 * MB / 2, &tracks);
        assert!(!now.short && now.caps[0] < 6 * MB && now.caps[1] == LEAST + MB, "{now:?}");
        assert_eq!(now.room, MB);
        // the first does not take it back
        let tracks = [Held { lacks: MB, ..held(now.caps[0], false) }, held(now.caps[1], true)];
        assert_eq!(share(8 * MB, 15 * MB / 2, &tracks).caps, [usize::MAX; 2]);
    }

    #[test]
    fn nothing_held_is_nothing_to_share() {
        let now = share(8 * MB, 2 * MB, &[]);
        assert_eq!((now.short, now.room), (false, 11 * MB / 2));
        assert!(!share(MB, 2 * MB, &[]).short, "without media nobody watches");
    }
}

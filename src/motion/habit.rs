//! What an encoder does of itself: behind each key frame it repairs what that left blurred, bytes fall from
//! picture to picture, and frames that nobody refers to are smaller. It does so again with each group of
//! pictures, so the level of a still picture is learned for each place behind a key frame.
//!
//! A place learns at once from less and slowly from more, and slower still while something moves: what
//! moves makes more, never less.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

/// Places behind a key frame: the first pictures each, then quarters of an octave of their number.
const PLACES: usize = 32;
/// Pictures that have a place of their own.
const SINGLE: u32 = 8;
/// The first picture of the last place.
const LAST: u32 = 448;
/// No place.
const NONE: usize = PLACES;
/// Pictures that are counted at one place.
const MOST: i32 = 1000;
/// Groups in which a place soon behind a key frame must have been before it is judged.
const PROVEN: u8 = 2;
/// A place learns so many 256ths: the second time, then from less, from more, and from more while something
/// moves.
const SECOND: i32 = 213;
const LESS: i32 = 108;
const MORE: i32 = 78;
const MOVING: i32 = 24;
/// Of what is known of a place before it was seen, against the first time: so many 256ths are not believed.
const FIRST: i32 = 101;
/// Something moved at a place if so many 256ths of its pictures say so.
const MOVED: i32 = 57;

/// How far pictures of a class are from those that others refer to; in 16ths.
#[derive(Clone, Copy, Default)]
struct Offset {
    seen: u8,
    level: i16,
}

/// The level of a still picture at one place; in 16ths.
#[derive(Clone, Copy, Default)]
struct Place {
    seen: u8,
    level: i32,
}

/// The place at which pictures are now, and the picture at which the next one begins.
#[derive(Clone, Copy)]
struct Here {
    place: usize,
    until: u32,
    sum: i32,
    count: i32,
    moved: i32,
}

const NOWHERE: Here = Here { place: NONE, until: 0, sum: 0, count: 0, moved: 0 };

/// See the module.
pub(super) struct Habit {
    classes: [Offset; 4],
    places: [Place; PLACES],
    here: Here,
    /// The level of a still picture here.
    pub(super) expected: i32,
    /// It is not known well enough here.
    pub(super) blind: bool,
}

impl Habit {
    pub(super) fn new() -> Habit {
        Habit {
            classes: Default::default(),
            places: [Place::default(); PLACES],
            here: NOWHERE,
            expected: 0,
            blind: true,
        }
    }

    /// How far pictures of a class are off.
    pub(super) fn class(&self, class: usize) -> i32 {
        match class {
            // as it is most of the time
            0 => 0,
            _ => self.classes.get(class).map_or(0, |c| i32::from(c.level) >> 4),
        }
    }

    /// A picture of a class other than the first was so far off: the first times count more.
    pub(super) fn learn_class(&mut self, class: usize, off: i32) {
        if let Some(c) = self.classes.get_mut(class) {
            c.seen = c.seen.saturating_add(1).min(64);
            c.level = (i32::from(c.level) + off * 16 / i32::from(c.seen)).clamp(-32000, 32000) as i16;
        }
    }

    /// The nth picture behind a key frame has this level; `early` ones repair it. Goes to its place, and
    /// learns from the one that is left: `believes` says whether motion there is believed.
    pub(super) fn go(&mut self, n: u32, level: i32, early: bool, believes: bool) {
        self.leave(believes);
        let place = place_of(n);
        self.here = Here { place, until: end_of(n), ..NOWHERE };
        let own = self.places.get(place).copied().unwrap_or_default();
        if own.seen > 0 {
            self.expected = own.level >> 4;
            self.blind = early && own.seen < PROVEN;
        } else {
            // bytes fall on the way to the next key frame: what was before is the most there can be
            self.blind = early;
            if early {
                self.expected = level;
            }
        }
    }

    /// Whether the nth picture is at another place than the one before.
    pub(super) fn moves_on(&self, n: u32) -> bool {
        n >= self.here.until
    }

    /// Counts a picture here.
    pub(super) fn count(&mut self, level: i32) {
        if self.here.count < MOST {
            self.here.sum += level;
            self.here.count += 1;
        }
    }

    /// Something moved in the picture just counted.
    pub(super) fn moved(&mut self) {
        self.here.moved += 1;
    }

    /// A key frame, or a hole: the next picture is at another place.
    pub(super) fn leave(&mut self, believes: bool) {
        let Here { place, sum, count, moved, .. } = std::mem::replace(&mut self.here, NOWHERE);
        let Some(own) = self.places.get_mut(place).filter(|_| count > 0) else { return };
        let level = (sum / count) << 4;
        let moved = believes && moved << 8 > count * MOVED;
        if own.seen == 0 {
            let expected = self.expected << 4;
            own.level = match self.blind || level < expected {
                true => level,
                false => expected + (((level - expected) * FIRST) >> 8),
            };
            // and so it goes on
            self.expected = own.level >> 4;
        } else {
            let off = level - own.level;
            let share = match (off < 0, moved) {
                (false, true) => MOVING,
                _ if own.seen == 1 => SECOND,
                (true, _) => LESS,
                (false, false) => MORE,
            };
            own.level += (off * share) >> 8;
        }
        own.seen = own.seen.saturating_add(1);
    }
}

/// Where the nth picture behind a key frame stands: what an encoder does there fades away.
fn place_of(n: u32) -> usize {
    if n < SINGLE {
        return n as usize;
    }
    let log = 31 - n.leading_zeros();
    ((4 * log - 4 + (n >> (log - 2) & 3)) as usize).min(PLACES - 1)
}

/// The first picture behind that place; the last place has no end.
fn end_of(n: u32) -> u32 {
    if n < SINGLE {
        return n + 1;
    }
    let part = 29 - n.leading_zeros();
    if n >= LAST { u32::MAX } else { ((n >> part) + 1) << part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_without_a_hole() {
        assert!((0..8).all(|n| place_of(n) == n as usize));
        assert_eq!([8, 9, 10, 15, 16, 19, 20, 31, 32].map(place_of), [8, 8, 9, 11, 12, 12, 13, 15, 16]);
        assert!((0..5000).all(|n| place_of(n + 1) - place_of(n) <= 1));
        assert_eq!(place_of(u32::MAX), PLACES - 1);
        let ends = (1..5000).all(|n| (place_of(n + 1) > place_of(n)) == (n + 1 == end_of(n)));
        assert!(ends && end_of(u32::MAX) == u32::MAX);
    }

    /// A group of ten pictures, whose levels fall.
    fn group(habit: &mut Habit, more: i32, moved: bool) {
        for n in 1..10 {
            let level = 3000 - n as i32 * 100 + more;
            habit.go(n, level, n < 3, true);
            habit.count(level);
            if moved {
                habit.moved();
            }
        }
        habit.leave(true);
    }

    fn expected(habit: &mut Habit, n: u32) -> i32 {
        habit.go(n, 0, false, true);
        let expected = habit.expected;
        habit.leave(true);
        expected
    }

    /// Or each key frame would look like somebody who walks in.
    #[test]
    fn what_comes_again_with_each_group_is_learned() {
        let mut habit = Habit::new();
        for _ in 0..3 {
            group(&mut habit, 0, false);
        }
        assert_eq!([1, 5, 7].map(|n| expected(&mut habit, n)), [2900, 2500, 2300]);
    }

    /// Somebody who stays for a while must not become the camera's habit, and what was learned from him
    /// when it began goes at once.
    #[test]
    fn less_is_learned_at_once_and_more_slowly_while_something_moves() {
        let (mut still, mut moving) = (Habit::new(), Habit::new());
        for habit in [&mut still, &mut moving] {
            group(habit, 0, false);
            group(habit, 0, false);
        }
        group(&mut still, 400, false);
        group(&mut moving, 400, true);
        let (still, moving) = (expected(&mut still, 5), expected(&mut moving, 5));
        assert!((2501..2600).contains(&moving) && (moving + 20..2700).contains(&still), "{moving} {still}");
        let mut begun = Habit::new();
        group(&mut begun, 400, true);
        group(&mut begun, 0, false);
        group(&mut begun, 0, false);
        assert!((2500..2630).contains(&expected(&mut begun, 5)));
    }

    #[test]
    fn the_first_pictures_behind_a_key_frame_are_judged_when_two_groups_were_seen() {
        let mut habit = Habit::new();
        let blind = |habit: &mut Habit| {
            habit.go(1, 2900, true, true);
            let blind = habit.blind;
            group(habit, 0, false);
            blind
        };
        assert_eq!([(); 4].map(|()| blind(&mut habit)), [true, true, false, false]);
    }

    #[test]
    fn frames_that_nobody_refers_to_are_smaller_and_that_is_learned() {
        let mut habit = Habit::new();
        for _ in 0..100 {
            let off = -300 - habit.class(3);
            habit.learn_class(3, off);
        }
        assert!((-301..-298).contains(&habit.class(3)));
        assert_eq!((habit.class(0), habit.class(17)), (0, 0));
    }
}

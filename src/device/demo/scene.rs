//! What the demo camera sees: colour bars, a clock, a line with name, size and frame number, and a
//! room in which a person walks by; at the bottom a bar for what is being played to the speaker.
//! Everything is a function of the cell and of the moment; only what changed is painted again.

use super::digits;
use super::figure::Figure;
use super::options::{Motion, Options};
use super::picture::{Area, Colour, Picture};
use crate::media::Time;

/// The moment that a frame shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// The frame's number since the start.
    pub number: u64,
    /// When it was taken.
    pub capture: Time,
    /// The same on the wall's clock: nanoseconds since 1970.
    pub unix: u64,
    /// Seconds that local time is ahead of UTC.
    pub zone: i32,
    /// What is played to the speaker, 0 to 32767.
    pub level: u16,
}

const SECOND: u64 = 1_000_000_000;
/// How often the figure comes.
const ROUND: u64 = 20 * SECOND;
/// How long it walks.
const WALK: u64 = 6 * SECOND;

/// How far the figure is on its way (in nanoseconds of [`WALK`]), and how often it has come before.
fn walk(motion: Motion, at: Time) -> Option<(u64, u64)> {
    let round = match motion {
        Motion::None => return None,
        Motion::Walk => ROUND,
        Motion::Always => WALK,
    };
    let (since, count) = (at.nanos() % round, at.nanos() / round);
    (since < WALK).then_some((since, count))
}

/// Whether the figure is in the picture of that moment: what a motion detector should say.
pub fn walking(motion: Motion, at: Time) -> bool {
    walk(motion, at).is_some()
}

/// 75 % colour bars.
const BARS: [Colour; 8] = [
    Colour::new(180, 128, 128),
    Colour::new(162, 44, 142),
    Colour::new(132, 156, 44),
    Colour::new(112, 72, 58),
    Colour::new(84, 184, 198),
    Colour::new(66, 100, 212),
    Colour::new(36, 212, 114),
    Colour::new(20, 128, 128),
];
const PANEL: Colour = Colour::new(30, 132, 126);
const INK: Colour = Colour::new(228, 132, 126);
const SOFT_INK: Colour = Colour::new(150, 132, 126);
const WALL: Colour = Colour::new(156, 124, 126);
const FLOOR: Colour = Colour::new(96, 116, 138);
const SKIRTING: Colour = Colour::new(70, 118, 136);
const METER_OFF: Colour = Colour::new(46, 128, 128);
const METER_ON: Colour = Colour::new(158, 72, 78);
const METER_LOUD: Colour = Colour::new(132, 78, 196);

/// A line of text.
#[derive(Clone, Copy, Default)]
struct Line {
    area: Area,
    scale: usize,
    soft: bool,
    text: [u8; 12],
    len: usize,
}

impl Line {
    fn new(text: &[u8], x: usize, y: usize, scale: usize, soft: bool) -> Line {
        let mut line = Line { scale, soft, ..Line::default() };
        line.len = text.len().min(line.text.len());
        line.text[..line.len].copy_from_slice(&text[..line.len]);
        let (width, height) = (digits::columns(text) * scale, digits::HEIGHT * scale);
        line.area = Area { x0: x, y0: y, x1: x + width, y1: y + height };
        line
    }

    /// Replaces its text; what changed is from one cell's column to another's.
    fn set(&mut self, text: &[u8]) -> Area {
        let (mut x, mut changed) = (self.area.x0, Area { x1: 0, ..self.area });
        for (old, &new) in self.text[..self.len].iter_mut().zip(text) {
            let after = x + digits::advance(new) * self.scale;
            if *old != new {
                if changed.x1 == 0 {
                    changed.x0 = x;
                }
                changed.x1 = after;
                *old = new;
            }
            x = after;
        }
        changed
    }

    fn ink(&self, x: usize, y: usize) -> bool {
        let (mut column, row) = (x - self.area.x0, y - self.area.y0);
        for &letter in &self.text[..self.len] {
            let advance = digits::advance(letter) * self.scale;
            if column < advance {
                return digits::ink(letter, column, row, self.scale);
            }
            column -= advance;
        }
        false
    }
}

/// See the module.
pub(super) struct Scene {
    motion: Motion,
    /// Whole cells that can be seen.
    width: usize,
    bars: usize,
    panel: usize,
    floor: usize,
    meter: Area,
    lit: usize,
    clock: Line,
    lines: [Line; 3],
    figure: Figure,
    painted: bool,
}

/// Where the frame number stands among the lines.
const NUMBER: usize = 2;

impl Scene {
    pub(super) fn new(options: &Options) -> Scene {
        let (width, height) = (usize::from(options.width) / 4, usize::from(options.height) / 4);
        let bars = ((height / 5) & !3).max(4);
        let gap = (height.min(width) / 30).max(1);

        let clock_text: &[u8] = [b"00:00:00.000".as_slice(), b"00:00:00", b"00:00", b"00"]
            .into_iter()
            .find(|text| digits::columns(text) + 2 * gap <= width)
            .unwrap_or(b"00");
        let columns = digits::columns(clock_text);
        let scale = ((width - gap.min(width / 4)) / columns).min(height / 6 / digits::HEIGHT).max(1);
        let clock =
            Line::new(clock_text, width.saturating_sub(columns * scale) / 2, bars + gap, scale, false);
        let mut y = clock.area.y1 + gap;

        // name, size and number below it, as much of it as there is room for
        let mut lines = [Line::default(); 3];
        let mut size = [0; 12];
        let size = size_text(&mut size, options);
        let number: &[u8] = b"00000000";
        let full = digits::columns(b"streamd") + digits::columns(size) + digits::columns(number) + 12;
        let small = (scale / 2).max(1);
        let side = gap.max(2);
        let room = width.saturating_sub(2 * side);
        if height >= 40 && digits::columns(number) <= room {
            let fits = full * small <= room;
            let small = if fits { small } else { 1 };
            let right = width - side - digits::columns(number) * small;
            lines[NUMBER] = Line::new(number, right, y, small, true);
            if full * small <= room {
                lines[0] = Line::new(b"streamd", side, y, small, true);
                let middle = (lines[0].area.x1 + right - digits::columns(size) * small) / 2;
                lines[1] = Line::new(size, middle, y, small, true);
            } else {
                lines[NUMBER].area.x0 = (width - digits::columns(number)) / 2;
                lines[NUMBER].area.x1 = lines[NUMBER].area.x0 + digits::columns(number);
            }
            y = lines[NUMBER].area.y1 + gap;
        }
        let panel = y.next_multiple_of(4).min(height);

        // the room takes the rest
        let rest = height - panel;
        let thick = (rest / 14).min(width / 28);
        let bottom = (height - (gap * 2).min(rest / 8)) & !1;
        let meter = Area { x0: side, y0: (bottom - thick) & !1, x1: width - side, y1: bottom };
        let mut feet = meter.y0.saturating_sub(thick.max(1));
        let mut figure_height = (feet.saturating_sub(panel) * 19 / 20).min(width * 4 / 9);
        if figure_height < 8 {
            // no room for a room: it walks before the clock
            (feet, figure_height) = (height - 1, height * 3 / 4);
        }
        Scene {
            motion: options.motion,
            width,
            bars,
            panel,
            floor: feet.saturating_sub(figure_height / 6).max(panel),
            meter,
            lit: 0,
            clock,
            lines,
            figure: Figure::new(figure_height, feet),
            painted: false,
        }
    }

    /// Paints what changed since the last moment.
    pub(super) fn draw(&mut self, moment: &Moment, picture: &mut Picture) {
        let mut text = [0; 12];
        clock_text(&mut text, moment, self.clock.len);
        let clock = self.clock.set(&text);
        number_text(&mut text, moment.number);
        let number = self.lines[NUMBER].set(&text);

        let lit = (self.meter.x1 - self.meter.x0) * usize::from(moment.level.min(32_767)) / 32_767;
        let x0 = self.meter.x0;
        let meter = Area { x0: x0 + lit.min(self.lit), x1: x0 + lit.max(self.lit), ..self.meter };
        self.lit = lit;

        let before = self.figure.area();
        match walk(self.motion, moment.capture) {
            Some((since, count)) => {
                let way = self.figure.way(self.width) as u64 * 16;
                self.figure.pose(way * (since / 1000) / (WALK / 1000), self.width, count % 2 == 1);
            }
            None => self.figure.hide(),
        }
        let after = self.figure.area();

        if !std::mem::replace(&mut self.painted, true) {
            picture.paint(picture.all(), |x, y| self.colour(x, y));
            return;
        }
        let both = match (before.is_empty(), after.is_empty()) {
            (true, _) => after,
            (_, true) => before,
            _ => Area { x0: before.x0.min(after.x0), x1: before.x1.max(after.x1), ..after },
        };
        for area in [clock, number, meter, both] {
            if !area.is_empty() {
                picture.paint(area, |x, y| self.colour(x, y));
            }
        }
    }

    fn colour(&self, x: usize, y: usize) -> Colour {
        if let Some(colour) = self.figure.colour(x, y) {
            return colour;
        }
        if y < self.panel {
            if y < self.bars {
                // bars end on whole macroblocks where there are enough of them
                let grid = if self.width >= 32 { 4 } else { 2 };
                let edge = |i: usize| (self.width * i / 8).div_ceil(grid) * grid;
                let bar = (1..8).filter(|i| x >= edge(*i)).count();
                return BARS.get(bar).copied().unwrap_or(PANEL);
            }
            for line in std::iter::once(&self.clock).chain(&self.lines) {
                if line.area.holds(x, y) && line.ink(x, y) {
                    return if line.soft { SOFT_INK } else { INK };
                }
            }
            return PANEL;
        }
        if self.meter.holds(x, y) {
            return match x - self.meter.x0 {
                at if at >= self.lit => METER_OFF,
                at if at * 4 >= (self.meter.x1 - self.meter.x0) * 3 => METER_LOUD,
                _ => METER_ON,
            };
        }
        if y < self.floor {
            let skirting = (self.floor - self.panel) / 16;
            if y + skirting >= self.floor {
                return SKIRTING;
            }
            return WALL.light((self.floor - y) as i32 * 40 / (self.floor - self.panel) as i32 / 4 * 4);
        }
        FLOOR.light(((y - self.floor) / 4) as i32 * -4)
    }
}

fn two_digits(to: &mut [u8], value: u64) {
    for (to, digit) in to.iter_mut().zip([value / 10 % 10, value % 10]) {
        *to = b'0' + digit as u8;
    }
}

/// The clock with as many letters as there is room for.
fn clock_text(text: &mut [u8; 12], moment: &Moment, len: usize) {
    let local = moment.unix.saturating_add_signed(i64::from(moment.zone) * SECOND as i64);
    let (seconds, millis) = (local / SECOND, local / 1_000_000 % 1000);
    let (hours, minutes, seconds) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    text.copy_from_slice(b"00:00:00.000");
    two_digits(&mut text[0..], hours);
    two_digits(&mut text[3..], minutes);
    two_digits(&mut text[6..], seconds);
    text[9] = b'0' + (millis / 100) as u8;
    two_digits(&mut text[10..], millis);
    if len < 8 {
        // the last fields are the ones that move
        text.copy_within(8 - len..8, 0);
    }
}

fn number_text(text: &mut [u8; 12], number: u64) {
    let mut rest = number;
    for to in text[..8].iter_mut().rev() {
        *to = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// `1280x720`.
fn size_text<'a>(text: &'a mut [u8; 12], options: &Options) -> &'a [u8] {
    let mut len = 0;
    for (value, mark) in [(options.width, 0), (options.height, b'x')] {
        if mark != 0 {
            text[len] = mark;
            len += 1;
        }
        for unit in [1000, 100, 10, 1] {
            if value >= unit {
                text[len] = b'0' + (value / unit % 10) as u8;
                len += 1;
            }
        }
    }
    &text[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_shows_local_time() {
        let mut text = [0; 12];
        let moment = Moment { unix: 86_399_987_000_000, zone: 3600, ..Moment::default() };
        clock_text(&mut text, &moment, 12);
        assert_eq!(&text, b"00:59:59.987");
        clock_text(&mut text, &moment, 5);
        assert_eq!(&text[..5], b"59:59");
    }

    #[test]
    fn somebody_walks_for_6_seconds_in_20() {
        let seen = |m| (0..400).filter(|s| walking(m, Time::from_nanos(s * SECOND + 1))).count();
        assert_eq!((seen(Motion::Walk), seen(Motion::None), seen(Motion::Always)), (120, 0, 400));
    }

    /// Painting only what changed gives the same picture as painting everything.
    #[test]
    fn nothing_old_stays_in_the_picture() {
        for (width, height) in [(64, 64), (640, 360), (182, 322), (2160, 64), (64, 2160), (330, 250)] {
            let options = Options { width, height, ..Options::MAIN };
            let (mut scene, mut picture) = (Scene::new(&options), Picture::new(width, height));
            for number in 0..200u64 {
                let moment = Moment {
                    number: number * 997,
                    capture: Time::from_nanos(number * 131_000_000),
                    unix: number * 7_123_456_789,
                    zone: 0,
                    level: (number * 331 % 32_768) as u16,
                };
                scene.draw(&moment, &mut picture);
                if number % 13 == 0 {
                    let (mut fresh, mut second) = (Scene::new(&options), Picture::new(width, height));
                    fresh.draw(&moment, &mut second);
                    let (mut a, mut b) = (Vec::new(), Vec::new());
                    picture.planes(&mut a);
                    second.planes(&mut b);
                    assert!(a == b, "{width}x{height} at {number}");
                }
            }
        }
    }

    #[test]
    fn size_is_written_out() {
        assert_eq!(size_text(&mut [0; 12], &Options::MAIN), b"1280x720");
        assert_eq!(
            size_text(&mut [0; 12], &Options { width: 64, height: 2160, ..Options::MAIN }),
            b"64x2160"
        );
    }
}

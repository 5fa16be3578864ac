//! The letters of the picture: 5×7 dots, enlarged by whole numbers with their corners rounded.

/// Columns of a letter, without the gap after it.
pub(super) const WIDTH: usize = 5;
/// Rows of a letter.
pub(super) const HEIGHT: usize = 7;

/// The rows of a letter, the leftmost column in bit 4; what is missing is blank.
const fn rows(letter: u8) -> [u8; HEIGHT] {
    match letter {
        b'0' => [0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110],
        b'1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        b'2' => [0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111],
        b'3' => [0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110],
        b'4' => [0b10010, 0b10010, 0b10010, 0b11111, 0b00010, 0b00010, 0b00010],
        b'5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        b'6' => [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
        b'7' => [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
        b'8' => [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
        b'9' => [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
        // the narrow ones lie in the first columns
        b':' => [0b00000, 0b11000, 0b11000, 0b00000, 0b11000, 0b11000, 0b00000],
        b'.' => [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b11000, 0b11000],
        b'x' => [0b00000, 0b00000, 0b10001, 0b01010, 0b00100, 0b01010, 0b10001],
        b's' => [0b00000, 0b00000, 0b01111, 0b10000, 0b01110, 0b00001, 0b11110],
        b't' => [0b01000, 0b01000, 0b11110, 0b01000, 0b01000, 0b01001, 0b00110],
        b'r' => [0b00000, 0b00000, 0b10110, 0b11001, 0b10000, 0b10000, 0b10000],
        b'e' => [0b00000, 0b00000, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110],
        b'a' => [0b00000, 0b00000, 0b01110, 0b00001, 0b01111, 0b10001, 0b01111],
        b'm' => [0b00000, 0b00000, 0b11010, 0b10101, 0b10101, 0b10101, 0b10101],
        b'd' => [0b00001, 0b00001, 0b01111, 0b10001, 0b10001, 0b10001, 0b01111],
        _ => [0; HEIGHT],
    }
}

/// Columns of a letter with the gap after it.
pub(super) const fn advance(letter: u8) -> usize {
    match letter {
        b':' | b'.' => 3,
        _ => WIDTH + 1,
    }
}

/// Columns of a text, without the gap after its last letter.
pub(super) fn columns(text: &[u8]) -> usize {
    text.iter().map(|c| advance(*c)).sum::<usize>().saturating_sub(1)
}

fn dot(rows: &[u8; HEIGHT], x: isize, y: isize) -> bool {
    match (usize::try_from(y).ok().and_then(|y| rows.get(y)), x) {
        (Some(row), 0..=4) => row >> (4 - x) & 1 == 1,
        _ => false,
    }
}

/// Whether a cell of a letter enlarged `scale` times is ink. Where two dots touch at a corner the
/// step between them is filled, and lone outer corners are cut, so that curves look like curves.
pub(super) fn ink(letter: u8, x: usize, y: usize, scale: usize) -> bool {
    let rows = rows(letter);
    let (gx, gy) = ((x / scale) as isize, (y / scale) as isize);
    let here = dot(&rows, gx, gy);
    if scale < 2 {
        return here;
    }
    // distance from the nearest corner of the dot, and the neighbours on that side
    let (sx, sy) = (x % scale, y % scale);
    let (dx, cx) = if sx * 2 < scale { (-1, sx) } else { (1, scale - 1 - sx) };
    let (dy, cy) = if sy * 2 < scale { (-1, sy) } else { (1, scale - 1 - sy) };
    if (cx + cy) * 2 >= scale {
        return here;
    }
    let side = dot(&rows, gx + dx, gy);
    if side == dot(&rows, gx, gy + dy)
        && side != dot(&rows, gx - dx, gy)
        && side != dot(&rows, gx, gy - dy)
        && (side || !dot(&rows, gx + dx, gy + dy))
    {
        return side;
    }
    here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_can_be_told_apart_at_every_size() {
        for scale in 1..=8 {
            let all: Vec<Vec<bool>> = (b'0'..=b'9')
                .map(|c| {
                    (0..HEIGHT * scale * WIDTH * scale)
                        .map(|i| ink(c, i % (WIDTH * scale), i / (WIDTH * scale), scale))
                        .collect()
                })
                .collect();
            for (i, a) in all.iter().enumerate() {
                for b in &all[i + 1..] {
                    let differ = a.iter().zip(b).filter(|(a, b)| a != b).count();
                    assert!(differ >= 2 * scale * scale, "{i} at {scale}: {differ}");
                }
            }
        }
    }
}

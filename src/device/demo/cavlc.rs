//! CAVLC: levels of a block of DC coefficients to bits, with the tables of ITU-T H.264 9.2 that a
//! stream without AC coefficients needs. All neighbours have no AC either, so the context is
//! always the first one.

use super::bits::Bits;

/// A code: its length and its bits.
type Code = (u8, u8);

/// Table 9-5, 0 <= nC < 2, by total coefficients and trailing ones.
const COEFF_TOKEN: [[Code; 4]; 17] = [
    [(1, 1), (0, 0), (0, 0), (0, 0)],
    [(6, 5), (2, 1), (0, 0), (0, 0)],
    [(8, 7), (6, 4), (3, 1), (0, 0)],
    [(9, 7), (8, 6), (7, 5), (5, 3)],
    [(10, 7), (9, 6), (8, 5), (6, 3)],
    [(11, 7), (10, 6), (9, 5), (7, 4)],
    [(13, 15), (11, 6), (10, 5), (8, 4)],
    [(13, 11), (13, 14), (11, 5), (9, 4)],
    [(13, 8), (13, 10), (13, 13), (10, 4)],
    [(14, 15), (14, 14), (13, 9), (11, 4)],
    [(14, 11), (14, 10), (14, 13), (13, 12)],
    [(15, 15), (15, 14), (14, 9), (14, 12)],
    [(15, 11), (15, 10), (15, 13), (14, 8)],
    [(16, 15), (15, 1), (15, 9), (15, 12)],
    [(16, 11), (16, 14), (16, 13), (15, 8)],
    [(16, 7), (16, 10), (16, 9), (16, 12)],
    [(16, 4), (16, 6), (16, 5), (16, 8)],
];

/// Table 9-5, nC = -1 (chroma DC).
const COEFF_TOKEN_CHROMA: [[Code; 4]; 5] = [
    [(2, 1), (0, 0), (0, 0), (0, 0)],
    [(6, 7), (1, 1), (0, 0), (0, 0)],
    [(6, 4), (6, 6), (3, 1), (0, 0)],
    [(6, 3), (7, 3), (7, 2), (6, 5)],
    [(6, 2), (8, 3), (8, 2), (7, 0)],
];

/// Tables 9-7 and 9-8, by total coefficients less one and zeros before the last.
#[rustfmt::skip]
const TOTAL_ZEROS: [&[Code]; 15] = [
    &[(1,1),(3,3),(3,2),(4,3),(4,2),(5,3),(5,2),(6,3),(6,2),(7,3),(7,2),(8,3),(8,2),(9,3),(9,2),(9,1)],
    &[(3,7),(3,6),(3,5),(3,4),(3,3),(4,5),(4,4),(4,3),(4,2),(5,3),(5,2),(6,3),(6,2),(6,1),(6,0)],
    &[(4,5),(3,7),(3,6),(3,5),(4,4),(4,3),(3,4),(3,3),(4,2),(5,3),(5,2),(6,1),(5,1),(6,0)],
    &[(5,3),(3,7),(4,5),(4,4),(3,6),(3,5),(3,4),(4,3),(3,3),(4,2),(5,2),(5,1),(5,0)],
    &[(4,5),(4,4),(4,3),(3,7),(3,6),(3,5),(3,4),(3,3),(4,2),(5,1),(4,1),(5,0)],
    &[(6,1),(5,1),(3,7),(3,6),(3,5),(3,4),(3,3),(3,2),(4,1),(3,1),(6,0)],
    &[(6,1),(5,1),(3,5),(3,4),(3,3),(2,3),(3,2),(4,1),(3,1),(6,0)],
    &[(6,1),(4,1),(5,1),(3,3),(2,3),(2,2),(3,2),(3,1),(6,0)],
    &[(6,1),(6,0),(4,1),(2,3),(2,2),(3,1),(2,1),(5,1)],
    &[(5,1),(5,0),(3,1),(2,3),(2,2),(2,1),(4,1)],
    &[(4,0),(4,1),(3,1),(3,2),(1,1),(3,3)],
    &[(4,0),(4,1),(2,1),(1,1),(3,1)],
    &[(3,0),(3,1),(1,1),(2,1)],
    &[(2,0),(2,1),(1,1)],
    &[(1,0),(1,1)],
];

/// Table 9-9 (a).
const TOTAL_ZEROS_CHROMA: [&[Code]; 3] =
    [&[(1, 1), (2, 1), (3, 1), (3, 0)], &[(1, 1), (2, 1), (2, 0)], &[(1, 1), (1, 0)]];

/// Table 9-10, by zeros left less one (7 stands for more) and run.
#[rustfmt::skip]
const RUN_BEFORE: [&[Code]; 7] = [
    &[(1,1),(1,0)],
    &[(1,1),(2,1),(2,0)],
    &[(2,3),(2,2),(2,1),(2,0)],
    &[(2,3),(2,2),(2,1),(3,1),(3,0)],
    &[(2,3),(2,2),(3,3),(3,2),(3,1),(3,0)],
    &[(2,3),(3,0),(3,1),(3,3),(3,2),(3,5),(3,4)],
    &[(3,7),(3,6),(3,5),(3,4),(3,3),(3,2),(3,1),(4,1),(5,1),(6,1),(7,1),(8,1),(9,1),(10,1),(11,1)],
];

/// The greatest level that fits the escape code of the profile whatever its place.
#[cfg(test)]
pub(super) const MAX_LEVEL: i32 = 2062;

fn put(bits: &mut Bits, code: Code) {
    bits.put(u32::from(code.0), u32::from(code.1));
}

/// Writes a block's levels, in scanning order: 16 of luma DC, or 4 of chroma DC.
pub(super) fn block(bits: &mut Bits, levels: &[i32]) {
    let chroma = levels.len() == 4;
    // the non-zero levels, last first, each with the zeros before it
    let mut found = [(0i32, 0usize); 16];
    let (mut total, mut zeros, mut run) = (0, 0, 0);
    for &level in levels.iter().take(16) {
        if level == 0 {
            run += 1;
        } else {
            found[total] = (level, run);
            total += 1;
            zeros += run;
            run = 0;
        }
    }
    let found = &mut found[..total];
    found.reverse();
    let ones = found.iter().take(3).take_while(|(level, _)| level.abs() == 1).count();
    put(bits, if chroma { COEFF_TOKEN_CHROMA[total][ones] } else { COEFF_TOKEN[total][ones] });
    if total == 0 {
        return;
    }
    for &(level, _) in &found[..ones] {
        bits.put(1, u32::from(level < 0));
    }
    let mut suffix = u32::from(total > 10 && ones < 3);
    for (i, &(level, _)) in found.iter().enumerate().skip(ones) {
        let size = level.unsigned_abs();
        let mut code = size * 2 - if level > 0 { 2 } else { 1 };
        if i == ones && ones < 3 {
            code -= 2; // it cannot be a one
        }
        if suffix == 0 {
            match code {
                0..14 => bits.put(code + 1, 1),
                14..30 => bits.put(19, (1 << 4) | (code - 14)),
                _ => bits.put(28, (1 << 12) | (code - 30)),
            }
            suffix = 1;
        } else if code < 15 << suffix {
            bits.put((code >> suffix) + 1, 1);
            bits.put(suffix, code);
        } else {
            bits.put(28, (1 << 12) | (code - (15 << suffix)));
        }
        if size > 3 << (suffix - 1) && suffix < 6 {
            suffix += 1;
        }
    }
    if total < levels.len() {
        put(bits, if chroma { TOTAL_ZEROS_CHROMA[total - 1][zeros] } else { TOTAL_ZEROS[total - 1][zeros] });
    }
    for &(_, run) in &found[..total - 1] {
        if zeros == 0 {
            break;
        }
        put(bits, RUN_BEFORE[zeros.min(7) - 1][run]);
        zeros -= run;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No code begins another, so every decoder reads back what was written.
    fn prefix_free(codes: &[Code]) {
        let used: Vec<_> = codes.iter().filter(|c| c.0 > 0).collect();
        for (i, a) in used.iter().enumerate() {
            for b in &used[i + 1..] {
                let n = a.0.min(b.0);
                assert_ne!(
                    a.1.checked_shr(u32::from(a.0 - n)).unwrap_or(0),
                    b.1.checked_shr(u32::from(b.0 - n)).unwrap_or(0),
                    "{a:?} {b:?}"
                );
            }
        }
    }

    #[test]
    fn tables_can_be_read_back() {
        prefix_free(COEFF_TOKEN.as_flattened());
        prefix_free(COEFF_TOKEN_CHROMA.as_flattened());
        for table in TOTAL_ZEROS.iter().chain(&TOTAL_ZEROS_CHROMA).chain(&RUN_BEFORE) {
            prefix_free(table);
        }
    }

    #[test]
    fn each_table_has_all_its_rows() {
        for (i, row) in TOTAL_ZEROS.iter().enumerate() {
            assert_eq!(row.len(), 16 - i);
        }
    }
}

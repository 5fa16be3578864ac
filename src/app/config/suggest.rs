//! The nearest known word to a mistyped one.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

const MAX_WORD: usize = 32;

/// The known word that is few enough edits away to be what was meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = (usize::MAX, None);
    known.for_each(|candidate| compare(word, candidate, &mut best));
    best.1
}

/// Takes the candidate if it is nearer than the best so far. Not generic, as those who ask are many.
#[inline(never)]
fn compare<'a>(word: &str, candidate: &'a str, best: &mut (usize, Option<&'a str>)) {
    let distance = distance(word, candidate);
    if distance < best.0 && distance <= (word.len() / 3).clamp(1, 3) && !candidate.is_empty() {
        *best = (distance, Some(candidate));
    }
}

/// Edits from one word to the other; swapped neighbours are one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() > MAX_WORD || b.len() > MAX_WORD {
        return usize::MAX;
    }
    let mut before = [0usize; MAX_WORD + 1];
    let mut above = [0usize; MAX_WORD + 1];
    for (j, slot) in above.iter_mut().enumerate() {
        *slot = j;
    }
    let get = |row: &[usize; MAX_WORD + 1], j: usize| row.get(j).copied().unwrap_or(usize::MAX);
    for (i, x) in a.iter().enumerate() {
        let mut row = [0usize; MAX_WORD + 1];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = usize::from(!x.eq_ignore_ascii_case(y));
            let mut best = (get(&above, j) + cost).min(get(&above, j + 1) + 1).min(get(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(get(&before, j - 1) + 1);
            }
            if let Some(slot) = row.get_mut(j + 1) {
                *slot = best;
            }
        }
        before = above;
        above = row;
    }
    get(&above, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_does_not() {
        let known = ["listen", "password", "username", "level"];
        for (word, want) in [
            ("listn", Some("listen")),
            ("pasword", Some("password")),
            ("lsiten", Some("listen")),
            ("user_name", Some("username")),
            ("levle", Some("level")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), want, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1000), known.into_iter()), None);
    }
}

//! Numbers with a point, as people write times and thresholds; without floats, which cameras lack.

use std::time::Duration;

/// A time like 12, 12.5 or 12.345.
pub fn seconds(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s').unwrap_or(text);
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = 0u32;
    for at in 0..9 {
        nanos = nanos * 10 + part.as_bytes().get(at).map_or(0, |b| u32::from(b - b'0'));
    }
    Some(Duration::new(whole, nanos))
}

/// A threshold like 2.0, in 256ths.
pub fn threshold(text: &str) -> Option<u16> {
    let time = seconds(text).filter(|t| t.as_secs() < 100)?;
    let parts = time.as_millis() as u32 * 256 / 1000;
    u16::try_from(parts).ok().filter(|&parts| parts > 268)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond_and_nonsense_is_none() {
        assert_eq!(seconds("12.345"), Some(Duration::from_millis(12_345)));
        assert_eq!(
            (seconds("3s"), seconds(".5")),
            (Some(Duration::from_secs(3)), Some(Duration::from_millis(500)))
        );
        assert!([".", "", "a", "1.x", "-1", "1e3"].iter().all(|t| seconds(t).is_none()));
    }
}

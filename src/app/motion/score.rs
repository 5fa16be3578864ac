//! How well the detector did: what it said against what is to be seen. A picture counts as right or wrong
//! by whether it lies in a label; the hold behind each label, and half a second more, is not judged.

use crate::app::decimal::seconds;
use std::fmt::Write;
use std::time::Duration;

/// Labels of one clip.
const MOST: usize = 100_000;
/// Behind hold, until it is a fault.
const GRACE: Duration = Duration::from_millis(500);

/// When something moves, in order.
pub struct Labels {
    pub(super) spans: Vec<(Duration, Duration)>,
}

impl Labels {
    /// Reads lines `start end` in seconds, also with commas or semicolons between; what begins with a letter
    /// or # is a heading.
    pub fn parse(text: &str) -> Result<Labels, String> {
        let mut spans = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(|c: char| c == '#' || c.is_ascii_alphabetic()) {
                continue;
            }
            let mut words = line.split([' ', '\t', ',', ';']).filter(|w| !w.is_empty()).map(seconds);
            let (Some(Some(begin)), Some(Some(end))) = (words.next(), words.next()) else {
                return Err(format!("line {}: expected start and end in seconds", at + 1));
            };
            if end < begin || spans.len() >= MOST {
                return Err(format!("line {}: it ends before it begins, or is one of too many", at + 1));
            }
            spans.push((begin, end));
        }
        spans.sort_unstable();
        Ok(Labels { spans })
    }
}

/// Counts.
pub struct Score {
    hold: Duration,
    right: u64,
    wrong: u64,
    missed: u64,
    /// For each label met so far, when it was seen first.
    seen: Vec<Option<Duration>>,
    false_alarms: u32,
    was_on: bool,
}

impl Score {
    /// Counts with this hold.
    pub fn new(hold: Duration) -> Score {
        Score { hold, right: 0, wrong: 0, missed: 0, seen: Vec::new(), false_alarms: 0, was_on: false }
    }

    /// A picture of that time, and whether motion was on.
    pub fn count(&mut self, labels: &Labels, at: Duration, on: bool) {
        let begun = labels.spans.partition_point(|s| s.0 <= at);
        while self.seen.len() < begun {
            self.seen.push(None);
        }
        let inside = |s: &(Duration, Duration)| at < s.1;
        let spans = labels.spans.get(..begun).unwrap_or_default();
        if let Some(label) = spans.iter().rposition(inside) {
            match on {
                true => self.right += 1,
                false => self.missed += 1,
            }
            if let (true, Some(seen)) = (on, self.seen.get_mut(label)) {
                let begin = spans.get(label).map_or(at, |s| s.0);
                seen.get_or_insert(at.saturating_sub(begin));
            }
        } else if on && !spans.iter().rev().any(|s| at < s.1 + self.hold + GRACE) {
            self.wrong += 1;
            self.false_alarms += u32::from(!self.was_on);
        }
        self.was_on = on;
    }

    /// One line for people and scripts.
    pub fn text(&self, labels: &Labels) -> String {
        let share = |part: u64, whole: u64| (part * 1000 + whole / 2).checked_div(whole).unwrap_or(1000);
        let precision = share(self.right, self.right + self.wrong);
        let recall = share(self.right, self.right + self.missed);
        let f1 = share(2 * self.right, 2 * self.right + self.wrong + self.missed);
        let mut delays: Vec<u64> = self.seen.iter().flatten().map(|d| d.as_millis() as u64).collect();
        delays.sort_unstable();
        let mut out = String::new();
        for (name, value) in [("precision", precision), ("recall", recall), ("F1", f1)] {
            let _ = write!(out, "{name} {}.{:03}  ", value / 1000, value % 1000);
        }
        let middle = delays.get(delays.len() / 2).copied().unwrap_or(0);
        let longest = delays.last().copied().unwrap_or(0);
        let _ = write!(
            out,
            "delay {}.{:03} s, longest {}.{:03} s  missed {} of {}  false alarms {}  frames {} {} {}",
            middle / 1000,
            middle % 1000,
            longest / 1000,
            longest % 1000,
            labels.spans.len() - delays.len(),
            labels.spans.len(),
            self.false_alarms,
            self.right,
            self.wrong,
            self.missed,
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_in_the_ways_in_which_people_write_them() {
        let labels = Labels::parse("# walks\nstart,end\n5.5,7\n1 2\n\n9;10.25\n").unwrap();
        let ms: Vec<_> = labels.spans.iter().map(|s| (s.0.as_millis(), s.1.as_millis())).collect();
        assert_eq!(ms, [(1000, 2000), (5500, 7000), (9000, 10250)]);
        assert!(Labels::parse("1 2\n3\n").is_err_and(|e| e.contains("line 2")));
        assert!(Labels::parse("2 1\n").is_err());
    }

    #[test]
    fn the_hold_is_not_judged_and_what_comes_after_it_is() {
        let labels = Labels::parse("10 12").unwrap();
        let mut score = Score::new(Duration::from_secs(1));
        for tenth in 0..200u64 {
            // seen with a delay of 0.3 s, held too long by 0.5 s, and a false alarm of one second
            let on = (103..140).contains(&tenth) || (30..40).contains(&tenth);
            score.count(&labels, Duration::from_millis(tenth * 100), on);
        }
        assert_eq!((score.right, score.missed, score.wrong), (17, 3, 5 + 10));
        let text = score.text(&labels);
        assert!(text.starts_with("precision 0.531  recall 0.850  F1 0.654  delay 0.300 s"), "{text}");
        assert!(text.contains("missed 0 of 1  false alarms 1"), "{text}");
    }
}

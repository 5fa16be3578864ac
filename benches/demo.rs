//! What the demo camera costs: nanoseconds per frame.
#![allow(missing_docs)]

use std::time::Instant;
use streamd::device::demo::{Camera, Moment, Options};
use streamd::media::Time;

const SECOND: u64 = 1_000_000_000;

fn main() {
    println!(
        "{:24} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "", "key ns", "still ns", "walk ns", "jpeg ns", "% of core", "key B", "P B"
    );
    for text in ["demo:", "demo:sub", "demo:?noise=10", "demo:?bitrate=2000000", "demo:sub?bitrate=300000"] {
        let Ok(options) = Options::parse(text) else { continue };
        let mut camera = Camera::new(&options);
        let mut out = Vec::new();
        // key frames, frames of the clock alone, frames with the walker: time, bytes, count
        let mut sums = [(0, 0, 0); 3];
        let frames = 2000u64;
        for number in 0..frames {
            let capture = Time::from_nanos(number * SECOND / 25);
            let moment =
                Moment { number, capture, unix: 1_750_000_000 * SECOND + capture.nanos(), zone: 0, level: 0 };
            out.clear();
            let start = Instant::now();
            let key = camera.frame(&moment, &mut out);
            let took = start.elapsed().as_nanos();
            let kind = if key {
                0
            } else {
                1 + usize::from(streamd::device::demo::walking(options.motion, capture))
            };
            sums[kind].0 += took;
            sums[kind].1 += out.len();
            sums[kind].2 += 1;
        }
        let start = Instant::now();
        for _ in 0..100 {
            out.clear();
            camera.jpeg(None, &mut out);
        }
        let jpeg = start.elapsed().as_nanos() / 100;
        let total: u128 = sums.iter().map(|s| s.0).sum();
        // 25 frames a second, in hundredths of a percent
        let share = total * 25 * 10_000 / u128::from(frames) / u128::from(SECOND);
        let mean = |i: usize| sums[i].0 / sums[i].2.max(1) as u128;
        println!(
            "{text:24} {:>10} {:>10} {:>10} {jpeg:>10} {:>7}.{:02} {:>8} {:>8}",
            mean(0),
            mean(1),
            mean(2),
            share / 100,
            share % 100,
            sums[0].1 / sums[0].2.max(1),
            (sums[1].1 + sums[2].1) / (sums[1].2 + sums[2].2).max(1)
        );
    }
}

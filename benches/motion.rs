//! What the motion detector costs: nanoseconds per picture, from its size alone and with the head of its
//! slice read for the quantiser.
//!
//! `motion` prints the table; `motion size PICTURES`, `moves` and `qp` only do that work, for whoever counts its
//! instructions (`scripts/insn --motion`).
#![allow(missing_docs)]

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};
use streamd::media::{Codec, CodecId, Time};
use streamd::motion::detector::{Detector, Picture, Settings, Type};
use streamd::motion::eye::Eye;

const SPS: &str = "6742c01ed900a02ff97011000003000100000300320f162e48";
const PPS: &str = "68cb83cb20";
const IDR: &str = "65888411f1088ab830";
const P: &str = "419a3823f8308baadd";
const ROUNDS: u32 = 20;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).filter_map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

/// One NAL unit behind its length.
fn unit(nal: &[u8], len: usize) -> Vec<u8> {
    let mut out = (len as u32).to_be_bytes().to_vec();
    out.extend_from_slice(nal);
    out.resize(4 + len, 0x55);
    out
}

fn picture(n: u32, moving: bool) -> Picture {
    let key = n.is_multiple_of(50);
    let size = if key { 40_000 } else { 1000 + n.wrapping_mul(7919) % 200 + if moving { 2000 } else { 0 } };
    let kind = if key { Type::Key } else { Type::P };
    Picture { kind, base: true, size, qp: Some(28), gap: false }
}

/// Nothing here is wider than 32 bits but this, so that what is counted is the detector.
fn time(n: u32) -> Time {
    Time::from_nanos(u64::from(n) * 40_000_000)
}

/// From sizes alone; every other 500 pictures something moves, if it shall.
fn sizes(pictures: u32, motion: bool) -> u32 {
    let mut detector = Detector::new(Settings::default());
    let mut moved = 0;
    for n in 0..pictures {
        let time = time(n);
        let verdict = detector.picture(time, black_box(picture(n, motion && n % 1000 > 500)));
        moved += u32::from(verdict.moving);
    }
    moved
}

/// With the access unit looked at.
fn quantisers(pictures: u32) -> u32 {
    let mut codec = Codec::new(CodecId::H264);
    let mut extra = Vec::new();
    for set in [SPS, PPS].map(hex) {
        extra.extend(unit(&set, set.len()));
    }
    codec.extra = Rc::from(extra);
    let Some(eye) = Eye::new(&codec) else { return 0 };
    let (key, p) = (unit(&hex(IDR), 40_000), unit(&hex(P), 1100));
    let mut detector = Detector::new(Settings::default());
    let mut read = 0;
    for n in 0..pictures {
        let data = if n.is_multiple_of(50) { &key } else { &p };
        let Some(picture) = eye.look(black_box(data), false) else { continue };
        read += u32::from(picture.qp.is_some());
        black_box(detector.picture(time(n), picture));
    }
    read
}

fn best(mut work: impl FnMut() -> u32, pictures: u32) -> String {
    let took = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        black_box(work());
        begin.elapsed()
    });
    let picos = took.min().unwrap_or(Duration::ZERO).as_nanos() as u64 * 1000 / u64::from(pictures);
    format!("{}.{:02}", picos / 1000, picos % 1000 / 10)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [what, count] = &words[..] {
        let count = count.parse().unwrap_or(0);
        let done = match what.as_str() {
            "qp" => quantisers(count),
            _ => sizes(count, what == "moves"),
        };
        eprintln!("{done}");
        return;
    }
    let pictures = 200_000;
    println!("{:40} {:>8}", "", "ns");
    println!("{:40} {:>8}", "a picture's size, still", best(|| sizes(pictures, false), pictures));
    println!(
        "{:40} {:>8}",
        "a picture's size, moving half the time",
        best(|| sizes(pictures, true), pictures)
    );
    println!("{:40} {:>8}", "a picture with its quantiser read", best(|| quantisers(pictures), pictures));
}

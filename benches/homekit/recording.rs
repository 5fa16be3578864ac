//! Four seconds of pictures and sound on their way to a hub: from the ring through the film's boxes, the cipher
//! and the data stream's frames into the one buffer that is written to its socket, beside the bare cipher over
//! as many bytes.

use crate::live::cpu;
use crate::{ALLOCATIONS, HELD};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use streamd::homekit::crypto::Cipher;
use streamd::homekit::hds::frame::Keys;
use streamd::homekit::hds::session::{AROUND, Chunk, Session};
use streamd::media::Time;
use streamd::media::aac::AudioConfig;
use streamd::net::limits::HDS_CHUNK;
use streamd::stream::{Clip, Cut, Meta, Ring};

const BYTES: usize = 4 << 20;
const RATE: u64 = 30;

fn put(ring: &mut Ring, time: Time, key: bool, len: usize) {
    ring.append(&vec![0x5a; len]).unwrap();
    ring.commit(Meta { time, decode: time, key, gap: false, config: 0 }, None);
}

pub fn measure(times: u32) {
    let keep = Duration::from_secs(60);
    let (mut pictures, mut sound) = (Ring::new(16 << 20, keep), Ring::new(1 << 20, keep));
    for n in 0..=12 * RATE {
        put(
            &mut pictures,
            Time::from_ticks(n, RATE as u32),
            n % (4 * RATE) == 0,
            BYTES / (4 * RATE) as usize,
        );
    }
    for n in 0..400 {
        put(&mut sound, Time::from_ticks(n * 1024, 32_000), true, 256);
    }
    let config = AudioConfig::lc(32_000, 1);
    let mut session = Session::new(Keys::new(&[1; 32], &[2; 32], &[3; 32]), Vec::new());
    let mut out = Vec::with_capacity(HDS_CHUNK + AROUND);
    let (mut spent, mut bytes, mut asked, mut held) = (0u64, 0usize, 0usize, 0usize);
    for _ in 0..times {
        let empty = HELD.load(Relaxed);
        let mut clip = Clip::new(&pictures, Some((&sound, &config)), Time::ZERO).unwrap();
        for fragment in 0..3 {
            let before = (ALLOCATIONS.load(Relaxed), cpu());
            assert_eq!(clip.next(&pictures, Some(&sound), Time::from_ticks(100, 1)), Cut::Ready);
            let total = clip.left();
            let mut number = 0;
            while clip.left() > 0 {
                let len = clip.left().min(HDS_CHUNK);
                number += 1;
                let last = len == clip.left();
                let chunk = Chunk { stream: 1, segment: 2, number, len, total, last, end: false };
                out.clear();
                let from = session.begin_chunk(&chunk, &mut out);
                assert!(clip.take(&pictures, Some(&sound), len, &mut out));
                session.end_chunk(&chunk, from, &mut out);
            }
            // the first one makes room for what all need
            if fragment > 0 {
                spent += cpu() - before.1;
                asked += ALLOCATIONS.load(Relaxed) - before.0;
                bytes += total;
            }
        }
        held = HELD.load(Relaxed) - empty;
    }
    let cipher = Cipher::new(&[7; 32]);
    let mut bare = vec![0; HDS_CHUNK];
    let begun = cpu();
    let mut sealed = 0;
    while sealed < bytes {
        cipher.seal(sealed as u64, &[1, 4, 0, 0], &mut bare).unwrap();
        sealed += bare.len();
    }
    let cipher = cpu() - begun;
    let rate = |bytes: usize, micros: u64| bytes as u64 / micros.max(1);
    let (ours, bare) = (rate(bytes, spent), rate(sealed, cipher));
    println!(
        "film_MB_s={ours} cipher_MB_s={bare} percent={} fragment_bytes={} allocations={asked} described_bytes={held} \
         buffer_bytes={}",
        ours * 100 / bare.max(1),
        bytes / times as usize / 2,
        out.capacity()
    );
}

//! Every parser that reads bytes from outside, on its corpus and on inputs made from it: the same
//! ones each time. Where nightly Rust is at hand, libFuzzer runs the same functions (`docs/fuzzing.md`).
#![cfg(all(feature = "demo", feature = "homekit"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Once;

/// Counts what a target holds.
#[path = "../src/net/heap.rs"]
mod heap;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use targets::{TARGETS, Target};

thread_local! {
    /// What is being run, for the panic's message.
    static NOW: RefCell<(String, Vec<u8>)> = const { RefCell::new((String::new(), Vec::new())) };
}

/// The process may be built to end at a panic: the input is told before that.
fn tell_inputs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            usual(info);
            let _ = NOW.try_with(|now| {
                if let Ok(now) = now.try_borrow()
                    && !now.0.is_empty()
                {
                    let hex: String = now.1.iter().map(|b| format!("{b:02x}")).collect();
                    eprintln!("{} failed on these {} bytes, in hexadecimal:\n{hex}", now.0, now.1.len());
                    eprintln!("as text: {:?}", String::from_utf8_lossy(&now.1));
                }
            });
        }));
    });
}

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 16) % n.max(1) as u64) as usize
    }
}

/// The longest input that is made.
const MAX_INPUT: usize = 16 * 1024;

/// Numbers at which lengths and counters go wrong.
const EDGES: [u64; 20] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    0x7f,
    0x80,
    0xfe,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xfffe,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    u64::MAX,
];

/// Changes an input in one of the ways in which peers and flash memory do.
fn mutate(data: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let len = data.len();
    let at = rng.below(len);
    let most = 1 + rng.below(64);
    let span = 1 + rng.below((len - at).min(most));
    let end = (at + span).min(len);
    match rng.below(11) {
        0 | 1 if len > 0 => data[at] ^= 1 << rng.below(8),
        2 if len > 0 => data[at] = rng.next() as u8,
        3 => data.truncate(at),
        4 => drop(data.drain(at.min(len)..end)),
        5 => {
            let part = data[at.min(len)..end].to_vec();
            let to = rng.below(len + 1);
            data.splice(to..to, part);
        }
        6 => {
            let part: Vec<u8> = (0..1 + rng.below(8)).map(|_| rng.next() as u8).collect();
            data.splice(at..at, part);
        }
        7 => {
            let edge = EDGES[rng.below(EDGES.len())];
            let size = 1 << rng.below(4);
            let bytes = if rng.below(2) == 0 { edge.to_be_bytes() } else { edge.swap_bytes().to_be_bytes() };
            let part = if rng.below(2) == 0 { &bytes[8 - size..] } else { &bytes[..size] };
            data.splice(at..(at + size).min(len), part.iter().copied());
        }
        8 => {
            let edge = EDGES[rng.below(EDGES.len())].to_string();
            data.splice(at..end, edge.into_bytes());
        }
        9 => {
            let other = &corpus[rng.below(corpus.len())];
            let from = rng.below(other.len());
            let n = rng.below(other.len() - from + 1).min(256);
            data.splice(at..end, other[from..from + n].iter().copied());
        }
        _ => {
            let times = 1 + rng.below(200);
            let part = data[at.min(len)..(at + span % 8).min(len)].repeat(times);
            data.splice(at..at, part);
        }
    }
    data.truncate(MAX_INPUT);
}

fn run(target: &Target, input: &[u8], what: impl FnOnce() -> String) {
    NOW.with(|now| {
        let mut now = now.borrow_mut();
        now.0 = what();
        now.1.clear();
        now.1.extend_from_slice(input);
    });
    let before = heap::held();
    heap::most();
    (target.run)(input);
    let most = (heap::most() - before) as usize;
    let may = (target.memory)(input);
    assert!(most <= may, "{most} bytes held at once for {} of input; {may} are allowed", input.len());
}

fn fuzz(name: &str, times: usize) {
    tell_inputs();
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 2, "{} has no corpus", folder.display());
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let hash = name
        .bytes()
        .fold(0x517c_c1b7_2722_0a95, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut rng = Rng(hash);
    run(target, &[], || format!("{name}: nothing"));
    for (file, data) in files.iter().zip(&corpus) {
        run(target, data, || format!("{name}: {}", file.display()));
        // The whole life of a connection that breaks.
        for _ in 0..32 {
            let n = rng.below(data.len());
            run(target, &data[..n], || format!("{name}: {n} bytes of {}", file.display()));
        }
    }
    let scale = std::env::var("FUZZ_TIMES").ok().and_then(|n| n.parse::<usize>().ok()).unwrap_or(1);
    let mut data = Vec::new();
    for round in 0..times * scale {
        data.clone_from(&corpus[rng.below(corpus.len())]);
        let most = 1 + rng.below(8);
        for _ in 0..=rng.below(most) {
            mutate(&mut data, &corpus, &mut rng);
        }
        run(target, &data, || format!("{name}: round {round}"));
    }
    NOW.with(|now| now.borrow_mut().0.clear());
}

macro_rules! targets {
    ($($name:ident: $times:expr,)*) => {
        $(
            #[test]
            fn $name() {
                fuzz(stringify!($name), $times);
            }
        )*

        #[test]
        fn every_target_is_run() {
            let named = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), named);
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut total = 0;
            for name in named {
                assert!(manifest.join(format!("fuzz/fuzz_targets/{name}.rs")).exists(), "{name}");
                for file in std::fs::read_dir(manifest.join("fuzz/corpus").join(name)).unwrap() {
                    total += file.unwrap().metadata().unwrap().len();
                }
            }
            assert!(total < 200 * 1024, "the corpus has {total} bytes");
        }
    };
}

// How often: about a second and a half each on a desk machine, unoptimised.
targets! {
    aac: 50_000,
    adts: 2_000,
    annexb: 2_000,
    args: 20_000,
    auth: 20_000,
    config: 1_000,
    demo: 5_000,
    dialogue: 3_000,
    h264: 5_000,
    h265: 5_000,
    hap: 500,
    hds: 10_000,
    http: 5_000,
    jpeg: 20_000,
    json: 10_000,
    mdns: 1_000,
    motion: 2_000,
    opus: 50_000,
    pairing: 2_000,
    rtcp: 20_000,
    rtp: 10_000,
    rtsp: 3_000,
    sdp: 3_000,
    source: 20_000,
    srtp: 1_000,
    tlv8: 2_500,
    uri: 20_000,
    wav: 20_000,
    websocket: 12_000,
}

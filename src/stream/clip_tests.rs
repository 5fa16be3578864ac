//! Clips of rings that are written as time goes by: what hubs insist on, and what sources do to it.

use super::super::ring::Meta;
use super::*;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * MS)
}

/// A camera's two rings, written as time goes by.
struct Rings {
    pictures: Ring,
    sound: Ring,
    n: u64,
    said: u64,
}

const CONFIG: AudioConfig = AudioConfig::lc(32_000, 1);

impl Rings {
    fn new() -> Rings {
        Rings::keeping(60)
    }

    fn keeping(seconds: u64) -> Rings {
        let keep = Duration::from_secs(seconds);
        Rings { pictures: Ring::new(4 << 20, keep), sound: Ring::new(1 << 20, keep), n: 0, said: 0 }
    }

    fn picture(&mut self, ms: u64, key: bool) {
        let time = at(ms);
        self.pictures.append(&[self.n as u8; 1000]).unwrap();
        self.pictures.commit(Meta { time, decode: time, key, gap: false, config: 0 }, None);
        self.n += 1;
    }

    fn sound(&mut self, ms: u64) {
        let meta = Meta { time: at(ms), decode: at(ms), key: true, gap: false, config: 0 };
        self.sound.append(&[self.said as u8 | 0x80; 100]).unwrap();
        self.sound.commit(meta, None);
        self.said += 1;
    }

    /// Pictures at 25 a second, sound at `step` microseconds a frame, with holes.
    fn run(&mut self, from: u64, to: u64, gop: u64, step: u64, hole: std::ops::Range<u64>) {
        for ms in from..to {
            if ms % 40 == 0 {
                self.picture(ms, ms % gop == 0);
            }
            while self.said_at(step) <= ms {
                let when = self.said_at(step);
                match hole.contains(&when) {
                    true => self.said += 1,
                    false => self.sound(when),
                }
            }
        }
    }

    fn said_at(&self, step: u64) -> u64 {
        self.said * step / 1000
    }
}

/// A segment taken in pieces.
fn take(clip: &mut Clip, rings: &Rings, piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let whole = clip.left();
    while clip.left() > 0 {
        assert!(clip.take(&rings.pictures, Some(&rings.sound), piece, &mut out));
    }
    assert_eq!(out.len(), whole);
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Of each track when it begins, and each sample's duration, size and flags.
type Fragment = Vec<(u64, Vec<(u32, u32, u32)>)>;

/// What a fragment's trafs say: begin, and each sample's duration and size.
fn read(fragment: &[u8]) -> Fragment {
    let moof = u32_at(fragment, 0) as usize;
    assert_eq!(&fragment[moof + 4..moof + 8], b"mdat");
    assert_eq!(moof + u32_at(fragment, moof) as usize, fragment.len());
    let mut trafs = Vec::new();
    let mut pos = 8 + 16;
    while pos < moof {
        assert_eq!(&fragment[pos + 4..pos + 8], b"traf");
        let begins = u64::from_be_bytes(fragment[pos + 36..pos + 44].try_into().unwrap());
        let trun = pos + 44;
        assert_eq!(&fragment[trun + 4..trun + 8], b"trun");
        let count = u32_at(fragment, trun + 12) as usize;
        let sample = |i: usize| {
            let s = trun + 20 + 12 * i;
            (u32_at(fragment, s), u32_at(fragment, s + 4), u32_at(fragment, s + 8))
        };
        trafs.push((begins, (0..count).map(sample).collect()));
        pos += u32_at(fragment, pos) as usize;
    }
    trafs
}

/// Everything that can be cut, read; with how far sound lies from its time, in milliseconds.
fn all(rings: &Rings, clip: &mut Clip, now: Time) -> Vec<Fragment> {
    let mut out = Vec::new();
    while clip.next(&rings.pictures, Some(&rings.sound), now) == Cut::Ready {
        out.push(read(&take(clip, rings, 777)));
    }
    out
}

fn joined(fragments: &[Fragment]) {
    let mut ends = [None; 2];
    for (n, fragment) in fragments.iter().enumerate() {
        assert_eq!(fragment[0].1[0].2, 0x0200_0000, "fragment {n} begins with a key frame");
        for (track, (begins, samples)) in fragment.iter().enumerate() {
            assert!(samples.iter().all(|s| s.0 > 0));
            assert_eq!(ends[track].unwrap_or(*begins), *begins, "fragment {n}, track {track}");
            ends[track] = Some(begins + samples.iter().map(|s| u64::from(s.0)).sum::<u64>());
        }
        let seconds = |track: usize, rate| ends[track].unwrap() * 1000 / rate;
        assert!(seconds(0, 90_000).abs_diff(seconds(1, 32_000)) < 40, "sound ends with its pictures");
    }
}

#[test]
fn fragments_last_about_four_seconds_whatever_the_gop() {
    for (gop, lasts) in [
        (1000, 4000),
        (2000, 4000),
        (4000, 4000),
        (3000, 3000),
        (520, 4160),
        (1480, 2960),
        (2320, 2320),
        (5000, 5000),
    ] {
        let mut rings = Rings::new();
        rings.run(0, 30_000, gop, 32_000, 0..0);
        let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(10_000)).unwrap();
        assert!(clip.begins() <= at(10_000) && clip.begins() > at(5_900), "{gop}: {:?}", clip.begins());
        let fragments = all(&rings, &mut clip, at(30_000));
        assert!(fragments.len() >= 3, "{gop}: {}", fragments.len());
        joined(&fragments);
        for f in &fragments {
            let ms: u32 = f[0].1.iter().map(|s| s.0).sum::<u32>() / 90;
            assert_eq!(ms, lasts, "GOP {gop}");
        }
        assert_eq!(fragments[0][0].0, 0);
    }
}

#[test]
fn a_long_group_is_asked_to_end() {
    let mut rings = Rings::new();
    rings.run(0, 4_040, 100_000, 32_000, 0..0);
    let mut clip = Clip::new(&rings.pictures, None, at(0)).unwrap();
    assert_eq!(clip.next(&rings.pictures, None, at(4_040)), Cut::Wait { ask: false });
    rings.run(4_040, 4_120, 100_000, 32_000, 0..0);
    assert_eq!(clip.next(&rings.pictures, None, at(4_120)), Cut::Wait { ask: true });
    rings.picture(4_160, true);
    assert_eq!(clip.next(&rings.pictures, None, at(4_160)), Cut::Ready);
}

#[test]
fn sound_that_drifts_or_is_missing_stays_beside_its_pictures() {
    // frames are 32 ms; a microphone that is 0.3 % too slow or too fast, and one with holes
    for (step, hole) in [(32_100, 0..0), (31_900, 0..0), (32_000, 12_000..13_500), (32_000, 9_000..30_000)] {
        let mut rings = Rings::new();
        rings.run(0, 30_000, 2000, step, hole.clone());
        let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(8_000)).unwrap();
        let base = clip.begins().nanos() / 1000;
        let mut count = 0;
        let mut said = (base / step).saturating_sub(1);
        while clip.next(&rings.pictures, Some(&rings.sound), at(40_000)) == Cut::Ready {
            let fragment = take(&mut clip, &rings, 5000);
            let trafs = read(&fragment);
            let mut tick = trafs[1].0;
            let moof = u32_at(&fragment, 0) as usize;
            let mut place = moof + 8 + trafs[0].1.iter().map(|s| s.1 as usize).sum::<usize>();
            for (lasts, size, _) in &trafs[1].1 {
                let bytes = &fragment[place..place + *size as usize];
                if bytes != fmp4::silence(1) {
                    while bytes[0] != said as u8 | 0x80 {
                        said += 1;
                    }
                    let off = (base + tick * 1_000_000 / 32_000).abs_diff(said * step);
                    assert!(off <= 20_000, "{step}, {hole:?}: {off} µs");
                    count += 1;
                }
                tick += u64::from(*lasts);
                place += *size as usize;
            }
        }
        assert!(count > 20, "{count}");
    }
}

#[test]
fn a_silent_source_ends_its_fragment_and_goes_on_without_a_hole() {
    let mut rings = Rings::new();
    rings.run(0, 11_000, 2000, 32_000, 0..0);
    let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(4_000)).unwrap();
    let mut fragments = all(&rings, &mut clip, at(11_000));
    assert_eq!(fragments.len(), 1);
    fragments.extend(all(&rings, &mut clip, at(14_500)));
    assert_eq!(fragments.len(), 2, "what is there is sent before the hub gives up");
    // it comes back in the middle of nothing, later with a key frame
    (rings.said, rings.n) = (20_000 / 32, 500);
    rings.picture(20_000, false);
    rings.run(20_040, 40_000, 2000, 32_000, 0..0);
    fragments.extend(all(&rings, &mut clip, at(40_000)));
    assert!(fragments.len() > 4);
    joined(&fragments);
}

#[test]
fn a_hub_that_is_too_slow_gets_no_rubbish() {
    let mut rings = Rings::keeping(6);
    rings.run(0, 10_000, 2000, 32_000, 0..0);
    let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(4_000)).unwrap();
    assert_eq!(clip.next(&rings.pictures, Some(&rings.sound), at(10_000)), Cut::Ready);
    let mut out = Vec::new();
    assert!(clip.take(&rings.pictures, Some(&rings.sound), 5000, &mut out));
    rings.run(10_000, 100_000, 2000, 32_000, 0..0);
    let left = clip.left();
    assert!(!clip.take(&rings.pictures, Some(&rings.sound), left, &mut out));
    // and the next one begins where there is something again
    assert_eq!(clip.next(&rings.pictures, Some(&rings.sound), at(100_000)), Cut::Ready);
    let fragment = read(&take(&mut clip, &rings, 1 << 20));
    assert_eq!(fragment[0].0, 4 * 90_000);
}

#[test]
fn what_is_left_is_not_lost() {
    let mut rings = Rings::new();
    rings.run(0, 5_000, 2000, 32_000, 0..0);
    let mut clip = Clip::new(&rings.pictures, Some((&rings.sound, &CONFIG)), at(4_000)).unwrap();
    assert!(clip.rest(&rings.pictures, Some(&rings.sound)));
    let fragment = read(&take(&mut clip, &rings, 999));
    assert_eq!((fragment[0].1.len(), fragment.len()), (25, 2));
    assert!(!clip.rest(&rings.pictures, Some(&rings.sound)), "once");
}

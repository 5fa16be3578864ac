//! The text behind `demo:` as a checked set of numbers. What is out of bounds is told with the
//! option, the text and what was expected; nothing is silently corrected.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;

/// When the figure walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// 6 s in every 20.
    Walk,
    /// Never.
    None,
    /// One walk after the other.
    Always,
}

/// The codec of the sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// 16-bit samples.
    Pcm,
    /// G.711 A-law.
    Alaw,
    /// G.711 mu-law.
    Ulaw,
    /// AAC.
    Aac,
    /// Opus.
    Opus,
    /// No sound.
    None,
}

/// What a demo camera shows and how it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Width of the picture, even.
    pub width: u16,
    /// Height of the picture, even.
    pub height: u16,
    /// Frames per second.
    pub fps: u8,
    /// Seconds from one key frame to the next.
    pub gop: u8,
    /// When the figure walks.
    pub motion: Motion,
    /// Mean bits per second, filled with noise; 0: whatever the picture needs.
    pub bitrate: u32,
    /// Percent of the blocks that change their brightness with each frame.
    pub noise: u8,
    /// The codec of the sound.
    pub audio: Audio,
    /// Samples per second of the sound.
    pub rate: u32,
}

impl Options {
    /// The main picture: 1280×720 at 25 fps.
    pub const MAIN: Options = Options {
        width: 1280,
        height: 720,
        fps: 25,
        gop: 2,
        motion: Motion::Walk,
        bitrate: 0,
        noise: 0,
        audio: Audio::Pcm,
        rate: 16_000,
    };

    /// The small picture: 640×360.
    pub const SUB: Options = Options { width: 640, height: 360, ..Options::MAIN };

    /// Reads a source's address: `demo:`, `demo:sub`, `demo:?width=…&…`, `demo:sub?…`.
    pub fn parse(source: &str) -> Result<Options, OptionsError> {
        let rest = source.strip_prefix("demo:").unwrap_or(source);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = match path.trim_matches('/') {
            "" | "main" => Options::MAIN,
            "sub" => Options::SUB,
            other => return Err(OptionsError::new("", other, "nothing, main or sub")),
        };
        let mut rated = false;
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(name, text)?;
            rated |= name == "rate";
        }
        if !rated && matches!(options.audio, Audio::Alaw | Audio::Ulaw) {
            options.rate = 8000; // as every player expects of G.711
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), OptionsError> {
        match name {
            "width" => self.width = even(name, text, 3840, "an even number from 64 to 3840")?,
            "height" => self.height = even(name, text, 2160, "an even number from 64 to 2160")?,
            "fps" => self.fps = number(name, text, 1, 60, "a number from 1 to 60")? as u8,
            "gop" => self.gop = number(name, text, 1, 10, "seconds from 1 to 10")? as u8,
            "noise" => self.noise = number(name, text, 0, 100, "percent from 0 to 100")? as u8,
            "bitrate" => {
                self.bitrate = match number(name, text, 0, MAX_BITRATE, BITRATE) {
                    Ok(bits @ 1..MIN_BITRATE) => {
                        return Err(OptionsError::new(name, &bits.to_string(), BITRATE));
                    }
                    other => other?,
                }
            }
            "rate" => {
                self.rate = match number(name, text, 0, 48_000, RATE)? {
                    rate @ (8000 | 16_000 | 24_000 | 32_000 | 44_100 | 48_000) => rate,
                    _ => return Err(OptionsError::new(name, text, RATE)),
                }
            }
            "motion" => {
                self.motion = match text {
                    "walk" => Motion::Walk,
                    "none" => Motion::None,
                    "always" => Motion::Always,
                    _ => return Err(OptionsError::new(name, text, "walk, none or always")),
                }
            }
            "audio" => {
                self.audio = match text {
                    "pcm" => Audio::Pcm,
                    "alaw" => Audio::Alaw,
                    "ulaw" => Audio::Ulaw,
                    "aac" => Audio::Aac,
                    "opus" => Audio::Opus,
                    "none" => Audio::None,
                    _ => return Err(OptionsError::new(name, text, "pcm, alaw, ulaw, aac, opus or none")),
                }
            }
            _ => {
                const NAMES: &str =
                    "one of width, height, fps, gop, motion, bitrate, noise, audio and rate as a name";
                return Err(OptionsError::new("", name, NAMES));
            }
        }
        Ok(())
    }

    /// Frames from one key frame to the next.
    pub fn gop_frames(&self) -> u32 {
        (u32::from(self.gop) * u32::from(self.fps)).max(1)
    }
}

/// The least bit rate that can be asked for.
pub const MIN_BITRATE: u32 = 32_000;
/// The greatest bit rate that can be asked for.
pub const MAX_BITRATE: u32 = 50_000_000;
const BITRATE: &str = "0 or bits per second from 32000 to 50000000";
const RATE: &str = "8000, 16000, 24000, 32000, 44100 or 48000";

fn number(name: &str, text: &str, min: u32, max: u32, expected: &'static str) -> Result<u32, OptionsError> {
    match text.parse::<u32>() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(OptionsError::new(name, text, expected)),
    }
}

fn even(name: &str, text: &str, max: u32, expected: &'static str) -> Result<u16, OptionsError> {
    match number(name, text, 64, max, expected)? {
        n if n % 2 == 0 => Ok(n as u16),
        _ => Err(OptionsError::new(name, text, expected)),
    }
}

/// Why an address of the demo camera was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError {
    /// The option; empty if it is the address itself.
    pub option: String,
    /// What was written.
    pub text: String,
    /// What was expected.
    pub expected: &'static str,
}

impl OptionsError {
    fn new(option: &str, text: &str, expected: &'static str) -> OptionsError {
        // what is echoed is bounded: it came from outside
        let cut = |s: &str| s.chars().take(40).collect();
        OptionsError { option: cut(option), text: cut(text), expected }
    }
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("demo: ")?;
        if !self.option.is_empty() {
            write!(f, "{}=", self.option)?;
        }
        write!(f, "{} is not understood: expected {}", self.text, self.expected)
    }
}

impl std::error::Error for OptionsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_pictures_have_short_names() {
        assert_eq!(Options::parse("demo:"), Ok(Options::MAIN));
        assert_eq!(Options::parse("demo:sub"), Ok(Options::SUB));
    }

    #[test]
    fn g711_has_its_usual_rate() {
        assert_eq!(Options::parse("demo:?audio=alaw").unwrap().rate, 8000);
        assert_eq!(Options::parse("demo:?rate=16000&audio=ulaw").unwrap().rate, 16_000);
    }

    #[test]
    fn every_option_is_read() {
        let o = Options::parse(
            "demo:?width=320&height=180&fps=10&gop=4&motion=always&bitrate=500000&noise=7&audio=opus&rate=48000",
        );
        let expected = Options {
            width: 320,
            height: 180,
            fps: 10,
            gop: 4,
            motion: Motion::Always,
            bitrate: 500_000,
            noise: 7,
            audio: Audio::Opus,
            rate: 48_000,
        };
        assert_eq!(o, Ok(expected));
        assert_eq!(Options::parse("demo:sub?fps=5"), Ok(Options { fps: 5, ..Options::SUB }));
    }

    #[test]
    fn a_wrong_option_says_which_and_what_was_expected() {
        for (source, sentence) in [
            ("demo:?width=63", "demo: width=63 is not understood: expected an even number from 64 to 3840"),
            (
                "demo:?height=721",
                "demo: height=721 is not understood: expected an even number from 64 to 2160",
            ),
            ("demo:?fps=0", "demo: fps=0 is not understood: expected a number from 1 to 60"),
            ("demo:?gop=11", "demo: gop=11 is not understood: expected seconds from 1 to 10"),
            ("demo:?noise=-1", "demo: noise=-1 is not understood: expected percent from 0 to 100"),
            (
                "demo:?bitrate=5",
                "demo: bitrate=5 is not understood: expected 0 or bits per second from 32000 to 50000000",
            ),
            (
                "demo:?rate=11025",
                "demo: rate=11025 is not understood: expected 8000, 16000, 24000, 32000, 44100 or 48000",
            ),
            ("demo:?motion=run", "demo: motion=run is not understood: expected walk, none or always"),
            (
                "demo:?audio=mp3",
                "demo: audio=mp3 is not understood: expected pcm, alaw, ulaw, aac, opus or none",
            ),
            ("demo:third", "demo: third is not understood: expected nothing, main or sub"),
            ("demo:?fps", "demo: fps= is not understood: expected a number from 1 to 60"),
        ] {
            assert_eq!(Options::parse(source).unwrap_err().to_string(), sentence);
        }
        let e = Options::parse("demo:?colour=red").unwrap_err().to_string();
        assert!(e.starts_with("demo: colour is not understood: expected one of width"), "{e}");
        let long = Options::parse(&format!("demo:?{}=1", "x".repeat(1 << 20))).unwrap_err();
        assert!(long.to_string().len() < 200);
    }
}

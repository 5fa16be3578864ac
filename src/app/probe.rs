//! `streamd probe`: watches a source for some seconds and says what it is: tracks, codecs, size,
//! bitrate, GOP; and on request keeps what it saw, for whoever has to find a fault.

use super::api::VERSION;
use super::help::Exit;
use super::program::{Program, configure_quiet_log};
use super::run::configuration;
use super::terminal;
use super::{log as logging, modules};
use crate::container::adts::Adts;
use crate::container::wav;
use crate::media::aac::AudioConfig;
use crate::media::nal::NalCodec;
use crate::media::parameter_sets::ParameterSets;
use crate::media::{Codec, CodecId, Kind, Time, annexb};
use crate::net::executor::LocalExecutor;
use crate::net::json::Writer;
use crate::stream::{Join, Peer, Reader, Source, SourceSpec, Step, Wish};
use futures_lite::future;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// What was seen of a track.
#[derive(Default)]
struct Seen {
    frames: u64,
    bytes: u64,
    keys: u64,
    first: Option<Time>,
    last: Time,
    last_key: Option<(u64, Time)>,
    /// Frames and time between two key frames: shortest and longest.
    gop: Option<(u64, u64)>,
    gop_time: Duration,
    largest: usize,
    gaps: u64,
}

impl Seen {
    fn count(&mut self, time: Time, key: bool, gap: bool, len: usize) {
        self.frames += 1;
        self.bytes += len as u64;
        self.gaps += u64::from(gap && self.first.is_some());
        self.largest = self.largest.max(len);
        self.first.get_or_insert(time);
        self.last = self.last.max(time);
        if key {
            self.keys += 1;
            if let Some((frame, at)) = self.last_key {
                let n = self.frames - frame;
                self.gop = Some(self.gop.map_or((n, n), |(a, b)| (a.min(n), b.max(n))));
                self.gop_time = self.gop_time.max(time.since(at));
            }
            self.last_key = Some((self.frames, time));
        }
    }

    fn span(&self) -> Duration {
        self.first.map_or(Duration::ZERO, |first| self.last.since(first))
    }

    /// Thousandths of a frame per second.
    fn rate_milli(&self) -> u64 {
        let span = self.span().as_micros() as u64;
        (self.frames.saturating_sub(1) * 1_000_000_000).checked_div(span).unwrap_or(0)
    }

    fn bits(&self) -> u64 {
        // the last frame lasts as well
        let span = self.span().as_micros() as u64;
        let span = if self.frames > 1 { span * self.frames / (self.frames - 1) } else { span };
        (self.bytes * 8 * 1_000_000).checked_div(span).unwrap_or(0)
    }
}

/// When enough was seen.
pub struct Until {
    /// Then at the latest.
    pub seconds: u32,
    /// Each track of picture and sound has so many frames.
    pub frames: Option<u32>,
}

/// Watches and reports.
pub fn probe(arguments: &[String], source: &str, json: bool, until: &Until, save: Option<&Path>) -> Exit {
    logging::install();
    let loaded = configuration(arguments);
    logging::set_secrets(loaded.secrets.clone());
    // what is wrong is told once, as the answer; unless the log was asked for
    configure_quiet_log(&loaded.config);
    let executor = Rc::new(LocalExecutor::new());
    let program = Program::new(executor.clone(), arguments.to_vec(), loaded, modules::compiled());
    modules::register(&program.hall, &|_| true);
    let done = executor.block_on(watch(&program, source, until, save));
    let done = done.unwrap_or_else(|| Err("ended".into()));
    // Sources that are let go say goodbye: many cameras have only three or four seats.
    for _ in 0..100 {
        if !executor.try_tick() {
            break;
        }
    }
    match done {
        Ok(report) => {
            let text = if json { report.json() } else { report.text() };
            terminal::print_line(text.trim_end());
            Exit::Ok
        }
        Err(sentence) => {
            let sentence = program.loaded().secrets.mask(&sentence).into_owned();
            let sentence = sentence.strip_prefix("streams: ").unwrap_or(&sentence);
            terminal::complain(format_args!("streamd probe: {sentence}"));
            Exit::Failed
        }
    }
}

struct Report {
    source: String,
    format: String,
    medias: Vec<String>,
    tracks: Vec<(Codec, Seen)>,
}

async fn watch(
    program: &Rc<Program>,
    source: &str,
    until: &Until,
    save: Option<&Path>,
) -> Result<Report, String> {
    let texts = match program.loaded().config.stream(source) {
        Some(stream) => stream.sources.iter().map(|s| s.url.clone()).collect(),
        None => vec![source.to_owned()],
    };
    let specs: Result<Vec<_>, _> =
        texts.iter().map(|t| SourceSpec::parse(t).map_err(|e| e.to_string())).collect();
    let stream = program.hall.set("probe", specs?).map_err(|e| e.to_string())?;
    let all = |kind| Wish { all: true, ..Wish::any(kind) };
    let wishes = [all(Kind::Video), all(Kind::Audio), all(Kind::Data)];
    // from the beginning of what the source gives, with true times
    let join = Join::Back(Duration::from_secs(3600));
    let mut reader = stream
        .attach(&wishes, join, Peer { format: "probe", ..Peer::default() })
        .await
        .map_err(|e| e.to_string())?;
    let mut files = Files::open(&reader, save)?;
    let mut tracks: Vec<(Codec, Seen)> =
        (0..reader.len()).filter_map(|at| Some(((*reader.codec(at)?).clone(), Seen::default()))).collect();
    let medias = describe(&stream.sources());
    let end = std::time::Instant::now() + Duration::from_secs(u64::from(until.seconds));
    loop {
        let next = future::or(async { Some(reader.next().await) }, async {
            crate::net::reactor::Timer::at(end).await;
            None
        });
        match next.await {
            None | Some(Step::Closed(_)) => break,
            Some(Step::Codec(at, codec)) => {
                if let Some(track) = tracks.get_mut(at) {
                    track.0 = (*codec).clone();
                }
            }
            Some(Step::Frame(at)) => {
                let codec = reader.codec(at);
                if let (Some(shown), Some(track), Some(codec)) = (reader.frame(at), tracks.get_mut(at), codec)
                {
                    track.0 = (*codec).clone();
                    track.1.count(shown.time, shown.meta.key, shown.gap, shown.data.len());
                    files.write(at, &codec, shown.meta.key, &shown.data)?;
                }
                reader.done(at);
                let is_enough = |track: &(Codec, Seen)| {
                    track.0.kind() == Kind::Data || until.frames.is_some_and(|n| track.1.frames >= n.into())
                };
                if tracks.iter().all(is_enough) && tracks.iter().any(|t| t.0.kind() != Kind::Data) {
                    break;
                }
            }
        }
    }
    files.finish()?;
    let source = program.loaded().secrets.mask(source).into_owned();
    Ok(Report { source, format: medias.0, medias: medias.1, tracks })
}

fn describe(sources: &[Rc<Source>]) -> (String, Vec<String>) {
    let mut formats: Vec<&str> = sources.iter().map(|s| s.peer().format).filter(|f| !f.is_empty()).collect();
    formats.dedup();
    let medias = sources.iter().flat_map(|s| s.outlets()).map(|o| o.media().to_string()).collect();
    (formats.join(", "), medias)
}

impl Report {
    fn json(&self) -> String {
        let mut w = Writer::new();
        w.begin_object();
        w.key("streamd").string(VERSION);
        w.key("source").string(&self.source);
        w.key("format").string(&self.format);
        w.key("medias").begin_array();
        for media in &self.medias {
            w.string(media);
        }
        w.end_array();
        w.key("tracks").begin_array();
        for (codec, seen) in &self.tracks {
            w.begin_object();
            w.key("codec").string(codec.id.name());
            w.key("kind").string(codec.kind().name());
            if codec.kind() == Kind::Audio {
                w.key("rate").uint(u64::from(codec.rate));
                w.key("channels").uint(u64::from(codec.channels));
            }
            if let Some(info) =
                NalCodec::of(codec.id).and_then(|c| ParameterSets::from_extra(c, &codec.extra).info())
            {
                w.key("width").uint(u64::from(info.width));
                w.key("height").uint(u64::from(info.height));
                w.key("profile").string(&info.profile.to_string());
            }
            w.key("frames").uint(seen.frames);
            w.key("bytes").uint(seen.bytes);
            w.key("seconds").milli(seen.span().as_millis() as u64);
            w.key("frame_rate").milli(seen.rate_milli());
            w.key("bitrate").uint(seen.bits());
            w.key("largest").uint(seen.largest as u64);
            w.key("gaps").uint(seen.gaps);
            if codec.id.has_key_frames() {
                w.key("key_frames").uint(seen.keys);
                if let Some((shortest, longest)) = seen.gop {
                    w.key("gop_shortest").uint(shortest);
                    w.key("gop_longest").uint(longest);
                    w.key("gop_seconds").milli(seen.gop_time.as_millis() as u64);
                }
            }
            w.end_object();
        }
        w.end_array();
        w.end_object();
        w.finish()
    }

    fn text(&self) -> String {
        let mut out = format!("{} ({})\n", self.source, self.format);
        for media in &self.medias {
            out.push_str(&format!("  offers {media}\n"));
        }
        for (codec, seen) in &self.tracks {
            let fps = seen.rate_milli();
            let mut line = format!("  {codec}");
            if let Some(info) =
                NalCodec::of(codec.id).and_then(|c| ParameterSets::from_extra(c, &codec.extra).info())
            {
                line.push_str(&format!(" {}x{}, {}", info.width, info.height, info.profile));
            }
            line.push_str(&format!(
                ": {} frames, {}.{:02} a second, {} kbit/s",
                seen.frames,
                fps / 1000,
                fps % 1000 / 10,
                seen.bits() / 1000
            ));
            match seen.gop.filter(|_| codec.id.has_key_frames()) {
                Some((a, b)) if a == b => line.push_str(&format!(", a key frame every {a} frames")),
                Some((a, b)) => line.push_str(&format!(", a key frame every {a} to {b} frames")),
                None if codec.id.has_key_frames() => {
                    line.push_str(&format!(", {} key frame(s) seen", seen.keys))
                }
                None => {}
            }
            if seen.gaps > 0 {
                line.push_str(&format!(", {} gaps", seen.gaps));
            }
            out.push_str(&line);
            out.push('\n');
        }
        out
    }
}

/// What is kept of the tracks: each in the plainest file that players read.
struct Files {
    files: Vec<Option<(File, PathBuf, u64)>>,
}

impl Files {
    fn open(reader: &Reader, save: Option<&Path>) -> Result<Files, String> {
        let mut files = Vec::new();
        let mut used: Vec<PathBuf> = Vec::new();
        for at in 0..reader.len() {
            let Some((prefix, codec)) = save.zip(reader.codec(at)) else {
                files.push(None);
                continue;
            };
            let ending = match codec.id {
                CodecId::H264 => "h264",
                CodecId::H265 => "h265",
                CodecId::Aac => "aac",
                CodecId::Pcma | CodecId::Pcmu | CodecId::Pcml | CodecId::L16 => "wav",
                CodecId::Jpeg => "mjpeg",
                _ => "raw",
            };
            let mut name = prefix.as_os_str().to_owned();
            name.push(format!(".{ending}"));
            if used.iter().any(|p| p.as_os_str() == name) {
                name = prefix.as_os_str().to_owned();
                name.push(format!("-{at}.{ending}"));
            }
            let path = PathBuf::from(name);
            let mut file = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            if let Some(header) = wav_header(&codec, None) {
                file.write_all(&header).map_err(|e| format!("{}: {e}", path.display()))?;
            }
            used.push(path.clone());
            files.push(Some((file, path, 0)));
        }
        Ok(Files { files })
    }

    fn write(&mut self, at: usize, codec: &Codec, key: bool, data: &[u8]) -> Result<(), String> {
        let Some(Some((file, path, written))) = self.files.get_mut(at) else { return Ok(()) };
        let mut out = Vec::with_capacity(data.len() + 64);
        match codec.id {
            CodecId::H264 | CodecId::H265 => {
                if key {
                    annexb::from_lengths(&codec.extra, &mut out);
                }
                annexb::from_lengths(data, &mut out);
            }
            CodecId::Aac => {
                let config = AudioConfig::parse(&codec.extra);
                if let Ok(header) = config.and_then(|c| Adts::new(&c, data.len())) {
                    out.extend_from_slice(&header.emit());
                }
                out.extend_from_slice(data);
            }
            // WAV has its bytes the other way round
            CodecId::L16 => {
                data.as_chunks::<2>().0.iter().for_each(|[high, low]| out.extend_from_slice(&[*low, *high]))
            }
            _ => out.extend_from_slice(data),
        }
        *written += out.len() as u64;
        file.write_all(&out).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Sets the lengths that are known only now.
    fn finish(&mut self) -> Result<(), String> {
        use std::io::{Read, Seek, SeekFrom};
        for (file, path, written) in self.files.iter_mut().flatten() {
            if path.extension().is_some_and(|e| e == "wav") {
                let failed = |e: std::io::Error| format!("{}: {e}", path.display());
                let mut again = File::open(&*path).map_err(failed)?;
                let mut head = [0; 64];
                let n = again.read(&mut head).map_err(failed)?;
                let mut reader = wav::Reader::default();
                if let Ok((_, Some(header))) = reader.read(head.get(..n).unwrap_or_default()) {
                    let header = wav::Header { data: u32::try_from(*written).ok(), ..header };
                    let (bytes, len) = header.emit();
                    file.seek(SeekFrom::Start(0)).map_err(failed)?;
                    file.write_all(bytes.get(..len).unwrap_or_default()).map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}

fn wav_header(codec: &Codec, data: Option<u32>) -> Option<Vec<u8>> {
    let format = match codec.id {
        CodecId::Pcma => wav::Format::Alaw,
        CodecId::Pcmu => wav::Format::Mulaw,
        CodecId::Pcml | CodecId::L16 => wav::Format::Pcm16,
        _ => return None,
    };
    let header = wav::Header { format, rate: codec.rate, channels: u16::from(codec.channels.max(1)), data };
    let (bytes, len) = header.emit();
    bytes.get(..len).map(<[u8]>::to_vec)
}

//! `streamd motion`: the detector as cameras run it, over a file or a live source, shown picture by picture;
//! for whoever has to find the right threshold, and for the table of scores in `docs/motion.md`.

mod plot;
mod score;

use super::help::Exit;
use super::program::{Program, configure_quiet_log};
use super::run::configuration;
use super::{log as logging, modules};
use crate::media::annexb::{self, AccessUnits, nals, push_with_length};
use crate::media::parameter_sets::ParameterSets;
use crate::media::{Codec, Kind, Time};
use crate::motion::detector::{Detector, Picture, Settings, Type, Verdict, bytes, threshold_of};
use crate::motion::eye::Eye;
use crate::motion::plain::Plain;
use crate::net::executor::LocalExecutor;
use crate::stream::{Join, Peer, SourceSpec, Step, Wish};
use score::{Labels, Score};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Bytes read at once.
const PIECE: usize = 64 * 1024;
/// An access unit of a file may have this many bytes.
const MAX_UNIT: usize = 4 << 20;
/// Frames a second of a raw stream that does not say.
const FPS: u32 = 25;
/// The hold with which labels are compared: what comes after it is judged.
const SCORED_HOLD: Duration = Duration::from_secs(1);

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// As for the program.
    pub config: Vec<String>,
    /// A file, a stream's name or a source.
    pub source: String,
    /// For programs.
    pub csv: bool,
    /// Where to draw it.
    pub svg: Option<PathBuf>,
    /// Frames a second of a raw bitstream.
    pub fps: Option<u32>,
    /// In 256ths.
    pub threshold: Option<u16>,
    /// 1 to 10.
    pub sensitivity: Option<u8>,
    /// How long motion lasts, and how long none begins.
    pub hold: Option<Duration>,
    /// See `hold`.
    pub cool_down: Option<Duration>,
    /// What is to be seen and when.
    pub labels: Option<PathBuf>,
    /// The predecessor's rule.
    pub plain: bool,
    /// When to end.
    pub seconds: Option<u32>,
}

impl Options {
    fn settings(&self) -> Settings {
        let usual = Settings::default();
        let scored = self.labels.is_some();
        let sensitivity = self.sensitivity.map(threshold_of);
        Settings {
            threshold: self.threshold.or(sensitivity).unwrap_or(usual.threshold),
            hold: self.hold.unwrap_or(if scored { SCORED_HOLD } else { usual.hold }),
            cool_down: self.cool_down.unwrap_or(if scored { Duration::ZERO } else { usual.cool_down }),
        }
    }
}

enum Rule {
    Complexity(Box<Detector>),
    Size(Plain),
}

/// A picture and what was thought of it.
#[derive(Clone, Copy)]
struct Seen {
    at: Duration,
    picture: Picture,
    verdict: Verdict,
    on: bool,
}

/// Takes pictures and writes what is thought of them.
struct Scope<'a> {
    rule: Rule,
    csv: bool,
    out: &'a mut dyn Write,
    first: Option<Time>,
    labels: Option<Labels>,
    score: Score,
    plot: Option<plot::Plot>,
}

impl Scope<'_> {
    fn picture(&mut self, time: Time, picture: Picture) -> std::io::Result<()> {
        let at = time.since(*self.first.get_or_insert(time));
        let (verdict, on) = match &mut self.rule {
            Rule::Complexity(d) => (d.picture(time, picture), d.is_on()),
            Rule::Size(p) => (p.picture(time, picture), p.is_on()),
        };
        let seen = Seen { at, picture, verdict, on };
        if let Some(labels) = &self.labels {
            self.score.count(labels, at, on);
        }
        if let Some(plot) = &mut self.plot {
            plot.add(&seen);
        }
        self.write(&seen)
    }

    fn write(&mut self, seen: &Seen) -> std::io::Result<()> {
        let (ms, v) = (seen.at.as_millis() as u64, &seen.verdict);
        let (s, ms) = (ms / 1000, ms % 1000);
        let kind = match seen.picture.kind {
            Type::Key => 'I',
            Type::P => 'P',
            Type::B => 'B',
        };
        let qp = seen.picture.qp.map_or(String::new(), |qp| qp.to_string());
        let [level, base, trigger] = [v.level, v.baseline, v.trigger].map(bytes);
        let (size, out) = (seen.picture.size, &mut self.out);
        if self.csv {
            return writeln!(
                out,
                "{s}.{ms:03},{kind},{size},{qp},{level},{base},{trigger},{}",
                u8::from(seen.on)
            );
        }
        let word = match (v.changed, seen.on) {
            (Some(true), _) => " motion begins",
            (Some(false), _) => " motion ends",
            (None, true) => " motion",
            _ => "",
        };
        writeln!(
            out,
            "{s:5}.{ms:03} {kind} {size:7} bytes  qp {qp:>2}  complexity {level:7}  baseline {base:7}  trigger \
             {trigger:7}{word}"
        )
    }
}

/// Watches and tells.
pub fn motion(options: &Options) -> Exit {
    let labels = match options.labels.as_deref().map(read_labels).transpose() {
        Ok(labels) => labels,
        Err(sentence) => return failed(&sentence),
    };
    let settings = options.settings();
    let rule = match options.plain {
        true => Rule::Size(Plain::new(settings)),
        false => Rule::Complexity(Box::new(Detector::new(settings))),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut scope = Scope {
        rule,
        csv: options.csv,
        out: &mut out,
        first: None,
        score: Score::new(settings.hold),
        labels,
        plot: options.svg.is_some().then(plot::Plot::default),
    };
    if options.csv && scope.out.write_all(b"time,type,size,qp,complexity,baseline,trigger,motion\n").is_err()
    {
        return Exit::Ok;
    }
    let path = Path::new(&options.source);
    let done = if path.is_file() { file(path, options, &mut scope) } else { live(options, &mut scope) };
    let told = match (&scope.labels, scope.csv) {
        (Some(labels), false) => writeln!(scope.out, "{}", scope.score.text(labels)),
        // a table stays a table
        (Some(labels), true) => writeln!(std::io::stderr(), "{}", scope.score.text(labels)),
        _ => Ok(()),
    };
    let plotted = match (options.svg.as_deref(), &scope.plot) {
        (Some(to), Some(plot)) => {
            std::fs::write(to, plot.svg(scope.labels.as_ref())).map_err(|e| format!("{}: {e}", to.display()))
        }
        _ => Ok(()),
    };
    let _ = told.and_then(|()| scope.out.flush());
    match done.and(plotted) {
        Ok(()) => Exit::Ok,
        Err(sentence) => failed(&sentence),
    }
}

fn failed(sentence: &str) -> Exit {
    let _ = writeln!(std::io::stderr(), "streamd motion: {sentence}");
    Exit::Failed
}

fn read_labels(path: &Path) -> Result<Labels, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Labels::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// A pipe that nobody reads any longer is no fault.
fn ended(error: std::io::Error) -> Result<(), String> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error.to_string()),
    }
}

/// Goes through a raw bitstream as fast as it can be read.
fn file(path: &Path, options: &Options, scope: &mut Scope<'_>) -> Result<(), String> {
    let lost = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = File::open(path).map_err(lost)?;
    let mut piece = vec![0; PIECE];
    let mut filled = 0;
    while let Some(room) = piece.get_mut(filled..).filter(|r| !r.is_empty()) {
        match file.read(room).map_err(lost)? {
            0 => break,
            n => filled += n,
        }
    }
    let mut part = piece.get(..filled).unwrap_or_default().to_vec();
    let codec = annexb::detect(&part).ok_or_else(|| {
        format!("{}: not a raw H.264 or H.265 stream (ffmpeg -c copy -f h264 makes one)", path.display())
    })?;
    let (mut units, mut sets) = (AccessUnits::new(codec, MAX_UNIT), ParameterSets::new(codec));
    let (mut eye, mut unit, mut count) = (None, Vec::new(), 0u64);
    let mut one = |data: &[u8], scope: &mut Scope<'_>| -> std::io::Result<bool> {
        unit.clear();
        let found = sets.unit(nals(data), &mut |nal| push_with_length(nal, &mut unit));
        if found.changed {
            eye = Eye::new(&Codec { extra: Rc::from(sets.extra()), ..Codec::new(codec.id()) });
        }
        let Some(picture) = eye.as_ref().and_then(|eye| eye.look(&unit, false)) else { return Ok(true) };
        let said = sets.info().and_then(|i| i.frame_rate);
        let (num, den) = options.fps.map(|fps| (fps, 1)).or(said).unwrap_or((FPS, 1));
        let at = Duration::from_nanos(
            (count * u64::from(den)).saturating_mul(1_000_000_000) / u64::from(num.max(1)),
        );
        count += 1;
        if options.seconds.is_some_and(|s| at.as_secs() >= u64::from(s)) {
            return Ok(false);
        }
        scope.picture(Time::from_nanos(1_000_000_000) + at, picture)?;
        Ok(true)
    };
    loop {
        let mut rest = part.as_slice();
        while !rest.is_empty() {
            let used = units.push(rest);
            rest = rest.get(used..).unwrap_or_default();
            while let Some(unit) = units.next_unit() {
                match one(unit, scope) {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(e) => return ended(e),
                }
            }
        }
        let n = file.read(&mut piece).map_err(lost)?;
        if n == 0 {
            break;
        }
        part.clear();
        part.extend_from_slice(piece.get(..n).unwrap_or_default());
    }
    match units.finish().map_or(Ok(true), |unit| one(unit, scope)) {
        Ok(_) => Ok(()),
        Err(e) => ended(e),
    }
}

/// Watches a source as it comes.
fn live(options: &Options, scope: &mut Scope<'_>) -> Result<(), String> {
    logging::install();
    let loaded = configuration(&options.config);
    logging::set_secrets(loaded.secrets.clone());
    configure_quiet_log(&loaded.config);
    let executor = Rc::new(LocalExecutor::new());
    let program = Program::new(executor.clone(), options.config.clone(), loaded, modules::compiled());
    modules::register(&program.hall, &|_| true);
    let done = executor.block_on(watch(&program, options, scope));
    // sources that are let go say goodbye
    for _ in 0..100 {
        if !executor.try_tick() {
            break;
        }
    }
    let masked = |sentence: String| program.loaded().secrets.mask(&sentence).into_owned();
    done.unwrap_or_else(|| Err("ended".into())).map_err(masked)
}

async fn watch(program: &Rc<Program>, options: &Options, scope: &mut Scope<'_>) -> Result<(), String> {
    let texts = match program.loaded().config.stream(&options.source) {
        Some(stream) => stream.sources.iter().map(|s| s.url.clone()).collect(),
        None => vec![options.source.clone()],
    };
    let specs: Result<Vec<_>, _> =
        texts.iter().map(|t| SourceSpec::parse(t).map_err(|e| e.to_string())).collect();
    let stream = program.hall.set("motion", specs?).map_err(|e| e.to_string())?;
    let peer = Peer { format: "motion", ..Peer::default() };
    let join = Join::Back(Duration::from_secs(3600));
    let wishes = [Wish::any(Kind::Video)];
    let mut reader = stream.attach(&wishes, join, peer).await.map_err(|e| e.to_string())?;
    let none = "its pictures are neither H.264 nor H.265";
    let codec = reader.codec(0).ok_or("it has no pictures")?;
    let mut eye = Eye::new(&codec).ok_or(none)?;
    let mut first = None;
    loop {
        match reader.next().await {
            Step::Closed(_) => return Ok(()),
            Step::Codec(_, codec) => eye = Eye::new(&codec).ok_or(none)?,
            Step::Frame(at) => {
                let seen = reader.frame(at).and_then(|f| Some((f.decode, eye.look(&f.data, f.gap)?)));
                reader.done(at);
                let Some((time, picture)) = seen else { continue };
                let since = time.since(*first.get_or_insert(time));
                if options.seconds.is_some_and(|s| since.as_secs() >= u64::from(s)) {
                    return Ok(());
                }
                let written = scope.picture(time, picture).and_then(|()| scope.out.flush());
                if let Err(e) = written {
                    return ended(e);
                }
            }
        }
    }
}

//! The one table of what is compiled in. A new source or protocol is a row here: what serves it,
//! which schemes it dials, and which codecs it gives and takes. `docs/formats.md` is made from it.

use super::program::{Compiled, Service};
#[cfg(any(feature = "demo", feature = "file"))]
use crate::device;
#[allow(unused_imports)] // a small build names few of them
use crate::media::CodecId::{self, *};
use crate::stream::{Connect, Hall};
use std::fmt::Write;
use std::rc::Rc;

/// What something gives and takes.
pub struct Format {
    /// As it is called in statistics and in sources.
    pub name: &'static str,
    /// The module it belongs to.
    pub module: &'static str,
    /// Codecs that it offers as a source.
    pub gives: &'static [CodecId],
    /// Codecs that its speaker takes.
    pub speaker: &'static [CodecId],
    /// Codecs that it can send to viewers.
    pub takes: &'static [CodecId],
}

/// A kind of source.
pub struct SourceKind {
    /// The module, as `app.modules` names it.
    pub module: &'static str,
    /// The schemes it dials.
    pub schemes: &'static [&'static str],
    /// Makes what dials them.
    pub connect: fn(&Hall) -> Rc<dyn Connect>,
    /// An example, for the documentation and for the test of the table.
    pub example: &'static str,
}

/// Sources that are compiled in.
pub const SOURCES: &[SourceKind] = &[
    #[cfg(feature = "demo")]
    SourceKind {
        module: "demo",
        schemes: &["demo"],
        connect: |hall| Rc::new(device::demo::Demo::new(hall.worker().clone())),
        example: "demo:?audio=alaw",
    },
    #[cfg(feature = "file")]
    SourceKind {
        module: "file",
        schemes: &["file"],
        connect: |hall| Rc::new(device::file::Files::new(hall.slow().clone())),
        example: "file:/media/bell.wav",
    },
    #[cfg(feature = "rtsp")]
    SourceKind {
        module: "rtsp",
        schemes: &["rtsp", "rtsps", "rtspx", "rtsp+ws", "rtsp+wss"],
        connect: |hall| Rc::new(crate::rtsp::producer::Client::new(hall)),
        example: "rtsp://user:password@192.168.1.9/ch0",
    },
];

/// What gives and takes which codecs.
pub const FORMATS: &[Format] = &[
    #[cfg(feature = "demo")]
    Format {
        name: "demo",
        module: "demo",
        gives: &[
            H264,
            L16,
            Pcma,
            Pcmu,
            #[cfg(feature = "aac")]
            Aac,
            #[cfg(feature = "opus")]
            Opus,
        ],
        speaker: &[Pcma, Pcmu, L16, Pcml],
        takes: &[],
    },
    #[cfg(feature = "file")]
    Format { name: "wav", module: "file", gives: &[Pcml, Pcma, Pcmu], speaker: &[], takes: &[] },
    #[cfg(feature = "file")]
    Format { name: "adts", module: "file", gives: &[Aac], speaker: &[], takes: &[] },
    #[cfg(feature = "file")]
    Format { name: "h264", module: "file", gives: &[H264], speaker: &[], takes: &[] },
    #[cfg(feature = "file")]
    Format { name: "hevc", module: "file", gives: &[H265], speaker: &[], takes: &[] },
    #[cfg(feature = "rtsp")]
    Format {
        name: "rtsp",
        module: "rtsp",
        gives: &[H264, H265, Jpeg, Pcmu, Pcma, Aac, Opus, G722, Mpa, L16, Pcml, Eld, Onvif],
        speaker: &[Pcmu, Pcma, Aac, Opus, G722, Mpa, L16],
        takes: &[H264, H265, Jpeg, Pcmu, Pcma, Aac, Opus, G722, Mpa, L16, Onvif],
    },
    Format { name: "motion", module: "motion", gives: &[], speaker: &[], takes: &[H264, H265] },
    Format { name: "probe", module: "probe", gives: &[], speaker: &[], takes: CodecId::ALL },
    Format { name: "preload", module: "preload", gives: &[], speaker: &[], takes: CodecId::ALL },
];

/// Servers that are compiled in, in the order in which they start.
const SERVICES: &[fn() -> Rc<dyn Service>] = &[
    #[cfg(feature = "rtsp")]
    || Rc::new(super::rtsp::Rtsp::default()),
    #[cfg(feature = "homekit")]
    || Rc::new(super::homekit::Homekit::default()),
    #[cfg(feature = "record")]
    || Rc::new(super::record::Record::default()),
];

/// What the program has to know of all this.
pub fn compiled() -> Compiled {
    Compiled { names: names(), services: SERVICES.iter().map(|make| make()).collect() }
}

/// Modules that can be started, for `app.modules` and for what the configuration may speak of.
pub fn names() -> Vec<&'static str> {
    let mut names = vec!["api"];
    names.extend(SOURCES.iter().map(|s| s.module));
    if cfg!(feature = "homekit") {
        names.push("homekit");
    }
    if cfg!(feature = "record") {
        names.push("record");
    }
    names
}

/// Has the hall dial what is compiled in and shall start.
pub fn register(hall: &Hall, starts: &dyn Fn(&str) -> bool) {
    for source in SOURCES.iter().filter(|s| starts(s.module)) {
        hall.register(source.schemes, (source.connect)(hall));
    }
}

/// The text of `docs/formats.md`.
pub fn formats() -> String {
    let mut out = String::from(
        "# Formats\n\nMade from the table in `src/app/modules.rs`; a test keeps it true. Sound that a viewer wants and \
         no source has is made from PCMA, PCMU, L16 or PCML, once for all who want it.\n\n\
         | format | module | gives | speaker takes | sends |\n|---|---|---|---|---|\n",
    );
    for f in FORMATS {
        let list = |ids: &[CodecId]| match ids.len() {
            0 => "–".to_owned(),
            n if n == CodecId::ALL.len() => "everything".to_owned(),
            _ => ids.iter().map(|id| id.name()).collect::<Vec<_>>().join(" "),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            f.name,
            f.module,
            list(f.gives),
            list(f.speaker),
            list(f.takes)
        );
    }
    out.push_str("\n| module | schemes | for example |\n|---|---|---|\n");
    for s in SOURCES {
        let _ = writeln!(out, "| {} | {} | `{}` |", s.module, s.schemes.join(" "), s.example);
    }
    out
}

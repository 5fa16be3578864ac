//! The tables of keys, one file per section, and the list of all sections in the order of the
//! reference. A new protocol adds its file here, its row in [`SECTIONS`] and its field in
//! [`Config`](super::Config).

mod api;
mod app;
mod ctl;
mod env;
mod exec;
mod homekit;
mod log;
mod memory;
mod record;
mod rtsp;
mod streams;
mod users;

pub use api::Api;
pub use app::App;
pub use ctl::Ctl;
pub use exec::{Echo, Exec};
pub use homekit::{Homekit, Mdns};
pub use log::Log;
pub use memory::Memory;
pub use record::Record;
pub use rtsp::Rtsp;
pub use streams::StreamOptions;
pub use users::UserRow;

use super::keys::Section;

/// Every section that streamd knows.
pub const SECTIONS: &[&Section] = &[
    &app::SECTION,
    &api::SECTION,
    &users::SECTION,
    &users::OPEN,
    &log::SECTION,
    &env::SECTION,
    &streams::SECTION,
    &streams::PRELOAD,
    &streams::PUBLISH,
    &rtsp::SECTION,
    &homekit::SECTION,
    &homekit::MDNS,
    &record::SECTION,
    &exec::EXEC,
    &exec::ECHO,
    &memory::SECTION,
    &ctl::SECTION,
];

/// Sections of the predecessor, and of modules that are still to come, for which there is no table.
pub const FOREIGN: &[&str] = &[
    "ffmpeg",
    "hass",
    "hksv",
    "hls",
    "mjpeg",
    "motion",
    "mp4",
    "mqtt",
    "ngrok",
    "onvif",
    "pinggy",
    "ring",
    "roborock",
    "rtmp",
    "srtp",
    "tuya",
    "webrtc",
    "webtorrent",
    "wyoming",
    "wyze",
    "xiaomi",
];

/// Names of modules, for `app.modules` and for a log level each.
pub const MODULES: &[&str] = &[
    "alsa",
    "api",
    "app",
    "bubble",
    "config",
    "ctl",
    "debug",
    "demo",
    "device",
    "doorbird",
    "dvrip",
    "echo",
    "eseecloud",
    "exec",
    "expr",
    "ffmpeg",
    "flussonic",
    "gopro",
    "hass",
    "hksv",
    "hls",
    "homekit",
    "http",
    "isapi",
    "ivideon",
    "kasa",
    "mdns",
    "mjpeg",
    "motion",
    "mp4",
    "mpeg",
    "mpegts",
    "mqtt",
    "multitrans",
    "nest",
    "net",
    "ngrok",
    "onvif",
    "pinggy",
    "preload",
    "record",
    "ring",
    "ringbuf",
    "roborock",
    "rtmp",
    "rtsp",
    "srtp",
    "streams",
    "tapo",
    "tuya",
    "v4l2",
    "web",
    "webrtc",
    "webtorrent",
    "worker",
    "ws",
    "wyoming",
    "wyze",
    "xiaomi",
    "yandex",
];

/// The section of a name.
pub fn find(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name).copied()
}

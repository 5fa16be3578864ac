//! The configuration as its users meet it: whole files, what is told about them, what writing changes.

mod loading;
mod tables;
mod writing;
mod yaml;
mod yaml_other;

use std::rc::Rc;

use super::text::Text;
use super::yaml::{Document, YamlError};
use super::yaml_read::parse;
use super::{Loaded, World, sources};

const MODULES: &[&str] = &["api", "rtsp", "exec", "echo", "streams", "preload", "demo"];

fn environment(name: &str) -> Option<String> {
    match name {
        "CAM_PASSWORD" => Some("hunter2secret".to_owned()),
        "LEVEL" => Some("warn".to_owned()),
        "RUN" => Some("exec:reboot".to_owned()),
        _ => None,
    }
}

fn world() -> World<'static> {
    World { env: &environment, modules: MODULES }
}

/// Loads a text as the file `t.yaml`.
fn load(text: &str) -> Loaded {
    sources::load_instead(&["t.yaml".to_owned()], &world(), Some(text))
}

fn told(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(|problem| problem.to_string()).collect()
}

fn document(text: &str) -> Result<Document, YamlError> {
    parse(&Text::plain(&Rc::from("t.yaml"), text.to_owned()))
}

/// The same numbers each time.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % sides.max(1)
    }
}

/// A file with everything that makes writing back hard.
const NASTY: &str = "# head: rtsp://old:secret@10.0.0.9/\r
%PLACEHOLDER%api:   # the door
  listen:   \":1984\"   # port
  password: \"p\u{e4}ss word\"
env: {CAM: 10.0.0.1, \"K\": v}
x-common: &cams
  - rtsp://admin:one@10.0.0.1/a   # first
  - rtsp://admin:two@10.0.0.1/b
streams:
  # above
  \"front door\": rtsp://admin:${CAM_PASSWORD}@${CAM}/main#timeout=5   # trailing
  'yard':
  # inside
  - rtsp://admin:three@10.0.0.2/a
  - ffmpeg:yard#audio=opus

  empty:
  nulled: ~   # nothing
  list: [rtsp://10.0.0.3/a, \"rtsp://10.0.0.3/b\"]
  shared: *cams
  folded: >-
    rtsp://10.0.0.4/
  map:
    url: rtsp://10.0.0.5/
    aliases: [m1]
  # below
preload: {yard: \"video\", list: , }
users:
- {name: anna, password: swordfish, roles: [admin]}
- name: ben
  password: trout-1234   # fish
publish:
  yard: rtmp://a.example/live/key
last: &z 1";

/// [`NASTY`] with CRLF line ends and no line break at its end.
fn nasty() -> String {
    NASTY.replace("%PLACEHOLDER%", "").replace("\r\n", "\n").replace('\n', "\r\n")
}

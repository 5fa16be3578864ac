use super::super::diff::diff;
use super::super::{Severity, sources};
use super::*;

/// A file of the predecessor's user, with every form that its manual shows.
pub const PREDECESSOR: &str = "\
api:
  listen: \":1985\"
  username: \"admin\"
  password: \"${CAM_PASSWORD}\"
  base_path: \"/rtc\"
  origin: \"*\"
  tls_listen: \":443\"
rtsp:
  listen: \":8555\"
  default_query: \"video&audio\"
webrtc:
  listen: \":8556/tcp\"
  ice_servers:
    - urls: [stun:stun.example.org:3478]
      credential: topsecret-ice
log:
  level: ${LEVEL:info}
  rtsp: debug
  output: file:/tmp/log
streams:
  one: rtsp://admin:${CAM_PASSWORD}@192.168.1.123/cam/realmonitor?channel=1&subtype=0#backchannel=0
  many:
    - rtsp://rtsp:12345678@192.168.1.123/av_stream/ch0
    - ffmpeg:many#audio=opus
  inline: [ \"exec:ffmpeg -i x -f h264 -\", 'echo:echo rtsp://x' ]
  mapped:
    url:
      - rtsp://192.168.1.4/
    aliases: [second]
  single_map: {url: rtsp://192.168.1.5/}
  pushed:
  template: ffmpeg:{input}#video=h264
preload:
  one:
  many: video&audio=aac
publish:
  one: rtmp://xxx.example.com/live2/key
homekit:
  one:
    pin: 12345678
ffmpeg:
  bin: ffmpeg
exec:
  allow_paths: [ffmpeg]
";

#[test]
fn a_file_of_the_predecessor_works() {
    let loaded = load(PREDECESSOR);
    let config = &loaded.config;
    assert!(!loaded.has_errors(), "{:?}", told(&loaded));
    assert_eq!(config.api.listen[0].to_string(), ":1985");
    assert_eq!(config.api.password, "hunter2secret");
    assert_eq!(
        (config.log.level, config.log_levels.as_slice()),
        ("warn", &[("rtsp".to_owned(), "debug")][..])
    );
    let shape: Vec<(&str, usize)> =
        config.streams.iter().map(|stream| (stream.name.as_str(), stream.sources.len())).collect();
    assert_eq!(
        shape,
        [
            ("one", 1),
            ("many", 2),
            ("inline", 2),
            ("mapped", 1),
            ("single_map", 1),
            ("pushed", 0),
            ("template", 1)
        ]
    );
    assert!(config.streams[0].sources[0].url.contains("admin:hunter2secret@"));
    assert_eq!(config.streams[3].aliases, ["second"]);
    assert_eq!(
        config.preload,
        [("one".to_owned(), "video&audio".to_owned()), ("many".to_owned(), "video&audio=aac".to_owned())]
    );
    assert_eq!(config.exec.allow_paths, ["ffmpeg"]);
    let lacking: Vec<_> = told(&loaded);
    assert_eq!(lacking.len(), 1, "one line for all that is lacking: {lacking:?}");
    assert!(lacking[0].starts_with("t.yaml:7:3: "), "{lacking:?}");
    for name in ["webrtc", "publish", "homekit", "ffmpeg", "api.tls_listen"] {
        assert!(lacking[0].contains(name), "{lacking:?}");
    }
    for secret in ["hunter2secret", "topsecret-ice"] {
        assert_eq!(loaded.secrets.mask(secret), "***");
    }
}

#[test]
fn each_mistake_is_told_at_its_place_and_the_rest_starts() {
    let mut missed = Vec::new();
    for (text, want) in [
        ("api:\n  listen: 80x\n", "t.yaml:2:11: api.listen: \"80x\" does not fit; expected an address"),
        ("api:\n  listn: ':1'\n", "t.yaml:2:3: api.listn: unknown key, left out; did you mean \"listen\"?"),
        ("strems:\n  a: b\n", "t.yaml:1:1: strems: unknown section, left out; did you mean \"streams\"?"),
        (
            "log:\n  level: debgu\n",
            "t.yaml:2:10: log.level: \"debgu\" does not fit; expected one of \"trace\"",
        ),
        ("log:\n  rtps: debug\n", "t.yaml:2:3: log.rtps: unknown key, left out; did you mean \"rtsp\"?"),
        ("log: {level: {}}\n", "t.yaml:1:14: log.level: this does not fit"),
        ("api: 5\n", "t.yaml:1:6: api: here is a single value; expected a map of keys"),
        (
            "rtsp:\n  pkt_size: 70000\n",
            "t.yaml:2:13: rtsp.pkt_size: \"70000\" does not fit; expected a whole number",
        ),
        (
            "api:\n  local_auth: maybe\n",
            "t.yaml:2:15: api.local_auth: \"maybe\" does not fit; expected true or false",
        ),
        (
            "memory:\n  limit: 8X\n",
            "t.yaml:2:10: memory.limit: \"8X\" does not fit; expected a size from 0 to 1G",
        ),
        (
            "streams:\n  a: b\n  a: c\n",
            "t.yaml:3:3: streams.a stands twice, first at t.yaml:2:3; the first stays",
        ),
        ("streams: [a]\n", "t.yaml:1:10: streams: here is a list; expected names with sources"),
        (
            "streams:\n  a:\n    - b\n    - {c: d}\n",
            "t.yaml:4:7: streams.a: here is a map of keys; expected a source",
        ),
        (
            "streams:\n  a:\n    urls: b\n",
            "t.yaml:3:5: streams.a.urls: unknown key, left out; did you mean \"url\"?",
        ),
        (
            "streams:\n  a: {url: x, aliases: [b]}\n  b: y\n",
            "t.yaml:2:3: streams.a.aliases: \"b\" is already a stream at t.yaml:3:3",
        ),
        ("users:\n  - name: a\n    password: [x]\n", "t.yaml:3:15: users[0].password: this does not fit"),
        (
            "users:\n  - name: a\n    password: b\n    roles: [veiw]\n",
            "t.yaml:4:13: users[0].roles: \"veiw\" does not fit; expected a list of",
        ),
        ("users: {a: b}\n", "t.yaml:1:8: users: here is a map of keys; expected a list"),
        ("users:\n  - {name: a}\n", "t.yaml:2:5: users[0]: a user needs a name and a password"),
        ("open: perhaps\n", "t.yaml:1:7: open: \"perhaps\" does not fit; expected true or false"),
        ("preload:\n  a: [b]\nstreams: {a: x}\n", "t.yaml:2:6: preload.a: this does not fit"),
        (
            "preload:\n  frnt: ''\nstreams: {front: x}\n",
            "t.yaml:2:3: preload.frnt: unknown stream, left out; did you mean \"front\"?",
        ),
        (
            "app:\n  modules: [rtps]\n",
            "t.yaml:2:13: app.modules: \"rtps\": unknown module, left out; did you mean \"rtsp\"?",
        ),
        ("- a\n", "t.yaml:1:1: expected sections like \"streams:\", here is a list"),
        ("api:\n\tlisten: x\n", "t.yaml:2:1: a tab stands where spaces are expected"),
        ("log:\n  level: ${NOPE:laud}\n", "t.yaml:2:10: log.level: \"laud\" does not fit"),
        ("x: 1\nlog: {format: ${LEVEL}, level: loud}\n", "t.yaml:2:32: log.level: \"loud\" does not fit"),
    ] {
        let told = told(&load(text));
        if !told.iter().any(|line| line.starts_with(want)) {
            missed.push(format!("{text:?}: expected {want:?} in {told:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn what_is_wrong_stays_off_and_the_rest_is_there() {
    let loaded = load("api:\n  listen: nope\n  base_path: /x\nstreams:\n  a: [[b]]\n  c: d\nlog: 5\n");
    assert!(loaded.has_errors());
    let config = loaded.config;
    assert_eq!((config.api.listen[0].port, config.api.base_path.as_str()), (1984, "/x"));
    assert!(config.fault("api").unwrap().contains("t.yaml:2:11"));
    assert!(config.fault("streams.a").is_some() && config.fault("streams.c").is_none());
    assert_eq!(config.log.level, "info");
    assert_eq!(config.stream("c").unwrap().sources.len(), 1);
    let broken = load("streams:\n\ta: b\n");
    assert!(broken.has_errors() && broken.config.streams.is_empty());
    assert_eq!(broken.config.api.listen[0].port, 1984);
}

#[test]
fn no_message_shows_a_secret() {
    for text in [
        "api:\n  password: [hunter2]\n",
        "api:\n  password: \"hunter2\\nx\"\n",
        "log:\n  level: rtsp://a:hunter2@h/\n",
        "env: {P: hunter2}\nlog:\n  level: x${P}\n",
        "streams:\n  a:\n    - \"rtsp://a:hunter2@h/\\nx\"\n",
    ] {
        let told = told(&load(text)).join("\n");
        assert!(!told.is_empty() && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn later_sources_override_earlier_ones_key_by_key() {
    let folder = std::env::temp_dir().join(format!("streamd-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (first, second) = (folder.join("a.yaml"), folder.join("b.yaml"));
    std::fs::write(&first, "api: {listen: ':1', username: u}\nstreams: {a: x, b: [y, z]}\n").unwrap();
    std::fs::write(&second, "streams: {b: [w], c: }\n").unwrap();
    let arguments = [
        "{log: {level: debug}}".to_owned(),
        first.display().to_string(),
        second.display().to_string(),
        "api.listen=127.0.0.1:2".to_owned(),
        "streams.cam=rtsp://u:p@h/x?a=b#c".to_owned(),
        "streams.two=[q, r]".to_owned(),
    ];
    let loaded = sources::load(&arguments, &world());
    let config = &loaded.config;
    assert!(!loaded.has_errors(), "{:?}", told(&loaded));
    assert_eq!(loaded.target.as_deref(), Some(first.as_path()));
    assert_eq!((config.log.level, config.api.username.as_str()), ("debug", "u"));
    assert_eq!(config.api.listen[0].to_string(), "127.0.0.1:2");
    let urls = |name: &str| -> Vec<String> {
        config.stream(name).unwrap().sources.iter().map(|source| source.url.clone()).collect()
    };
    assert_eq!((urls("a"), urls("b"), urls("c").len()), (vec!["x".to_owned()], vec!["w".to_owned()], 0));
    assert_eq!((urls("cam"), urls("two").len()), (vec!["rtsp://u:p@h/x?a=b#c".to_owned()], 2));
    let wrong = sources::load(&["a.yaml".to_owned(), "log.level=loud".to_owned()], &world());
    assert!(
        told(&wrong)[0].starts_with("a.yaml: cannot be read"),
        "a named file that is missing is an error"
    );
    assert!(told(&wrong)[1].starts_with("-c #2:1:1: log.level"), "{:?}", told(&wrong));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn credentials_come_before_the_environment() {
    let folder = std::env::temp_dir().join(format!("streamd-cred-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("TOKEN"), " from-file \n").unwrap();
    let path = folder.display().to_string();
    let env = move |name: &str| match name {
        "CREDENTIALS_DIRECTORY" => Some(path.clone()),
        "TOKEN" => Some("from-process".to_owned()),
        _ => None,
    };
    let world = World { env: &env, modules: MODULES };
    assert_eq!(world.lookup("TOKEN").as_deref(), Some("from-file"));
    assert_eq!(world.lookup("../TOKEN"), None);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_missing_default_file_is_a_note() {
    let mut problems = Vec::new();
    let config = super::super::read(
        super::super::yaml::Node::null(),
        MODULES,
        &mut problems,
        &mut crate::net::mask::Secrets::new(),
    );
    assert!(problems.is_empty());
    assert_eq!(config.ctl.socket.to_str(), Some("/var/run/streamd.sock"));
    assert!(Severity::Note < Severity::Error);
}

#[test]
fn a_reload_knows_what_changed() {
    let old = load(
        "api: {listen: ':1984', password: a}\nstreams: {a: x, b: y, c: z}\npreload: {a: }\nlog: {level: info}\n",
    );
    let new = load(
        "api:\n  password: b\nstreams:\n  a: [x]\n  b: w\n  d:\npreload: {a: video, b: }\nlog: {rtsp: debug}\nctl: {socket: /x}\n",
    );
    let changes = diff(&old.config, &new.config);
    assert_eq!(
        (changes.added, changes.changed, changes.removed),
        (vec!["d".to_owned()], vec!["b".to_owned()], vec!["c".to_owned()])
    );
    assert_eq!(changes.preload, ["a", "b"]);
    let keys: Vec<_> = changes.keys.iter().map(|(section, key, _)| (*section, *key)).collect();
    assert_eq!(keys, [("api", "password"), ("log", "MODULE"), ("ctl", "socket")]);
    let changes = diff(&old.config, &new.config);
    assert!(!changes.restarts("api") && changes.touches("api"));
    assert_eq!(changes.need_process().collect::<Vec<_>>(), [("ctl", "socket")]);
    let moved = load("api: {listen: ':1985'}\n");
    assert!(diff(&old.config, &moved.config).restarts("api"));
    assert!(diff(&old.config, &old.config).is_empty());
}

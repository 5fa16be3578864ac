//! The HTTP API as its clients use it: Home Assistant, Frigate, Prometheus, a shell script with curl.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Write};
use support::neighbour::Neighbour;
use support::*;

#[test]
fn home_assistant_finds_a_server_that_it_speaks_with() {
    let it = Streamd::start(&format!("{DEMO}  inbox:\n"));
    let info = it.ask("GET", "/api", "").json();
    let version: Vec<u32> = text(&info, "version").split('.').map(|p| p.parse().unwrap()).collect();
    assert!(version >= vec![1, 9, 13] && version < vec![2], "{version:?}");
    assert_eq!(int(&info, "pid"), i64::from(it.pid()));
    assert!(text(&info, "config_path").ends_with("streamd.yaml"));
    // its client wants a url in every producer, running or not
    for running in [false, true] {
        if running {
            assert_eq!(it.ask("GET", "/api/streams?src=cam&video&audio", "").status, 200);
        }
        let streams = it.ask("GET", "/api/streams", "").json();
        assert_eq!(streams.members().len(), 2);
        for (name, stream) in streams.members() {
            for producer in items(stream, "producers") {
                assert!(producer.get("url").unwrap().as_str().is_some(), "{name}");
            }
            assert!(stream.get("consumers").is_some(), "{name}");
        }
    }
    let schemes = it.ask("GET", "/api/schemes", "").json();
    let schemes: Vec<_> = schemes.items().iter().filter_map(|s| s.as_str()).collect();
    assert!(schemes.contains(&"demo") && schemes.contains(&"file"), "{schemes:?}");
}

#[test]
fn a_probe_tells_what_a_camera_gives_before_anybody_watches() {
    let it = Streamd::start(DEMO);
    let before = it.stream("cam");
    assert_eq!(text(producer(&before), "state"), "idle");
    assert!(producer(&before).get("receivers").is_none());
    let stream = it.ask("GET", "/api/streams?src=cam&video=all&audio=all", "").json();
    let receivers = items(producer(&stream), "receivers");
    let video = receivers.iter().find(|r| text(r.get("codec").unwrap(), "codec_type") == "video").unwrap();
    assert_eq!(text(video.get("codec").unwrap(), "codec_name"), "h264");
    assert_eq!(int(video.get("codec").unwrap(), "width"), 160);
    assert!(receivers.iter().any(|r| text(r.get("codec").unwrap(), "codec_type") == "audio"));
    assert_eq!(it.ask("GET", "/api/streams?src=nobody", "").status, 404);
    let wrong = it.ask("GET", "/api/streams?src=cam&video=vp9", "");
    assert_eq!(wrong.status, 500);
    assert!(wrong.text().to_lowercase().contains("vp9"), "{}", wrong.text());
}

#[test]
fn a_stream_that_was_put_is_in_the_file_and_one_that_was_deleted_is_not() {
    let it = Streamd::start(&format!("# my camera\n{DEMO}  tmpl: demo:sub?{{input}}\n"));
    let src = encode("demo:?width=176&height=144");
    assert_eq!(it.ask("PUT", &format!("/api/streams?name=yard&src={src}"), "").status, 200);
    let file = it.file();
    for part in ["# my camera", "# the door", "yard: demo:?width=176&height=144"] {
        assert!(file.contains(part), "{part}: {file}");
    }
    assert_eq!(mode(&it.folder.path("streamd.yaml")), 0o600);
    assert_eq!(text(producer(&it.stream("yard")), "url"), "demo:?width=176&height=144");
    // several sources, and a new value for a known name
    let two = format!("/api/streams?name=yard&src={src}&src={}", encode("demo:sub"));
    assert_eq!(it.ask("PUT", &two, "").status, 200);
    assert_eq!(items(&it.stream("yard"), "producers").len(), 2);
    // without a name the source is the name
    assert_eq!(it.ask("PUT", &format!("/api/streams?src={}", encode("demo:sub")), "").status, 200);
    assert!(it.ask("GET", "/api/streams", "").json().get("demo:sub").is_some());
    assert_eq!(it.ask("DELETE", &format!("/api/streams?src={}", encode("demo:sub")), "").status, 200);

    // PATCH is forgotten with the program, and fills a template
    let before = it.file();
    assert_eq!(it.ask("PATCH", "/api/streams?name=tmpl&src=fps%3D5", "").status, 200);
    assert_eq!(text(producer(&it.stream("tmpl")), "url"), "demo:sub?fps=5");
    assert_eq!(it.ask("PATCH", "/api/streams?name=guest&src=demo%3Asub", "").status, 200);
    assert_eq!(text(producer(&it.stream("guest")), "url"), "demo:sub");
    assert_eq!(it.file(), before);
    assert_eq!(it.ask("DELETE", "/api/streams?src=guest", "").status, 200);
    assert_eq!(it.file(), before);

    assert_eq!(it.ask("DELETE", "/api/streams?src=yard", "").status, 200);
    assert!(!it.file().contains("yard"));
    assert!(it.file().contains("# the door"));
    assert_eq!(it.ask("GET", "/api/streams?src=yard", "").status, 404);
    assert_eq!(it.ask("DELETE", "/api/streams?src=yard", "").status, 404);
    for bad in ["", "?name=x&src=nothing", "?name=x&src=ftp%3A%2F%2Fa%2Fb"] {
        let answer = it.ask("PUT", &format!("/api/streams{bad}"), "");
        assert_eq!(answer.status, 400, "{bad}");
        assert!(!answer.text().trim().is_empty());
    }
    assert!(it.ask("GET", "/api/streams?src=x", "").status == 404);
}

#[test]
fn a_kept_camera_runs_without_viewers_and_is_let_go() {
    let it = Streamd::start(DEMO);
    assert_eq!(it.ask("PUT", "/api/preload?src=nobody", "").status, 404);
    assert_eq!(it.ask("PUT", "/api/preload?src=cam&video", "").status, 200);
    assert_eq!(text(it.ask("GET", "/api/preload", "").json().get("cam").unwrap(), "query"), "video");
    assert!(it.file().contains("preload:"));
    let bytes = || int(producer(&it.stream("cam")), "bytes_recv");
    wait_until("the camera to run", || text(producer(&it.stream("cam")), "state") == "running");
    let first = bytes();
    wait_until("more of it", || bytes() > first);
    assert_eq!(it.ask("DELETE", "/api/preload?src=cam", "").status, 200);
    wait_until("the camera to stop", || text(producer(&it.stream("cam")), "state") == "idle");
    assert!(it.ask("GET", "/api/preload", "").json().members().is_empty());
    assert!(!it.file().contains("cam: video"));
    assert_eq!(it.ask("DELETE", "/api/preload?src=cam", "").status, 404);
    // a deleted stream takes its preload along, so that the next start has nothing to complain of
    assert_eq!(it.ask("PUT", "/api/preload?src=cam", "").status, 200);
    assert_eq!(it.ask("DELETE", "/api/streams?src=cam", "").status, 200);
    let file = it.file();
    assert!(!file.contains("cam"), "{file}");
    assert!(it.ask("GET", "/api/preload", "").json().members().is_empty());
}

#[test]
fn the_log_can_be_read_and_forgotten() {
    let it = Streamd::start(DEMO);
    let log = it.ask("GET", "/api/log", "").text();
    assert!(log.lines().count() > 0);
    for line in log.lines() {
        let line = parse(line.as_bytes()).unwrap();
        assert!(!text(&line, "message").is_empty(), "{log}");
    }
    assert!(log.contains("serves cam"), "{log}");
    assert_eq!(it.ask("DELETE", "/api/log", "").status, 200);
    assert!(!it.ask("GET", "/api/log", "").text().contains("serves cam"));
}

const SECRETS: &str = "\
api: {listen: \"127.0.0.1:0\", password: api-secret-1, username: door}
streams:
  cam: demo:sub # the door
  far: demo:sub#note=http://joe:url-secret-2@host/x
users:
  - {name: bob, password: bob-secret-3, roles: [view]}
";

#[test]
fn the_configuration_goes_out_without_its_secrets_and_comes_back_with_them() {
    let it = Streamd::start(SECRETS);
    let read = it.ask("GET", "/api/config", "");
    assert_eq!(read.status, 200);
    let shown = read.text();
    for secret in ["api-secret-1", "url-secret-2", "bob-secret-3"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("# the door") && shown.contains("***"), "{shown}");
    // what was read is posted back with one more stream
    let posted = shown.replace("  cam: demo:sub", "  more: demo:sub\n  cam: demo:sub");
    let answer = it.ask("POST", "/api/config", &posted);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let file = it.file();
    for part in ["api-secret-1", "url-secret-2", "bob-secret-3", "more: demo:sub", "# the door"] {
        assert!(file.contains(part), "{part}: {file}");
    }
    assert_eq!(mode(&it.folder.path("streamd.yaml")), 0o600);
    assert!(it.ask("GET", "/api/streams", "").json().get("more").is_some());
    for path in ["/api/streams", "/api/status", "/api/log", "/metrics", "/api", "/api/preload"] {
        let shown = it.ask("GET", path, "").text();
        for secret in ["api-secret-1", "url-secret-2", "bob-secret-3"] {
            assert!(!shown.contains(secret), "{path}: {shown}");
        }
    }
    assert!(!it.log().contains("-secret-"), "{}", it.log());
}

#[test]
fn a_broken_configuration_is_told_and_changes_nothing() {
    let it = Streamd::start(DEMO);
    let before = it.file();
    for (bad, wanted) in [
        ("streams: [\n", ":"),
        ("streams:\n  cam: a\n  cam: b\n", "cam"),
        ("api: {listen: 99999999}\n", "listen"),
        ("\0\u{1}\u{2}", ""),
        ("- a\n- list\n", ""),
        ("users: [{name: a, password: '***'}]\n", "***"),
    ] {
        let answer = it.ask("POST", "/api/config", bad);
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
        assert!(answer.text().contains(wanted), "{bad}: {}", answer.text());
        assert_eq!(it.file(), before);
    }
    let mut raw = it.connect();
    raw.write_all(
        b"POST /api/config HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n\xff\xfe",
    )
    .unwrap();
    let mut line = String::new();
    BufReader::new(raw).read_line(&mut line).unwrap();
    assert!(line.contains("400"), "{line}");
    assert_eq!(text(producer(&it.stream("cam")), "url"), "demo:?width=160&height=96");
    // line and column stand in the sentence
    let answer = it.ask("POST", "/api/config", "log:\n  level: loud\n");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains(":2:"), "{}", answer.text());
    assert!(answer.text().contains("loud"), "{}", answer.text());
}

#[test]
fn one_key_is_changed_and_the_rest_of_the_file_is_left_alone() {
    let it = Streamd::start(&format!("# top\n{DEMO}log:\n  level: info # quiet\n"));
    let answer =
        it.ask("PATCH", "/api/config", "{\"log\":{\"level\":\"debug\"},\"rtsp\":{\"pkt_size\":1200}}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let file = it.file();
    for part in ["# top", "# the door", "level: debug # quiet", "pkt_size: 1200"] {
        assert!(file.contains(part), "{part}: {file}");
    }
    assert_eq!(it.ask("PATCH", "/api/config", "rtsp: {pkt_size: null}").status, 200);
    assert!(!it.file().contains("pkt_size"));
    for bad in ["", "[1]", "text", "log: {level: loud}", "{"] {
        assert_eq!(it.ask("PATCH", "/api/config", bad).status, 400, "{bad}");
    }
    assert!(it.file().contains("level: debug # quiet"));
}

#[test]
fn nobody_makes_the_camera_run_programs_or_open_files_by_the_api() {
    let it = Streamd::start(DEMO);
    let before = it.file();
    for src in [
        "exec:reboot",
        "exec://reboot",
        "EXEC:reboot",
        "echo:id",
        "expr:1",
        "file:/etc/passwd",
        "File:/etc/passwd",
        "ffmpeg:exec:reboot",
        " exec:reboot",
        "demo:sub exec:x",
        "demo:sub\nx: exec:reboot",
        "\texec:reboot",
        "demo:sub#backchannel=exec:reboot",
        "${X}",
        "${HOME:exec}:reboot",
    ] {
        for method in ["PUT", "PATCH"] {
            let answer = it.ask(method, &format!("/api/streams?name=evil&src={}", encode(src)), "");
            assert_eq!(answer.status, 400, "{method} {src:?}: {}", answer.text());
        }
        let play = it.ask_with("POST", &format!("/api/streams?dst=cam&src={}", encode(src)), &[], "");
        assert_eq!(play.status, 400, "play {src:?}: {}", play.text());
    }
    for line in [
        "evil: exec:reboot",
        "evil: echo:id",
        "evil: {url: [demo:sub, \"exec:id\"]}",
        "evil: file:/etc/passwd",
    ] {
        let posted = format!("{before}  {line}\n");
        let answer = it.ask("POST", "/api/config", &posted);
        assert!(matches!(answer.status, 400 | 403), "{line}: {} {}", answer.status, answer.text());
        let answer = it.ask("PATCH", "/api/config", &format!("streams:\n  {line}\n"));
        assert!(matches!(answer.status, 400 | 403), "{line}: {} {}", answer.status, answer.text());
    }
    for line in ["api: {allow_exec: true}", "exec: {allow_paths: [sh]}", "env: {X: exec}"] {
        let answer = it.ask("PATCH", "/api/config", line);
        assert!(answer.status == 403 || line.starts_with("env"), "{line}: {}", answer.text());
    }
    assert_eq!(it.ask("GET", "/api/streams?src=evil", "").status, 404);
    assert!(!it.file().contains("exec:") && !it.file().contains("evil"), "{}", it.file());
}

#[test]
fn who_can_write_the_file_can_allow_it() {
    let it = Streamd::start(&DEMO.replace("\"}", "\", allow_exec: true}"));
    let wav = it.folder.path("x.wav");
    let posted = format!("{}  bell: file:{}\n", it.file(), wav.display());
    let answer = it.ask("POST", "/api/config", &posted);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let put = format!("/api/streams?name=bell2&src={}", encode(&format!("file:{}", wav.display())));
    assert_eq!(it.ask("PUT", &put, "").status, 200);
    assert!(it.file().contains("bell2"));
}

#[test]
fn it_starts_again_and_ends_when_it_is_told() {
    let mut it = Streamd::start(DEMO);
    let uptime = |it: &Streamd| int(&it.local("GET", "/api/status", "").json(), "uptime");
    assert_eq!(it.ask("GET", "/api/restart", "").status, 405);
    wait_until("a second to pass", || uptime(&it) >= 1);
    assert_eq!(it.ask("POST", "/api/restart", "").status, 200);
    wait_until("the second start", || it.log().matches("serves cam").count() == 2);
    it.ready();
    assert_eq!(it.ask("GET", "/api", "").status, 200);
    for bad in ["-1", "256", "x"] {
        assert_eq!(it.ask("POST", &format!("/api/exit?code={bad}"), "").status, 400);
    }
    assert_eq!(it.ask("POST", "/api/exit?code=7", "").status, 200);
    assert_eq!(it.ended(), 7);
    assert!(!it.socket().exists());
}

#[test]
fn prometheus_can_read_the_figures() {
    let it = Streamd::start(DEMO);
    it.ask("PUT", "/api/preload?src=cam", "");
    it.ask("PATCH", &format!("/api/streams?name={}&src=demo%3Asub", encode("odd\"name\\")), "");
    wait_until("the camera to run", || text(producer(&it.stream("cam")), "state") == "running");
    let answer = it.ask("GET", "/metrics", "");
    assert!(answer.field("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    assert!(text.ends_with('\n'));
    let name =
        |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let (mut typed, mut seen): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, metric, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(name(metric) && matches!(what, "HELP" | "TYPE"), "{line}");
            if what == "TYPE" {
                assert!(matches!(rest, "counter" | "gauge"), "{line}");
                assert!(!typed.contains(&metric), "twice: {line}");
                assert!(rest != "counter" || metric.ends_with("_total"), "{line}");
                typed.push(metric);
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap();
        let metric = series.split('{').next().unwrap();
        assert!(name(metric) && *typed.last().unwrap() == metric, "not under its own TYPE: {line}");
        assert!(!seen.contains(&series), "twice: {line}");
        seen.push(series);
        if let Some(labels) = series.strip_prefix(metric).filter(|l| !l.is_empty()) {
            labels_hold(labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap());
        }
    }
    assert!(text.contains("streamd_source_up{stream=\"cam\""), "{text}");
    assert!(text.contains("streamd_viewers{stream=\"odd\\\"name\\\\\"}"), "{text}");
}

fn labels_hold(labels: &str) {
    let mut chars = labels.chars().peekable();
    while chars.peek().is_some() {
        let key: String = std::iter::from_fn(|| chars.next_if(|c| *c != '=')).collect();
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !key.is_empty(), "{labels}");
        assert_eq!((chars.next(), chars.next()), (Some('='), Some('"')), "{labels}");
        loop {
            match chars.next() {
                Some('\\') => assert!(matches!(chars.next(), Some('\\' | '"' | 'n')), "{labels}"),
                Some('"') => break,
                Some(c) => assert_ne!(c, '\n'),
                None => panic!("{labels}"),
            }
        }
        assert!(matches!(chars.next(), None | Some(',')), "{labels}");
    }
}

/// Reads chunked lines until one holds a word.
fn line_with(reader: &mut impl BufRead, word: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended before {word}");
        if line.contains(word) {
            return line;
        }
    }
}

#[test]
fn motion_reaches_those_who_listen() {
    let it = Streamd::start(&format!("{DEMO}  yard: demo:sub\n"));
    let mut stream = it.connect();
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    line_with(&mut reader, "listening");
    assert_eq!(it.ctl(&["motion", "on", "cam"]).code, 0);
    let event = parse(line_with(&mut reader, "motion").as_bytes()).unwrap();
    assert_eq!((text(&event, "type"), text(&event, "stream")), ("motion", "cam"));
    assert_eq!(event.get("on").unwrap().as_bool(), Some(true));
    assert!(int(&event, "time") > 1_700_000_000_000, "{event:?}");
    assert_eq!(it.ctl(&["motion", "off", "cam"]).code, 0);
    let event = parse(line_with(&mut reader, "motion").as_bytes()).unwrap();
    assert_eq!(event.get("on").unwrap().as_bool(), Some(false));
    assert_eq!(it.ctl(&["doorbell"]).code, 0);
    let rang = [line_with(&mut reader, "doorbell"), line_with(&mut reader, "doorbell")];
    assert!(
        rang.iter().any(|l| l.contains("\"cam\"")) && rang.iter().any(|l| l.contains("\"yard\"")),
        "{rang:?}"
    );
    assert_eq!(it.ctl(&["motion", "on", "nobody"]).code, 1);
    assert_eq!(it.ask("POST", "/api/events?type=earthquake", "").status, 400);
    assert_eq!(it.ask("POST", "/api/events?type=motion&on=perhaps", "").status, 400);
}

#[test]
fn pages_of_other_sites_are_let_in_only_on_purpose() {
    let foreign: &[(&str, &str)] = &[("Origin", "https://elsewhere.example")];
    let it = Streamd::start(DEMO);
    let answer = it.ask_with("GET", "/api/streams", foreign, "");
    assert_eq!(answer.field("access-control-allow-origin"), None);
    assert_eq!(it.ask_with("PUT", "/api/preload?src=cam", foreign, "").status, 403);
    drop(it);
    let it = Streamd::start(&DEMO.replace("\"}", "\", origin: '*'}"));
    let answer = it.ask_with("GET", "/api/streams", foreign, "");
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (200, Some("*")));
    let asked = [foreign[0], ("Access-Control-Request-Method", "PUT")];
    let answer = it.ask_with("OPTIONS", "/api/streams", &asked, "");
    assert_eq!(answer.status, 204);
    assert!(answer.field("access-control-allow-methods").unwrap().contains("PUT"));
    assert_eq!(it.ask_with("PUT", "/api/preload?src=cam", foreign, "").status, 200);
    let refused = it.ask_with("GET", "/api/streams?src=nobody", foreign, "");
    assert_eq!((refused.status, refused.field("access-control-allow-origin")), (404, Some("*")));
}

#[test]
fn a_reverse_proxy_finds_its_socket_and_its_path() {
    let folder = Folder::new();
    let socket = folder.path("api");
    let config = format!(
        "{}api: {{listen: \"127.0.0.1:0\", unix_listen: {}, base_path: /camera}}\nstreams: {{cam: demo:sub}}\n",
        head(&folder),
        socket.display()
    );
    folder.write("streamd.yaml", config);
    let status = |path: &str| {
        let run = curl(&[
            "--unix-socket",
            socket.to_str().unwrap(),
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &format!("http://camera{path}"),
        ]);
        assert_eq!(run.code, 0, "{}", run.err);
        run.out
    };
    // ctl knows nothing of the path in front
    let log = std::fs::File::create(folder.path("log")).unwrap();
    let yaml = folder.path("streamd.yaml");
    let child = std::process::Command::new(PROGRAM).arg("-c").arg(&yaml).stderr(log).spawn().unwrap();
    let _guard = Guard(child);
    wait_until("the API's socket", || socket.exists());
    assert_eq!(status("/camera/api/streams"), "200");
    assert_eq!(status("/camera/"), "200");
    assert_eq!(status("/api/streams"), "404");
    let ctl = folder.path("s");
    let run = run(&["ctl", "--socket", ctl.to_str().unwrap(), "status"], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("API unix:"), "{}", run.out);
}

#[test]
fn read_only_and_allowed_paths_hold() {
    let it = Streamd::start(&DEMO.replace("\"}", "\", read_only: true}"));
    let before = it.file();
    for (method, target) in [
        ("PUT", "/api/streams?name=a&src=demo%3Asub"),
        ("PATCH", "/api/streams?name=a&src=demo%3Asub"),
        ("DELETE", "/api/streams?src=cam"),
        ("PUT", "/api/preload?src=cam"),
        ("POST", "/api/config"),
        ("POST", "/api/restart"),
        ("POST", "/api/exit"),
        ("POST", "/api/setup"),
        ("DELETE", "/api/log"),
        ("POST", "/api/events?type=motion"),
    ] {
        assert_eq!(it.ask(method, target, "{\"password\":\"12345678\"}").status, 403, "{method} {target}");
    }
    assert_eq!(it.ask("GET", "/api", "").json().get("read_only").unwrap().as_bool(), Some(true));
    assert_eq!(it.file(), before);
    // the one who holds the control socket wrote that line
    assert_eq!(it.ctl(&["motion", "on", "cam"]).code, 0);
    drop(it);
    let it = Streamd::start(&DEMO.replace("\"}", "\", allow_paths: [/api/streams]}"));
    assert_eq!(it.ask("GET", "/api/streams", "").status, 200);
    for path in ["/api", "/api/config", "/", "/api/streams/", "/api/exit"] {
        assert_eq!(it.ask("GET", path, "").status, 404, "{path}");
    }
    assert_eq!(it.ctl(&["status"]).code, 0);
}

const USERS: &str = "\
api: {listen: \"127.0.0.1:0\", local_auth: true}
streams: {cam: demo:sub, yard: demo:sub}
preload: {cam: video, yard: video}
users:
  - {name: root, password: root-pass, roles: [admin]}
  - {name: eye, password: eye-pass, roles: [view]}
  - {name: guest, password: guest-pass, roles: [view, control], streams: [cam]}
";

#[test]
fn everybody_may_do_what_their_roles_say_and_no_more() {
    let it = Streamd::start(USERS);
    let code = |user: &str, method: &str, path: &str| {
        let mut args = vec!["-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-d", ""];
        let url = it.url(path);
        if method == "GET" {
            args.truncate(4);
        }
        if !user.is_empty() {
            args.extend(["-u", user]);
        }
        args.push(&url);
        curl(&args).out
    };
    assert_eq!(code("", "GET", "/api/streams"), "401");
    assert_eq!(code("eye:wrong", "GET", "/api/streams"), "401");
    assert_eq!(code("eye:eye-pass", "GET", "/api/streams"), "200");
    assert_eq!(code("eye:eye-pass", "PUT", "/api/streams?name=x&src=demo%3Asub"), "403");
    assert_eq!(code("eye:eye-pass", "GET", "/api/config"), "403");
    assert_eq!(code("eye:eye-pass", "GET", "/api/log"), "403");
    assert_eq!(code("eye:eye-pass", "POST", "/api/events?type=motion"), "403");
    assert_eq!(code("eye:eye-pass", "POST", "/api/setup"), "403");
    assert_eq!(code("root:root-pass", "PUT", "/api/streams?name=x&src=demo%3Asub"), "200");
    assert_eq!(code("root:root-pass", "GET", "/api/config"), "200");
    // the guest's one stream
    assert_eq!(code("guest:guest-pass", "GET", "/api/streams?src=cam"), "200");
    assert_eq!(code("guest:guest-pass", "GET", "/api/streams?src=yard"), "403");
    assert_eq!(code("guest:guest-pass", "POST", "/api/events?type=motion&src=cam"), "200");
    assert_eq!(code("guest:guest-pass", "POST", "/api/events?type=motion&src=yard"), "403");
    assert_eq!(code("guest:guest-pass", "POST", "/api/events?type=motion"), "403");
    for path in ["/api/streams", "/api/status", "/api/preload", "/metrics"] {
        let seen = curl(&["-u", "guest:guest-pass", &it.url(path)]).out;
        assert!(seen.contains("cam") && !seen.contains("yard"), "{path}: {seen}");
    }
    // a name that does not exist sounds the same as one that may not be seen
    assert_eq!(code("guest:guest-pass", "GET", "/api/streams?src=nowhere"), "403");
    let viewers = it.local("GET", "/api/streams?src=yard", "").json();
    if let Some(viewer) = items(&viewers, "consumers").first() {
        let path = format!("/api/viewers?id={}", int(viewer, "id"));
        assert!(matches!(code("guest:guest-pass", "DELETE", &path).as_str(), "403" | "404"));
    }
    // Digest, with a real client, twice on one connection; and with a body
    let digest =
        curl(&["--digest", "-u", "eye:eye-pass", &it.url("/api/streams"), &it.url("/api/streams?src=cam")]);
    assert_eq!(digest.code, 0);
    assert!(digest.out.contains("\"yard\"") && digest.out.contains("\"producers\""), "{}", digest.out);
    let posted = curl(&[
        "--digest",
        "-u",
        "root:root-pass",
        "-X",
        "PATCH",
        "-d",
        "{\"log\":{\"level\":\"debug\"}}",
        "-w",
        "%{http_code}",
        &it.url("/api/config"),
    ]);
    assert!(posted.out.ends_with("200"), "{}", posted.out);
    assert!(it.file().contains("debug"));
    let wrong = curl(&[
        "--digest",
        "-u",
        "eye:nope",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &it.url("/api/streams"),
    ]);
    assert_eq!(wrong.out, "401");
}

#[test]
fn the_door_is_shut_until_somebody_has_the_key() {
    let it = Streamd::start(&DEMO.replace("127.0.0.1:0", "0.0.0.0:0"));
    // through a proxy on this machine nobody is at home
    let away: &[(&str, &str)] = &[("X-Forwarded-For", "203.0.113.9")];
    for path in ["/api", "/api/streams", "/api/config", "/metrics", "/api/log", "/api/events"] {
        let answer = it.ask_with("GET", path, away, "");
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("passwd"), "{}", answer.text());
    }
    assert_eq!(it.ask_with("POST", "/api/setup", away, "{\"password\":\"longenough\"}").status, 403);
    assert_eq!(it.ask_with("GET", "/", away, "").status, 200);
    // a page that made its own name point here is no neighbour either
    let named: &[(&str, &str)] = &[("Host", "evil.example")];
    assert_eq!(it.ask_with("POST", "/api/setup", named, "{\"password\":\"longenough\"}").status, 403);
    assert_eq!(it.ask_with("GET", "/api/config", named, "").status, 403);
    assert!(!it.file().contains("users"));

    // another host on the same network
    let (neighbour, n) = (Neighbour::new(), std::process::id());
    let [us, them] = [1, 2].map(|host| format!("198.18.{}.{host}", n % 250));
    neighbour.cable(&format!("sd{n}"), Some(&format!("{us}/24")), Some(&format!("{them}/24")));
    let url = |path: &str| format!("http://{us}:{}{path}", it.port);
    let ask = |args: &[&str]| {
        let out = neighbour.command("curl").args(["-sS", "--max-time", "20"]).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let code = |args: &[&str]| ask(&[&["-o", "/dev/null", "-w", "%{http_code}"], args].concat());
    for path in ["/api", "/api/streams", "/api/config", "/metrics"] {
        assert_eq!(code(&[&url(path)]), "403", "{path}");
    }
    let page = ask(&[&url("/")]);
    assert!(page.contains("password"), "{page}");
    assert_eq!(code(&["-d", "{\"password\":\"short\"}", &url("/api/setup")]), "400");
    assert_eq!(code(&["-d", "{\"password\":\"longenough\"}", &url("/api/setup")]), "200");
    assert_eq!(code(&["-d", "{\"password\":\"another-one\"}", &url("/api/setup")]), "401");
    assert_eq!(code(&[&url("/api/streams")]), "401");
    assert_eq!(code(&["-u", "admin:longenough", &url("/api/streams")]), "200");
    assert_eq!(code(&["--digest", "-u", "admin:longenough", &url("/api/streams")]), "200");
    let file = it.file();
    assert!(file.contains("longenough") && file.contains("admin") && file.contains("# the door"), "{file}");
    assert_eq!(mode(&it.folder.path("streamd.yaml")), 0o600);
}

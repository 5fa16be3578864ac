//! The program's life as the person sees it who installs it: starting, being told things at the
//! terminal, reloading, ending, and what it says when something is wrong.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::*;

/// A WAV file: 16 bit, so long, a quiet triangle.
fn wav(rate: u32, channels: u16, ms: u32) -> Vec<u8> {
    let frames = rate * ms / 1000;
    let bytes = frames * u32::from(channels) * 2;
    let mut out = Vec::new();
    out.extend(b"RIFF");
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend(1u16.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(channels) * 2).to_le_bytes());
    out.extend((channels * 2).to_le_bytes());
    out.extend(16u16.to_le_bytes());
    out.extend(b"data");
    out.extend(bytes.to_le_bytes());
    for n in 0..frames {
        let sample = ((n % 96) as i16 - 48) * 100;
        for _ in 0..channels {
            out.extend(sample.to_le_bytes());
        }
    }
    out
}

fn off(it: &Streamd) -> Vec<String> {
    let status = it.local("GET", "/api/status", "").json();
    items(&status, "off").iter().filter_map(|v| v.as_str()).map(str::to_owned).collect()
}

#[test]
fn the_terminal_tells_what_runs() {
    let it = Streamd::start(
        "api: {listen: \"127.0.0.1:0\"}\nstreams:\n  cam: demo:sub\n  gate: {url: demo:sub, aliases: [front]}\n",
    );
    let status = it.ctl(&["status"]);
    assert_eq!(status.code, 0, "{}", status.err);
    for part in ["streamd ", "API http://127.0.0.1:", "stream cam: idle, 0 watching", "doors: "] {
        assert!(status.out.contains(part), "{part}: {}", status.out);
    }
    assert_eq!(it.ask("PUT", "/api/preload?src=cam", "").status, 200);
    wait_until("cam to run", || it.ctl(&["status"]).out.contains("stream cam: running"));
    let streams = it.ctl(&["streams"]);
    assert!(
        streams.out.contains("cam\n") && streams.out.contains("from demo:sub: running"),
        "{}",
        streams.out
    );
    assert!(streams.out.contains("preload"), "{}", streams.out);
    assert!(it.ctl(&["log"]).out.contains("serves cam"));
    // another name of a stream is that stream
    assert_eq!(it.ask("GET", "/api/streams?src=front", "").status, 200);
    assert_eq!(it.ctl(&["motion", "on", "front"]).code, 0);
}

#[test]
fn the_password_is_set_at_the_terminal() {
    let it = Streamd::start(DEMO);
    let socket = it.socket();
    let passwd = |word: &str| run(&["ctl", "--socket", socket.to_str().unwrap(), "passwd"], word);
    assert_eq!(passwd("short\n").code, 1);
    assert_eq!(passwd("").code, 1);
    assert!(!it.file().contains("users"));
    let set = passwd("it's \"a: #good\\ one\n");
    assert_eq!(set.code, 0, "{}", set.err);
    let away: &[(&str, &str)] = &[("X-Forwarded-For", "203.0.113.9")];
    assert_eq!(it.ask_with("GET", "/api", away, "").status, 401);
    let login = curl(&[
        "-H",
        "X-Forwarded-For: 203.0.113.9",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-u",
        "admin:it's \"a: #good\\ one",
        &it.url("/api/config"),
    ]);
    assert_eq!(login.out, "200");
    // again: the new one, once, and the rest of the file as it was
    assert_eq!(passwd("second password\n").code, 0);
    let file = it.file();
    assert!(
        file.contains("second password") && !file.contains("good") && file.contains("# the door"),
        "{file}"
    );
    assert_eq!(file.matches("admin").count(), 2, "{file}");
    assert!(!it.log().contains("second password"));
}

#[test]
fn a_file_is_played_to_the_speaker_replaced_and_stopped() {
    let it = Streamd::start(DEMO);
    let long = it.folder.write("a long one.wav", wav(48_000, 2, 20_000));
    let short = it.folder.write("short.wav", wav(16_000, 1, 300));
    let play = |args: &[&str]| {
        let mut all = vec!["play", "cam"];
        all.extend(args);
        it.ctl(&all)
    };
    let playing = || it.stream("cam").get("playing").is_some_and(|v| v.as_bool() == Some(true));
    let said = || {
        let stream = it.stream("cam");
        items(producer(&stream), "speakers").first().map_or((0, 0), |s| (int(s, "frames"), int(s, "bytes")))
    };
    assert!(!playing());
    let run = play(&[long.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(playing());
    wait_until("sound at the speaker", || said().0 > 3 && said().1 > 0);
    assert_eq!(play(&[long.to_str().unwrap()]).code, 0);
    assert!(playing());
    let before = said().0;
    wait_until("the second one at the speaker", || said().0 > before);
    assert_eq!(play(&[]).code, 0);
    wait_until("silence", || !playing());
    // to its end
    assert_eq!(play(&[short.to_str().unwrap()]).code, 0);
    wait_until("the end of the short one", || !playing());
    wait_until("the camera to stop", || text(producer(&it.stream("cam")), "state") == "idle");
    // by the relative name, as one types it
    let mut child = std::process::Command::new(PROGRAM);
    let socket = it.socket();
    child.current_dir(&it.folder.0).args([
        "ctl",
        "--socket",
        socket.to_str().unwrap(),
        "play",
        "cam",
        "short.wav",
    ]);
    assert!(child.status().unwrap().success());
    // what cannot be
    assert_ne!(play(&["/nowhere/x.wav"]).code, 0);
    let junk = it.folder.write("junk.wav", "this is no sound at all, not in any way");
    let run = play(&[junk.to_str().unwrap()]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("junk.wav"), "{}", run.err);
    assert_eq!(it.ctl(&["play", "nobody", short.to_str().unwrap()]).code, 1);
    assert_eq!(it.ask("GET", "/api", "").status, 200);
}

#[test]
fn a_viewer_is_sent_away_and_may_come_back() {
    let it = Streamd::start(&format!("{DEMO}preload: {{cam: }}\n"));
    let viewer = || items(&it.stream("cam"), "consumers").first().map(|v| int(v, "id"));
    let first = wait_for("the preload to watch", viewer);
    assert_eq!(it.ctl(&["kick", &first.to_string()]).code, 0);
    wait_until("it to be gone or back with another number", || viewer() != Some(first));
    assert_eq!(it.ctl(&["kick", "999999"]).code, 1);
    wait_for("the preload to be back", viewer);
}

#[test]
fn the_exit_codes_are_those_of_the_manual() {
    let folder = Folder::new();
    let nowhere = folder.path("nobody");
    let ctl = |args: &[&str]| {
        let mut all = vec!["ctl", "--socket", nowhere.to_str().unwrap()];
        all.extend(args);
        run(&all, "")
    };
    let gone = ctl(&["status"]);
    assert_eq!(gone.code, 69);
    assert!(gone.err.contains("nobody") && gone.err.contains("running"), "{}", gone.err);
    assert_eq!(ctl(&["dance"]).code, 64);
    assert_eq!(ctl(&["kick", "bob"]).code, 64);
    assert_eq!(ctl(&["play", "cam", "/nowhere/x.wav"]).code, 64);
    assert_eq!(run(&["--strct"], "").code, 64);
    assert_eq!(run(&["--help"], "").code, 0);
    assert!(run(&["--version"], "").out.starts_with("streamd "));
    let good = folder.write("good.yaml", "streams: {cam: demo:sub}\n");
    let check = |path: &std::path::Path| run(&["check", "-c", path.to_str().unwrap()], "");
    assert_eq!(check(&good).code, 0, "{}", check(&good).out);
    for (name, text, wanted) in [
        ("broken", "streams: [\n", "broken.yaml:"),
        ("value", "log: {level: loud}\n", "level"),
        ("scheme", "streams: {cam: \"gopher://a/b\"}\n", "gopher"),
        ("option", "streams: {cam: \"demo:?width=7\"}\n", "width"),
        ("twice", "streams:\n  cam: demo:sub\n  cam: demo:sub\n", "cam"),
        ("bound", "memory: {track: 999M}\n", "256M"),
    ] {
        let path = folder.write(&format!("{name}.yaml"), text);
        let run1 = check(&path);
        assert_eq!(run1.code, 2, "{name}: {}", run1.out);
        assert!(run1.out.contains(wanted), "{name}: {}", run1.out);
        let strict = run(&["--strict", "-c", path.to_str().unwrap()], "");
        assert_eq!(strict.code, 2, "{name}: {}", strict.err);
    }
    let unknown = folder.write("unknown.yaml", "apii: {listen: \":1\"}\nlog: {levle: info}\n");
    let run2 = check(&unknown);
    assert!(run2.out.contains("api") && run2.out.contains("level"), "{}", run2.out);
    let missing = run(&["check", "-c", folder.path("missing.yaml").to_str().unwrap()], "");
    assert_eq!(missing.code, 2, "{}", missing.out);
    assert!(missing.out.contains("missing.yaml"), "{}", missing.out);
}

#[test]
fn nothing_to_serve_is_an_end_and_not_a_loop() {
    let folder = Folder::new();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let path = folder.write(
        "a.yaml",
        format!("api: {{listen: \"127.0.0.1:{port}\"}}\nrtsp: {{listen: \"\"}}\nctl: {{socket: \"\"}}\n"),
    );
    let run = run(&["-c", path.to_str().unwrap()], "");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("api.listen"), "{}", run.err);
}

#[test]
fn a_configured_port_in_use_is_named_and_the_rest_runs() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let it = Streamd::start(&format!(
        "api: {{listen: [\"127.0.0.1:{port}\", \"127.0.0.1:0\"]}}\nstreams:\n  cam: demo:sub\n  old: gopher://a/b\n  bad: demo:?width=7\n"
    ));
    let sentences = off(&it);
    assert!(
        sentences.iter().any(|s| s.contains("api.listen") && s.contains(&port.to_string())),
        "{sentences:?}"
    );
    assert!(sentences.iter().any(|s| s.contains("streams.old") && s.contains("gopher")), "{sentences:?}");
    assert!(sentences.iter().any(|s| s.contains("streams.bad") && s.contains("width")), "{sentences:?}");
    assert_eq!(it.ask("GET", "/api/streams?src=cam&video", "").status, 200);
    let shown = it.ctl(&["status"]).out;
    assert!(shown.contains("off: ") && shown.contains("streams.old"), "{shown}");
    // a change of something else forgets nothing of it
    assert_eq!(it.ask("PATCH", "/api/config", "log: {level: debug}").status, 200);
    let sentences = off(&it);
    for part in ["api.listen", "streams.old", "streams.bad"] {
        assert!(sentences.iter().any(|s| s.contains(part)), "{part}: {sentences:?}");
    }
    // a reload takes no file with errors, a whole one that is posted neither
    let file = it.file().replace("demo:?width=7", "demo:sub");
    it.folder.write("streamd.yaml", &file);
    let reload = it.ctl(&["reload"]);
    assert!(reload.code == 1 && reload.err.contains("gopher"), "{reload:?}");
    assert_eq!(it.ask("GET", "/api/streams?src=bad", "").status, 404);
    assert_eq!(it.ask("POST", "/api/config", &file).status, 400);
    it.folder.write("streamd.yaml", file.replace("gopher://a/b", "demo:sub"));
    assert_eq!(it.ctl(&["reload"]).code, 0);
    let sentences = off(&it);
    assert!(sentences.len() == 1 && sentences[0].contains("api.listen"), "{sentences:?}");
    assert_eq!(it.ask("GET", "/api/streams?src=bad", "").status, 200);
}

#[test]
fn the_default_port_moves_to_the_next_free_one() {
    // whoever has it, this program or another: it is not free now
    let _busy = TcpListener::bind("[::]:1984").ok();
    let folder = Folder::new();
    folder.write("streamd.yaml", head(&folder) + "streams: {cam: demo:sub}\n");
    let it = Streamd::start_in(folder, &[]);
    assert!(it.port > 1984 && it.port < 1984 + 20, "{}", it.port);
    assert_eq!(it.ask("GET", "/api", "").status, 200);
}

#[test]
fn a_file_that_is_wrong_or_unreadable_does_not_keep_the_camera_off() {
    for (text, wanted) in [
        ("streams:\n  cam: [demo:sub\nlog: }\n", "streamd.yaml:"),
        ("strams: {cam: demo:sub}\n", "did you mean"),
        ("log: {level: loud}\nstreams: {cam: demo:sub}\n", "level"),
    ] {
        let folder = Folder::new();
        folder.write("streamd.yaml", text);
        let socket = format!("ctl.socket={}", folder.path("s").display());
        let it = Streamd::start_in(folder, &["-c", &socket, "-c", "api.listen=127.0.0.1:0"]);
        assert_eq!(it.ask("GET", "/api", "").status, 200, "{text}");
        let told = it.ctl(&["status"]).out + &it.log();
        assert!(told.contains(wanted), "{text}: {told}");
        assert_eq!(it.folder.0.join("streamd.yaml").metadata().unwrap().len(), text.len() as u64);
    }
    // a folder in the file's place is as unreadable for root as for anybody
    let folder = Folder::new();
    std::fs::create_dir(folder.path("streamd.yaml")).unwrap();
    let socket = format!("ctl.socket={}", folder.path("s").display());
    let it = Streamd::start_in(folder, &["-c", &socket, "-c", "api.listen=127.0.0.1:0"]);
    let told = it.ctl(&["status"]).out + &it.log();
    assert!(told.contains("streamd.yaml"), "{told}");
}

#[test]
fn a_reload_touches_only_what_changed() {
    let head = "api: {listen: \"127.0.0.1:0\"}\n";
    let it = Streamd::start(&format!(
        "{head}streams:\n  cam: demo:sub\n  yard: demo:sub\npreload: {{cam: , yard: }}\n"
    ));
    let state = |name: &str| {
        let stream = it.stream(name);
        let source = producer(&stream);
        (int(source, "id"), int(source, "connections"), int(source, "bytes_recv"))
    };
    wait_until("both to run", || state("cam").2 > 0 && state("yard").2 > 0);
    let (cam, port) = (state("cam"), it.port);
    it.set_file(&format!("{head}streams:\n  cam: demo:sub\n  yard: demo:sub?fps=5\n  new: demo:sub\npreload: {{cam: , yard: }}\n"));
    it.signal("-HUP");
    wait_until("the new stream", || it.ask("GET", "/api/streams?src=new", "").status == 200);
    wait_until("the changed one to run again", || {
        state("yard").2 > 0 && text(producer(&it.stream("yard")), "url").contains("fps")
    });
    let now = state("cam");
    assert_eq!((now.0, now.1), (cam.0, cam.1));
    assert!(now.2 >= cam.2, "{now:?} {cam:?}");
    wait_until("more of it", || state("cam").2 > now.2);
    assert_eq!(it.port, port);

    // an error rejects it whole
    it.set_file(&format!("{head}streams:\n  cam: demo:sub\nlog: {{level: loud}}\n"));
    let reload = it.ctl(&["reload"]);
    assert_eq!(reload.code, 1);
    assert!(reload.err.contains("loud"), "{}", reload.err);
    let lines = it.log().lines().count();
    it.signal("-HUP");
    wait_until("the second refusal in the log", || {
        it.log().lines().count() > lines || it.log().contains("repeated")
    });
    assert_eq!(it.ask("GET", "/api/streams?src=new", "").status, 200);
    assert_eq!(state("cam").1, cam.1);

    // what is gone from the file is gone
    it.set_file(&format!("{head}streams:\n  cam: demo:sub\npreload: {{cam: }}\n"));
    assert_eq!(it.ctl(&["reload"]).code, 0);
    assert_eq!(it.ask("GET", "/api/streams?src=yard", "").status, 404);
    assert_eq!((state("cam").0, state("cam").1), (cam.0, cam.1));
}

#[test]
fn the_api_moves_and_whoever_asked_for_it_gets_the_answer() {
    let mut it = Streamd::start(DEMO);
    let old = it.port;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let answer = it.ask("PATCH", "/api/config", &format!("api: {{listen: \"127.0.0.1:{free}\"}}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    it.ready();
    assert_eq!(it.port, free);
    assert_eq!(it.ask("GET", "/api", "").status, 200);
    wait_until("the old one to be shut", || std::net::TcpStream::connect(("127.0.0.1", old)).is_err());
    // the same port under another path
    let answer = it.ask("PATCH", "/api/config", "api: {base_path: /cam}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    wait_until("the new path", || it.ask("GET", "/cam/api", "").status == 200);
    it.set_file(&format!("api: {{listen: \"127.0.0.1:{free}\", base_path: /other}}\n"));
    assert_eq!(it.ctl(&["reload"]).code, 0);
    wait_until("the newest path", || it.ask("GET", "/other/api", "").status == 200);
}

#[test]
fn it_ends_within_a_second_and_leaves_nothing() {
    for signal in ["-TERM", "-INT"] {
        let mut it = Streamd::start(&format!("{DEMO}preload: {{cam: }}\n"));
        let file = it.folder.write("a.wav", wav(48_000, 2, 20_000));
        assert_eq!(it.ctl(&["play", "cam", file.to_str().unwrap()]).code, 0);
        let mut idle = it.connect();
        let _events = {
            use std::io::Write;
            let mut stream = it.connect();
            stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            idle.write_all(b"GET /api HTT").unwrap();
            stream
        };
        wait_until("the camera to run", || text(producer(&it.stream("cam")), "state") == "running");
        let since = Instant::now();
        it.signal(signal);
        assert_eq!(it.ended(), 0);
        // its own second, and the rest for a machine that is busy
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
        assert!(!it.socket().exists());
    }
}

#[test]
fn a_second_one_does_not_take_the_first_ones_socket() {
    let it = Streamd::start(DEMO);
    let path =
        it.folder.write("second.yaml", head(&it.folder) + "api: {listen: \"\"}\nrtsp: {listen: \"\"}\n");
    let second = run(&["-c", path.to_str().unwrap()], "");
    assert_eq!(second.code, 1, "{}", second.err);
    assert_eq!(it.ctl(&["status"]).code, 0);
}

/// Battery and heat: a program that serves nobody has no reason to wake.
#[test]
fn at_rest_nothing_wakes() {
    let it = Streamd::start(DEMO);
    let wakes = || -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", it.pid())).unwrap();
        let status =
            tasks.map(|t| std::fs::read_to_string(t.unwrap().path().join("status")).unwrap_or_default());
        let count = |text: String| {
            let line =
                text.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:").map(str::to_owned));
            line.map_or(0, |n| n.trim().parse::<u64>().unwrap())
        };
        status.map(count).sum()
    };
    // what the start has left to do is over when two looks agree
    let mut before = wakes();
    wait_until("the program to come to rest", || {
        pause(1000);
        let now = wakes();
        let rest = now - before <= 3;
        before = now;
        rest
    });
    pause(4000);
    let woken = wakes() - before;
    assert!(woken <= 12, "woken {woken} times in 4 s with nobody there");
}

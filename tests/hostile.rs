//! What a hostile or broken neighbour does to the built program, while somebody else just wants to use
//! it; and the plug that is pulled while the configuration is being written.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use support::*;

/// Kilobytes of memory and open descriptors of a process.
fn weight(it: &Streamd) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", it.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    let rss = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (rss, std::fs::read_dir(format!("/proc/{}/fd", it.pid())).unwrap().count())
}

/// Everything is as it was before: descriptors exactly, memory within some megabytes.
fn recovers(it: &Streamd, before: (u64, usize)) {
    wait_until("the descriptors to be given back", || weight(it).1 <= before.1);
    let after = weight(it);
    assert!(after.0 < before.0 + 6 * 1024, "memory before {} KB, after {} KB", before.0, after.0);
}

/// Deterministic noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 32) as u8).collect()
    }
}

#[test]
fn two_hundred_half_open_connections_hold_up_nobody() {
    let it = Streamd::start(DEMO);
    for _ in 0..50 {
        assert_eq!(it.ask("GET", "/api", "").status, 200);
    }
    let before = weight(&it);
    let mut half: Vec<TcpStream> = Vec::new();
    for n in 0..200 {
        let mut stream = it.connect();
        let begun = match n % 4 {
            0 => "",
            1 => "GET /api HTTP/1.1\r\nHost: a\r\nX-Slow: ",
            2 => "POST /api/config HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
            _ => "G",
        };
        let _ = stream.write_all(begun.as_bytes());
        half.push(stream);
        if n % 10 == 0 {
            assert_eq!(it.ask("GET", "/api/streams", "").status, 200, "beside {n}");
        }
    }
    // the slow ones go on, a byte at a time
    for _ in 0..20 {
        half.iter_mut().for_each(|s| drop(s.write_all(b"x")));
        assert_eq!(it.ask("GET", "/api", "").status, 200);
        assert_eq!(it.ctl(&["status"]).code, 0);
    }
    drop(half);
    recovers(&it, before);
}

#[test]
fn whoever_reads_nothing_costs_no_memory() {
    let it = Streamd::start(DEMO);
    assert_eq!(it.ask("GET", "/metrics", "").status, 200);
    let before = weight(&it);
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut stream = it.connect();
        stream.set_nonblocking(true).unwrap();
        for _ in 0..500 {
            let _ = stream.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        deaf.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(it.ask("GET", "/api", "").status, 200);
    }
    assert!(weight(&it).0 < before.0 + 8 * 1024);
    drop(deaf);
    recovers(&it, before);
}

#[test]
fn garbage_is_refused_at_both_doors() {
    let it = Streamd::start(DEMO);
    assert_eq!(it.ask("GET", "/api", "").status, 200);
    let before = weight(&it);
    let mut noise = Noise(0x5eed);
    let valid = b"PUT /api/streams?name=a%20b&src=demo%3Asub HTTP/1.1\r\nHost: camera\r\nContent-Length: 3\r\n\r\nabc";
    for n in 0..150 {
        let bytes = match n % 3 {
            0 => noise.bytes(1 + n * 7),
            1 => {
                let mut bytes = valid.to_vec();
                for _ in 0..1 + n % 5 {
                    let at = noise.next() as usize % bytes.len();
                    bytes[at] = noise.next() as u8;
                }
                bytes
            }
            _ => valid[..noise.next() as usize % valid.len()].to_vec(),
        };
        let mut tcp = it.connect();
        let _ = tcp.write_all(&bytes);
        let _ = tcp.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer);
        let mut unix = UnixStream::connect(it.socket()).unwrap();
        unix.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = unix.write_all(&bytes);
        let _ = unix.shutdown(std::net::Shutdown::Write);
        let _ = unix.read_to_end(&mut answer);
        assert!(answer.len() < 100_000);
    }
    for (bytes, wanted) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nX: ".to_owned() + &"x".repeat(100_000) + "\r\n\r\n", " 431 "),
        ("GET /".to_owned() + &"a".repeat(60_000) + " HTTP/1.1\r\n\r\n", " 414 "),
        ("GET / HTTP/1.1\r\nHost: a\r\n".to_owned() + &"X: y\r\n".repeat(3000) + "\r\n", " 431 "),
        ("POST /api/config HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n".to_owned(), " 413 "),
        ("POST /api/config HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".to_owned(), " 400 "),
        ("POST /api/config HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n".to_owned(), " 400 "),
        ("POST /api/config HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n".to_owned(), " 4"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), " 5"),
    ] {
        let mut stream = it.connect();
        let _ = stream.write_all(bytes.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let line = answer.lines().next().unwrap_or("");
        assert!(line.contains(wanted), "{:?}…: {line}", &bytes[..40.min(bytes.len())]);
    }
    assert_eq!(it.ask("GET", "/api/streams?src=cam&video", "").status, 200);
    assert_eq!(it.ctl(&["status"]).code, 0);
    recovers(&it, before);
}

#[test]
fn a_thousand_requests_in_one_go_are_answered_in_order() {
    let it = Streamd::start(DEMO);
    let mut stream = it.connect();
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for n in 0..1000 {
            let target = if n % 2 == 0 { "/api" } else { "/api/schemes" };
            let close = if n == 999 { "Connection: close\r\n" } else { "" };
            writer.write_all(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{close}\r\n").as_bytes()).unwrap();
        }
    });
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    sender.join().unwrap();
    let mut rest = &all[..];
    for n in 0..1000 {
        let end = rest.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer {n}"));
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{n}: {head}");
        let length =
            head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).unwrap().parse::<usize>().unwrap();
        let body = &rest[end + 4..end + 4 + length];
        assert_eq!(body.starts_with(b"["), n % 2 == 1, "{n}");
        rest = &rest[end + 4 + length..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_configuration_that_would_grow_without_end_is_refused() {
    let it = Streamd::start(DEMO);
    assert_eq!(it.ask("POST", "/api/config", "x-a: 1\nstreams: [\n").status, 400);
    let (file, before) = (it.file(), weight(&it));
    let mut laughs = String::from("x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for n in 1..40 {
        let list = vec![format!("*a{}", n - 1); 9].join(", ");
        laughs.push_str(&format!("x-{n}: &a{n} [{list}]\n"));
    }
    let many = "x-a: &a {b: c}\nx-l:\n".to_owned() + &"  - *a\n".repeat(14_000);
    let deep = "x-d: ".to_owned() + &"[".repeat(50_000);
    let deep_map = "x-d: ".to_owned() + &"{a: ".repeat(20_000);
    let wide: String = (0..20_000).map(|n| format!("x-{n}: 1\n")).collect();
    let long = "x-a: ".to_owned() + &"y".repeat(300_000);
    let streams: String =
        "streams:\n".to_owned() + &(0..500).map(|n| format!("  s{n}: demo:sub\n")).collect::<String>();
    for (name, bad) in [
        ("laughs", laughs),
        ("many", many),
        ("deep", deep),
        ("deep map", deep_map),
        ("wide", wide),
        ("long", long),
        ("streams", streams),
    ] {
        let answer = it.ask("POST", "/api/config", &bad);
        assert!(matches!(answer.status, 400 | 413), "{name}: {} {}", answer.status, answer.text());
        assert!(answer.body.len() < 64 * 1024, "{name}: {}", answer.body.len());
        let answer = it.ask("PATCH", "/api/config", &bad);
        assert!(matches!(answer.status, 400 | 413), "{name}: PATCH {} {}", answer.status, answer.text());
        assert_eq!(it.file(), file, "{name}");
    }
    assert_eq!(it.ask("GET", "/api", "").status, 200);
    recovers(&it, before);
}

#[test]
fn many_who_write_at_once_leave_a_whole_file() {
    let it = Streamd::start(DEMO);
    let port = it.port;
    let writers: Vec<_> = (0..8)
        .map(|w| {
            std::thread::spawn(move || {
                for n in 0..10 {
                    let target = format!("/api/streams?name=w{w}n{n}&src=demo%3Asub");
                    let mut stream = connect(port);
                    let put = request(&mut stream, "PUT", &target, &[], "").unwrap();
                    assert!(matches!(put.status, 200 | 400), "{} {}", put.status, put.text());
                    let mut stream = connect(port);
                    let read = request(&mut stream, "GET", "/api/config", &[], "").unwrap();
                    assert_eq!(read.status, 200);
                    if n % 3 == 0 {
                        let mut stream = connect(port);
                        let target = format!("/api/streams?src=w{w}n{n}");
                        let gone = request(&mut stream, "DELETE", &target, &[], "").unwrap();
                        assert!(matches!(gone.status, 200 | 404), "{}", gone.text());
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|w| w.join().unwrap());
    let check = run(&["check", "-c", it.folder.path("streamd.yaml").to_str().unwrap()], "");
    assert_eq!(check.code, 0, "{}", check.out);
    let file = it.file();
    assert!(file.contains("# the door"), "{file}");
    let streams = it.ask("GET", "/api/streams", "").json();
    for (name, _) in streams.members() {
        assert!(file.contains(&format!("  {name}: ")), "{name}: {file}");
    }
    let left = std::fs::read_dir(&it.folder.0).unwrap().flatten().map(|e| e.file_name()).collect::<Vec<_>>();
    assert!(left.len() <= 3, "{left:?}");
}

#[test]
fn a_plug_that_is_pulled_while_writing_leaves_the_old_file_or_the_new_one() {
    let mut folder = Folder::new();
    folder.write("streamd.yaml", head(&folder) + DEMO);
    let mut written = 0;
    for turn in 0..20 {
        let mut it = Streamd::start_in(folder, &[]);
        let port = it.port;
        let storm = std::thread::spawn(move || {
            let mut done = 0;
            for n in 0.. {
                let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return done };
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let target = format!("/api/streams?name=s{}&src=demo%3A%3Ffps%3D{}", n % 5, 1 + n % 25);
                match request(&mut stream, "PUT", &target, &[], "") {
                    Ok(answer) if answer.status == 200 => done += 1,
                    Ok(answer) => panic!("{}", answer.text()),
                    Err(_) => return done,
                }
            }
            done
        });
        // at another moment each time; what that moment is does not matter
        pause(5 + turn * 3);
        it.child.kill().unwrap();
        it.child.wait().unwrap();
        written += storm.join().unwrap();
        let path = it.folder.path("streamd.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let check = run(&["check", "-c", path.to_str().unwrap()], "");
        assert_eq!(check.code, 0, "{}\n{text}", check.out);
        assert!(text.contains("# the door") && text.ends_with('\n'), "{text}");
        assert_eq!(mode(&path), if written > 0 { 0o600 } else { mode(&path) });
        folder = std::mem::replace(&mut it.folder, Folder::new());
    }
    assert!(written > 0);
    let left = std::fs::read_dir(&folder.0).unwrap().count();
    assert!(left <= 8, "half written files pile up: {left}");
}

//! What a stranger's bytes may do to the parser: be understood, or be refused; nothing else.
use super::*;

fn head(text: &str) -> Result<Head, u16> {
    let mut inbox = Inbox::default();
    inbox.push(text.as_bytes());
    match inbox.head() {
        Ok(Some(head)) => Ok(head),
        Ok(None) => Err(0),
        Err(refusal) => Err(refusal.status),
    }
}

fn with(lines: &str) -> Result<Head, u16> {
    head(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

const GOOD: &str = "PUT /api/streams?src=a%20b&src=c HTTP/1.1\r\nHost: Cam.local:1984\r\n\
    X-Odd:  two words \t\r\nEmpty:\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n";
const CHUNKS: &str = "5;ext=\"1\"\r\nhello\r\n00B\r\n, my camera\r\n0\r\nX-Sum: 1\r\n\r\n";

fn check_good(h: &Head) {
    assert_eq!((h.method, h.path.as_str(), h.version), (Method::Put, "/api/streams", Version::Http11));
    assert_eq!(h.query.all("src").collect::<Vec<_>>(), ["a b", "c"]);
    assert_eq!(h.host, "cam.local:1984");
    assert_eq!(h.fields.get("x-ODD"), Some("two words"));
    assert_eq!(h.fields.get("empty"), Some(""));
    assert_eq!(h.framing, Framing::Chunked);
    assert!(h.keep_alive && h.expects_continue);
}

fn read_body(reader: &mut BodyReader, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Refusal> {
    let mut at = 0;
    loop {
        let (used, data) = reader.feed(&input[at..])?;
        out.extend_from_slice(&input[at..][data]);
        at += used;
        if used == 0 {
            return Ok(at);
        }
    }
}

#[test]
fn a_request_cut_anywhere_is_the_same_request() {
    let all = format!("{GOOD}{CHUNKS}GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    for cut in 0..=all.len() {
        let mut inbox = Inbox::default();
        let mut found = Vec::new();
        let mut body = Vec::new();
        let mut reader: Option<BodyReader> = None;
        for part in [&all.as_bytes()[..cut], &all.as_bytes()[cut..]] {
            inbox.push(part);
            loop {
                if let Some(r) = reader.as_mut() {
                    let used = read_body(r, inbox.unread(), &mut body).unwrap();
                    inbox.consume(used);
                    if !r.is_done() {
                        break;
                    }
                    reader = None;
                }
                let Some(head) = inbox.head().unwrap() else { break };
                reader = Some(BodyReader::new(head.framing));
                found.push(head);
            }
        }
        assert_eq!(found.len(), 2, "cut at {cut}");
        check_good(&found[0]);
        assert_eq!(body, b"hello, my camera");
        assert_eq!(found[1].path, "/");
        assert!(inbox.unread().is_empty());
    }
}

#[test]
fn byte_by_byte_and_no_shorter() {
    let mut inbox = Inbox::default();
    for (i, c) in GOOD.bytes().enumerate() {
        inbox.push(&[c]);
        let found = inbox.head().unwrap();
        assert_eq!(found.is_some(), i + 1 == GOOD.len());
        if let Some(h) = found {
            check_good(&h);
        }
    }
    for end in 0..CHUNKS.len() {
        let mut r = BodyReader::new(Framing::Chunked);
        read_body(&mut r, &CHUNKS.as_bytes()[..end], &mut Vec::new()).unwrap();
        assert!(!r.is_done(), "a body cut at {end} is not whole");
    }
}

#[test]
fn one_request_cannot_hide_in_another() {
    for (lines, status) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 99999999999999999999999\r\n", 413),
        ("Content-Length : 5\r\n", 400),
        (" Content-Length: 5\r\n", 400),
        ("X: a\r\n Content-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Transfer-Encoding: chunked, identity\r\n", 501),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("Transfer-Encoding:\r\n", 501),
        ("Transfer-Encoding\r\n", 400),
        ("X: a\nContent-Length: 5\r\n", 400),
        ("X: a\rContent-Length: 5\r\n", 400),
        ("X: a\0b\r\n", 400),
        (": a\r\n", 400),
        ("Héader: a\r\n", 400),
        ("Host: b\r\n", 400),
        ("Expect: the-best\r\n", 417),
    ] {
        assert_eq!(with(lines).unwrap_err(), status, "{lines:?}");
    }
}

#[test]
fn first_lines() {
    let first = |line: &str| head(&format!("{line}\r\nHost: a\r\n\r\n"));
    for (line, status) in [
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/1.1 ", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /", 400),
        ("GET / http/1.1", 400),
        ("get / HTTP/1.1", 501),
        ("BREW /pot HTTP/1.1", 501),
        ("CONNECT a:1 HTTP/1.1", 501),
        ("GET * HTTP/1.1", 400),
        ("GET a HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET http://a?b HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /../etc/passwd HTTP/1.1", 400),
        ("GET http://a b/ HTTP/1.1", 400),
        ("GET http://u@a/ HTTP/1.1", 400),
        ("\x16\x03\x01", 400),
    ] {
        assert_eq!(first(line).unwrap_err(), status, "{line}");
    }
    assert_eq!(first("OPTIONS * HTTP/1.1").unwrap().path, "/");
    let absolute = first("GET http://Other:80/p?q=1 HTTP/1.1").unwrap();
    assert_eq!((absolute.host.as_str(), absolute.path.as_str()), ("other:80", "/p"));
    assert_eq!(first("GET HTTPS://b HTTP/1.1").unwrap().path, "/");
    assert_eq!(head("GET / HTTP/1.1\r\n\r\n").unwrap_err(), 400, "1.1 needs a Host");
    assert_eq!(head("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().path, "/");
    assert_eq!(head("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err(), 400);
    assert_eq!(head("POST / HTTP/1.0\r\n\r\n").unwrap_err(), 411);
    assert_eq!(head("GET / HTTP/1.1\n").unwrap_err(), 400, "told at once, not after the timeout");
}

#[test]
fn who_stays_and_who_leaves() {
    let keep = |text: &str| head(&format!("{text}\r\n\r\n")).unwrap().keep_alive;
    assert!(keep("GET / HTTP/1.1\r\nHost: a"));
    assert!(!keep("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close"));
    assert!(!keep("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close"));
    assert!(!keep("GET / HTTP/1.0"));
    assert!(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive"));
    let ws = with("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n").unwrap();
    assert_eq!(ws.upgrade(), Some("websocket"));
    assert_eq!(with("Upgrade: websocket\r\n").unwrap().upgrade(), None);
}

#[test]
fn everything_too_big_is_refused_early() {
    assert_eq!(head(&format!("GET /{}", "a".repeat(9000))).unwrap_err(), 414);
    assert_eq!(head(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(17_000))).unwrap_err(), 431);
    assert_eq!(with(&"a: b\r\n".repeat(63)).map(|h| h.method), Ok(Method::Post));
    assert_eq!(with(&"a: b\r\n".repeat(64)).unwrap_err(), 431);
    assert_eq!(head(&format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(66))).unwrap_err(), 431);
    let body = |text: &str| {
        let mut r = BodyReader::new(Framing::Chunked);
        read_body(&mut r, text.as_bytes(), &mut Vec::new()).map(|_| r.is_done()).map_err(|e| e.status)
    };
    assert_eq!(body("fffffffffffffffff\r\n"), Err(413));
    assert_eq!(body(&format!("{}1\r\n", "0".repeat(300))), Err(400));
    assert_eq!(body(&format!("1;{}", "x".repeat(300))), Err(400));
    assert_eq!(body(&format!("0\r\nX: {}", "x".repeat(5000))), Err(431));
    assert_eq!(body(&format!("0\r\n{}\r\n", "a:\r\n".repeat(80))), Err(431));
    for bad in [
        "\r\n",
        "g\r\n",
        "5\nhello\r\n",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "0\r\n\n",
        "-1\r\n",
        ";x\r\n",
        "1\r\r\n",
    ] {
        assert_eq!(body(bad), Err(400), "{bad:?}");
    }
    assert_eq!(body("0\r\n\r\n"), Ok(true));
}

#[test]
fn mutated_requests_never_panic() {
    let valid = format!("{GOOD}{CHUNKS}GET /a?b=%41 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").into_bytes();
    let mut seed = 0x9e37_79b9u32;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as usize
    };
    for _ in 0..20_000 {
        let mut text = valid.clone();
        for _ in 0..1 + next() % 4 {
            let at = next() % text.len();
            match next() % 4 {
                0 => text[at] = next() as u8,
                1 => text[at] = b"\r\n :;%/\0"[next() % 8],
                2 => drop(text.remove(at)),
                _ => text.insert(at, b"\r\n 0aF:;"[next() % 8]),
            }
        }
        let mut inbox = Inbox::default();
        'request: for part in text.chunks(1 + next() % 64) {
            inbox.push(part);
            while let Ok(found) = inbox.head() {
                let Some(h) = found else { continue 'request };
                let mut r = BodyReader::new(h.framing);
                let rest = inbox.take();
                let Ok(used) = read_body(&mut r, &rest, &mut Vec::new()) else { break 'request };
                inbox.push(&rest[used..]);
            }
            break;
        }
    }
}

//! The codec against the standard's own frames, against itself, and against whoever means harm.

use super::*;
use crate::media::testing::Rng;
use crate::net::limits::{WS_HEAD, WS_MESSAGE};

/// What comes of bytes, read in pieces of `cut`: whole messages and control frames.
fn read(side: Side, bytes: &[u8], cut: usize) -> Result<Vec<(String, Vec<u8>)>, FrameError> {
    let mut reader = Reader::new(side, WS_MESSAGE);
    let (mut out, mut message) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(cut.max(1)) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let (used, event) = reader.read(rest)?;
            assert!(used > 0 && used <= rest.len());
            match event {
                Event::More => assert_eq!(used, rest.len()),
                Event::Data { kind, at, end } => {
                    message.extend_from_slice(&rest[at]);
                    if end {
                        out.push((format!("{kind:?}"), std::mem::take(&mut message)));
                    }
                }
                Event::Control(control) => out.push((format!("{control:?}"), reader.payload().to_vec())),
            }
            rest = &mut rest[used..];
        }
    }
    Ok(out)
}

fn one(side: Side, bytes: &[u8]) -> Result<(String, Vec<u8>), FrameError> {
    let mut all = read(side, bytes, bytes.len())?;
    assert_eq!(all.len(), 1, "{all:?}");
    Ok(all.remove(0))
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// RFC 6455 §5.7.
#[test]
fn the_standards_own_frames() {
    let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(one(Side::Client, &hello).unwrap(), ("Text".into(), b"Hello".to_vec()));
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(one(Side::Server, &masked).unwrap(), ("Text".into(), b"Hello".to_vec()));
    let parts = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(one(Side::Client, &parts).unwrap(), ("Text".into(), b"Hello".to_vec()));
    let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(one(Side::Client, &ping).unwrap(), ("Ping".into(), b"Hello".to_vec()));
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(one(Side::Server, &pong).unwrap(), ("Pong".into(), b"Hello".to_vec()));
    let mut out = Vec::new();
    emit(&mut out, Opcode::Text, b"Hello", None);
    emit(&mut out, Opcode::Text, b"Hello", Some(KEY));
    assert_eq!(out, [&hello[..], &masked].concat());
    assert_eq!(Head::new(Opcode::Binary, true, 256, None).bytes(), [0x82, 0x7e, 1, 0]);
    assert_eq!(Head::new(Opcode::Binary, true, 65_536, None).bytes(), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

/// Messages of every length around the three forms come back, however the bytes are cut, with
/// pings between their parts.
#[test]
fn what_is_written_is_read() {
    let mut rng = Rng::new(3);
    for side in [Side::Server, Side::Client] {
        let key = (side == Side::Server).then_some(KEY);
        for len in [0, 1, 3, 4, 5, 124, 125, 126, 127, 4000, 65_535, 65_536] {
            let mut payload = vec![0; len];
            rng.fill(&mut payload);
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            emit(&mut whole, Opcode::Binary, &payload, key);
            let middle = rng.below(len + 1);
            for (opcode, last, part) in [
                (Opcode::Binary, false, &payload[..middle]),
                (Opcode::Continuation, false, &[]),
                (Opcode::Continuation, true, &payload[middle..]),
            ] {
                parts.extend_from_slice(Head::new(opcode, last, part.len() as u64, key).bytes());
                let from = parts.len();
                parts.extend_from_slice(part);
                mask(&mut parts[from..], key.unwrap_or_default(), 0);
                if !last {
                    emit(&mut parts, Opcode::Ping, b"?", key);
                }
            }
            for cut in [1, 2, 7, 1000, usize::MAX] {
                let message = ("Binary".to_owned(), payload.clone());
                assert_eq!(read(side, &whole, cut), Ok(vec![message.clone()]), "{len}");
                if len <= WS_MESSAGE as usize {
                    let ping = ("Ping".to_owned(), b"?".to_vec());
                    assert_eq!(read(side, &parts, cut), Ok(vec![ping.clone(), ping, message]), "{len}");
                }
            }
        }
    }
}

/// A stream of bytes comes out as it went in, whatever messages it was cut into, and pings are
/// answered in their place.
#[test]
fn a_stream_does_not_care_where_messages_end() {
    let mut rng = Rng::new(9);
    let mut stream = vec![0; 40_000];
    rng.fill(&mut stream);
    let (mut wire, mut at) = (Vec::new(), 0);
    while at < stream.len() {
        let n = rng.below(300).min(stream.len() - at);
        let from = wire.len();
        wire.extend_from_slice(&stream[at..at + n]);
        seal(&mut wire, from, Some(KEY));
        if rng.below(5) == 0 {
            emit(&mut wire, Opcode::Ping, &[at as u8], Some(KEY));
        }
        at += n;
    }
    emit_close(&mut wire, code::DONE, Some(KEY));
    wire.extend_from_slice(b"nothing after a goodbye counts");
    let mut reader = Reader::new(Side::Server, u64::MAX);
    let (mut got, mut answers) = (Vec::new(), Vec::new());
    let mut rest = &mut wire[..];
    while !rest.is_empty() {
        let (piece, more) = rest.split_at_mut((1 + rng.below(700)).min(rest.len()));
        let n = reader.strip(piece, &mut |reader, what| reader.answer(what, &mut answers, None)).unwrap();
        got.extend_from_slice(&piece[..n]);
        rest = more;
    }
    assert!(got == stream && reader.is_over());
    let answers = read(Side::Client, &answers, 10).unwrap();
    let (goodbye, pongs) = answers.split_last().unwrap();
    assert_eq!(goodbye, &("Close(Some(1000))".to_owned(), vec![3, 0xe8]));
    assert!(pongs.len() > 5 && pongs.iter().all(|(what, payload)| what == "Pong" && payload.len() == 1));
}

/// Each of these ends the connection, with the code that the standard names, at the first byte that
/// gives it away.
#[test]
fn what_the_standard_forbids() {
    use FrameError as E;
    let server: &[(&[u8], E, u16)] = &[
        (&[0xc2], E::Reserved, 1002),
        (&[0xa2], E::Reserved, 1002),
        (&[0x92], E::Reserved, 1002),
        (&[0x83, 0x80], E::Opcode(3), 1002),
        (&[0x8f, 0x80], E::Opcode(15), 1002),
        (&[0x82, 0x01], E::Mask, 1002),
        (&[0x09, 0x80], E::Control, 1002),
        (&[0x89, 0xfe], E::Control, 1002),
        (&[0x88, 0xff], E::Control, 1002),
        (&[0x80, 0x80], E::Order, 1002),
        (&[0x01, 0x80, 0, 0, 0, 0, 0x82, 0x80], E::Order, 1002),
        (&[0x82, 0xfe, 0, 125, 0, 0, 0, 0], E::Length, 1002),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0], E::Length, 1002),
        (&[0x82, 0xff, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], E::Length, 1002),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], E::TooLong, 1009),
        (&[0x82, 0xff, 127, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0], E::TooLong, 1009),
    ];
    for (bytes, want, code) in server {
        for cut in [1, bytes.len()] {
            assert_eq!(read(Side::Server, bytes, cut), Err(*want), "{bytes:x?}");
        }
        assert_eq!(read(Side::Server, &bytes[..bytes.len() - 1], 1), Ok(vec![]), "{bytes:x?} cut");
        assert_eq!((want.code(), want.to_string().starts_with("WebSocket")), (*code, true));
    }
    assert_eq!(read(Side::Client, &[0x82, 0x81], 1), Err(E::Mask), "a server must not mask");
    // many parts are one message
    let part = [&[0x02, 0xfe, 0xff, 0xff, 0, 0, 0, 0][..], &[0; 0xffff]].concat();
    let more = [0x00, 0x82, 0, 0, 0, 0, 0, 0];
    assert_eq!(read(Side::Server, &[&part[..], &more].concat(), 999), Err(E::TooLong));
}

#[test]
fn goodbyes() {
    let close = |payload: &[u8]| {
        let mut bytes = Vec::new();
        emit(&mut bytes, Opcode::Close, payload, None);
        one(Side::Client, &bytes).map(|(what, _)| what)
    };
    assert_eq!(close(b"").unwrap(), "Close(None)");
    for code in [1000u16, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
        assert_eq!(close(&code.to_be_bytes()).unwrap(), format!("Close(Some({code}))"));
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_eq!(close(&code.to_be_bytes()), Err(FrameError::CloseCode), "{code}");
    }
    assert_eq!(close(&[3]), Err(FrameError::CloseCode));
    assert_eq!(close(b"\x03\xe8bye \xc3\xa4").unwrap(), "Close(Some(1000))");
    assert_eq!(close(b"\x03\xe8bye \xc3"), Err(FrameError::Text));
}

/// Text is checked as it comes, also where a character is cut by a frame or a read.
#[test]
fn text_that_is_none() {
    let text = "κόσμε ✓ 🎥".as_bytes();
    for middle in 0..=text.len() {
        let mut bytes = Vec::new();
        for (opcode, last, part) in
            [(Opcode::Text, false, &text[..middle]), (Opcode::Continuation, true, &text[middle..])]
        {
            bytes.extend_from_slice(Head::new(opcode, last, part.len() as u64, None).bytes());
            bytes.extend_from_slice(part);
        }
        for cut in [1, 2, 3, bytes.len()] {
            assert_eq!(read(Side::Client, &bytes, cut), Ok(vec![("Text".into(), text.to_vec())]));
        }
        // ... and ends within a character
        let mut bytes = Vec::new();
        emit(&mut bytes, Opcode::Text, &text[..middle], None);
        let whole = std::str::from_utf8(&text[..middle]).is_ok();
        assert_eq!(read(Side::Client, &bytes, 1).is_ok(), whole, "{middle}");
    }
    for bad in [&b"a\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"ok\xe2\x28\xa1"]
    {
        for cut in 1..=6 {
            let mut bytes = Vec::new();
            emit(&mut bytes, Opcode::Text, bad, None);
            assert_eq!(read(Side::Client, &bytes, cut), Err(FrameError::Text), "{bad:x?}");
            bytes[0] = 0x82;
            assert!(read(Side::Client, &bytes, cut).is_ok(), "bytes may be anything");
        }
    }
}

#[test]
fn no_bytes_panic_and_cuts_do_not_matter() {
    let mut rng = Rng::new(77);
    let mut good = Vec::new();
    emit(&mut good, Opcode::Text, "hällo".as_bytes(), Some(KEY));
    emit(&mut good, Opcode::Ping, &[7; 125], Some(KEY));
    emit(&mut good, Opcode::Binary, &[1; 300], Some(KEY));
    emit_close(&mut good, code::AWAY, Some(KEY));
    for end in 0..good.len() {
        let events = read(Side::Server, &good[..end], 3).unwrap();
        assert!(events.len() < 4, "nothing is whole before its time");
    }
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] ^= 1 << rng.below(8),
                1 => bytes[at] = rng.next() as u8,
                _ => bytes.truncate(at.max(1)),
            }
        }
        let whole = read(Side::Server, &bytes, bytes.len());
        let cut = read(Side::Server, &bytes, 1 + rng.below(9));
        assert_eq!(whole, cut, "{bytes:x?}");
    }
}

fn fields<'a>(list: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<&'a str> {
    move |name| list.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
}

/// RFC 6455 §1.3, and what a browser sends.
#[test]
fn the_opening() {
    assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let good = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat, rtsp.onvif.org"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ];
    let asked = Asked::read(&fields(&good)).unwrap();
    assert_eq!(asked.choose(&["rtsp.onvif.org", "chat"]), Some("rtsp.onvif.org"));
    assert_eq!(asked.choose(&["RTSP.onvif.org"]), None);
    let answer = asked.answer(Some("chat"));
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"));
    assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert!(answer.contains("\r\nSec-WebSocket-Protocol: chat\r\n") && !answer.contains("Extensions"));
    for (at, value, want) in [
        (0, "close", Refused::NoUpgrade),
        (1, "h2c", Refused::NoUpgrade),
        (2, "8", Refused::Version),
        (3, "", Refused::Key),
        (3, "dGhlIHNhbXBsZSBub25j", Refused::Key),
        (3, "not base64!", Refused::Key),
    ] {
        let mut bad = good;
        bad[at].1 = value;
        assert_eq!(Asked::read(&fields(&bad)).unwrap_err(), want, "{value}");
        bad[at].0 = "x";
        assert!(Asked::read(&fields(&bad)).is_err());
    }
}

fn opening(key: &str) -> Opening<'_> {
    Opening { host: "cam:80", target: "/ws?x", key, protocols: "rtsp.onvif.org, binary", authorization: None }
}

/// Our client and our server understand each other; line ends in an address do not make fields.
#[test]
fn both_ends_open() {
    let key = key([5; 16]);
    let request = opening(&key).request();
    assert!(request.starts_with("GET /ws?x HTTP/1.1\r\nHost: cam:80\r\n") && request.ends_with("\r\n\r\n"));
    let field =
        |name: &str| request.lines().find_map(|l| l.split_once(": ").filter(|l| l.0 == name)).map(|l| l.1);
    let asked = Asked::read(&field).unwrap();
    let text = asked.answer(asked.choose(&["rtsp.onvif.org"])) + "\x02\x01x";
    let (answer, used) = Answer::read(text.as_bytes()).unwrap().unwrap();
    assert_eq!(answer.check(&opening(&key)), Ok(Some("rtsp.onvif.org")));
    assert_eq!(&text[used..], "\x02\x01x");
    for end in 0..used {
        assert_eq!(Answer::read(&text.as_bytes()[..end]), Ok(None), "{end}");
    }
    let evil = Opening { target: "/\r\nX: y", authorization: Some("a\r\nZ: z"), ..opening(&key) }.request();
    assert!(!evil.contains("\nX:") && !evil.contains("\nZ:"), "{evil}");
}

#[test]
fn answers_that_are_none() {
    let key = key([5; 16]);
    let good = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(&key)
    );
    let check = |text: &str| {
        let (answer, _) = Answer::read(text.as_bytes())?.unwrap();
        answer.check(&opening(&key)).map(|p| p.map(str::to_owned))
    };
    assert_eq!(check(&good), Ok(None));
    for (from, to) in
        [("websocket", "h2c"), ("Connection: Upgrade", "Connection: close"), ("Accept: ", "Accept: A")]
    {
        assert_eq!(check(&good.replace(from, to)), Err(OpeningError::NoWebSocket), "{to}");
    }
    let with = |line: &str| good.replace("Upgrade\r\n", &format!("Upgrade\r\n{line}\r\n"));
    assert_eq!(check(&with("Sec-WebSocket-Protocol: binary")), Ok(Some("binary".into())));
    for line in ["Sec-WebSocket-Protocol: soap", "Sec-WebSocket-Extensions: permessage-deflate"] {
        assert!(matches!(check(&with(line)), Err(OpeningError::NotOffered(_))), "{line}");
    }
    let refused =
        check("HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: Digest\r\n\r\n");
    assert_eq!(refused, Err(OpeningError::Status(401, "Unauthorized".into())));
    for bad in ["RTSP/1.0 200 OK\r\n\r\n", "HTTP/2\r\n", "HTTP/1.1 abc\r\n\r\n", "x", "HTTP/1.1 999 \r\n\r\n"]
    {
        assert_eq!(Answer::read(bad.as_bytes()), Err(OpeningError::NoHttp), "{bad}");
    }
    let endless = "HTTP/1.1 101 ".to_owned() + &"a".repeat(WS_HEAD);
    assert_eq!(Answer::read(endless.as_bytes()), Err(OpeningError::NoHttp));
}

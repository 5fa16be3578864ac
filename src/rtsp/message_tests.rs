use super::*;
use crate::net::rtp::pay::tests::Xorshift;

/// RFC 2326 §10.2's DESCRIBE, a frame, §10.1's answer, a frame and a GET_PARAMETER with a body.
fn stream() -> Vec<u8> {
    let mut out = b"DESCRIBE rtsp://server.example.com/fizzle/foo RTSP/1.0\r\nCSeq: 312\r\n\
        Accept: application/sdp, application/rtsl, application/mheg\r\n\r\n"
        .to_vec();
    out.extend_from_slice(b"$\x01\x00\x04\r\n\r\n");
    out.extend_from_slice(
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: DESCRIBE, SETUP, TEARDOWN, PLAY, PAUSE\r\nsession:  47112344 ; timeout=60\r\n\r\n",
    );
    out.extend_from_slice(b"$\x00\x00\x03RTP");
    out.extend_from_slice(
        b"GET_PARAMETER rtsp://e/x RTSP/1.0\r\nCSeq: 431\r\nContent-Type: text/parameters\r\nContent-Length: 15\r\n\r\npackets_receive",
    );
    out
}

/// What came, in words that can be compared.
fn read(parser: &mut Parser, out: &mut Vec<String>) -> Result<(), ParseError> {
    while let Some(item) = parser.next()? {
        out.push(match item {
            Item::Request(r) => {
                format!("{} {} {} {}", r.method.name(), r.uri, r.headers.cseq().unwrap_or("-"), r.body.len())
            }
            Item::Response(r) => format!("{} {} {:?}", r.status, r.reason, r.headers.session()),
            Item::Frame { channel, data } => format!("${channel} {data:?}"),
        });
    }
    Ok(())
}

fn all(bytes: &[u8], rules: Rules) -> Result<Vec<String>, ParseError> {
    let mut parser = Parser::new(rules);
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = parser.feed(rest);
        assert!(n > 0, "there is always room after reading");
        rest = &rest[n..];
        read(&mut parser, &mut out)?;
    }
    Ok(out)
}

#[test]
fn a_stream_is_read_the_same_however_it_is_cut() {
    let bytes = stream();
    let whole = all(&bytes, Rules::CAMERA).unwrap();
    assert_eq!(whole.len(), 5);
    assert_eq!(whole[0], "DESCRIBE rtsp://server.example.com/fizzle/foo 312 0");
    assert_eq!(whole[2], "200 OK Some((\"47112344\", Some(60)))");
    assert_eq!(whole[4], "GET_PARAMETER rtsp://e/x 431 15");
    for rules in [Rules::VIEWER, Rules::CAMERA] {
        for cut in 1..bytes.len() {
            let mut parser = Parser::new(rules);
            let mut out = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                assert_eq!(parser.feed(part), part.len());
                read(&mut parser, &mut out).unwrap();
            }
            assert_eq!(out, whole, "cut at {cut}");
        }
        let mut parser = Parser::new(rules);
        let mut out = Vec::new();
        for byte in &bytes {
            parser.feed(std::slice::from_ref(byte));
            read(&mut parser, &mut out).unwrap();
        }
        assert_eq!(out, whole);
    }
}

#[test]
fn line_feeds_alone_blank_lines_before_and_no_cseq_are_taken() {
    let out =
        all(b"\r\n\r\nOPTIONS * RTSP/1.0\nUser-Agent: x\n\n\nPLAY /x RTSP/1.0\ncseq:7\n\n", Rules::VIEWER)
            .unwrap();
    assert_eq!(out, ["OPTIONS * - 0", "PLAY /x 7 0"]);
}

#[test]
fn every_bound_has_its_status() {
    let long = "x".repeat(5000);
    let many = "A: b\r\n".repeat(65);
    for (head, status) in [
        (format!("PLAY rtsp://h/{} RTSP/1.0\r\n\r\n", &long[..1100]), 414),
        (format!("PLAY /{long}{long}"), 414),
        (format!("PLAY /x RTSP/1.0\r\nA: {long}\r\n\r\n"), 413),
        (format!("PLAY /x RTSP/1.0\r\n{}", many.repeat(30)), 413),
        (format!("PLAY /x RTSP/1.0\r\n{many}\r\n"), 400),
        ("PLAY /x RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n".into(), 413),
        ("PLAY /x RTSP/1.0\r\nContent-Length: 99999999999999999999999\r\n\r\n".into(), 400),
        ("PLAY /x RTSP/1.0\r\nContent-Length: -1\r\n\r\n".into(), 400),
        ("PLAY /x RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into(), 400),
        ("PLAY /x\r\n\r\n".into(), 400),
        ("PLAY /x FTP/1.0\r\n\r\n".into(), 400),
        ("$\x00\x7F\x7F".into(), 413),
        ("\x16\x03\x01\x02".into(), 400),
    ] {
        let error = all(head.as_bytes(), Rules::VIEWER).unwrap_err();
        assert_eq!(error.status(), status, "{error}: {head:.60}");
    }
}

#[test]
fn http_is_told_apart_and_its_endless_body_left_alone() {
    let out = all(b"POST /x HTTP/1.0\r\nContent-Length: 32767\r\n\r\n", Rules::VIEWER).unwrap();
    assert_eq!(out, ["OTHER /x - 0"]);
}

/// Cameras send rubbish between frames: scan for a frame or a message.
#[test]
fn quirk_a_client_finds_its_way_after_garbage() {
    let bytes = b"\x80\x60junk$\xFF\xFF\xFF$$\x00\x00\x02ab\r\n$\x02\x00\x01cRTP?RTSP/1.0 200 OK\r\n\r\n";
    let out = all(bytes, Rules::CAMERA).unwrap();
    assert_eq!(out, ["$0 [97, 98]", "$2 [99]", "200 OK None"]);
    assert_eq!(all(&vec![0x80; 400 << 10], Rules::CAMERA), Err(ParseError::Garbage));
}

#[test]
fn a_frame_of_any_length_is_taken_from_a_camera() {
    let mut bytes = frame_head(2, 65_535).to_vec();
    bytes.resize(4 + 65_535, 7);
    let bytes = [&bytes[..], &bytes, b"RTSP/1.0 200 OK\r\n\r\n"].concat();
    assert_eq!(all(&bytes, Rules::CAMERA).unwrap().len(), 3);
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut bytes = Vec::new();
    let headers = [("Session", "1\r\nX: y".to_string())];
    emit_request(Method::Announce, "rtsp://h/a b\r\n", 9, &headers, b"v=0", &mut bytes);
    assert!(bytes.starts_with(
        b"ANNOUNCE rtsp://h/ab RTSP/1.0\r\nCSeq: 9\r\nSession: 1X: y\r\nContent-Length: 3\r\n\r\nv=0"
    ));
    let mut parser = Parser::new(Rules::VIEWER);
    parser.feed(&bytes);
    let Ok(Some(Item::Request(request))) = parser.next() else { panic!() };
    let mut bytes = Vec::new();
    Reply::to(&request, 200).header("Public", "PLAY").body("text/parameters", b"x".to_vec()).emit(&mut bytes);
    assert_eq!(bytes, b"RTSP/1.0 200 OK\r\nCSeq: 9\r\nPublic: PLAY\r\nContent-Type: text/parameters\r\nContent-Length: 1\r\n\r\nx");
}

/// RFC 2326 §12.33, and with what cameras add.
#[test]
fn rtp_info_is_taken_apart() {
    let value = "url=rtsp://foo.com/bar.avi/streamid=0;seq=45102,url=rtsp://foo.com/bar.avi/streamid=1;seq=x; rtptime=3450012;";
    let list: Vec<_> = rtp_info(value).collect();
    assert_eq!(
        list[0],
        RtpInfo { url: "rtsp://foo.com/bar.avi/streamid=0", seq: Some(45_102), rtp_time: None }
    );
    assert_eq!((list[1].seq, list[1].rtp_time), (None, Some(3_450_012)));
}

#[test]
fn no_mutation_panics_or_grows() {
    let good = stream();
    let mut random = Xorshift(12);
    for round in 0..6000 {
        let mut bad = good.clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(bad.len());
            bad[at] = [b'\r', b'\n', b'$', b' ', b':', 0, 0xFF, random.next() as u8][random.below(8)];
        }
        let rules = if round % 2 == 0 { Rules::VIEWER } else { Rules::CAMERA };
        let mut parser = Parser::new(rules);
        for part in bad.chunks(1 + random.below(60)) {
            parser.feed(part);
            if read(&mut parser, &mut Vec::new()).is_err() {
                break;
            }
        }
        assert!(parser.buffer.len() <= parser.most());
    }
}

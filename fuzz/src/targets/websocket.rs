//! Frames of a WebSocket: however the bytes are cut, the same messages come out, as a stream too; what
//! was written is read. And its opening, from either end.

use super::{Pieces, steer};
use streamd::net::limits::{WS_HEAD, WS_MESSAGE};
use streamd::net::websocket::{
    Answer, Asked, Control, Event, FrameError, Kind, Opcode, Opening, Reader, Side, emit, key, mask,
};

#[derive(Debug, PartialEq)]
enum Seen {
    Message(Kind, Vec<u8>),
    Control(Control, Vec<u8>),
    Refused(FrameError),
}

/// What a connection makes of the pieces, and what flowed in messages that are not whole.
fn frames<'a>(side: Side, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Seen>, Vec<u8>) {
    let mut reader = Reader::new(side, WS_MESSAGE);
    let (mut seen, mut message) = (vec![], vec![]);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let (used, event) = match reader.read(rest) {
                Ok(read) => read,
                Err(error) => {
                    assert!((1002..=1009).contains(&error.code()));
                    seen.push(Seen::Refused(error));
                    return (seen, vec![]);
                }
            };
            assert!(used > 0 && used <= rest.len(), "nothing was taken");
            match event {
                Event::More => assert_eq!(used, rest.len()),
                Event::Data { kind, at, end } => {
                    assert!(at.end <= used);
                    message.extend_from_slice(&rest[at]);
                    if end {
                        if kind == Kind::Text {
                            assert!(std::str::from_utf8(&message).is_ok());
                        }
                        seen.push(Seen::Message(kind, std::mem::take(&mut message)));
                    }
                }
                Event::Control(control) => {
                    assert!(reader.payload().len() <= 125);
                    seen.push(Seen::Control(control, reader.payload().to_vec()));
                    let mut answer = vec![];
                    reader.answer(control, &mut answer, None);
                    assert!(answer.len() <= 127);
                }
            }
            rest = &mut rest[used..];
        }
    }
    (seen, message)
}

/// The same bytes as a stream.
fn stream(side: Side, data: &[u8], seed: u8, want: &[Seen], rest: &[u8]) {
    let mut reader = Reader::new(side, u64::MAX);
    let (mut got, mut controls) = (vec![], 0);
    for piece in Pieces::new(data, seed) {
        let mut piece = piece.to_vec();
        let Ok(n) = reader.strip(&mut piece, &mut |_, _| controls += 1) else { return };
        got.extend_from_slice(&piece[..n]);
    }
    if want.iter().any(|s| matches!(s, Seen::Refused(_))) {
        return; // too long for a message, but not for a stream
    }
    let mut whole = vec![];
    for one in want {
        if let Seen::Message(_, bytes) = one {
            whole.extend_from_slice(bytes);
        }
    }
    whole.extend_from_slice(rest);
    assert_eq!(got, whole, "as a stream it is something else");
    assert_eq!(controls, want.iter().filter(|s| matches!(s, Seen::Control(..))).count());
}

fn opening(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|l| l.split_once(':'));
        fields.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    };
    match Asked::read(&field) {
        Ok(asked) => {
            let answer = asked.answer(asked.choose(&["rtsp.onvif.org", "binary"]));
            assert!(answer.is_ascii() && answer.len() < 256);
        }
        Err(refused) => assert!(matches!(refused.status(), 400 | 426) && !refused.sentence().is_empty()),
    }
    let key = key([7; 16]);
    let first = text.lines().next().unwrap_or("");
    let opening =
        Opening { host: "cam", target: first, key: &key, protocols: "binary", authorization: Some(first) };
    assert!(opening.request().matches('\n').count() <= 10, "a line was smuggled in");
    if let Ok(Some((answer, used))) = Answer::read(data) {
        assert!(used <= WS_HEAD && (100..600).contains(&answer.status));
        let _ = answer.check(&opening).map_err(|e| e.to_string());
    }
}

/// See the module.
pub fn run(data: &[u8]) {
    let Some((seed, data)) = steer(data) else { return };
    let side = if seed & 16 == 0 { Side::Server } else { Side::Client };
    let (whole, rest) = frames(side, std::iter::once(data));
    let cut = frames(side, Pieces::new(data, seed));
    assert_eq!((&whole, &rest), (&cut.0, &cut.1), "it matters how the bytes are cut");
    stream(side, data, seed, &whole, &rest);
    opening(data);

    let key = (side == Side::Server).then_some([seed, 1, 2, 3]);
    let mut bytes = vec![];
    emit(&mut bytes, Opcode::Binary, data, key);
    let want = vec![Seen::Message(Kind::Binary, data.to_vec())];
    assert_eq!(frames(side, Pieces::new(&bytes, seed)), (want, vec![]));
    let mut twice = data.to_vec();
    let (head, tail) = twice.split_at_mut(data.len() / 3);
    for part in [(head, 0), (tail, data.len() / 3)] {
        mask(part.0, [seed; 4], part.1);
    }
    mask(&mut twice, [seed; 4], 0);
    assert_eq!(twice, data);
}

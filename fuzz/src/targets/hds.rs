//! A hub's data stream: the data format, and a whole connection. The first byte says which. What was read can
//! be written and is read again; a connection ends or goes on, and never holds more than it may.

use streamd::homekit::hds::frame::{HEAD, Keys};
use streamd::homekit::hds::session::{Heard, Reason, Session};
use streamd::homekit::hds::value::{Value, Writer};
use streamd::net::limits::HDS_FRAME;

/// Opens any frame: as long as nothing is sealed with them, keys that are the same both ways are a hub's.
fn sealed(payload: &[u8], keys: &mut Keys) -> Vec<u8> {
    let mut frame = [&[0; HEAD], payload].concat();
    keys.seal(&mut frame, 0);
    frame
}

pub fn run(data: &[u8]) {
    let Some((how, data)) = data.split_first() else { return };
    if how & 1 == 0 {
        if let Ok(value) = Value::parse(data) {
            let mut out = Vec::new();
            value.write(&mut Writer(&mut out));
            assert_eq!(Value::parse(&out), Ok(value));
        }
        return;
    }
    let keys = || Keys::new(&[1; 32], &[2; 32], &[3; 32]);
    let mut hub = keys().turned();
    let mut session = Session::new(keys(), Vec::new());
    let mut out = Vec::new();
    // messages, each behind its length; the last bytes come as they are
    let mut rest = data;
    while let Some(([a, b], tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes([*a & 0x3f, *b]));
        let Some((message, tail)) = tail.split_at_checked(len) else { break };
        let frame = if a & 0x80 == 0 { sealed(message, &mut hub) } else { message.to_vec() };
        assert!(frame.len() <= HDS_FRAME + 64);
        for piece in frame.chunks(if a & 0x40 == 0 { 7000 } else { 100 }) {
            session.receive(piece);
            loop {
                match session.next(&mut out) {
                    Ok(Some(Heard::Open { id, stream, known })) => {
                        session.opened(id, if known { Ok(()) } else { Err(Reason::Unexpected) }, &mut out);
                        session.close(stream, Reason::Cancelled, &mut out);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return,
                }
                out.clear();
            }
        }
        rest = tail;
    }
}

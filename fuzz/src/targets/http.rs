//! Pipelined requests with bodies: however the bytes are cut, the same requests come out.

use super::{Pieces, steer};
use streamd::net::http::{BodyReader, Head, Inbox, Refusal};
use streamd::net::limits::{HTTP_FIELDS, HTTP_HEAD, HTTP_LINE, HTTP_QUERY_PAIRS};

#[derive(Debug, PartialEq)]
enum Event {
    Head { text: String, values: Vec<u8> },
    Body(Vec<u8>),
    Refused(Refusal),
}

/// What a connection makes of the pieces.
fn requests<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut inbox = Inbox::default();
    let mut events = vec![];
    let mut body: Option<(BodyReader, Vec<u8>)> = None;
    for piece in pieces {
        inbox.push(piece);
        loop {
            if let Some((reader, content)) = &mut body {
                let (used, part) = match reader.feed(inbox.unread()) {
                    Ok(fed) => fed,
                    Err(refusal) => {
                        events.push(Event::Refused(refusal));
                        return events;
                    }
                };
                assert!(part.start <= part.end && part.end <= used && used <= inbox.unread().len());
                content.extend_from_slice(&inbox.unread()[part]);
                inbox.consume(used);
                if reader.is_done() {
                    events.push(Event::Body(std::mem::take(content)));
                    body = None;
                } else if used == 0 {
                    break;
                }
                continue;
            }
            match inbox.head() {
                Ok(Some(head)) => {
                    check(&head);
                    body = head.has_body().then(|| (BodyReader::new(head.framing), vec![]));
                    let values = head.fields.iter().flat_map(|(n, v)| [n, ": ", v, "\n"]).collect::<String>();
                    events.push(Event::Head { text: format!("{head:?}"), values: values.into_bytes() });
                }
                Ok(None) => break,
                Err(refusal) => {
                    events.push(Event::Refused(refusal));
                    return events;
                }
            }
        }
    }
    let unread = inbox.unread().to_vec();
    assert_eq!(inbox.take(), unread);
    if let Some((_, content)) = body {
        events.push(Event::Body(content));
    }
    events
}

fn check(head: &Head) {
    assert!(head.path.starts_with('/') && !head.path.contains("//"), "{}", head.path);
    assert!(!head.path.split('/').any(|s| s == "." || s == ".."), "{}", head.path);
    assert!(head.target.len() <= HTTP_LINE && head.query.pairs().len() <= HTTP_QUERY_PAIRS);
    assert!(head.fields.iter().count() <= HTTP_FIELDS);
    for (name, value) in head.fields.iter() {
        assert!(!name.is_empty() && !name.contains([' ', ':', '\r', '\n']));
        assert!(!value.contains(['\r', '\n', '\0']) && value.len() <= HTTP_HEAD);
    }
    let _ = (head.upgrade(), head.fields.lists("connection", "close"));
}

/// See the module.
pub fn run(data: &[u8]) {
    let Some((seed, stream)) = steer(data) else { return };
    let whole = requests(std::iter::once(stream));
    let content: usize = whole.iter().map(|e| if let Event::Body(b) = e { b.len() } else { 0 }).sum();
    assert!(content <= stream.len());
    assert_eq!(requests(Pieces::new(stream, seed)), whole);
}

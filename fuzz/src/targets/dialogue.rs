//! What a camera answers, whatever it is: the client asks on, gives up or plays, never more requests
//! than answers and dials, and each of them can be read.

use super::steer;
use std::time::Duration;
use streamd::media::{Kind, Time};
use streamd::rtsp::dialogue::{Carrier, Dialogue, Plan, Role, Step};
use streamd::rtsp::message::{Item, Parser, Rules};
use streamd::rtsp::url::Url;

/// What stands in `out` are whole requests or answers.
fn sent(out: &mut Vec<u8>) {
    let mut parser = Parser::new(Rules::PUBLISHER);
    let mut bytes = &out[..];
    while !bytes.is_empty() {
        let fed = parser.feed(bytes);
        bytes = &bytes[fed..];
        while parser.next().expect("what we send can be read").is_some() {}
        assert!(fed > 0);
    }
    assert!(parser.take_rest().is_empty(), "half a request");
    out.clear();
}

pub fn run(data: &[u8]) {
    let Some((how, data)) = steer(data) else { return };
    let plan = Plan {
        url: Url::parse("rtsp://us:s3cr3t@10.0.0.9/ch0").expect("an address"),
        role: if how & 1 == 0 { Role::Watch } else { Role::Talk },
        back_channel: how & 2 != 0,
        kinds: vec![Kind::Video, Kind::Audio],
        carrier: if how & 4 == 0 { Carrier::Tcp } else { Carrier::Udp },
        fall_back: how & 8 != 0,
        silence: Duration::from_secs(5),
    };
    let mut now = Time::from_nanos(1_000_000_000);
    let mut out = vec![];
    let mut dialogue = Dialogue::new(plan, [7; 16]);
    dialogue.begin(now, &mut out);
    sent(&mut out);
    let mut parser = Parser::new(Rules::CAMERA);
    let mut bytes = data;
    let mut dials = 0;
    loop {
        now += Duration::from_millis(300);
        let step = match parser.next() {
            Ok(Some(Item::Response(response))) => dialogue.response(now, &response, &mut out),
            Ok(Some(Item::Request(request))) => dialogue.request(&request, &mut out).map(|()| Step::Wait),
            Ok(Some(Item::Frame { channel, .. })) => {
                if dialogue.channel(channel).is_some() {
                    dialogue.heard(now);
                }
                Ok(Step::Wait)
            }
            Ok(None) => {
                let fed = parser.feed(bytes);
                bytes = &bytes[fed..];
                if fed == 0 {
                    break;
                }
                Ok(Step::Wait)
            }
            Err(_) => break,
        };
        let ticked = |d: &mut Dialogue, out: &mut Vec<u8>| d.tick(now, out);
        let step = match step {
            Ok(Step::Wait) => ticked(&mut dialogue, &mut out),
            other => other,
        };
        match step {
            Err(error) => {
                assert!(!error.to_string().contains("s3cr3t"), "the password is told: {error}");
                break;
            }
            Ok(Step::Dial) => {
                dials += 1;
                assert!(dials < 20, "it dials for ever");
                dialogue.begin(now, &mut out);
            }
            Ok(Step::Described) => {
                assert!(dialogue.tracks().len() <= 8);
                let ports = vec![(6000, 6001); dialogue.tracks().len()];
                dialogue.setup(now, ports, &mut out);
            }
            Ok(Step::Ready) => dialogue.play(now, &mut out),
            Ok(Step::Wait | Step::Playing | Step::Report) => {}
        }
        sent(&mut out);
    }
    dialogue.teardown(&mut out);
    sent(&mut out);
}

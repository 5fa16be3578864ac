//! Opus: packets and identification headers.

use streamd::media::opus::{Head, MAX_SAMPLES, Packet};

/// See the module.
pub fn run(data: &[u8]) {
    if let Ok(packet) = Packet::parse(data) {
        assert!((1..=48).contains(&packet.frames) && packet.padding < data.len());
        assert!((120..=MAX_SAMPLES).contains(&packet.samples()), "{packet:?}");
        assert!((1..=2).contains(&packet.toc.channels()));
        let _ = (packet.toc.mode(), packet.toc.bandwidth());
    }
    for head in [Head::parse(data), Head::parse_dops(data)].into_iter().flatten() {
        assert!((1..=8).contains(&head.channels));
        if head.family == 0 {
            assert_eq!(Head::parse(&head.emit()), Ok(head));
            assert_eq!(Head::parse_dops(&head.emit_dops()), Ok(head));
        }
    }
}

//! The motion detector: access units of any shape, at any time, as cameras and broken networks bring them.

use std::rc::Rc;
use std::time::Duration;
use streamd::media::nal::NalCodec;
use streamd::media::parameter_sets::ParameterSets;
use streamd::media::{Codec, Time, annexb};
use streamd::motion::detector::{Detector, Settings, Type, bytes};
use streamd::motion::eye::Eye;

/// The first byte says codec, threshold and how time goes; the rest is a byte stream.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = super::steer(data) else { return };
    let codec = if first & 1 == 0 { NalCodec::H264 } else { NalCodec::H265 };
    let settings = Settings { threshold: u16::from(first) << 3, ..Settings::default() };
    let mut detector = Detector::new(settings);
    let mut sets = ParameterSets::new(codec);
    let mut eye = Eye::new(&Codec::new(codec.id()));
    let (mut time, mut unit) = (Time::ZERO, Vec::new());
    let (mut begun, mut ended) = (0, 0);
    for nal in annexb::nals(rest) {
        unit.clear();
        let found = sets.take(nal, &mut |nal| annexb::push_with_length(nal, &mut unit));
        if found.changed {
            eye = Eye::new(&Codec { extra: Rc::from(sets.extra()), ..Codec::new(codec.id()) });
        }
        let gap = nal.len() % 7 == 3;
        time += Duration::from_millis(nal.len() as u64 * u64::from(first >> 4));
        let Some(picture) = eye.as_ref().and_then(|eye| eye.look(&unit, gap)) else { continue };
        assert!(picture.size as usize <= rest.len() && picture.size > 0);
        assert!(picture.qp.is_none_or(|qp| (-48..=51).contains(&qp)));
        // one slice is a short stream: show it often enough that there is something to judge
        for n in 0..40u64 {
            let shown = time + Duration::from_millis(40 * n);
            let verdict = detector.picture(shown, picture);
            assert!(picture.kind == Type::Key || verdict.trigger >= verdict.baseline);
            let _ = bytes(verdict.level);
            begun += u32::from(verdict.changed == Some(true));
            ended += u32::from(verdict.changed == Some(false));
            assert_eq!(detector.is_on(), begun > ended);
        }
    }
}

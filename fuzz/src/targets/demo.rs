//! The demo camera's options; where the picture is small, a picture by them.

use streamd::device::demo::{Camera, MAX_BITRATE, MIN_BITRATE, Moment, Options};
use streamd::media::Time;
use streamd::media::annexb;
use streamd::media::nal::NalCodec;
use streamd::media::parameter_sets::ParameterSets;

/// See the module.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let options = match Options::parse(&text) {
        Ok(options) => options,
        Err(error) => {
            assert!(error.to_string().len() < 600, "{error}");
            return;
        }
    };
    let o = &options;
    assert!((64..=3840).contains(&o.width) && (64..=2160).contains(&o.height));
    assert!(o.width % 2 == 0 && o.height % 2 == 0);
    assert!((1..=60).contains(&o.fps) && (1..=10).contains(&o.gop) && o.noise <= 100);
    assert!(o.bitrate == 0 || (MIN_BITRATE..=MAX_BITRATE).contains(&o.bitrate));
    assert!(o.gop_frames() > 0 && (8000..=48_000).contains(&o.rate));
    if usize::from(o.width) * usize::from(o.height) > 96 * 96 {
        return;
    }
    let mut camera = Camera::new(o);
    let mut frame = vec![];
    assert!(
        camera.frame(
            &Moment { number: 0, capture: Time::from_nanos(0), unix: 0, zone: 0, level: 0 },
            &mut frame
        ),
        "the first picture is a key frame"
    );
    let mut sets = ParameterSets::from_extra(NalCodec::H264, &camera.extra());
    let unit = sets.unit(annexb::nals(&frame), &mut |_| {});
    let _ = unit;
    let Some(info) = sets.info() else { panic!("no size in the demo's own sets") };
    assert_eq!((info.width, info.height), (u32::from(o.width), u32::from(o.height)));
}

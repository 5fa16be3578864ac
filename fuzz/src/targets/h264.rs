//! H.264: parameter sets, slice headers, supplemental information.

use streamd::media::h264;
use streamd::media::nal::NalCodec;

/// See the module.
pub fn run(data: &[u8]) {
    super::video::run(NalCodec::H264, data);
    // And without a start code, so that a fuzzer reaches the fields at once.
    if let Ok(sps) = h264::Sps::parse(data) {
        let _ = sps.frame_rate();
    }
    let _ = h264::Pps::parse(data);
}

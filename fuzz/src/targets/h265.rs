//! H.265: parameter sets, slice headers, supplemental information.

use streamd::media::h265;
use streamd::media::nal::NalCodec;

/// See the module.
pub fn run(data: &[u8]) {
    super::video::run(NalCodec::H265, data);
    // And without a start code, so that a fuzzer reaches the fields at once.
    if let Ok(sps) = h265::Sps::parse(data) {
        let _ = sps.frame_rate();
    }
    let _ = h265::Pps::parse(data);
}

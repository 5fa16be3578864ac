//! AAC's configuration: read, written, read again.

use streamd::media::aac::{Adts, AudioConfig};

/// See the module.
pub fn run(data: &[u8]) {
    if let Ok(config) = AudioConfig::parse(data) {
        assert!(config.channels > 0 && config.frame_len > 0, "{config:?}");
        let _ = (config.frame_samples(), config.output_rate());
        let mut out = [0; AudioConfig::MAX];
        if let Ok(len) = config.emit(&mut out) {
            assert_eq!(AudioConfig::parse(&out[..len]), Ok(config), "{:02x?}", &out[..len]);
            for n in 0..len.saturating_sub(1) {
                let _ = AudioConfig::parse(&out[..n]);
                assert!(config.emit(&mut [0; AudioConfig::MAX][..n]).is_err());
            }
        }
        if let Ok(header) = Adts::new(&config, data.len()) {
            assert_eq!(Adts::parse(&header.emit()), Ok(header));
        }
    }
}

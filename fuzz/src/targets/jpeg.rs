//! JPEG: what is said before the picture, and back from what RTP keeps of it.

use streamd::media::jpeg::{Header, JpegInfo};

/// See the module.
pub fn run(data: &[u8]) {
    let Ok(info) = JpegInfo::parse(data) else { return };
    assert!(info.width > 0 && info.height > 0 && (1..=4).contains(&info.components().len()));
    assert_eq!(JpegInfo::parse(&data[..info.scan]).as_ref(), Ok(&info));
    assert!(JpegInfo::parse(&data[..info.scan - 1]).is_err());
    let tables = info.rtp_tables();
    let Some(sampling) = info.rtp_sampling() else { return };
    let Some((luma, chroma)) = tables else { panic!("a sampling without tables") };
    let header = Header {
        sampling,
        width: info.width,
        height: info.height,
        luma,
        chroma,
        restart_interval: info.restart_interval,
    };
    let mut file = vec![];
    header.write(&mut file);
    match JpegInfo::parse(&file) {
        Ok(again) => {
            assert_eq!(again.scan, file.len());
            assert_eq!((again.width, again.height), (info.width, info.height));
            assert_eq!(again.restart_interval, info.restart_interval);
            assert_eq!((again.rtp_sampling(), again.rtp_tables()), (Some(sampling), tables));
        }
        Err(error) => panic!("{error}"),
    }
}

//! What both video codecs go through: sets are learned, slices read, supplemental information looked
//! at.

use streamd::media::annexb;
use streamd::media::nal::NalCodec;
use streamd::media::parameter_sets::{MAX_SET_LEN, MAX_SETS, ParameterSets, Unit};
use streamd::media::sei;

fn learn<'a>(codec: NalCodec, units: impl Iterator<Item = &'a [u8]>) -> (ParameterSets, Unit, Vec<&'a [u8]>) {
    let mut sets = ParameterSets::new(codec);
    let mut kept = vec![];
    let unit = sets.unit(units, &mut |nal| kept.push(nal));
    (sets, unit, kept)
}

/// Takes an Annex B byte stream for one access unit of that codec.
pub fn run(codec: NalCodec, data: &[u8]) {
    let (sets, unit, kept) = learn(codec, annexb::nals(data));
    assert!(!unit.key || unit.picture);
    assert!(kept.iter().map(|nal| nal.len()).sum::<usize>() <= data.len());
    let mut same = vec![];
    annexb::to_lengths(data, &mut same);
    let (other, unit_again, kept_again) = learn(codec, annexb::lengths(&same));
    assert_eq!((unit, &kept), (unit_again, &kept_again));
    let extra = sets.extra();
    assert_eq!(other.extra(), extra);
    assert!(sets.iter().count() <= 3 * MAX_SETS && sets.iter().all(|set| set.len() <= MAX_SET_LEN));

    // What goes into SDP or MP4 and comes back is the same.
    let back = ParameterSets::from_extra(codec, &extra);
    assert_eq!(back.extra(), extra);
    assert_eq!(back.info(), sets.info());
    assert_eq!((back.complete(), back.refused()), (sets.complete(), 0));
    if let Some(info) = sets.info() {
        assert!((1..=1 << 16).contains(&info.width) && (1..=1 << 16).contains(&info.height), "{info:?}");
        assert!(info.frame_rate.is_none_or(|(n, d)| n > 0 && d > 0), "{info:?}");
        assert!(info.profile.to_string().len() < 60);
    }
    for nal in kept {
        let slice = sets.slice(nal);
        assert_eq!(slice, back.slice(nal));
        if let Some(slice) = slice {
            assert!((-48..=51).contains(&slice.qp), "{slice:?}");
        }
        let (_, _, _) = (codec.kind(nal), codec.is_key(nal), codec.begins_picture(nal));
        let mut found = [0; 32];
        if let Some(len) = sei::read_user_data(codec, nal, b"0123456789abcdef", &mut found) {
            assert!(len <= nal.len());
        }
        let _ = sei::read_capture_time(codec, nal, b"0123456789abcdef");
    }
}

//! Supplemental information: messages of user data with a UUID (type 5), in H.264 and H.265. The
//! demo camera writes the capture time of each picture into one; whoever measures latency reads it
//! back. Other messages are passed over.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::bits::{BitReader, BitWriter, SyntaxError};
use super::nal::{NalCodec, NalKind};
use super::{h264, h265};

/// `user_data_unregistered`.
const USER_DATA: u32 = 5;

/// Appends one NAL unit (no start code, no length) with one message of user data.
pub fn write_user_data(out: &mut Vec<u8>, codec: NalCodec, uuid: &[u8; 16], data: &[u8]) {
    let mut w = BitWriter::nal(out);
    match codec {
        NalCodec::H264 => w.bytes(&[h264::nal_type::SEI]),
        NalCodec::H265 => w.bytes(&[h265::nal_type::PREFIX_SEI << 1, 1]),
    }
    w.put(8, USER_DATA);
    let mut size = 16 + data.len();
    while size >= 255 {
        w.put(8, 255);
        size -= 255;
    }
    w.put(8, size as u32);
    w.bytes(uuid);
    w.bytes(data);
    w.trailing();
}

/// Reads the user data behind `uuid` from a NAL unit, as much as fits into `data`; how long it is.
/// None if `nal` is not supplemental information or holds no such message.
pub fn read_user_data(codec: NalCodec, nal: &[u8], uuid: &[u8; 16], data: &mut [u8]) -> Option<usize> {
    if codec.kind(nal) != NalKind::Sei {
        return None;
    }
    let mut r = BitReader::new(nal);
    r.skip(8 * codec.header_len() as u32);
    while r.more_data() {
        let message = number(&mut r);
        let size = number(&mut r);
        if message != USER_DATA || size < 16 {
            r.skip(8 * size);
            continue;
        }
        let same = uuid.iter().fold(true, |same, &byte| (r.u8(8) == byte) & same);
        let len = size - 16;
        if !same {
            r.skip(8 * len);
            continue;
        }
        for slot in data.iter_mut().take(len as usize) {
            *slot = r.u8(8);
        }
        r.skip(8 * len.saturating_sub(data.len() as u32));
        return r.end().is_ok().then_some(len as usize);
    }
    None
}

/// Appends one NAL unit that says when its picture was taken, in nanoseconds.
pub fn write_capture_time(out: &mut Vec<u8>, codec: NalCodec, uuid: &[u8; 16], nanos: u64) {
    write_user_data(out, codec, uuid, &nanos.to_be_bytes());
}

/// Reads what [`write_capture_time`] wrote.
pub fn read_capture_time(codec: NalCodec, nal: &[u8], uuid: &[u8; 16]) -> Option<u64> {
    let mut data = [0; 8];
    (read_user_data(codec, nal, uuid, &mut data)? == 8).then(|| u64::from_be_bytes(data))
}

/// Payload type or size: bytes of 255 and a last one, summed.
fn number(r: &mut BitReader<'_>) -> u32 {
    let mut sum = 0u32;
    loop {
        let byte = r.u(8);
        // more than 16 MB is no message
        if sum > 1 << 24 {
            r.fail(SyntaxError::OutOfRange("SEI message"));
            return 0;
        }
        sum += byte;
        if byte != 255 {
            return sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::testing::*;
    use super::*;

    const UUID: [u8; 16] = *b"capture time \0\0\0";

    #[test]
    fn the_capture_time_comes_back_whatever_its_bytes() {
        for codec in [NalCodec::H264, NalCodec::H265] {
            for nanos in
                [0, 1, 3, 0x0000_0100_0002_0000, 0x0303_0000_0000_0300, u64::MAX, 1_700_000_000_000_000_000]
            {
                let mut nal = vec![];
                write_capture_time(&mut nal, codec, &UUID, nanos);
                assert!(!nal.windows(3).any(|w| w[0] == 0 && w[1] == 0 && w[2] < 3));
                assert_eq!(read_capture_time(codec, &nal, &UUID), Some(nanos));
                assert_eq!(read_capture_time(codec, &nal, &[7; 16]), None);
                for n in 0..nal.len() - 1 {
                    assert_eq!(read_capture_time(codec, &nal[..n], &UUID), None);
                }
                mutations(&nal, 2000, &mut |bytes| {
                    read_capture_time(codec, bytes, &UUID);
                });
            }
        }
    }

    #[test]
    fn long_user_data_and_messages_before_it_are_passed() {
        let text = vec![0x41; 700];
        let mut nal = vec![];
        write_user_data(&mut nal, NalCodec::H264, &UUID, &text);
        // The same behind a recovery point (type 6, one byte) and another's user data.
        let mut both = hex("06 06 01 c4 05 11 000102030405060708090a0b0c0d0e0f aa");
        both.extend_from_slice(&nal[1..]);
        for nal in [nal, both] {
            let mut data = [0; 1000];
            assert_eq!(read_user_data(NalCodec::H264, &nal, &UUID, &mut data), Some(700));
            assert_eq!(&data[..700], &text[..]);
            assert_eq!(read_user_data(NalCodec::H264, &nal, &UUID, &mut data[..8]), Some(700));
        }
    }
}

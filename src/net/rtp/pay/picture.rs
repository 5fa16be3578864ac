//! JPEG (RFC 2435): the file's headers are left behind, the scan is cut. The quantisation tables go
//! in band in each picture's first packet (Q = 255), as ranges of the file.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{PayError, Run, Source};
use crate::net::rtp::jpeg::Scan;

const Q_IN_BAND: u8 = 255;
/// First and last flag set and the count all ones: the whole picture is needed to decode (§3.1.7).
const RESTART_WHOLE: [u8; 2] = [0xFF, 0xFF];

pub(super) fn jpeg(run: &mut Run, frame: &[u8]) -> Result<(), PayError> {
    let scan = Scan::parse(frame).map_err(PayError::Jpeg)?;
    let mut kind = u8::from(scan.halved_height);
    if scan.restart_interval > 0 {
        kind |= 64;
    }
    let end = scan.data.end;
    let mut at = scan.data.start;
    while at < end {
        let mut head = [0; 16];
        let done = at - scan.data.start;
        let [_, o1, o2, o3] = (done as u32).to_be_bytes();
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            for (to, from) in head.iter_mut().skip(len).zip(bytes) {
                *to = *from;
            }
            len += bytes.len();
        };
        put(&[0, o1, o2, o3, kind, Q_IN_BAND, scan.blocks_wide, scan.blocks_high]);
        if scan.restart_interval > 0 {
            put(&scan.restart_interval.to_be_bytes());
            put(&RESTART_WHOLE);
        }
        let tables = if done == 0 { 128 } else { 0 };
        if tables > 0 {
            put(&[0, 0, 0, tables as u8]);
        }
        let data = run.room(len + tables).max(1).min(end - at);
        run.begin(head.get(..len).unwrap_or(&[]), tables + data, at + data == end);
        if tables > 0 {
            for table in scan.tables {
                run.range(Source::Frame, table, 64);
            }
        }
        run.range(Source::Frame, at, data);
        at += data;
    }
    Ok(())
}

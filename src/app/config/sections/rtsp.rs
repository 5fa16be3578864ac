//! `rtsp`: the RTSP server.

use crate::app::config::keys::{Address, Kind, Section, Shape, section};

section! {
    /// The RTSP server.
    pub struct Rtsp {
        /// Addresses to listen on; "" is off.
        listen: Vec<Address> = ":8554", Kind::Listen;
        /// User with every role at this door only. Prefer the section users.
        username: String = "", Kind::Text, LIVE;
        /// Password of that user.
        password: String = "", Kind::Text, SECRET, LIVE;
        /// What a viewer gets who asks for nothing in particular.
        default_query: String = "video&audio", Kind::Text, LIVE;
        /// Largest RTP packet in bytes; 0 chooses by the connection.
        pkt_size: u16 = "0", Kind::Int(0, 65000), LIVE;
    }
}

/// The section.
pub const SECTION: Section =
    Section { name: "rtsp", module: Some("rtsp"), help: Rtsp::ABOUT, shape: Shape::Table(Rtsp::KEYS, None) };

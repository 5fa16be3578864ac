//! `rtsp`: the RTSP server.

use std::time::Duration;

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
        /// How long sound waits for the next picture, so that both leave in one packet of the network; 0 sends it at once.
        coalesce: Duration = "20ms", Kind::Duration(0, 200), LIVE;
        /// What clients are asked for: digest suits every one of them, sha256 offers both hashes, basic is the password in clear.
        auth: &'static str = "digest", Kind::Words(&["digest", "sha256", "basic"]), LIVE;
        /// Ask for the password also on loopback.
        local_auth: bool = "true", Kind::Bool, LIVE;
        /// Send and receive over UDP too.
        udp: bool = "true", Kind::Bool;
        /// Let viewers who ask for it share one multicast group.
        multicast: bool = "true", Kind::Bool;
        /// How many routers multicast may pass.
        multicast_ttl: u16 = "4", Kind::Int(0, 255);
        /// The group of all tracks; "" gives each track one of its own within 239.255.0.0/16.
        multicast_address: String = "", Kind::Text;
        /// Port of the first track in that group, an even one; each other track has the next two. 0 takes any.
        multicast_port: u16 = "0", Kind::Int(0, 65000);
        /// The first of the two UDP ports, an even one; 0 takes any.
        udp_port: u16 = "0", Kind::Int(0, 65534);
    }
}

/// The section.
pub const SECTION: Section =
    Section { name: "rtsp", module: Some("rtsp"), help: Rtsp::ABOUT, shape: Shape::Table(Rtsp::KEYS, None) };

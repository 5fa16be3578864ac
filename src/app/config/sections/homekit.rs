//! `homekit` and `mdns`: streams as accessories in Apple Home, and how the camera is found.

use std::path::PathBuf;
use std::time::Duration;

use crate::app::config::keys::{Kind, Section, Shape, section};

section! {
    /// An accessory.
    pub struct Homekit {
        /// The setup code, eight digits. Without it a random one is made at the first start and kept.
        pin: String = "", Kind::Text, SECRET;
        /// The name at first; it may be changed in the Home app. Without it the stream's.
        name: String = "", Kind::Text;
        /// Port to listen on; 0 takes any.
        port: u16 = "0", Kind::Int(0, 65535);
        /// What the Home app shows: camera, doorbell, bridge or a number.
        category_id: String = "camera", Kind::Text;
        /// Four letters or digits that name the QR code. Without it random ones.
        setup_id: String = "", Kind::Text;
        /// go2rtc's: the identity AA:BB:CC:DD:EE:FF, or a name that it is made from. Without it a random one.
        device_id: String = "", Kind::Text;
        /// go2rtc's: the private key in hexadecimal digits, or a name that it is made from.
        device_private: String = "", Kind::Text, SECRET;
        /// go2rtc's pairings: taken over once, so that a home need not pair again; then the state folder holds them.
        pairings: Vec<String> = "", Kind::List;
        /// Makes it a bridge, which is no camera itself: these streams are the cameras behind it, each as it
        /// is described by its own name. All of them are paired together, with the bridge's code.
        streams: Vec<String> = "", Kind::List;
        /// Offer live view.
        live: bool = "true", Kind::Bool;
        /// Other streams with the same picture in other sizes, for viewers who want less.
        sub_streams: Vec<String> = "", Kind::List;
        /// HomeKit Secure Video: hubs may record what happens, from four seconds before it.
        hksv: bool = "false", Kind::Bool;
        /// The pictures are higher than wide; recordings know that of their source.
        upright: bool = "false", Kind::Bool;
        /// Announce the microphone.
        microphone: bool = "true", Kind::Bool;
        /// Announce the speaker.
        speaker: bool = "false", Kind::Bool;
        /// Keep the microphone silent while somebody talks.
        half_duplex: bool = "false", Kind::Bool;
        /// RTSP, ONVIF and the web go on while the camera is switched off in the Home app.
        third_party: bool = "true", Kind::Bool;
        /// Announce a status light that can be switched.
        status_light: bool = "false", Kind::Bool;
        /// Announce night vision that can be switched.
        night_vision: bool = "false", Kind::Bool;
        /// Who made the camera.
        manufacturer: String = "streamd", Kind::Text;
        /// What it is called.
        model: String = "Camera", Kind::Text;
        /// Its serial number, of two characters at least. Without it the identity.
        serial: String = "", Kind::Text;
        /// Its firmware's revision, x.y.z. Without it streamd's.
        firmware: String = "", Kind::Text;
        /// Its hardware's revision, x.y.z; "" is not announced.
        hardware: String = "", Kind::Text;
        /// Where motion comes from, one word or several with commas: detect (the detector looks at the pictures),
        /// api (HTTP and the control socket), continuous (every 30 seconds, to record always), external, onvif.
        /// Without it detect and api; in a file that was go2rtc's api alone (see docs/motion.md).
        motion: String = "", Kind::Text;
        /// How far above the usual a picture has to be to show motion, 1.05 to 100. Less sees more.
        motion_threshold: String = "2.0", Kind::Text;
        /// The same as a number from 1 (only what is large) to 10 (whatever stirs); 0 leaves it to the threshold.
        motion_sensitivity: u16 = "0", Kind::Int(0, 10);
        /// For how long motion stays after it was seen last.
        motion_hold_time: Duration = "30s", Kind::Duration(1000, 3_600_000);
        /// Of a camera whose motion events are to be used.
        onvif_url: String = "", Kind::Text, LACKING;
    }
}

section! {
    /// How the camera is found on the network.
    pub struct Mdns {
        /// own: streamd answers by itself, beside whoever else does. files: it writes service files for avahi. off: it is not found.
        mode: &'static str = "own", Kind::Words(&["own", "files", "off"]), PROCESS;
        /// The host's name without ".local". Without it the machine's.
        host: String = "", Kind::Text, PROCESS;
        /// Announce the RTSP server, where other hosts reach it.
        rtsp: bool = "true", Kind::Bool, PROCESS;
        /// Announce the web interface, where other hosts reach it.
        web: bool = "true", Kind::Bool, PROCESS;
        /// Where the files are written.
        directory: PathBuf = "/etc/avahi/services", Kind::Path, PROCESS, GUARDED;
    }
}

/// The section of accessories.
pub const SECTION: Section = Section {
    name: "homekit",
    module: Some("homekit"),
    help: crate::app::config::keys::told(
        "Streams that are cameras in Apple Home: each name is a stream's. HomeKit has its own port and its \
         own keys; users and passwords of this file are not asked for there.",
    ),
    shape: Shape::Named(Homekit::KEYS),
};

/// The section of discovery.
pub const MDNS: Section =
    Section { name: "mdns", module: None, help: Mdns::ABOUT, shape: Shape::Table(Mdns::KEYS, None) };

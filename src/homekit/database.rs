//! The table of services and characteristics. Every one has its instance id for ever: a shape leaves
//! some out, none moves. Here is what there is; what it is worth at the moment is the accessory's.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::crypto::sha512;

/// What may be done, as bits.
pub mod may {
    /// Read.
    pub const READ: u16 = 1;
    /// Written.
    pub const WRITE: u16 = 2;
    /// Subscribed to.
    pub const EVENT: u16 = 4;
    /// Written only after a `/prepare`.
    pub const TIMED: u16 = 8;
    /// A write may ask for an answer.
    pub const ANSWER: u16 = 16;
    /// Written by admins only.
    pub const ADMIN: u16 = 32;
    /// Its events do not wait for others.
    pub const NOW: u16 = 64;
    /// Its value survives a restart.
    pub const KEEP: u16 = 128;
}
use may::{ADMIN, ANSWER, EVENT, KEEP, NOW, READ, TIMED, WRITE};

/// Characteristics' types.
#[allow(missing_docs)]
pub mod kind {
    pub const IDENTIFY: u16 = 0x14;
    pub const MANUFACTURER: u16 = 0x20;
    pub const MODEL: u16 = 0x21;
    pub const MOTION: u16 = 0x22;
    pub const NAME: u16 = 0x23;
    pub const SERIAL: u16 = 0x30;
    pub const VERSION: u16 = 0x37;
    pub const FIRMWARE: u16 = 0x52;
    pub const HARDWARE: u16 = 0x53;
    pub const SWITCH_EVENT: u16 = 0x73;
    pub const STATUS_ACTIVE: u16 = 0x75;
    pub const ACTIVE: u16 = 0xb0;
    pub const SUPPORTED_VIDEO: u16 = 0x114;
    pub const SUPPORTED_AUDIO: u16 = 0x115;
    pub const SUPPORTED_RTP: u16 = 0x116;
    pub const SELECTED_RTP: u16 = 0x117;
    pub const SETUP_ENDPOINTS: u16 = 0x118;
    pub const VOLUME: u16 = 0x119;
    pub const MUTE: u16 = 0x11a;
    pub const NIGHT_VISION: u16 = 0x11b;
    pub const STREAMING_STATUS: u16 = 0x120;
    pub const SUPPORTED_DATA_STREAM: u16 = 0x130;
    pub const SETUP_DATA_STREAM: u16 = 0x131;
    pub const SUPPORTED_RECORDING: u16 = 0x205;
    pub const SUPPORTED_RECORDING_VIDEO: u16 = 0x206;
    pub const SUPPORTED_RECORDING_AUDIO: u16 = 0x207;
    pub const SELECTED_RECORDING: u16 = 0x209;
    pub const CAMERA_ACTIVE: u16 = 0x21b;
    pub const THIRD_PARTY_ACTIVE: u16 = 0x21c;
    pub const INDICATOR: u16 = 0x21d;
    pub const EVENT_SNAPSHOTS: u16 = 0x223;
    pub const PERIODIC_SNAPSHOTS: u16 = 0x225;
    pub const RECORDING_AUDIO: u16 = 0x226;
    pub const MANUALLY_DISABLED: u16 = 0x227;
}

/// How a value is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    Bool,
    /// With the largest value.
    Uint8(u8),
    String,
    Tlv8,
}

/// When a service or a characteristic is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Live,
    Recording,
    Microphone,
    Speaker,
    Motion,
    Doorbell,
    Hardware,
    Indicator,
    NightVision,
}

/// A characteristic.
#[derive(Clone, Copy, Debug)]
pub struct Characteristic {
    /// Its instance id.
    pub iid: u16,
    /// Its type.
    pub kind: u16,
    /// Its format.
    pub format: Format,
    /// What may be done with it.
    pub may: u16,
    when: When,
}

/// A service.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its instance id.
    pub iid: u16,
    /// Its type.
    pub kind: u16,
    /// Services that belong to it.
    pub links: &'static [u16],
    /// Whether it is what the accessory is.
    pub primary: bool,
    when: When,
    characteristics: &'static [Characteristic],
}

const fn c(iid: u16, kind: u16, format: Format, may: u16) -> Characteristic {
    Characteristic { iid, kind, format, may, when: When::Always }
}

const fn only(when: When, mut it: Characteristic) -> Characteristic {
    it.when = when;
    it
}

const RW: u16 = READ | WRITE | EVENT | KEEP;
use Format::{Bool, String, Tlv8, Uint8};

macro_rules! live {
    ($from:literal) => {
        Service {
            iid: $from,
            kind: 0x110,
            links: &[],
            primary: false,
            when: When::Live,
            characteristics: &[
                c($from + 1, kind::SUPPORTED_VIDEO, Tlv8, READ),
                c($from + 2, kind::SUPPORTED_AUDIO, Tlv8, READ),
                c($from + 3, kind::SUPPORTED_RTP, Tlv8, READ),
                c($from + 4, kind::SELECTED_RTP, Tlv8, READ | WRITE | ANSWER),
                c($from + 5, kind::SETUP_ENDPOINTS, Tlv8, READ | WRITE | ANSWER),
                c($from + 6, kind::STREAMING_STATUS, Tlv8, READ | EVENT),
                only(When::Recording, c($from + 7, kind::ACTIVE, Uint8(1), RW | ADMIN)),
            ],
        }
    };
}

/// The first instance ids of services that others have to know.
#[allow(missing_docs)]
pub mod iid {
    pub const LIVE: [u16; 2] = [32, 48];
    pub const OPERATING: u16 = 64;
    pub const RECORDING: u16 = 80;
    pub const DATA_STREAM: u16 = 96;
    pub const MOTION: u16 = 112;
    pub const MICROPHONE: u16 = 128;
    pub const SPEAKER: u16 = 144;
    pub const DOORBELL: u16 = 160;
}

/// The table. An instance id that was once given away is never another's.
static TABLE: [Service; 11] = [
    Service {
        iid: 1,
        kind: 0x3e,
        links: &[],
        primary: false,
        when: When::Always,
        characteristics: &[
            c(2, kind::IDENTIFY, Bool, WRITE),
            c(3, kind::MANUFACTURER, String, READ),
            c(4, kind::MODEL, String, READ),
            c(5, kind::NAME, String, READ),
            c(6, kind::SERIAL, String, READ),
            c(7, kind::FIRMWARE, String, READ),
            only(When::Hardware, c(8, kind::HARDWARE, String, READ)),
        ],
    },
    Service {
        iid: 16,
        kind: 0xa2,
        links: &[],
        primary: false,
        when: When::Always,
        characteristics: &[c(17, kind::VERSION, String, READ)],
    },
    live!(32),
    live!(48),
    Service {
        iid: iid::OPERATING,
        kind: 0x21a,
        links: &[],
        primary: false,
        when: When::Recording,
        characteristics: &[
            c(65, kind::CAMERA_ACTIVE, Uint8(1), RW | ADMIN),
            c(66, kind::EVENT_SNAPSHOTS, Uint8(1), RW | ADMIN),
            c(67, kind::PERIODIC_SNAPSHOTS, Uint8(1), RW | ADMIN),
            only(When::Indicator, c(68, kind::INDICATOR, Bool, RW | TIMED)),
            only(When::NightVision, c(69, kind::NIGHT_VISION, Bool, RW | TIMED)),
            c(70, kind::THIRD_PARTY_ACTIVE, Uint8(1), READ | EVENT),
            c(71, kind::MANUALLY_DISABLED, Bool, READ | EVENT),
        ],
    },
    Service {
        iid: iid::RECORDING,
        kind: 0x204,
        links: &[iid::DATA_STREAM, iid::MOTION],
        primary: false,
        when: When::Recording,
        characteristics: &[
            c(81, kind::ACTIVE, Uint8(1), RW | ADMIN),
            c(82, kind::SUPPORTED_RECORDING, Tlv8, READ | EVENT),
            c(83, kind::SUPPORTED_RECORDING_VIDEO, Tlv8, READ | EVENT),
            c(84, kind::SUPPORTED_RECORDING_AUDIO, Tlv8, READ | EVENT),
            c(85, kind::SELECTED_RECORDING, Tlv8, RW | ADMIN),
            c(86, kind::RECORDING_AUDIO, Uint8(1), RW),
        ],
    },
    Service {
        iid: iid::DATA_STREAM,
        kind: 0x129,
        links: &[],
        primary: false,
        when: When::Recording,
        characteristics: &[
            c(97, kind::SUPPORTED_DATA_STREAM, Tlv8, READ),
            c(98, kind::SETUP_DATA_STREAM, Tlv8, READ | WRITE | ANSWER),
            c(99, kind::VERSION, String, READ),
        ],
    },
    Service {
        iid: iid::MOTION,
        kind: 0x85,
        links: &[],
        primary: false,
        when: When::Motion,
        characteristics: &[
            c(113, kind::MOTION, Bool, READ | EVENT | NOW),
            c(114, kind::STATUS_ACTIVE, Bool, READ | EVENT),
        ],
    },
    Service {
        iid: iid::MICROPHONE,
        kind: 0x112,
        links: &[],
        primary: false,
        when: When::Microphone,
        characteristics: &[c(129, kind::MUTE, Bool, RW), c(130, kind::VOLUME, Uint8(100), RW)],
    },
    Service {
        iid: iid::SPEAKER,
        kind: 0x113,
        links: &[],
        primary: false,
        when: When::Speaker,
        characteristics: &[c(145, kind::MUTE, Bool, RW), c(146, kind::VOLUME, Uint8(100), RW)],
    },
    Service {
        iid: iid::DOORBELL,
        kind: 0x121,
        links: &[],
        primary: true,
        when: When::Doorbell,
        characteristics: &[c(161, kind::SWITCH_EVENT, Uint8(2), READ | EVENT | NOW)],
    },
];

/// What a camera has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Shape {
    /// Live view.
    pub live: bool,
    /// HomeKit Secure Video.
    pub recording: bool,
    pub microphone: bool,
    pub speaker: bool,
    /// A motion sensor; always there with `recording`.
    pub motion: bool,
    pub doorbell: bool,
    pub hardware_revision: bool,
    pub indicator: bool,
    pub night_vision: bool,
}

impl Shape {
    /// All of a camera but what its board would have to offer.
    pub const FULL: Shape = Shape {
        live: true,
        recording: true,
        microphone: true,
        speaker: true,
        motion: true,
        doorbell: false,
        hardware_revision: false,
        indicator: false,
        night_vision: false,
    };
    /// `hksv: false`.
    pub const LIVE_ONLY: Shape = Shape { recording: false, ..Shape::FULL };
    /// What others stand behind: itself it is nothing.
    pub const BRIDGE: Shape = Shape {
        live: false,
        recording: false,
        microphone: false,
        speaker: false,
        motion: false,
        ..Shape::FULL
    };
    /// Nobody watches live.
    pub const RECORDING_ONLY: Shape = Shape { live: false, ..Shape::FULL };

    fn has(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Live => self.live,
            When::Recording => self.recording,
            When::Microphone => self.microphone && (self.live || self.recording),
            When::Speaker => self.speaker && self.live,
            When::Motion => self.motion || self.recording,
            When::Doorbell => self.doorbell,
            When::Hardware => self.hardware_revision,
            When::Indicator => self.indicator,
            When::NightVision => self.night_vision,
        }
    }

    /// Its services.
    pub fn services(self) -> impl Iterator<Item = &'static Service> {
        TABLE.iter().filter(move |s| self.has(s.when))
    }

    /// The characteristics of one of its services.
    pub fn of(self, service: &'static Service) -> impl Iterator<Item = &'static Characteristic> {
        service.characteristics.iter().filter(move |c| self.has(c.when))
    }

    /// The characteristics of all its services.
    pub fn all(self) -> Vec<&'static Characteristic> {
        let mut all = Vec::new();
        for service in self.services() {
            all.extend(self.of(service));
        }
        all
    }

    /// The characteristic of an instance id.
    pub fn find(self, iid: u16) -> Option<&'static Characteristic> {
        self.services().find_map(|service| self.of(service).find(|c| c.iid == iid))
    }

    /// A mark of everything that a controller keeps of the table: it changes exactly when `c#` has to.
    pub fn mark(self, firmware: &str) -> [u8; 8] {
        let mut text = Vec::new();
        for service in self.services() {
            text.extend_from_slice(&service.iid.to_le_bytes());
            text.extend_from_slice(&service.kind.to_le_bytes());
            text.push(u8::from(service.primary));
            service.links.iter().for_each(|l| text.extend_from_slice(&l.to_le_bytes()));
            for c in self.of(service) {
                let format = match c.format {
                    Bool => [0, 1],
                    Uint8(most) => [1, most],
                    String => [2, 0],
                    Tlv8 => [3, 0],
                };
                text.extend_from_slice(&c.iid.to_le_bytes());
                text.extend_from_slice(&c.kind.to_le_bytes());
                text.extend_from_slice(&(c.may & (READ | WRITE | EVENT | TIMED | ANSWER)).to_le_bytes());
                text.extend_from_slice(&format);
            }
        }
        text.extend_from_slice(firmware.as_bytes());
        sha512(&[&text]).first_chunk().copied().unwrap_or([1; 8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(shape: Shape) -> Vec<u16> {
        let mut out: Vec<u16> =
            shape.services().flat_map(|s| std::iter::once(s.iid).chain(shape.of(s).map(|c| c.iid))).collect();
        out.sort_unstable();
        out
    }

    #[test]
    fn ids_are_unique_and_links_lead_somewhere() {
        let all = Shape {
            doorbell: true,
            hardware_revision: true,
            indicator: true,
            night_vision: true,
            ..Shape::FULL
        };
        let all_ids = ids(all);
        assert!(all_ids.windows(2).all(|w| w[0] < w[1]), "{all_ids:?}");
        for shape in [all, Shape::FULL, Shape::LIVE_ONLY, Shape::RECORDING_ONLY] {
            let services: Vec<_> = shape.services().collect();
            assert!(services.iter().flat_map(|s| s.links).all(|l| services.iter().any(|s| s.iid == *l)));
            assert!(services.iter().filter(|s| s.primary).count() <= 1);
            assert!(ids(shape).iter().all(|i| all_ids.contains(i)));
            assert_eq!((services[0].iid, services[0].kind), (1, 0x3e));
        }
    }

    #[test]
    fn ids_of_paired_cameras_never_move() {
        let kinds: Vec<(u16, u16)> =
            Shape::FULL.services().flat_map(|s| Shape::FULL.of(s)).map(|c| (c.iid, c.kind)).collect();
        for known in [
            (2, 0x14),
            (36, 0x117),
            (53, 0x118),
            (65, 0x21b),
            (81, 0xb0),
            (85, 0x209),
            (98, 0x131),
            (113, 0x22),
        ] {
            assert!(kinds.contains(&known), "{known:?}");
        }
    }

    #[test]
    fn the_mark_changes_with_the_shape_and_the_firmware() {
        let marks = [
            Shape::FULL.mark("1.0"),
            Shape::FULL.mark("1.1"),
            Shape::LIVE_ONLY.mark("1.0"),
            Shape::RECORDING_ONLY.mark("1.0"),
        ];
        for (i, a) in marks.iter().enumerate() {
            assert!(marks.iter().skip(i + 1).all(|b| a != b));
        }
        assert_eq!(Shape::FULL.mark("1.0"), marks[0]);
    }
}
